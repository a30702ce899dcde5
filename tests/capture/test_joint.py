"""Compiled modules in eager training: results with history, compiled backward passes, what is saved."""

import copy
from functools import partial

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._capture.joint import Joint
from flambeau._capture.lower import needs_history
from flambeau._eager import large
from flambeau.fx.experimental.proxy_tensor import make_fx

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")


def joint(f, *args):
    gm = make_fx(f)(*(a.detach() for a in args))
    gm.meta["live"] = True
    assert needs_history(gm)
    return Joint(gm, args)


def both(f, *args, tolerance=1e-5):
    """Gradients of a compiled function and of the function."""
    made = joint(f, *args)
    for _ in range(2):
        got, want = made(*args), f(*args)
        want = want if isinstance(want, (tuple, list)) else (want,)
        weights = [torch.randn_like(w) if w.requires_grad else None for w in want]
        gradients = []
        for out in (got, want):
            total = sum((o * w).sum() for o, w in zip(out, weights, strict=True) if w is not None)
            wanted = [a for a in args if a.requires_grad]
            gradients.append(torch.autograd.grad(total, wanted, allow_unused=True))
        for x, y in zip([*got, *gradients[0]], [*want, *gradients[1]], strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                assert (x.shape, x.dtype, x.requires_grad) == (y.shape, y.dtype, y.requires_grad)
                assert torch.allclose(x, y, rtol=tolerance, atol=tolerance)
    return made


def needs(*shape):
    return torch.randn(*shape).requires_grad_()


def test_gradients_are_those_of_eager():
    both(lambda x, w: torch.tanh(x @ w).softmax(1), needs(5, 4), needs(4, 3))
    both(lambda x, w: ((x * w).sum(0), x.exp(), (x > 0).float()), needs(5, 4), needs(4))
    both(lambda x, w: x.t()[1:] * 2 + w.mean(), needs(5, 4), torch.randn(4))


def test_written_inputs_keep_the_history_that_the_write_gives_them():
    weight = needs(4)

    def into(out, x):
        out[1:].add_((x * weight)[1:])

    got, want = torch.zeros(4), torch.zeros(4)
    x = torch.randn(4)
    torch.compile(into)(got, x)
    into(want, x)
    assert got.requires_grad and torch.equal(got, want)
    for out in (got, want):
        out.sum().backward()
    assert torch.equal(weight.grad, 2 * x * torch.tensor([0.0, 1, 1, 1]))


def test_results_that_share_memory_are_views_with_history():
    def gradients(f, after):
        p = torch.arange(1.0, 5.0).requires_grad_()
        x = p * 2
        made = f(x)
        after(*made)
        (x.sum() + sum(m.sum() for m in made)).backward()
        return [p.grad, *(m.detach() for m in made)]

    for f, after in (
        (lambda x: (x.view(2, 2), x * 3), lambda a, b: a.mul_(3)),
        (lambda x: (lambda y: (y, y.view(2, 2)))(x * 2), lambda a, b: a.mul_(3)),
        (lambda x: (lambda y: (y, y.t()))(x.view(2, 2).exp() + 1), lambda a, b: b.add_(1)),
        (lambda x: (x * 2).unbind(), lambda *many: None),
    ):
        for options in ({}, {"dynamic": True}):
            torch._dynamo.reset()
            want, got = gradients(f, after), gradients(torch.compile(f, **options), after)
            assert all(torch.allclose(a, b) for a, b in zip(want, got, strict=True))


@pytest.mark.parametrize("dynamic", [None, True])
def test_numbers_that_change_are_not_kept(dynamic):
    w = needs(3)
    for f in (
        lambda x, a: x * w * a,
        lambda x, a: torch.add(x, w, alpha=a),
        lambda x, a: (x * w).clamp(max=a),
        lambda x, a: (x * w).sum() / a + a,
        lambda x, a: torch.lerp(x, w, a / 10),
        lambda x, a: (x * w)[: int(a)],
    ):
        g = torch.compile(f, dynamic=dynamic)
        for a in (1.0, 2.0, 3.0, 2.5, 1.5):
            x, found = torch.randn(3), []
            for h in (f, g):
                w.grad = None
                y = h(x, a)
                y.sum().backward()
                found += [y.detach(), w.grad]
            assert torch.allclose(found[0], found[2]) and torch.allclose(found[1], found[3])


def test_a_write_between_is_noticed():
    p = torch.ones(3)
    add = torch.compile(lambda t: t.add_(1))
    w = needs(3)
    for _ in range(2):
        y = p * w
        add(p)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_views_and_cheap_results_are_computed_again():
    f = lambda x, w: torch.relu(x @ w.t())
    made = both(f, needs(5, 4), needs(3, 4))
    outputs = made.forward.results
    assert len(outputs) == 2  # the result, and the same again: no mask, no transposed weight
    assert made.saved_inputs == [0, 1]


def test_results_that_nobody_needs():
    made = joint(lambda x: (x * 2, x.sin()), needs(4))
    x = needs(4)
    a, _ = made(x)
    a.sum().backward()
    assert torch.equal(x.grad, torch.full((4,), 2.0))


def test_nothing_is_recorded_without_grad():
    made = joint(lambda x: x * 2, needs(4))
    with torch.no_grad():
        assert not made(needs(4))[0].requires_grad
    assert not made(torch.randn(4))[0].requires_grad


def test_freed_and_overwritten_values_are_noticed():
    made = joint(lambda x: x.exp() * x, needs(4))
    x = needs(4)
    y = made(x)[0].sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    leaf = needs(4)
    x = leaf * 1
    y = made(x)[0].sum()
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_derivatives_of_derivatives():
    f = lambda x: (x.sin() * x).sum()
    made, x = joint(f, needs(4)), needs(4)
    found = []
    for h in (f, lambda x: made(x)[0]):
        (g,) = torch.autograd.grad(h(x), x, create_graph=True)
        found += [g, *torch.autograd.grad(g.exp().sum(), x)]
    assert torch.allclose(found[0], found[2]) and torch.allclose(found[1], found[3])


def test_a_compiled_module_trains_as_the_module_does():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    fast = copy.deepcopy(plain)
    compiled = torch.compile(fast)
    steps = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (plain, fast)]
    for _ in range(6):
        x, t = torch.randn(7, 6), torch.randint(0, 2, (7,))
        for m, opt in zip((plain, compiled), steps, strict=True):
            loss = nn.functional.cross_entropy(m(x), t)
            opt.zero_grad()
            loss.backward()
            opt.step()
    for p, q in zip(plain.state_dict().values(), fast.state_dict().values(), strict=True):
        assert torch.allclose(p.float(), q.float(), atol=1e-5)


