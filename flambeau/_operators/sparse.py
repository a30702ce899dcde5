"""Operators that exist because layouts do: conversion between them, the parts of sparse tensors, products, sums and softmax over what is there.

Their bodies are readings for layouts (`_eager/sparse`, docs/sparse.md), as those of any operator on sparse tensors; here stand what they
are called, what they mean, and their derivatives.
"""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Dim, Dims, DType, IntList, Kernel, T
from flambeau._operators.op import FUNCTION, METHOD, METHODS, Definition, op

Scalar = Any
Layout = Any


def _laid_out(*overloads: str, **options: Any) -> Definition:
    """`op` for what has readings for layouts alone."""
    return op(*overloads, promote="none", layouts=True, **options)


# ---------------------------------------------------------------- parts


@_laid_out("values", variants=METHOD, alias=True)
def values(k: Kernel[T], input: T) -> T:
    """The elements that are there, one for each index.

    >>> torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse().values()
    tensor([2., 3.])
    """


@_laid_out("_sparse_with_values", variants=FUNCTION)
def _sparse_with_values(k: Kernel[T], input: T, like: Any) -> T:
    """A tensor with other values in the places of `like`."""


@_laid_out("_sparse_values_at", variants=FUNCTION)
def _sparse_values_at(k: Kernel[T], input: T, like: Any) -> T:
    """The elements of a tensor of any layout in the places of `like`, in their order."""


values.vjp(input=lambda g, input: _sparse_with_values(g, input.detach()))
_sparse_with_values.vjp(input=lambda g, like: _sparse_values_at(g, like))
_sparse_values_at.vjp(input=lambda g, input, like: _like(_sparse_with_values(g, like), input))


@_laid_out("indices", variants=METHOD, differentiable=False, alias=True)
def indices(k: Kernel[T], input: T) -> T:
    """The coordinates of the elements that are there: a row for each sparse dimension."""


@_laid_out("_indices", variants=METHOD, differentiable=False, alias=True)
def _indices(k: Kernel[T], input: T) -> T:
    """The same, of a tensor that need not be coalesced."""


@_laid_out("_values", variants=METHOD, differentiable=False, alias=True)
def _values(k: Kernel[T], input: T) -> T:
    """The values of a tensor that need not be coalesced, without history."""


@_laid_out("crow_indices", variants=METHOD, differentiable=False, alias=True)
def crow_indices(k: Kernel[T], input: T) -> T:
    """Where each row begins (CSR, BSR)."""


@_laid_out("col_indices", variants=METHOD, differentiable=False, alias=True)
def col_indices(k: Kernel[T], input: T) -> T:
    """The column of each element (CSR) or block (BSR)."""


@_laid_out("ccol_indices", variants=METHOD, differentiable=False, alias=True)
def ccol_indices(k: Kernel[T], input: T) -> T:
    """Where each column begins (CSC, BSC)."""


@_laid_out("row_indices", variants=METHOD, differentiable=False, alias=True)
def row_indices(k: Kernel[T], input: T) -> T:
    """The row of each element (CSC) or block (BSC)."""


@_laid_out("_nnz", variants=METHOD, differentiable=False)
def _nnz(k: Kernel[T], input: T) -> int:
    """How many elements are there."""


@_laid_out("sparse_dim", variants=METHOD, names=("_dimI",), differentiable=False)
def sparse_dim(k: Kernel[T], input: T) -> int:
    """How many dimensions indices speak of."""


@_laid_out("dense_dim", variants=METHOD, names=("_dimV",), differentiable=False)
def dense_dim(k: Kernel[T], input: T) -> int:
    """How many dimensions each value has."""


@_laid_out("is_coalesced", variants=METHOD, differentiable=False)
def is_coalesced(k: Kernel[T], input: T) -> bool:
    """Whether the coordinates are known to be sorted and distinct."""


@_laid_out("coalesce", variants=METHOD, alias=True)
def coalesce(k: Kernel[T], input: T) -> T:
    """The same tensor with its coordinates sorted, and what stands at one place added up.

    >>> torch.sparse_coo_tensor([[1, 0, 1]], [1.0, 2.0, 3.0], (2,)).coalesce().values()
    tensor([2., 4.])
    """


coalesce.vjp(input=lambda g: g)


@_laid_out("_coalesced", variants=("inplace",))
def _coalesced(k: Kernel[T], input: T, coalesced: bool) -> T:
    """Says of a tensor whether it is coalesced."""


_coalesced.vjp(input=lambda g: g)


