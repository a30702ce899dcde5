"""Routines that read and write by index. Those that write do so into their first array, and return nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.casts import astype
from flambeau._backends.cpu.library_memory import converted, write
from flambeau._backends.cpu.library_product import native
from flambeau._backends.cpu.often import often
from flambeau._values import dtype as dtypes
from flambeau._values.shape import contiguous_strides, elementwise_strides

UFUNC = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
MEANS = {
    "sum": "add",
    "mean": "add",
    "prod": "mul",
    "amax": "max",
    "amin": "min",
}  # what a reduction does with two elements
NATIVE = 1 << 12  # elements from which a generated kernel reads or writes them


def picked(x: Any, where: Any, wrap: bool, size: int) -> Any:
    """x[where], arrays of indices and None, by a kernel; None where the array library must do it, or say what is wrong."""
    small = size < NATIVE
    if (small and not often("index")) or type(x) is not np.ndarray or not native():
        return None
    from flambeau._backends.cpu.gather import read

    found = read(x, where, wrap, small)
    return None if found is None or found[1][0] else found[0]


def written(into: Any, source: Any, where: Any, op: str, wrap: bool, size: int) -> bool:
    """Whether a kernel did into[where] (op)= source; if not, the array library must do it, or say what is wrong."""
    small = size < NATIVE
    if (small and not often("index_put")) or type(into) is not np.ndarray or into.dtype != source.dtype or not native():
        return False
    from flambeau._backends.cpu.scatter import put

    return put(into, source, where, op, wrap, small) is False


# ---------------------------------------------------------------- index, index_put


def subscript(x: Any, indices: Any) -> tuple[Any, ...]:
    """Index tensors, masks and None as a subscript of the array library."""
    out: list[Any] = []
    dim = 0
    for i, index in enumerate(indices):
        if index is None:
            out.append(slice(None))
            dim += 1
            continue
        if index.dtype.kind == "b" or index.dtype == np.uint8:
            if index.shape != x.shape[dim : dim + index.ndim]:
                for d, n in enumerate(index.shape):
                    if dim + d >= x.ndim:
                        raise IndexError("too many indices for tensor of dimension " + str(x.ndim))
                    if x.shape[dim + d] != n:
                        raise IndexError(
                            f"The shape of the mask {list(index.shape)} at index {d} does not match "
                            "the shape of the indexed tensor "
                            f"{list(x.shape)} at index {dim + d}"
                        )
            if not index.ndim:
                out.append(np.zeros(int(index), np.int64))
            else:
                out.extend(nonzero(index).T if index.size >= NATIVE else index.nonzero())
            dim += index.ndim
            continue
        if dim >= x.ndim:
            raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
        out.append(index)
        dim += 1
    if dim > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    return tuple(out)


def explain(error: Exception, where: tuple[Any, ...]) -> Exception:
    text = str(error)
    if "could not be broadcast" in text:
        shapes = ", ".join(str(list(i.shape)) for i in where if isinstance(i, np.ndarray))
        return IndexError(f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}")
    return IndexError(text.replace("axis", "dimension"))


def beyond(x: Any, where: tuple[Any, ...]) -> Exception | None:
    """What PyTorch says of an index that is out of bounds, if one is."""
    given = [(i, n) for i, n in zip(where, x.shape, strict=False) if isinstance(i, np.ndarray)]
    if any(i.size and n == 0 for i, n in given):
        return IndexError("index is out of bounds for dimension with size 0")
    for number, (i, n) in enumerate(given):  # PyTorch counts the arrays of indices, not the dims
        if i.size and not (-n <= i.min() and i.max() < n):
            bad = i[(i < -n) | (i >= n)].flat[0]
            return IndexError(f"index {bad} is out of bounds for dimension {number} with size {n}")
    return None


def reach(x: Any, where: Any) -> int:
    """About how many elements a subscript names: those of its largest index, times the slices it takes."""
    each, count = x.size, 0
    for n, i in zip(x.shape, where, strict=False):
        if type(i) is not slice:
            each //= n or 1
            if i.size > count:
                count = i.size
    return int(each * count)


def whole_mask(x: Any, indices: Any) -> Any:
    """The mask of all of x that a subscript is, if it is one that a kernel reads."""
    mask = indices[0] if len(indices) == 1 else None
    return mask if mask is not None and mask.shape == x.shape and _held(mask) else None


def _held(mask: Any) -> bool:
    """Whether a kernel finds where a mask holds."""
    return mask.size >= NATIVE and mask.ndim > 0 and (mask.dtype.kind == "b" or mask.dtype == np.uint8) and native()


def small_mask(x: Any, indices: Any) -> Any:
    """The mask over the first dims of x that a subscript is, if it is one that the array library reads at once."""
    mask = indices[0] if len(indices) == 1 else None
    if mask is None or mask.dtype.kind != "b" or not 0 < mask.size < NATIVE or not mask.ndim:
        return None
    return mask if x.flags.c_contiguous and mask.shape == x.shape[: mask.ndim] else None


def index(x: Any, *, indices: Any) -> Any:
    if len(indices) == 1:
        mask = small_mask(x, indices)
        if mask is not None:
            return x[mask]
        mask = whole_mask(x, indices)
        if mask is not None:
            return masked_select(x, mask)
    where = subscript(x, indices)
    out = _found(x, where)
    if out.ndim < 2 or (x.flags.c_contiguous and not [i for i in where if type(i) is not slice and not i.flags.c_contiguous]):  # fmt: skip
        return out if out.flags.c_contiguous else np.ascontiguousarray(out)
    strides = _walked(x, where, out)
    if out.strides == strides:
        return out
    made: Any = np.ndarray(out.shape, out.dtype, None, 0, strides)
    made[...] = out
    return made


def _walked(x: Any, where: tuple[Any, ...], out: Any) -> tuple[int, ...]:
    """How the result lies: PyTorch walks x, whose strides are 0 where an index stands for them, and the indices as elementwise operands."""
    at = [d for d, i in enumerate(where) if type(i) is not slice]
    first = at[0] if at and at == list(range(at[0], at[-1] + 1)) else 0
    rest = [s for d, s in enumerate(x.strides) if d not in at]
    given = np.broadcast_arrays(*(where[d] for d in at))
    rank = given[0].ndim
    walks = [(*rest[:first], *(0,) * rank, *rest[first:])]
    walks += [((0,) * first + i.strides + (0,) * (len(rest) - first)) for i in given]
    order = elementwise_strides(out.shape, [(out.shape, w) for w in walks])
    return tuple(s * out.itemsize for s in order)


def _found(x: Any, where: tuple[Any, ...]) -> Any:
    arrays = [None if type(i) is slice else i for i in where]
    found = picked(x, arrays, True, reach(x, where))
    if found is not None:
        return found
    along = [d for d, i in enumerate(where) if isinstance(i, np.ndarray)]
    try:
        if len(along) == 1 and x.ndim > 1:
            return np.take(x, where[along[0]], along[0])
        out = x[where]
    except IndexError as error:
        raise beyond(x, where) or explain(error, where) from None
    return np.array(out, order="C") if out.base is x or not isinstance(out, np.ndarray) else out


def index_put(into: Any, values: Any, *, indices: Any, accumulate: bool) -> None:
    if (
        not accumulate
        and len(indices) == 1
        and indices[0] is not None
        and indices[0].dtype.kind == "b"
        and values.size == 1
    ):
        mask = indices[0]
        if mask.shape == into.shape[: mask.ndim]:
            masked_write(into, mask.reshape(*mask.shape, *(1,) * (into.ndim - mask.ndim)), values.reshape(()))
            return
    mask = whole_mask(into, indices)
    if mask is not None and values.ndim == 1:
        from flambeau._backends.cpu.compact import put as put_in_order

        if put_in_order(into, mask, values, accumulate):
            return
    mask = small_mask(into, indices)
    if mask is None or values.ndim > 1 + into.ndim - mask.ndim:
        mask, where = None, subscript(into, indices)
        arrays = [None if type(i) is slice else i for i in where]
        if written(into, values, arrays, "add" if accumulate else "set", True, reach(into, where)):
            return
    else:
        where = (mask,)
    try:
        if not accumulate:
            into[where] = values
        elif mask is not None:  # no place occurs twice
            into[where] += values
        elif len(where) == 1 and into.ndim > 1 and values.shape == (*where[0].shape, *into.shape[1:]):
            add_rows(into, where[0], values)
        else:
            np.add.at(into, where, values)
    except IndexError as error:
        raise beyond(into, where) or explain(error, where) from None
    except ValueError as error:
        shape = into[where].shape
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            "indexing result of shape "
            f"{list(shape)}"
        ) from error


def add_rows(into: Any, at: Any, rows: Any) -> None:
    """into[at[i]] += rows[i], where places may occur more than once."""
    if at.ndim != 1:
        at, rows = at.reshape(-1), rows.reshape(-1, *into.shape[1:])
    if not at.size:
        return
    if written(into, rows, (at,), "add", True, rows.size):
        return
    n = into.shape[0]
    if at.min() < 0:
        at = np.where(at < 0, at + n, at)
    if at.max() >= n or at.min() < 0:
        raise IndexError("index out of range in self")
    if rows.ndim == 1 or rows[0].size < 4 or not into.flags.c_contiguous or into.dtype.kind not in "iufc":
        np.add.at(into, at, rows)
        return
    if into.dtype.itemsize < 4:
        if into.dtype.kind != "f":
            np.add.at(into, at, rows)
        else:  # added up in float32
            wide = into.astype(np.float32)
            add_rows(wide, at, rows.astype(np.float32))
            into[...] = wide
        return
    # A sparse matrix with a one in each column, times the rows: SciPy's routine adds every row in its place.
    from scipy.sparse import _sparsetools

    n, count, width = into.shape[0], at.size, rows[0].size
    ones, starts = np.ones(count, into.dtype), np.arange(count + 1, dtype=np.int64)
    rows = np.ascontiguousarray(rows, into.dtype).reshape(-1)
    _sparsetools.csc_matvecs(n, count, width, starts, np.ascontiguousarray(at, np.int64), ones, rows, into.reshape(-1))


# ---------------------------------------------------------------- along one dimension


def take(x: Any, index: Any, *, dim: int) -> Any:
    try:
        if x.ndim == 0:
            return np.take(x.reshape(1), index.reshape(-1), 0).reshape(())
        index = index.reshape(-1)
        found = picked(x, (*(None,) * dim, index), False, reach(x, (*(slice(None),) * dim, index)))
        if found is not None:
            return found
        if index.size and index.min() < 0:
            raise IndexError
        return np.take(x, index, dim)
    except IndexError:
        raise IndexError("index out of range in self") from None


def _front(into: Any, source: Any, dim: int) -> tuple[Any, Any]:
    """Both with `dim` first; 0-d ones as vectors."""
    into = into.reshape(1) if into.ndim == 0 else into
    source = source.reshape(1) if source.ndim == 0 else source
    return np.moveaxis(into, dim, 0), np.moveaxis(source, min(dim, source.ndim - 1), 0)


def index_add(into: Any, index: Any, source: Any, *, dim: int, alpha: Any) -> None:
    if alpha != 1:
        source = source * np.asarray(alpha).astype(source.dtype)
    index = index.reshape(-1)
    if into.ndim == source.ndim and written(into, source, (*(None,) * dim, index), "add", False, source.size):
        return
    target, rows = _front(into, source, dim)
    if target.ndim < rows.ndim:
        rows = rows.reshape(rows.shape[:1] + target.shape[1:])
    if into.dtype.kind == "b":
        np.logical_or.at(target, index, rows)
        return
    if index.size and index.min() < 0:
        raise IndexError("index out of range in self")
    add_rows(target, index, rows)


def index_copy(into: Any, index: Any, source: Any, *, dim: int) -> None:
    index = index.reshape(-1)
    if into.ndim == source.ndim and written(into, source, (*(None,) * dim, index), "set", False, source.size):
        return
    target, rows = _front(into, source, dim)
    try:
        target[index] = rows
    except IndexError:
        bad = int(index[(index < 0) | (index >= target.shape[0])].reshape(-1)[0])
        raise IndexError(
            f"index_copy_(): index {bad} is out of bounds for dimension {dim} with size {target.shape[0]}"
        ) from None


def index_fill(into: Any, index: Any, value: Any, *, dim: int) -> None:
    if value.dtype != into.dtype:
        value = converted(value, dtype=dtypes.of(into.dtype))
    where = (*(None,) * dim, index.reshape(-1))
    if into.ndim and written(into, value, where, "set", True, index.size * into.size // max(into.shape[dim], 1)):
        return
    target, _ = _front(into, into, dim)
    try:
        target[index.reshape(-1)] = value
    except IndexError as error:
        raise IndexError(str(error).replace("axis 0", f"dimension {dim}")) from None


def limits(d: Any) -> tuple[Any, Any]:
    """The least and the greatest value of a dtype."""
    if d.kind in "iu":
        return np.iinfo(d).min, np.iinfo(d).max
    return (False, True) if d.kind == "b" else (-np.inf, np.inf)


def identity(reduce: str, d: Any) -> Any:
    least, greatest = limits(d)
    return {"amax": least, "amin": greatest, "prod": 1}.get(reduce, 0)


def combine(into: Any, source: Any, reduce: str, include_self: bool, write: Any, alike: Sequence[int] = ()) -> None:
    """Elements of `into` reduced with those of the source that `write(target, source, operation)` brings to them, as many along
    dims that are `alike`."""
    if not include_self:
        write(into, np.asarray(identity(reduce, into.dtype), into.dtype), "set")
    write(into, source, MEANS[reduce])
    if reduce == "mean":
        shape = tuple(1 if d in alike else n for d, n in enumerate(into.shape))
        count = np.full(shape, 1 if include_self else 0, np.int64)
        write(count, np.ones((), np.int64), "add")
        count = np.maximum(count, 1)
        into[...] = (
            into // count if into.dtype.kind in "iu" else (into / count.astype(into.real.dtype)).astype(into.dtype)
        )


def index_reduce(into: Any, index: Any, source: Any, *, dim: int, reduce: str, include_self: bool) -> None:
    index = index.reshape(-1)

    def write(target: Any, rows: Any, op: str) -> None:
        if target.ndim and written(target, rows, (*(None,) * dim, index), op, True, source.size):
            return
        target, rows = _front(target, rows, dim) if rows.ndim else (_front(target, target, dim)[0], rows)
        if op == "set":
            target[index] = rows
        else:
            UFUNC[op].at(target, index, rows)

    combine(into, source, reduce, include_self, write)


# ---------------------------------------------------------------- flat positions


def take_flat(x: Any, index: Any) -> Any:
    n = x.size
    if n == 0 and index.size:
        raise IndexError("take(): tried to take from an empty tensor")
    flat = x.reshape(-1)
    found = picked(flat, (index,), True, index.size)
    if found is not None:
        return found
    try:
        return np.array(flat[index])
    except IndexError:
        raise IndexError("out of range: tried to access index " + str(int(index[(index >= n) | (index < -n)].reshape(-1)[0])) +
                         f" on a tensor of {n} elements.") from None  # fmt: skip


def put(into: Any, index: Any, source: Any, *, accumulate: bool) -> None:
    if into.flags.c_contiguous and written(
        into.reshape(-1), source.reshape(-1), (index.reshape(-1),), "add" if accumulate else "set", True, index.size
    ):
        return
    where = np.unravel_index(np.where(index < 0, index + into.size, index).reshape(-1), into.shape) if into.ndim else ()
    values = source.reshape(-1)
    if not into.ndim:
        if values.size:
            into[...] = into + values.sum(dtype=into.dtype) if accumulate else values[-1]
    elif accumulate:
        np.add.at(into, where, values)
    else:
        into[where] = values


# ---------------------------------------------------------------- masks


def masked_write(into: Any, mask: Any, value: Any) -> None:
    if value.dtype != into.dtype:
        value = converted(value, dtype=dtypes.of(into.dtype))
    bits = _BITS.get(into.dtype.itemsize)
    if into.size >= NATIVE and bits is not None and mask.dtype.kind == "b" and not value.ndim and native():
        whole = into.view(bits)
        if _filled()(whole, mask, value.view(bits), whole) is not None:
            return
    np.copyto(into, value, where=mask)


_BITS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}  # elements that are only moved


@cache
def _filled() -> Any:
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record

    k = Record()
    return compile(lambda mask, value, x: k.where(mask, value, x), "masked_write", write=True)


def masked_select(x: Any, mask: Any) -> Any:
    if x.shape != mask.shape:
        x, mask = np.broadcast_arrays(x, mask)
    if _held(mask):
        from flambeau._backends.cpu.compact import pick

        found = pick(x, mask)
        if found is not None:
            return found
    mask = mask != 0 if mask.dtype == np.uint8 else mask
    return x[mask] if x.ndim else x.reshape(1)[mask.reshape(1)]


def masked_scatter(into: Any, mask: Any, source: Any) -> None:
    mask = np.broadcast_to(mask, into.shape)
    n = None
    if _held(mask):
        from flambeau._backends.cpu.compact import spread

        n = spread(into, mask, source)
        if n is not None and n <= source.size:
            return
    n = int(np.count_nonzero(mask)) if n is None else n
    if n > source.size:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    into[mask] = source.reshape(-1)[:n]


def widened(x: Any) -> Any:
    """Narrow floats, and complex numbers of two halves, as NumPy can look at them."""
    return astype(x, np.complex64) if x.dtype.fields else x.astype(np.float32)


def nonzero(x: Any) -> Any:
    if x.dtype.kind == "V":
        x = widened(x)
    if not x.ndim:
        return np.zeros((int(bool(x)), 0), np.int64)
    if x.size >= NATIVE and native():
        from flambeau._backends.cpu.compact import places

        return np.ascontiguousarray(places(x if x.dtype.kind == "b" else x != 0).T).T  # by columns, as PyTorch's
    return np.stack(np.nonzero(x)).T if x.ndim > 1 else np.flatnonzero(x).reshape(1, -1).T


def count_nonzero(x: Any, *, dims: Any) -> Any:
    if x.dtype.kind == "V":
        x = widened(x)
    return (
        np.asarray(np.count_nonzero(x, axis=dims), np.int64)
        if dims != ()
        else np.asarray(np.count_nonzero(x), np.int64)
    )


# ---------------------------------------------------------------- gather, scatter


def grid(index: Any, dim: int) -> tuple[Any, ...]:
    """The subscript under which index's elements stand for places along dim."""
    out = []
    for d, n in enumerate(index.shape):
        out.append(index if d == dim else np.arange(n).reshape((n,) + (1,) * (index.ndim - 1 - d)))
    return tuple(out)


