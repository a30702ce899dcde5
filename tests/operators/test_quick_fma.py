"""The native fused multiply-add of few numbers gives the bits of the emulated one."""

import numpy as np
import pytest

import flambeau as fl
from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import K
from flambeau._kernel.arrays import fma


@pytest.mark.parametrize("kind", "fd")
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (7, 5), (1031,)])
@pytest.mark.parametrize("factor", [None, 0.1, -3, 0.0])
def test_same_bits(monkeypatch, kind, shape, factor):
    monkeypatch.setitem(small._state, "calls", small.PATIENCE)
    rng = np.random.default_rng(0)
    drawn = lambda: np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 30, shape), kind)
    x, y, z = drawn(), drawn(), drawn()
    if x.size > 6:
        x[..., :4], y[..., :4], z[..., :4] = [np.inf, 0, 0, -0.0], [0, np.nan, 3, 2], [1, 2, -0.0, -0.0]
    factor = y if factor is None else factor
    with np.errstate(all="ignore"):
        quick, slow = K.fma(x, factor, z), np.asarray(fma(np, x, factor, z))
    assert quick.dtype == slow.dtype == x.dtype
    np.testing.assert_array_equal(quick, slow)
    np.testing.assert_array_equal(np.signbit(quick)[~np.isnan(slow)], np.signbit(slow)[~np.isnan(slow)])


def test_zeros_keep_their_sign(agree):
    x = np.array([0.0, -0.0, 0.0, -0.0])
    y = np.array([-0.0, -0.0, 0.0, 0.0])
    agree(lambda fl, x, y: (1 / fl.add(x, y, alpha=3), 1 / fl.add(x, y, alpha=-3), 1 / fl.sub(x, y, alpha=3)), x, y)
    agree(lambda fl, x, y: 1 / fl.add(x.float(), y.float(), alpha=-3), x, y)


def test_layouts():
    x, y = fl.randn(4, 6).t(), fl.randn(6, 4)
    assert fl.equal(fl.add(x, y, alpha=0.3), fl.add(x.contiguous(), y, alpha=0.3))
