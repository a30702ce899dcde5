"""Channels last: which arrays lie so, and what is made of them. The rule is PyTorch's `suggest_memory_format`."""

from __future__ import annotations

from typing import Any

from flambeau._backends.cpu.library_memory import copied

FORMATS = {4: "channels_last", 5: "channels_last_3d"}


def channels_last(*xs: Any) -> bool:
    """Whether some array of images (n, c, y, x) or volumes lies with its channels innermost."""
    return any(x.ndim in FORMATS and not x.flags.c_contiguous and _last(x.shape, x.strides) for x in xs)


def _last(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    least = 0
    if strides[1] == 0:
        return False
    for d in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[d] == 0 or strides[d] < least or (d == 0 and least == strides[1]):
            return False
        least = strides[d] * max(shape[d], 1)
    return True


def last_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a dense array with channels last."""
    strides, step = [0] * len(shape), itemsize
    for d in (1, *range(len(shape) - 1, 1, -1), 0):
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def laid(out: Any, last: bool) -> Any:
    """The array with channels last, if it should lie so."""
    return copied(out, format=FORMATS[out.ndim]) if last and not channels_last(out) else out
