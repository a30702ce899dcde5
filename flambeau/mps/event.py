"""Marks in the queue of Apple's GPUs."""

from typing import Any

from flambeau.mps import _without


class Event:
    """A mark in the queue: none can be made without a device."""

    def __init__(self, enable_timing: bool = False) -> None:
        _acquire(enable_timing)


_acquire: Any = _without("acquireEvent")
