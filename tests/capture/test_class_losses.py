"""Class losses and their derivatives in one program: exponentials are taken once, and what is one number is not summed up."""

import pytest

import flambeau as torch
from flambeau._capture import assembly, stored
from flambeau._eager import large
from flambeau.nn import functional as F

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")


def step(loss, x, y):
    """A loss and its gradient, compiled, and the texts of the program's kernels."""

    def both(x, y):
        loss(x, y).backward()
        g, x.grad = x.grad, None
        return g

    x.requires_grad_()
    return both(x, y), torch.compile(both, fullgraph=True)


@pytest.fixture
def texts(monkeypatch):
    found = []
    monkeypatch.setattr(stored, "find", lambda key: None)
    monkeypatch.setattr(assembly, "native", lambda text, real=assembly.native: (found.append(text), real(text))[1])
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(64, 500), (8, 30, 40)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_that_of_eager_code(shape, smoothing, weighted, texts):
    torch.manual_seed(0)
    x, y = 30 * torch.randn(*shape), torch.randint(0, shape[1], (shape[0], *shape[2:]))
    x[0, :3], x[1, 2] = float("-inf"), 200.0
    y.flatten()[5] = -100
    w = torch.rand(shape[1]) if weighted else None
    want, compiled = step(lambda x, y: F.cross_entropy(x, y, w, label_smoothing=smoothing), x, y)
    torch.testing.assert_close(compiled(x, y), want, rtol=2e-5, atol=1e-9, equal_nan=True)


def test_exponentials_are_taken_once_and_the_row_of_one_number_is_not_summed(texts):
    x, y = torch.randn(64, 500), torch.randint(0, 500, (64,))
    want, compiled = step(F.cross_entropy, x, y)
    torch.testing.assert_close(compiled(x, y), want)
    (row,) = (t for t in texts if "exp(" in t)
    assert row.count("exp(") == 1
    assert "acc1" in row
    assert "acc2" not in row  # of a row: the largest, and the sum of exponentials


def test_rows_without_a_finite_number_have_no_gradient_but_nan(texts):
    x, y = torch.full((64, 500), float("-inf")), torch.zeros(64, dtype=torch.long)
    x[::2, 3] = 1.0
    want, compiled = step(F.cross_entropy, x, y)
    got = compiled(x, y)
    assert torch.equal(got.isnan(), want.isnan())
    torch.testing.assert_close(got, want, equal_nan=True)


def test_log_probabilities_that_are_results_stay_what_the_derivative_reads(texts):
    x, y = torch.randn(64, 500, requires_grad=True), torch.randint(0, 500, (64,))

    def both(x, y):
        p = x.log_softmax(1)
        F.nll_loss(p, y).backward()
        g, x.grad = x.grad, None
        return p.detach(), g

    for got, want in zip(torch.compile(both, fullgraph=True)(x, y), both(x, y), strict=True):
        torch.testing.assert_close(got, want)


def test_a_sum_over_no_dim_is_no_row():
    x = torch.randn((), dtype=torch.float64)
    torch.testing.assert_close(torch.compile(lambda x: x.std((), keepdim=True, correction=0))(x), torch.zeros_like(x))
