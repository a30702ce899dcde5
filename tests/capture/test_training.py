"""Whole training steps, captured: forward, backward and update in one program, equal to eager."""

import pytest

import flambeau as torch
from flambeau import nn


def _case(optimizer, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    made = getattr(torch.optim, optimizer)(model.parameters(), **options)

    def step(x, y):
        made.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        made.step()
        return loss

    return model, step


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("SGD", {"lr": 0.1}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        ("Adam", {"lr": 0.01}),
        ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
        ("AdamW", {"lr": 0.01}),
        ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
        ("Adadelta", {"lr": 0.1}),
    ],
)
def test_one_program(optimizer, options):
    x, y = torch.randn(32, 6), torch.randn(32, 1)
    model, step = _case(optimizer, **options)
    expected = [step(x, y).item() for _ in range(6)]
    other, step = _case(optimizer, **options)
    compiled = torch.compile(step, backend="eager", fullgraph=True)
    found = [compiled(x, y).item() for _ in range(6)]
    stateless = optimizer == "SGD" and "momentum" not in options
    assert len(compiled._captures.first.entries) == 2 - stateless  # before and after the optimizer has its state
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)
        assert torch.allclose(p.grad, q.grad, atol=1e-6)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["Adagrad", "NAdam", "Adamax", "RAdam"])
def test_split_steps(optimizer):
    """Optimizers that read their counters in Python: the step happens between programs."""
    x, y = torch.randn(32, 6), torch.randn(32, 1)
    model, step = _case(optimizer)
    expected = [step(x, y).item() for _ in range(4)]
    other, step = _case(optimizer)
    compiled = torch.compile(step, backend="eager")
    found = [compiled(x, y).item() for _ in range(4)]
    assert found == pytest.approx(expected, rel=1e-5)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_a_second_process_compiles_nothing(tmp_path):
    """A training step: object code is found on disk, and nothing else is compiled."""
    import os
    import subprocess
    import sys

    text = """
import flambeau as torch
from flambeau import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
opt = torch.optim.Adam(model.parameters())
x, y = torch.randn(256, 10), torch.randn(256, 1)
@torch.compile
def step():
    opt.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    opt.step()
    return loss.detach()
print([float(step()) for _ in range(4)])
"""
    out = []
    for sealed in ("0", "1"):
        env = os.environ | {"FLAMBEAU_CACHE_DIR": str(tmp_path), "FLAMBEAU_ASSERT_CACHED": sealed}
        out.append(
            subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True).stdout
        )
    assert out[0] == out[1]


def test_gradients_of_another_kind_are_refused_as_in_eager():
    """A real gradient of a complex output: the capture raises what eager raises."""
    x = torch.randn(3, dtype=torch.complex64, requires_grad=True)

    def step(x):
        y = x * 2
        y.backward(torch.ones(3))
        return x.grad

    with pytest.raises(RuntimeError, match=r"Mismatch in dtype: grad_output\[0\] has a dtype of torch\.float32"):
        step(x)
    with pytest.raises(RuntimeError, match=r"Mismatch in dtype: grad_output\[0\] has a dtype of torch\.float32"):
        torch.compile(step)(x)


SCHEDULES = {
    "MultiStepLR": {"milestones": [9, 21]},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 40},  # another tuple of betas at each step
    "CosineAnnealingLR": {"T_max": 20},  # a cosine of the count
    "CosineAnnealingWarmRestarts": {"T_0": 7},
    "ExponentialLR": {"gamma": 0.9},
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.filterwarnings("error")  # one that it was captured too often, above all
def test_schedules_within_the_step(name):
    def run(wrap):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **SCHEDULES[name])
        x, y = torch.randn(32, 6), torch.randn(32, 1)

        def step():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            return loss

        step = wrap(step)
        losses = [step().item() for _ in range(30)]
        group = optimizer.param_groups[0]
        return losses, group["lr"], group["betas"]

    found, expected = run(torch.compile), run(lambda f: f)
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(expected[0]), rtol=1e-5, atol=1e-6)
    assert found[1:] == expected[1:]


@pytest.mark.parametrize("counter", ["list", "attribute"])
def test_accumulated_gradients_are_captured_a_few_times(counter):
    model, _ = _case("SGD", lr=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen, held = [0], type("Held", (), {"n": 0})()

    def step(x, y):
        loss = nn.functional.mse_loss(model(x), y) / 4
        loss.backward()
        if counter == "list":
            seen[0] += 1
            n = seen[0]
        else:
            held.n += 1
            n = held.n
        if n % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()

    f, x, y = torch.compile(step, fullgraph=True, backend="eager"), torch.randn(8, 6), torch.randn(8, 1)
    for _ in range(24):
        f(x, y)
    assert seen[0] + held.n == 24
    assert f._captures.first.captures <= 6


def test_operators_of_ones_own_with_derivatives():
    @torch.library.custom_op("captured::scaled", mutates_args=())
    def scaled(x: torch.Tensor, w: torch.Tensor, n: int, offsets: torch.Tensor) -> torch.Tensor:
        return x * w * n + int(offsets.sum())  # kernels are free to look at elements

    scaled.register_fake(lambda x, w, n, offsets: torch.empty_like(x))

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], inputs[1] * 2)
        ctx.n, ctx.offsets = inputs[2:]

    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w * 0.5 * ctx.n, g * x * ctx.n * (ctx.offsets.sum() / ctx.offsets.sum()), None, None

    scaled.register_autograd(backward, setup_context=setup)

    @torch.library.custom_op("captured::joined", mutates_args=())
    def joined(xs: list[torch.Tensor], k: float) -> list[torch.Tensor]:
        return [x * k for x in xs]

    joined.register_fake(lambda xs, k: [torch.empty_like(x) for x in xs])
    joined.register_autograd(
        lambda ctx, gs: ([g * ctx.k for g in gs], None),
        setup_context=lambda ctx, inputs, output: setattr(ctx, "k", inputs[1]),
    )

    def step(x, w, offsets):
        y = scaled(x.sin(), w, 3, offsets)
        a, b = joined([y.cos(), x], 2.0)
        loss = (a * b).sum()
        loss.backward()
        return loss

    found = []
    for f in (step, torch.compile(step, fullgraph=True)):
        torch.manual_seed(0)
        out = []
        for n in range(3):
            x, w = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
            out += [f(x, w, torch.tensor([1, 2 + n])).detach(), x.grad, w.grad]
        found.append(out)
    torch.testing.assert_close(*found)
