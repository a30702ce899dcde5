"""Samplers that reject, and libm over arrays, have the bits of the Python text that defines them and leave the stream where it does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flambeau._backends.cpu.samplers import FUNCTIONS, samplers
from flambeau._values import rejection, rounding, sampling
from flambeau._values.generator import Generator

SIZES = [1, 2, 700, 3000]


@pytest.fixture
def native():
    found = samplers()
    if found is None:
        pytest.skip("no native code here")
    return found


def between(n, dtype, low, high):
    return np.linspace(low, high, n).astype(dtype)


DRAWS = {
    "poisson": lambda g, n, d, x: rejection.poisson(g, between(n, d, 0, 60), x),
    "gamma": lambda g, n, d, x: rejection.gamma(g, between(n, d, 0, 4), x),
    "dirichlet": lambda g, n, d, x: rejection.dirichlet(g, between(3 * n, d, 0.1, 4).reshape(n, 3), x),
    "binomial": lambda g, n, d, x: rejection.binomial(g, np.floor(between(n, d, -1, 99)), between(n, d, -0.1, 1.1)[::-1].copy(), x),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DRAWS)
def test_same_numbers_and_the_same_stream_after(native, name, dtype):
    slow, fast = Generator().manual_seed(7), Generator().manual_seed(7)
    for n in SIZES:
        want, got = DRAWS[name](slow, n, dtype, None), DRAWS[name](fast, n, dtype, native)
        assert got.dtype == want.dtype and got.tobytes() == want.tobytes()
        assert np.array_equal(slow.get_state(), fast.get_state())
        sampling.uniform(slow, 5, np.dtype(dtype)), sampling.uniform(fast, 5, np.dtype(dtype))


def test_what_is_no_parameter(native):
    g = Generator().manual_seed(1)
    with pytest.raises(RuntimeError, match="invalid Poisson rate"):
        rejection.poisson(g, np.array([1.0, -1.0]), native)
    for sampler in (None, native):
        assert np.isnan(rejection.binomial(g, np.array([3.0]), np.array([np.nan]), sampler)).all()
        assert (rejection.binomial(g, np.array([-1.0, np.nan]), np.array([np.nan, 0.0]), sampler) == 0).all()
    assert (rejection.gamma(g, np.array([0.0, -1.0]), native) == np.finfo(np.float64).tiny).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_libm_over_arrays(native, name):
    x = np.random.default_rng(3).uniform(0, 3, 40001)
    want = np.array([getattr(math, name)(v) for v in x.tolist()])
    assert rounding.libm(getattr(math, name), x).tobytes() == want.tobytes()


def test_fused_multiply_add(native, monkeypatch):
    x = np.random.default_rng(4).standard_normal(5000)
    got = rounding.fma(x, 0.3, 2.5)
    monkeypatch.setattr(rounding, "_native", None)
    assert got.tobytes() == rounding.fma(x, 0.3, 2.5).tobytes()
    assert rounding.libm(rounding.log, np.zeros(100))[0] == -math.inf


SPREAD = {
    "exponential": lambda g, n, d: sampling.exponential(g, n, d, 2.0),
    "geometric": lambda g, n, d: sampling.geometric(g, n, d, 0.3),
    "cauchy": lambda g, n, d: sampling.cauchy(g, n, d, 1.0, 2.0),
    "log_normal": lambda g, n, d: sampling.log_normal(g, n, d, 0.1, 2.0),
    "pairs of normals": lambda g, n, d: sampling.normal(g, n, d, 0.1, 2.0, False),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SPREAD)
def test_distributions_by_libm(native, name, dtype, monkeypatch):
    slow, fast = Generator().manual_seed(7), Generator().manual_seed(7)
    for n in (1, 64, 3001):
        got = SPREAD[name](fast, n, np.dtype(dtype))
        with monkeypatch.context() as patch:
            patch.setattr(rounding, "_native", None)
            want = SPREAD[name](slow, n, np.dtype(dtype))
        assert got.tobytes() == want.tobytes() and np.array_equal(slow.get_state(), fast.get_state())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_without_bounds(native, dtype):
    """Rates that no 64-bit integer counts, and powers that overflow, end as PyTorch's casts and powers do."""
    rates, shapes = np.tile(np.array([np.inf, 1e30, 1e19, 5.0], dtype), 50), np.tile(np.array([-1e-5, 0.5], dtype), 50)
    slow, fast = Generator().manual_seed(3), Generator().manual_seed(3)
    counts = rejection.poisson(slow, rates)
    assert np.array_equal(counts, rejection.poisson(fast, rates, native))
    assert (counts.reshape(-1, 4)[:, :2] == -(2.0**63)).all()
    assert np.array_equal(rejection.gamma(slow, shapes), rejection.gamma(fast, shapes, native))
    assert np.array_equal(slow.get_state(), fast.get_state())
