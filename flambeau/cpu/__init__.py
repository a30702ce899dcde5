"""The CPU with the interface of an accelerator: what programs that run on any device ask of it."""

import contextlib
import os
import platform

import flambeau as torch
from flambeau._ground.submodules import on_demand

__all__ = ["Event", "Stream", "StreamContext", "current_device", "current_stream", "device_count", "get_capabilities", "is_available", "is_initialized",
           "set_device", "stream", "synchronize"]  # fmt: skip


def is_available() -> bool:
    """Always: there is a CPU."""
    return True


def is_initialized() -> bool:
    """Always: there is nothing to set up."""
    return True


def device_count() -> int:
    """One."""
    return 1


def current_device() -> str:
    """The name of the one device."""
    return "cpu"


def set_device(device) -> None:
    """Nothing: there is one CPU."""


def synchronize(device=None) -> None:
    """Nothing: calls on the CPU have ended when they return."""


class Stream:
    """Stands for the order of calls on the CPU, which is the program's."""

    def __init__(self, priority: int = -1) -> None:
        pass

    def wait_stream(self, stream) -> None:
        pass

    def record_event(self) -> None:
        pass

    def wait_event(self, event) -> None:
        pass


class Event:
    """Stands for a mark in the order of calls; it has always been reached."""

    def __init__(self, enable_timing: bool = False) -> None:
        pass

    def query(self) -> bool:
        return True

    def record(self, stream=None) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def wait(self, stream=None) -> None:
        pass


_default = Stream()


def current_stream(device=None) -> Stream:
    """The one stream."""
    return _default


class StreamContext(contextlib.AbstractContextManager):
    """The block in which a stream is the current one."""

    def __init__(self, stream) -> None:
        self.stream = stream

    def __enter__(self):
        return self.stream

    def __exit__(self, *exc):
        return None


def stream(stream) -> StreamContext:
    """A block in which a stream is the current one, which changes nothing."""
    return StreamContext(stream)


def get_capabilities() -> dict:
    """What the processor can do, by name."""
    return {"architecture": platform.machine(), "num_cores": os.cpu_count(), "num_threads": torch.get_num_threads()}


__getattr__ = on_demand(__name__, "amp")
