"""Products and windows by generated kernels where they are large enough to be worth one, by the array library elsewhere.

The choice depends on shapes, dtypes and layouts alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu import library_window as window
from flambeau._backends.cpu.casts import astype
from flambeau._backends.cpu.layouts import as_one_channel, channels_last, laid, last_strides
from flambeau._backends.cpu.library_memory import copied
from flambeau._backends.cpu.library_sums import FEW, order, product as in_order
from flambeau._backends.cpu.often import often
from flambeau._kernel.arrays import fma
from flambeau._values.dtype import HALVES

NATIVE = 1 << 18  # multiplications from which a convolution is a kernel
PRODUCT = 1 << 16  # from which a product is one: 40 x 40 x 40, a microsecond
VECTOR = 9216  # and one by a vector: from here on OpenBLAS wakes its own threads, which then spin beside our kernels
OUTER = 1 << 10  # and one of a column and a row, which NumPy does without BLAS
HALF = 1 << 12  # and one of half precision, which the array library has no fast routine for
F32, F64 = np.dtype("f4"), np.dtype("f8")
DTYPES = frozenset((F32, F64, *HALVES))  # integers wrap the same either way, and are rare
Ints = Sequence[int]


@cache
class _Arrays(threading.local):
    only = False


_arrays = _Arrays()


def native() -> bool:
    """Whether library calls may be kernels here: generated ones can be, and this thread is not told otherwise. Not to be kept."""
    return not _arrays.only and _available()()


@cache
def _available() -> Any:
    from flambeau._backends.cpu.engine import available  # the module is loaded where it is first wanted

    return available


@contextmanager
def by_arrays() -> Iterator[None]:
    """Library calls compute with NumPy in this thread: where only the layout of a result matters, and compiling would take longer."""
    before, _arrays.only = _arrays.only, True
    try:
        yield
    finally:
        _arrays.only = before


def product(x: Any, y: Any, plus: Any = None, beta: Any = 1, alpha: Any = 1) -> Any:
    """alpha * (x @ y) + beta * plus, of arrays of two or more dimensions and one dtype; half precision is rounded once."""
    d, columns = x.dtype, y.shape[-1]
    n, half = x.size * columns, d in HALVES
    if (columns <= FEW or x.ndim > 2 or d is F64) and d is y.dtype and (d is F32 or d is F64):
        how = order(x, y) if x.shape[-1] == y.shape[-2] else None
        if how is not None:
            out = in_order(x, y, how)
            if out is not None:
                return _added(out, plus, beta, alpha)
    least = VECTOR if y.shape[-1] == 1 or x.shape[-2] == 1 else PRODUCT if x.shape[-1] != 1 else OUTER
    if (
        (n >= least if d is F32 or d is F64 else half and n >= HALF)
        and x.shape[-1] == y.shape[-2]
        and (plus is not None or alpha == 1)
        and native()
    ):
        out = _matmul()(x, y, plus, beta, alpha)
        if out is not None:
            return out
    if half:
        x, y = astype(x, F32), astype(y, F32)
        plus = None if plus is None else astype(plus, F32)
    out = np.matmul(x if x.flags.forc else _dense(x), y if y.flags.forc else _dense(y))
    out = _added(out, plus, beta, alpha)
    return astype(out, d) if half else out


def _added(out: Any, plus: Any, beta: Any, alpha: Any) -> Any:
    """alpha * out + beta * plus, over `out` where it can be."""
    if alpha != 1:
        out = (out * alpha).astype(out.dtype, copy=False)
    if plus is not None:
        out = np.add(out, plus, out=out) if beta == 1 else fma(np, plus, beta, out)
    return out


@cache
def _matmul() -> Any:
    from flambeau._backends.cpu.matmul import matmul  # with llvmlite

    return matmul


def _dense(x: Any) -> Any:
    """x, or a copy where its strides would keep NumPy from using BLAS."""
    n, (rows, columns), (down, across) = x.dtype.itemsize, x.shape[-2:], x.strides[-2:]
    return x if (across == n and down >= columns * n) or (down == n and across >= rows * n) else x.copy("C")


def _suits(x: Any, w: Any, work: int) -> bool:
    return work >= NATIVE and x.dtype is w.dtype and x.dtype in DTYPES and native()


def _how(stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    from flambeau._backends.cpu.convolve import Convolution  # with llvmlite

    return Convolution(tuple(stride), tuple(padding), tuple(dilation), groups)


def conv_forward(x: Any, w: Any, bias: Any = None, *, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    """Cross-correlation: x (n, c, ...), w (o, c / groups, ...), bias (o)."""
    if _suits(x, w, x.shape[0] * w.size * prod(x.shape[2:]) // prod(stride)):
        if _plain(w.shape, stride, padding, groups) and channels_last(x):
            return _images(product(_rows(x), w.reshape(w.shape[:2]).T, bias), x.shape)
        if groups == x.shape[1] and channels_last(x):
            out = _depthwise(x, w, bias, stride, padding, dilation)
            if out is not None:
                return out
            out = _how(stride, padding, dilation, groups).forward(_planes(x), _planes(w), bias)
            return laid(out, True)
        out = _how(stride, padding, dilation, groups).forward(x, w, bias)
        if out is not None:
            return as_one_channel(out, x)
    out = window.conv_forward(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return as_one_channel(laid(_biased(out, bias), channels_last(x, w)), x)


def _depthwise(x: Any, w: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints) -> Any:
    """One channel of output to one of input, of images with channels last; None where the kernel has no form for it."""
    from flambeau._backends.cpu.conv_last import depthwise

    if x.ndim != 4 or (bias is not None and bias.dtype is not x.dtype):
        return None
    return depthwise(x, w, bias, stride, padding, dilation)


def _plain(w: Sequence[int], stride: Ints, padding: Ints, groups: int) -> bool:
    """Whether a convolution with weights of a shape is a matrix product of positions and channels."""
    return prod(w[2:]) == 1 and groups == 1 and max(stride) == 1 and max(padding) == 0


def _rows(x: Any) -> Any:
    """Positions by channels: a view where channels are last."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def _images(rows: Any, shape: tuple[int, ...]) -> Any:
    """The inverse of `_rows`, for images of a shape but for its channels."""
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], -1), -1, 1)


