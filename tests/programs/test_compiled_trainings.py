"""Training steps of the usual kinds as one program: 500 losses are those of eager, and no more memory is in use than in eager."""

import mmap
import pathlib
import subprocess
import sys

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._eager import large

F = nn.functional
pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")
STEPS = 500


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm, self.head = nn.Embedding(12, 8), nn.LSTM(8, 8, 2, batch_first=True), nn.Linear(8, 12)

    def forward(self, x):
        return self.head(self.lstm(self.embed(x))[0])


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm1, self.norm2, self.qkv, self.out = (
            nn.LayerNorm(d),
            nn.LayerNorm(d),
            nn.Linear(d, 3 * d),
            nn.Linear(d, d),
        )
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (p.view(b, t, 2, -1).transpose(1, 2) for p in self.qkv(self.norm1(x)).split(d, 2))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(12, 16), nn.Embedding(6, 16)
        self.blocks, self.norm = nn.ModuleList(Block(16) for _ in range(2)), nn.LayerNorm(16)
        self.head = nn.Linear(16, 12, bias=False)

    def forward(self, x):
        x = self.embed(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return F.relu(x + self.norm2(self.second(F.relu(self.norm1(self.first(x))))))


def _mlp():
    x, y = torch.randn(16, 20), torch.randint(0, 5, (16,))
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))
    return model, torch.optim.Adam(model.parameters(), lr=1e-3), lambda: F.cross_entropy(model(x), y)


def _convnet():
    x, y = torch.randn(4, 1, 8, 8), torch.randint(0, 5, (4,))
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), Residual(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    )
    return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), lambda: F.cross_entropy(model(x), y)


def _tokens(model, optimizer):
    x, y = torch.randint(0, 12, (3, 6)), torch.randint(0, 12, (3, 6))
    return model, optimizer(model.parameters(), lr=1e-3), lambda: F.cross_entropy(model(x).flatten(0, 1), y.flatten())


CASES = {
    "mlp": _mlp,
    "convnet": _convnet,
    "lstm": lambda: _tokens(Lstm(), torch.optim.Adam),
    "gpt": lambda: _tokens(Gpt(), torch.optim.AdamW),
}


def losses_of(case, compiled):
    """The losses of a training, and what it leaves."""
    torch.manual_seed(0)
    model, optimizer, loss_of = CASES[case]()

    def step():
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = torch.compile(step) if compiled else step
    losses = torch.stack([run().clone() for _ in range(STEPS)])
    return losses, run


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_eager(case):
    expected, _ = losses_of(case, False)
    found, step = losses_of(case, True)
    assert (
        len(step._captures.first.entries) == 2
    )  # before and after the optimizer has its state; nothing is captured again
    assert expected[-1] < 0.9 * expected[0]
    assert (found - expected).abs().max() <= 1e-4


MEMORY = """
import ctypes, gc, importlib, sys
from flambeau import _alias
torch = _alias.install()
from flambeau._backends.cpu import memory
memory.LIMIT = 64  # the pool counts small arrays, too
torch.manual_seed(0)
torch.set_num_threads(2)
sys.path.insert(0, sys.argv[1])
step = getattr(importlib.import_module("training"), sys.argv[2])()
step = torch.compile(step) if sys.argv[3] == "compiled" else step
for _ in range(3):
    step()
gc.collect()
pool = memory.install()
between = pool.bytes(memory.USED)
ctypes.c_int64.from_address(pool.start + memory.HIGH).value = 0
for _ in range(2):
    step()
found = pool.bytes(memory.HIGH) - between
if sys.argv[3] == "compiled":
    program = step._captures.first.entries[0].program.run.compiled
    found = found if program.calls else program.plan.most
print(found)
"""
BENCH = pathlib.Path(__file__).parents[2] / "bench" / "cases"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is in use at one time is counted by the pool")
@pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")
@pytest.mark.parametrize("case", ["regression", "mlp", "conv_tiny", "resnet", "lstm", "gpt"])
def test_a_compiled_step_needs_no_more_memory_than_an_eager_one(case):
    """Bytes that a step has in use at one time beside what is there between steps: as planned, or (eager steps, and programs with calls in
    Python) as the pool counts them. They are the same in every run on one kind of processor. To a page: masks made before anything can be
    refused lie beside the block that they could lie in later."""
    peaks = {}
    for how in ("eager", "compiled"):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, BENCH, case, how], capture_output=True, text=True, check=True
        )
        peaks[how] = int(done.stdout)
    assert peaks["compiled"] < peaks["eager"] + mmap.PAGESIZE, peaks
