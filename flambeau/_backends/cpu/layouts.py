"""How results lie. Elementwise ones as their operands are walked; others in order, or, of images whose channels lie last (by PyTorch's
rule, `suggest_memory_format`), as these."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu.library_memory import copied
from flambeau._backends.meta import MetaArray
from flambeau._values.shape import elementwise_strides

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


_walks: dict[Any, Any] = {}  # what operands and a result were like -> the strides that the result should have


def walked(r: Any, *operands: Any) -> Any:
    """An elementwise result, laid out as its operands are walked: the array library goes by all of them at once, PyTorch by the first that tells."""
    key = (
        r.shape,
        r.strides,
        r.dtype.itemsize,
        *[(x.shape, x.strides, x.dtype.itemsize) for x in operands if hasattr(x, "strides")],
    )
    strides = _walks.get(key)
    if strides is None:
        if len(_walks) > 4096:
            _walks.clear()
        strides = _walks[key] = _walk(r, [x for x in operands if hasattr(x, "strides")])
    if strides == r.strides:
        return r
    if type(r) is MetaArray:
        r.strides = strides
        return r
    out: Any = np.ndarray(r.shape, r.dtype, np.empty(r.size, r.dtype), 0, strides)
    out[...] = r
    return out


def _walk(r: Any, arrays: list[Any]) -> tuple[int, ...]:
    if r.ndim < 2 or not r.size or all(x.flags.c_contiguous for x in arrays):
        return r.strides
    shapes = [(x.shape, tuple(s // x.dtype.itemsize for s in x.strides)) for x in arrays]
    return tuple(s * r.dtype.itemsize for s in elementwise_strides(r.shape, shapes))


def laid(out: Any, last: bool) -> Any:
    """The array with channels last, if it should lie so."""
    return copied(out, format=FORMATS[out.ndim]) if last and not channels_last(out) else out
