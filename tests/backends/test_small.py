"""Small calls: a builtin that walks NumPy's inner loops gives the bits that NumPy's calls give."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")
pytest.importorskip("scipy.special")

import flambeau as torch
from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import K
from flambeau._eager import derived
from flambeau._eager.derive import SCOPE
from flambeau._kernel.record import Record, parameter, toposort
from flambeau._operators import load
from flambeau._operators.op import REGISTRY
from flambeau._values.dtype import float64

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.75, 3.0, np.inf, -np.inf, np.nan, 1e-40, 88.9, -104.0, 710.0, 1e30]


@pytest.fixture(scope="module")
def builtins():
    found = small.builtins()
    if found is None:
        pytest.skip("structs differ here")
    return found


def arrays(n, count, dtype):
    rng = np.random.default_rng(n)
    out = []
    for i in range(count):
        a = rng.standard_normal(n)
        a[: len(EDGES)] = np.roll(EDGES, i * 4)[:n]
        out.append(a.astype(dtype))
    return out


def read(root, params, values):
    """The array reading of an expression, word by word."""
    known = dict(zip(params, values, strict=True))
    d = values[0].dtype
    with np.errstate(all="ignore"):
        for e in toposort(root):
            if e in known:
                continue
            xs = [known[s] for s in e.src]
            known[e] = np.asarray(e.arg, d) if e.op == "const" else xs[0] if e.op == "expand" else getattr(K, e.op)(*xs)
    return known[root]


def same(a, b):
    assert type(a) is np.ndarray and a.shape == b.shape and a.dtype is b.dtype and a.flags.carray
    assert a.tobytes() == np.asarray(b).tobytes()


def expressions():
    load()
    for op in dict.fromkeys(REGISTRY.values()):
        if op.kind != "pointwise" or op.run is not op.body:
            continue
        tensors = [p.name for p in op.params if p.is_tensor]
        try:
            root, params = derived.trace(
                op, {p.name: p.default for p in op.params if not p.is_tensor}, tensors, float64
            )
            small.traced(root, params)
        except Exception:
            continue
        yield pytest.param(root, params, id=op.overload)


@pytest.mark.parametrize(("root", "params"), list(expressions()))
def test_bits_of_the_array_reading(builtins, root, params):
    call = builtins.make(small.traced(root, params), len(params))
    for dtype in small.DTYPES:
        for n in (0, 1, 7, 16, 1023, 1025, 2500):
            xs = arrays(n, len(params), dtype)
            found = call(*xs)
            if found is not None:  # the ufunc may have no loop for a dtype
                same(found, read(root, params, xs))
        if len(params) > 1:
            xs = arrays(40, len(params), dtype)
            for i in range(len(params)):
                mixed = [x if i == j else x.reshape(5, 8) for j, x in enumerate(xs)]
                mixed[i] = xs[i][3].reshape(())
                found = call(*mixed)
                if found is not None:
                    same(found, read(root, params, mixed))


def test_what_it_leaves_to_others(builtins):
    x, y = (parameter(i, (), float64) for i in range(2))
    call = builtins.make(small.traced(x + y, [x, y]), 2)
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert np.array_equal(call(a, a), a + a)
    assert call(a, np.asarray(2, np.float32)).shape == (4, 6)
    assert call(np.asarray(np.float32(1)), np.asarray(np.float32(2))).shape == ()
    frozen = a.copy()
    frozen.flags.writeable = False
    assert np.array_equal(call(frozen, a), a + a)
    odd = np.zeros(4 * 24 + 1, np.uint8)[1:].view(np.float32).reshape(4, 6)
    for args in [(a, a.astype(np.float64)), (a, a.T), (a, a[0]), (a.T, a.T), (a,), (), (a, a, a), (a, 2.0), (2.0, a), (odd, odd),
                 (a, a.view(np.matrix)), (a.astype(int), a.astype(int)), (np.zeros(small.MOST, np.float32),) * 2]:  # fmt: skip
        assert call(*args) is None


def test_temporaries_are_reused(builtins):
    """A long chain needs few of them; one with more than there is room for has no program."""
    k = Record()
    x = parameter(0, (), float64)
    e = x
    for _ in range(11):
        e = k.exp(e) - x
    a = arrays(50, 1, np.float64)[0]
    same(builtins.make(small.traced(e, [x]), 1)(a), read(e, [x], [a]))
    many = [k.exp(x + float(i)) for i in range(small.TEMPS + 2)]
    total = many[0]
    for m in many[1:]:
        total = total * m
    with pytest.raises(small.Unsuitable):
        builtins.make(small.traced(total, [x]), 1)
    some = k.where(k.lt(x, many[1]), many[2], many[3] - x)
    same(builtins.make(small.traced(some, [x]), 1)(a), read(some, [x], [a]))


def test_taking_over_changes_nothing(builtins, monkeypatch):
    """The first call waits, the next runs the builtin: results, gradients and refusals are the same."""

    def step():
        torch.manual_seed(0)
        x, w = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)
        y = ((x * w + 1.5).sigmoid() - w / x).tanh().exp() * x.rsqrt().nan_to_num()
        y.sum().backward()
        return [t.detach().numpy().tobytes() for t in (y, x.grad, w.grad)]

    assert step() == step() == step()
    assert any(type(v).__name__ == "builtin_function_or_method" for k, v in SCOPE.items() if k.startswith("SMALL"))
    with pytest.raises(RuntimeError, match="size of tensor a"):
        torch.randn(3, 4) + torch.randn(3, 5)
    assert (torch.randn(3, 4) + torch.randn(4)).shape == (3, 4)
