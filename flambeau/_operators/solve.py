"""Linear equations and what they give: solve, inv, det, lstsq, pinv, and products and powers of matrices."""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.language import Dim, Kernel, Shape, Size, T
from flambeau._operators import linalg as factor
from flambeau._operators._factors import same_dtypes
from flambeau._operators.contract import matmul
from flambeau._operators.flat import blind_in, still
from flambeau._operators.join import stack
from flambeau._operators.op import composite, op
from flambeau._operators.part import diagonal
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, bfloat16, complex32, float16, float64
from flambeau._values.shape import broadcast, wrap_dim

LINALG = {"promote": "none", "namespace": "linalg", "variants": ("function", "out")}
TENSORS = {"namespace": "linalg", "variants": ("function", "out")}


# ---------------------------------------------------------------- solve, inv


def _vector(A: Any, B: Any) -> bool:
    """Whether B is (a batch of) vectors."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(A.shape[:-1]) == tuple(B.shape))


@op("linalg_solve_ex", outputs=("result", "info"), **LINALG)
def linalg_solve_ex(k: Kernel[T], A: T, B: T, *, left: bool = True, check_errors: bool = False) -> tuple[T, T]:
    """The solution X of A @ X = B (or X @ A = B), and where elimination met a zero (0: nowhere)."""
    return k.library("solve", A, B, left=left, vector=_vector(A, B))


@linalg_solve_ex.errors
def _(A: Any, B: Any, left: bool, check_errors: bool) -> None:
    factor.square("linalg.solve", A, "lu_cpu")
    if A._a.dtype != B._a.dtype:
        raise RuntimeError(
            "linalg.solve: Expected A and B to have the same dtype, but found A of type "
            f"{SPOKEN[A.dtype]} and B of type {SPOKEN[B.dtype]} "
            "instead"
        )
    if _vector(A, B):
        if not left:
            raise RuntimeError(
                "linalg.solve: Vector broadcasting of the left hand side is not supported for "
                "left=False. In this case linalg.solve is "
                "equivalent to B / A.squeeze(-1)"
            )
        if B.shape[-1] != A.shape[-1]:
            raise RuntimeError(
                "linalg.solve: Incompatible shapes of A and B for the equation AX = B "
                f"({A.shape[-1]}x{A.shape[-1]} and {B.shape[-1]}x1)"
            )
    else:
        factor._fits("linalg.solve", A, B, left)
        broadcast(A.shape[:-2], B.shape[:-2])


def _solve_back(g: Any, A: Any, X: Any, left: bool, vector: bool) -> tuple[Any, Any]:
    gB = linalg_solve_ex(A.mH, g, left=left)[0]
    if vector:
        return -gB.unsqueeze(-1) @ X.unsqueeze(-1).mH, gB
    return (-gB @ X.mH if left else -X.mH @ gB), gB


linalg_solve_ex.vjp(_=lambda g_result, A, B, result, left, needs: _solve_back(g_result, A, result, left, _vector(A, B)))


@composite("linalg_solve", **TENSORS, autocast="float32")
def linalg_solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The solution X of A @ X = B, or of X @ A = B where `left` is False.

    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([2.0, 4.0]))
    tensor([1., 1.])
    """
    X, info = linalg_solve_ex(A, B, left=left)
    factor.refuse(
        info,
        lambda which, i: f"torch.linalg.solve: {which}The solver failed because the input matrix is singular.",
        A.ndim > 2,
    )
    return X


@op("linalg_inv_ex", outputs=("inverse", "info"), **LINALG, autocast="float32")
def linalg_inv_ex(k: Kernel[T], A: T, *, check_errors: bool = False) -> tuple[T, T]:
    """The inverse, and where elimination met a zero (0: nowhere)."""
    return k.library("inv", A)


@linalg_inv_ex.errors
def _(A: Any, check_errors: bool) -> None:
    factor.square("linalg.inv", A)


