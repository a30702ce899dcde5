"""Routines about how arrays lie in memory: strided windows on it, other readings of the same bytes, copies in a given order."""

from __future__ import annotations

import itertools
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu import casts
from flambeau._backends.cpu.copies import LARGE, TURNED, copy_into
from flambeau._values.shape import contiguous_strides, is_dense
from flambeau._values.storage import bytes_of, root

Shape = tuple[int, ...]


def owner(x: Any) -> tuple[Any, int]:
    """A C-contiguous array over the memory x lies in, and at which byte of it x starts."""
    top = root(x)
    if not top.flags.c_contiguous:
        if top.flags.f_contiguous:
            top = top.T
        else:
            turned = top.transpose(sorted(range(top.ndim), key=lambda d: -top.strides[d]))
            top = turned if turned.flags.c_contiguous else bytes_of(top)
    return top, x.__array_interface__["data"][0] - top.__array_interface__["data"][0]


def strided(x: Any, *, shape: Shape, strides: Shape, dtype: Any = None) -> Any:
    """The array of these sizes and strides (in elements of its dtype) that starts where x does, in x's memory."""
    d = x.dtype if dtype is None else dtype
    n = d.itemsize
    steps = [s * n for s in strides]
    flags = x.flags
    if flags.c_contiguous:
        return np.ndarray(shape, d, x, 0, steps)
    if flags.f_contiguous:
        return np.ndarray(shape, d, x.T, 0, steps)
    memory, start = owner(x)
    return np.ndarray(shape, d, memory, start, steps)


def as_strided(x: Any, *, shape: Shape, strides: Shape, offset: int | None) -> Any:
    """The same with an offset counted from the start of the storage (None: where x starts), checked against its size."""
    memory, start = owner(x)
    n = x.dtype.itemsize
    if offset is not None:
        start = offset * n
    needed = 0 if 0 in shape else start + (sum((m - 1) * s for m, s in zip(shape, strides, strict=True)) + 1) * n
    if needed > memory.nbytes:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset "
            f"{start // n}, and itemsize {n} requiring "
            f"a storage size of {needed} are out of bounds for storage of size {memory.nbytes}"
        )
    if needed == 0:
        return np.ndarray(shape, x.dtype, np.empty(0, x.dtype), 0, [s * n for s in strides])
    return np.ndarray(shape, x.dtype, memory, start, [s * n for s in strides])


