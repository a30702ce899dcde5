"""Apple's GPUs, as programs ask for them: there is none here, and everything says so in PyTorch's words."""

from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["Event", "compile_shader", "current_allocated_memory", "device_count", "driver_allocated_memory", "empty_cache", "event", "get_rng_state", "is_available", "load_metallib", "manual_seed",
           "profiler", "recommended_max_memory", "seed", "set_per_process_memory_fraction", "set_rng_state", "synchronize"]  # fmt: skip


def is_available() -> bool:
    """Whether there is a device to compute on."""
    return False


def device_count() -> int:
    """How many devices there are."""
    return 0


def _is_in_bad_fork() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Nothing: there is no device whose numbers it would set."""


def _without(hook: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"Cannot execute {hook}() without MPS backend.")

    return refuse


seed = get_rng_state = set_rng_state = _without("getDefaultGenerator")
synchronize = _without("deviceSynchronize")
empty_cache = _without("emptyCache")
current_allocated_memory = _without("getCurrentAllocatedMemory")
driver_allocated_memory = _without("getDriverAllocatedMemory")
recommended_max_memory = _without("getRecommendedMaxMemory")
set_per_process_memory_fraction = _without("setMemoryFraction")


def compile_shader(source: str) -> NoReturn:
    """Would compile a shader and give its functions."""
    raise RuntimeError("MPS is not available")


def load_metallib(source: Any) -> NoReturn:
    """Would load a compiled shader library."""
    raise RuntimeError("MPS is not available")


def __getattr__(name: str) -> Any:
    if name in ("event", "profiler"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    if name == "Event":
        from flambeau.mps.event import Event

        return Event
    raise AttributeError(f"module 'torch.mps' has no attribute '{name}'")
