"""Checkpointed parts of compiled functions: computed again in the backward pass, so that a program needs less memory; values as in eager."""

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._capture.joint import CompiledFunctionBackward
from flambeau._eager import large
from flambeau.nn import functional as F
from flambeau.utils.checkpoint import checkpoint, checkpoint_sequential

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")
WIDE = 64 * 256 * 4  # bytes of one value between layers


class Block(nn.Module):
    def __init__(self, drop=0.0):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(64), nn.Linear(64, 256), nn.Linear(256, 64)
        self.drop = nn.Dropout(drop)

    def forward(self, x):
        return x + self.drop(self.down(F.gelu(self.up(self.norm(x)))))


def plainly(block, x):
    return block(x)


def again(block, x):
    return checkpoint(block, x, use_reentrant=False)


def again_with_reentry(block, x):
    return checkpoint(block, x, use_reentrant=True)


def within(block, x):
    return checkpoint(lambda x: again(block, x).sin(), x, use_reentrant=False)


def sines(block, x):
    return block(x).sin()


def in_place(block, x):
    def part(x):
        y = block(x)
        y.mul_(2).add_(block(x))
        return y.tanh_()

    return checkpoint(part, x, use_reentrant=False)


def closed_over(block, x):
    y = x * 2
    return checkpoint(lambda x: block(x) + y, x, use_reentrant=False)


def training(call, depth=6, drop=0.0, optimize=True, dtype=torch.float32):
    """(a training step, its model)."""
    torch.manual_seed(0)
    model = nn.ModuleList(Block(drop) for _ in range(depth))
    model, first, head = model.to(dtype), nn.Linear(64, 64, dtype=dtype), nn.Linear(64, 4, dtype=dtype)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters(), *first.parameters()], lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        h = first(x)
        for block in model:
            h = call(block, h)
        loss = F.cross_entropy(head(h), y)
        loss.backward()
        if optimize:
            optimizer.step()
        return loss.detach()

    return step, nn.ModuleList([model, first, head])


def batch(dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    return torch.randn(64, 64, generator=g).to(dtype), torch.randint(0, 4, (64,), generator=g)


def planned(step):
    """Bytes of the arena of the last program of a compiled function."""
    return step._captures.first.entries[0].program.run.compiled.arena_size


@pytest.mark.parametrize("call", [again, again_with_reentry, within, in_place, closed_over])
def test_values_are_those_of_eager(call):
    """In float64: steps that follow one another let small differences grow."""
    x, y = batch(torch.float64)
    made, model = training(call, 4, dtype=torch.float64)
    expected = [made(x, y) for _ in range(4)]
    other, twin = training(call, 4, dtype=torch.float64)
    compiled = torch.compile(other, fullgraph=True)
    found = [compiled(x, y) for _ in range(4)]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-9, atol=1e-9)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-8, atol=1e-9)
    assert not compiled._captures.breaks


def memory(call, **options):
    compiled = torch.compile(training(call, **options)[0], fullgraph=True)
    for _ in range(2):
        compiled(*batch())
    return planned(compiled)


def test_a_checkpointed_step_needs_less_memory():
    """Each block but the one in work holds what goes into it, and nothing else: of ten values as wide as the batch, one."""
    held, less = memory(plainly), memory(again)
    assert less < 0.5 * held, (less, held)
    assert memory(again, depth=12) - less <= 7 * WIDE / 4  # six blocks more, a value each
    assert memory(again_with_reentry) == less


def test_parts_within_parts():
    held, less = memory(lambda block, x: sines(block, x)), memory(within)
    assert less < 0.6 * held, (less, held)


def test_what_was_drawn_is_kept():
    """The second computation draws nothing: masks are those of the first, as the first state of the generator would give them again."""
    made, model = training(again, drop=0.5)
    other, twin = training(again, drop=0.5)
    compiled = torch.compile(other, fullgraph=True)
    for _ in range(3):
        torch.manual_seed(5)
        expected = made(*batch())
        left = torch.rand(3)
        torch.manual_seed(5)
        found = compiled(*batch())
        assert torch.equal(torch.rand(3), left)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-4, atol=1e-6)


