"""Special functions and statistics against SciPy and NumPy."""

import numpy as np
import pytest
import scipy.special

import flambeau as torch

X = np.linspace(0.1, 0.9, 9)
Y = np.linspace(0.5, 3.0, 9)


def near(mine, expected, tolerance=1e-10):
    np.testing.assert_allclose(mine.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "name", ["i0", "i0e", "i1", "i1e", "erfcx", "ndtr", "ndtri", "log_ndtr", "entr", "gammaln", "psi", "expit"]
)
def test_of_one_number(name):
    near(getattr(torch.special, name)(torch.tensor(X)), getattr(scipy.special, name)(X))


@pytest.mark.parametrize(
    "name", ["i0", "i0e", "i1", "i1e", "erfcx", "ndtr", "ndtri", "log_ndtr", "entr", "gammaln", "logit", "sinc"]
)
def test_derivatives(name):
    x = torch.tensor(X, requires_grad=True)
    assert torch.autograd.gradcheck(getattr(torch.special, name), (x,))
    assert torch.autograd.gradgradcheck(getattr(torch.special, name), (x,))


@pytest.mark.parametrize("name", ["gammainc", "gammaincc", "zeta", "xlogy", "xlog1py"])
def test_of_two_numbers(name):
    near(getattr(torch.special, name)(torch.tensor(Y + 1), torch.tensor(X)), getattr(scipy.special, name)(Y + 1, X))


@pytest.mark.parametrize(("name", "oracle"), [
    ("chebyshev_polynomial_t", scipy.special.eval_chebyt), ("chebyshev_polynomial_u", scipy.special.eval_chebyu),
    ("hermite_polynomial_h", scipy.special.eval_hermite), ("hermite_polynomial_he", scipy.special.eval_hermitenorm),
    ("laguerre_polynomial_l", scipy.special.eval_laguerre), ("legendre_polynomial_p", scipy.special.eval_legendre),
    ("shifted_chebyshev_polynomial_t", scipy.special.eval_sh_chebyt),
])  # fmt: skip
def test_polynomials(name, oracle):
    degrees = np.arange(9)
    near(getattr(torch.special, name)(torch.tensor(X), torch.tensor(degrees)), oracle(degrees, X))


def test_medians_modes_and_quantiles():
    x = torch.tensor([[3.0, 1.0, 2.0], [4.0, float("nan"), 0.0]], dtype=torch.float64)
    assert x.median(1).indices.tolist() == [2, 1]
    assert x.nanmedian().item() == 2.0
    assert torch.tensor([1, 2, 2, 1, 0]).mode() == (1, 3)
    data = np.random.default_rng(0).random((4, 7))
    for way in ("linear", "lower", "higher", "midpoint", "nearest"):
        q = torch.tensor([0.1, 0.5, 0.83], dtype=torch.float64)
        near(
            torch.quantile(torch.tensor(data), q, dim=1, interpolation=way),
            np.quantile(data, q.numpy(), axis=1, method=way),
        )
    near(torch.cov(torch.tensor(data)), np.cov(data))
    near(torch.corrcoef(torch.tensor(data)), np.corrcoef(data))
    near(torch.gradient(torch.tensor(data), dim=1, edge_order=2)[0], np.gradient(data, axis=1, edge_order=2))


def test_counts():
    x = np.random.default_rng(1).random(50)
    hist, edges = torch.histogram(torch.tensor(x), 7, range=(0.0, 1.0), density=True)
    expected, places = np.histogram(x, 7, (0.0, 1.0), density=True)
    near(hist, expected)
    near(edges, places)
    assert torch.bincount(torch.tensor([1, 2, 2]), minlength=5).tolist() == [0, 1, 2, 0, 0]
    assert torch.histc(torch.tensor([3.0, 1.0, 2.0]), 3).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(RuntimeError, match="bincount only supports 1-d non-negative integral inputs"):
        torch.bincount(torch.tensor([-1]))


def test_distances_between_rows():
    x, y = np.random.default_rng(2).random((30, 4)), np.random.default_rng(3).random((6, 4))
    for p in (0.0, 1.0, 2.0, 3.5, np.inf):
        near(torch.cdist(torch.tensor(x), torch.tensor(y), p), np.linalg.norm(x[:, None] - y[None], p, axis=-1), 1e-7)
    a, b = torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=True)
    assert torch.autograd.gradcheck(torch.cdist, (a, b))


def test_decimal_logarithms_of_powers_of_ten_are_whole():
    powers = [0.001, 0.1, 1.0, 10.0, 100.0, 1000.0, 1e5, 1e6]
    exact = [-3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 6.0]
    for repeats in (1, 3, 40_000):  # by array operations, and by kernels
        x = torch.tensor(powers * repeats)
        assert x.log10().tolist() == exact * repeats
    assert torch.tensor(100.0).log10() == 2
    assert torch.tensor([[100.0, 10.0], [1.0, 0.001]]).t().log10_().tolist() == [[2.0, 0.0], [1.0, -3.0]]
    x = torch.tensor([0.0, -1.0, float("inf"), float("nan")]).log10()
    assert x[0] == -float("inf")
    assert x[2] == float("inf")
    assert x[1::2].isnan().all()
