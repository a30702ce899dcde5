"""Intel GPUs, as programs ask for them: there are none here, and everything says so in PyTorch's words."""

from typing import NoReturn


def is_available() -> bool:
    """Whether there is a device to compute on."""
    return False


def device_count() -> int:
    """How many devices there are."""
    return 0


def is_initialized() -> bool:
    return False


def is_bf16_supported() -> bool:
    return False


def is_current_stream_capturing() -> bool:
    return False


def _is_in_bad_fork() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Nothing: there is no device whose numbers it would set."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no device whose numbers it would set."""


def empty_cache() -> None:
    """Nothing: no memory is kept."""


def _refuse(*args: object, **kwargs: object) -> NoReturn:
    raise AssertionError("Torch not compiled with XPU enabled")


current_device = set_device = synchronize = current_stream = get_device_name = get_device_properties = _refuse
