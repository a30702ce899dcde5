"""What every reading is written in: taking sparse tensors apart and putting them together, and bringing indices in order."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau._backends.sparse_arrays import BLOCKED, BY_ROWS, CompressedArray, CooArray, SparseArray
from flambeau._tensor import Tensor, wrap
from flambeau._values.device import sparse_bsc, sparse_bsr, sparse_csc, sparse_csr

SWAPPED = {sparse_csr: sparse_csc, sparse_csc: sparse_csr, sparse_bsr: sparse_bsc, sparse_bsc: sparse_bsr}


def is_coo(t: Any) -> bool:
    """Whether something is a tensor in coordinates."""
    return isinstance(t, Tensor) and type(t._a) is CooArray


def is_compressed(t: Any) -> bool:
    """Whether something is a tensor in a compressed layout."""
    return isinstance(t, Tensor) and type(t._a) is CompressedArray


def is_sparse(t: Any) -> bool:
    """Whether something is a tensor in any sparse layout."""
    return isinstance(t, Tensor) and isinstance(t._a, SparseArray)


def values_of(t: Any) -> Any:
    """The values, as a tensor over the same memory."""
    return wrap(t._a.values)


def with_values(t: Any, values: Any) -> Tensor:
    """Other values in the places of t."""
    return wrap(t._a.with_values(values._a))


def flat_indices(indices: Any, shape: Any) -> Any:
    """The position of each coordinate in row-major order of the sparse dimensions."""
    if len(shape) == 1:
        return indices[0]
    out = np.zeros(indices.shape[1], np.int64)
    for row, n in zip(indices, shape, strict=True):
        out = out * n + row
    return out


def in_order(a: CooArray) -> tuple[Any, Any, int]:
    """(positions sorted and distinct, for each element which of them it has, how many there are)."""
    flat = flat_indices(a.indices, a.shape[: a.sparse_dim])
    places, which = np.unique(flat, return_inverse=True)
    return places, which.reshape(-1), len(places)


def coordinates(flat: Any, shape: Any) -> Any:
    """The coordinates of positions in row-major order."""
    if len(shape) == 0:
        return np.empty((0, len(flat)), np.int64)
    return (
        np.ascontiguousarray(np.stack(np.unravel_index(flat, shape)).astype(np.int64))
        if len(flat)
        else np.empty((len(shape), 0), np.int64)
    )


def summed(values: Any, which: Any, count: int) -> Any:
    """The values that have the same place, added up in the order in which they stand."""
    v = wrap(values)
    if v.dtype.kind == "b":
        return (
            v.new_zeros((count, *values.shape[1:])).index_put((wrap(which),), v)._a
            if len(which) == count
            else _any(values, which, count)
        )
    return v.new_zeros((count, *values.shape[1:])).index_add(0, wrap(which), v)._a


def _any(values: Any, which: Any, count: int) -> Any:
    out = np.zeros((count, *values.shape[1:]), np.bool_)
    np.logical_or.at(out, which, values)
    return out


def coalesced(t: Any) -> Any:
    """A tensor whose coordinates are sorted and distinct: itself where they are known to be."""
    a = t._a
    if a.coalesced:
        return t
    return wrap(coalesced_array(a))


def coalesced_array(a: CooArray) -> CooArray:
    """The same for arrays."""
    if a.coalesced:
        return a
    if a.count < 2:
        return CooArray(a.indices.copy(), a.values.copy(), a.shape, True)
    sparse_shape = a.shape[: a.sparse_dim]
    if a.sparse_dim == 0:
        return CooArray(np.empty((0, 1), np.int64), a.values.sum(0, keepdims=True, dtype=a.values.dtype), a.shape, True)
    places, which, n = in_order(a)
    return CooArray(coordinates(places, sparse_shape), summed(a.values, which, n), a.shape, True)


def element_rows(a: CompressedArray) -> Any:
    """For each element of a compressed array without batches, its compressed (row or column) index."""
    return np.repeat(np.arange(len(a.compressed) - 1), np.diff(a.compressed))


def compress(rows: Any, n: int, dtype: Any = np.int64) -> Any:
    """Where each row begins, of sorted row indices."""
    out = np.zeros(n + 1, dtype)
    np.cumsum(np.bincount(rows, minlength=n), out=out[1:])
    return out


def batches(a: CompressedArray) -> list[CompressedArray]:
    """The arrays of a batch, one by one."""
    b = a.batch_dim
    if not b:
        return [a]
    n = prod(a.shape[:b])
    starts, plain = a.compressed.reshape(n, -1), a.plain.reshape(n, a.count)
    values = a.values.reshape(n, *a.values.shape[b:])
    return [CompressedArray(a.layout, starts[i], plain[i], values[i], a.shape[b:]) for i in range(n)]


def batched(parts: list[CompressedArray], batch: Any) -> CompressedArray:
    """The batch of arrays (one array where there is no batch); all have the same count."""
    if not len(batch):
        return parts[0]
    if len({p.count for p in parts}) > 1:
        raise RuntimeError("Expect the same number of specified elements per batch.")
    stack = [
        np.stack(x).reshape(*batch, *x[0].shape)
        for x in ([p.compressed for p in parts], [p.plain for p in parts], [p.values for p in parts])
    ]
    return CompressedArray(parts[0].layout, stack[0], stack[1], stack[2], (*batch, *parts[0].shape))


def row_column(a: CompressedArray) -> tuple[Any, Any]:
    """Row and column (of blocks) of each element of an array without batches."""
    outer, inner = element_rows(a), a.plain
    return (outer, inner) if a.layout in BY_ROWS else (inner, outer)


def as_coo(a: Any) -> CooArray:
    """Any sparse array in coordinates."""
    if type(a) is CooArray:
        return a
    b = a.batch_dim
    block = a.layout in BLOCKED
    h, w = a.blocksize
    indices, values = [], []
    for i, part in enumerate(batches(a)):
        row, column = row_column(part)
        v = part.values
        if block:
            n = len(row)
            y, x = np.indices((h, w))
            row = (row[:, None, None] * h + y).reshape(-1)
            column = (column[:, None, None] * w + x).reshape(-1)
            v = v.reshape(n * h * w, *v.shape[3:])
        at = np.unravel_index(i, a.shape[:b]) if b else ()
        indices.append(np.stack([*(np.full(len(row), k) for k in at), row, column]).astype(np.int64))
        values.append(v)
    return CooArray(np.concatenate(indices, 1), np.concatenate(values), a.shape, a.layout is sparse_csr)


def dense_array(a: Any) -> Any:
    """All elements of a sparse array."""
    a = as_coo(a)
    shape = a.shape[: a.sparse_dim]
    out = wrap(np.zeros((prod(shape), *a.shape[a.sparse_dim :]), a.values.dtype))
    if a.count:
        flat = flat_indices(a.indices, shape) if a.sparse_dim else np.zeros(a.count, np.int64)
        if a.coalesced or a.values.dtype.kind == "b":
            out._a[flat] = a.values
        else:
            out.index_add_(0, wrap(flat), wrap(a.values))
    return out._a.reshape(a.shape)


def picked(source: Any, a: CooArray) -> Any:
    """The elements of a dense array at the coordinates of another."""
    if not a.sparse_dim:
        return np.broadcast_to(source, (a.count, *source.shape)).copy()
    return source[tuple(a.indices)]


def found(source: CooArray, places: Any) -> tuple[Any, Any]:
    """(where each of the sorted positions `places` stands in a coalesced array, whether it does)."""
    flat = flat_indices(source.indices, source.shape[: source.sparse_dim])
    if not len(flat):
        return np.zeros(len(places), np.int64), np.zeros(len(places), np.bool_)
    at = np.searchsorted(flat, places)
    at[at == len(flat)] = 0
    return at, flat[at] == places


def dims_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """Dimensions counted from the front."""
    from flambeau._values.shape import wrap_dim

    given = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(wrap_dim(d, ndim, True) for d in given)
