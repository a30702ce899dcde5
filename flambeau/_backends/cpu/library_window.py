"""Sliding windows on arrays: convolutions as matrix products over windows, and pooling. One to three spatial dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

Ints = Sequence[int]


def padded(x: Any, padding: Ints, value: Any = 0) -> Any:
    """x with `padding` cells on both sides of its last dims."""
    if not any(padding):
        return x
    n = len(padding)
    shape = x.shape[:-n] + tuple(s + 2 * p for s, p in zip(x.shape[-n:], padding, strict=True))
    out: Any = np.full(shape, value, x.dtype) if value else np.zeros(shape, x.dtype)
    out[(..., *(slice(p, p + s) for s, p in zip(x.shape[-n:], padding, strict=True)))] = x
    return out


def windows(x: Any, size: Ints, stride: Ints, dilation: Ints) -> Any:
    """A view of the last dims as (positions..., taps...)."""
    n = len(size)
    m = x.ndim - n
    out = tuple((e - d * (k - 1) - 1) // s + 1 for e, k, s, d in zip(x.shape[m:], size, stride, dilation, strict=True))
    st = x.strides
    strides = (
        st[:m]
        + tuple(a * s for a, s in zip(st[m:], stride, strict=True))
        + tuple(a * d for a, d in zip(st[m:], dilation, strict=True))
    )
    shape = x.shape[:m] + out + tuple(size)
    if x.flags.c_contiguous and x.size:
        return np.ndarray(shape, x.dtype, x, 0, strides)  # what as_strided gives, at a sixth of its call
    return np.lib.stride_tricks.as_strided(x, shape, strides)


def _columns(
    x: Any, size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> tuple[Any, tuple[int, ...]]:
    """(n, groups, channels * taps, positions), and the shape of the positions."""
    n, c = x.shape[:2]
    dims = len(size)
    if all(k == 1 for k in size) and all(s == 1 for s in stride) and not any(padding):
        return x.reshape(n, groups, c // groups, prod(x.shape[2:])), x.shape[2:]
    w = windows(padded(x, padding), size, stride, dilation)  # n c y... t...
    out = w.shape[2 : 2 + dims]
    order = (0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))
    return w.transpose(order).reshape(n, groups, c // groups * prod(size), prod(out)), out


def conv_forward(x: Any, w: Any, *, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    """Cross-correlation: x (n, c, ...), w (o, c / groups, ...)."""
    n, o = x.shape[0], w.shape[0]
    cols, out = _columns(x, w.shape[2:], stride, padding, dilation, groups)
    if 0 in cols.shape:
        return np.zeros((n, o, *out), x.dtype)
    return np.matmul(w.reshape(groups, o // groups, prod(w.shape[1:])), cols).reshape(n, o, *out)


def conv_weight(g: Any, x: Any, *, size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    """The gradient of the weight, of shape `size`."""
    n, o = g.shape[:2]
    # A window more than g has positions fits where a transposed convolution pads its output by a stride.
    reach = [d * (k - 1) + (e - 1) * s + 1 for k, e, s, d in zip(size[2:], g.shape[2:], stride, dilation, strict=True)]
    x = padded(x, padding)[(..., *(slice(r) for r in reach))]
    cols, _ = _columns(x, size[2:], stride, (0,) * len(reach), dilation, groups)
    positions = prod(g.shape[2:])
    if 0 in cols.shape or not positions:
        return np.zeros(size, x.dtype)
    # One product for all images: their positions follow one another.
    rows = (
        g.reshape(n, groups, o // groups, positions).transpose(1, 2, 0, 3).reshape(groups, o // groups, n * positions)
    )
    cols = cols.transpose(1, 2, 0, 3).reshape(groups, -1, n * positions)
    return np.matmul(rows, cols.transpose(0, 2, 1)).reshape(size)


def conv_input(g: Any, w: Any, *, size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    """The gradient of the input, of shape `size`; also the transposed convolution."""
    n, o = g.shape[:2]
    taps, out = w.shape[2:], g.shape[2:]
    full = tuple(s + 2 * p for s, p in zip(size[2:], padding, strict=True))
    acc = np.zeros((n, size[1], *full), g.dtype)
    if prod(out) and n and o:
        cols = np.matmul(
            w.reshape(groups, o // groups, prod(w.shape[1:])).transpose(0, 2, 1),
            g.reshape(n, groups, o // groups, prod(out)),
        )
        cols = cols.reshape(n, size[1], *taps, *out)
        for tap in itertools.product(*map(range, taps)):
            at = tuple(
                slice(t * d, t * d + (y - 1) * s + 1, s) for t, d, y, s in zip(tap, dilation, out, stride, strict=True)
            )
            acc[(slice(None), slice(None), *at)] += cols[(slice(None), slice(None), *tap)]
    inner = tuple(slice(p, p + s) for s, p in zip(size[2:], padding, strict=True))
    return np.ascontiguousarray(acc[(slice(None), slice(None), *inner)]) if any(padding) else acc


# ---------------------------------------------------------------- pooling


def _extended(x: Any, size: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints, value: Any) -> Any:
    """x padded before by `padding`, and after as far as the last window reaches (ceil_mode goes past the padding)."""
    n = len(size)
    spatial = x.shape[-n:]
    need = [max((o - 1) * s + d * (k - 1) + 1, e + 2 * p)
            for o, s, d, k, e, p in zip(out, stride, dilation, size, spatial, padding, strict=True)]  # fmt: skip
    if not any(padding) and list(spatial) == need:
        return x
    big: Any = np.full(x.shape[:-n] + tuple(need), value, x.dtype)
    big[(..., *(slice(p, p + s) for s, p in zip(spatial, padding, strict=True)))] = x
    return big


def max_pool(x: Any, *, size: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints) -> tuple[Any, Any]:
    """(largest value of each window, its position in the flattened spatial dims); the first of equals; NaN is largest."""
    n = len(size)
    lowest = -np.inf if x.dtype.kind in "fV" else np.iinfo(x.dtype).min
    w = windows(_extended(x, size, stride, padding, dilation, out, lowest), size, stride, dilation)
    w = w[(..., *(slice(0, o) for o in out), *(slice(None),) * n)]
    shape = w.shape[:-n]
    flat = w.reshape(-1, prod(size))
    best = flat.argmax(1)
    values = flat[np.arange(best.size), best].reshape(shape)
    cells = _cells(x.shape[-n:], tuple(size), tuple(stride), tuple(padding), tuple(dilation), tuple(out))
    index = cells[np.arange(len(cells)), best.reshape(-1, len(cells))].reshape(shape)
    return values, index


@lru_cache(256)
def _cells(spatial: Ints, size: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints) -> Any:
    """Where in the flattened spatial dims the taps of each window lie (windows, taps): those in the padding, at the edge, for a window of -inf alone
    must still point inside the input."""
    n = len(size)
    index: Any = np.zeros((1,) * (2 * n), np.int64)
    for d in range(n):
        at = (np.arange(out[d]) * stride[d] - padding[d])[:, None] + np.arange(size[d]) * dilation[d]
        np.clip(at, 0, spatial[d] - 1, out=at)
        index = index * spatial[d] + at.reshape(
            [out[d] if i == d else size[d] if i == n + d else 1 for i in range(2 * n)]
        )
    return index.reshape(prod(out), prod(size))


def max_pool_backward(g: Any, indices: Any, *, shape: Ints, n: int) -> Any:
    """What reaches an input of a shape through the largest elements of its windows; overlapping windows add up."""
    planes, cells = prod(shape[:-n]), prod(shape[-n:])
    wide = np.float32 if g.dtype.itemsize == 2 and g.dtype.kind in "fV" else g.dtype
    acc = np.zeros((planes, cells), wide)
    if acc.size and g.size:
        at = np.minimum(indices.reshape(planes, -1), cells - 1)
        np.add.at(acc, (np.arange(planes)[:, None], at), g.reshape(planes, -1).astype(wide, copy=False))
    return acc.astype(g.dtype, copy=False).reshape(shape)


def avg_pool(x: Any, *, size: Ints, stride: Ints, padding: Ints, out: Ints, divisor: Any) -> Any:
    """Sums of windows, divided by `divisor` (a number, or an array over the output positions)."""
    n = len(size)
    ones = (1,) * n
    w = windows(_extended(x, size, stride, padding, ones, out, 0), size, stride, ones)
    w = w[(..., *(slice(0, o) for o in out), *(slice(None),) * n)]
    s = np.add.reduce(w, axis=tuple(range(-n, 0)), dtype=x.dtype)
    return (
        np.asarray(s / np.asarray(divisor, dtype=s.dtype), dtype=s.dtype)
        if x.dtype.kind in "fc"
        else np.trunc(s / divisor).astype(s.dtype)
    )


def avg_pool_backward(g: Any, *, shape: Ints, size: Ints, stride: Ints, padding: Ints, divisor: Any) -> Any:
    """Spreads each output's gradient over its window."""
    n = len(size)
    out = g.shape[-n:]
    g = np.asarray(g / np.asarray(divisor, dtype=g.dtype), dtype=g.dtype)
    full = tuple(
        max(e + 2 * p, (o - 1) * s + k) for e, p, o, s, k in zip(shape[-n:], padding, out, stride, size, strict=True)
    )
    acc: Any = np.zeros((*shape[:-n], *full), g.dtype)
    for tap in itertools.product(*map(range, size)):
        acc[(..., *(slice(t, t + (o - 1) * s + 1, s) for t, o, s in zip(tap, out, stride, strict=True)))] += g
    return np.ascontiguousarray(acc[(..., *(slice(p, p + e) for p, e in zip(padding, shape[-n:], strict=True)))])


def adaptive_max_pool(x: Any, *, out: Ints) -> tuple[Any, Any]:
    """The largest value of each of `out` nearly equal parts, and its flat position."""
    n = len(out)
    spatial = x.shape[-n:]
    values: Any = np.empty(x.shape[:-n] + tuple(out), x.dtype)
    index: Any = np.empty(values.shape, np.int64)
    grid = np.arange(prod(spatial)).reshape(spatial)
    for cell in itertools.product(*map(range, out)):
        at = tuple(slice(i * e // o, -((-(i + 1) * e) // o)) for i, e, o in zip(cell, spatial, out, strict=True))
        part = x[(..., *at)]
        part = part.reshape(*x.shape[:-n], prod(part.shape[-n:]))
        best = np.argmax(part, -1)
        values[(..., *cell)] = np.take_along_axis(part, best[..., None], -1)[..., 0]
        index[(..., *cell)] = grid[at].reshape(-1)[best]
    return values, index
