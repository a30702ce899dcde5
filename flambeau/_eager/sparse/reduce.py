"""Readings: sums, norms and softmax over what is there."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau._backends.sparse_arrays import CooArray
from flambeau._eager.sparse import reading, refused
from flambeau._eager.sparse.convert import _at_coordinates, to_compressed
from flambeau._eager.sparse.parts import (
    as_coo,
    coalesced,
    coalesced_array,
    dims_of,
    flat_indices,
    is_compressed,
    is_coo,
    values_of,
    with_values,
)
from flambeau._tensor import wrap


@reading("sum.dim_IntList")
def total(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return values_of(input).sum(dtype=dtype)
    if is_compressed(input):
        if not keepdim:
            raise RuntimeError("reduction operations on CSR tensors with keepdim=False is unsupported")
        made = total(wrap(coalesced_array(as_coo(input._a))), dim, True, dtype=dtype)
        return to_compressed(made, input.layout, None, None, "sum")
    dims = dims_of(dim, input.ndim)
    made = summed_over(coalesced(input), dims, dtype)
    if not keepdim:
        return made
    return (
        made.reshape([1 if d in dims else n for d, n in enumerate(input.shape)])
        if not is_coo(made)
        else _kept(made._a, input._a, dims)
    )


def _kept(made: CooArray, a: CooArray, dims: tuple[int, ...]) -> Any:
    rows = iter(made.indices)
    indices = np.stack([np.zeros(made.count, np.int64) if d in dims else next(rows) for d in range(a.sparse_dim)])
    shape = [1 if d in dims else n for d, n in enumerate(a.shape)]
    return wrap(CooArray(indices, made.values.reshape(made.count, *shape[a.sparse_dim :]), shape))


def summed_over(t: Any, dims: tuple[int, ...], dtype: Any = None) -> Any:
    """The sum over dimensions; strided where no sparse dimension is left."""
    a = t._a
    n = a.sparse_dim
    if len(set(dims)) != len(dims):
        twice = next(d for d in dims if dims.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    v = values_of(t)
    over_dense = [d - n + 1 for d in dims if d >= n]
    left = [d for d in range(n) if d not in dims]
    if over_dense:
        v = v.sum(over_dense, dtype=dtype)
    elif dtype is not None:
        v = v.to(dtype)
    if not left:
        return v.sum(0)
    shape = [m for d, m in enumerate(a.shape) if d not in dims]
    return wrap(coalesced_array(CooArray(a.indices[left], _wide(v)._a, shape, len(left) == n)))


def _wide(v: Any) -> Any:
    from flambeau._values.dtype import int64

    return v.to(int64) if v.dtype.kind in "bi" else v


@reading("_sparse_sum.dim")
def _sparse_sum(input: Any, dim: Any, *, dtype: Any = None) -> Any:
    if not is_coo(input):
        raise refused("_sparse_sum.dim", (input,), "")
    return summed_over(coalesced(input), dims_of(dim, input.ndim), dtype)


@reading("_sparse_sum_backward")
def _sparse_sum_backward(grad: Any, input: Any, dim: Any) -> Any:
    a = coalesced_array(input._a)
    n = a.sparse_dim
    dims = dims_of(dim, input.ndim)
    left = [d for d in range(n) if d not in dims]
    dense_left = [d for d in range(n, a.ndim) if d not in dims]
    if left:
        shape = [m for d, m in enumerate(a.shape) if d not in dims]
        v = _at_coordinates(grad._a, CooArray(a.indices[left], a.values, shape))
    else:
        v = np.broadcast_to(grad._a, (a.count, *grad.shape))
    v = v.reshape(a.count, *(a.shape[d] if d in dense_left else 1 for d in range(n, a.ndim)))
    return wrap(CooArray(a.indices, np.broadcast_to(v, a.values.shape).astype(a.values.dtype), a.shape, True))


@reading("any")
def some(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    if dim is not None or not is_coo(input):
        raise refused("any.dim" if dim is not None else "any", (input,), "")
    return values_of(coalesced(input)).any()


@reading("norm.ScalarOpt_dim", composed=True)
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None) -> Any:
    if not is_coo(input):
        raise refused("norm.out", (input,), "")
    if dim is not None and len(dims_of(dim, input.ndim)) != input.ndim:
        raise RuntimeError(
            "norm_sparse currently only supports full reductions, so 'dim' must either be empty or contain all dimensions of the input"
        )
    return input.coalesce().values().norm(2 if p in ("fro", None) else p, dtype=dtype)


# ---------------------------------------------------------------- softmax


def _groups(a: CooArray, dim: int) -> Any:
    """For each element, the number of the line along `dim` that it is in."""
    others = [d for d in range(a.sparse_dim) if d != dim]
    if not others:
        return np.zeros(a.count, np.int64), 1
    flat = flat_indices(a.indices[others], [a.shape[d] for d in others])
    places, which = np.unique(flat, return_inverse=True)
    return which.reshape(-1), len(places)


def _over(values: Any, which: Any, n: int, kind: str) -> Any:
    """Sums ("add") or maxima of values that are in one group, for each value."""
    out = np.full((n, *values.shape[1:]), 0 if kind == "add" else -np.inf, values.dtype)
    (np.add if kind == "add" else np.maximum).at(out, which, values)
    return out[which]


def _softmax(input: Any, dim: int, dtype: Any, logarithm: bool) -> Any:
    name = "_sparse_log_softmax" if logarithm else "_sparse_softmax"
    if not is_coo(input):
        raise refused(name, (input,), "")
    (dim,) = dims_of(dim, input.ndim)
    t = coalesced(input if dtype is None else input.to(dtype))
    a, n = t._a, t._a.sparse_dim
    if dim >= n:
        v = values_of(t)
        return with_values(t, v.log_softmax(dim - n + 1) if logarithm else v.softmax(dim - n + 1))
    if a.values.dtype.kind not in "fV":
        from flambeau._values.dtype import SPOKEN

        raise NotImplementedError(f"\"softmax\" not implemented for '{SPOKEN[t.dtype]}'")
    which, count = _groups(a, dim)
    with np.errstate(all="ignore"):
        shifted = a.values - _over(a.values, which, count, "max")
        e = np.exp(shifted)
        s = _over(e, which, count, "add")
        v = shifted - np.log(s) if logarithm else e / s
    return wrap(CooArray(a.indices, v, a.shape, True))


@reading("_sparse_softmax.int")
def _sparse_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    return _softmax(input, dim, dtype, False)


@reading("_sparse_log_softmax.int")
def _sparse_log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    return _softmax(input, dim, dtype, True)


def _softmax_backward(grad: Any, output: Any, dim: int, input: Any, logarithm: bool) -> Any:
    (dim,) = dims_of(dim, input.ndim)
    a = coalesced_array(output._a)
    g = _at_coordinates(grad._a, a).astype(a.values.dtype)
    n = a.sparse_dim
    if dim >= n:
        axis = dim - n + 1
        s = (g if logarithm else g * a.values).sum(axis, keepdims=True)
    else:
        which, count = _groups(a, dim)
        s = _over(g if logarithm else g * a.values, which, count, "add")
    v = g - np.exp(a.values) * s if logarithm else a.values * (g - s)
    return wrap(CooArray(a.indices, v, a.shape, True)).to(input.dtype)


@reading("_sparse_softmax_backward_data")
def _sparse_softmax_backward_data(grad_output: Any, output: Any, dim: int, input: Any) -> Any:
    return _softmax_backward(grad_output, output, dim, input, False)


@reading("_sparse_log_softmax_backward_data")
def _sparse_log_softmax_backward_data(grad_output: Any, output: Any, dim: int, input: Any) -> Any:
    return _softmax_backward(grad_output, output, dim, input, True)


# ---------------------------------------------------------------- gradients that are sparse


@reading("embedding_sparse_backward")
def embedding_sparse_backward(
    grad: Any, indices: Any, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Any:
    if scale_grad_by_freq:
        raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
    i, g = indices._a.reshape(-1), grad._a
    v = g.reshape(-1, g.shape[-1])
    if padding_idx >= 0:
        kept = i != padding_idx
        i, v = i[kept], v[kept]
    return wrap(CooArray(i.astype(np.int64).reshape(1, -1), v.copy(), (num_weights, g.shape[-1]), False))


@reading("_gather_sparse_backward")
def _gather_sparse_backward(input: Any, dim: int, index: Any, grad: Any) -> Any:
    if not input.ndim:
        return wrap(CooArray(np.empty((0, 1), np.int64), grad._a.reshape(1), ()))
    (dim,) = dims_of(dim, input.ndim)
    places = np.indices(index.shape).reshape(input.ndim, -1) if index.ndim else np.zeros((1, 1), np.int64)
    places[dim] = index._a.reshape(-1)
    return wrap(CooArray(places.astype(np.int64), grad._a.reshape(-1).copy(), tuple(input.shape), False))


@reading("_spdiags")
def _spdiags(diagonals: Any, offsets: Any, shape: Any, layout: Any = None) -> Any:
    from flambeau._backends.sparse_arrays import SPOKEN
    from flambeau._values.device import sparse_coo, sparse_csc, sparse_csr

    d = diagonals._a if diagonals.ndim == 2 else diagonals._a.reshape(1, -1)
    o = offsets._a.reshape(-1)
    shape = tuple(shape)
    if len(shape) != 2:
        raise RuntimeError("Output shape must be 2d")
    if len(o) != d.shape[0]:
        raise RuntimeError(f"Number of diagonals ({d.shape[0]}) does not match the number of offsets ({len(o)})")
    if layout not in (None, sparse_coo, sparse_csc, sparse_csr):
        raise RuntimeError(
            f"Only output layouts (Sparse, SparseCsc, SparseCsr) are supported, got {SPOKEN.get(layout, 'Strided')}"
        )
    if len(np.unique(o)) != len(o):
        raise RuntimeError("Offset tensor contains duplicate values")
    rows, columns = shape
    parts, values = [], []
    for k, line in zip(o.tolist(), d, strict=True):
        first = max(k, 0)
        n = max(0, min(columns - first, rows - max(-k, 0), len(line) - first))
        column = np.arange(first, first + n)
        parts.append(np.stack([column - k, column]))
        values.append(line[first : first + n])
    made = wrap(CooArray(np.concatenate(parts, 1).astype(np.int64), np.concatenate(values), shape, False))
    return made if layout in (None, sparse_coo) else to_compressed(made, layout, None, None, "spdiags")


__all__ = ["prod"]
