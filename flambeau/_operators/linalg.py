"""Factorizations of matrices, with PyTorch's formulas for their derivatives: cholesky, lu, qr, eigh, eig, svd.

What solves equations stands in solve.py, norms in norm.py, the older names (`torch.svd`, `torch.qr`) in linalg_older.py.
"""

from __future__ import annotations

from typing import Any

from flambeau._ground.errors import LinAlgError
from flambeau._kernel.language import Kernel, T
from flambeau._operators.op import composite, op
from flambeau._tensor import Tensor, has_elements
from flambeau._values.dtype import SPOKEN

LINALG = {"promote": "none", "namespace": "linalg", "variants": ("function", "out")}
HALVES = ("Half", "BFloat16", "ComplexHalf")


# ---------------------------------------------------------------- refusals


def matrices(name: str, A: Any, routine: str = "") -> None:
    if A.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    kind = SPOKEN[A.dtype]
    if A._a.dtype.kind in "biu":
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {kind}")
    if kind in HALVES or kind.startswith("Float8"):
        if routine:
            raise NotImplementedError(f"\"{routine}\" not implemented for '{kind}'")
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {kind}")


def square(name: str, A: Any, routine: str = "", what: str = "A") -> None:
    if A.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    n, m = A._a.shape[-2:]
    if n != m:
        raise RuntimeError(f"{name}: {what} must be batches of square matrices, but they are {n} by {m} matrices")
    matrices(name, A, routine)


REFUSALS: list[Any] = []  # asked first: fn(info) -> whether it sees to it that a call with such numbers raises


def by_columns(x: Any) -> Any:
    """The same matrices, which lie by columns, as LAPACK would leave them."""
    return x.mT.contiguous().mT


def refuse(info: Any, message: Any, batched: bool, error: type[Exception] = LinAlgError) -> None:
    """Raise for the first matrix of a batch that LAPACK gave up on."""
    if any([asked(info) for asked in REFUSALS]) or not has_elements(info):
        return
    bad = info._a.reshape(-1).nonzero()[0]
    if bad.size:
        which = f"(Batch element {bad[0]}): " if batched else ""
        raise error(message(which, int(info._a.reshape(-1)[bad[0]])))


# ---------------------------------------------------------------- small formulas


def skew(x: Any) -> Any:
    return x - x.mH


def triangle(x: Any) -> Any:
    """The lower triangle, half of it on the diagonal: what a Hermitian matrix's gradient is folded into."""
    return x.tril() - diagonal_part(x) * 0.5


def diagonal_part(x: Any) -> Any:
    return x.diagonal(0, -2, -1).diag_embed()


def symmetric(x: Any) -> Any:
    return (x + x.mH) * 0.5


def gaps(values: Any) -> Any:
    """E[i, j] = values[j] - values[i], with ones on the diagonal."""
    n = values.shape[-1]
    return values.unsqueeze(-2) - values.unsqueeze(-1) + _eye(n, values)


def _eye(n: int, like: Any) -> Any:
    return like.new_ones((n,)).diag_embed()


def solve_tri(A: Any, B: Any, *, upper: bool, left: bool = True, unit: bool = False) -> Any:
    return linalg_solve_triangular(A, B, upper=upper, left=left, unitriangular=unit)


# ---------------------------------------------------------------- triangular systems


