"""`torch.cond` and `torch.while_loop` in compiled functions, which go by what tensors hold; and where a break is an error."""

import copy

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._dynamo.exc import Unsupported
from flambeau._eager import large

X = torch.arange(20.0).reshape(4, 5) / 20


def risen(x):
    return (x.sin() * 3).relu() + x


def fallen(x):
    return (x.cos() - 1).tanh() * x


def one(x):
    return torch.cond(x.sum() > 0, risen, fallen, (x,)) * 2


def within_one_another(x):
    def either(x):
        return torch.cond(x[3, 4] > 1.5, risen, fallen, (x,))

    return torch.cond(x.sum() > 0, either, fallen, (x + 1,)).sum()


def loop(x):
    i, y = torch.while_loop(
        lambda i, y: (y.sum() < 100) & (i < 9), lambda i, y: (i + 1, y * 1.5 + 0.1), (torch.tensor(0), x)
    )
    return y * i


@pytest.mark.parametrize("f", [one, within_one_another, loop])
def test_a_function_that_is_captured_whole_goes_the_way_that_eager_code_goes(f):
    compiled = torch.compile(f, fullgraph=True)
    for x in (X, -X - 3, X * 2, -X - 1, X):
        torch.testing.assert_close(compiled(x), f(x))


@pytest.mark.skipif(not large.available(), reason="without native code every capture runs node by node")
def test_what_lies_before_between_and_behind_is_compiled():
    told = torch._dynamo.explain(one)(X)
    assert (told.graph_count, told.graph_break_count) == (2, 0)


class Either(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x):
        return torch.cond(x.sum() > 0, self.a, lambda x: self.b(x).relu(), (x,)).square().sum()


def test_gradients_go_through_the_branch_that_ran():
    model, x = Either(), X.clone().requires_grad_()
    compiled = torch.compile(model, fullgraph=True)
    wanted = [x, *model.parameters()]
    for sign in (1.0, -1.0, 1.0):
        expected = torch.autograd.grad(model(sign * x), wanted, allow_unused=True)
        found = torch.autograd.grad(compiled(sign * x), wanted, allow_unused=True)
        assert [g is None for g in found] == [g is None for g in expected]
        for f, e in zip(found, expected, strict=True):
            if e is not None:
                torch.testing.assert_close(f, e)


def test_a_training_step_that_chooses():
    def trained(wrap):
        model = Either()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step(x):
            optimizer.zero_grad()
            loss = model(x)
            loss.backward()
            optimizer.step()
            return loss.detach()

        step = wrap(step)
        losses = [step(x).clone() for x in (X, -X - 1, X, -X)]
        return losses, copy.deepcopy(model.state_dict())

    torch.testing.assert_close(trained(lambda f: torch.compile(f, fullgraph=True)), trained(lambda f: f))


def test_a_branch_that_cannot_be_captured_is_still_an_error():
    def f(x):
        return torch.cond(x.sum() > 0, lambda x: x * x.max().item(), fallen, (x,))

    with pytest.raises(Unsupported, match=r"test_choices\.py"):
        torch.compile(f, fullgraph=True)(X)


def broken(x):
    torch._dynamo.graph_break()
    return x * 3


def says(errors, f):
    return torch._dynamo.error_on_graph_break(errors)(f)


def within(x):
    with torch._dynamo.error_on_graph_break(True):
        return broken(x)


def around(x):
    with torch._dynamo.error_on_graph_break(True):
        x = x * 2
    return broken(x)


def off_again(x):
    with torch._dynamo.error_on_graph_break(True):
        return says(False, broken)(x)


# recorded from PyTorch 2.13
@pytest.mark.parametrize(
    ("f", "options", "refused"),
    [
        (within, {}, True),
        (around, {}, False),
        (lambda x: says(True, broken)(x), {}, True),
        (off_again, {}, False),
        (lambda x: says(False, broken)(x), {"fullgraph": True}, True),
    ],
    ids=["within", "around", "decorated", "off again", "fullgraph"],
)
def test_where_a_break_is_an_error(f, options, refused):
    compiled = torch.compile(f, **options)
    if refused:
        with pytest.raises(Unsupported, match=r"graph_break\(\)|test_choices"):
            compiled(X)
    else:
        torch.testing.assert_close(compiled(X), f(X))


def test_calls_where_a_break_is_an_error():
    compiled = torch.compile(broken)
    with torch._dynamo.error_on_graph_break(True), pytest.raises(Unsupported):
        compiled(X)
    torch.testing.assert_close(compiled(X), broken(X))
