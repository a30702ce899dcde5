"""Readings: products of matrices. The hot ones run on SciPy's sparse matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.sparse_arrays import BLOCKED, CompressedArray, CooArray, spoken
from flambeau._eager.sparse import reading, refused
from flambeau._eager.sparse.convert import _at_compressed, _compressed
from flambeau._eager.sparse.parts import (
    as_coo,
    coalesced_array,
    is_compressed,
    is_coo,
    is_sparse,
    values_of,
)
from flambeau._tensor import wrap
from flambeau._values.device import sparse_csr

_HELD = frozenset(np.dtype(c) for c in ("f4", "f8", "c8", "c16"))


def matrix(a: Any) -> Any:
    """SciPy's matrix over a sparse array of two dimensions; values in a dtype it computes in."""
    from scipy import sparse

    v = a.values if a.values.dtype in _HELD or a.values.dtype.kind in "iu" else a.values.astype(np.float32)
    if type(a) is CompressedArray and a.layout not in BLOCKED:
        make = sparse.csr_array if a.layout is sparse_csr else sparse.csc_array
        return make((v, a.plain, a.compressed), shape=a.shape)
    c = as_coo(a.with_values(v))
    return sparse.coo_array((c.values, (c.indices[0], c.indices[1])), shape=c.shape).tocsr()


def times(a: Any, dense: Any) -> Any:
    """The product of a sparse matrix with a dense array of one or two dimensions, in the dtype of the dense one."""
    d = dense.dtype
    x = dense if d in _HELD or d.kind in "iu" else dense.astype(np.float32)
    return np.asarray(matrix(a) @ x).astype(d, copy=False)


def _same(a: Any, b: Any, what: str) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{what}: Expected mat1 and mat2 to have the same dtype, but got: {a.dtype} and {b.dtype}".replace(
                "torch.", ""
            )
        )


def _matrices(input: Any, mat2: Any) -> None:
    if input.ndim != 2 or mat2.ndim != 2:
        raise (IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)") if mat2.ndim == 1 and is_coo(input)
               else RuntimeError("mat1 and mat2 must be matrices" if input.ndim == 2 else "self must be a matrix"))  # fmt: skip
    if input.shape[1] != mat2.shape[0]:
        if is_coo(input) and not is_sparse(mat2):
            raise RuntimeError(f"addmm: Argument #3 (dense): Expected dim 0 size {input.shape[1]}, got {mat2.shape[0]}")
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied "
                           f"({input.shape[0]}x{input.shape[1]} and {mat2.shape[0]}x{mat2.shape[1]})")  # fmt: skip


@reading("mm")
def mm(input: Any, mat2: Any) -> Any:
    _matrices(input, mat2)
    if is_sparse(input) and is_sparse(mat2):
        return _sparse_sparse_matmul(input, mat2)
    _layouts(input, mat2, input if is_sparse(input) else mat2)
    if is_sparse(input):
        return wrap(times(input._a, mat2._a))
    return wrap(np.ascontiguousarray(times(mat2.t()._a, input._a.T).T))


def _layouts(mat1: Any, mat2: Any, result: Any) -> None:
    if not is_sparse(mat1) and is_compressed(mat2) and mat2.layout in BLOCKED:
        raise RuntimeError(f"addmm: computation on CPU is not implemented for Strided + Strided @ {spoken(mat2._a)}")


@reading("_sparse_sparse_matmul")
def _sparse_sparse_matmul(input: Any, other: Any) -> Any:
    _matrices(input, other)
    a, b = input._a, other._a
    if is_coo(input) is not is_coo(other):
        kind = spoken(a)
        raise RuntimeError(f"addmm: computation on CPU is not implemented for {kind} + {kind} @ {spoken(b)}")
    if a.layout in BLOCKED:
        raise RuntimeError(
            f"zeros_sparse_compressed expected sparse compressed (non-block) tensor layout but got {spoken(a)}"
        )
    r = (matrix(a) @ matrix(b)).tocsr()
    r.sort_indices()
    v = r.data.astype(a.values.dtype, copy=False)
    rows = np.repeat(np.arange(r.shape[0]), np.diff(r.indptr))
    made = CooArray(np.stack([rows, r.indices]).astype(np.int64), v, r.shape, True)
    return wrap(
        made
        if is_coo(input)
        else _compressed(
            made,
            sparse_csr if sparse_csr in (a.layout, b.layout) else a.layout,
            made.shape[0],
            made.shape[1],
            made.shape,
        )
    )