def elements(x: Any) -> Shape:
    """Strides in elements, as PyTorch counts them for empty arrays."""
    if x.size == 0 and x.flags.c_contiguous:
        return contiguous_strides(x.shape)
    n = x.dtype.itemsize
    return tuple(s // n for s in x.strides)


def empty_strided(*, shape: Shape, strides: Shape, dtype: Any) -> Any:
    """New memory, laid out as asked."""
    length = 0 if 0 in shape else sum((m - 1) * s for m, s in zip(shape, strides, strict=True)) + 1
    d = getattr(dtype, "np", dtype)
    memory = np.zeros(length, d)
    return np.ndarray(shape, d, memory, 0, [s * d.itemsize for s in strides])


def laid_out(shape: Shape, d: Any, order: Any) -> Any:
    """New memory whose dims lie densely in this order, the outermost first."""
    a = np.empty([shape[i] for i in order], d)
    back = [0] * len(order)
    for i, o in enumerate(order):
        back[o] = i
    return a.transpose(back)


def format_order(ndim: int, name: str) -> tuple[int, ...]:
    """The order of dims in memory that a memory format stands for."""
    if name == "channels_last" and ndim == 4:
        return (0, 2, 3, 1)
    if name == "channels_last_3d" and ndim == 5:
        return (0, 2, 3, 4, 1)
    if name in ("channels_last", "channels_last_3d"):
        raise RuntimeError(f"required rank {4 if name == 'channels_last' else 5} tensor to use {name} format")
    return tuple(range(ndim))


def empty_as(x: Any, *, dtype: Any = None, format: str = "preserve_format", shape: Shape | None = None) -> Any:
    """New memory like x: with its strides where x is dense (preserve_format), or in a given format."""
    d = x.dtype if dtype is None else dtype.np
    if shape is not None and shape != x.shape:
        return laid_out(shape, d, format_order(len(shape), format))
    if format != "preserve_format":
        return laid_out(x.shape, d, format_order(x.ndim, format))
    if x.flags.c_contiguous:
        return np.empty(x.shape, d)
    n = x.dtype.itemsize
    if is_dense(x.shape, x.strides, n):
        memory = np.empty(x.size, d)
        return np.ndarray(x.shape, d, memory, 0, [abs(s) // n * d.itemsize for s in x.strides])
    return laid_out(x.shape, d, order_of(x))


def order_of(x: Any) -> list[int]:
    """Dims by falling stride, the outermost first; those of stride 0 stay where they stand."""
    if 0 not in x.strides:
        return sorted(range(x.ndim), key=lambda i: (-abs(x.strides[i]), i))
    order, steps = list(range(x.ndim)), [abs(s) for s in x.strides]
    for i in range(1, x.ndim):
        j = i
        while j > 0 and steps[order[j]] > steps[order[j - 1]] > 0:
            order[j], order[j - 1] = order[j - 1], order[j]
            j -= 1
    return order


def copied(x: Any, *, dtype: Any = None, format: str = "preserve_format") -> Any:
    """A copy, in another dtype or memory format."""
    out = empty_as(x, dtype=dtype, format=format)
    if dtype is not None and dtype.np is not x.dtype:
        x = converted(x, dtype=dtype)
    copy_into(out, x)
    return out


def zeros(*, shape: Shape, dtype: Any) -> Any:
    """Zeros; the dtype may be NumPy's or ours."""
    return np.zeros(shape, getattr(dtype, "np", dtype))


def placed(x: Any, *, shape: Shape, where: Any) -> Any:
    """Zeros with x at one subscript."""
    out = np.zeros(shape, x.dtype)
    out[where] = x
    return out


def places(shape: Shape, strides: Shape, start: int) -> Any:
    """Where in the storage each element of a strided array lies."""
    out = np.full(shape, start, np.intp)
    for d, (n, s) in enumerate(zip(shape, strides, strict=True)):
        out += (np.arange(n) * s).reshape((n,) + (1,) * (len(shape) - 1 - d))
    return out


def as_strided_backward(
    g: Any, *, sizes: Shape, strides: Shape, start: int, size: Shape, stride: Shape, offset: int, share: bool
) -> Any:
    """Adds g up where a view's elements lie, then reads it where the tensor's elements lie (shared places share what they got)."""
    into, read = places(size, stride, offset), places(sizes, strides, start)
    if not into.size or not read.size:
        return np.zeros(sizes, g.dtype)
    memory = np.zeros(max(into.max(), read.max()) + 1, g.dtype)
    np.add.at(memory, into, g)
    count = np.bincount(read.reshape(-1), minlength=memory.size)
    if share and count.max() > 1:
        memory = (memory / np.maximum(count, 1)).astype(g.dtype)
    return memory[read]


def as_strided_scatter(x: Any, src: Any, *, shape: Shape, strides: Shape, offset: int | None) -> Any:
    """A copy of x with src written through a strided window of it."""
    if src.shape != shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, "
            f"slice size = {list(shape)}"
        )
    memory, start = owner(x)
    if memory.size == x.size or offset is None:
        memory, start = owner(empty := copied(x))
        x = empty
    else:  # the window may reach outside x: copy all the memory that x can see
        memory = memory.copy()
        x = np.ndarray(x.shape, x.dtype, memory, start, x.strides)
    as_strided(x, shape=shape, strides=strides, offset=offset)[...] = src
    return x


def converted(x: Any, *, dtype: Any) -> Any:
    """A copy in another dtype, with PyTorch's rules for what is lost."""
    d = dtype.np
    if x.dtype is d:
        return x.copy()
    if (
        x.size >= casts.LARGE
        and x.dtype.fields is None
        and d.fields is None
        and dtype.kind == "f"
        and x.dtype.kind in "fV"
    ):
        return casts.astype(x, d)
    kind = x.dtype.kind
    if kind == "V" or d.kind == "V":
        return _carried(x, dtype)
    if kind == "c" and d.kind not in "cb":
        return x.real.astype(d)
    if kind == "f" and d.kind == "u":
        return _wrapped(x, d)
    return x.astype(d)


def _wrapped(x: Any, d: Any) -> Any:
    """Floats as unsigned integers, by way of int64: what is negative wraps around. In parts that stay in cache."""
    if x.size <= PART or not x.flags.c_contiguous:
        return x.astype(np.int64).astype(d)
    flat, out = x.reshape(-1), np.empty(x.size, d)
    for start in range(0, x.size, PART):
        out[start : start + PART] = flat[start : start + PART].astype(np.int64)
    return out.reshape(x.shape)


PART = 1 << 14  # elements


def _carried(x: Any, dtype: Any) -> Any:
    """To and from what NumPy does not know itself: narrow floats, and complex numbers of two halves."""
    d = dtype.np
    if x.dtype.fields and "real" in x.dtype.fields:
        z = np.empty(x.shape, np.complex64)
        z.real, z.imag = x["real"], x["imag"]
        return z if d == np.complex64 else converted(z, dtype=dtype)
    if d.fields and "real" in d.fields:
        z = x.astype(np.complex64)
        out = np.empty(x.shape, d)
        out["real"], out["imag"] = z.real, z.imag
        return out
    if x.dtype.kind == "c":
        x = x.real
    if dtype.kind == "i" and x.dtype.kind == "V":
        return x.astype(np.float32).astype(np.int64).astype(d)
    if d.kind == "c":
        return x.astype(np.float32).astype(d)
    return x.astype(d)


def write(into: Any, x: Any) -> None:
    """into[...] = x, across dtypes."""
    if x.dtype is not into.dtype and (x.dtype.kind in "cV" or into.dtype.kind in "Vu"):
        from flambeau._values.dtype import of

        x = converted(x, dtype=of(into.dtype))
    if into.nbytes >= LARGE and x.dtype == into.dtype:
        copy_into(into, x)
        return
    if into.dtype.kind == "V" and into.dtype.itemsize in _BITS:  # NumPy moves bits faster than numbers it does not know
        bits = _BITS[into.dtype.itemsize]
        into, x = into.view(bits), x.view(bits)
    into[...] = x


_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def roll(x: Any, *, shifts: Shape, dims: Shape) -> Any:
    if x.nbytes < LARGE or not dims:
        return np.roll(x, shifts, dims) if x.size else x.copy()
    whole = slice(None)
    parts: list[list[tuple[slice, slice]]] = [[(whole, whole)] for _ in x.shape]  # of each dim: to where, from where
    for d, n in enumerate(x.shape):
        by = sum(s for s, e in zip(shifts, dims, strict=True) if e % x.ndim == d) % n
        if by:
            parts[d] = [(slice(by, None), slice(n - by)), (slice(by), slice(n - by, None))]
    out = np.empty_like(x)
    for cells in itertools.product(*parts):
        copy_into(out[tuple(to for to, _ in cells)], x[tuple(source for _, source in cells)])
    return out


def tile(x: Any, *, repeats: Shape) -> Any:
    if x.nbytes * prod(repeats) < LARGE:
        return np.tile(x, repeats)
    full = (1,) * (len(repeats) - x.ndim) + x.shape
    out = np.empty([r * n for r, n in zip(repeats, full, strict=True)], x.dtype)
    copy_into(
        out.reshape([m for pair in zip(repeats, full, strict=True) for m in pair]),
        x.reshape([m for n in full for m in (1, n)]),
    )
    return out


def joined(*xs: Any, dim: int) -> Any:
    """Arrays of one dtype, one after another along a dim."""
    first = xs[0]
    turned = first.ndim > 1 and first.nbytes >= TURNED and first.strides[-1] != first.itemsize
    if not turned and sum([x.nbytes for x in xs]) < LARGE * len(xs):
        out = np.concatenate(xs, dim)
        return out if out.flags.c_contiguous or all(map(_channels_last, xs)) else np.ascontiguousarray(out)
    dim = dim % xs[0].ndim if xs[0].ndim else dim
    if 4 <= first.ndim <= 5 and not first.flags.c_contiguous and all(map(_channels_last, xs)):
        moved = joined(*(np.moveaxis(x, 1, -1) for x in xs), dim=(0, first.ndim - 1, *range(1, first.ndim - 1))[dim])
        return np.moveaxis(moved, -1, 1)
    rest = [x.shape[:dim] + x.shape[dim + 1 :] for x in xs]
    if any(r != rest[0] for r in rest):
        return np.concatenate(xs, dim)  # which says what is wrong
    out, start = np.empty((*rest[0][:dim], sum(x.shape[dim] for x in xs), *rest[0][dim:]), xs[0].dtype), 0
    lead = (slice(None),) * dim
    for x in xs:
        copy_into(out[(*lead, slice(start, start + x.shape[dim]))], x)
        start += x.shape[dim]
    return out


def _channels_last(x: Any) -> bool:
    """Whether the strides say that channels come last: where all arrays say so, PyTorch keeps them there."""
    if not 4 <= x.ndim <= 5 or x.strides[1] == 0:
        return False
    least = 0
    for d in (1, *range(x.ndim - 1, 1, -1), 0):
        n, stride = x.shape[d], x.strides[d]
        if n == 0 or stride < least or (d == 0 and least == x.strides[1]):
            return False
        least = stride * n
    return True


def repeats_index(x: Any, *, total: int | None = None) -> Any:
    """0 as often as x[0] says, then 1 as often as x[1] says, ...; `total` of them, where that is given."""
    if total is not None and int(x.sum()) != total:
        raise RuntimeError("allocated size does not match required size")
    return np.repeat(np.arange(x.size, dtype=x.dtype), x.reshape(-1))