_UNSIGNED = {np.dtype(np.int64): np.uint64, np.dtype(np.int32): np.uint32}


def within(index: Any, n: int) -> bool:
    """Whether all indices lie in 0 ... n-1. Read as unsigned, a negative one is too large: one pass tells both."""
    unsigned = _UNSIGNED.get(index.dtype)
    return (
        bool(index.min() >= 0 and index.max() < n)
        if unsigned is None
        else bool(np.maximum.reduce(index.view(unsigned), axis=None) < n)
    )


def _bounds(name: str, index: Any, n: int, dim: int) -> None:
    if index.size and not within(index, n):
        bad = int(index[(index < 0) | (index >= n)].reshape(-1)[0])
        raise RuntimeError(f"index {bad} is out of bounds for dimension {dim} with size {n}")


def flat_places(index: Any, shape: Any, dim: int) -> Any:
    """Where in a flattened array of that shape the places of `grid` lie."""
    strides = contiguous_strides(shape)
    out = index.astype(np.int64) if index.dtype != np.int64 or strides[dim] == 1 else index * strides[dim]
    if strides[dim] != 1 and index.dtype != np.int64:
        out *= strides[dim]
    for d, n in enumerate(index.shape):
        if d != dim and n > 1:
            out += (np.arange(n) * strides[d]).reshape((n,) + (1,) * (index.ndim - 1 - d))
    return out


