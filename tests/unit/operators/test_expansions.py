"""Special functions in words of the kernel language: large calls beside SciPy's numbers, and their derivatives."""

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import special

scipy_special = pytest.importorskip("scipy.special")
CASES = {
    "i0": special.i0,
    "i0e": special.i0e,
    "i1": special.i1,
    "i1e": special.i1e,
    "trigamma": lambda x: special.polygamma(1, x),
}


@pytest.mark.parametrize("dtype, close", [(np.float32, 3e-7), (np.float64, 6e-15)])
@pytest.mark.parametrize("name", CASES)
def test_beside_scipy(name: str, dtype: Any, close: float) -> None:
    rng = np.random.default_rng(0)
    edges = [0.0, -0.0, np.inf, np.nan, 8.0, -8.0, 1e-30, -1e-30, 7.99, 8.01, -1.0, -2.0, 0.5, 0.49]
    x = np.concatenate([rng.standard_normal(6000) * 10, np.exp(rng.standard_normal(6000)), edges]).astype(dtype)
    exact = {"trigamma": lambda v: scipy_special.polygamma(1, v)}.get(name) or getattr(scipy_special, name)
    found = CASES[name](flambeau.from_numpy(x))
    assert found.dtype is flambeau.from_numpy(x).dtype
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found.numpy(), exact(x.astype(np.float64)).astype(dtype), rtol=close)


def test_half_precision() -> None:
    x = flambeau.linspace(-20, 20, 10007, dtype=flambeau.bfloat16)
    for name in ("i0e", "i1e"):
        assert flambeau.equal(getattr(special, name)(x), getattr(special, name)(x.float()).bfloat16())


def test_derivatives_of_digamma() -> None:
    x = flambeau.linspace(0.25, 20, 10007, dtype=flambeau.float64)
    x[:3] = flambeau.tensor([2.0, 1.0, -1.5])  # where sines vanish, too
    x.requires_grad_()
    (first,) = flambeau.autograd.grad(flambeau.digamma(x).sum(), x, create_graph=True)
    (second,) = flambeau.autograd.grad(first.sum(), x)
    for order, found in ((1, first), (2, second)):
        exact = scipy_special.polygamma(order, x.detach().abs().numpy())
        np.testing.assert_allclose(found.detach().numpy()[3:], exact[3:], rtol=1e-12)
    np.testing.assert_allclose(second.numpy()[:2], scipy_special.polygamma(2, [2.0, 1.0]), rtol=1e-12)
