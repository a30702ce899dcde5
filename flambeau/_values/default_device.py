"""The stack of default devices: what `with device(...)` and `set_default_device` change."""

from __future__ import annotations

import threading

from flambeau._values.device import CPU, device


class _Stack(threading.local):
    """Devices pushed by this thread; the last one is where new tensors go."""

    def __init__(self) -> None:
        self.devices: list[device] = []
        self.chosen: device | None = None


_stack = _Stack()


def get() -> device:
    """Where a creation function without `device=` puts its result."""
    return _stack.devices[-1] if _stack.devices else _stack.chosen or CPU


def choose(d: device | None) -> None:
    """Set the default outside any `with` block; None restores the CPU."""
    _stack.chosen = d


def push(d: device) -> None:
    _stack.devices.append(d)


def pop() -> None:
    _stack.devices.pop()
