"""Random functions of Python, compiled: results, writes and gradients are those of eager, at every call and for other sizes."""

import linecache

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import flambeau as torch
from flambeau._eager import large

pytestmark = pytest.mark.skipif(not large.available(), reason="no kernels can be generated here")

NAMES = ("a", "b", "c")
VALUES = (
    "{x} + {y}", "{x} * {y} - {k}", "{x}.sin()", "{x}.t()", "{x} @ {y}.t() @ {x}", "torch.softmax({x}, {d})", "{x}.relu() + {k}",
    "{x} - {y}.mean({d}, keepdim=True)", "torch.where({x} > {y}, {x}, {k})", "{x}.flip({d})", "torch.cat([{x}, {y}], {d})[:{x}.shape[0], :{x}.shape[1]]",
    "{x}.clone()", "{x}.reshape(-1).reshape({x}.shape)", "({x} * state['scale']).tanh()", "{x}.cumsum({d}) * 0.1", "{x}[::2].sum() + {y}",
    "{x}.amax({d}, keepdim=True) * {y}", "F.layer_norm({x}, {x}.shape[1:])", "{x}.double().abs().sqrt().float()",
)  # fmt: skip
WRITES = (
    "{x}.add_({y}, alpha=0.5)", "{x}.mul_({k})", "{x}[0] = {y}[-1]", "{x}[:, ::2].sub_({k})", "{x}.copy_({y}.flip(0))", "state['calls'] += 1",
    "state['scale'] = state['scale'] * 0.5 + 0.1", "{x}.view(-1)[1:3].fill_({k})", "{x}.clamp_(-2, 2)", "seen.append({x}.shape[0])",
)  # fmt: skip


@st.composite
def functions(draw):
    """The text of a function of three matrices."""
    lines, names = [], list(NAMES)

    def words():
        x, y = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        k = draw(st.sampled_from(("0.5", "-1.25", "2.0", "state['scale']")))
        return {"x": x, "y": y, "k": k, "d": draw(st.sampled_from((0, 1)))}

    for n in range(draw(st.integers(2, 8))):
        kind = draw(st.sampled_from(("value", "value", "write", "branch", "loop")))
        if kind == "value":
            name = f"v{n}"
            lines.append(f"    {name} = {draw(st.sampled_from(VALUES)).format(**words())}")
            if name not in names and ".t()" not in lines[-1].partition("=")[2][-5:]:
                names.append(name)
        elif kind == "write":
            lines.append(f"    {draw(st.sampled_from(WRITES)).format(**words())}")
        elif kind == "branch":
            w = words()
            lines.append(f"    if state['calls'] % 2 == {draw(st.sampled_from((0, 1)))} or {w['x']}.shape[0] > 4:")
            lines.append(f"        {draw(st.sampled_from(WRITES)).format(**words())}")
        else:
            lines.append(f"    for i in range({draw(st.integers(0, 3))}):")
            lines.append(f"        {draw(st.sampled_from(WRITES)).format(**words())}")
    results = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    return "def f(a, b, c, state, seen):\n" + "\n".join(lines) + f"\n    return {', '.join(results)},\n"


def made(text):
    scope = {"torch": torch, "F": torch.nn.functional}
    name = f"<random {hash(text):x}>"
    linecache.cache[name] = len(text), None, text.splitlines(True), name
    exec(compile(text, name, "exec"), scope)
    return scope["f"]


def inputs(rows, columns, seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, columns, generator=g) for _ in NAMES]


def ran(f, calls):
    """What every call gives and leaves, or what it raises."""
    out = []
    state, seen = {"calls": 0, "scale": 0.75}, []
    for args in calls:
        given = [a.clone() for a in args]
        try:
            results = [r.clone() for r in f(*given, state, seen)]
        except Exception as e:
            results = [type(e).__name__]
        out.append([*results, *given, dict(state), list(seen)])
    return out


def agree(x, y):
    if isinstance(x, torch.Tensor):
        return x.shape == y.shape and x.dtype == y.dtype and torch.allclose(x, y, rtol=1e-4, atol=1e-5, equal_nan=True)
    return x == y


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(functions(), st.tuples(st.integers(3, 6), st.integers(3, 6)))
def test_results_writes_and_state(text, shape):
    rows, columns = shape
    calls = [inputs(rows, columns, 1), inputs(rows, columns, 2), inputs(rows + 2, columns, 3), inputs(rows, columns, 4)]
    want = ran(made(text), calls)
    torch._dynamo.reset()
    got = ran(torch.compile(made(text)), calls)
    for n, (xs, ys) in enumerate(zip(got, want, strict=True)):
        for x, y in zip(xs, ys, strict=True):
            assert agree(x, y), f"call {n}: {x} is not {y}\n{text}"


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(functions())
def test_gradients_inside(text):
    """The same functions of parameters' products, with a backward pass and an update in the compiled function."""

    def step_of(f):
        def step(w, args, state, seen):
            out = f(*(x * w for x in args), state, seen)
            loss = sum((o * o).mean() for o in out)
            (g,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                w -= 0.1 * g.clamp(-1, 1)
            return loss.detach()

        return step

    def trained(step):
        w = torch.full((4,), 0.5, requires_grad=True)
        state, seen, out = {"calls": 0, "scale": 0.75}, [], []
        for n in range(3):
            try:
                out.append(step(w, inputs(5, 4, n), state, seen).clone())
            except Exception as e:
                out.append(type(e).__name__)
            out.append(w.detach().clone())
        return [*out, state, seen]

    want = trained(step_of(made(text)))
    torch._dynamo.reset()
    got = trained(torch.compile(step_of(made(text))))
    for x, y in zip(got, want, strict=True):
        assert agree(x, y), f"{x} is not {y}\n{text}"


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(functions())
def test_gradients_outside(text):
    """A compiled function in eager training: its results have a history, its backward pass is a program as well."""

    def trained(f):
        w = torch.full((4,), 0.5, requires_grad=True)
        state, seen, out = {"calls": 0, "scale": 0.75}, [], []
        for n in range(3):
            try:
                results = f(*(x * w for x in inputs(5, 4, n)), state, seen)
                sum((o * o).mean() for o in results).backward()
                out += [r.detach().clone() for r in results]
            except Exception as e:
                out.append(type(e).__name__)
            out.append(None if w.grad is None else w.grad.clone())
        return [*out, state, seen]

    want = trained(made(text))
    torch._dynamo.reset()
    got = trained(torch.compile(made(text)))
    for x, y in zip(got, want, strict=True):
        assert agree(x, y), f"{x} is not {y}\n{text}"