@_laid_out("sparse_resize", variants=("inplace",))
def sparse_resize(k: Kernel[T], input: T, size: IntList, sparse_dim: int, dense_dim: int) -> T:
    """Other sizes, and another number of sparse and dense dimensions."""


@_laid_out("sparse_resize_and_clear", variants=("inplace",))
def sparse_resize_and_clear(k: Kernel[T], input: T, size: IntList, sparse_dim: int, dense_dim: int) -> T:
    """The same, without any elements."""


@_laid_out("resize_as_sparse", variants=("inplace",))
def resize_as_sparse(k: Kernel[T], input: T, the_template: T) -> T:
    """The sizes of another sparse tensor."""


# ---------------------------------------------------------------- conversion


def _like(g: Any, t: Any) -> Any:
    """A gradient in the layout of the tensor that it belongs to."""
    kind = str(t.layout)
    if str(g.layout) == kind:
        return g
    if kind == "torch.strided":
        return g.to_dense()
    if kind == "torch.sparse_coo":
        return g.to_sparse(t.sparse_dim()) if str(g.layout) == "torch.strided" else g.to_sparse()
    return g.to_sparse(layout=t.layout, blocksize=tuple(t.values().shape[-2:]) if kind[-3] == "b" else None)


def _seen_through(g: Any, t: Any, masked: bool | None) -> Any:
    """The gradient of `t.to_dense()`: masked, only what belongs to elements that are there."""
    kind = str(t.layout)
    if kind == "torch.strided":
        return g
    if masked is False:
        return _like(g, t)
    return g.sparse_mask(t.coalesce() if kind == "torch.sparse_coo" else t)


@_laid_out("to_dense", variants=METHOD, names=("_to_dense",))
def to_dense(k: Kernel[T], input: T, dtype: DType | None = None, *, masked_grad: bool | None = None) -> T:
    """The tensor with all its elements. Unless `masked_grad` is False, its gradient has elements only where the tensor has.

    >>> torch.eye(2).to_sparse().to_dense()
    tensor([[1., 0.],
            [0., 1.]])
    """


to_dense.vjp(input=lambda g, input, masked_grad: _seen_through(g, input, masked_grad))


@_laid_out(
    "to_sparse(Tensor self, *, Layout? layout=None, int[2]? blocksize=None, int? dense_dim=None)",
    "to_sparse.sparse_dim(Tensor self, int sparse_dim)",
    variants=METHOD,
    names=("_to_sparse",),
)
def to_sparse(
    k: Kernel[T],
    input: T,
    sparse_dim: Any = None,
    *,
    layout: Layout | None = None,
    blocksize: Any = None,
    dense_dim: int | None = None,
) -> T:
    """The tensor in coordinates (of its first `sparse_dim` dimensions), or in another sparse layout.

    >>> torch.tensor([[0.0, 0.0], [3.0, 0.0]]).to_sparse()
    tensor(indices=tensor([[1],
                           [0]]),
           values=tensor([3.]),
           size=(2, 2), nnz=1, layout=torch.sparse_coo)
    """


@_laid_out("to_sparse_csr", variants=METHOD, names=("_to_sparse_csr",))
def to_sparse_csr(k: Kernel[T], input: T, dense_dim: int | None = None) -> T:
    """The tensor in compressed rows."""


@_laid_out("to_sparse_csc", variants=METHOD, names=("_to_sparse_csc",))
def to_sparse_csc(k: Kernel[T], input: T, dense_dim: int | None = None) -> T:
    """The tensor in compressed columns."""


@_laid_out(
    "to_sparse_bsr(Tensor self, int[2] blocksize, int? dense_dim=None)", variants=METHOD, names=("_to_sparse_bsr",)
)
def to_sparse_bsr(k: Kernel[T], input: T, blocksize: Any, dense_dim: int | None = None) -> T:
    """The tensor in compressed rows of blocks."""


@_laid_out(
    "to_sparse_bsc(Tensor self, int[2] blocksize, int? dense_dim=None)", variants=METHOD, names=("_to_sparse_bsc",)
)
def to_sparse_bsc(k: Kernel[T], input: T, blocksize: Any, dense_dim: int | None = None) -> T:
    """The tensor in compressed columns of blocks."""


for _conversion in (to_sparse, to_sparse_csr, to_sparse_csc, to_sparse_bsr, to_sparse_bsc):
    _conversion.vjp(input=lambda g, input: _like(g, input))


@_laid_out("sparse_mask", variants=METHOD)
def sparse_mask(k: Kernel[T], input: T, mask: T) -> T:
    """The elements of a tensor where a sparse one has elements."""


