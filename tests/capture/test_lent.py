"""Gradients that a compiled step replaces: their memory is used again only where nobody else can see it."""

import gc
import weakref

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._eager import large
from flambeau.nn import functional as F

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")


def training(rows, backend="inductor"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile(backend=backend, fullgraph=True)
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    g = torch.Generator().manual_seed(1)
    batch = torch.randn(rows, 256, generator=g), torch.randint(0, 10, (rows,), generator=g)
    for _ in range(3):
        step(*batch)
    return model, step, batch


def stretches(step):
    return len(step._captures.first.entries[0].program.run.compiled.pieces)


@pytest.fixture(params=[64, 2048], ids=["one call", "several calls"])
def trained(request):
    """Programs with little memory are one call, in which results lie where gradients lay; others give the memory back, and take it again."""
    model, step, batch = training(request.param)
    assert (stretches(step) > 1) == (request.param == 2048)
    return model, step, batch


HOLDERS = {
    "itself": lambda g: g,
    "twice": lambda g: (g, g),
    "an alias": lambda g: g.detach(),
    "a view": lambda g: g[3:],
    "an array": lambda g: g.numpy(),
    "part of an array": lambda g: g.numpy()[2:],
}


@pytest.mark.parametrize("how", HOLDERS)
def test_what_somebody_holds_stays_as_it_is(trained, how):
    model, step, batch = trained
    held = HOLDERS[how](model[0].weight.grad)
    first = held[0] if how == "twice" else held
    before = torch.as_tensor(first).clone()
    step(*batch)
    step(*batch)
    assert torch.equal(torch.as_tensor(first), before)
    assert not torch.equal(model[0].weight.grad[: len(before)], before)


def test_what_nobody_holds_is_used_again(trained):
    """And gradients are new tensors all the same."""
    model, step, batch = trained
    gc.collect()
    p = model[0].weight
    array, gone = weakref.ref(p.grad._a), weakref.ref(p.grad)
    step(*batch)
    assert gone() is None
    if stretches(step) == 1:
        assert array() is p.grad._a
    else:
        assert array() is None or array() is not p.grad._a


def test_values_are_those_of_eager(trained):
    model, step, batch = trained
    twin, other, _ = training(len(batch[0]), "eager")
    for _ in range(3):
        torch.testing.assert_close(step(*batch), other(*batch), rtol=1e-4, atol=1e-5)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)


def test_one_gradient_of_two_parameters(trained):
    model, step, batch = trained
    other = nn.Parameter(torch.zeros(256, 256))
    other.grad = model[0].weight.grad
    before = other.grad.clone()
    step(*batch)
    assert torch.equal(other.grad, before)


def test_a_step_that_is_refused_leaves_gradients_alone(trained):
    """Until it is known that nothing is refused they are as they were; eager code then does what it does."""
    model, step, (x, y) = trained
    bad = y.clone()
    bad[0] = 11

    @torch.compile(fullgraph=True)
    def looking(x, y):
        loss = F.cross_entropy(model(x), y)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        for p, g in zip(model.parameters(), grads, strict=True):
            p.grad = g
        return loss.detach()

    for _ in range(2):
        looking(x, y)
    before = [p.grad.clone() for p in model.parameters()]
    with pytest.raises(IndexError):
        looking(x, bad)
    for p, b in zip(model.parameters(), before, strict=True):
        assert torch.equal(p.grad, b)
    looking(x, y)
