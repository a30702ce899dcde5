"""Linear algebra by NumPy's and SciPy's LAPACK. Batches are leading dims; `info` arrays are zero where all went well."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

import numpy as np

from flambeau._backends.cpu import bidiagonal
from flambeau._backends.cpu.blas import alone
from flambeau._backends.cpu.library_product import native

F = TypeVar("F", bound=Callable[..., Any])
L = np.linalg
NATIVE = 1 << 8  # elements of matrices from which kernels eliminate


def eliminated(name: str, x: Any, *others: Any) -> Any:
    """What lu.py's function of that name gives for square matrices (and right sides with the same batch), or None."""
    if x.size < NATIVE or not native() or any(o.shape[:-2] != x.shape[:-2] for o in others):
        return None
    from flambeau._backends.cpu import lu

    return getattr(lu, name)(x, *others)


def each(x: Any, n: int = 2) -> Any:
    """The subscripts of a batch."""
    return np.ndindex(x.shape[: x.ndim - n])


def no_info(x: Any, n: int = 2) -> Any:
    return np.zeros(x.shape[: x.ndim - n], np.int32)


def lapack(names: tuple[str, ...], *xs: Any) -> Any:
    from scipy.linalg.lapack import get_lapack_funcs

    return get_lapack_funcs(names, xs)


DIRECT = 32  # rows and columns from which one matrix goes straight to LAPACK


def direct(x: Any) -> bool:
    """Whether to call LAPACK without the copies and checks of NumPy's routines."""
    return x.ndim == 2 and min(x.shape) >= DIRECT and x.dtype.char in "fdFD" and _scipy()


@cache
def _scipy() -> bool:
    return importlib.util.find_spec("scipy") is not None


def by_columns(*at: int) -> Callable[[F], F]:
    """The results at these positions (none: the only one) lie by columns, as LAPACK leaves them: as PyTorch's do."""

    def marked(fn: F) -> F:
        @wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            found = fn(*args, **kwargs)
            if not at:
                return _columns(found)
            return tuple(_columns(r) if i in at else r for i, r in enumerate(found))

        return run  # type: ignore[return-value]

    return marked


def _columns(x: Any) -> Any:
    if x.ndim < 2:
        return x
    turned = np.swapaxes(x, -1, -2)
    return x if turned.flags.c_contiguous else np.swapaxes(np.ascontiguousarray(turned), -1, -2)


def real_dtype(x: Any) -> Any:
    return x.real.dtype


# ---------------------------------------------------------------- factorizations


@by_columns(0)
@alone
def cholesky(x: Any, *, upper: bool) -> Any:
    """One triangle of x is read: the lower one, or the upper one where that is asked for."""
    if direct(x):
        (potrf,) = lapack(("potrf",), x)
        factor, code = potrf(x.T, lower=upper, clean=True)  # x.T = conj(L) L.T
        return factor.T, _unknown(factor.T, np.asarray(code, np.int32))
    info = no_info(x)
    try:
        out = L.cholesky(x if not upper else np.swapaxes(x, -1, -2).conj())
    except L.LinAlgError:
        (potrf,) = lapack(("potrf",), x)
        out = np.empty_like(x)
        info = np.array(info)
        for i in each(x):
            a = x[i] if not upper else x[i].T.conj()
            out[i], info[i] = potrf(a, lower=True, clean=True)
    if upper:
        out = np.swapaxes(out, -1, -2).conj()
    return out, _unknown(out, info)


def _unknown(factor: Any, info: Any) -> Any:
    """`info`, with the order of the first minor that is NaN where LAPACK went on."""
    unknown = np.isnan(np.diagonal(factor, axis1=-2, axis2=-1))
    if not unknown.any():
        return info
    return np.where(unknown.any(-1) & (np.asarray(info) == 0), unknown.argmax(-1) + 1, info).astype(np.int32)


@by_columns(0)
def lu_factor(x: Any, *, pivot: bool) -> Any:
    if x.shape[-1] == x.shape[-2] and pivot:
        found = eliminated("factor", x)
        if found is not None:
            return found
    (getrf,) = lapack(("getrf",), x)
    k = min(x.shape[-2:])
    LU = np.array(x)
    pivots, info = np.zeros((*x.shape[:-2], k), np.int32), np.array(no_info(x))
    if k:
        for i in each(x):
            LU[i], p, info[i] = getrf(x[i])
            pivots[i] = p + 1
    return LU, pivots, info


