"""Views made where nothing is recorded, of what requires gradients: they say that they do, and nobody takes what reaches them."""

import pytest

from tests.agree import rand

WAYS = {
    "view": lambda fl, x: x.view(6),
    "part of a part": lambda fl, x: x[1][:2],
    "several": lambda fl, x: x.split(1)[1],
    "transposed": lambda fl, x: x.t(),
    "bits": lambda fl, x: x.view(fl.int64),
    "expanded": lambda fl, x: x.expand(2, 2, 3),
}


def unrecorded(fl, x, way):
    with fl.no_grad():
        return WAYS[way](fl, x)


@pytest.mark.parametrize("way", WAYS)
def test_they_require_gradients_and_have_no_history(agree, way):
    def program(fl, x):
        with fl.inference_mode():
            inferred = WAYS[way](fl, x)
        views = [unrecorded(fl, x, way), unrecorded(fl, x * 1, way), inferred]
        return [(v.requires_grad, v.is_leaf, v.grad_fn is None, v.detach().requires_grad) for v in views]

    agree(program, rand(2, 3))


def test_what_is_computed_of_them_has_a_history_that_ends_there(agree):
    def program(fl, x):
        v = unrecorded(fl, x, "view")
        y = v * 3
        y.sum().backward()
        z = (x.view(6) * v).sum()
        return (
            y.requires_grad,
            y.is_leaf,
            v.grad is None,
            x.grad is None,
            fl.autograd.grad(z, x)[0],
            v.view(2, 3).is_leaf,
        )

    agree(lambda fl, x: program(fl, x.requires_grad_()), rand(2, 3), grads=0)


def test_they_follow_their_base(agree):
    def program(fl, x):
        x = x.detach()
        v = unrecorded(fl, x, "view")
        before = v.requires_grad
        x.requires_grad_()
        during = v.requires_grad
        x.requires_grad_(False)
        return before, during, v.requires_grad, v.numpy()

    agree(program, rand(2, 3), grads=0)


def test_numpy_refuses_them(agree):
    agree(lambda fl, x: unrecorded(fl, x, "view").numpy(), rand(2, 3), raises=RuntimeError)


def test_their_memory_is_written_where_nothing_is_recorded(agree):
    def program(fl, x):
        with fl.no_grad():
            v = x.view(6)
            v.mul_(2).add_(1)
            x.sub_(1)
            v[:2].zero_()
            return v * 1, v.requires_grad, x.detach().clone(), v._version

    agree(program, rand(2, 3), grads=0)


ASKED = {
    "history": lambda fl, v: v.grad_fn,
    "whether it is a leaf": lambda fl, v: v.is_leaf,
    "product": lambda fl, v: v * 2,
    "numpy": lambda fl, v: v.numpy(),
}


@pytest.mark.parametrize("way", ASKED)
def test_written_since_they_are_no_more_asked_for_their_history(agree, way):
    def program(fl, x):
        with fl.no_grad():
            v = x.view(6)
            v.mul_(2)
        return ASKED[way](fl, v)

    agree(program, rand(2, 3), raises=RuntimeError)


def test_they_are_not_written_where_it_is_recorded(agree):
    agree(lambda fl, x: unrecorded(fl, x, "view").add_(1), rand(2, 3), raises=RuntimeError)
    agree(lambda fl, x: unrecorded(fl, x * 1, "view").add_(1), rand(2, 3), raises=RuntimeError)


def test_asked_for_gradients_of_their_own_they_gather_them(agree):
    def program(fl, x):
        v = unrecorded(fl, x, "view").requires_grad_()
        (v * v).sum().backward()
        return v.grad, x.grad is None

    agree(lambda fl, x: program(fl, x.requires_grad_()), rand(2, 3), grads=0)
