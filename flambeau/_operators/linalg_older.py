"""The older names of linear algebra: `torch.svd`, `torch.qr`, `torch.inverse`, `torch.cholesky_solve` and their like."""

from __future__ import annotations

from typing import Any

from flambeau._ground.once import warn_once
from flambeau._kernel.language import Dim, Kernel, T
from flambeau._operators import linalg as factor, solve
from flambeau._operators.flat import blind_in
from flambeau._operators.op import OUT, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, of


@composite("cholesky", variants=OUT, lacks=("biC", "cholesky_cpu"), autocast="float32")
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The triangular factor of a positive-definite matrix. Superseded by `linalg.cholesky`."""
    if input.ndim >= 2 and not input.numel() and input.shape[-1] != input.shape[-2]:  # whatever its sizes
        return input.clone()
    L, info = factor.linalg_cholesky_ex(input, upper=upper)
    factor.refuse(info, factor._not_positive("cholesky"), input.ndim > 2)
    return L


@op(
    "cholesky_solve",
    promote="none",
    exact=False,
    variants=OUT,
    lacks=("bihC", "cholesky_solve_cpu"),
    autocast="float32",
)
def cholesky_solve(k: Kernel[T], input: T, input2: T, upper: bool = False) -> T:
    """The solution X of A @ X = input from the Cholesky factor `input2` of A."""
    return k.library("cholesky_solve", input2, input, upper=upper)


@cholesky_solve.errors
def _(input: Any, input2: Any, upper: bool) -> None:
    if input.ndim < 2:
        raise RuntimeError(f"b should have at least 2 dimensions, but has {input.ndim} dimensions instead")
    if input2.ndim < 2:
        raise RuntimeError(f"u should have at least 2 dimensions, but has {input2.ndim} dimensions instead")
    factor.square("cholesky_solve", input2, what="A")
    factor._fits("cholesky_solve", input2, input, True)


def _cholesky_solve_back(g: Any, input2: Any, out: Any, upper: bool) -> tuple[Any, Any]:
    gB = cholesky_solve(g, input2, upper)
    both = gB @ out.mH
    both = both + both.mH
    return gB, -(input2 @ both if upper else both @ input2)


cholesky_solve.vjp(_=lambda g, input2, out, upper, needs: _cholesky_solve_back(g, input2, out, upper))


@op(
    "cholesky_inverse",
    promote="none",
    exact=False,
    variants=OUT,
    lacks=("bihC", "cholesky_inverse_out_cpu"),
    autocast="float32",
)
def cholesky_inverse(k: Kernel[T], input: T, upper: bool = False) -> T:
    """The inverse of A from its Cholesky factor."""
    eye = k.library("eye", n=input.shape[-1], m=input.shape[-1], dtype=of(input.dtype))
    return k.library("cholesky_solve", input, k.expand(eye, input.shape), upper=upper)


@cholesky_inverse.errors
def _(input: Any, upper: bool) -> None:
    factor.square("cholesky_inverse", input)


def _cholesky_inverse_back(g: Any, L: Any, out: Any, upper: bool) -> Any:
    core = out @ (g + g.mH) @ out
    return -(L @ core if upper else core @ L)


cholesky_inverse.vjp(input=lambda g, input, out, upper: _cholesky_inverse_back(g, input, out, upper))


@composite("det")
def det(input: Tensor) -> Tensor:
    """The determinant."""
    return solve.linalg_det(input)


@composite("logdet")
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant (NaN where that is negative)."""
    factor.square("logdet", input)
    sign, value = solve.linalg_slogdet(input)
    if input.is_complex():
        return sign.log() + value
    return value.where(sign != -1.0, value.new_full((), float("nan")))


@composite("slogdet", variants=OUT, outputs=("sign", "logabsdet"))
def slogdet(input: Tensor) -> tuple[Tensor, Tensor]:
    """The sign of the determinant, and the logarithm of its absolute value."""
    return tuple(solve.linalg_slogdet(input))


@composite("inverse", variants=OUT, autocast="float32")
def inverse(input: Tensor) -> Tensor:
    """The inverse of a square matrix."""
    return solve.linalg_inv(input)