@reading("mv")
def mv(input: Any, vec: Any) -> Any:
    if input.shape[-1] != vec.shape[-1]:
        raise RuntimeError("mv: expected self.size(-1) == vec.size(-1)" if is_coo(input) else
                           f"size mismatch, got input ({vec.shape[-1]}), mat ({input.shape[0]}x{input.shape[1]}), vec ({vec.shape[-1]})")  # fmt: skip
    return wrap(times(input._a, vec._a))


@reading("addmv")
def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if not is_compressed(mat):
        raise refused("addmv", (mat,), "")
    return _sum(input, wrap(times(mat._a, vec._a)), beta, alpha)


def _sum(input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else (input if beta == 1 else input * beta) + product


@reading("addmm", "_sparse_addmm")
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if is_coo(input):
        raise RuntimeError(
            f"addmm_sparse_dense: expected strided result tensor, got tensor with layout {spoken(input._a)}"
        )
    if is_coo(mat2) and not is_sparse(mat1):
        raise RuntimeError("addmm_sparse_dense: expected either 'mat1' to have sparse layout and 'mat2' to have strided layout, got "
                           f"'mat1' with layout {spoken(mat1._a)} and 'mat2' with layout {spoken(mat2._a)}")  # fmt: skip
    return _sum(input, mm(mat1, mat2), beta, alpha)


@reading("bmm")
def bmm(input: Any, mat2: Any) -> Any:
    if is_sparse(mat2):
        raise RuntimeError(
            "bmm_sparse: Tensor 'mat2' must be dense" if is_coo(input) else f"bmm: {spoken(mat2._a)} is not supported"
        )
    if not is_coo(input):
        raise refused("bmm", (input,), "")
    out = np.empty((input.shape[0], input.shape[1], mat2.shape[2]), mat2._a.dtype)
    for i in range(input.shape[0]):
        out[i] = times(input.select(0, i)._a, mat2._a[i])
    return wrap(out)


@reading("matmul", composed=True)
def matmul(input: Any, other: Any) -> Any:
    if input.ndim == 2 and other.ndim == 2:
        return input.mm(other)
    if input.ndim == 2 and other.ndim == 1:
        return input.mv(other)
    if input.ndim == 1 and other.ndim == 2:
        return other.t().mv(input)
    if input.ndim == 1:
        raise refused("dot", (input, other), "")
    raise RuntimeError("expand is unsupported for Sparse tensors")


@reading("linear", composed=True)
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    out = input.matmul(weight.t())
    return out if bias is None else out + bias


# ---------------------------------------------------------------- torch.sparse


@reading("_sparse_mm", composed=True)
def _sparse_mm(sparse: Any, dense: Any, reduce: Any = None) -> Any:
    from flambeau._eager.names import public

    if reduce is not None:
        return public("_sparse_mm_reduce_impl")(sparse, dense, reduce)
    if is_sparse(sparse) and is_sparse(dense):
        if is_compressed(sparse):
            kinds = spoken(dense._a), spoken(sparse._a)
            if kinds[0] != kinds[1]:
                raise RuntimeError(
                    f"addmm: computation on CPU is not implemented for {kinds[0]} + {kinds[1]} @ {kinds[0]}"
                )
            return sparse.mm(dense)
        return public("_sparse_sparse_matmul")(sparse, dense)
    if not is_sparse(sparse) and is_sparse(dense):
        return _sparse_mm(dense.t(), sparse.t()).t()
    zeros = dense.new_zeros((sparse.shape[0], dense.shape[1])) if dense.ndim == 2 else dense
    return public("_sparse_addmm")(zeros, sparse, dense, beta=0)


@reading("_sparse_mm_reduce_impl")
def _sparse_mm_reduce_impl(input: Any, other: Any, reduce: str) -> Any:
    if not is_compressed(input):
        raise refused("_sparse_mm_reduce_impl", (input,), "")
    a, x = input._a, other._a
    if reduce in ("sum", "mean"):
        out = wrap(times(a, x))
        if reduce == "mean":
            count = np.maximum(np.diff(a.compressed), 1).astype(x.dtype)
            out = wrap(out._a / count[:, None])
        return out
    if reduce not in ("amax", "amin", "max", "min"):
        raise RuntimeError(f"reduce argument must be either sum, mean, amax or amin, got {reduce}")
    best = np.zeros((input.shape[0], x.shape[1]), x.dtype)
    terms = a.values[:, None] * x[a.plain]
    some = np.flatnonzero(np.diff(a.compressed))
    if len(some):
        best[some] = (np.maximum if reduce.endswith("max") else np.minimum).reduceat(
            terms, a.compressed[:-1][some], axis=0
        )
    return wrap(best)


@reading("smm")
def smm(input: Any, mat2: Any) -> Any:
    return sspaddmm(
        wrap(CooArray(np.empty((2, 0), np.int64), input._a.values[:0], (input.shape[0], mat2.shape[1]), True)),
        input,
        mat2,
        beta=0,
    )


@reading("sspaddmm")
def sspaddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if not is_coo(mat1):
        raise refused("sspaddmm.out", (mat1,), "")
    a = coalesced_array(mat1._a)
    rows = np.unique(a.indices[0])
    product = mm(mat1, mat2) * alpha
    old = coalesced_array(input._a)
    n = mat2.shape[1]
    places = np.stack([np.repeat(rows, n), np.tile(np.arange(n), len(rows))]).astype(np.int64)
    fresh = product._a[rows].reshape(-1)
    return wrap(
        CooArray(
            np.concatenate([old.indices, places], 1),
            np.concatenate([(wrap(old.values) * beta)._a, fresh]),
            input.shape,
            False,
        )
    )


@reading("hspmm")
def hspmm(mat1: Any, mat2: Any) -> Any:
    if not is_coo(mat1):
        raise refused("hspmm", (mat1,), "")
    rows = np.unique(coalesced_array(mat1._a).indices[0])
    product = mm(mat1, mat2)._a[rows]
    return wrap(CooArray(rows.reshape(1, -1), product, (mat1.shape[0], mat2.shape[1])))


@reading("sparse_sampled_addmm")
def sampled_addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if not is_compressed(input) or input.layout is not sparse_csr:
        raise refused("sparse_sampled_addmm", (input,), "")
    for name, m in (("mat1", mat1), ("mat2", mat2)):
        if m.ndim < 2:
            raise RuntimeError(f"sampled_addmm: Expected {name} to be a matrix, got {m.ndim}-D tensor")
    if mat1.shape[-1] != mat2.shape[-2]:
        raise RuntimeError(
            f"sampled_addmm: mat1 and mat2 shapes cannot be multiplied ({mat1.shape[-2]}x{mat1.shape[-1]} and {mat2.shape[-2]}x{mat2.shape[-1]})"
        )
    if input.shape[-2] != mat1.shape[-2]:
        raise RuntimeError("sampled_addmm: self.shape[-2] must match mat1.shape[-2]")
    if input.shape[-1] != mat2.shape[-1]:
        raise RuntimeError("sampled_addmm: self.shape[-1] must match mat2.shape[-1]")
    a = input._a
    if a.batch_dim or a.count * 4 > input.shape[0] * input.shape[1]:
        v = wrap(_at_compressed((mat1 @ mat2)._a, a))
    else:  # row by column, only where an element is asked for
        row = np.repeat(np.arange(input.shape[0]), np.diff(a.compressed))
        v = wrap(np.einsum("ij,ij->i", mat1._a[row], mat2._a.T[a.plain]).astype(a.values.dtype, copy=False))
    return wrap(a.with_values(_sum(values_of(input), v, beta, alpha)._a))
