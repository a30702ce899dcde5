"""Triangles and diagonals of matrices, and matrices made of diagonals."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Dim, Kernel, Size, T
from flambeau._operators.op import ALL_FORMS, OUT, composite, op
from flambeau._operators.part import _diagonal, diagonal
from flambeau._tensor import Tensor
from flambeau._values.shape import wrap_dim


def _rank(name: str, x: Any, least: int = 2) -> None:
    if x.ndim < least:
        raise RuntimeError(f"{name}: input tensor must have at least {least} dimensions")


@op("tril", promote="none", variants=ALL_FORMS, lacks=("u", "tril"), packed=True)
def tril(k: Kernel[T], input: T, diagonal: Size = 0) -> T:
    """The lower triangle of the last two dimensions, zeros above the given diagonal."""
    return k.library("triangular", input, diagonal=diagonal, lower=True)


@op("triu", promote="none", variants=ALL_FORMS, lacks=("u", "triu"), packed=True)
def triu(k: Kernel[T], input: T, diagonal: Size = 0) -> T:
    """The upper triangle of the last two dimensions, zeros below the given diagonal."""
    return k.library("triangular", input, diagonal=diagonal, lower=False)


tril.vjp(input=lambda g, diagonal: tril(g, diagonal))
triu.vjp(input=lambda g, diagonal: triu(g, diagonal))
tril.errors(lambda input, diagonal: _rank("tril", input))
triu.errors(lambda input, diagonal: _rank("triu", input))


@composite("diag", variants=OUT)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix with `input` on its diagonal, or the diagonal of a matrix."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return _off(input, diagonal).clone()


def _off(x: Any, offset: int) -> Any:
    return diagonal(x, offset)


@op("diag_embed", promote="none")
def diag_embed(k: Kernel[T], input: T, offset: int = 0, dim1: Dim = -2, dim2: Dim = -1) -> T:
    """Matrices, in dimensions `dim1` and `dim2`, with the last dimension of `input` on their diagonals."""
    rank = input.ndim + 1
    a, b = wrap_dim(dim1, rank), wrap_dim(dim2, rank)
    n = input.shape[-1] + abs(offset)
    rest = iter(input.shape[:-1])
    out = k.library("zeros", shape=tuple(n if d in (a, b) else next(rest) for d in range(rank)), dtype=input.dtype)
    _diagonal(out, k, offset, a, b)[...] = input
    return out


@diag_embed.errors
def _(input: Any, offset: int, dim1: int, dim2: int) -> None:
    rank = input.ndim + 1
    if wrap_dim(dim1, rank) == wrap_dim(dim2, rank):
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")


diag_embed.vjp(input=lambda g, offset, dim1, dim2: g.diagonal(offset, dim1, dim2))


@composite("diagflat")
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements of `input` on its diagonal."""
    return diag_embed(input.reshape(-1), offset)


@composite("trace", variants=OUT, lacks=("buC", "trace"), autocast="float32")
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise RuntimeError("trace: expected a matrix, but got tensor with dim " + str(input.ndim))
    return diagonal(input).sum()