@op("linalg_solve_triangular", **LINALG, lacks=("bihC", "triangular_solve_cpu"))
def linalg_solve_triangular(
    k: Kernel[T], input: T, B: T, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> T:
    """The solution X of input @ X = B (or X @ input = B) for a triangular matrix.

    >>> torch.linalg.solve_triangular(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[2.0], [3.0]]), upper=False)
    tensor([[1.],
            [2.]])
    """
    return k.library("solve_triangular", input, B, upper=upper, left=left, unit=unitriangular)


@linalg_solve_triangular.errors
def _(input: Any, B: Any, upper: bool, left: bool, unitriangular: bool) -> None:
    for x in (input, B):
        if x.ndim < 2:
            raise RuntimeError(
                "linalg.solve_triangular: The input tensor "
                + ("A" if x is input else "B")
                + " must have at least 2 dimensions."
            )
    square("linalg.solve_triangular", input)
    _fits("linalg.solve_triangular", input, B, left)
    if input._a.dtype != B._a.dtype:
        raise RuntimeError(
            "linalg.solve_triangular: Expected A and B to have the same dtype, but found A of type "
            f"{SPOKEN[input.dtype]} and B of type "
            f"{SPOKEN[B.dtype]} instead"
        )


def _fits(name: str, A: Any, B: Any, left: bool) -> None:
    n, (r, c) = A._a.shape[-1], B._a.shape[-2:]
    if (r if left else c) != n:
        text = f"AX = B ({n}x{n} and {r}x{c})" if left else f"XA = B ({n}x{n} and {r}x{c})"
        raise RuntimeError(f"{name}: Incompatible shapes of A and B for the equation {text}")


def _triangular_matrix_back(g: Any, A: Any, X: Any, upper: bool, left: bool, unit: bool) -> Any:
    gB = solve_tri(A.mH, g, upper=not upper, left=left, unit=unit)
    gA = -(gB @ X.mH) if left else -(X.mH @ gB)
    return gA.triu(1 if unit else 0) if upper else gA.tril(-1 if unit else 0)


linalg_solve_triangular.vjp(
    input=lambda g, input, out, upper, left, unitriangular: _triangular_matrix_back(
        g, input, out, upper, left, unitriangular
    ),
    B=lambda g, input, upper, left, unitriangular: solve_tri(
        input.mH, g, upper=not upper, left=left, unit=unitriangular
    ),
)


# ---------------------------------------------------------------- Cholesky


@op("linalg_cholesky_ex", outputs=("L", "info"), **LINALG, autocast="float32")
def linalg_cholesky_ex(k: Kernel[T], input: T, *, upper: bool = False, check_errors: bool = False) -> tuple[T, T]:
    """The triangular factor of a positive-definite matrix, and where the factorization broke off (0: nowhere)."""
    return k.library("cholesky", input, upper=upper)


@linalg_cholesky_ex.errors
def _(input: Any, upper: bool, check_errors: bool) -> None:
    square("linalg.cholesky", input, "cholesky_cpu")


linalg_cholesky_ex.vjp(input=lambda g_L, L, upper: _cholesky_back(g_L, L, upper))


def _cholesky_back(g: Any, L: Any, upper: bool) -> Any:
    if upper:
        g, L = g.mH, L.mH
    phi = (L.mH @ g).tril()
    phi = (phi + phi.tril(-1).mH) * 0.5
    half = solve_tri(L.mH, phi, upper=True)
    return solve_tri(L, half, upper=False, left=False)


def _not_positive(name: str) -> Any:
    return lambda which, order: (
        f"{name}: {which}The factorization could not be completed because the input is "
        "not positive-definite (the leading "
        f"minor of order {order} is not positive-definite)."
    )


@composite(
    "linalg_cholesky(Tensor self, *, bool upper=False)",
    namespace="linalg",
    variants=("function", "out"),
    autocast="float32",
)
def linalg_cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower (or upper) triangular factor of a positive-definite matrix: A = L @ L.mH.

    >>> torch.linalg.cholesky(torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
    tensor([[2., 0.],
            [0., 3.]])
    """
    L, info = linalg_cholesky_ex(A, upper=upper)
    refuse(info, _not_positive("linalg.cholesky"), A.ndim > 2)
    return L


# ---------------------------------------------------------------- LU


@op("linalg_lu_factor_ex", outputs=("LU", "pivots", "info"), **LINALG)
def linalg_lu_factor_ex(k: Kernel[T], A: T, *, pivot: bool = True, check_errors: bool = False) -> tuple[T, T, T]:
    """The factors of A = P @ L @ U in one matrix, the row exchanges, and where U has a zero on its diagonal (0: nowhere)."""
    return k.library("lu_factor", A, pivot=pivot)


@linalg_lu_factor_ex.errors
def _(A: Any, pivot: bool, check_errors: bool) -> None:
    _lu_errors("torch.lu_factor", A, pivot)


def _lu_errors(name: str, A: Any, pivot: bool) -> None:
    if A.ndim < 2:
        raise RuntimeError(f"{name}: Expected tensor with 2 or more dimensions. Got size: {list(A.shape)} instead")
    kind = SPOKEN[A.dtype]
    if A._a.dtype.kind in "biu" or kind in HALVES:
        raise NotImplementedError(f"\"lu_cpu\" not implemented for '{kind}'")
    if not pivot:
        raise RuntimeError(
            "linalg.lu_factor: LU without pivoting is not implemented on the CPU"
            if "factor" in name
            else "linalg.lu: LU without pivoting is not implemented on the CPU"
        )


linalg_lu_factor_ex.vjp(A=lambda g_LU, LU, pivots: _lu_packed_back(g_LU, LU, pivots))


def _lu_packed_back(g: Any, LU: Any, pivots: Any) -> Any:
    k = min(LU.shape[-2:])
    P, L, U = lu_unpack(LU, pivots)
    return _lu_back(g[..., :, :k].tril(-1), g[..., :k, :].triu(), P, L, U)


def _lu_back(gL: Any, gU: Any, P: Any, L: Any, U: Any) -> Any:
    """The gradient of A = P L U, square, wide or tall."""
    m, n = L.shape[-2], U.shape[-1]
    k = min(m, n)
    L1, U1 = L[..., :k, :], U[..., :, :k]
    low = L1.mH @ gL[..., :k, :]
    high = gU[..., :, :k] @ U1.mH
    if m < n:
        low = low - gU[..., :, k:] @ U[..., :, k:].mH
    if m > n:
        high = high - L[..., k:, :].mH @ gL[..., k:, :]
    core = low.tril(-1) + high.triu()
    A1 = solve_tri(L1.mH, solve_tri(U1.mH, core, upper=False, left=False), upper=True, unit=True)
    if m < n:
        A1 = _cat([A1, solve_tri(L.mH, gU[..., :, k:], upper=True, unit=True)], -1)
    if m > n:
        A1 = _cat([A1, solve_tri(U.mH, gL[..., k:, :], upper=False, left=False)], -2)
    return P @ A1


def _cat(xs: Any, dim: int) -> Any:
    from flambeau._operators.join import cat

    return cat(xs, dim)


@composite("linalg_lu_factor", namespace="linalg", variants=("function", "out"), outputs=("LU", "pivots"))
def linalg_lu_factor(A: Tensor, *, pivot: bool = True) -> tuple[Tensor, Tensor]:
    """The factors of A = P @ L @ U in one matrix, and the row exchanges."""
    LU, pivots, info = linalg_lu_factor_ex(A, pivot=pivot)
    refuse(
        info,
        lambda which, i: (
            f"torch.linalg.lu_factor: {which}U[{i},{i}] is zero and using it on lu_solve "
            "would result in a division by zero. If "
            "you still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
            "linalg.lu_factor_ex(A, pivot)"
        ),
        A.ndim > 2,
        RuntimeError,
    )
    return LU, pivots


@op("_linalg_lu", promote="none", variants=(), outputs=("P", "L", "U"))
def _linalg_lu(k: Kernel[T], A: T, pivot: bool = True) -> tuple[T, T, T]:
    """The three factors."""
    LU, pivots, _ = k.library("lu_factor", A, pivot=pivot)
    return k.library("lu_unpack", LU, pivots)


_linalg_lu.vjp(A=lambda g_L, g_U, P, L, U: _lu_back(g_L, g_U, P, L, U))
_linalg_lu.errors(lambda A, pivot: _lu_errors("linalg.lu", A, pivot))


@composite("linalg_lu", namespace="linalg", variants=("function", "out"), outputs=("P", "L", "U"))
def linalg_lu(A: Tensor, *, pivot: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """A = P @ L @ U: a permutation, a lower and an upper triangular matrix."""
    P, L, U = _linalg_lu(A, pivot)
    return P.detach(), L, U


@composite(
    "lu_unpack",
    variants=("function", "out"),
    outputs=("P", "L", "U"),
    lacks=(("C", "scatter_gather_scalar_cpu"), ("u", "tril")),
)
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The three factors that `linalg.lu_factor` packed."""
    P, L, U = _lu_unpack(LU_data, LU_pivots, unpack_data, unpack_pivots)
    return P.detach(), L, U


@op("_lu_unpack", promote="none", variants=(), outputs=("P", "L", "U"), packed=True)
def _lu_unpack(
    k: Kernel[T], LU_data: T, LU_pivots: T, unpack_data: bool = True, unpack_pivots: bool = True
) -> tuple[T, T, T]:
    """The same; the permutation has no derivative."""
    P, L, U = k.library("lu_unpack", LU_data, LU_pivots)
    none = k.library("zeros", shape=(0,), dtype=LU_data.dtype)
    return (P if unpack_pivots else none), (L if unpack_data else none), (U if unpack_data else none)


@_lu_unpack.errors
def _(LU_data: Any, LU_pivots: Any, unpack_data: bool, unpack_pivots: bool) -> None:
    if unpack_pivots and SPOKEN[LU_pivots.dtype] != "Int":
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
            "dtype.\nNote: this function is intended to be "
            "used with the output produced by torch.linalg.lu_factor"
        )


_lu_unpack.vjp(LU_data=lambda g_L, g_U, LU_data_shape: _packed(g_L, g_U, LU_data_shape))


def _packed(gL: Any, gU: Any, shape: Any) -> Any:
    m, n = shape[-2:]
    k = min(m, n)
    low, high = gL.tril(-1), gU.triu()
    if m > n:
        return low + _cat([high, high.new_zeros((*shape[:-2], m - k, n))], -2)
    if n > m:
        return _cat([low, low.new_zeros((*shape[:-2], m, n - k))], -1) + high
    return low + high


# ---------------------------------------------------------------- QR


@op("linalg_qr", outputs=("Q", "R"), lacks=("8", "geqrf_cpu"), **LINALG, autocast="float32")
def linalg_qr(k: Kernel[T], A: T, mode: str = "reduced") -> tuple[T, T]:
    """A = Q @ R: orthonormal columns times an upper triangle."""
    return k.library("qr", A, mode=mode)


@linalg_qr.errors
def _(A: Any, mode: str) -> None:
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    matrices("linalg.qr", A, "geqrf_cpu")


linalg_qr.vjp(A=lambda g_Q, g_R, Q, R, mode: _qr_back(g_Q, g_R, Q, R, mode))


def _qr_back(gQ: Any, gR: Any, Q: Any, R: Any, mode: str) -> Any:
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please "
            "use linalg.qr(A, mode='reduced') if you "
            "are going to require gradients through Q."
        )
    m, n = Q.shape[-2], R.shape[-1]
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols")
    core = gR @ R.mH - Q.mH @ gQ
    if m >= n:
        core = core.triu()
        core = core + core.mH - _real_part(diagonal_part(core))
        core = Q @ core + gQ
        return solve_tri(R.mH, core, upper=False, left=False)
    # Wide: the first m columns carry the factorization, the rest is Q^H A2.
    left = R[..., :, :m]
    low = core.mH - core
    core = low.tril(-1) + (diagonal_part(low) * 0.5 if low.is_complex() else diagonal_part(low) * 0)
    square_part = solve_tri(left.mH, Q @ core, upper=False, left=False)
    return _cat([square_part, square_part.new_zeros((*square_part.shape[:-1], n - m))], -1) + Q @ gR


