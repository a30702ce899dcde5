"""How results lie. Elementwise ones as their operands are walked; others in order, or, of images whose channels lie last (by PyTorch's
rule, `suggest_memory_format`), as these."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu.library_memory import copied
from flambeau._backends.meta import MetaArray
from flambeau._values.shape import elementwise_strides, strides_in_order

FORMATS = {4: "channels_last", 5: "channels_last_3d"}


def channels_last(*xs: Any) -> bool:
    """Whether some array of images (n, c, y, x) or volumes lies with its channels innermost."""
    return any(x.ndim in FORMATS and not x.flags.c_contiguous and _last(x.shape, x.strides) for x in xs)


def as_one_channel(out: Any, x: Any) -> Any:
    """What a convolution makes of `x`, with channels last where `x` is of one channel and has the strides of such images.

    One channel lies in order either way; its stride is what tells, as in a sequence (n, t, 1) that was transposed.
    """
    if x.shape[1] != 1 or not x.flags.c_contiguous:
        return out
    if x.ndim == 3:  # a sequence is an image of one row
        (n, _, t), (down, channel, step) = x.shape, x.strides
        return laid(out[:, :, None], _last((n, 1, 1, t), (down, channel, t * step, step)))[:, :, 0]
    return laid(out, x.ndim in FORMATS and _last(x.shape, x.strides))


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
    return tuple(itemsize * s for s in strides_in_order(shape, (1, *range(len(shape) - 1, 1, -1), 0)))


# How elementwise results lie: the array library goes by all operands at once, PyTorch by the first that tells.
_walks: dict[Any, Any] = {}  # what operands and a result were like -> the strides that the result should have
_rooms: dict[Any, Any] = {}  # what operands were like -> shape and strides; () where the library's are right


def walked(r: Any, *operands: Any) -> Any:
    """An elementwise result, laid out as its operands are walked."""
    key = [r.shape, r.strides, r.dtype]
    for x in operands:
        key += (x.shape, x.strides, x.dtype)
    strides = _walks.get(tuple(key))
    if strides is None:
        plain = r.ndim < 2 or not r.size or all(x.flags.c_contiguous for x in operands)
        strides = _noted(_walks, tuple(key), r.strides if plain else _walk(r.shape, r.dtype, operands))
    if strides == r.strides:
        return r
    if type(r) is MetaArray:
        r.strides = strides
        return r
    out: Any = np.ndarray(r.shape, r.dtype, None, 0, strides)
    out[...] = r
    return out


def room(d: Any, *operands: Any) -> Any:
    """New memory for an elementwise result, so that it need not be copied into order; `...` where the array library's own is in order."""
    key = [d]
    for x in operands:
        key += (x.shape, x.strides, x.dtype)
    found = _rooms.get(tuple(key))
    if found is None:
        shape = np.broadcast_shapes(*(x.shape for x in operands))
        plain = len(shape) < 2 or 0 in shape
        found = _noted(_rooms, tuple(key), () if plain else (shape, _walk(shape, d, operands)))
    return np.ndarray(found[0], d, None, 0, found[1]) if found else ...


def _walk(shape: tuple[int, ...], d: Any, arrays: Any) -> tuple[int, ...]:
    shapes = [(x.shape, tuple(s // x.dtype.itemsize for s in x.strides)) for x in arrays]
    return tuple(s * d.itemsize for s in elementwise_strides(shape, shapes))


def _noted(known: dict[Any, Any], key: Any, value: Any) -> Any:
    if len(known) > 4096:
        known.clear()
    known[key] = value
    return value


def laid(out: Any, last: bool) -> Any:
    """The array with channels last, if it should lie so."""
    return copied(out, format=FORMATS[out.ndim]) if last and not channels_last(out) else out
