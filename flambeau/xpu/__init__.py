"""Intel GPUs, as programs ask for them: there are none here, and everything says so in PyTorch's words."""

from typing import Any, NoReturn

default_generators: tuple[Any, ...] = ()


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


def memory_allocated(device: Any = None) -> int:
    """Bytes in tensors."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def memory_stats(device: Any = None) -> dict[str, Any]:
    """What the allocator counts."""
    return {}


def reset_peak_memory_stats(device: Any = None) -> None:
    """Forgets the largest amounts so far."""


reset_accumulated_memory_stats = reset_peak_memory_stats


def get_rng_state_all() -> list[Any]:
    """The states of all devices' generators."""
    return []


def set_rng_state(new_state: Any, device: Any = "xpu") -> None:
    """Nothing: it is set when the device is first used."""


def set_rng_state_all(new_states: Any) -> None:
    """The states of all devices' generators."""


def seed() -> None:
    """Nothing: there is no device whose numbers it would set."""


seed_all = seed


class device:
    """Uses a device inside a ``with``; a negative number or None is allowed."""

    def __init__(self, device: Any) -> None:
        self.idx = -1 if device is None else device

    def __enter__(self) -> None:
        if not (isinstance(self.idx, int) and self.idx < 0):
            raise NotImplementedError("PyTorch was compiled without XPU support")

    def __exit__(self, *_: object) -> None:
        return None


class _Dummy:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"Tried to instantiate dummy base class {type(self).__name__}")


class Stream(_Dummy):
    """A queue of a device."""


class Event(_Dummy):
    """A mark in a queue."""


class XPUGraph(_Dummy):
    """Recorded work of a device."""


init = initial_seed = get_rng_state = mem_get_info = get_device_capability = set_stream = _refuse

current_device = set_device = synchronize = current_stream = get_device_name = get_device_properties = _refuse