linalg_inv_ex.vjp(A=lambda g_inverse, inverse: -(inverse.mH @ g_inverse @ inverse.mH))


@composite("linalg_inv", **TENSORS, autocast="float32")
def linalg_inv(A: Tensor) -> Tensor:
    """The inverse of a square matrix.

    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    out, info = linalg_inv_ex(A)
    factor.refuse(
        info,
        lambda which, i: (
            f"linalg.inv: {which}The diagonal element {i} is zero, the inversion "
            "could not be completed because the input "
            "matrix is singular."
        ),
        A.ndim > 2,
    )
    return out


@composite("linalg_tensorinv(Tensor self, int ind=2)", **TENSORS, autocast="float32")
def linalg_tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of a tensor seen as a linear map between its first `ind` dimensions and the rest."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    n, m = math.prod(A.shape[:ind]), math.prod(A.shape[ind:])
    if n != m:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {m} != {n}"
        )
    return linalg_inv(A.reshape(n, m)).reshape((*A.shape[ind:], *A.shape[:ind]))


@composite("linalg_tensorsolve(Tensor self, Tensor other, int[]? dims=None)", **TENSORS, autocast="float32")
def linalg_tensorsolve(A: Tensor, B: Tensor, dims: Shape | None = None) -> Tensor:
    """The solution X of tensordot(A, X) = B."""
    rank = A.ndim
    if dims is not None:
        moved = [wrap_dim(d, rank) for d in dims]
        A = A.permute([d for d in range(rank) if d not in moved] + moved)
    shape = tuple(A.shape[B.ndim :])
    n = math.prod(shape)
    if n != B.numel():
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {n} != "
            f"{B.numel()}"
        )
    return linalg_solve(A.reshape(B.numel(), n), B.reshape(-1)).reshape(shape)


@composite("linalg_lu_solve", **TENSORS)
def linalg_lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """The solution of A @ X = B (or X @ A = B, or with A.mH) from the factors of A."""
    if LU._a.dtype != B._a.dtype:
        raise RuntimeError(
            "linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type "
            f"{SPOKEN[LU.dtype]} and B of type "
            f"{SPOKEN[B.dtype]} instead"
        )
    if SPOKEN[pivots.dtype] != "Int":
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    factor.square("torch.linalg.lu_solve", LU, "linalg.lu_solve_cpu", "LU")
    if tuple(LU.shape[:-1]) != tuple(pivots.shape):
        raise RuntimeError(
            "linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix"
            if LU.shape[-1] != pivots.shape[-1]
            else "linalg.lu_solve: Expected LU.shape[:-1] and pivots.shape to be the same, but got "
            "pivots with shape "
            f"{list(pivots.shape)} instead"
        )
    factor._fits("linalg.lu_solve", LU, B, left)
    P, L, U = factor.lu_unpack(LU, pivots)
    tri = factor.solve_tri
    if left != adjoint:  # A X = B is P L U X = B; X A^H = B is its mirror image
        if left:
            return tri(U, tri(L, P.mT @ B, upper=False, unit=True), upper=True)
        return tri(U.mH, tri(L.mH, B @ P, upper=True, left=False, unit=True), upper=False, left=False)
    if left:
        return factor.by_columns(P @ tri(L.mH, tri(U.mH, B, upper=False), upper=True, unit=True))
    return tri(L, tri(U, B, upper=True, left=False), upper=False, left=False, unit=True) @ P.mT


@op(
    "linalg_ldl_factor_ex",
    outputs=("LD", "pivots", "info"),
    differentiable=False,
    lacks=("hC", "ldl_factor_kernel_cpu"),
    **LINALG,
)
def linalg_ldl_factor_ex(
    k: Kernel[T], input: T, *, hermitian: bool = False, check_errors: bool = False
) -> tuple[T, T, T]:
    """The factors of a symmetric matrix A = L @ D @ L.mT in LAPACK's packed form."""
    return k.library("ldl_factor", input, hermitian=hermitian)