def lu_unpack(LU: Any, pivots: Any) -> Any:
    m, n = LU.shape[-2:]
    k = min(m, n)
    low = np.tril(LU[..., :, :k], -1)
    low[..., range(k), range(k)] = 1
    P = np.zeros((*LU.shape[:-2], m, m), LU.dtype)
    batch = math.prod(LU.shape[:-2])
    steps = pivots.reshape(batch, k)
    rows, every = np.tile(np.arange(m), (batch, 1)), np.arange(batch)
    for j in range(k):  # all matrices exchange their j-th rows at once
        p = steps[:, j] - 1
        rows[every, p], rows[:, j] = rows[:, j].copy(), rows[every, p]
    P.reshape(batch, m, m)[every[:, None], rows, np.arange(m)] = 1
    return P, low, np.triu(LU[..., :k, :])


@by_columns(0, 1)
@alone
def qr(x: Any, *, mode: Any) -> Any:
    if mode == "r":
        return np.zeros(0, x.dtype), L.qr(x, "r")
    if 0 in x.shape:
        m, n = x.shape[-2:]
        k = m if mode == "complete" else min(m, n)
        return np.broadcast_to(np.eye(m, k, dtype=x.dtype), (*x.shape[:-2], m, k)).copy(), np.zeros(
            (*x.shape[:-2], k, n), x.dtype
        )
    m, n = x.shape[-2:]
    if direct(x) and (m == n or (m > n and mode == "reduced")):
        geqrf, orgqr = lapack(("geqrf", "orgqr" if x.dtype.kind == "f" else "ungqr"), x)
        work = BLOCK * n
        packed, tau, _, _ = geqrf(np.array(x, order="F"), lwork=work, overwrite_a=True)
        R = np.triu(packed[:n])
        Q, _, _ = orgqr(packed, tau, lwork=work, overwrite_a=True)
        return Q, R
    out = L.qr(x, mode)
    return out[0], out[1]


BLOCK = 64  # columns that LAPACK's blocked routines may take at a time, by the work space they get


@by_columns(0)
@alone
def geqrf(x: Any) -> Any:
    (routine,) = lapack(("geqrf",), x)
    k = min(x.shape[-2:])
    a, tau = np.array(x), np.zeros((*x.shape[:-2], k), x.dtype)
    if x.size:
        for i in each(x):
            a[i], tau[i], _, _ = routine(x[i])
    return a, tau


@by_columns(1)
@alone
def eigh(x: Any, *, lower: bool) -> Any:
    if direct(x) and x.dtype.kind == "f" and x.shape[0] == x.shape[1]:
        (syevd,) = lapack(("syevd",), x)
        values, vectors, code = syevd(x, lower=lower)
        if code == 0:
            return values, vectors
    values, vectors = L.eigh(x, "L" if lower else "U")
    return values, vectors


@by_columns(1)
@alone
def eig(x: Any) -> Any:
    values, vectors = L.eig(x)
    d = np.result_type(x.dtype, np.complex64)
    return values.astype(d), vectors.astype(d)


@by_columns(0, 2)
@alone
def svd(x: Any, *, full: bool) -> Any:
    if 0 in x.shape[-2:]:
        m, n = x.shape[-2:]
        batch, k = x.shape[:-2], min(x.shape[-2:])
        U = np.broadcast_to(np.eye(m, m if full else k, dtype=x.dtype), (*batch, m, m if full else k)).copy()
        V = np.broadcast_to(np.eye(n if full else k, n, dtype=x.dtype), (*batch, n if full else k, n)).copy()
        return U, np.zeros((*batch, k), real_dtype(x)), V
    if bidiagonal.parts(x):
        return bidiagonal.svd(x, full)
    if direct(x):
        gesdd, query = lapack(("gesdd", "gesdd_lwork"), x)
        work = int(query(*x.shape, compute_uv=True, full_matrices=full)[0].real)
        U, S, Vh, code = gesdd(x, compute_uv=True, full_matrices=full, lwork=work)
        if code == 0:
            return U, S, Vh
    U, S, Vh = L.svd(x, full)
    return U, S, Vh


@alone
def svdvals(x: Any) -> Any:
    if 0 in x.shape[-2:]:
        return np.zeros((*x.shape[:-2], 0), real_dtype(x))
    return L.svd(x, compute_uv=False)