def _real_part(x: Any) -> Any:
    return x.real.to(x.dtype) if x.is_complex() else x


# ---------------------------------------------------------------- eigenvalues


@op("_linalg_eigh", promote="none", variants=("function",), outputs=("eigenvalues", "eigenvectors"))
def _linalg_eigh(k: Kernel[T], A: T, UPLO: str = "L", compute_v: bool = True) -> tuple[T, T]:
    """Eigenvalues (ascending) and eigenvectors of a Hermitian matrix, one triangle of which is read."""
    return k.library("eigh", A, lower=UPLO.upper() == "L")


@_linalg_eigh.errors
def _(A: Any, UPLO: str, compute_v: bool) -> None:
    if A.ndim >= 2 and A.shape[-1] == A.shape[-2] and (A._a.dtype.kind in "biu" or SPOKEN[A.dtype] in HALVES):
        raise NotImplementedError(f"\"linalg_eigh_cpu\" not implemented for '{SPOKEN[A.dtype]}'")
    square("linalg.eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")


_linalg_eigh.vjp(
    A=lambda g_eigenvalues, g_eigenvectors, eigenvalues, eigenvectors: _eigh_back(
        g_eigenvalues, g_eigenvectors, eigenvalues, eigenvectors
    )
)


def over_gaps(turn: Any, E: Any) -> Any:
    """How far vectors turn: `turn / E`, and nothing where nobody asks vectors of equal values to turn."""
    return turn / (E + ((E == 0) & (turn == 0)).to(E.dtype))


