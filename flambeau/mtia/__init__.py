"""MTIA accelerators, as programs ask for them: there are none here."""

from typing import Any, NoReturn

default_generators: tuple[Any, ...] = ()


def is_available() -> bool:
    """Whether there is a device to compute on."""
    return False


def device_count() -> int:
    """How many devices there are."""
    return 0


def is_initialized() -> bool:
    """Whether a device has been used."""
    return False


def _is_in_bad_fork() -> bool:
    return False


def _is_compiled() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Nothing: there is no device whose numbers it would set."""


manual_seed_all = manual_seed


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError(
        "Torch not compiled with MTIA enabled. Ensure you have `import mtia.host_runtime.torch_mtia` in your python src file"
    )


init = synchronize = current_device = current_stream = default_stream = set_device = set_stream = empty_cache = (
    memory_stats
) = _refuse
get_device_capability = get_device_properties = memory_allocated = max_memory_allocated = reset_peak_memory_stats = (
    _refuse
)
get_rng_state = set_rng_state = initial_seed = _refuse
