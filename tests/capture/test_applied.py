"""Custom autograd functions in functions whose backward pass runs outside: one program forward and one backward."""

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._dynamo.exc import Unsupported
from flambeau._eager import large
from flambeau.utils.checkpoint import checkpoint

SCALE = [2.0]


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * g * x


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -ctx.alpha * g, None


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class Two(torch.autograd.Function):
    @staticmethod
    def forward(x, w):
        return x @ w, (x * 2).sum(0)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, a, b):
        x, w = ctx.saved_tensors
        gx = torch.zeros_like(x) if a is None else a @ w.T
        return gx if b is None else gx + 2 * b, None if a is None else x.T @ a


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Marked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        values, places = x.max(1)
        ctx.mark_non_differentiable(places)
        ctx.save_for_backward(places)
        ctx.shape = x.shape
        return values, places

    @staticmethod
    def backward(ctx, g, _):
        (places,) = ctx.saved_tensors
        return torch.zeros(ctx.shape).scatter(1, places[:, None], g[:, None] * 7)


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * SCALE[0]

    @staticmethod
    def backward(ctx, g):
        return g * SCALE[0] * 10


torch.manual_seed(0)
LINEAR = nn.Linear(4, 4)
FUNCTIONS = {
    "between operators": lambda x, w: Squared.apply(x * 2).sum() + 1,
    "with a number": lambda x, w: (Reversed.apply(x.sin(), 0.5) * 3).sum(),
    "straight through": lambda x, w: (Straight.apply(x * 3) * x).sum(),
    "two results": lambda x, w: sum(t.sum() for t in Two.apply(x.relu(), w)),
    "the first result": lambda x, w: Two.apply(x.relu(), w)[0].sum(),
    "the second result": lambda x, w: Two.apply(x.relu(), w)[1].sum(),
    "within a module": lambda x, w: LINEAR(Squared.apply(LINEAR(x))).sum(),
    "one after the other": lambda x, w: Squared.apply(Squared.apply(x)).sum() * w.sum(),
    "once differentiable": lambda x, w: Once.apply(x * 2).sum(),
    "a result without a derivative": lambda x, w: (Marked.apply(x.cos())[0] * x[:, 0]).sum(),
    "in a checkpoint": lambda x, w: checkpoint(lambda t: Squared.apply(t.sin()) * 2, x, use_reentrant=False).sum(),
    "what a list holds": lambda x, w: Scaled.apply(x * 2).sum(),
}


def gradients(f):
    torch.manual_seed(1)
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(4, 4, requires_grad=True)
    out = f(x, w)
    return out, torch.autograd.grad(out, [x, w, *LINEAR.parameters()], allow_unused=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_program_with_the_functions_own_derivative(name):
    f = FUNCTIONS[name]
    compiled = torch.compile(f, fullgraph=True)
    for _ in range(2):
        (out, grads), (expected, wanted) = gradients(compiled), gradients(f)
        torch.testing.assert_close(out, expected)
        assert [g is None for g in grads] == [g is None for g in wanted]
        for g, e in zip(grads, wanted, strict=True):
            if e is not None:
                torch.testing.assert_close(g, e)


@pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")
def test_forward_and_backward_are_kernels():
    x = torch.randn(300, 200, requires_grad=True)
    made = torch.compile(lambda x: (Straight.apply(x * 3) * x).sum())(x).grad_fn.joint
    assert (made.kernels, made.calls) == (1, 0)
    assert (made.backward.kernels, made.backward.calls) == (1, 0)


def test_what_the_derivative_reads_is_assumed(monkeypatch):
    compiled = torch.compile(FUNCTIONS["what a list holds"])
    for value in (2.0, 3.0, 4.0, 2.0):
        monkeypatch.setattr(f"{__name__}.SCALE", [value])
        x = torch.ones(3, 4, requires_grad=True)
        out = compiled(x, x)
        out.backward()
        assert (out.item(), x.grad[0, 0].item()) == (24 * value, 20 * value)


def test_another_backward_of_the_same_function(monkeypatch):
    compiled = torch.compile(lambda x: Squared.apply(x).sum())
    for factor in (3.0, 100.0):
        if factor == 100:
            monkeypatch.setattr(Squared, "backward", staticmethod(lambda ctx, g: g * 100))
        x = torch.ones(3, requires_grad=True)
        compiled(x).backward()
        assert x.grad.tolist() == [factor] * 3


def test_a_number_that_changes_at_each_call():
    compiled = torch.compile(lambda x, alpha: (Reversed.apply(x.sin(), alpha) * 3).sum())
    for alpha in (0.1, 0.2, 0.3, 0.4):
        x = torch.ones(3, requires_grad=True)
        compiled(x, alpha).backward()
        torch.testing.assert_close(x.grad, -3 * alpha * torch.ones(3).cos())


class Counted(torch.autograd.Function):
    calls = [0, 0]

    @staticmethod
    def forward(ctx, x):
        Counted.calls[0] += 1
        return x * 2

    @staticmethod
    def backward(ctx, g):
        Counted.calls[1] += 1
        return g * 5


class Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, g):
        return g * 2


class Held(torch.autograd.Function):
    weight = torch.ones(3)

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * Held.weight


@pytest.mark.parametrize(("function", "gradient"), [(Counted, 10), (Same, 4), (Held, 2)])
def test_a_call_that_does_more_runs_as_in_eager_code(monkeypatch, function, gradient):
    Counted.calls[:] = 0, 0
    compiled = torch.compile(lambda x: function.apply(x * 2).sum())
    for _ in range(3):
        x = torch.ones(3, requires_grad=True)
        compiled(x).backward()
        assert x.grad.tolist() == [gradient] * 3
    assert Counted.calls == [3 * (function is Counted)] * 2
    if function is Held:
        monkeypatch.setattr(Held, "weight", torch.full((3,), 3.0))
        x = torch.ones(3, requires_grad=True)
        compiled(x).backward()
        assert x.grad.tolist() == [6] * 3
    with pytest.raises(Unsupported):
        torch.compile(lambda x: function.apply(x * 2).sum(), fullgraph=True)(torch.ones(3, requires_grad=True))


class Leaking(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kept):
        y = x * 2
        kept.append(y)
        return y + 1

    @staticmethod
    def backward(ctx, g):
        return g * 3, None


def test_what_leaves_a_function_on_its_way_is_as_in_eager_code():
    def f(x):
        kept = []
        y = Leaking.apply(x, kept)
        return (y * kept[0]).sum()

    x, z = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    torch.compile(f)(x).backward()
    f(z).backward()
    assert x.grad.tolist() == z.grad.tolist()
