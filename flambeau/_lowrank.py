"""Low-rank factorizations by random projections: `svd_lowrank`, `pca_lowrank`."""

from __future__ import annotations

import flambeau
from flambeau import Tensor

__all__ = ["pca_lowrank", "svd_lowrank"]


def get_approximate_basis(A: Tensor, q: int, niter: int | None = 2, M: Tensor | None = None) -> Tensor:
    """Orthonormal columns Q, q of them, such that Q @ Q.mH @ (A - M) is close to A - M."""
    niter = 2 if niter is None else niter
    d = A.dtype if A.is_floating_point() or A.is_complex() else flambeau.get_default_dtype()
    R = flambeau.randn(A.shape[-1], q, dtype=d, device=A.device)
    A = A.to(d)
    A = A if M is None else A - M.to(d)
    X = A @ R
    Q = flambeau.linalg.qr(X).Q
    for _ in range(niter):
        Q = flambeau.linalg.qr(A.mH @ Q).Q
        Q = flambeau.linalg.qr(A @ Q).Q
    return Q


def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V with (A - M) close to U @ diag(S) @ V.mH, for the q largest singular values."""
    q = 6 if q is None else q
    m, n = A.shape[-2:]
    if M is not None:
        A = A - M.broadcast_to(A.shape)
    if m < n:  # project from the longer side
        A = A.mH
    Q = get_approximate_basis(A, q, niter)
    U, S, Vh = flambeau.linalg.svd(Q.mH @ A, full_matrices=False)
    U, V = Q @ U, Vh.mH
    return (V, S, U) if m < n else (U, S, V)


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """The q principal components of the rows of A: `svd_lowrank` of A less the mean of its columns."""
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if not (A.is_floating_point() or A.is_complex()):
        raise ValueError(f"input data must be floating-point tensor, got {A.dtype}")
    return svd_lowrank(A - A.mean(dim=(-2,), keepdim=True) if center else A, q, niter=niter)