def gather(x: Any, index: Any, *, dim: int) -> Any:
    if not index.size:
        return np.empty(index.shape, x.dtype)
    shape = index.shape
    x, index = (x.reshape(1) if not x.ndim else x), (index.reshape(1) if not index.ndim else index)
    small = index.size < NATIVE
    if (not small or often("gather")) and native():
        from flambeau._backends.cpu.gather import gather as kernel

        found = kernel(x, index, dim, False, small)
        if found is not None and not found[1][0]:
            return found[0].reshape(shape)
    _bounds("gather", index, x.shape[dim], dim)
    if x.flags.c_contiguous:
        return x.reshape(-1).take(flat_places(index, x.shape, dim), mode="clip").reshape(shape)
    return x[grid(index, dim)].reshape(shape)


def place(into: Any, index: Any, src: Any, dim: int, op: str) -> None:
    """Each element of src (or src itself, if 0-d) written, added, ... to the place along `dim` that its index names."""
    small = index.size < NATIVE
    if (not small or often("scatter")) and into.dtype == src.dtype and native():
        from flambeau._backends.cpu.scatter import scatter as kernel

        if kernel(into, src, index, dim, op, small) is False:
            return
    _bounds("scatter", index, into.shape[dim], dim)
    if into.flags.c_contiguous:  # one flat index is faster than one for each dimension
        where: Any = flat_places(index, into.shape, dim).reshape(-1)
        src = src.reshape(-1) if src.ndim and src.size == where.size else src
        into = into.reshape(-1)
    else:
        where = grid(index, dim)
    if op == "set":
        into[where] = src
    else:
        UFUNC[op].at(into, where, src)


