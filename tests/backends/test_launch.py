"""Tables of plans: the generated entry and the one through ctypes do the same."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import launch
from flambeau._backends.cpu.emit import Module
from flambeau._backends.cpu.engine import engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, Table


@pytest.fixture(scope="module")
def code():
    """out[i] = x[i] * s, for n floats."""
    m = Module("test of the launcher")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    out, x = (f.load("ptr", f.params[0], i) for i in range(2))
    s, n = f.convert("fptrunc", f.load("double", f.params[0], 2), "float"), f.load("i64", f.params[0], 3)
    with f.loop(0, n) as i:
        f.store(f.load("float", x, i) * s, out, i)
    return engine().load(str(m), ["k"], m.imports)


@pytest.fixture(params=["native", "ctypes"])
def table(request, monkeypatch):
    if request.param == "ctypes":
        monkeypatch.setattr(launch, "native_entry", lambda: None)
    elif launch.native_entry() is None:
        pytest.skip("structs differ here")
    return Table()


def scale(code, x, written=()):
    """The plan of `scale(x, factor)`; with a third argument it writes there."""
    to = (ARG, written[0]) if written else (OUT, 0)
    results = () if written else (Result(x.dtype, x.shape),)
    return Plan(
        results, (Launch(code["k"], (to, (ARG, 0), (ARG, 1), (CONST, x.size))),), written=tuple(written), keep=(code,)
    )


def test_without_memory_results_are_given_back(code):
    if launch.native_entry() is None:
        pytest.skip("structs differ here")
    table, x = Table(), np.ones(4, np.float32)
    plan = scale(code, x)
    table.add((x, 2.0), Plan(plan.results, plan.launches, temp=1 << 60, keep=plan.keep))
    owners = sys.getrefcount(x.dtype)
    for _ in range(100):
        assert table.call(x, 2.0) is None
    assert sys.getrefcount(x.dtype) < owners + 100


def test_found_by_signature(table, code):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert table.call(x, 2.0) is None
    table.add((x, 2.0), scale(code, x))
    out = table.call(x, 3.0)
    assert (
        out.shape == (3, 4)
        and out.dtype == np.float32
        and np.array_equal(out, x * 3)
        and out.flags.owndata
        and out.flags.writeable
    )
    assert np.array_equal(table.call(x + 1, 3.0), (x + 1) * 3)
    frozen = x.copy()
    frozen.flags.writeable = False
    unlike = [
        (x.T, 2.0),
        (x[:2], 2.0),
        (x.astype(np.float64), 2.0),
        (x, 2),
        (x, x),
        (x,),
        (),
        (x, 2.0, 3.0),
        (x, "2"),
        (x, 1 << 80),
        (x[::1, ::-1], 2.0),
        (x.reshape(12), 2.0),
        (frozen, 2.0),
        (x.view(np.matrix), 2.0),
    ]
    for args in unlike:
        assert table.call(*args) is None


def test_many_signatures(table, code):
    for n in range(1, 300):
        x = np.full(n, n, np.float32)
        table.add((x, 1.0), scale(code, x))
    for n in range(1, 300):
        assert np.array_equal(table.call(np.full(n, 2, np.float32), 2.0), np.full(n, 4, np.float32))
    table.clear()
    assert table.call(np.ones(3, np.float32), 2.0) is None


def test_scalars_empty_and_0d(table, code):
    for shape in ((), (0,), (2, 0, 3), (1,) * 9):
        x = np.ones(shape, np.float32)
        table.add((x, 2.0), scale(code, x))
        out = table.call(x, 2.0)
        assert type(out) is np.ndarray and out.shape == shape and (out == 2).all()


def test_written_arguments(table, code):
    memory = np.arange(20, dtype=np.float32)
    x, y = memory[:8], np.zeros(8, np.float32)
    table.add((x, 2.0, y), scale(code, x, (2,)))
    assert table.call(x, 2.0, y) is True and np.array_equal(y, x * 2)
    assert table.call(x, 2.0, memory[4:12]) is None  # overlaps: refused, and nothing is written
    assert np.array_equal(memory, np.arange(20))
    assert table.call(x, 2.0, memory[8:16]) is True
    assert table.call(x, 2.0, x) is True and np.array_equal(memory[:8], np.arange(8) * 2)  # the very same view


def test_several_launches_and_temporary_memory(table, code):
    x = np.ones((5, 5), np.float32)
    slots = (
        ((TEMP, 64), (ARG, 0), (ARG, 1), (CONST, 25)),
        ((OUT, 1), (TEMP, 64), (ARG, 1), (CONST, 25)),
        ((OUT, 0, 20), (ARG, 0, 20), (ARG, 1), (CONST, 20)),
        ((OUT, 0), (ARG, 0), (ARG, 1), (CONST, 5)),
    )
    steps = tuple(Launch(code["k"], s) for s in slots)
    strided = Result(x.dtype, (5, 5), (4, 20))
    table.add((x, 3.0), Plan((Result(x.dtype, (5, 5)), strided), steps, temp=256, release=True, keep=(code,)))
    first, second = table.call(x, 3.0)
    assert (first == 3).all() and (second == 9).all() and second.strides == (4, 20)


def test_no_reference_is_lost(table, code):
    x = np.ones(7, np.float32)
    table.add((x, 2.0), scale(code, x))
    objects = (x, x.dtype, table, None)
    before = [sys.getrefcount(o) for o in objects]
    for _ in range(1000):
        table.call(x, 2.0)
        table.call(x, x)
    assert all(abs(sys.getrefcount(o) - n) < 50 for o, n in zip(objects, before, strict=True))


def test_many_python_threads(table, code):
    x = np.ones(2000, np.float32)
    plan = scale(code, x)
    table.add((x, 2.0), Plan(plan.results, plan.launches, release=True, keep=plan.keep))
    wrong = []

    def caller(k):
        for _ in range(300):
            if not (table.call(x, float(k)) == k).all():
                wrong.append(k)

    callers = [threading.Thread(target=caller, args=(k,)) for k in range(5)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong


def test_no_floating_point_warnings(table, code):
    x = np.full(4, 3e38, np.float32)
    table.add((x, 2.0), scale(code, x))
    with np.errstate(all="raise"):
        assert np.isinf(table.call(x, 9.0)).all()