@linalg_ldl_factor_ex.errors
def _(input: Any, hermitian: bool, check_errors: bool) -> None:
    factor.square("torch.linalg.ldl_factor_ex", input)


@composite("linalg_ldl_factor(Tensor self, *, bool hermitian=False)", outputs=("LD", "pivots"), **TENSORS)
def linalg_ldl_factor(A: Tensor, *, hermitian: bool = False) -> tuple[Tensor, Tensor]:
    """The factors of a symmetric matrix in LAPACK's packed form."""
    LD, pivots, info = linalg_ldl_factor_ex(A, hermitian=hermitian)
    factor.refuse(
        info,
        lambda which, i: (
            f"torch.linalg.ldl_factor_ex: {which}D[{i},{i}] is zero and using it on "
            "ldl_solve would result in a division "
            "by zero."
        ),
        A.ndim > 2,
    )
    return LD, pivots


@op("linalg_ldl_solve", differentiable=False, lacks=("hC", "ldl_solve_kernel_cpu"), **LINALG)
def linalg_ldl_solve(k: Kernel[T], LD: T, pivots: T, B: T, *, hermitian: bool = False) -> T:
    """The solution X of A @ X = B from the factors that `ldl_factor` gives."""
    return k.library("ldl_solve", LD, pivots, B, hermitian=hermitian)


@linalg_ldl_solve.errors
def _(LD: Any, pivots: Any, B: Any, hermitian: bool) -> None:
    if LD.dtype.kind in "bi":
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected a floating point or complex tensor as input. Got {SPOKEN[LD.dtype]}"
        )


# ---------------------------------------------------------------- determinants


@op("linalg_det", **LINALG)
def linalg_det(k: Kernel[T], A: T) -> T:
    """The determinant.

    >>> torch.linalg.det(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
    tensor(3.)
    """
    return k.library("det", A)


@linalg_det.errors
def _(A: Any) -> None:
    factor.square("linalg.det", A, "lu_cpu")


linalg_det.vjp(A=lambda g, A, out: _det_back(g, A, out))


@op("_without_zeros", promote="none", variants=())
def _without_zeros(k: Kernel[T], input: T) -> T:
    """The input, in which a program that was captured without zeros refuses them."""
    return k.library("copied", input)


_without_zeros.vjp(input=lambda g: g)


@_without_zeros.errors
def _(input: Any) -> None:
    if (input._a == 0).any():
        raise RuntimeError("a program without zeros")


def _det_back(g: Any, A: Any, det: Any) -> Any:
    if not A.numel():
        return A.new_zeros(A.shape)
    if A.shape[-1] == 1:
        return g.unsqueeze(-1).unsqueeze(-1)
    scale = g.unsqueeze(-1).unsqueeze(-1)
    if (det._a == 0).any():  # the cofactors of a singular matrix come from its singular values
        U, S, Vh = factor._linalg_svd(A, True)
        n = S.shape[-1]
        ones = S.new_ones((*S.shape[:-1], 1))
        before = factor._cat([ones, S[..., : n - 1]], -1).cumprod(-1)
        after = factor._cat([ones, S.flip(-1)[..., : n - 1]], -1).cumprod(-1).flip(-1)
        phase = linalg_det(U) * linalg_det(Vh)
        cofactors = (U * (before * after).to(U.dtype).unsqueeze(-2)) @ Vh
        return (
            scale * phase.conj().unsqueeze(-1).unsqueeze(-1) * cofactors
            if A.is_complex()
            else scale * phase.unsqueeze(-1).unsqueeze(-1) * cofactors
        )
    d = _without_zeros(det)
    d = d.conj() if A.is_complex() else d
    return linalg_solve_ex(A.mH, scale * d.unsqueeze(-1).unsqueeze(-1) * factor._eye(A.shape[-1], A))[0]


