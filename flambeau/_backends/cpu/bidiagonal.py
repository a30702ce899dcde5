"""Singular vectors with the signs of PyTorch's LAPACK.

Singular vectors are determined up to their sign, which depends on the way to the bidiagonal matrix. The reference LAPACK goes through QR or LQ
where one side is 11/6 of the other or more. So does MKL, which PyTorch is built with, for complex matrices; real ones it takes through
QR from 3/2 on, and wide ones as they stand. Here those go MKL's way: LAPACK gets a square matrix, which it reduces directly, and an upper
bidiagonal one it leaves as it is.

Reduction: G. H. Golub, W. Kahan, "Calculating the singular values and pseudo-inverse of a matrix", SIAM J. Numer. Anal. 2 (1965), with the
signs of LAPACK's reflections (xLARFG) and rotations (xLARTG).
"""

from __future__ import annotations

from typing import Any

import numpy as np

WIDE = 128  # rows up to which wide matrices are reduced here


def parts(x: Any) -> bool:
    """Whether MKL's way and the reference's part for the matrices x."""
    m, n = x.shape[-2:]
    if x.dtype.kind != "f" or not np.isfinite(x).all():
        return False
    return n * 3 // 2 <= m < n * 11 // 6 if m > n else n >= m * 11 // 6 and 1 < m <= WIDE


def svd(x: Any, full: bool) -> tuple[Any, Any, Any]:
    """U, S, Vh of matrices whose ways part."""
    m, n = x.shape[-2:]
    if m > n:
        Q, R = np.linalg.qr(x, "complete" if full else "reduced")
        U, S, Vh = np.linalg.svd(R[..., :n, :])
        return np.concatenate((Q[..., :n] @ U, Q[..., n:]), -1), S, Vh
    _, scale = np.frexp(abs(x).max((-2, -1), keepdims=True))  # squares must neither overflow nor vanish
    x = np.ldexp(x, -scale)
    Q, B = np.empty((2, *x.shape[:-2], m, m), x.dtype)
    P = np.empty((*x.shape[:-2], n if full else m, n), x.dtype)
    for i in np.ndindex(x.shape[:-2]):
        Q[i], B[i], P[i] = reduced(x[i], full)
    U, S, Vh = np.linalg.svd(B)
    return Q @ U, np.ldexp(S, scale[..., 0]), np.concatenate((Vh @ P[..., :m, :], P[..., m:, :]), -2)


def reduced(x: Any, full: bool = False) -> tuple[Any, Any, Any]:
    """Q, B, P with x = Q B P[:m], B (m, m) upper bidiagonal, for x of m rows and n >= m columns; P is (m, n), or (n, n) if `full`."""
    m, n = x.shape
    A, left, right = np.array(x), [], []
    for i in range(m):
        right.append(_reflected(A[i:, i:]))
        if i + 1 < m:
            left.append(_reflected(A[i + 1 :, i:].T))
    Q, P = np.eye(m, dtype=x.dtype), np.eye(n if full else m, n, dtype=x.dtype)
    for i in reversed(range(m - 1)):
        _reflect(Q[i + 1 :, i + 1 :].T, *left[i])
    for i in reversed(range(m)):
        _reflect(P[i:, i:], *right[i])
    return Q, _rotated(A[:, :m], Q), P


def _reflected(A: Any) -> tuple[Any, Any]:
    """v and tau of the reflection that turns the first row of A into a multiple of e_1; v[0] = 1. A is reflected from the right."""
    x = A[0]
    v = x.copy()
    v[0] = 1
    if not x[1:].any():
        return v, x.dtype.type(0)
    alpha, beta = x[0], -np.copysign(np.linalg.norm(x), x[0])
    v[1:] /= alpha - beta
    tau = (beta - alpha) / beta
    _reflect(A[1:], v, tau)
    x[:] = 0
    x[0] = beta
    return v, tau


def _reflect(A: Any, v: Any, tau: Any) -> None:
    """A becomes A (1 - tau v v^T)."""
    A -= np.outer(A @ v, tau * v)


def _rotated(B: Any, Q: Any) -> Any:
    """The lower bidiagonal B becomes an upper one by rotations of its rows; the columns of Q turn with them."""
    for i in range(len(B) - 1):
        d, e = B[i, i], B[i + 1, i]
        r = np.copysign(np.hypot(d, e), d)
        if r != 0:
            turn = np.array([[d, e], [-e, d]]) / r
            B[i : i + 2, i : i + 2] = turn @ B[i : i + 2, i : i + 2]
            Q[:, i : i + 2] = Q[:, i : i + 2] @ turn.T
        B[i + 1, i] = 0
    return B