def _eigh_back(gL: Any, gV: Any, L: Any, V: Any) -> Any:
    core = over_gaps(skew(V.mH @ gV) * 0.5, gaps(L))
    core = core - diagonal_part(core) + gL.to(core.dtype).diag_embed()
    return V @ core @ V.mH


@composite(
    'linalg_eigh(Tensor self, str UPLO="L")',
    namespace="linalg",
    variants=("function", "out"),
    outputs=("eigenvalues", "eigenvectors"),
    autocast="float32",
)
def linalg_eigh(A: Tensor, UPLO: str = "L") -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors of a Hermitian matrix: A = V @ diag(L) @ V.mH."""
    return tuple(_linalg_eigh(A, UPLO))


@composite(
    'linalg_eigvalsh(Tensor self, str UPLO="L")', namespace="linalg", variants=("function", "out"), autocast="float32"
)
def linalg_eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of a Hermitian matrix, ascending.

    >>> torch.linalg.eigvalsh(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
    tensor([1., 3.])
    """
    return _linalg_eigh(A, UPLO)[0]


@op("linalg_eig", outputs=("eigenvalues", "eigenvectors"), **LINALG, autocast="float32")
def linalg_eig(k: Kernel[T], input: T) -> tuple[T, T]:
    """Eigenvalues and eigenvectors of a square matrix, complex: A = V @ diag(L) @ V^-1."""
    return k.library("eig", input)