def scatter(into: Any, index: Any, src: Any, *, dim: int, reduce: Any) -> None:
    if not index.size:
        return
    into, index = (into.reshape(1) if not into.ndim else into), (index.reshape(1) if not index.ndim else index)
    if src.ndim:
        src = src[tuple(slice(0, n) for n in index.shape)]
    elif src.dtype != into.dtype:
        src = converted(src, dtype=dtypes.of(into.dtype))
    place(into, index, src, dim, {None: "set", "add": "add", "multiply": "mul"}[reduce])


def scatter_value(into: Any, index: Any, *, value: Any, dim: int, reduce: Any) -> None:
    scatter(into, index, np.asarray(value).astype(into.dtype), dim=dim, reduce=reduce)


def scatter_reduce(into: Any, index: Any, src: Any, *, dim: int, reduce: str, include_self: bool) -> None:
    if not index.size:
        return
    into, index = (into.reshape(1) if not into.ndim else into), (index.reshape(1) if not index.ndim else index)
    src = src.reshape(1) if not src.ndim else src
    src = src[tuple(slice(0, n) for n in index.shape)]
    full = zip(index.shape, into.shape, index.strides, strict=True)
    alike = [d for d, (m, n, s) in enumerate(full) if d != dim and m == n and s == 0]
    once = index[tuple(slice(0, 1) if d in alike else slice(None) for d in range(index.ndim))]

    def write(target: Any, source: Any, op: str) -> None:
        place(target, index if target.shape == into.shape else once, source, dim, op)

    combine(into, src, reduce, include_self, write, alike)