def test_gradients_come_in_any_layout():
    f = lambda x, w: (x @ w).transpose(0, 1)
    made, x, w = joint(f, needs(5, 4), needs(4, 3)), needs(5, 4), needs(4, 3)
    for g in (torch.randn(3, 5), torch.randn(5, 3).t(), torch.ones(1, 1).expand(3, 5)):
        ours = torch.autograd.grad(made(x, w)[0], [x, w], g)
        theirs = torch.autograd.grad(f(x, w), [x, w], g)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def test_backward_passes_without_a_native_form():
    """A write into a part of what needs a gradient: the way back runs operator by operator."""

    def f(x, w):
        y = x * w
        y[0] = y[-1]
        return (y * y).sum()

    x = torch.randn(5, 4)
    compiled = torch.compile(f)
    found = []
    for g in (f, compiled, compiled):
        w = torch.full((4,), 0.5, requires_grad=True)
        g(x, w).backward()
        found.append(w.grad)
    assert torch.allclose(found[0], found[1])
    assert torch.allclose(found[0], found[2])


IN_PLACE = [
    nn.Hardswish,
    nn.SiLU,
    nn.Mish,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Hardtanh,
    nn.Hardsigmoid,
]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    "activation", [*(partial(m, inplace=True) for m in IN_PLACE), partial(nn.Threshold, 0.1, 2.0, True)]
)
def test_derivatives_of_what_was_overwritten_are_those_of_each_call(activation, whole):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), activation())

    def step(model, x):
        model.zero_grad()
        model(x).pow(2).sum().backward()
        return model[0].weight.grad.clone()

    compiled = torch.compile(partial(step, model), fullgraph=True) if whole else partial(step, torch.compile(model))
    for _ in range(3):
        x = torch.randn(2, 3, 8, 8)
        assert torch.allclose(compiled(x), step(model, x), rtol=1e-4, atol=1e-4)


def test_a_trace_keeps_no_copy_of_what_was_overwritten():
    def f(x, y):
        h = x * 2
        h.mul_(y).mul_(h.detach().exp())
        return h

    gm = make_fx(lambda x, y: torch.autograd.grad(f(x, y).sum(), [x, y]))(needs(3), needs(3))
    assert not gm.graph.find_nodes(op="get_attr")
    x, y = needs(3), needs(3)
    for got, want in zip(gm(x, y), torch.autograd.grad(f(x, y).sum(), [x, y]), strict=True):
        assert torch.allclose(got, want)


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("picked", [(0,), (1,), (2,), (3,), (0, 1), (0, 3)])
def test_inputs_that_only_results_without_gradients_were_made_of_have_none(picked, history):
    def f(x, y):
        return (x * 2).sin(), (y * 3).exp(), x * y, y.sign() * 1.0

    x, y = needs(5), needs(5)
    found = []
    for run in (f, torch.compile(f)):
        out = run(x, y)
        total = sum(out[n].sum() for n in picked)
        found.append(torch.autograd.grad(total, [x, y], allow_unused=True, create_graph=history))
    for want, got in zip(*found, strict=True):
        assert (want is None) == (got is None) and (want is None or torch.allclose(want, got))
