"""Elimination by kernels against LAPACK."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau as fl
from flambeau._backends.cpu import library_linalg as library, lu as kernels
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

DTYPES = [np.float32, np.float64]


def exact(a, pivots):
    """The rows of a in the order that pivots put them."""
    order = np.arange(len(a))
    for i, p in enumerate(pivots):
        order[[i, p - 1]] = order[[p - 1, i]]
    return a[order]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 17, 31, 64, 65, 97, 130, 400])
def test_factors_and_solutions(n, dtype):
    rng = np.random.default_rng(n)
    eps = np.finfo(dtype).eps
    wide = rng.standard_normal((n, 2 * n)).astype(dtype)
    for a in (wide[:, :n].copy(), wide[:, ::-2], wide[:, :n].T):
        lu, pivots, info = kernels.factor(a)
        low, up = np.tril(lu.astype(np.float64), -1) + np.eye(n), np.triu(lu.astype(np.float64))
        assert info == 0 and pivots.dtype == np.int32 and np.abs(low).max() <= 1
        assert np.abs(low @ up - exact(a, pivots)).max() < 20 * n * eps
        for k in (1, 7, 70):
            b = rng.standard_normal((k, n)).astype(dtype).T
            x, info = kernels.solve(a, b)
            size = np.abs(a).sum(1).max() * np.abs(x).max() + 1
            assert info == 0 and np.abs(a.astype(np.float64) @ x - b).max() < 20 * n * eps * size


@pytest.mark.parametrize("n", [3, 5, 70])
def test_batches(n):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 3, n, n)), rng.standard_normal((4, 3, n, 2))
    x, info = kernels.solve(a, b)
    assert info.shape == (4, 3) and np.allclose(a @ x, b)
    lu, pivots, info = kernels.factor(a)
    assert lu.shape == a.shape and pivots.shape == (4, 3, n) and not info.any()
    one = kernels.factor(a[2, 1])
    assert np.array_equal(one[0], lu[2, 1]) and np.array_equal(one[1], pivots[2, 1])
    assert np.allclose(library.det(a), np.linalg.det(a))
    sign, value = library.slogdet(a)
    assert np.allclose(sign * np.exp(value), np.linalg.det(a))
    assert np.allclose(library.inv(a)[0] @ a, np.eye(n))


def test_pivots_are_lapacks():
    from scipy.linalg import lu_factor

    rng = np.random.default_rng(1)
    for n in (20, 90, 200):
        a = rng.standard_normal((n, n))
        lu, pivots, _ = kernels.factor(a)
        want, places = lu_factor(a)
        assert np.array_equal(pivots - 1, places) and np.allclose(lu, want)


@pytest.mark.parametrize("n", [20, 100])
def test_singular_matrices(n):
    a = np.eye(n)
    a[7] = 0
    assert kernels.factor(a)[2] == 8 and kernels.solve(a, np.ones((n, 1)))[1] == 8
    assert library.det(a) == 0
    sign, value = library.slogdet(a)
    assert sign == 0 and value == -np.inf
    for broken in (lambda t: fl.linalg.solve(t, fl.ones(n, dtype=fl.float64)), fl.linalg.inv):
        with pytest.raises(RuntimeError, match="singular"):
            broken(fl.from_numpy(a))
    a[3, 3] = np.nan
    assert np.isnan(library.det(a))


def test_threads_change_nothing():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((150, 150)), rng.standard_normal((150, 200))
    small = rng.standard_normal((300, 9, 9))
    before, got = get_num_threads(), []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            got.append((kernels.solve(a, b)[0], kernels.factor(a)[0], kernels.factor(small)[0]))
    finally:
        set_num_threads(before)
    for one in got[1:]:
        assert all(np.array_equal(x, y) for x, y in zip(one, got[0]))


def test_gradients():
    a = (fl.randn(70, 70, dtype=fl.float64) + 20 * fl.eye(70, dtype=fl.float64)).requires_grad_()
    b = fl.randn(70, 3, dtype=fl.float64, requires_grad=True)
    fl.linalg.solve(a, b).sum().backward()
    g = np.linalg.solve(a.detach().numpy().T, np.ones((70, 3)))
    assert np.allclose(b.grad.numpy(), g)
    assert np.allclose(a.grad.numpy(), -g @ np.linalg.solve(a.detach().numpy(), b.detach().numpy()).T)
    x = fl.linalg.solve(a, b, left=True)
    y = fl.linalg.solve(a.mT, b.mT, left=False)
    assert fl.allclose(x, y.mT)
