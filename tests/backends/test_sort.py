"""Sorting and selection by kernels against the array library's stable sort."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import sort as kernels
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads
from flambeau._backends.cpu.topk import topk

DTYPES = [
    np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, ml_dtypes.bfloat16, np.float32, np.float64,
]  # fmt: skip


def values(rng, shape, dtype, many):
    d = np.dtype(dtype)
    if d.kind in "iu":
        top = np.iinfo(d)
        return rng.integers(top.min, top.max, shape, d, endpoint=True) if many else rng.integers(0, 5, shape).astype(d)
    if d.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    x = rng.standard_normal(shape) * 1e3 if many else rng.integers(-2, 3, shape)
    x = np.asarray(x, np.float64)
    flat = x.reshape(-1)
    for i, special in enumerate((np.nan, np.inf, -np.inf, -0.0, 0.0, -np.nan)):
        flat[i + 1 :: 19] = special
    return x.astype(dtype)


def expected(x, dim, descending):
    """Stable order, NaN the largest."""
    wide = x.astype(np.float64) if x.dtype.kind in "fV" else x
    if not descending:
        return np.argsort(wide, axis=dim, kind="stable")
    turned = np.argsort(np.flip(wide, dim), axis=dim, kind="stable")
    return np.flip(x.shape[dim] - 1 - turned, dim)


def same(a, b):
    return a.dtype == b.dtype and a.tobytes() == np.ascontiguousarray(b).tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("descending", [False, True])
def test_sort(dtype, descending):
    rng = np.random.default_rng(1)
    for shape in [(1,), (2,), (5, 17), (3, 64), (2, 127), (2, 129), (257, 2), (3, 40, 7), (1100,)]:
        for many in (True, False):
            x = values(rng, shape, dtype, many)
            for dim in range(len(shape)):
                order = expected(x, dim, descending)
                for a in (x, np.asfortranarray(x)):
                    got = kernels.sort(a, dim, descending)
                    assert np.array_equal(got[1], order)
                    assert same(got[0], np.take_along_axis(x, order, dim))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int64])
def test_long_rows_are_sorted_in_parts(dtype, monkeypatch):
    monkeypatch.setattr(kernels, "LONG", 1000)
    rng = np.random.default_rng(2)
    for shape, dim in [((2, 70001), 1), ((66000, 2), 0), ((3, 1000), 1)]:
        for many in (True, False):
            x = values(rng, shape, dtype, many)
            for descending in (False, True):
                order = expected(x, dim, descending)
                plan = kernels.sort_plan(x, dim, descending)
                assert len(plan.launches) > 2
                table = kernels.planned(("sort in parts", dim, descending), (x,), lambda plan=plan: plan)
                assert np.array_equal(table[1], order) and same(table[0], np.take_along_axis(x, order, dim))


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("largest", [False, True])
def test_topk(dtype, largest):
    rng = np.random.default_rng(3)
    for shape, dim in [((7,), 0), ((3, 300), 1), ((2, 1025), 1), ((900, 3), 0), ((2, 333, 2), 1)]:
        for many in (True, False):
            x = values(rng, shape, dtype, many)
            order = expected(x, dim, largest)
            n = shape[dim]
            for count in sorted({1, min(5, n), min(16, n), min(17, n), n // 3, n}):
                first = np.take(order, range(count), dim)
                got = topk(x, count, dim, largest)
                assert np.array_equal(got[1], first)
                assert same(got[0], np.take_along_axis(x, first, dim))


def test_topk_of_rows_in_order_and_of_equal_elements():
    for x in (np.arange(5000.0), np.arange(5000.0)[::-1].copy(), np.zeros(5000), np.full(5000, np.nan)):
        for largest in (False, True):
            assert np.array_equal(topk(x, 20, 0, largest)[1], expected(x, 0, largest)[:20])


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: np.dtype(d).name)
def test_topk_of_rows_of_numbers_compares_them_as_they_are(dtype):
    rng = np.random.default_rng(6)
    for n in (256, 257, 1000, 1024, 1039, 4099):
        x = rng.standard_normal((6, n)).astype(dtype)
        x[1], x[2, : n // 2], x[2, n // 2 :] = -np.inf, np.inf, -np.inf
        x[1, -3], x[3, ::2], x[3, 1::2], x[4] = 1, 0.0, -0.0, np.arange(n) % 50
        x[5, -1] = np.nan
        for largest in (False, True):
            order = expected(x, 1, largest)
            for count in (1, 2, 10, 16, 17, 31):
                got = topk(x, count, 1, largest)
                assert np.array_equal(got[1], order[:, :count]), (n, count)
                assert same(got[0], np.take_along_axis(x, order[:, :count], 1))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("largest", [False, True])
def test_marks_say_whether_the_first_have_equals(dtype, largest):
    rng = np.random.default_rng(7)
    for n in (1, 2, 40, 300, 1100):
        x = values(rng, (40, n), dtype, True)
        some = x[20:]  # of which no element is special, and few are equal
        some[:] = rng.integers(0, 100 if some.dtype.kind in "iub" else 6 * n, some.shape).astype(dtype)
        wide = x.astype(np.float64) if x.dtype.kind in "fV" else x
        for count in sorted({1, min(2, n), min(9, n), n}):
            order = expected(x, 1, largest)
            rows = np.take_along_axis(wide, order, 1)
            odd = np.isnan(rows) if wide.dtype.kind == "f" else np.zeros(rows.shape, bool)
            alike = (rows[:, 1:] == rows[:, :-1]) | (odd[:, 1:] & odd[:, :-1])
            before, after = np.pad(alike, ((0, 0), (1, 0))), np.pad(alike, ((0, 0), (0, 1)))
            tied = (before | after | odd)[:, :count]
            want = np.where(tied.any(1), 1, 0) | np.where(tied[:, -1], 2, 0)
            assert np.array_equal(topk(x, count, 1, largest)[2], want), (n, count)


def test_threads_change_nothing():
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 99, (50, 700)), rng.standard_normal(200_000).astype(np.float32)
    before, got = get_num_threads(), []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            got.append((*kernels.sort(x, 1, False), *kernels.sort(y, 0, True), *topk(x, 9, 1, True)))
    finally:
        set_num_threads(before)
    assert np.array_equal(got[0][3], expected(y, 0, True))
    for one in got[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(one, got[0]))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.int16, np.int32, np.int64, np.uint8])
def test_ranks_and_positions_in_one_word(dtype):
    from flambeau._backends.cpu import library_order

    rng = np.random.default_rng(5)
    x = (rng.standard_normal((40, 60)) * 30).astype(dtype)
    if x.dtype.itemsize == 2 and x.dtype.kind != "i":  # every kind of zero, infinity and NaN
        bits = x.view(np.uint16)
        bits[0] = rng.integers(0, 1 << 16, 60)
        x[1, :7] = [np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1]
        for row, start in enumerate((0x7C00, 0xFC00, 0x7F80, 0xFF80, 0, 0x8000), 2):
            bits[row] = (np.arange(60) + start - 30) & 0xFFFF
    if dtype == np.float32:
        x[1, :9] = [np.nan, -np.nan, np.inf, -np.inf, 0, -0.0, 1, 1e-45, -1e-45]
        x[2] = rng.integers(0, 1 << 32, 60).astype(np.uint32).view("f")
    for dim in (0, 1):
        for descending in (False, True):
            rank = np.moveaxis(library_order._rank(x, dim, descending), dim, -1)
            assert np.array_equal(library_order._entries(x, dim, descending), rank << 32 | np.arange(rank.shape[-1]))
