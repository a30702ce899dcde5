"""Products of matrices, and the standard's linear algebra extension. Matrices are the last two axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

import flambeau
from flambeau import Tensor, dtype as DType, linalg as _linalg
from flambeau.array_api._reduction import sum as _sum
from flambeau.array_api._types import WIDE, axes_of, by_numpy, meet, whole


class EighResult(NamedTuple):
    """What `eigh` answers."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What `qr` answers."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """What `slogdet` answers."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """What `svd` answers."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices; a 1-d operand is a row on the left, a column on the right."""
    a, b = meet(x1, x2)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul needs arrays of one dimension or more")
    return by_numpy(np.matmul, a, b) if a.dtype in WIDE else flambeau.matmul(a, b)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """Each matrix transposed."""
    if x.ndim < 2:
        raise ValueError("matrix_transpose needs arrays of two dimensions or more")
    return x.mT


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over the last axes of x1 and the first of x2, or over pairs of axes."""
    a, b = meet(x1, x2)
    if whole(a.dtype):
        return by_numpy(np.tensordot, a, b, axes=axes).to(a.dtype)
    return flambeau.tensordot(a, b, axes if isinstance(axes, int) else [list(s) for s in axes])


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """sum(conj(x1) * x2) along an axis counted from the end."""
    a, b = meet(x1, x2)
    if axis >= 0 or -axis > min(a.ndim, b.ndim):
        raise IndexError(f"axis {axis} is out of bounds: vecdot counts from the end")
    if a.shape[axis] != b.shape[axis]:
        raise ValueError(f"vectors of {a.shape[axis]} and of {b.shape[axis]} elements have no product")
    if whole(a.dtype):
        return by_numpy(np.vecdot, a, b, axis=axis).to(a.dtype)
    return _linalg.vecdot(a, b, dim=axis)


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """L with L L^H = x, or its upper counterpart U with U^H U = x."""
    return _linalg.cholesky(x, upper=upper)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The product of vectors of three elements along an axis."""
    a, b = meet(x1, x2)
    if not -min(a.ndim, b.ndim) <= axis < min(a.ndim, b.ndim):
        raise IndexError(f"axis {axis} is out of bounds")
    if a.shape[axis] != 3 or b.shape[axis] != 3:
        raise ValueError("cross needs vectors of three elements")
    if a.dtype in WIDE:
        return by_numpy(np.cross, a, b, axis=axis)
    a, b = flambeau.broadcast_tensors(a, b)
    return _linalg.cross(a, b, dim=axis)


def det(x: Tensor, /) -> Tensor:
    """The determinant of each matrix."""
    return _linalg.det(x)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonal `offset` above the main one, of each matrix."""
    return flambeau.diagonal(x, offset, -2, -1)


def eigh(x: Tensor, /) -> EighResult:
    """Eigenvalues, in ascending order, and eigenvectors of Hermitian matrices."""
    return EighResult(*_linalg.eigh(x))


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues of Hermitian matrices, in ascending order."""
    return _linalg.eigvalsh(x)


def inv(x: Tensor, /) -> Tensor:
    """The inverse of each matrix."""
    return _linalg.inv(x)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: float | Literal["fro", "nuc"] | None = "fro") -> Tensor:
    """A norm of each matrix: "fro", "nuc", 1, -1, 2, -2, inf, -inf."""
    return _linalg.matrix_norm(x, "fro" if ord is None else ord, (-2, -1), keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """Each matrix times itself, n times; of its inverse where n < 0."""
    return _linalg.matrix_power(x, n)


def matrix_rank(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """How many singular values exceed rtol times the largest."""
    if x.ndim < 2:
        raise ValueError("matrix_rank needs arrays of two dimensions or more")
    return _linalg.matrix_rank(x, atol=0.0 if rtol is not None else None, rtol=rtol)


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of an element of x1 and one of x2, both 1-d."""
    a, b = meet(x1, x2)
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError("outer needs arrays of one dimension")
    return by_numpy(np.outer, a, b) if a.dtype in WIDE else flambeau.outer(a, b)


def pinv(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """The pseudo-inverse, of singular values above rtol times the largest."""
    return _linalg.pinv(x, atol=0.0 if rtol is not None else None, rtol=rtol)


def qr(x: Tensor, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QRResult:
    """x = Q R, with Q's columns orthonormal and R upper triangular."""
    return QRResult(*_linalg.qr(x, mode))


def slogdet(x: Tensor, /) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its magnitude."""
    return SlogdetResult(*_linalg.slogdet(x))


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """y with x1 y = x2; x2 is one vector where it is 1-d, else matrices."""
    a, b = meet(x1, x2)
    if b.ndim == 1:
        return _linalg.solve(a, b.unsqueeze(-1).expand(*a.shape[:-1], 1)).squeeze(-1)
    batch = flambeau.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return _linalg.solve(a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:]))


def svd(x: Tensor, /, *, full_matrices: bool = True) -> SVDResult:
    """x = U diag(S) Vh, singular values in descending order."""
    return SVDResult(*_linalg.svd(x, full_matrices))


def svdvals(x: Tensor, /) -> Tensor:
    """Singular values, in descending order."""
    return _linalg.svdvals(x)


def trace(x: Tensor, /, *, offset: int = 0, dtype: DType | None = None) -> Tensor:
    """The sum of a diagonal of each matrix."""
    return _sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(
    x: Tensor, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """(sum |x|^ord)^(1/ord) over axes; the largest for inf, how many are not zero for 0."""
    axes = axes_of(axis, x.ndim)
    if axes:
        return _linalg.vector_norm(x, ord, axes, keepdims)
    size = x.abs()  # each element is a vector of its own
    return (size != 0).to(size.dtype) if ord == 0 else size


__all__: list[Any] = [name for name, v in list(globals().items()) if callable(v) and name.islower() and not name.startswith("_")
                      and getattr(v, "__module__", "") == __name__]  # fmt: skip