sparse_mask.vjp(input=lambda g, input, mask: _like(g, input))


@_laid_out("_sparse_mask_projection", variants=METHOD, differentiable=False)
def _sparse_mask_projection(k: Kernel[T], input: T, mask: T, accumulate_matches: bool = False) -> T:
    """A sparse tensor with zeros where `mask` has no elements."""


# ---------------------------------------------------------------- products


@_laid_out(
    "_sparse_mm(Tensor sparse, Tensor dense)",
    "_sparse_mm.reduce(Tensor sparse, Tensor dense, str reduce)",
    variants=FUNCTION,
)
def _sparse_mm(k: Kernel[T], sparse: T, dense: T, reduce: str | None = None) -> T:
    """The product of two matrices, one sparse at least; the gradient of a sparse one has elements only where that has."""


@_laid_out(
    "_sparse_mm_reduce_impl(Tensor self, Tensor other, str reduce) -> (Tensor, Tensor)", variants=FUNCTION, outputs=()
)
def _sparse_mm_reduce_impl(k: Kernel[T], input: T, other: T, reduce: str) -> T:
    """A product whose rows are the sums, means, maxima or minima of what is there."""


_sparse_mm_reduce_impl.vjp(
    _=lambda g, input, other, reduce, out, needs: _reduced_gradients(g, input, other, reduce, out, needs)
)


def _reduced_gradients(g: Any, input: Any, other: Any, reduce: str, out: Any, needs: Any) -> Any:
    starts, column, v = input.crow_indices(), input.col_indices(), input.values()
    count = starts.diff()
    row = count.new_ones(()).expand(count.shape).cumsum(0).sub(1).repeat_interleave(count)
    gr, rows = g.index_select(0, row), other.index_select(0, column)
    if reduce == "mean":
        gr = gr / count.index_select(0, row).unsqueeze(1).to(g.dtype)
    elif reduce != "sum":
        # the first element of a row that equals its result
        hit = (v.unsqueeze(1) * rows) == out.index_select(0, row)
        number = hit.to(count.dtype).cumsum(0)
        before = number - hit.to(count.dtype)
        first = starts[:-1].index_select(0, row)
        gr = gr.masked_fill(~(hit & (before == before.index_select(0, first))), 0)
    of_values = (gr * rows.conj()).sum(1)
    into = (gr * v.conj().unsqueeze(1)) if needs[1] else None
    return (
        _sparse_with_values(of_values, input.detach()) if needs[0] else None,
        other.new_zeros(other.shape).index_add(0, column, into) if needs[1] else None,
    )