@by_columns(0)
@alone
def ldl_factor(x: Any, *, hermitian: bool) -> Any:
    (routine,) = lapack(("hetrf" if hermitian and x.dtype.kind == "c" else "sytrf",), x)
    LD, pivots, info = np.array(x), np.zeros(x.shape[:-1], np.int32), np.array(no_info(x))
    if x.size:
        for i in each(x):
            packed, p, info[i] = routine(x[i], lower=1)
            LD[i] = np.tril(packed)
            pivots[i] = np.where(p >= 0, p + 1, p) if p.size and p.min() >= 0 and 0 in p else p
    return LD, pivots, info


@by_columns()
def ldl_solve(LD: Any, pivots: Any, B: Any, *, hermitian: bool) -> Any:
    name = "hetrs" if hermitian and LD.dtype.kind == "c" else "sytrs"
    batch = np.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    LD, B = np.broadcast_to(LD, (*batch, *LD.shape[-2:])), np.broadcast_to(B, (*batch, *B.shape[-2:]))
    pivots = np.broadcast_to(pivots, (*batch, pivots.shape[-1]))
    out = np.array(B)
    if not out.size:
        return out
    for i in each(out):
        out[i] = _ldl_apply(LD[i], pivots[i], B[i], name == "hetrs")
    return out


def _ldl_apply(LD: Any, pivots: Any, b: Any, hermitian: bool) -> Any:
    """Solves with the packed factors as LAPACK's sytrs does, for the lower triangle."""
    n, x = LD.shape[0], np.array(b)
    other = (lambda v: v.conj()) if hermitian else (lambda v: v)
    k = 0
    while k < n:
        if pivots[k] > 0:
            p = pivots[k] - 1
            if p != k:
                x[[k, p]] = x[[p, k]]
            x[k + 1 :] -= np.outer(LD[k + 1 :, k], x[k])
            x[k] /= LD[k, k]
            k += 1
        else:
            p = -pivots[k + 1 if k + 1 < n else k] - 1
            if p != k + 1:
                x[[k + 1, p]] = x[[p, k + 1]]
            x[k + 2 :] -= np.outer(LD[k + 2 :, k], x[k]) + np.outer(LD[k + 2 :, k + 1], x[k + 1])
            block = np.array([[LD[k, k], other(LD[k + 1, k])], [LD[k + 1, k], LD[k + 1, k + 1]]])
            x[k : k + 2] = L.solve(block, x[k : k + 2])
            k += 2
    k = n - 1
    while k >= 0:
        if pivots[k] > 0:
            x[k] -= other(LD[k + 1 :, k]) @ x[k + 1 :]
            p = pivots[k] - 1
            if p != k:
                x[[k, p]] = x[[p, k]]
            k -= 1
        else:
            x[k] -= other(LD[k + 1 :, k]) @ x[k + 1 :]
            x[k - 1] -= other(LD[k + 1 :, k - 1]) @ x[k + 1 :]
            p = -pivots[k] - 1
            if p != k:
                x[[k, p]] = x[[p, k]]
            k -= 2
    return x


# ---------------------------------------------------------------- equations


def _broken(x: Any) -> Any:
    """Where elimination meets an exact zero, for each matrix (1-based; 0: nowhere)."""
    return lu_factor(x, pivot=True)[2]


@by_columns(0)
def inv(x: Any) -> Any:
    found = eliminated("solve", x, np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape))
    if found is not None:
        return found
    try:
        return (L.inv(x) if x.size else x.copy()), no_info(x)
    except L.LinAlgError:
        info = _broken(x)
        out = np.zeros_like(x)
        for i in each(x):
            if not info[i]:
                out[i] = L.inv(x[i])
        return out, info


def solve(A: Any, B: Any, *, left: bool, vector: bool) -> Any:
    out, info = _solved(A, B, left, vector)
    return (_columns(out) if left else np.ascontiguousarray(out)), info


def _solved(A: Any, B: Any, left: bool, vector: bool) -> Any:
    b = B[..., None] if vector else B
    if not left:
        A, b = np.swapaxes(A, -1, -2), np.swapaxes(b, -1, -2)
    batch = np.broadcast_shapes(A.shape[:-2], b.shape[:-2])
    found = eliminated("solve", A, b)
    if found is not None:
        out, info = found
        out = out if left else np.swapaxes(out, -1, -2)
        return (out[..., 0] if vector else out), info
    info = np.zeros(A.shape[:-2], np.int32)
    if 0 in (*batch, *b.shape):
        out = np.zeros((*batch, *b.shape[-2:]), B.dtype)
    else:
        try:
            out = L.solve(A, b)
        except L.LinAlgError:
            info = _broken(A)
            out = np.zeros((*batch, *b.shape[-2:]), B.dtype)
    if not left:
        out = np.swapaxes(out, -1, -2)
    return (out[..., 0] if vector else out), info


