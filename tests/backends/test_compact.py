"""Elements where masks hold, by kernels against the array library's."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import compact
from flambeau._backends.cpu.engine import TARGETS, Engine, engine
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

SHAPES = [(1,), (7,), (64,), (16385,), (5, 9, 101), (2, 1, 3, 5000), (3001, 2), (0,), (3, 0)]
DTYPES = [np.int8, np.float16, np.float32, np.complex64]


def masks(rng, shape):
    for p in (0, 0.01, 0.5, 0.99, 1):
        yield rng.random(shape) < p
    yield (rng.random(shape) < 0.5).T.copy().T
    yield np.broadcast_to(rng.random(shape[-1:]) < 0.5, shape)


@pytest.fixture(params=["here", "without instructions that compress"])
def machine(request, monkeypatch):
    if request.param == "here":
        return
    native = engine()
    target = TARGETS["linux-sse2"]

    @cache
    def kernel(what, item, dims):
        text = str(compact.text(target, what, item, dims))
        return native.link(native.emit(text), ["k"])

    monkeypatch.setattr(compact, "kernel", kernel)
    monkeypatch.setattr(compact, "planned", lambda key, *rest: planned((*key, "plain"), *rest))


planned = compact.planned


def test_picked_spread_and_told(machine):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        for mask in masks(rng, shape):
            assert np.array_equal(compact.places(mask), np.stack(np.nonzero(mask), 1))
            n = int(mask.sum())
            assert compact.scanned(mask)[1][-1] == n
            for dtype in DTYPES:
                x = rng.integers(-100, 100, shape).astype(dtype)
                for a in (x, np.asfortranarray(x)):
                    assert np.array_equal(compact.pick(a, mask), x[mask])
                source = rng.integers(-100, 100, n + 3).astype(dtype)
                got, want = x.copy(), x.copy()
                want[mask] = source[:n]
                assert compact.spread(got, mask, source) == n and np.array_equal(got, want)
                if n:
                    assert compact.spread(got, mask, source[: n - 1]) == n and np.array_equal(got, want)


def test_any_number_of_threads():
    rng = np.random.default_rng(1)
    mask = rng.random((300, 700)) < 0.3
    x = rng.random(mask.shape)
    before = get_num_threads()
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            assert np.array_equal(compact.pick(x, mask), x[mask])
            assert np.array_equal(compact.places(mask), np.argwhere(mask))
    finally:
        set_num_threads(before)


def test_what_kernels_do_not_move():
    x = np.zeros(10, np.complex128)
    mask = np.ones(10, bool)
    assert compact.pick(x, mask) is None and compact.spread(x, mask, x) is None
    y = np.zeros(20)[::2]
    assert compact.spread(y, mask, np.ones(10)) is None


@pytest.mark.parametrize("name", ["linux-avx2", "linux-arm", "macos-arm", "windows", "wasm"])
def test_compiles_for(name):
    e = Engine(TARGETS[name])
    assert e.emit(str(compact.count_text(e.target)))
    for what, item in (("pick", "i8"), ("spread", "i32"), ("place", "i64")):
        assert e.emit(str(compact.text(e.target, what, item, 3 if what == "place" else 0)))
