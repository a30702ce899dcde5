"""Traces of Apple's GPUs."""

import contextlib
from typing import Any

from flambeau.mps import _without

__all__ = ["start", "stop", "profile"]
start = _without("profilerStartTrace")
stop = _without("profilerStopTrace")


@contextlib.contextmanager
def profile(mode: str = "interval", wait_until_completed: bool = False) -> Any:
    """Traces the block."""
    start(mode, wait_until_completed)
    yield
