"""Writes into memory that meets itself, or what is read."""

import pytest

from tests.agree import rand

WRITES = {
    "expanded": lambda t, x: x[:1].expand(6).add_(1),
    "expanded, copied": lambda t, x: x[:1].expand(6).copy_(x.clone()),
    "expanded, out": lambda t, x: t.add(x, 1, out=x[:1].clone().expand(6)),
    "expanded, assigned": lambda t, x: x[:1].expand(6).__setitem__(slice(None), x.clone()),
    "expanded, assigned a number": lambda t, x: x[:1].expand(6).__setitem__(slice(None), 3.0),
    "expanded, assigned whole": lambda t, x: x[:1].expand(6).__setitem__(Ellipsis, 3.0),
    "parts, copied": lambda t, x: x[1:].copy_(x[:-1]),
    "parts, added": lambda t, x: x[1:].add_(x[:-1]),
    "parts, assigned": lambda t, x: x.__setitem__(slice(1, None), x[:-1]),
    "parts of integers": lambda t, x: (y := x.long(), y[1:].copy_(y[:-1])),
    "parts, out": lambda t, x: t.exp(x[:-1], out=x[1:]),
    "transposed": lambda t, x: (y := x[:4].reshape(2, 2).clone(), y.copy_(y.T)),
}


@pytest.mark.parametrize("name", WRITES)
def test_refused(agree, name):
    agree(lambda t, x: WRITES[name](t, x.clone()), rand(6), raises=RuntimeError, grads=0)


EXPANDED = {
    "number added": lambda t, x: x.add_(1),
    "multiplied": lambda t, x: x.mul_(x.clone()),
    "function": lambda t, x: x.exp_(),
    "copied": lambda t, x: x.copy_(x.clone()),
    "copied across dtypes": lambda t, x: x.copy_(x.long()),
    "scattered": lambda t, x: x.scatter_(0, t.tensor([0]), x.clone()),
    "added by index": lambda t, x: x.index_add_(0, t.tensor([0]), x[:1].clone()),
    "copied by index": lambda t, x: x.index_copy_(0, t.tensor([0]), x[:1].clone()),
    "masked": lambda t, x: x.masked_scatter_(x > 5, x.clone()),
    "put": lambda t, x: x.put_(t.tensor([0]), x[:1].clone()),
}


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", EXPANDED)
def test_expanded(agree, name, grad):
    def run(t, x):
        with t.set_grad_enabled(grad):
            return EXPANDED[name](t, x.clone()[:1].expand(6))

    agree(run, rand(6), raises=RuntimeError, grads=0)


PERMITTED = {
    "filled": lambda t, x: x[:1].expand(6).fill_(2),
    "zero": lambda t, x: x[:1].expand(6).zero_(),
    "one assigned": lambda t, x: x[:1].expand(6).__setitem__(2, 3.0),
    "itself": lambda t, x: x.copy_(x),
    "a view of itself": lambda t, x: x.copy_(x[:]),
    "halves": lambda t, x: x[3:].copy_(x[:3]),
    "every second": lambda t, x: x[::2].copy_(x[1::2]),
    "reversed": lambda t, x: x.copy_(x.flip(0)),
    "masked": lambda t, x: x[:1].expand(6).masked_fill_(x > 5, 1.0),
    "indexed": lambda t, x: x[:1].expand(6).index_fill_(0, t.tensor([0]), 1.0),
    "assigned by index": lambda t, x: x[:1].expand(6).index_put_((t.tensor([0]),), t.tensor(1.0, dtype=x.dtype)),
}


@pytest.mark.filterwarnings("ignore:Use of .* on expanded tensors is deprecated")
@pytest.mark.parametrize("name", PERMITTED)
def test_permitted(agree, name):
    agree(lambda t, x: (x := x.clone(), PERMITTED[name](t, x), x)[1:], rand(6), grads=0)


@pytest.mark.parametrize("grad", [True, False])
def test_deprecated(grad):
    import flambeau

    with (
        flambeau.set_grad_enabled(grad),
        pytest.warns(UserWarning, match="Use of index_fill_ on expanded tensors is deprecated"),
    ):
        flambeau.ones(1).expand(3).index_fill_(0, flambeau.tensor([0]), 1.0)