__all__ = ["write"]


# ---------------------------------------------------------------- rows of a table


def rows(table: Any, index: Any) -> Any:
    n = table.shape[0]
    found = picked(table, (index,), False, index.size * table.shape[1])
    if found is not None:
        return found
    if index.size and not within(index, n):
        raise IndexError("index out of range in self")
    return np.take(table, index, 0)


def rows_backward(g: Any, index: Any, *, count: int, padding: int, scale: bool) -> Any:
    out = np.zeros((count, g.shape[-1]), g.dtype)
    index, g = index.reshape(-1), g.reshape(-1, g.shape[-1])
    if scale:
        often = np.bincount(index, minlength=count)
        g = (g / often[index][:, None]).astype(g.dtype)
    add_rows(out, index, g)
    if 0 <= padding < count:
        out[padding] = 0
    return out


def renorm_rows(table: Any, index: Any, *, limit: float, p: float) -> None:
    at = np.unique(index)
    if not at.size:
        return
    chosen = table[at].astype(np.float64)
    norms = np.linalg.norm(chosen, p, axis=1) if p > 0 else (chosen != 0).sum(1)
    factor = np.where(norms > limit, limit / (norms + 1e-7), 1.0)
    table[at] = (chosen * factor[:, None]).astype(table.dtype)