@by_columns()
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool, unit: bool) -> Any:
    if not left:
        return np.swapaxes(
            solve_triangular(np.swapaxes(A, -1, -2), np.swapaxes(B, -1, -2), upper=not upper, left=True, unit=unit),
            -1,
            -2,
        )
    batch = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    A, B = np.broadcast_to(A, (*batch, *A.shape[-2:])), np.broadcast_to(B, (*batch, *B.shape[-2:]))
    if not B.size:
        return np.array(B)
    if A.size >= NATIVE and not batch and native():
        from flambeau._backends.cpu import lu

        a, b = (A, B) if upper else (A[::-1, ::-1], B[::-1])  # turned by 180 degrees, a lower triangle is an upper one
        if unit:
            a = a.copy()
            np.fill_diagonal(a, 1)
        found = lu.triangle(a, b)
        if found is not None:
            return found if upper else np.ascontiguousarray(found[::-1])
    if A.shape[-1] <= min(ABREAST, B.size // (B.shape[-1] * B.shape[-2])):
        return _substituted(A, B, upper, unit)
    (trtrs,) = lapack(("trtrs",), A, B)
    out = np.empty(B.shape, B.dtype)
    for i in each(B):
        found, info = trtrs(A[i], B[i], lower=not upper, unitdiag=unit)
        out[i] = found if not info else _eliminate(A[i], B[i], upper, unit)
    return out


ABREAST = 32  # rows up to which a batch of at least as many matrices is solved row by row, all of them at once


def _substituted(A: Any, B: Any, upper: bool, unit: bool) -> Any:
    """Substitution in all matrices of a batch at once; an element of the diagonal that is 0 divides."""
    n, x = A.shape[-1], np.array(B)
    with np.errstate(all="ignore"):
        for r in reversed(range(n)) if upper else range(n):
            others = slice(r + 1, n) if upper else slice(0, r)
            if others.start < others.stop:
                x[..., r, :] -= np.matmul(A[..., r, None, others], x[..., others, :])[..., 0, :]
            if not unit:
                x[..., r, :] /= A[..., r, r, None]
    return x


@by_columns()
def cholesky_solve(A: Any, B: Any, *, upper: bool) -> Any:
    low = np.swapaxes(A, -1, -2).conj() if upper else A
    half = solve_triangular(low, B, upper=False, left=True, unit=False)
    return solve_triangular(np.swapaxes(low, -1, -2).conj(), half, upper=True, left=True, unit=False)


def _eliminate(a: Any, b: Any, upper: bool, unit: bool) -> Any:
    """Substitution that divides by zero where LAPACK would refuse."""
    x, n = np.array(b), len(a)
    for r in range(n - 1, -1, -1) if upper else range(n):
        others = slice(r + 1, n) if upper else slice(0, r)
        x[r] = x[r] - a[r, others] @ x[others]
        if not unit:
            x[r] = x[r] / a[r, r]
    return x


def _diagonal(x: Any) -> Any:
    """(the pivots of elimination, -1 where an odd number of rows was exchanged, else 1), by kernels; or None."""
    found = eliminated("factor", x)
    if found is None:
        return None
    factors, pivots, _ = found
    odd = (pivots != np.arange(1, x.shape[-1] + 1)).sum(-1) % 2
    return np.diagonal(factors, axis1=-2, axis2=-1), (1 - 2 * odd).astype(x.dtype)


def det(x: Any) -> Any:
    found = _diagonal(x)
    if found is not None:
        return np.asarray(found[0].prod(-1) * found[1], x.dtype)
    return np.asarray(L.det(x), x.dtype)


def slogdet(x: Any) -> Any:
    found = _diagonal(x)
    if found is not None:
        with np.errstate(divide="ignore"):
            value = np.log(np.abs(found[0])).sum(-1, dtype=x.dtype)
        return np.asarray(np.sign(found[0]).prod(-1) * found[1], x.dtype), np.asarray(value, x.dtype)
    sign, value = L.slogdet(x)
    return np.asarray(sign, x.dtype), np.asarray(value, real_dtype(x))


@alone
def pinv(x: Any, atol: Any, rtol: Any, *, hermitian: bool) -> Any:
    if hermitian:
        values, V = L.eigh(x)
        sizes = np.abs(values)
        good = sizes > np.maximum(rtol * sizes.max(-1), atol)[..., None]
        inverse = np.where(good, 1 / np.where(good, values, 1), 0).astype(x.dtype)
        return np.matmul(V * inverse[..., None, :], np.swapaxes(V, -1, -2).conj())
    U, S, Vh = L.svd(x, False)
    good = np.maximum(rtol * S[..., 0], atol)[..., None] < S
    inverse = np.where(good, 1 / np.where(good, S, 1), 0).astype(S.dtype)
    return np.matmul(np.swapaxes(Vh, -1, -2).conj() * inverse[..., None, :], np.swapaxes(U, -1, -2).conj())


@alone
def lstsq(A: Any, B: Any, *, rcond: Any, driver: str, vector: bool) -> Any:
    """Solution, and what the driver says besides: residuals (full rank), rank (not gels), singular values (gelsd, gelss)."""
    b = B[..., None] if vector else B
    batch = np.broadcast_shapes(A.shape[:-2], b.shape[:-2])
    m, n = A.shape[-2:]
    A, b = np.broadcast_to(A, (*batch, m, n)), np.broadcast_to(b, (*batch, *b.shape[-2:]))
    real = real_dtype(A)
    cut = np.finfo(real).eps * max(m, n) if rcond is None else rcond
    out = np.zeros((*batch, b.shape[-1], max(m, n)), B.dtype).swapaxes(-1, -2)[
        ..., :n, :
    ]  # over the right sides, by columns
    rank, values = np.zeros(batch, np.int64), np.zeros((*batch, min(m, n)), real)
    if driver in ("gels", "gelsy") and direct(A):
        gelsy, query = lapack(("gelsy", "gelsy_lwork"), A, b)
        full = np.zeros((max(m, n), b.shape[-1]), B.dtype, order="F")
        full[:m] = b
        work = int(query(m, n, b.shape[-1], cut)[0].real)
        _, found, _, rank[()], _ = gelsy(A, full, np.zeros(n, np.int32), cut, work)
        out[...] = found[:n]
    elif A.size:
        for i in np.ndindex(batch):
            out[i], _, rank[i], values[i] = L.lstsq(A[i], b[i], cut)
    residuals = np.zeros(0, real)
    if m > n and (driver == "gels" or (driver != "gelsy" and (rank == n).all())):
        residuals = np.asarray((np.abs(np.matmul(A, out) - b) ** 2).sum(-2), real)
    none = np.zeros(0, np.int64)
    return (
        (out[..., 0] if vector else out),
        residuals,
        (none if driver == "gels" else rank),
        (values if driver in ("gelsd", "gelss") else np.zeros(0, real)),
    )


def matrix_exp(x: Any) -> Any:
    """The exponentials of square matrices, scaled by powers of 2 until a rational function will do, then squared.

    N. Higham, SIAM J. Matrix Analysis and Applications 26 (2005): diagonal Pade approximants of degree 7 or 13.
    """
    if not x.size:
        return x.copy()
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    m = wide.reshape(-1, *wide.shape[-2:])
    weights, bound = PADE[real_dtype(wide).itemsize]
    with np.errstate(all="ignore"):
        norms = np.abs(m).sum(-2).max(-1)
        finite = np.isfinite(norms)
        times = np.ceil(np.log2(np.where(finite & (norms > bound), norms, bound) / bound)).astype(np.int64)
        a = np.where(finite[:, None, None], m, 0) * np.exp2(-times)[:, None, None].astype(norms.dtype)
        out = _rational(a, weights)
        for i in range(int(times.max())):
            left = times > i
            out[left] = np.matmul(out[left], out[left])
        out[~finite] = np.nan
    return out.reshape(x.shape).astype(x.dtype, copy=False)


def _pade(degree: int) -> tuple[float, ...]:
    """The coefficients of the numerator of exp's diagonal approximant."""
    f = math.factorial
    return tuple(float(f(2 * degree - j) // (f(degree - j) * f(j))) for j in range(degree + 1))


PADE = {
    4: (_pade(7), 3.9257248464332842),
    8: (_pade(13), 5.371920351148152),
}  # by bytes of a real number: weights, largest norm


def _rational(a: Any, weights: tuple[float, ...]) -> Any:
    """p(a) / p(-a) for the polynomial with these weights, from the constant one up."""
    one, square = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape), np.matmul(a, a)
    even, odd = weights[-2] * one, weights[-1] * one
    for w, v in zip(weights[-4::-2], weights[-3::-2], strict=True):
        even, odd = np.matmul(even, square) + w * one, np.matmul(odd, square) + v * one
    odd = np.matmul(a, odd)
    return np.ascontiguousarray(solve(even - odd, even + odd, left=True, vector=False)[0], a.dtype)
