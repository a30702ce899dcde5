"""What making a schedule costs: deep models are made of equal layers, and each kind is looked at once."""

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._capture import schedule, stored
from flambeau._eager import large
from flambeau._kernel import loops
from flambeau.nn import functional as F

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 2 * n), nn.Linear(2 * n, n)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


def trials(depth, monkeypatch, step):
    """How often loops are made on trial for a step of a model as deep, and how many rounds it takes to tell what is kept."""
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(48) for _ in range(depth)), nn.LayerNorm(48))
    monkeypatch.setattr(stored, "find", lambda key: None)
    schedule._lowered.clear()
    made, rounds = [], []
    monkeypatch.setattr(schedule, "lower", lambda *args, lower=schedule.lower: (made.append(1), lower(*args))[1])
    arrange = schedule.Schedule.arrange
    monkeypatch.setattr(schedule.Schedule, "arrange", lambda self, *args: (rounds.append(1), arrange(self, *args))[1])
    x = torch.randn(4, 16, 48)
    got = step(torch.compile(model, fullgraph=True), x)
    monkeypatch.undo()
    torch.testing.assert_close(got, step(model, x), rtol=1e-4, atol=1e-5)
    return len(made), len(rounds)


def forward(model, x):
    with torch.no_grad():
        return model(x)


def backward(model, x):
    model.zero_grad()
    loss = model(x).pow(2).mean()
    loss.backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("step", [forward, backward])
def test_deep_models_cost_little_more_than_shallow_ones(step, monkeypatch):
    made, rounds = trials(5, monkeypatch, step)
    more, further = trials(11, monkeypatch, step)
    assert made
    assert more <= 1.5 * made + 6
    assert further <= rounds + 1


def tried(f, monkeypatch, *args):
    """How often loops are made on trial for a function, and how many words of expressions they go through."""
    monkeypatch.setattr(stored, "find", lambda key: None)
    schedule._lowered.clear()
    made, words = [], []
    pull = loops.Lowering.pull
    monkeypatch.setattr(schedule, "lower", lambda *args, lower=schedule.lower: (made.append(1), lower(*args))[1])
    monkeypatch.setattr(loops.Lowering, "pull", lambda self, *args: (words.append(1), pull(self, *args))[1])
    got = torch.compile(f, fullgraph=True)(*args)
    monkeypatch.undo()
    torch.testing.assert_close(got, f(*args), rtol=1e-4, atol=1e-5)
    return len(made), len(words)


def scores(steps):
    """Forward probabilities of a hidden chain: each step reduces over what the step before has reduced."""

    def f(x, table):
        for _ in range(steps):
            x = torch.logsumexp(x.unsqueeze(2) + table, 1)
        return x

    return f


def balanced(steps):
    """Sinkhorn's iteration: every step reads the one matrix, and waits for the step before."""

    def f(m):
        u = torch.ones(m.shape[0])
        for _ in range(steps):
            v = 1 / (m * u[:, None]).sum(0)
            u = 1 / (m * v).sum(1)
        return u[:, None] * m * v

    return f


def test_reductions_of_reductions_are_told_apart_at_once(monkeypatch):
    x, table = torch.randn(3, 5), torch.randn(5, 5)
    made, words = tried(scores(6), monkeypatch, x, table)
    more, further = tried(scores(24), monkeypatch, x, table)
    assert more <= made + 12
    assert further <= 2 * words


def test_kernels_that_wait_for_one_another_are_not_tried_together(monkeypatch):
    m = torch.rand(6, 6) + 0.1
    made, words = tried(balanced(8), monkeypatch, m)
    more, further = tried(balanced(32), monkeypatch, m)
    assert more <= made + 8
    assert further <= 4 * words
