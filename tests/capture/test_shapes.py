"""Sizes that change: one capture for all of them, the same results as eager code, and what fixes a size after all."""

import copy
import math
import random
import warnings

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

R = torch.randn


def close(got, want):
    """Equal but for the order of sums."""
    if isinstance(want, torch.Tensor):
        assert got.dtype is want.dtype
        assert got.shape == want.shape
        torch.testing.assert_close(got, want, rtol=2e-5, atol=2e-5, equal_nan=True)
    elif isinstance(want, (tuple, list)):
        assert type(got) is type(want)
        for x, y in zip(got, want, strict=True):
            close(x, y)
    else:
        assert type(got) is type(want)
        assert got == want


def captures(compiled):
    return compiled._captures.first.captures


def agree(fn, *calls, count=2, **options):
    """The compiled function gives what the function gives, with this many captures (or one more, where sizes become 1 on the way)."""
    compiled = torch.compile(fn, **options)
    for args in calls:
        close(compiled(*args), fn(*args))
    assert captures(compiled) in (count, count + 1), compiled._captures.first.entries[0].text
    return compiled


SIZES = (3, 4, 5, 17, 64, 2, 300)
W = R(10, 5)


def _rotary(x):
    n, d = x.shape[-2:]
    angles = torch.arange(n)[:, None] / 100 ** (torch.arange(0, d, 2) / d)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), -1).flatten(-2)


def _causal(x):
    n = x.shape[0]
    scores = (x @ x.T / math.sqrt(10)).masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
    return scores.softmax(-1) @ x


