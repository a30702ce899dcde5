"""The accelerator of this machine, whichever it is: there is none yet."""

from typing import NoReturn

import flambeau as torch
from flambeau import _absent

__all__ = ["current_accelerator", "current_device_idx", "current_device_index", "device_count", "is_available", "set_device_idx",
           "set_device_index", "synchronize", "current_stream", "set_stream", "empty_cache", "get_memory_info", "max_memory_allocated",
           "max_memory_reserved", "memory_allocated", "memory_reserved", "memory_stats", "reset_accumulated_memory_stats",
           "reset_peak_memory_stats", "get_device_capability", "empty_host_cache", "device_index", "Graph"]  # fmt: skip


def is_available() -> bool:
    """Whether there is an accelerator."""
    return torch.cuda.is_available()


def device_count() -> int:
    """How many accelerators there are."""
    return torch.cuda.device_count()


def current_accelerator(check_available: bool = False):
    """The kind of accelerator, as a device; None where there is none."""
    return torch.device("cuda") if torch.cuda.is_available() else None


def _refuse(*args, **kwargs) -> NoReturn:
    raise RuntimeError("Cannot access accelerator device when none is available.")


current_device_index = current_device_idx = set_device_index = set_device_idx = synchronize = _refuse
current_stream = set_stream = empty_cache = memory_stats = memory_allocated = max_memory_allocated = memory_reserved = (
    _refuse
)
max_memory_reserved = reset_accumulated_memory_stats = reset_peak_memory_stats = get_memory_info = (
    get_device_capability
) = _refuse
empty_host_cache = _refuse


class device_index(_absent.Device):
    """Uses the accelerator of this number inside a ``with``; None changes nothing."""

    refuse = _refuse


class Graph:
    """Recorded work of the accelerator."""

    def __init__(self, keep_graph: bool = False, *, pool: object = None, capture_error_mode: str = "default") -> None:
        _refuse()