@composite("pinverse", autocast="float32")
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose pseudoinverse."""
    return solve.linalg_pinv(input, rcond)


@composite("matrix_power", variants=OUT, autocast="open")
def matrix_power(input: Tensor, n: int) -> Tensor:
    """A multiplied by itself n times; for negative n, its inverse."""
    return solve.linalg_matrix_power(input, n)


@composite("matrix_exp")
def matrix_exp(input: Tensor) -> Tensor:
    """The exponential of a square matrix."""
    return solve.linalg_matrix_exp(input)


@composite("qr", variants=OUT, outputs=("Q", "R"), autocast="float32")
def qr(input: Tensor, some: bool = True) -> tuple[Tensor, Tensor]:
    """A = Q @ R. Superseded by `linalg.qr`."""
    return tuple(factor.linalg_qr(input, "reduced" if some else "complete"))


@composite("svd", variants=OUT, outputs=("U", "S", "V"), autocast="float32")
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """A = U @ diag(S) @ V.mH. Superseded by `linalg.svd`."""
    if input.ndim < 2:
        raise RuntimeError(
            "linalg.svd: input should have at least 2 dimensions, but has " + f"{input.ndim} dimensions instead"
        )
    if not compute_uv:
        m, n = input.shape[-2:]
        batch = tuple(input.shape[:-2])
        return input.new_zeros((*batch, m, m)), factor.linalg_svdvals(input), input.new_zeros((*batch, n, n))
    U, S, Vh = factor._linalg_svd(input, not some)
    return U, S, Vh.mH


@composite("cross", variants=OUT, lacks=("buC", "cross"))
def cross(input: Tensor, other: Tensor, dim: Dim | None = None) -> Tensor:
    """The cross product of vectors of three elements, along the first dimension of size 3 where none is given."""
    if dim is None:
        warn_once(
            "Using torch.cross without specifying the dim arg is deprecated.\nPlease either pass the dim explicitly or simply use "
            "torch.linalg.cross.\nThe default value of dim will change to agree with that of linalg.cross in a future release."
        )
        dim = next((d for d, n in enumerate(input.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    return solve.linalg_cross(input, other, dim=dim)


@composite("lu_solve", variants=OUT, autocast="float32")
def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """The solution X of A @ X = input from the packed factors of A."""
    return solve.linalg_lu_solve(LU_data, LU_pivots, input)


@composite("_lu_with_info", variants=("function",), outputs=("LU", "pivots", "info"), autocast="float32")
def _lu_with_info(input: Tensor, pivot: bool = True, check_errors: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """The packed factors, the row exchanges, and where U has a zero on its diagonal."""
    return tuple(factor.linalg_lu_factor_ex(input, pivot=pivot))


@composite("lu", variants=("function", "method"))
def lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """The packed factors of A = P @ L @ U and the row exchanges. Superseded by `linalg.lu_factor`."""
    found = _lu_with_info(A, pivot, not get_infos)
    found = found if get_infos else (found[0], found[1])
    if out is None:
        return found
    if not isinstance(out, (tuple, list)):
        raise TypeError(f"argument 'out' must be tuple of Tensors, not {type(out).__name__}")
    if len(out) != len(found):
        raise TypeError(f"expected tuple of {len(found)} elements but got {len(out)}")
    for place, value in zip(out, found, strict=True):
        place.resize_(value.shape).copy_(value)
    return out


@composite(
    "triangular_solve",
    variants=OUT,
    outputs=("solution", "cloned_coefficient"),
    lacks=("bihC", "triangular_solve_cpu"),
    autocast="float32",
)
def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Tensor, Tensor]:
    """The solution X of A @ X = input for a triangular A. Superseded by `linalg.solve_triangular`."""
    if input.ndim < 2:
        raise RuntimeError(
            "torch.triangular_solve: Expected b to have at least 2 dimensions, but it has "
            f"{input.ndim} dimensions instead"
        )
    if A.ndim < 2:
        raise RuntimeError(
            f"torch.triangular_solve: Expected A to have at least 2 dimensions, but it has {A.ndim} dimensions instead"
        )
    factor.square("triangular_solve", A)
    X = factor.solve_tri(A.mT if transpose else A, input, upper=upper != transpose, unit=unitriangular)
    batch = X.shape[:-2]
    return X, factor.by_columns(A.expand((*batch, *A.shape[-2:])).clone())


@op(
    "geqrf",
    promote="none",
    variants=OUT,
    outputs=("a", "tau"),
    lacks=("bihC", "geqrf_cpu"),
    autocast="float32",
    real=True,
)
def geqrf(k: Kernel[T], input: T) -> tuple[T, T]:
    """The QR factorization as LAPACK stores it: R above, reflections below, and their scales."""
    return k.library("geqrf", input)


@geqrf.errors
def _(input: Any) -> None:
    if input.ndim < 2:
        raise RuntimeError("torch.geqrf: input must have at least 2 dimensions.")


@composite("orgqr", variants=OUT, lacks=("bihC", "orgqr_cpu"), autocast="float32")
def orgqr(input: Tensor, input2: Tensor) -> Tensor:
    """The product of reflections that `geqrf` stores."""
    return solve.linalg_householder_product(input, input2)


@composite("ormqr", variants=OUT, lacks=("bihC", "ormqr_cpu"), autocast="float32")
def ormqr(input: Tensor, input2: Tensor, input3: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """A matrix multiplied by the product Q of reflections that `geqrf` stores, or by its adjoint."""
    if input.ndim < 2:
        raise RuntimeError("torch.ormqr: input must have at least 2 dimensions.")
    if input3.ndim < 2:
        raise RuntimeError("torch.ormqr: other must have at least 2 dimensions.")
    if input._a.dtype != input2._a.dtype:
        raise RuntimeError(
            "torch.ormqr: Expected input and tau to have the same dtype, but input has "
            f"dtype{SPOKEN[input.dtype]} and tau has dtype "
            f"{SPOKEN[input2.dtype]}"
        )
    n = input3.shape[-2 if left else -1]
    if input2.shape[-1] != min(n, input.shape[-1]):
        raise RuntimeError(
            f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{-2 if left else -1}], input.shape[-1])"
        )
    if input.shape[-2] != n:
        raise RuntimeError(f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2]")
    m = input.shape[-2]
    V = input.tril(-1)[..., :m] + factor._eye(m, input)[:, : input.shape[-1]]
    count = input2.shape[-1]
    out = input3
    # Q = H0 H1 ...: from the left the last reflection acts first, from the right the first one; the adjoint turns that around.
    order = range(count - 1, -1, -1) if left != transpose else range(count)
    for i in order:
        v, t = V[..., :, i : i + 1], input2[..., i : i + 1].unsqueeze(-1)
        t = t.conj() if transpose and t.is_complex() else t
        out = out - t * (v @ (v.mH @ out)) if left else out - t * ((out @ v) @ v.mH)
    if not input.numel() or not input2.numel():
        return blind_in(blind_in(input3, input), input2)
    return factor.by_columns(out)