@op("linalg_slogdet", outputs=("sign", "logabsdet"), **LINALG)
def linalg_slogdet(k: Kernel[T], A: T) -> tuple[T, T]:
    """The sign of the determinant, and the logarithm of its absolute value.

    >>> torch.linalg.slogdet(-2 * torch.eye(3)).sign
    tensor(-1.)
    """
    return k.library("slogdet", A)


@linalg_slogdet.errors
def _(A: Any) -> None:
    factor.square("linalg.slogdet", A)


linalg_slogdet.vjp(A=lambda g_sign, g_logabsdet, A, sign: _slogdet_back(g_sign, g_logabsdet, A, sign))


def _slogdet_back(gs: Any, gl: Any, A: Any, sign: Any) -> Any:
    if A.is_complex():
        gl = gl - (gs.conj() * sign).imag * 1j
    scale = gl.unsqueeze(-1).unsqueeze(-1)
    return linalg_solve_ex(A.mH, scale * factor._eye(A.shape[-1], A))[0]


# ---------------------------------------------------------------- least squares, pseudoinverse


@op("_pinv", promote="none", variants=())
def _pinv(k: Kernel[T], A: T, atol: T, rtol: T, hermitian: bool) -> T:
    """The pseudoinverse, singular values up to `atol` or `rtol` times the largest counting as zero."""
    return k.library("pinv", A, atol, rtol, hermitian=hermitian)


_pinv.vjp(A=lambda g, A, out: _pinv_back(g, out, A))


def _pinv_back(g: Any, P: Any, A: Any) -> Any:
    m, n = A.shape[-2:]
    Ph, gh = P.mH, g.mH
    if m <= n:
        K = gh @ P
        KPh = K @ Ph
        return -(P @ K).mH + KPh - (A @ P) @ KPh + (Ph @ P) @ (gh - K @ A)
    K = P @ gh
    PhK = Ph @ K
    return -(K @ P).mH + (gh - A @ K) @ P @ Ph + PhK - (PhK @ P) @ A


