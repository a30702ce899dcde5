"""A compiled call in which something is refused leaves what eager code leaves: effects up to the error, and no more."""

import pytest

import flambeau as torch
import flambeau.nn.functional as F
from tests.capture.world import freeze, same

T = torch.tensor


def x(*shape):
    return torch.arange(1.0, 1.0 + torch.Size(shape).numel()).reshape(shape) / 2


EYE, NOTHING = torch.eye(2), torch.zeros(2, 2)
CASES = {
    "embedding": (lambda w, i: F.embedding(i, w), (x(5, 3), T([0, 4])), (x(5, 3), T([0, 5]))),
    "index": (lambda a, i: a[i], (x(5), T([0, -5])), (x(5), T([0, 5]))),
    "two indices": (lambda a, i, j: a[i, j], (x(5, 4), T([0, -5]), T([1, 2])), (x(5, 4), T([0, 1]), T([1, 4]))),
    "index_select": (lambda a, i: a.index_select(0, i), (x(5), T([0, 4])), (x(5), T([0, 5]))),
    "gather": (lambda a, i: a.gather(0, i), (x(5), T([0, 4])), (x(5), T([0, 5]))),
    "take": (lambda a, i: a.take(i), (x(5), T([0, -4])), (x(5), T([0, 5]))),
    "scatter": (lambda a, i, s: a.scatter(0, i, s), (x(5), T([0, 4]), x(2)), (x(5), T([0, 5]), x(2))),
    "scatter_add": (lambda a, i, s: a.scatter_add(0, i, s), (x(5), T([0, 4]), x(2)), (x(5), T([0, 5]), x(2))),
    "index_add": (lambda a, i, s: a.index_add(0, i, s), (x(5), T([0, 4]), x(2)), (x(5), T([0, 5]), x(2))),
    "index_put": (lambda a, i, s: a.index_put((i,), s), (x(5), T([0, 4]), x(2)), (x(5), T([0, 5]), x(2))),
    "cross_entropy": (lambda a, t: F.cross_entropy(a, t), (x(2, 4), T([0, 3])), (x(2, 4), T([0, 7]))),
    "weighted": (lambda a, t, w: F.cross_entropy(a, t, w), (x(2, 4), T([0, 3]), x(4)), (x(2, 4), T([0, 7]), x(4))),
    "nll_loss": (lambda a, t: F.nll_loss(a, t), (x(2, 4), T([0, -100])), (x(2, 4), T([0, -1]))),
    "one_hot": (lambda t: F.one_hot(t, 4), (T([0, 3]),), (T([0, 4]),)),
    "division": (lambda a, b: a // b, (T([4, 5]), T([1, 2])), (T([4, 5]), T([1, 0]))),
    "solve": (lambda a, b: torch.linalg.solve(a, b), (EYE, x(2)), (NOTHING, x(2))),
    "cholesky": (lambda a: torch.linalg.cholesky(a), (EYE,), (-EYE,)),
    "multinomial": (lambda a: torch.multinomial(a, 1), (x(3),), (-x(3),)),
    "bernoulli": (lambda a: torch.bernoulli(a), (x(3) / 2,), (x(3) * 5,)),
    "bincount": (lambda t: torch.bincount(t, minlength=4), (T([0, 3]),), (T([0, -1]),)),
    "unpooling": (lambda a, i: F.max_unpool1d(a, i, 2), (x(1, 1, 2), T([[[0, 3]]])), (x(1, 1, 2), T([[[0, 9]]]))),
    "bag": (lambda i, w: F.embedding_bag(i, w), (T([[0, 4]]), x(5, 3)), (T([[0, 5]]), x(5, 3))),
    "assert": (lambda a: (torch._assert_async(a), a * 1)[1], (T(1.0),), (T(0.0),)),
    "norms of rows": (lambda w, i: F.embedding(i, w, max_norm=1.0), (x(5, 3), T([0, 4])), (x(5, 3), T([0, 5]))),
    "begin of a slice": (lambda a, i: a[i:], (x(5), T(1)), (x(5), T(3))),
    "begin and step": (lambda a, i: a[0, i:3:i], (x(2, 5), T(1)), (x(2, 5), T(2))),
    "slice of a list": (lambda a, i: a * sum([1, 2, 3, 4][i:]), (x(5), T(1)), (x(5), T(3))),
    "dim": (lambda a, i: a.sum(i), (x(2, 3), T(1)), (x(2, 3), T(0))),
    "size": (lambda a, i: a.sum() + torch.zeros(i), (x(2, 3), T(1)), (x(2, 3), T(2))),
    "widths": (lambda a, i: F.pad(a, (i, i)), (x(6), T(1)), (x(6), T(2))),
}  # fmt: skip


def effects(wrap, inner, good, bad, caught):
    """All that calls leave: results or errors, what was logged, what was written, where the generator stands."""
    log, before, after, out = [], torch.zeros(3), torch.zeros(3), []

    def f(*args):
        log.append("before")
        before.add_(1)
        y = inner(*args)
        log.append("after")
        after.add_(1)
        return y

    def catching(*args):
        log.append("before")
        before.add_(1)
        try:
            y = inner(*args)
        except (IndexError, RuntimeError):
            log.append("caught")
            return before * 2
        after.add_(1)
        return y

    g = wrap(catching if caught else f)
    torch.manual_seed(0)
    for args in (good, good, bad, good, bad, bad, good):
        try:
            out.append(freeze(g(*[t.clone() for t in args])))
        except (IndexError, RuntimeError, ZeroDivisionError) as error:
            out.append((type(error), str(error)))
    return out, log, before, after, torch.rand(2)


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_effects(name, caught):
    torch._dynamo.reset()
    want = effects(lambda f: f, *CASES[name], caught)
    assert same(effects(torch.compile, *CASES[name], caught), want, 1e-6)


def test_parameters_are_as_they_were():
    weight = torch.nn.Parameter(x(5, 3))
    optimizer = torch.optim.Adam([weight], lr=0.1)

    @torch.compile
    def step(i, target):
        optimizer.zero_grad()
        loss = F.cross_entropy(F.embedding(i, weight), target)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(3):
        step(T([0, 4]), T([1, 2]))
    held, state = weight.detach().clone(), int(optimizer.state[weight]["step"])
    with pytest.raises(IndexError):
        step(T([0, 5]), T([1, 2]))
    with pytest.raises(IndexError):
        step(T([0, 4]), T([1, 3]))
    assert torch.equal(weight, held) and int(optimizer.state[weight]["step"]) == state
    step(T([0, 4]), T([1, 2]))
    assert not torch.equal(weight, held)


def test_a_program_that_cannot_be_recalled_retreats_as_well(monkeypatch):
    from flambeau._capture import backends, lower
    from flambeau._capture.breaks import REFUSED
    from flambeau._capture.expressions import Unsupported
    from flambeau.fx.experimental.proxy_tensor import make_fx

    def broken(*args):
        raise Unsupported("a blueprint that is not what it should be")

    monkeypatch.setattr(lower, "Compiled", broken)
    graph = make_fx(lambda w, i: (w.add_(1), w[i]))(x(5), T([0, 4]))
    run, w = backends.recalled(lambda: graph, None), x(5)
    assert run(w, T([0, 5])) is REFUSED and torch.equal(w, x(5)) and w._version == 0
    assert torch.equal(run(w, T([0, 4]))[1], x(5)[T([0, 4])] + 1)


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("name", ["index", "solve", "cross_entropy", "assert", "norms of rows", "bernoulli"])
def test_what_a_backend_of_ones_own_makes_retreats_as_well(name, caught):
    def backend(graph, examples):
        return graph.forward

    torch._dynamo.reset()
    want = effects(lambda f: f, *CASES[name], caught)
    assert same(effects(lambda f: torch.compile(f, backend=backend), *CASES[name], caught), want, 1e-6)


def test_errors_of_a_backend_are_its_own():
    def backend(graph, examples):
        def run(*args):
            raise ValueError("of the backend")

        return run

    with pytest.raises(ValueError, match="of the backend"):
        torch.compile(lambda a, i: a[i], backend=backend)(x(5), T([0, 4]))


def test_a_capture_given_up_within_vmap_leaves_no_batch_behind(monkeypatch):
    """Libraries that replace parts of `vmap` have it run as code of theirs, which a graph break then leaves in the middle."""
    from flambeau._functorch import vmap as parts

    own = parts._unwrap_batched
    monkeypatch.setattr(parts, "_unwrap_batched", lambda *args: own(*args))

    def f(x):
        def inner(row):
            torch._dynamo.graph_break()
            return row * 2

        return torch.vmap(inner)(x) + torch.rand(2)

    x = torch.arange(4.0).view(2, 2)
    g = torch.compile(f)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = f(x)
        torch.manual_seed(seed)
        assert torch.equal(g(x), expected)
    torch.rand(2)
