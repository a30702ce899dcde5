"""One matrix of some size goes straight to LAPACK: what it gives must be what it says, real and complex, either triangle."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from flambeau._backends.cpu import blas, library_linalg as library


def matrix(m, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((m, n))
    return (x + 1j * rng.standard_normal((m, n)) if dtype.startswith("complex") else x).astype(dtype)


def near(a, b, dtype):
    return np.allclose(a, b, rtol=0, atol=3e-3 if dtype in ("float32", "complex64") else 1e-10)


DTYPES = ["float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_factors(dtype, order):
    for m, n in [(40, 40), (70, 35), (35, 70)]:
        x = np.array(matrix(m, n, dtype), order=order)
        k = min(m, n)
        for mode in ("reduced", "complete"):
            Q, R = library.qr(x, mode=mode)
            assert near(Q @ R, x, dtype) and near(Q.conj().T @ Q, np.eye(Q.shape[1]), dtype)
            assert np.array_equal(R, np.triu(R)) and Q.flags.f_contiguous  # as LAPACK makes it, and PyTorch gives it
        for full in (False, True):
            U, S, Vh = library.svd(x, full=full)
            assert near((U[:, :k] * S) @ Vh[:k], x, dtype) and (np.diff(S) <= 0).all()
            assert U.shape == (m, m if full else k) and Vh.shape == (n if full else k, n)
    x = np.array(matrix(50, 50, dtype), order=order)
    positive = np.array(x @ x.conj().T + 50 * np.eye(50, dtype=dtype), order=order)
    for upper in (False, True):
        other = np.triu(positive) if upper else np.tril(positive)  # only this half is read
        f, info = library.cholesky(np.array(other, order=order), upper=upper)
        assert info == 0 and near((f.conj().T @ f if upper else f @ f.conj().T) / 50, positive / 50, dtype)
        assert np.array_equal(f, np.triu(f) if upper else np.tril(f))
        values, vectors = library.eigh(np.array(other, order=order), lower=not upper)
        assert near(positive @ vectors / 50, vectors * values / 50, dtype)
    assert library.cholesky(-positive, upper=False)[1] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_triangles(dtype):
    pytest.importorskip("llvmlite")
    for n, k in [(20, 1), (65, 130), (130, 7)]:
        a, b = matrix(n, n, dtype) / n + 2 * np.eye(n, dtype=dtype), matrix(n, k, dtype, 1)
        for upper in (False, True):
            for unit in (False, True):
                for left in (False, True):
                    t = np.triu(a) if upper else np.tril(a)
                    if unit:
                        np.fill_diagonal(t, 1)
                    right = b if left else np.ascontiguousarray(b.T)
                    x = library.solve_triangular(a, right, upper=upper, left=left, unit=unit)
                    assert near(t @ x if left else x @ t, right, dtype) and x.dtype == b.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("driver", ["gelsy", "gels", "gelsd"])
def test_least_squares(dtype, driver):
    for m, n in [(60, 40), (40, 40), (40, 60)]:
        a, b = matrix(m, n, dtype), matrix(m, 3, dtype, 1)
        x, _, rank, _ = library.lstsq(a, b, rcond=None, driver=driver, vector=False)
        want = np.linalg.lstsq(a.astype("c16"), b.astype("c16"), None)[0]
        assert near(x, want, dtype) and (driver == "gels" or rank == min(m, n))


def test_threads_of_the_array_library_are_given_back():
    before = [get() for get, _ in blas.controls()]
    library.svdvals(np.eye(40))
    with pytest.raises(np.linalg.LinAlgError):
        library.eig(np.full((3, 3), np.nan))
    assert [get() for get, _ in blas.controls()] == before


@pytest.mark.parity
def test_signs_are_pytorchs(torch):
    import flambeau as fl

    for m, n in [(40, 40), (64, 50), (50, 64)]:
        a = matrix(m, n, "float64")
        for factors in (
            lambda t, x: t.linalg.svd(x, full_matrices=False),
            lambda t, x: t.linalg.qr(x),
            lambda t, x: t.linalg.eigh(x[:40, :40] + x[:40, :40].mT),
        ):
            ours, theirs = factors(fl, fl.from_numpy(a)), factors(torch, torch.from_numpy(a))
            assert all(np.allclose(x.numpy(), y.numpy(), atol=1e-8) for x, y in zip(ours, theirs, strict=True))