def bag_bounds(index: Any, offsets: Any, *, last: bool) -> Any:
    """Where bags begin, and where the last one ends."""
    n = index.shape[0]
    starts = offsets[:-1] if last else offsets
    if starts.size and starts[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {starts[0]}"
        )
    if offsets.size and offsets[-1] > n:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length({n}) but got offsets[-1] of {offsets[-1]}"
        )
    bounds = (offsets if last else np.append(offsets, n)).astype(np.int64)
    if (np.diff(bounds) < 0).any():
        raise RuntimeError("Expected i < index_size to be true, but got false.")
    return bounds


def segments(index: Any, bounds: Any) -> Any:
    """Which bag each index is in; and how long the bags are."""
    lengths = np.diff(bounds)
    bag = np.repeat(np.arange(len(lengths), dtype=index.dtype), lengths)
    return bag, lengths.astype(index.dtype)


BAGS = 1 << 11  # elements from which bags are summed by a kernel


def _bagged(table: Any, index: Any, bounds: Any, scale: Any, most: bool, padding: int) -> Any:
    if index.size and not within(index, table.shape[0]):
        at = int(np.argmax((index < 0) | (index >= table.shape[0])))
        raise RuntimeError(
            f"embedding_bag: Expected idx >= 0 && idx < num_embeddings but found idx to be {index[at]}"
            if most
            else f"Index {at} of input takes value {index[at]} which is not in the valid range [0, {table.shape[0]})"
        )
    if index.size * table.shape[1] < BAGS or not native():
        return None
    from flambeau._backends.cpu.bags import bags

    return bags(table, index, bounds, scale, most, padding)


