"""Starts and stops NVIDIA's profilers: there are none without CUDA."""

import contextlib
from typing import Any

from flambeau.cuda import _refuse

__all__ = ["init", "start", "stop", "profile"]

init = start = stop = _refuse


@contextlib.contextmanager
def profile() -> Any:
    """Profiles the block."""
    start()
    yield
