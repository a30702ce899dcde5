"""What making a schedule costs: deep models are made of equal layers, and each kind is looked at once."""

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._capture import schedule, stored
from flambeau._eager import large
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
