"""Marks for NVIDIA's profilers: there are none without CUDA, and everything says so in PyTorch's words."""

import contextlib
from typing import Any, NoReturn

__all__ = ["range_push", "range_pop", "range_start", "range_end", "mark", "range"]


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("NVTX functions not installed. Are you sure you have a CUDA build?")


range_push = range_pop = range_start = range_end = mark = _refuse


@contextlib.contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Any:
    """A named range around the block."""
    range_push(msg.format(*args, **kwargs))
    yield
