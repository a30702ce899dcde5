"""Readings: dimensions swapped, added and taken, parts selected, tensors joined."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.sparse_arrays import CompressedArray, CooArray, spoken
from flambeau._eager.sparse import reading, refused
from flambeau._eager.sparse.parts import (
    SWAPPED,
    as_coo,
    dims_of,
    is_compressed,
    is_coo,
    is_sparse,
    values_of,
    with_values,
)
from flambeau._tensor import wrap


@reading("transpose.int")
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    d0, d1 = (dims_of(d, input.ndim)[0] for d in (dim0, dim1))
    a = input._a
    shape = list(a.shape)
    shape[d0], shape[d1] = shape[d1], shape[d0]
    if is_compressed(input):
        if d0 == d1:
            return wrap(a.with_values(a.values))
        b = a.batch_dim
        if {d0, d1} != {b, b + 1}:
            raise RuntimeError(
                f"transpose(): can only transpose the sparse dimensions of {spoken(a)} tensors"
                if min(d0, d1) >= b
                else f"transpose(): batch dimensions of {spoken(a)} tensors are not moved"
            )
        v = a.values
        if (v.ndim - b > 2 and a.blocksize != (1, 1)) or str(a.layout)[-3] == "b":
            v = np.swapaxes(v, b + 1, b + 2)
        return wrap(CompressedArray(SWAPPED[a.layout], a.compressed, a.plain, v, shape))
    n = a.sparse_dim
    if d0 == d1:
        return wrap(CooArray(a.indices, a.values, shape, a.coalesced))
    if d0 >= n and d1 >= n:
        return wrap(CooArray(a.indices, np.swapaxes(a.values, d0 - n + 1, d1 - n + 1), shape, a.coalesced))
    if d0 >= n or d1 >= n:
        raise RuntimeError(
            f"sparse transpose: transposed dimensions must be sparse Got sparse_dim: {n}, d0: {d0}, d1: {d1}"
        )
    order = list(range(n))
    order[d0], order[d1] = order[d1], order[d0]
    return wrap(CooArray(a.indices[order], a.values, shape, False))


@reading("t")
def t(input: Any) -> Any:
    if is_coo(input) and (input._a.sparse_dim > 2 or input._a.dense_dim):
        raise RuntimeError(f"t() expects a tensor with <= 2 sparse and 0 dense dimensions, but got {input._a.sparse_dim} sparse and {input._a.dense_dim} dense dimensions")  # fmt: skip
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, 0 if input.ndim < 2 else 1)


@reading("permute")
def permute(input: Any, dims: Any) -> Any:
    if not is_coo(input):
        raise refused("as_strided", (input,), "")
    if len(dims) != input.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions "
            f"i.e. input.dim() = {input.ndim} is not equal to len(dims) = {len(dims)}"
        )
    order = dims_of(dims, input.ndim)
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    a, n = input._a, input._a.sparse_dim
    if any(d >= n for d in order[:n]):
        raise RuntimeError("permute(sparse_coo): transpositions between sparse and dense dimensions are not allowed.Make sure that "
                           f"sparse dimensions are permuted among themselves only, and dense dimensions likewise: dims={list(order)}")  # fmt: skip
    values = a.values.transpose(0, *(d - n + 1 for d in order[n:]))
    kept = order[:n] == tuple(range(n))
    return wrap(CooArray(a.indices[list(order[:n])], values, [a.shape[d] for d in order], a.coalesced and kept))


@reading("mT", composed=True)
def swapped(input: Any) -> Any:
    return input.transpose(-2, -1) if is_coo(input) else reversed_(input)


@reading("numpy_T", composed=True)
def reversed_(input: Any) -> Any:
    return (
        input.transpose(-2, -1) if is_coo(input) and input.ndim == 2 else input.permute(tuple(range(input.ndim))[::-1])
    )


@reading("matrix_H", "mH", "adjoint", composed=True)
def adjoint(input: Any) -> Any:
    return swapped(input).conj()


@reading("unsqueeze")
def unsqueeze(input: Any, dim: int) -> Any:
    if not is_coo(input):
        return input._a.strides
    d = dims_of(dim, input.ndim + 1)[0]
    a, n = input._a, input._a.sparse_dim
    shape = (*a.shape[:d], 1, *a.shape[d:])
    if d > n:
        return wrap(CooArray(a.indices, np.expand_dims(a.values, d - n + 1), shape))
    row = np.zeros((1, a.count), np.int64)
    return wrap(CooArray(np.concatenate([a.indices[:d], row, a.indices[d:]]), a.values, shape))


@reading("select.int")
def select(input: Any, dim: int, index: int) -> Any:
    d = dims_of(dim, input.ndim)[0]
    size = input.shape[d]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {d}"
        )
    a = as_coo(input._a)
    if is_compressed(input) and input._a.batch_dim > d:
        c, at = input._a, (slice(None),) * d + (index,)
        return wrap(
            CompressedArray(c.layout, c.compressed[at], c.plain[at], c.values[at], (*a.shape[:d], *a.shape[d + 1 :]))
        )
    n = a.sparse_dim
    shape = (*a.shape[:d], *a.shape[d + 1 :])
    if d >= n:
        return wrap(CooArray(a.indices, np.take(a.values, index, axis=d - n + 1), shape))
    hit = np.flatnonzero(a.indices[d] == index % size)
    if n == 1:
        v = wrap(a.values[hit])
        return v.sum(0) if v.dtype.kind != "b" else v.any(0)
    return wrap(CooArray(np.delete(a.indices[:, hit], d, 0), a.values[hit], shape))


@reading("unbind.int", composed=True)
def unbind(input: Any, dim: int = 0) -> Any:
    return tuple(input.select(dim, i) for i in range(input.shape[dim]))


@reading("index_select")
def index_select(input: Any, dim: int, index: Any) -> Any:
    if not is_coo(input):
        raise refused("index_select", (input,), "")
    d = dims_of(dim, input.ndim)[0]
    a, n, i = input._a, input._a.sparse_dim, index._a.reshape(-1)
    size = a.shape[d]
    if len(i) and (i.min() < -size or i.max() >= size):
        bad = next(x for x in i.tolist() if not -size <= x < size)
        raise IndexError(
            f"index_select(): index contains {bad} that is out of range for tensor of size {list(a.shape)} at dimension {d}"
        )
    i = i % max(size, 1)
    shape = (*a.shape[:d], len(i), *a.shape[d + 1 :])
    if d >= n:
        return wrap(CooArray(a.indices, np.take(a.values, i, axis=d - n + 1), shape))
    order = np.argsort(a.indices[d], kind="stable")
    row = a.indices[d][order]
    first, last = np.searchsorted(row, i), np.searchsorted(row, i, "right")
    count = last - first
    where = order[np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())]
    indices = a.indices[:, where].copy()
    indices[d] = np.repeat(np.arange(len(i)), count)
    return wrap(CooArray(indices, a.values[where], shape, False))


@reading("narrow_copy")
def narrow_copy(input: Any, dim: int, start: int, length: int) -> Any:
    if not is_coo(input):
        raise refused("narrow_copy", (input,), "")
    d = dims_of(dim, input.ndim)[0]
    a, n = input._a, input._a.sparse_dim
    if start < 0 or length < 0 or start + length > a.shape[d]:
        raise RuntimeError(
            f"Invalid range to narrow. range(start, start+length) must be a subset of range(0, {a.shape[d]})."
        )
    shape = (*a.shape[:d], length, *a.shape[d + 1 :])
    if d >= n:
        return wrap(
            CooArray(
                a.indices,
                a.values[(slice(None),) * (d - n + 1) + (slice(start, start + length),)].copy(),
                shape,
                a.coalesced,
            )
        )
    hit = (a.indices[d] >= start) & (a.indices[d] < start + length)
    indices = a.indices[:, hit]
    indices[d] -= start
    return wrap(CooArray(indices, a.values[hit], shape, a.coalesced))


@reading("cat")
def cat(tensors: Any, dim: int = 0) -> Any:
    for k, x in enumerate(tensors):
        if is_compressed(x):
            return x._a.flags
        if not is_sparse(x):
            raise RuntimeError(f"Concatenating sparse tensors, but a dense tensor was found at position {k}.")
    first = tensors[0]._a
    d = dims_of(dim, first.ndim)[0]
    n = first.sparse_dim
    arrays = [x._a for x in tensors]
    for k, a in enumerate(arrays):
        if (
            a.sparse_dim != n
            or a.dense_dim != first.dense_dim
            or any(m != p for e, (m, p) in enumerate(zip(a.shape, first.shape, strict=True)) if e != d)
        ):
            raise RuntimeError(
                f"All tensors must have the same shape: {list(first.shape)} (except in the concatenating dimension), but found shape: "
                f"{list(a.shape)} at position {k}"
            )
    from flambeau._eager.promotion import result_type

    common = result_type(list(tensors))
    shape = list(first.shape)
    shape[d] = sum(a.shape[d] for a in arrays)
    indices, values, at = [], [], 0
    for x, a in zip(tensors, arrays, strict=True):
        v, i = values_of(x).to(common)._a, a.indices
        if d < n:
            i = i.copy()
            i[d] += at
        else:
            wide = np.zeros((a.count, *shape[n:]), v.dtype)
            wide[(slice(None),) * (d - n + 1) + (slice(at, at + a.shape[d]),)] = v
            v = wide
        at += a.shape[d]
        indices.append(i)
        values.append(v)
    return wrap(CooArray(np.concatenate(indices, 1), np.concatenate(values), shape, False))


@reading("stack")
def stack(tensors: Any, dim: int = 0) -> Any:
    return cat([x.unsqueeze(dim) for x in tensors], dim)


@reading("expand")
def expand(input: Any, size: Any, *, implicit: bool = False) -> Any:
    if tuple(size) == tuple(input.shape):
        return wrap(input._a)
    raise RuntimeError(f"expand is unsupported for {spoken(input._a)} tensors")


@reading("reshape", composed=True)
def reshape(input: Any, shape: Any) -> Any:
    raise RuntimeError("reshape is not implemented for sparse tensors")


@reading("embedding", composed=True)
def embedding(
    weight: Any, input: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    return weight.index_select(0, input.reshape(-1))


def _as_strided(*names: str) -> None:
    @reading(*names)
    def refuse(input: Any, *args: Any, **kwargs: Any) -> Any:
        raise refused("as_strided", (input,), "")


_as_strided("slice.Tensor", "as_strided")
__all__ = ["with_values"]
