"""A capture computes nothing that it knows to lie somehow: and tells what it told when it computed."""

import os
import subprocess
import sys

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._capture import geometry
from flambeau._eager import call, large


@pytest.fixture
def computed(monkeypatch):
    """The operators that are computed, by captures that begin knowing nothing."""
    seen = []
    real = call.computed
    monkeypatch.setattr(call, "computed", lambda op, values: seen.append(op.name) or real(op, values))
    monkeypatch.setattr(geometry, "_facts", {})
    monkeypatch.setattr(geometry.Geometry, "place", lambda self: None)
    return seen


def step_of(model):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def test_the_second_capture_computes_moves_only(computed):
    def f(x, y):
        return (x @ y).softmax(-1).sort().values.T.contiguous() + torch.rand(4)

    x, y = torch.randn(4, 3), torch.randn(3, 4)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        computed.clear()
        found.append(torch.compile(f, backend=lambda gm, _: gm.forward)(x, y))
        if len(found) == 1:
            first = len(computed)
    torch.manual_seed(0)
    torch.testing.assert_close(found[0], f(x, y))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert found[0].stride() == found[1].stride()
    assert len(computed) < first


def test_a_step_writes_nothing_while_it_is_captured(computed):
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Linear(3, 200), nn.Tanh(), nn.Linear(200, 2))
    theirs = nn.Sequential(nn.Linear(3, 200), nn.Tanh(), nn.Linear(200, 2))
    theirs.load_state_dict(mine.state_dict())
    compiled, eager = torch.compile(step_of(mine)), step_of(theirs)
    for _ in range(4):
        x, y = torch.randn(8, 3), torch.randn(8, 2)
        torch.testing.assert_close(compiled(x, y), eager(x, y))
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_layouts(computed, rows):
    def f(x):
        y = x.transpose(0, 1) * 2
        z = torch.nn.functional.conv2d(x[None, None].to(memory_format=torch.channels_last), torch.ones(2, 1, 1, 1))
        return y, y.cumsum(0), z, x.topk(2), torch.empty_like(y).fill_(1.0), x.expand(2, *x.shape) + 1

    x = torch.randn(rows, 4)
    for _ in range(2):
        got, want = torch.compile(f, backend="eager", dynamic=False)(x), f(x)
        for a, b in zip(torch.utils._pytree.tree_leaves(got), torch.utils._pytree.tree_leaves(want), strict=True):
            torch.testing.assert_close(a, b)
            assert (a.stride(), a.dtype) == (b.stride(), b.dtype)


def test_elements_that_are_wanted_are_computed(computed):
    def f(x):
        y = x * 2
        if not (y > 0).all():
            raise ValueError("negative")
        return y + 1

    for _ in range(2):
        compiled = torch.compile(f, fullgraph=True)
        assert compiled(torch.ones(3)).tolist() == [3.0] * 3
        with pytest.raises(ValueError, match="negative"):
            compiled(-torch.ones(3))


def test_errors_are_those_of_eager_code(computed):
    def f(x):
        return torch.linalg.cholesky(x @ x.T + torch.eye(3)), x @ torch.ones(4)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="size mismatch"):
            torch.compile(f)(torch.randn(3, 3))


def test_generators_go_on_as_in_eager_code(computed):
    def f(x):
        return nn.functional.dropout(x, 0.5) + torch.randn(3)

    out = []
    for fn in (f, torch.compile(f), torch.compile(f)):
        torch.manual_seed(3)
        out.append((fn(torch.ones(3)), torch.rand(2)))
    for got in out[1:]:
        torch.testing.assert_close(got, out[0], rtol=0, atol=0)


PROGRAM = """
import flambeau as torch
from flambeau import nn
from flambeau._eager import call, large
seen, real = [], call.computed
call.computed = lambda op, values: seen.append(op.name) or real(op, values)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
opt = torch.optim.SGD(model.parameters(), 0.1)
x, y = torch.randn(256, 10), torch.randn(256, 1)
seen.clear()
@torch.compile
def step():
    opt.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    opt.step()
    return loss.detach()
print([float(step()) for _ in range(3)])
print("linear" in seen)
"""


def test_another_process_knows(tmp_path):
    out = []
    for _ in range(2):
        (tmp_path / "program.py").write_text(PROGRAM)
        env = os.environ | {"FLAMBEAU_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, tmp_path / "program.py"], env=env, capture_output=True, text=True, check=True)  # fmt: skip
        out.append(done.stdout.splitlines())
    assert out[0][0] == out[1][0]
    assert (out[0][1], out[1][1]) == ("True", "False")


FIRST = """
import flambeau as torch
from flambeau._backends.cpu import copies, samplers

@torch.compile
def f(x):
    return torch.poisson(x).sum() + torch.cat([x.t(), x.t()]).sum()

f(torch.ones(256, 64))
assert samplers.samplers() is not None and copies._table() is not None
"""


@pytest.mark.skipif(not large.available(), reason="needs native code")
def test_what_a_capture_computes_by_arrays_leaves_kernels_to_the_others(tmp_path):
    environment = os.environ | {"FLAMBEAU_CACHE_DIR": str(tmp_path)}  # with nothing remembered
    subprocess.run([sys.executable, "-c", FIRST], check=True, env=environment)