@_laid_out("_sparse_addmm", variants=FUNCTION)
def _sparse_addmm(k: Kernel[T], input: T, mat1: T, mat2: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """`beta * input + alpha * (mat1 @ mat2)` with a sparse `mat1`, whose gradient has elements only where it has."""


_sparse_addmm.vjp(
    input=lambda g, beta: g * _conjugate(beta),
    mat1=lambda g, mat1, mat2, alpha: (g @ mat2.mT.conj()).mul(_conjugate(alpha)).sparse_mask(_ordered(mat1)),
    mat2=lambda g, mat1, alpha: (mat1.t().conj() @ g).mul(_conjugate(alpha)),
)


def _ordered(t: Any) -> Any:
    return t.coalesce() if t.is_sparse else t


@_laid_out("_sparse_sparse_matmul", variants=FUNCTION)
def _sparse_sparse_matmul(k: Kernel[T], input: T, other: T) -> T:
    """The product of two sparse matrices."""


_sparse_sparse_matmul.vjp(
    input=lambda g, input, other: _sparse_sparse_matmul(g, other.conj().t())._sparse_mask_projection(input.coalesce()),
    other=lambda g, input, other: _sparse_sparse_matmul(input.conj().t(), g)._sparse_mask_projection(other.coalesce()),
)


@_laid_out("smm")
def smm(k: Kernel[T], input: T, mat2: T) -> T:
    """The product of a sparse matrix with a dense one, as a sparse one."""


@_laid_out("hspmm", variants=("function", "out"), names=("hsmm",))
def hspmm(k: Kernel[T], mat1: T, mat2: T) -> T:
    """The product of a sparse matrix with a dense one, as rows of a hybrid one."""


@_laid_out("sspaddmm", variants=("function", "method", "out"), names=("saddmm",))
def sspaddmm(k: Kernel[T], input: T, mat1: T, mat2: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """`beta * input + alpha * (mat1 @ mat2)` with sparse `input` and `mat1`, as a sparse matrix."""


METHODS.pop("saddmm")  # the older name is a function's alone


@_laid_out("sparse_sampled_addmm", namespace="sparse", variants=("function", "out"))
def sampled_addmm(k: Kernel[T], input: T, mat1: T, mat2: T, *, beta: Scalar = 1, alpha: Scalar = 1) -> T:
    """`beta * input + alpha * (mat1 @ mat2)` where a sparse `input` has elements."""


sampled_addmm.vjp(
    input=lambda g, beta: g * _conjugate(beta),
    mat1=lambda g, input, mat2, alpha: (_where(g, input) @ mat2.mT.conj()).mul(_conjugate(alpha)),
    mat2=lambda g, input, mat1, alpha: (
        (_where(g, input).transpose(-2, -1).conj() @ mat1).mT.conj().mul(_conjugate(alpha))
    ),
)


def _conjugate(number: Any) -> Any:
    return number.conjugate() if isinstance(number, complex) else number


def _where(g: Any, t: Any) -> Any:
    """A gradient, of any layout, where a sparse tensor has elements."""
    return g if g.layout is t.layout else g.sparse_mask(t.detach())


# ---------------------------------------------------------------- sums, softmax


@_laid_out(
    "_sparse_sum.dim(Tensor self, int[1] dim)",
    "_sparse_sum.dim_dtype(Tensor self, int[1] dim, *, ScalarType dtype)",
    variants=FUNCTION,
)
def _sparse_sum(k: Kernel[T], input: T, dim: Dims, *, dtype: DType | None = None) -> T:
    """The sum over some dimensions of what is there."""


@_laid_out("_sparse_sum_backward", variants=FUNCTION)
def _sparse_sum_backward(k: Kernel[T], grad: T, input: T, dim: Dims) -> T:
    """The gradient of a sum, where the tensor that was summed has elements."""


_sparse_sum.vjp(input=lambda g, input, dim: _sparse_sum_backward(g, input, dim))
_sparse_sum_backward.vjp(grad=lambda g, grad, dim: _like(_sparse_sum(_ordered(g), dim), grad))


@_laid_out("_sparse_softmax.int", variants=FUNCTION)
def _sparse_softmax(k: Kernel[T], input: T, dim: Dim, dtype: DType | None = None) -> T:
    """Softmax along a dimension of what is there: what is not counts as minus infinity."""


@_laid_out("_sparse_log_softmax.int", variants=FUNCTION)
def _sparse_log_softmax(k: Kernel[T], input: T, dim: Dim, dtype: DType | None = None) -> T:
    """The logarithm of softmax along a dimension of what is there."""


@_laid_out("_sparse_softmax_backward_data", variants=FUNCTION, differentiable=False)
def _sparse_softmax_backward_data(k: Kernel[T], grad_output: T, output: T, dim: Dim, input: T) -> T:
    """The gradient of softmax over what is there."""


@_laid_out("_sparse_log_softmax_backward_data", variants=FUNCTION, differentiable=False)
def _sparse_log_softmax_backward_data(k: Kernel[T], grad_output: T, output: T, dim: Dim, input: T) -> T:
    """The gradient of the logarithm of softmax over what is there."""


_sparse_softmax.vjp(input=lambda g, out, dim, input: _sparse_softmax_backward_data(g, out, dim, input))
_sparse_log_softmax.vjp(input=lambda g, out, dim, input: _sparse_log_softmax_backward_data(g, out, dim, input))


# ---------------------------------------------------------------- gradients that are sparse


@_laid_out("embedding_sparse_backward", variants=())
def embedding_sparse_backward(
    k: Kernel[T], grad: T, indices: T, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> T:
    """The gradient of an embedding, as the rows that were looked up."""


embedding_sparse_backward.vjp(grad=lambda g, grad, indices: g.index_select(0, indices.reshape(-1)).reshape(grad.shape))


@_laid_out("_gather_sparse_backward", variants=FUNCTION)
def _gather_sparse_backward(k: Kernel[T], input: T, dim: Dim, index: T, grad: T) -> T:
    """The gradient of `gather`, as the elements that were gathered."""


@_laid_out("_spsolve", variants=FUNCTION, differentiable=False)
def _spsolve(k: Kernel[T], A: T, B: T, *, left: bool = True) -> T:
    """The solution of a sparse linear system: only CUDA builds of PyTorch have it, and the CPU says so."""


@_laid_out("_spdiags", variants=FUNCTION, differentiable=False)
def _spdiags(k: Kernel[T], diagonals: T, offsets: T, shape: IntList, layout: Layout | None = None) -> T:
    """A sparse matrix with given diagonals."""