def test_a_part_that_writes_what_is_outside_is_kept():
    total = torch.zeros(64)

    def counted(block, x):
        def part(x):
            total.add_(x.detach().sum(0))
            return block(x).tanh()

        return checkpoint(part, x, use_reentrant=False)

    step = torch.compile(training(counted, depth=1)[0], fullgraph=True)
    step(*batch())
    once = total.clone()
    assert once.abs().sum() > 0


def test_what_goes_in_is_written_before_the_backward_pass():
    """Then the program keeps what eager code would refuse, or reads as it was."""
    w = torch.randn(8, 8, requires_grad=True)

    def f(x):
        h = x * 2
        y = checkpoint(lambda h: (h @ w).tanh(), h, use_reentrant=False)
        h.add_(1)
        return torch.autograd.grad((y * h).sum(), w)[0]

    def plain(x):
        h = x * 2
        y = (h.clone() @ w).tanh()
        h = h + 1
        return torch.autograd.grad((y * h).sum(), w)[0]

    x = torch.randn(8, 8)
    try:
        expected = f(x)
    except RuntimeError:
        expected = None
    try:
        found = torch.compile(f)(x)
    except RuntimeError:
        found = None
    assert (found is None) == (expected is None)


@pytest.mark.parametrize("call", [again, within])
def test_a_backward_pass_outside(call):
    """Of a compiled model in eager training: the forward program saves what goes into parts, the backward program computes them again."""
    _, model = training(call)

    def forward(x):
        h = model[1](x)
        for block in model[0]:
            h = call(block, h)
        return model[2](h)

    x = batch()[0]
    saved = {}
    for name, f in (("again", forward), ("plainly", lambda x: plain_forward(model, x))):
        out = torch.compile(f, fullgraph=True)(x)
        assert isinstance(out.grad_fn, CompiledFunctionBackward)
        made = [t for t in out.grad_fn.saved if t is not None]
        saved[name] = sum(t.nbytes for t in made if getattr(t, "nbytes", 0) and not isinstance(t, torch.Tensor))
        model.zero_grad()
        out.square().mean().backward()
        found = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        f(x).square().mean().backward()
        for p, g in zip(model.parameters(), found, strict=True):
            torch.testing.assert_close(g, p.grad, rtol=1e-4, atol=1e-6)
    if call is again:
        assert saved["again"] < 0.3 * saved["plainly"], saved


def plain_forward(model, x):
    h = model[1](x)
    for block in model[0]:
        h = block(h)
    return model[2](h)


def test_the_backward_program_holds_one_part_at_a_time():
    def forward(model, call, x):
        h = model[1](x)
        for block in model[0]:
            h = call(block, h)
        return model[2](h)

    arenas = []
    for depth in (4, 8):
        _, model = training(again, depth=depth)
        out = torch.compile(lambda x, model=model: forward(model, again, x), fullgraph=True)(batch()[0])
        arenas.append(out.grad_fn.joint.backward.arena_size)
    assert arenas[1] - arenas[0] < WIDE


def test_in_sequence():
    torch.manual_seed(0)
    model = nn.Sequential(*(Block() for _ in range(6)))

    def step(x, y):
        model.zero_grad()
        loss = F.cross_entropy(checkpoint_sequential(model, 3, x, use_reentrant=False), y)
        loss.backward()
        return loss.detach()

    compiled = torch.compile(step, fullgraph=True)
    expected = step(*batch())
    grads = [p.grad.clone() for p in model.parameters()]
    torch.testing.assert_close(compiled(*batch()), expected)
    for p, g in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)


def test_sizes_that_change():
    made, _ = training(again, depth=2, optimize=False)
    compiled = torch.compile(made, fullgraph=True)
    for n in (64, 48, 32, 20):
        x, y = batch()
        torch.testing.assert_close(compiled(x[:n], y[:n]), made(x[:n], y[:n]), rtol=1e-5, atol=1e-6)
