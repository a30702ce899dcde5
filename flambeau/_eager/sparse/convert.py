"""Readings: the parts of a sparse tensor, conversion between layouts, masks, copies."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau._backends.sparse_arrays import BLOCKED, BY_ROWS, SPOKEN, CompressedArray, CooArray, spoken
from flambeau._eager.sparse import reading, refused, writing
from flambeau._eager.sparse.parts import (
    as_coo,
    batched,
    batches,
    coalesced,
    coalesced_array,
    compress,
    coordinates,
    dense_array,
    flat_indices,
    found,
    is_compressed,
    is_coo,
    is_sparse,
    picked,
    row_column,
    summed,
    values_of,
    with_values,
)
from flambeau._tensor import wrap
from flambeau._values.device import sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr, strided
from flambeau._values.dtype import SPOKEN as DTYPES


def _expect(input: Any, name: str, kind: str, ok: bool) -> None:
    if not ok:
        raise RuntimeError(f"{name} expected {kind} tensor layout but got {spoken(input._a)}")


@reading("values")
def values(input: Any) -> Any:
    _expect(input, "values", "sparse", is_sparse(input))
    if is_coo(input) and not input._a.coalesced:
        raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
    return values_of(input)


@reading("_values")
def _values(input: Any) -> Any:
    if not is_coo(input):
        raise refused("_values", (input,), "")
    return values_of(input)


@reading("indices")
def indices(input: Any) -> Any:
    _expect(input, "indices", "sparse coordinate", is_coo(input))
    if not input._a.coalesced:
        raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
    return wrap(input._a.indices)


@reading("_indices")
def _indices(input: Any) -> Any:
    if not is_coo(input):
        raise refused("_indices", (input,), "")
    return wrap(input._a.indices)


def _compressed_part(name: str, kind: str, layouts: Any, field: str) -> None:
    @reading(name)
    def part(input: Any) -> Any:
        _expect(input, name, f"sparse {kind} compressed", is_compressed(input) and input.layout in layouts)
        return wrap(getattr(input._a, field))


_compressed_part("crow_indices", "row", BY_ROWS, "compressed")
_compressed_part("col_indices", "row", BY_ROWS, "plain")
_compressed_part("ccol_indices", "column", (sparse_csc, sparse_bsc), "compressed")
_compressed_part("row_indices", "column", (sparse_csc, sparse_bsc), "plain")


@reading("_nnz")
def _nnz(input: Any) -> int:
    if not is_sparse(input):
        raise refused("_nnz", (input,), "")
    return int(input._a.count)


@reading("sparse_dim")
def sparse_dim(input: Any) -> int:
    return int(input._a.sparse_dim) if is_sparse(input) else 0


@reading("dense_dim")
def dense_dim(input: Any) -> int:
    return int(input._a.dense_dim) if is_sparse(input) else int(input.ndim)


@reading("is_coalesced")
def is_coalesced(input: Any) -> bool:
    _expect(input, "is_coalesced", "sparse coordinate", is_coo(input))
    return bool(input._a.coalesced)


@reading("coalesce")
def coalesce(input: Any) -> Any:
    _expect(input, "coalesce", "sparse coordinate", is_coo(input))
    return coalesced(input)


@writing("_coalesced")
def _coalesced(input: Any, coalesced: bool) -> None:
    input._a.coalesced = bool(coalesced)


@reading("_sparse_with_values")
def _sparse_with_values(input: Any, like: Any) -> Any:
    return with_values(like, input)


@reading("_sparse_values_at")
def _sparse_values_at(input: Any, like: Any) -> Any:
    a, source = like._a, input._a
    if source is a or (type(source) is type(a) and _same_places(source, a)):
        return values_of(input)
    if type(a) is CooArray:
        return wrap(_at_coordinates(source, a))
    dense = source if not is_sparse(input) else dense_array(source)
    return wrap(_at_compressed(dense, a))


def _same_places(a: Any, b: Any) -> bool:
    if type(a) is CooArray:
        return a.indices is b.indices or (
            a.indices.shape == b.indices.shape and bool((a.indices == b.indices).all()) and (a.coalesced or b.coalesced)
        )
    return a.layout is b.layout and all(
        x is y or (x.shape == y.shape and bool((x == y).all()))
        for x, y in ((a.compressed, b.compressed), (a.plain, b.plain))
    )


def _at_coordinates(source: Any, a: CooArray) -> Any:
    """The elements of any array at coordinates."""
    if isinstance(source, np.ndarray):
        return picked(source, a)
    have = coalesced_array(as_coo(source))
    if have.sparse_dim != a.sparse_dim:
        return picked(dense_array(source), a)
    if not a.sparse_dim:
        return np.broadcast_to(have.values.sum(0), (a.count, *have.values.shape[1:])).copy()
    at, hit = found(have, flat_indices(a.indices, a.shape[: a.sparse_dim]))
    if not have.count:
        return np.zeros((a.count, *have.values.shape[1:]), have.values.dtype)
    out = have.values[at]
    out[~hit] = 0
    return out


def _at_compressed(dense: Any, a: CompressedArray) -> Any:
    """The elements of a dense array in the places of a compressed one."""
    b = a.batch_dim
    h, w = a.blocksize
    out = []
    for part, x in zip(batches(a), dense.reshape(prod(a.shape[:b]), *dense.shape[b:]), strict=True):
        row, column = row_column(part)
        if a.layout in BLOCKED:
            blocks = x.reshape(x.shape[0] // h, h, x.shape[1] // w, w, *x.shape[2:]).swapaxes(1, 2)
            out.append(blocks[row, column])
        else:
            out.append(x[row, column])
    return np.stack(out).reshape(*a.shape[:b], *out[0].shape) if b else out[0]


@reading("sparse_mask")
def sparse_mask(input: Any, mask: Any) -> Any:
    if not is_sparse(mask):
        raise refused("_nnz" if is_sparse(input) else "sparse_mask", (mask,), "")
    if input.shape != mask.shape:
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {list(input.shape)} but mask has size {list(mask.shape)}"
        )
    return with_values(mask, _sparse_values_at(input, mask))


@reading("_sparse_mask_projection")
def _sparse_mask_projection(input: Any, mask: Any, accumulate_matches: bool = False) -> Any:
    a, m = coalesced_array(input._a), coalesced_array(mask._a)
    _, hit = found(m, flat_indices(a.indices, a.shape[: a.sparse_dim]))
    v = a.values.copy()
    v[~hit] = 0
    return wrap(CooArray(a.indices, v, a.shape, True))


# ---------------------------------------------------------------- between layouts


@reading("to_dense")
def to_dense(input: Any, dtype: Any = None, *, masked_grad: Any = None) -> Any:
    if not is_sparse(input):
        return input if dtype is None or dtype is input.dtype else input.to(dtype)
    if dtype is not None:
        raise RuntimeError("dtype argument is not supported by sparse_to_dense")
    return wrap(dense_array(input._a))


def dense_to_coo(x: Any, sparse_dim: int) -> CooArray:
    """The elements of a dense array that are not zero (or the slices in which some are not), by coordinates."""
    shape = x.shape[:sparse_dim]
    if x.ndim > sparse_dim:
        some = (x != 0).any(axis=tuple(range(sparse_dim, x.ndim)))
    else:
        some = x != 0
    if x.ndim == 0:
        kept = bool(some)
        return CooArray(np.empty((0, int(kept)), np.int64), x.reshape(1)[: int(kept)].copy(), (), True)
    flat = np.flatnonzero(some)
    return CooArray(coordinates(flat, shape), x.reshape(-1, *x.shape[sparse_dim:])[flat], x.shape, True)


@reading("to_sparse")
def to_sparse(
    input: Any, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None, dense_dim: Any = None
) -> Any:
    wanted = sparse_coo if layout is None else layout
    if wanted is not sparse_coo and sparse_dim is None:
        if wanted in BLOCKED and blocksize is None and input.layout is not wanted:
            raise RuntimeError(
                f"{_from(input)}: conversion from {spoken(input._a)} to {SPOKEN[wanted]} without blocksize argument given is not supported"
            )
        return (
            to_compressed(input, wanted, blocksize, dense_dim, "to_sparse")
            if wanted is not strided
            else to_dense(input)
        )
    if not is_sparse(input):
        n = input.ndim
        count = n if sparse_dim is None else int(sparse_dim)
        if n and count == 0:
            raise RuntimeError("dense_to_sparse: sparse_dim argument must be in >0 when self.dim()>0")
        if not 0 <= count <= n:
            raise RuntimeError(f"dense_to_sparse: sparse_dim argument must be in [0,{n}] range, but {count} is given")
        return wrap(dense_to_coo(input._a, count))
    if is_coo(input):
        if sparse_dim is not None and sparse_dim != input._a.sparse_dim:
            raise RuntimeError(
                "to_sparse: conversion from Sparse to Sparse with sparse_dim argument !=self.sparse_dim() is not supported"
            )
        return input
    if sparse_dim is not None and sparse_dim != 2 + input._a.batch_dim:
        raise RuntimeError(
            f"sparse_compressed_to_sparse: conversion from {spoken(input._a)} to Sparse with sparse_dim argument !=2 is not supported"
        )
    return wrap(as_coo(input._a))


def _from(input: Any) -> str:
    return (
        "dense_to_sparse"
        if not is_sparse(input)
        else "coo_to_sparse"
        if is_coo(input)
        else "sparse_compressed_to_sparse"
    )


def _conversion(name: str, layout: Any) -> None:
    if layout in BLOCKED:

        @reading(name)
        def convert(input: Any, blocksize: Any, dense_dim: Any = None) -> Any:
            return to_compressed(input, layout, blocksize, dense_dim, name)
    else:

        @reading(name)
        def convert(input: Any, dense_dim: Any = None) -> Any:
            return to_compressed(input, layout, None, dense_dim, name)


for _name, _layout in (("to_sparse_csr", sparse_csr), ("to_sparse_csc", sparse_csc), ("to_sparse_bsr", sparse_bsr), ("to_sparse_bsc", sparse_bsc)):  # fmt: skip
    _conversion(_name, _layout)


def to_compressed(input: Any, layout: Any, blocksize: Any, dense_dim: Any, name: str) -> Any:
    """A tensor of any layout in a compressed one."""
    short = str(layout).removeprefix("torch.")
    a = input._a
    if blocksize is not None:
        blocksize = tuple(int(n) for n in ((blocksize, blocksize) if isinstance(blocksize, int) else blocksize))
    if (
        is_compressed(input)
        and a.layout is layout
        and (layout not in BLOCKED or blocksize is None or blocksize == tuple(a.blocksize))
    ):
        return input
    if is_compressed(input) and a.layout in BLOCKED and layout not in BLOCKED:
        raise RuntimeError(f"sparse_compressed_to_{short}: expected SparseCsr or SparseCsc layout but got {spoken(a)}")
    if is_coo(input):
        if a.sparse_dim != 2:
            raise RuntimeError(
                f"coo_to_{short}: conversion from Sparse to {SPOKEN[layout]} for input tensors with sparse_dim()!=2 is not supported"
            )
        dense = a.dense_dim
        parts, batch = [coalesced_array(a)], ()
    elif is_compressed(input):
        dense, batch = a.dense_dim, a.shape[: a.batch_dim]
        parts = [coalesced_array(as_coo(p)) if p.layout is not sparse_csr else as_coo(p) for p in batches(a)]
    else:
        dense = 0 if dense_dim is None else int(dense_dim)
        if input.ndim < 2:
            if input.ndim == 1:
                raise IndexError(f"select(): index 1 out of range for tensor of size [{input.ndim + 1}, {int((a != 0).sum())}] at dimension 1".replace("[2,", "[1,") if layout in BLOCKED else f"select(): index 1 out of range for tensor of size [1, {int((a != 0).sum())}] at dimension 0")  # fmt: skip
            raise RuntimeError(f"dense_to_{short}: expected 2 or more dimensions")
        if not 0 <= dense <= input.ndim - 2:
            raise RuntimeError(
                f"dense_to_{short}: dense_dim argument must be in [0,{input.ndim - 2}] range, but {dense} is given"
            )
        b = input.ndim - dense - 2
        batch = a.shape[:b]
        parts = [dense_to_coo(x, 2) for x in a.reshape(prod(batch), *a.shape[b:])]
    rows, columns = input.shape[len(batch) : len(batch) + 2]
    if layout in BLOCKED:
        h, w = blocksize
        if h <= 0 or w <= 0 or rows % h or columns % w:
            raise RuntimeError(
                f"{_from(input)}_{short[-3:]}: tensor sparse size ({rows},{columns}) must be divisible by given blocksize ({h},{w})"
            )
        parts = [_blocked(p, h, w) for p in parts]
    else:
        h = w = 1
    made = [
        _compressed(p, layout, rows // h, columns // w, (rows, columns, *input.shape[input.ndim - dense :]))
        for p in parts
    ]
    return wrap(batched(made, batch))


def _blocked(a: CooArray, h: int, w: int) -> CooArray:
    """Coordinates of blocks, each value a block."""
    row, column = a.indices
    wide = a.shape[1] // w
    places, which = np.unique(row // h * wide + column // w, return_inverse=True)
    v = np.zeros((len(places), h, w, *a.values.shape[1:]), a.values.dtype)
    v[which.reshape(-1), row % h, column % w] = a.values
    return CooArray(np.stack([places // max(wide, 1), places % max(wide, 1)]), v, a.shape, True)


def _compressed(a: CooArray, layout: Any, rows: int, columns: int, shape: Any) -> CompressedArray:
    row, column = a.indices
    if layout in BY_ROWS:
        return CompressedArray(layout, compress(row, rows), np.ascontiguousarray(column), a.values, shape)
    order = np.lexsort((row, column))
    return CompressedArray(layout, compress(column, columns), row[order], a.values[order], shape)


# ---------------------------------------------------------------- copies


@reading("clone")
def clone(input: Any, *, memory_format: Any = None) -> Any:
    if memory_format is not None and memory_format.name != "preserve_format":
        raise RuntimeError(f"unsupported memory format option {memory_format.name.title().replace('_Format', '')}")
    return wrap(input._a.copy())


@reading("contiguous")
def contiguous(input: Any, memory_format: Any = None) -> Any:
    if is_compressed(input):
        return input._a.flags
    raise RuntimeError("unsupported memory format option Contiguous")


@reading("_to_copy")
def _to_copy(input: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None,
             non_blocking: bool = False, memory_format: Any = None) -> Any:  # fmt: skip
    if dtype is None:
        return wrap(input._a.copy())
    v = values_of(input).to(dtype)
    a = input._a.with_values(v._a)
    return wrap(a.copy())


@writing("copy")
def copy(input: Any, src: Any, non_blocking: bool = False) -> None:
    if not is_sparse(src) or not is_sparse(input):
        raise RuntimeError(
            "copy_() between dense and sparse Tensors is not implemented! Found self type = "
            f"{_type(input)} and src type = {_type(src)}"
        )
    if type(src._a) is not type(input._a) or src.layout is not input.layout:
        raise RuntimeError("torch.copy_: only sparse compressed tensors of the same layout can be copied" if is_compressed(input) else
                           "copy_() between dense and sparse Tensors is not implemented! Found self type = "
                           f"{_type(input)} and src type = {_type(src)}")  # fmt: skip
    if is_compressed(input) and input.shape != src.shape:
        raise RuntimeError(
            f"torch.copy_: only sparse compressed tensors with the same size are supported, got {list(input.shape)} and {list(src.shape)}"
        )
    made = src.to(input.dtype)._a.copy()
    input._a.become(made)


def _type(t: Any) -> str:
    return f"torch.{'sparse.' if is_coo(t) else 'sparse_csr.' if is_sparse(t) else ''}{DTYPES[t.dtype]}Tensor"


@writing("zero")
def zero(input: Any) -> None:
    a = input._a
    if is_coo(input):
        a.become(
            CooArray(
                np.empty((a.sparse_dim, 0), np.int64), np.empty((0, *a.values.shape[1:]), a.values.dtype), a.shape, True
            )
        )
    else:
        b = a.batch_dim
        a.become(CompressedArray(a.layout, np.zeros_like(a.compressed), a.plain[..., :0].copy(),
                                 np.empty((*a.values.shape[:b], 0, *a.values.shape[b + 1 :]), a.values.dtype), a.shape))  # fmt: skip


@writing("fill.Scalar")
def fill(input: Any, value: Any) -> None:
    if not is_compressed(input):
        raise refused("fill_.Scalar", (input,), "")
    values_of(input).fill_(value)


# ---------------------------------------------------------------- sizes


@writing("sparse_resize")
def sparse_resize(input: Any, size: Any, sparse_dim: int, dense_dim: int) -> None:
    if not is_coo(input):
        raise refused("sparse_resize_", (input,), "")
    a, shape = input._a, tuple(size)
    if len(shape) != sparse_dim + dense_dim:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(shape)}, sparse_dim = {sparse_dim}, dense_dim = {dense_dim}"
        )
    if a.count:
        for what, before, after in (("sparse", a.sparse_dim, sparse_dim), ("dense", a.dense_dim, dense_dim)):
            if before != after:
                raise RuntimeError(
                    f"changing the number of {what} dimensions (from {before} to {after}) on a non-empty sparse tensor is not supported."
                )
        for what, part in (("sparse", slice(None, sparse_dim)), ("dense", slice(sparse_dim, None))):
            if any(n < m for n, m in zip(shape[part], a.shape[part], strict=True)):
                raise RuntimeError(f"shrinking the size of {what} dimensions (from {list(a.shape[part])} to {list(shape[part])}) on a "
                                   "non-empty sparse tensor is not supported. You could try the following options:\n1. If you need an empty sparse tensor of this "
                                   "size, call `x = torch.sparse_coo_tensor(size)`.\n2. If you need to resize this tensor, you have the following options:\n    "
                                   "1. For both sparse and dense dimensions, keep the number of them constant and the size of them non-shrinking, "
                                   "and then try the same call again.\n    2. Or, create a new sparse tensor with the correct indices and values from "
                                   "this sparse tensor.")  # fmt: skip
    values = np.zeros((a.count, *shape[sparse_dim:]), a.values.dtype)
    if a.count:
        values[tuple(slice(n) for n in a.values.shape)] = a.values
    places = a.indices if a.count else np.empty((sparse_dim, 0), np.int64)
    a.become(CooArray(places, values, shape, a.coalesced))


@writing("sparse_resize_and_clear")
def sparse_resize_and_clear(input: Any, size: Any, sparse_dim: int, dense_dim: int) -> None:
    if not is_coo(input):
        raise refused("sparse_resize_and_clear_", (input,), "")
    zero(input)
    sparse_resize(input, size, sparse_dim, dense_dim)


@writing("resize_as_sparse")
def resize_as_sparse(input: Any, the_template: Any) -> None:
    if is_compressed(input):
        input._a.become(the_template._a.with_values(np.resize(input._a.values, the_template._a.values.shape)))
        return
    if not (is_coo(input) and is_coo(the_template)):
        raise refused("resize_as_sparse_", (input,), "")
    t = the_template._a
    if input._a.shape != t.shape or input._a.sparse_dim != t.sparse_dim:
        sparse_resize(input, t.shape, t.sparse_dim, t.dense_dim)


__all__ = ["summed"]