@linalg_eig.errors
def _(input: Any) -> None:
    if input._a.dtype.kind in "biu":
        raise RuntimeError(f"Unknown Complex ScalarType for {SPOKEN[input.dtype]}")
    square("linalg.eig", input, "linalg_eig_out_cpu")
    if not _finite(input):
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")


def _finite(x: Any) -> bool:
    total = abs(x._a).sum()
    return bool(total - total == 0)


linalg_eig.vjp(
    input=lambda g_eigenvalues, g_eigenvectors, eigenvalues, eigenvectors, input_dtype: _eig_back(
        g_eigenvalues, g_eigenvectors, eigenvalues, eigenvectors, input_dtype
    )
)


def _eig_back(gL: Any, gV: Any, L: Any, V: Any, dtype: Any) -> Any:
    core = V.mH @ gV
    core = core - (V.mH @ V) * core.diagonal(0, -2, -1).real.to(core.dtype).unsqueeze(-2)
    core = core / gaps(L).conj()
    core = core - diagonal_part(core) + gL.diag_embed()
    from flambeau._operators.solve import linalg_solve  # solve is written in terms of this file

    g = linalg_solve(V.mH, core @ V.mH)
    return g if dtype.is_complex else g.real


@composite("linalg_eigvals(Tensor self)", namespace="linalg", variants=("function", "out"), autocast="float32")
def linalg_eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of a square matrix, complex."""
    return linalg_eig(A)[0]


# ---------------------------------------------------------------- singular values


@op("_linalg_svd", promote="none", variants=("function",), outputs=("U", "S", "Vh"))
def _linalg_svd(
    k: Kernel[T], A: T, full_matrices: bool = False, compute_uv: bool = True, *, driver: str | None = None
) -> tuple[T, T, T]:
    """A = U @ diag(S) @ Vh, with S descending."""
    return k.library("svd", A, full=full_matrices)


@_linalg_svd.errors
def _(A: Any, full_matrices: bool, compute_uv: bool, driver: Any) -> None:
    matrices("linalg.svd", A, "linalg_svd_cpu")
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )


_linalg_svd.vjp(A=lambda g_U, g_S, g_Vh, U, S, Vh: _svd_back(g_U, g_S, g_Vh, U, S, Vh))


def _svd_back(gU: Any, gS: Any, gVh: Any, U: Any, S: Any, Vh: Any) -> Any:
    m, k, n = U.shape[-2], S.shape[-1], Vh.shape[-1]
    U, gU, Vh, gVh = U[..., :, :k], gU[..., :, :k], Vh[..., :k, :], gVh[..., :k, :]
    E = gaps(S * S)
    left, right = U.mH @ gU, Vh @ gVh.mH
    core = over_gaps(skew(left), E) * S.unsqueeze(-2) + S.unsqueeze(-1) * over_gaps(skew(right), E)
    core = core + gS.to(core.dtype).diag_embed()
    if U.is_complex():
        core = core + (skew(left).diagonal(0, -2, -1) / (2 * S)).diag_embed()
    out = U @ core
    if m > k:
        over = gU / S.unsqueeze(-2)
        out = out + over - U @ (U.mH @ over)
    out = out @ Vh
    if n > k:
        over = gVh / S.unsqueeze(-1)
        out = out + U @ (over - (over @ Vh.mH) @ Vh)
    return out


@composite("linalg_svd", namespace="linalg", variants=("function", "out"), outputs=("U", "S", "Vh"), autocast="float32")
def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """A = U @ diag(S) @ Vh: orthonormal columns, singular values (descending), orthonormal rows."""
    return tuple(_linalg_svd(A, full_matrices, driver=driver))


@op("_svdvals", promote="none", variants=())
def _svdvals(k: Kernel[T], A: T) -> T:
    """Singular values alone."""
    return k.library("svdvals", A)


@_svdvals.errors
def _(A: Any) -> None:
    matrices("linalg.svd", A, "linalg_svd_cpu")


_svdvals.vjp(A=lambda g, A: _svdvals_back(g, A))


def _svdvals_back(g: Any, A: Any) -> Any:
    U, _, Vh = _linalg_svd(A, False)
    return (U * g.unsqueeze(-2)) @ Vh


@composite("linalg_svdvals", namespace="linalg", variants=("function", "out"), autocast="float32")
def linalg_svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, descending.

    >>> torch.linalg.svdvals(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([3., 1.])
    """
    return _svdvals(A)
