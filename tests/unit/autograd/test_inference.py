"""Tensors made in inference mode: what may be done with them outside of it, and what is refused."""

import pytest

from tests.agree import rand


def made(t, *shape):
    with t.inference_mode():
        return t.ones(*shape or (3,))


WRITES = {
    "arithmetic": lambda t: made(t).add_(1),
    "by a tensor": lambda t: made(t).mul_(t.ones(3)),
    "function": lambda t: made(t).exp_(),
    "filled": lambda t: made(t).fill_(2),
    "zero": lambda t: made(t).zero_(),
    "copied": lambda t: made(t).copy_(t.ones(3)),
    "assigned": lambda t: made(t).__setitem__(0, 1.0),
    "assigned by index": lambda t: made(t).__setitem__(t.tensor([0]), 1.0),
    "out": lambda t: t.add(t.ones(3), 1, out=made(t)),
    "a view": lambda t: made(t)[:2].add_(1),
    "masked": lambda t: made(t).masked_fill_(t.ones(3) > 0, 1.0),
    "added by index": lambda t: made(t).index_add_(0, t.tensor([0]), t.ones(1)),
    "random": lambda t: made(t).normal_(),
    "initialized": lambda t: t.nn.init.uniform_(made(t)),
    "transposed": lambda t: made(t, 2, 3).t_(),
    "squeezed": lambda t: made(t, 1, 3).squeeze_(),
    "resized": lambda t: made(t).resize_(2),
    "set": lambda t: made(t).set_(t.ones(3)),
    "a list": lambda t: t._foreach_add_([made(t)], 1),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_are_refused(agree, name):
    agree(WRITES[name], raises=RuntimeError)


SAVED = {
    "mul": lambda t, x: made(t) * x,
    "mul by it": lambda t, x: x * made(t),
    "div": lambda t, x: made(t) / x,
    "pow": lambda t, x: made(t) ** x,
    "max": lambda t, x: t.maximum(x, made(t)),
    "matmul": lambda t, x: made(t, 2, 3) @ x,
    "linear": lambda t, x: t.nn.functional.linear(made(t, 2, 3), x[None]),
    "in place": lambda t, x: (x * 1).mul_(made(t)),
    "mask": lambda t, x: t.where(made(t) > 0, x, x),
}


@pytest.mark.parametrize("name", SAVED)
def test_what_is_saved_for_backward_may_not_be_one(agree, name):
    def run(t, x):
        return SAVED[name](t, x.float())

    allowed = name in ("mask",)  # what a comparison makes is an ordinary tensor
    agree(run, rand(3), **({"grads": 1} if allowed else {"raises": RuntimeError}))


def test_what_is_not_saved_may_be_one(agree):
    agree(
        lambda t, x: [x + made(t).double(), x - made(t).double().clone(), t.cat([x, made(t).double()])],
        rand(3),
        grads=1,
    )
    agree(lambda t, x: (x * 1).add_(made(t)), rand(3), grads=1)
    agree(lambda t, x: x * made(t).clone(), rand(3), grads=1)


def facts(t):
    x = made(t)
    with t.inference_mode():
        inside = t.ones(3)[:2]
        y = t.ones(3).add_(1)[:2].mul_(2)
    return [
        *[v.is_inference() for v in (x, x[:2], x.detach(), x.data, x.clone(), x + 1, t.ones_like(x), inside)],
        x[:2]._is_view(), x.requires_grad, y, (x + 1).sum(),
    ]  # fmt: skip


def test_facts(agree):
    agree(facts)
    agree(lambda t: made(t)._version, raises=RuntimeError)
    agree(lambda t: made(t).requires_grad_(), raises=RuntimeError)
    agree(lambda t: t.nn.Parameter(made(t)), raises=RuntimeError)
    agree(lambda t: t.nn.Parameter(made(t), requires_grad=False).is_inference())


def test_views_of_normal_tensors(agree):
    def view(t, x):
        with t.inference_mode():
            return x[:2]

    agree(lambda t, x: (v := view(t, x.detach()), v.add_(1), v.is_inference(), v._is_view()), rand(3), grads=0)
    agree(lambda t, x: view(t, x * 1).add_(1), rand(3), raises=RuntimeError)

    def written(t, x):
        with t.inference_mode():
            x.add_(1)
        return x, x._version

    agree(lambda t, x: written(t, x.detach().clone()), rand(3), grads=0)