def _tolerances(A: Any, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """Up to which singular values count as zero, absolutely and as part of the largest: tensors, with PyTorch's defaults."""
    eps = {"Float": 2.0**-23, "ComplexFloat": 2.0**-23}.get(SPOKEN[A.dtype], 2.0**-52)
    if rtol is None:
        rtol = eps * max(A.shape[-2:])
        if atol is not None:
            rtol = (atol <= 0) * rtol
    real = A.dtype.to_real()

    def made(v: Any) -> Any:
        number = v.detach() if hasattr(v, "ndim") else A.new_full((), 0.0 if v is None else v, dtype=float64)
        return number.to(real)  # a number out of its range is infinite there

    return made(atol), made(rtol)


def _no_complex(name: str, **tolerances: Any) -> None:
    for which, v in reversed(tolerances.items()):
        if isinstance(v, Tensor) and v.is_complex():
            raise RuntimeError(f"torch.{name}: {which} tensor of complex type is not supported. Got {SPOKEN[v.dtype]}")


def _largest(A: Any, hermitian: bool) -> tuple[Any, Any]:
    S = factor._linalg_eigh(A)[0].abs() if hermitian else factor._svdvals(A)
    return S, (S.amax(-1) if S.shape[-1] else S.new_zeros(S.shape[:-1]))


@composite(
    "linalg_pinv.atol_rtol_tensor(Tensor self, *, Tensor? atol=None, Tensor? rtol=None, bool hermitian=False)",
    "linalg_pinv(Tensor self, float rcond, bool hermitian=False)",
    "linalg_pinv.atol_rtol_float(Tensor self, *, float? atol=None, float? rtol=None, bool hermitian=False)",
    "linalg_pinv.rcond_tensor(Tensor self, Tensor rcond, bool hermitian=False)",
    **TENSORS,
    autocast="open",
)
def linalg_pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The Moore-Penrose pseudoinverse.

    >>> torch.linalg.pinv(torch.tensor([[1.0], [1.0]]))
    tensor([[0.5000, 0.5000]])
    """
    if A.ndim < 2 or A._a.dtype.kind not in "fc" or SPOKEN[A.dtype] in factor.HALVES:
        raise RuntimeError(
            f"linalg.pinv({SPOKEN[A.dtype]}{{{list(A.shape)}}}): expected a tensor with 2 or more "
            "dimensions of float, double, cfloat or "
            "cdouble types"
        )
    if A.numel() == 0:
        return still(A).mT.clone() if A.requires_grad else A.new_empty((*A.shape[:-2], A.shape[-1], A.shape[-2]))
    _no_complex("linalg.pinv", rcond=rcond, atol=atol, rtol=rtol)
    low, part = _tolerances(
        A, 0.0 if rcond is not None and atol is None else atol, rcond if rcond is not None else rtol
    )
    return _pinv(A, low, part, hermitian)


@composite(
    "linalg_matrix_rank.atol_rtol_tensor(Tensor input, *, Tensor? atol=None, Tensor? rtol=None, bool hermitian=False)",
    "linalg_matrix_rank(Tensor self, float tol, bool hermitian=False)",
    "linalg_matrix_rank.atol_rtol_float(Tensor self, *, float? atol=None, float? rtol=None, bool hermitian=False)",
    "linalg_matrix_rank.tol_tensor(Tensor input, Tensor tol, bool hermitian=False)",
    **TENSORS,
    autocast="float32",
)
def linalg_matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values are above the tolerance.

    >>> torch.linalg.matrix_rank(torch.tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor(1)
    """
    A = A.detach()
    if A.ndim < 2:
        raise RuntimeError("torch.linalg.matrix_rank: The input tensor input must have at least 2 dimensions.")
    if rtol is None and tol is None and SPOKEN[A.dtype] not in ("Float", "Double", "ComplexFloat", "ComplexDouble"):
        raise RuntimeError("This function doesn't handle types other than float and double")
    factor.matrices("linalg.svd", A, "linalg_svd_cpu")
    if A.numel() == 0:
        return A.new_zeros(A.shape[:-2]).long()
    _no_complex("linalg.matrix_rank", atol=tol if tol is not None else atol, rtol=rtol)
    S, largest = _largest(A, hermitian)
    low, part = _tolerances(A, tol if tol is not None else atol, 0.0 if tol is not None else rtol)
    return ((part * largest).maximum(low).unsqueeze(-1) < S).sum(-1)


@composite(
    "linalg_lstsq(Tensor self, Tensor b, float? rcond=None, *, str? driver=None)",
    outputs=("solution", "residuals", "rank", "singular_values"),
    **TENSORS,
    autocast="float32",
)
def linalg_lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The X that minimizes |A @ X - B|, with residuals, rank and singular values where the driver gives them."""
    solution, residuals, rank, values = _lstsq(A, B, rcond, driver)
    return solution, residuals, rank, values.detach()


@op("_lstsq", promote="none", variants=(), outputs=("solution", "residuals", "rank", "singular_values"))
def _lstsq(k: Kernel[T], A: T, B: T, rcond: float | None = None, driver: str | None = None) -> tuple[T, T, T, T]:
    """The same; singular values have no derivative."""
    return k.library("lstsq", A, B, rcond=rcond, driver=driver or "gelsy", vector=_lstsq_vector(A, B))


def _lstsq_vector(A: Any, B: Any) -> bool:
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(A.shape[:-1]) == tuple(B.shape))


@_lstsq.errors
def _(A: Any, B: Any, rcond: Any, driver: Any) -> None:
    if A._a.dtype.kind not in "fc" or SPOKEN[A.dtype] in factor.HALVES:
        raise RuntimeError("This function doesn't handle types other than float and double")
    if A.ndim < 2:
        raise RuntimeError("torch.linalg.lstsq: input must have at least 2 dimensions.")
    if B.ndim < 1:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    if A._a.dtype != B._a.dtype:
        raise RuntimeError(
            "torch.linalg.lstsq: Expected input and other to have the same dtype, but got input's "
            f"dtype {SPOKEN[A.dtype]} and other's dtype "
            f"{SPOKEN[B.dtype]}"
        )
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")


def _lstsq_back(g: Any, gr: Any, A: Any, B: Any, needs: Any) -> tuple[Any, Any]:
    vector = _lstsq_vector(A, B)
    if vector:
        g, B = g.unsqueeze(-1), B.unsqueeze(-1)
    P = linalg_pinv(A)
    gA = _pinv_back(g @ B.mH, P, A) if needs[0] else None
    gB = P.mH @ g if needs[1] else None
    if gr.numel():  # the squares of what A X leaves over of B
        X = P @ B
        over = (A @ X - B) * (2 * gr.unsqueeze(-2))
        gA = gA + over @ X.mH if needs[0] else None
        gB = gB - over if needs[1] else None
    return gA, (gB.squeeze(-1) if vector and gB is not None else gB)


_lstsq.vjp(_=lambda g_solution, g_residuals, A, B, needs: _lstsq_back(g_solution, g_residuals, A, B, needs))


# ---------------------------------------------------------------- products, powers


@composite("linalg_matmul", **TENSORS)
def linalg_matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product."""
    return matmul(input, other)


@composite("linalg_diagonal", namespace="linalg", variants=("function",), alias=True)
def linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: Dim = -2, dim2: Dim = -1) -> Tensor:
    """The diagonal of the last two dimensions.

    >>> torch.linalg.diagonal(torch.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    return diagonal(A, offset, dim1, dim2)


@composite("linalg_vecdot", **TENSORS, autocast="lower")
def linalg_vecdot(x: Tensor, y: Tensor, *, dim: Dim = -1) -> Tensor:
    """The dot product along a dimension, the first vector conjugated.

    >>> torch.linalg.vecdot(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2))
    tensor([3., 7.])
    """
    if x._a.dtype != y._a.dtype:
        raise RuntimeError(
            "linalg.vecdot: Expected x and y to have the same dtype, but found x of type "
            + f"{SPOKEN[x.dtype]} and y of type "
            f"{SPOKEN[y.dtype]} instead"
        )
    if x.dtype.kind in "bi":
        raise RuntimeError(
            f"linalg.vecdot: Expected a floating point or complex tensor as input. Got {SPOKEN[x.dtype]}"
        )
    return ((x.conj() if x.is_complex() else x) * y).sum(dim)


@composite("linalg_cross", **TENSORS, lacks=("buC", "cross"))
def linalg_cross(input: Tensor, other: Tensor, *, dim: Dim = -1) -> Tensor:
    """The cross product of vectors of three elements.

    >>> torch.linalg.cross(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and {other.shape[dim]}"
        )
    dim = wrap_dim(dim, input.ndim)
    shape = broadcast(input.shape, other.shape)
    same_dtypes(input, other)
    a, b = (t.expand(shape).unbind(dim) for t in (input, other))
    return stack([a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)], dim)


