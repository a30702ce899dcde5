"""Lists of arrays in one launch: the bits of the array reading, whatever the sizes, orders, dtypes and threads."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import threads
from flambeau._backends.cpu.arrays import K
from flambeau._backends.cpu.entry import native_entry
from flambeau._backends.cpu.lists import compiled

SIZES = [(3, 5), (), (1,), (0,), (17,), (40_000,), (2, 0), (300, 301), (64,), (32768,), (32769,), (5,), (100_003,)]


def body(k, x, y, a, b):
    z = x * a + k.sqrt(y) / b
    return z, y - z


@pytest.fixture(scope="module", params=["f4", "f8"])
def case(request):
    if native_entry() is None:
        pytest.skip("structs differ here")
    dtype = np.dtype(request.param)
    return dtype, compiled(body, 2, 2, (0, 1), dtype)


def lists(dtype, sizes=SIZES, order="C"):
    rng = np.random.default_rng(0)
    return [[np.asarray(rng.uniform(0.1, 2, s), dtype, order=order) for s in sizes] for _ in range(2)]


def expected(xs, ys, *numbers):
    numbers = [np.asarray(n, xs[0].dtype) for n in numbers]
    return [body(K, x, y, *numbers) for x, y in zip(xs, ys, strict=True)]


@pytest.mark.parametrize("n", [1, 2, 7])
@pytest.mark.parametrize("order", ["C", "F"])
def test_same_bits(case, n, order):
    dtype, call = case
    before = threads.get_num_threads()
    threads.set_num_threads(n)
    try:
        xs, ys = lists(dtype, order=order)
        want = expected(xs, ys, 0.7, 1.3)
        assert call(xs, ys, 0.7, 1.3) is True
        for x, y, (p, q) in zip(xs, ys, want, strict=True):
            assert np.array_equal(x, p) and np.array_equal(y, q)
    finally:
        threads.set_num_threads(before)


def test_many_small_rows(case):
    dtype, call = case
    xs, ys = lists(dtype, [(i % 50,) for i in range(5000)])
    want = expected(xs, ys, 2.0, 3.0)
    assert call(xs, ys, 2.0, 3.0) is True
    assert all(np.array_equal(x, p) for x, (p, _) in zip(xs, want, strict=True))
    assert call([], [], 2.0, 3.0) is True


def test_rows_that_overlap_are_left(case):
    dtype, call = case
    memory, other = np.ones(300, dtype), np.ones(300, dtype)
    apart = ([memory[:100], memory[200:], memory[100:200]], [other[:100], other[200:], other[100:200]])
    assert call(*apart, 1.0, 1.0) is True
    assert call([memory[:100], memory[99:]], [other[:100], other[99:]], 1.0, 1.0) is None
    assert call([memory, memory], [other, other], 1.0, 1.0) is None
    assert call([memory[:0], memory], [other[:0], other], 1.0, 1.0) is True


def test_what_it_leaves_to_others(case):
    dtype, call = case
    other = np.dtype("f8" if dtype == "f4" else "f4")
    a, b = (np.ones((4, 6), dtype) for _ in range(2))
    frozen = a.copy()
    frozen.flags.writeable = False
    memory = np.ones(100, dtype)
    for xs, ys in [([a], [b.astype(other)]), ([a], [b.T]), ([a], [b.reshape(24)]), ([a[:, ::2]], [b[:, ::2]]), ([a], [np.ones((4, 5), dtype)]),
                   ([frozen], [b]), ([a], []), ([a], (b,)), ([a], [1.0]), ([memory[:50]], [memory[10:60]]), ([a], [b.view(np.matrix)])]:  # fmt: skip
        kept = [np.array(x) for x in xs]
        assert call(xs, ys, 1.0, 1.0) is None
        assert all(np.array_equal(x, k) for x, k in zip(xs, kept, strict=True))
    assert call([a], [b], 1.0) is None and call([a], [b], 1.0, 1) is None and call([a], [b]) is None
    assert call([memory[:50]], [memory[50:]], 1.0, 1.0) is True and call([a], [a], 1.0, 1.0) is True