def bag_sums(table: Any, index: Any, bounds: Any, scale: Any, *, padding: int) -> Any:
    """Of each bag, the sum of the rows that its indices name, each times a number; those at `padding` are left out."""
    out = _bagged(table, index, bounds, scale, False, padding)
    if out is None:
        wide = np.float32 if table.dtype in dtypes.HALVES else table.dtype
        out = np.zeros((len(bounds) - 1, table.shape[1]), wide)
        bag, kept = segments(index, bounds)[0], index[bounds[0] : bounds[-1]] != padding
        rows = table[index[bounds[0] : bounds[-1]]].astype(wide, copy=False)
        if scale is not None:
            rows = rows * scale[bounds[0] : bounds[-1], None].astype(wide, copy=False)
        np.add.at(out, bag[kept], rows[kept])
    return astype(out, table.dtype)


def bag_maxima(table: Any, index: Any, bounds: Any, *, padding: int) -> Any:
    """Of each bag and column, the largest element of its rows and the first row that holds it; zeros where a bag is empty."""
    found = _bagged(table, index, bounds, None, True, padding)
    if found is not None:
        return found
    shape = (len(bounds) - 1, table.shape[1])
    out, where = np.zeros(shape, table.dtype), np.zeros(shape, np.int64)
    for bag, (first, stop) in enumerate(itertools.pairwise(bounds)):
        rows = [row for row in index[first:stop] if row != padding]
        if rows:
            out[bag], where[bag] = table[rows[0]], rows[0]
        for row in rows[1:]:
            more = table[row] > out[bag]
            out[bag][more], where[bag][more] = table[row][more], row
    return out, where


def one_hot(index: Any, *, classes: int) -> Any:
    n = int(index.max()) + 1 if classes == -1 else classes
    out = np.zeros((*index.shape, n), np.int64)
    np.put_along_axis(out, index[..., None], 1, -1) if index.size else None
    return out