@composite("linalg_vander", namespace="linalg", variants=("function",))
def linalg_vander(x: Tensor, *, N: Size | None = None) -> Tensor:
    """The powers 0, 1, ... N-1 of each element, as columns.

    >>> torch.linalg.vander(torch.tensor([1, 2, 3]))
    tensor([[1, 1, 1],
            [1, 2, 4],
            [1, 3, 9]])
    """
    if N is not None and N <= 1:
        raise RuntimeError("N must be greater than 1.")
    if x.dtype.kind == "b" or x.dtype in (bfloat16, float16, complex32):
        raise RuntimeError(
            f"linalg.vander supports floating point, complex, and integer tensors, but got {SPOKEN[x.dtype]}"
        )
    x = x.reshape(1) if x.ndim == 0 else x
    n = x.shape[-1] if N is None else N
    if x._a.dtype.kind in "biu":
        x = x.long()
    ones = x.new_ones((*x.shape, 1))
    return factor._cat([ones, x.unsqueeze(-1).expand((*x.shape, n - 1)).cumprod(-1)], -1)


@composite("linalg_matrix_power(Tensor self, int n)", **TENSORS, autocast="open")
def linalg_matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied by itself n times; for negative n, its inverse.

    >>> torch.linalg.matrix_power(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 3)
    tensor([[1., 3.],
            [0., 1.]])
    """
    if A.ndim < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {A.shape[-2]} "
            f"by {A.shape[-1]} matrices"
        )
    if n == 0:
        return A.clone().copy_(factor._eye(A.shape[-1], A))
    if n < 0:
        A, n = linalg_inv(A), -n
    if n == 1:
        return A.clone()
    out: Tensor | None = None
    while n:
        if n & 1:
            out = A if out is None else matmul(out, A)
        n >>= 1
        if n:
            A = matmul(A, A)
    assert out is not None  # n > 1
    return out


@op("linalg_matrix_exp", promote="none", namespace="linalg", variants=("function",))
def linalg_matrix_exp(k: Kernel[T], input: T) -> T:
    """The exponential of a square matrix: 1 + A + A @ A / 2 + ...

    >>> torch.linalg.matrix_exp(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return k.library("matrix_exp", input)


@linalg_matrix_exp.errors
def _(input: Any) -> None:
    if input.dtype.kind == "c" and SPOKEN[input.dtype] == "ComplexHalf":
        raise NotImplementedError("\"bmm\" not implemented for 'ComplexHalf'")
    if SPOKEN[input.dtype] not in factor.HALVES or input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        factor.square("linalg.matrix_exp", input)


linalg_matrix_exp.vjp(input=lambda g, input: _exp_back(g, input))


def _exp_back(g: Any, A: Any) -> Any:
    """The derivative in direction g stands in a block of the exponential of a matrix twice as large."""
    n, Ah = A.shape[-1], A.mH
    whole = factor._cat([factor._cat([Ah, g], -1), factor._cat([g.new_zeros(g.shape), Ah], -1)], -2)
    return linalg_matrix_exp(whole)[..., :n, n:]


@composite("linalg_householder_product", **TENSORS, receiver="input", lacks=("bihC", "orgqr_cpu"), autocast="float32")
def linalg_householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of reflections 1 - tau * v @ v.mH, as LAPACK stores them."""
    if input.ndim < 2:
        raise RuntimeError("torch.linalg.householder_product: input must have at least 2 dimensions.")
    m, n = input.shape[-2:]
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if tau.shape[-1] > n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    if input.ndim - tau.ndim != 1:
        raise RuntimeError(
            "torch.linalg.householder_product: Expected tau to have one dimension less than input, "
            f"but got tau.ndim equal to {tau.ndim} "
            f"and input.ndim is equal to {input.ndim}"
        )
    if input._a.dtype != tau._a.dtype:
        raise RuntimeError(
            f"torch.linalg.householder_product: tau dtype {SPOKEN[tau.dtype]} does not match input "
            f"dtype {SPOKEN[input.dtype]}"
        )
    batch = tuple(input.shape[:-2])
    out = factor._eye(m, input)[:, :n].expand((*batch, m, n))
    if not input.numel() or not tau.numel():
        return blind_in(blind_in(out, input), tau)
    V = input.tril(-1) + factor._eye(m, input)[:, :n]
    for i in range(tau.shape[-1] - 1, -1, -1):
        v = V[..., :, i : i + 1]
        out = out - tau[..., i : i + 1].unsqueeze(-1) * (v @ (v.mH @ out))
    return factor.by_columns(out)