def _heads(x):
    n, d = x.shape
    q = x.view(n, 2, d // 2).transpose(0, 1)
    return F.scaled_dot_product_attention(q, q, q, is_causal=True).transpose(0, 1).reshape(n, d)


ROWS = {
    "product": lambda x: (x @ W).relu().sum(1),
    "arithmetic": lambda x: x * x.shape[0] + (x.shape[0] - 1) / 2,
    "numel": lambda x: x.sum() / x.numel() + x.size(0) % 3,
    "reshape": lambda x: x.reshape(-1, 2, x.shape[0]).sum(1),
    "view": lambda x: x.view(x.shape[0] * 2, -1) + x.new_zeros(x.shape[0] * 2, 1),
    "expand": lambda x: x[:, None].expand(x.shape[0], x.shape[0], 10) * torch.ones(x.shape[0], 1, 1),
    "arange": lambda x: x + torch.arange(x.shape[0])[:, None] * 2.0,
    "full": lambda x: torch.full((x.shape[0], 3), x.shape[0]) + torch.zeros_like(x)[:, :3],
    "slices": lambda x: x[: x.shape[0] - 1] - x[1:],
    "half": lambda x: x[: x.shape[0] // 2].mean(0),
    "halves": lambda x: torch.cat([x[x.shape[0] // 2 :], x[: x.shape[0] // 2]]),
    "step": lambda x: x[::2].sum(0),
    "cat": lambda x: torch.cat([x, x.flip(0), x[:1]], 0),
    "stack": lambda x: torch.stack([x, x + 1], 1).flatten(0, 1),
    "mean": lambda x: (x - x.mean(0)) / x.std(0),
    "var": lambda x: x.var(0, correction=0) + x.var(),
    "softmax": lambda x: x.softmax(0) + x.log_softmax(1),
    "norm": lambda x: F.layer_norm(x, (10,)) + F.normalize(x, dim=0),
    "outer": lambda x: (x[:, None] - x[None]).abs().mean(),
    "transposed": lambda x: x.T.contiguous().view(10, -1).T * x,
    "strided": lambda x: (x.T * 2).sum(0) + x.T.sigmoid().sum(0),
    "pad": lambda x: F.pad(x, (1, 2, 0, x.shape[0])),
    "cumsum": lambda x: x.cumsum(0) + x.cumsum(1),
    "where": lambda x: torch.where(x > 0, x, x.shape[0]),
    "gather": lambda x: x.gather(0, torch.arange(x.shape[0] - 1, -1, -1)[:, None].expand(-1, 10)),
    "rows": lambda x: x[torch.arange(x.shape[0]) // 2],
    "chunk": lambda x: torch.cat(x.split(5, 1), 0),
    "rotary": _rotary,
    "causal": _causal,
    "heads": _heads,
    "linear": lambda x: F.linear(x, W.T, torch.ones(5)).tanh(),
    "max": lambda x: x.max(0).values + x.argmax(1).sum() + x.amin(),
    "einsum": lambda x: torch.einsum("ni,nj->nij", x, x[:, :3]),
    "bmm": lambda x: torch.bmm(x[:, None], x[:, :, None]).flatten(),
    "tuple": lambda x: (x.shape[0], x + 1, tuple(x.shape)),
    "unflatten": lambda x: x.unflatten(1, (5, 2)).sum(2),
    "roll": lambda x: x.roll(1, 0) + x.sort(0).values,
    "repeat": lambda x: x.repeat(2, 1),
    "meshgrid": lambda x: torch.meshgrid(x[:, 0], x[0], indexing="ij")[0] * 2,
    "tri": lambda x: torch.ones(x.shape[0], x.shape[0]).tril() @ x,
    "embedding": lambda x: F.embedding((x * 0).long(), W),
    "loss": lambda x: F.mse_loss(x, x * 2) + F.cross_entropy(x, torch.arange(x.shape[0]) % 10),
    "text": lambda x: x + len(x) + x.dim(),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows(name):
    agree(ROWS[name], *((R(n, 10),) for n in SIZES))


@pytest.mark.parametrize("name", ("product", "reshape", "half", "mean", "causal", "heads", "pad", "loss", "strided"))
def test_gradients(name):
    def step(x):
        x = x.detach().requires_grad_()
        out = ROWS[name](x)
        (out * out).sum().backward()
        return x.grad

    agree(step, *((R(n, 10),) for n in SIZES))


@pytest.mark.parametrize("name", ("product", "mean", "causal"))
def test_gradients_outside(name):
    compiled = torch.compile(ROWS[name])
    for n in SIZES:
        x = R(n, 10).requires_grad_()
        y = x.detach().clone().requires_grad_()
        (compiled(x) ** 2).sum().backward()
        (ROWS[name](y) ** 2).sum().backward()
        close(x.grad, y.grad)
    assert captures(compiled) == 2


def test_two_sizes():
    def f(x, y):
        return (x[:, None] - y[None]).abs().mean()

    agree(f, *((R(n), R(m)) for n, m in ((4, 5), (6, 7), (8, 8), (3, 9), (5, 2))))


def test_a_convolution():
    conv = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(2)).eval()

    def f(x):
        with torch.no_grad():
            return conv(x).mean(-1)

    agree(f, *((R(n, 3, m, m),) for n, m in ((2, 8), (3, 8), (5, 12), (4, 16), (7, 9))), count=3)


def test_a_condition_is_a_guard():
    def f(x):
        return x.mean(0) if x.shape[0] > 4 else x.sum(0)

    agree(f, *((R(n, 10),) for n in (6, 8, 5, 100, 3, 2, 4, 9)), count=3)


def test_zero_and_one_have_captures_of_their_own():
    agree(ROWS["product"], *((R(n, 10),) for n in (3, 4, 1, 0, 1, 0, 5)), count=4)


def test_a_size_that_is_used_as_a_number_of_python_is_fixed():
    def f(x):
        for i in range(x.shape[0]):
            x = x + i
        return x

    agree(f, *((R(n, 10),) for n in (2, 3, 4, 3)), count=3)


def test_integers():
    def f(x, n):
        return torch.zeros(n) + x.sum() + torch.arange(n) * n

    agree(f, *((R(3), n) for n in (4, 5, 9, 2, 100)))


def test_a_number_made_a_size_is_not_forgotten():
    def f(x, n):
        return torch.zeros(n).shape[0] + x

    agree(f, *((R(3), n) for n in (4, 5, 9, 2, 100)))


@pytest.mark.parametrize(
    "how", (lambda w, s: w * s, lambda w, s: torch.add(w, w, alpha=s), lambda w, s: w**s, lambda w, s: w / s)
)
def test_derivatives_do_not_keep_what_a_number_was(how):
    w = torch.ones(3, requires_grad=True)

    def f(s):
        w.grad = None
        how(w, s).sum().backward()
        return w.grad.clone()

    compiled = torch.compile(f)
    for s in (2.0, 3.0, 4.0, 5.5):
        close(compiled(s), f(s))


def test_changing_integers_in_derivatives():
    w = torch.ones(3, requires_grad=True)

    def f(s):
        w.grad = None
        (w * s / (s + 1)).sum().backward()
        return w.grad.clone()

    compiled = torch.compile(f)
    for s in (2, 3, 7, 300, 1000):
        close(compiled(s), f(s))


def test_training_steps():
    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(10, 20), nn.LayerNorm(20), nn.GELU(), nn.Linear(20, 7))

    first, second = model(), model()
    steps = []
    for m in (first, second):
        opt = torch.optim.Adam(m.parameters(), lr=1e-2)

        def step(x, y, m=m, opt=opt):
            opt.zero_grad()
            loss = F.cross_entropy(m(x), y)
            loss.backward()
            opt.step()
            return loss.detach()

        steps.append(step)
    compiled = torch.compile(steps[1])
    for n in (8, 8, 16, 5, 33, 12, 8, 64):
        x, y = R(n, 10), torch.randint(0, 7, (n,))
        close(compiled(x, y), steps[0](x, y))
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        close(p, q)
    assert captures(compiled) == 3  # the first makes the state of the optimizer


def test_random_numbers_are_those_of_eager_code():
    def f(x):
        return x + torch.rand(x.shape[0], 3) * F.dropout(x, 0.5)

    compiled = torch.compile(f)
    for n in (3, 4, 5, 6):
        x = R(n, 3)
        torch.manual_seed(n)
        want = f(x)
        torch.manual_seed(n)
        close(compiled(x), want)


def test_writes():
    def f(x, buffer):
        buffer[: x.shape[0]].copy_(x)
        x.mul_(2)
        return buffer.sum() + x.shape[0]

    compiled = torch.compile(f)
    for n in (3, 4, 5, 6):
        xs, buffers = [R(n, 3)], [R(8, 3)]
        xs.append(xs[0].clone())
        buffers.append(buffers[0].clone())
        close(compiled(xs[0], buffers[0]), f(xs[1], buffers[1]))
        close(xs[0], xs[1])
        close(buffers[0], buffers[1])


def test_layouts():
    def f(x):
        return x.T.reshape(-1) + x.stride(0)

    compiled = torch.compile(f)
    for n in (3, 4, 5, 6):
        for x in (R(n, 4), R(4, n).T, R(n, 8)[:, ::2]):
            close(compiled(x), f(x))


def test_breaks_between():
    log = []

    def f(x):
        y = x * x.shape[0]
        log.append(float(y.sum()))
        return y[: x.shape[0] // 2] + 1

    compiled = torch.compile(f)
    for n in (3, 4, 5, 6, 9):
        x = R(n, 4)
        close(compiled(x), f(x))
        assert math.isclose(log.pop(), log.pop(), rel_tol=1e-5, abs_tol=1e-5)


def test_dynamic_true_and_false():
    agree(ROWS["product"], *((R(n, 10),) for n in SIZES), dynamic=True, count=1)
    agree(ROWS["product"], *((R(n, 10),) for n in (3, 4, 5)), dynamic=False, count=3)


def test_what_a_backend_is_given():
    graphs = []

    def backend(gm, inputs):
        graphs.append(gm)
        return gm.forward

    agree(lambda x: x.view(x.shape[0] * 2, -1) * x.shape[0], *((R(n, 10),) for n in SIZES), backend=backend)
    assert len(graphs) == 2


def test_marks():
    x = R(4, 10)
    torch._dynamo.mark_dynamic(x, 0)
    agree(ROWS["product"], (x,), (R(7, 10),), (R(9, 10),), count=1)
    y = R(4, 10)
    torch._dynamo.mark_static(y, 0)
    compiled = torch.compile(ROWS["product"])
    for n in (3, 4, 5):
        z = R(n, 10)
        torch._dynamo.mark_static(z)
        close(compiled(z), ROWS["product"](z))
    assert captures(compiled) == 3
    with pytest.raises(
        RuntimeError, match=r"You marked x.shape\[0\] as dynamic but your code specialized it to be a constant \(4\)"
    ):
        torch.compile(lambda x: x + sum(range(x.shape[0])))(x)
    z = R(4, 10)
    torch._dynamo.maybe_mark_dynamic(z, 0)
    torch.compile(lambda x: x + sum(range(x.shape[0])))(z)


def test_the_limit_names_the_guard():
    compiled = torch.compile(ROWS["product"], dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=3), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for n in range(2, 8):
            x = R(n, 10)
            close(compiled(x), ROWS["product"](x))
    assert len(seen) == 1
    assert "recompile_limit" in str(seen[0].message)
    assert "x: Float[2, 10]" in str(seen[0].message)


def test_error_on_recompile():
    compiled = torch.compile(ROWS["product"])
    compiled(R(3, 10))
    with torch._dynamo.config.patch(error_on_recompile=True), pytest.raises(torch._dynamo.exc.RecompileError):
        compiled(R(4, 10))


def _programs(seed):
    """A random function of x (n, 6) and y (n, m)."""
    draw = random.Random(seed)
    lines = []

    def line(text):
        lines.append(text)

    rows = ["x", "y[:, :2].repeat(1, 3)"]
    for i in range(draw.randint(3, 7)):
        a, b = draw.choice(rows), draw.choice(rows)
        line(f"v{i} = " + draw.choice((
            f"{a} + {b}", f"{a} * {b}.shape[0]", f"{a} - {b}.mean(0)", f"torch.cat([{a}, {b}])[: {a}.shape[0]]", f"{a}.softmax(0)",
            f"{a}.reshape(6, -1).T.reshape({a}.shape[0], 6)", f"torch.where({a} > 0, {a}, {b})", f"({a}.T @ {b} @ {a}.T).T",
            f"{a} + torch.arange({a}.shape[0])[:, None]", f"{a} / {a}.numel()", f"{a}[:, None].expand(-1, 3, -1).sum(1)",
            f"torch.relu({a}) if {a}.shape[0] > 7 else torch.sigmoid({a})", f"{a}.cumsum(0)", f"{a}.flip(0) * ({a}.shape[0] // 2)",
            f"F.pad({a}, (0, 0, 1, 0))[:-1]", f"{a} + y.sum() / y.shape[1]", f"{a}.view(-1)[: {a}.shape[0] * 6].view(-1, 6)",
        )))  # fmt: skip
        rows.append(f"v{i}")
    text = "def f(x, y):\n" + "".join(f"    {t}\n" for t in lines) + f"    return {' + '.join(rows[2:])}\n"
    scope = {"torch": torch, "F": F}
    exec(text, scope)
    return scope["f"], text


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed):
    f, text = _programs(seed)

    def step(x, y):
        x = x.detach().requires_grad_()
        out = f(x, y) + x
        (out * torch.linspace(0, 1, 6)).sum().backward()
        return out.detach(), x.grad

    draw = random.Random(seed)
    for fn in (f, step):
        compiled = torch.compile(fn)
        for _ in range(6):
            n, m = draw.randint(1, 20), draw.randint(2, 9)
            x, y = R(n, 6), R(n, m)
            close(compiled(copy.copy(x), y), fn(x, y))
        assert captures(compiled) <= 5, text


def test_positions_found_in_lanes():
    """An index that each lane has found for itself is no place where lanes lie side by side."""
    agree(
        lambda x: (x.max(0).values, x.min(1).values, x.max(0).values + x.argmax(1).sum()),
        (R(4, 10),),
        (R(70, 33),),
        count=1,
    )


MISFITS = {
    "product": lambda x, y: x @ y.t(),
    "linear": lambda x, y: F.linear(x, y),
    "vector": lambda x, y: x @ y[0],
    "select": lambda x, y: x.select(0, y.shape[0] - 1),
    "item": lambda x, y: x[y.shape[0] - 1],
    "sum": lambda x, y: x + y,
    "cat": lambda x, y: torch.cat([x, y.t()]),
    "gather": lambda x, y: x.gather(1, (y * 0).long()),
    "index_copy": lambda x, y: x.index_copy(1, torch.arange(x.shape[1]), y),
    "reshape": lambda x, y: x.view(y.shape),
}


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("name", MISFITS)
def test_sizes_that_do_not_fit_each_other_any_more(name, used):
    def fn(x, y):
        made = MISFITS[name](x, y)
        return made if used else x * 2

    def told(fn, *sizes):
        try:
            return fn(*(torch.arange(n * m * 1.0).reshape(n, m) * 0.1 for n, m in sizes))
        except (RuntimeError, IndexError) as error:
            return type(error).__name__, str(error)

    compiled = torch.compile(fn)
    for sizes in (
        ((3, 3), (3, 3)),
        ((5, 5), (5, 5)),
        ((7, 7), (7, 7)),
        ((7, 8), (7, 9)),
        ((8, 7), (9, 7)),
        ((2, 3), (3, 2)),
    ):
        close(told(compiled, *sizes), told(fn, *sizes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])  # programs have a form for one of them
def test_what_is_written_is_counted_once_at_every_size(dtype):
    def fn(x):
        x.exp_()
        x[1:].mul_(2)
        return x.sum()

    compiled = torch.compile(fn)
    for n in (4, 5, 7, 7):
        x, y = (torch.arange(n).to(dtype) * 0.25 for _ in range(2))
        close(compiled(x), fn(y))
        close(x, y)
        assert x._version == y._version
