"""Second derivatives of what is piecewise linear: there, and zero, as PyTorch has them; none where a gradient is constant."""

import numpy as np
import pytest

PIECEWISE = {
    "relu": lambda t, x: t.relu(x),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x, 0.1),
    "hardtanh": lambda t, x: t.nn.functional.hardtanh(x),
    "threshold": lambda t, x: t.nn.functional.threshold(x, 0.2, 1.0),
    "prelu": lambda t, x: t.nn.functional.prelu(x, t.full((1,), 0.3, dtype=x.dtype)),
    "reflect": lambda t, x: t.nn.functional.pad(x, (1, 1), mode="reflect"),
    "replicate": lambda t, x: t.nn.functional.pad(x, (1, 1), mode="replicate"),
    "avg_pool1d": lambda t, x: t.nn.functional.avg_pool1d(x, 2),
    "max_pool1d": lambda t, x: t.nn.functional.max_pool1d(x, 2),
    "nll_loss": lambda t, x: t.nn.functional.nll_loss(x[0], t.tensor([0, 1, 3])),
}  # fmt: skip
CONSTANT = {
    "sign": lambda t, x: t.sign(x),
    "floor": lambda t, x: t.floor(x),
    "round": lambda t, x: t.round(x, decimals=1),
    "trunc": lambda t, x: t.div(x, 2.0, rounding_mode="trunc"),
    "angle": lambda t, x: t.angle(x),
}
X = np.linspace(-1, 1, 24).reshape(2, 3, 4) + 0.01


def second(t, f, x):
    """Whether a first derivative has a history, and the second one where it has."""
    x = x.clone().requires_grad_(True)
    y = f(t, x)
    g = t.ones_like(y).requires_grad_(True)
    (first,) = t.autograd.grad(y, x, g, create_graph=True)
    if not first.requires_grad:
        return t.zeros(1), first.detach()
    back = t.autograd.grad(first.sum(), (x, g), allow_unused=True)
    return t.full((1,), 2.0 if back[0] is not None else 1.0), first.detach(), *(b for b in back if b is not None)


SOLE = {
    "norm of order 0": lambda t, x: t.linalg.vector_norm(x, 0),
    "norm of order 2": lambda t, x: t.linalg.vector_norm(x * 0, 2) + x.sum(),
    "cumprod of one": lambda t, x: x[:, :1].cumprod(1),
    "vander of two": lambda t, x: t.linalg.vander(x, N=2),
    "no repeats": lambda t, x: x.repeat(0, 1, 1),
    "mean over all": lambda t, x: t.nn.functional.adaptive_avg_pool1d(x, 1),
    "nearest": lambda t, x: t.nn.functional.grid_sample(x[None], x.new_full((1, 1, 1, 2), 0.3), "nearest", align_corners=False),
    "det of nothing": lambda t, x: t.linalg.det(x[:, :0, :0]),
    "scattered": lambda t, x: t.zeros(5, dtype=x.dtype).masked_scatter(t.zeros(5, dtype=t.bool), x),
    "soft margin": lambda t, x: t.nn.functional.soft_margin_loss(x * 40, t.ones(2, 3, 4, dtype=x.dtype)),
    "log of the sigmoid": lambda t, x: t.nn.functional.logsigmoid(x * 20 - 20),
}  # fmt: skip


def seconds(t, f, x):
    """First and second derivatives, and which of them are missing."""
    x = x.clone().requires_grad_(True)
    y = f(t, x)
    w = t.ones_like(y).requires_grad_(True)
    (g,) = t.autograd.grad(y, x, w, create_graph=True, allow_unused=True)
    again = t.autograd.grad(g.sum(), (x, w), allow_unused=True) if g is not None and g.requires_grad else ()
    return [("none",) if v is None else (v.detach(), v.requires_grad) for v in (g, *again)]


@pytest.mark.parametrize("name", SOLE)
def test_missing_and_steady(agree, name):
    agree(lambda t, x: seconds(t, SOLE[name], x), X.astype("float32"), grads=0)


def test_products_of_no_reflections(agree):
    def run(t):
        a, tau = t.zeros(3, 0, requires_grad=True), t.zeros(0, requires_grad=True)
        q = t.linalg.householder_product(a, tau)
        other = t.ones(3, 2, requires_grad=True)
        y = t.ormqr(a, tau, other)
        y.sum().backward()
        return q.requires_grad, a.grad is None, tau.grad is None, other.grad

    agree(run)


@pytest.mark.parametrize("name", PIECEWISE)
def test_piecewise_linear(agree, name):
    agree(lambda t, x: second(t, PIECEWISE[name], x), X)


@pytest.mark.parametrize("name", CONSTANT)
def test_constant(agree, name):
    agree(lambda t, x: second(t, CONSTANT[name], x), X)


def test_complex_convolutions(agree):
    def back(t, x, w):
        x, w = x.clone().requires_grad_(True), w.clone().requires_grad_(True)
        y = t.nn.functional.conv1d(x, w)
        gx, gw = t.autograd.grad(y, (x, w), y.detach() * (1 + 2j), create_graph=True)
        return t.autograd.grad((gx, gw), (x, w), (gx.detach() * 1j, gw.detach()))

    r = np.random.default_rng(0)
    agree(
        back,
        r.normal(size=(1, 2, 5)) + 1j * r.normal(size=(1, 2, 5)),
        r.normal(size=(3, 2, 3)) + 1j * r.normal(size=(3, 2, 3)),
    )
