"""Calls with plain tensors and usual arguments run a function of their own, and not the general lane."""

import pytest

import flambeau
from flambeau._eager import flat_text
from flambeau.nn import functional as F
from tests.agree import rand

X = flambeau.randn(4, 8)
IMAGE = flambeau.randn(2, 3, 6, 6)
CLASSES = flambeau.tensor([1, 0, 7, 3])
CALLS = {
    "layer_norm without weights": lambda: F.layer_norm(X, (8,)),
    "layer_norm": lambda: F.layer_norm(X, (8,), X[0], X[1]),
    "cross_entropy": lambda: F.cross_entropy(X, CLASSES),
    "nll_loss": lambda: F.nll_loss(X, CLASSES),
    "max_pool2d": lambda: F.max_pool2d(IMAGE, 2),
    "linear without a bias": lambda: F.linear(X, X[:2]),
    "bernoulli_": lambda: flambeau.empty(4).bernoulli_(0.5),
    "uniform_": lambda: flambeau.empty(4).uniform_(),
    "normal_": lambda: flambeau.empty(4).normal_(),
    "max along a dim": lambda: X.max(1),
    "gather": lambda: X.gather(1, CLASSES[:, None]),
}


@pytest.mark.parametrize("name", CALLS)
def test_usual_calls_take_a_short_way(name, monkeypatch):
    def refuse(op, *args):
        raise AssertionError(f"{op.name} went through the general lane")

    CALLS[name]()
    monkeypatch.setitem(flat_text.SCOPE, "general", refuse)
    CALLS[name]()


def test_what_is_drawn_into_a_tensor_counts_as_written(agree):
    def program(fl, x):
        fl.manual_seed(0)
        y = x.detach().clone()
        y.bernoulli_(0.5).uniform_().normal_()
        z = x * 2
        z.uniform_()
        return y, y._version, z, z.requires_grad, z.grad_fn is None

    agree(program, rand(3, 4), grads=0)


def test_what_is_drawn_into_a_leaf_is_refused(agree):
    def program(fl, x):
        return x.detach().requires_grad_().bernoulli_(0.5)

    agree(program, rand(3), raises=RuntimeError)


def test_what_is_drawn_into_parts_of_a_tensor(agree):
    def program(fl, x):
        fl.manual_seed(0)
        y = x.detach().clone()
        y[:, 1].uniform_()
        y.t().bernoulli_(0.5)
        return y, y._version

    agree(program, rand(3, 4))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_place_of_the_largest_in_windows_of_infinities(agree, dims, ceil):
    def program(fl, x):
        x = x.abs().log().reshape(1, 2, *(8,) * dims)[..., :5]
        x = fl.where(x > -1.2, -fl.inf, x)
        return getattr(fl.nn.functional, f"max_pool{dims}d")(x, 3, 2, 1, ceil_mode=ceil, return_indices=True)

    agree(program, rand(2 * 8**dims), grads=0)