def _planes(x: Any) -> Any:
    """x with each channel's plane in one piece, as kernels for single channels want it."""
    return copied(x, format="contiguous_format") if channels_last(x) else x


def _biased(out: Any, bias: Any) -> Any:
    """out (n, o, ...) + bias (o)."""
    return out if bias is None else out + bias.reshape(-1, *(1,) * (out.ndim - 2))


def conv_weight(g: Any, x: Any, *, size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Any:
    """The gradient of the weight, of shape `size`."""
    if _suits(x, g, g.size * prod(size[1:])):
        if _plain(size, stride, padding, groups) and channels_last(x) and channels_last(g):
            return product(_rows(g).T, _rows(x)).reshape(size)
        if groups == x.shape[1]:
            x, g = _planes(x), _planes(g)
        out = _how(stride, padding, dilation, groups).weight(x, g, tuple(size))
        if out is not None:
            return out
    return window.conv_weight(g, x, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)


def conv_input(
    g: Any, w: Any, bias: Any = None, *, size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Any:
    """The gradient of the input, of shape `size`; also the transposed convolution."""
    if _suits(g, w, g.size * prod(w.shape[1:])):
        if _plain(w.shape, stride, padding, groups) and channels_last(g):
            return _images(product(_rows(g), w.reshape(w.shape[:2]), bias), g.shape)
        if groups == g.shape[1] and channels_last(g):
            if max(stride) == 1 and w.shape[1] == 1:  # a convolution with the weights turned round
                around = [(n - 1) * d - p for n, p, d in zip(w.shape[2:], padding, dilation, strict=True)]
                back = np.flip(w, tuple(range(2, w.ndim)))
                out = _depthwise(g, back, bias, stride, around, dilation)
                if out is not None and out.shape[2:] == tuple(size[2:]):
                    return out
            out = _how(stride, padding, dilation, groups).transposed(_planes(g), _planes(w), tuple(size[2:]), bias)
            return laid(out, True)
        out = _how(stride, padding, dilation, groups).transposed(g, w, tuple(size[2:]), bias)
        if out is not None:
            return as_one_channel(out, g)
    out = window.conv_input(g, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return as_one_channel(laid(_biased(out, bias), channels_last(g, w)), g)


def max_pool(x: Any, *, size: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints) -> tuple[Any, Any]:
    """(largest value of each window, its position in the flattened spatial dims)."""
    small = x.size < POOLED
    if (not small or (x.size and prod(out) and often("max_pool"))) and x.dtype in DTYPES and native():
        if last := channels_last(x):
            from flambeau._backends.cpu.pool_last import max_pool as pooled
        else:
            from flambeau._backends.cpu.pool import max_pool as pooled

        found = pooled(x, tuple(size), tuple(stride), tuple(padding), tuple(dilation), tuple(out), small)
        if found is not None:
            return found if not last else tuple(laid(v, True) for v in found)
    found = window.max_pool(x, size=size, stride=stride, padding=padding, dilation=dilation, out=out)
    return found if not channels_last(x) else tuple(laid(v, True) for v in found)


POOLED = 1 << 13  # elements from which pooling is a kernel


def max_pool_backward(g: Any, indices: Any, *, shape: Ints, n: int) -> Any:
    """What reaches an input of a shape through the largest elements of its windows."""
    small = g.size < POOLED
    worth = not small or (g.size and prod(shape) and often("max_pool_backward"))
    if worth and g.dtype in DTYPES and indices.dtype == np.int64 and native():
        if channels_last(indices) and g.ndim == n + 2:
            from flambeau._backends.cpu.pool_last import max_pool_back as back_last

            found = back_last(laid(g, True), indices, tuple(shape), small)
            if found is not None:
                return astype(found, g.dtype)
        from flambeau._backends.cpu.pool import max_pool_back

        found = max_pool_back(np.ascontiguousarray(g), np.ascontiguousarray(indices), tuple(shape), n, small)
        if found is not None:
            return found
    return laid(window.max_pool_backward(g, indices, shape=shape, n=n), channels_last(indices))


def avg_pool(x: Any, *, size: Ints, stride: Ints, padding: Ints, out: Ints, divisor: Any) -> Any:
    """Sums of windows, divided by `divisor` (a number, or an array over the output positions)."""
    how = dict(size=size, stride=stride, padding=padding, out=out)
    found = _means(x, tuple(size), tuple(stride), tuple(out), divisor, tuple(padding))
    if found is not None:
        return found
    if x.size >= POOLED and x.dtype in DTYPES and native() and _one_by_one(x, size):
        y, n = astype(x, F32) if x.dtype in HALVES else x, len(size)
        exact = (
            isinstance(divisor, int) and divisor > 0 and divisor & (divisor - 1) == 0
        )  # a weight as good as a divisor
        for d, windows in enumerate(zip(x.shape[-n:], size, stride, padding, out, strict=True)):
            weight = 1 / divisor if exact and d == n - 1 else 1.0
            y = banded(y, dim=d - n, bands=_window_bands(*windows, weight=weight, turned=False))
        y = y if exact else np.divide(y, np.asarray(divisor, y.dtype), out=y)
        return astype(y if n < 3 else np.ascontiguousarray(y), x.dtype)  # means of volumes lie as PyTorch's do
    if x.size >= POOLED and x.dtype in DTYPES and native():
        from flambeau._backends.cpu.pool import mean_pool

        shape, one = (*x.shape[: x.ndim - len(size)], *out), isinstance(divisor, (int, float))
        found = mean_pool(x, shape, tuple(size), tuple(stride), tuple(padding), float(divisor) if one else 1.0, False)
        if found is not None:
            found = found if one else np.divide(found, np.asarray(divisor, found.dtype), out=found)
            return laid(found, channels_last(x))
    found = window.avg_pool(x, divisor=divisor, **how)
    return laid(found, channels_last(x)) if len(size) < 3 else np.ascontiguousarray(found)


def _means(
    x: Any, size: tuple[int, ...], stride: tuple[int, ...], out: tuple[int, ...], divisor: Any, padding: tuple[int, ...]
) -> Any:
    """Means of windows that are whole images, of images with channels last, or of lines, as sums that the generator of kernels makes;
    or None."""
    n, last = len(size), channels_last(x)
    bare = not any(padding)
    whole = bare and size == x.shape[-n:] and set(out) == {1}
    fit = all(
        (o - 1) * s + k <= e + 2 * p for e, o, s, k, p in zip(x.shape[-n:], out, stride, size, padding, strict=True)
    )
    lines = n == 1 and fit and size[0] <= SHORT
    if not (whole or lines or (last and bare and n == 2 and fit and stride == size)):
        return None
    if x.size < POOLED or x.dtype not in DTYPES:
        return None
    if not isinstance(divisor, (int, float)) or not native():
        return None
    wide = np.asarray(divisor, F32 if x.dtype in HALVES else x.dtype)
    if whole:
        found = _whole(n)(x, wide)
        return None if found is None else laid(found, last) if n < 3 else found
    if lines:
        return _lines(size[0], stride[0], out[0], padding[0])(x, wide)
    found = _tiles(size, stride, out)(x.transpose(0, 2, 3, 1), wide)
    return None if found is None else laid(found.transpose(0, 3, 1, 2), True)


@cache
def _whole(n: int) -> Any:
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record, cast

    k = Record()

    def body(x: Any, divisor: Any) -> Any:
        return cast(k.sum(cast(x, divisor.dtype), tuple(range(x.ndim - n, x.ndim))) / divisor, x.dtype)

    return compile(body, "means")


SHORT = 8  # cells of a line's window


@lru_cache(maxsize=256)
def _lines(size: int, stride: int, out: int, padding: int) -> Any:
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record, cast

    k = Record()

    def body(x: Any, divisor: Any) -> Any:
        wide, stop = cast(x, divisor.dtype), (out - 1) * stride + 1
        wide = k.pad(wide, [(0, 0)] * (x.ndim - 1) + [(padding, padding)])
        total = k.slice(wide, -1, 0, stop, stride)
        for i in range(1, size):
            total = total + k.slice(wide, -1, i, i + stop, stride)
        return cast(total / divisor, x.dtype)

    return compile(body, "means")


@lru_cache(maxsize=256)
def _tiles(size: tuple[int, ...], stride: tuple[int, ...], out: tuple[int, ...]) -> Any:
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record, cast

    k = Record()

    def body(x: Any, divisor: Any) -> Any:
        images = k.permute(cast(x, divisor.dtype), (0, 3, 1, 2))
        for d, (o, s, e) in enumerate(zip(out, stride, size, strict=True)):
            images = k.slice(images, d + 2, 0, (o - 1) * s + e)
        total = k.sum(k.windows(images, size, stride, (1, 1)), (4, 5)) / divisor
        return cast(k.permute(k.reshape(total, (*images.shape[:2], *out)), (0, 2, 3, 1)), x.dtype)

    return compile(body, "means")


def avg_pool_backward(g: Any, *, shape: Ints, size: Ints, stride: Ints, padding: Ints, divisor: Any) -> Any:
    """Spreads each output's gradient over its window."""
    if prod(shape) >= POOLED and g.dtype in DTYPES and native() and _one_by_one(g, size):
        y = astype(g, F32) if g.dtype in HALVES else g
        y = y / np.asarray(divisor, y.dtype)
        windows = list(zip(shape[-len(size) :], size, stride, padding, g.shape[-len(size) :], strict=True))
        for d in reversed(range(len(size))):  # the last dim, which costs most, while there is least
            y = banded(y, dim=d - len(size), bands=_window_bands(*windows[d], weight=1.0, turned=True))
        return astype(y, g.dtype)
    if prod(shape) >= POOLED and g.dtype in DTYPES and native():
        from flambeau._backends.cpu.pool import mean_pool

        one = isinstance(divisor, (int, float))
        each = g if one else g / np.asarray(divisor, g.dtype)
        found = mean_pool(
            each, tuple(shape), tuple(size), tuple(stride), tuple(padding), float(divisor) if one else 1.0, True
        )
        if found is not None:
            return found
    return window.avg_pool_backward(g, shape=shape, size=size, stride=stride, padding=padding, divisor=divisor)


def _one_by_one(x: Any, size: Ints) -> bool:
    """Whether sums of windows are taken dim by dim: of volumes, large windows, and channels that lie side by side."""
    return len(size) > 1 and (len(size) > 2 or prod(size) > 16 or channels_last(x))


@lru_cache(maxsize=256)
def _window_bands(cells: int, size: int, stride: int, padding: int, out: int, *, weight: float, turned: bool) -> Any:
    """The matrix of sums of windows along a dim, as bands; or its transpose."""
    found = [(max(i * stride - padding, 0), min(i * stride - padding + size, cells)) for i in range(out)]
    if turned:
        over = [[i for i, (first, stop) in enumerate(found) if first <= j < stop] for j in range(cells)]
        found = [(each[0], each[-1] + 1) if each else (0, 0) for each in over]
    return tuple((first, (weight,) * max(stop - first, 0)) for first, stop in found)


def banded(x: Any, *, dim: int, bands: Any, shift: int = 0) -> Any:
    """A dim of x by a matrix, a row of it as (first column, elements from there on): sums of products, in x's dtype. Of bytes, by
    integers, the sums over 2**shift."""
    last = channels_last(x)
    order = [0, *range(2, x.ndim), 1] if last else list(range(x.ndim))
    y = np.ascontiguousarray(x.transpose(order))
    at = order.index(dim % x.ndim)
    size = prod(x.shape) // max(x.shape[dim], 1) * len(bands)
    out = None
    small = size < POOLED
    worth = not small or (
        size and _copies(bands) and often("banded")
    )  # where there is no rounding, it is the same by a kernel
    if worth and (x.dtype in DTYPES or x.dtype == np.uint8) and native():
        from flambeau._backends.cpu.bands import banded as by_kernel

        out = by_kernel(y, at, bands, shift, small)
    if out is None and x.dtype == np.uint8:
        total = _banded(y.astype(np.int64), at, bands)
        out = np.clip((total + (1 << shift >> 1)) >> shift, 0, 255).astype(np.uint8)
    elif out is None:
        out = _banded(y, at, bands)
    out = np.ascontiguousarray(out).transpose(np.argsort(order))
    return np.lib.stride_tricks.as_strided(out, strides=last_strides(out.shape, out.itemsize)) if last else out


@lru_cache(maxsize=256)
def _copies(bands: Any) -> bool:
    """Whether each cell of the result is one cell of the argument."""
    return all(weights == (1.0,) for _, weights in bands)


def _banded(x: Any, dim: int, bands: Any) -> Any:
    """`banded` one tap after the other, so that what no weight is for is not looked at."""
    wide = F32 if x.dtype in HALVES else x.dtype
    y = np.moveaxis(astype(x, wide), dim, -1)
    out = np.zeros((*y.shape[:-1], len(bands)), wide)
    for t in range(max((len(weights) for _, weights in bands), default=0)):
        rows = [i for i, (_, weights) in enumerate(bands) if len(weights) > t]
        part = y[..., [bands[i][0] + t for i in rows]] * np.array([bands[i][1][t] for i in rows], wide)
        out[..., rows] = part if t == 0 else out[..., rows] + part
    shape = (*x.shape[:dim], len(bands), *x.shape[dim + 1 :])
    return astype(np.moveaxis(out, -1, dim), x.dtype).reshape(-1).reshape(shape)  # strides as of a new array
