"""float32 in tile registers: as near to the exact sums as float32 itself, for every layout, edge and value."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from flambeau._backends.cpu import amx, engine, matmul
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

pytestmark = pytest.mark.skipif(
    not (engine.available() and amx.has_tiles(engine.host()) and amx.allowed()),
    reason="this machine has no tile registers",
)
UNIT = 2.0**-24
RNG = np.random.default_rng(0)
FIRST = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_matrices():
    """What a test draws does not hang on which ran before."""
    RNG.bit_generator.state = FIRST


def drawn(m, n, layout="c"):
    x = RNG.standard_normal((m, n) if layout == "c" else (n, m)).astype(np.float32)
    return x if layout == "c" else x.T


def suits(a, b):
    strides = [(0, 0, x.strides[0] // 4, x.strides[1] // 4) for x in (a, b)]
    return matmul.thirds_suit(engine.host(), (1, 1, a.shape[0], b.shape[1], a.shape[1]), *strides)


def check(a, b, factor=12):
    """The product against float64: what is not finite exactly, all else within a few roundings of what was added."""
    with np.errstate(all="ignore"):
        got, want = matmul.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64)
        total = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
        rounded = want.astype(np.float32)
    assert np.array_equal(np.isnan(got), np.isnan(rounded))
    assert np.array_equal(got[np.isinf(rounded)], rounded[np.isinf(rounded)])
    finite = np.isfinite(rounded)
    error = np.abs(got[finite] - want[finite]) / np.maximum(total[finite], 1e-37)
    assert error.size == 0 or error.max() < factor * UNIT


@pytest.mark.parametrize("layouts", ["cc", "ct", "tc", "tt"])
@pytest.mark.parametrize(
    "m, n, k", [(192, 192, 192), (160, 200, 700), (157, 300, 190), (500, 129, 1000), (161, 900, 257)]
)
def test_products_are_as_good_as_sums_of_float32(m, n, k, layouts):
    a, b = drawn(m, k, layouts[0]), drawn(k, n, layouts[1])
    assert suits(a, b)
    check(a, b)
    check(np.abs(a), np.abs(b))


@settings(max_examples=25, deadline=None)
@given(st.tuples(*(st.integers(90, 330),) * 3), st.sampled_from(["cc", "ct", "tc", "tt"]))
def test_every_size_agrees(sizes, layouts):
    m, n, k = sizes
    check(drawn(m, k, layouts[0]), drawn(k, n, layouts[1]))


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, math.nan, 3e38, 1e20, 1e-31, 1e-33, 1e-38, 1e-40, 0.0, -0.0, 16777215.0]
)
def test_values_that_tiles_cannot_hold(value):
    for where in ((7, 3), (159, 699), None):
        a, b = drawn(160, 700), drawn(700, 200)
        if where is None:
            b[650, 199] = b[2, 0] = value
        else:
            a[where] = value
        assert suits(a, b)
        check(a, b)


def test_scales():
    a, b = drawn(160, 700), drawn(700, 200)
    for x, y in ((1e-36, 1), (1e-25, 1), (1e25, 1e-25), (1e-20, 1e20), (1e30, 1e-38), (1e-18, 1e-18), (1e-10, 1e-26)):
        check(a * np.float32(x), b * np.float32(y), 30)
    a[3] *= np.float32(1e-18)  # one small row, one small column
    b[:, 5] *= np.float32(1e-18)
    check(a, b, 30)
    spread = np.exp(15 * RNG.standard_normal(a.shape)).astype(np.float32)
    check(a * spread, b, 30)


def test_sums_may_be_denormal():
    a, b = drawn(160, 700) * np.float32(1e-20), drawn(700, 200) * np.float32(1e-21)
    got, want, rounded = matmul.matmul(a, b), a.astype(np.float64) @ b, 700 * 2.0**-149
    assert np.abs(want).max() < 2.0**-126
    assert got[np.abs(want) > rounded].all() and np.abs(got - want).max() < rounded


def test_the_largest_products():
    a, b = np.zeros((160, 700), np.float32), np.zeros((700, 200), np.float32)
    a[3, 5] = b[5, 7] = np.nextafter(np.float32(2.0**64), np.float32(0))
    check(a, b)


def test_whole_numbers_are_exact():
    a = RNG.integers(-300, 300, (160, 700)).astype(np.float32)
    b = RNG.integers(-8, 8, (700, 200)).astype(np.float32)
    assert np.array_equal(matmul.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64))


def test_rows_and_columns_are_selected_exactly():
    """One element times one, in any place, is that element."""
    one = np.eye(300, dtype=np.float32)[RNG.permutation(300)]
    x = RNG.uniform(0.5, 4, (300, 300)).astype(np.float32) * np.float32(-1e10)
    x[:, :8] = np.nextafter(np.float32([[1, 2, 3, 4, 5, 6, 7, 8]]), np.float32(0))
    for a, b in ((x, one), (one, x)):
        assert suits(a, b)
        assert np.array_equal(matmul.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64))


def test_same_bits_for_any_number_of_threads():
    a, b, before, results = drawn(600, 900), drawn(900, 700), get_num_threads(), set()
    a[5, 5] = 1e-35
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            results.add(matmul.matmul(a, b).tobytes())
    finally:
        set_num_threads(before)
    assert len(results) == 1


@pytest.mark.parametrize("layouts", ["cc", "ct", "tc", "tt"])
@pytest.mark.parametrize("m, n, k", [(330, 301, 410), (513, 290, 300)])
def test_panels_for_all_threads(m, n, k, layouts, monkeypatch):
    """Where panels are made once for all threads the bits are those of threads that pack for themselves."""
    a, b, plus = drawn(m, k, layouts[0]), drawn(k, n, layouts[1]), drawn(m, n)
    a[5, 5], a[m - 1, k - 1], b[3, n - 1] = 1e-35, math.inf, math.nan
    assert len(matmul.matmul_plan(a, b).launches) == 2
    together = [matmul.matmul(a, b), matmul.matmul(a, b, plus), matmul.matmul(a, b, plus, 0.5, 2.0)]
    check(a, b)
    monkeypatch.setattr(matmul, "shared", lambda *_: None)
    for table in matmul.tables():
        table.clear()
    alone = [matmul.matmul(a, b), matmul.matmul(a, b, plus), matmul.matmul(a, b, plus, 0.5, 2.0)]
    for table in matmul.tables():
        table.clear()
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(together, alone, strict=True))


def test_epilogues_and_batches():
    a, b = drawn(600, 900), drawn(900, 700)
    want = a.astype(np.float64) @ b
    for plus in (drawn(600, 700), drawn(1, 700)[0], drawn(600, 1)):
        np.testing.assert_allclose(matmul.matmul(a, b, plus), want + plus, atol=2e-4)
    c = drawn(600, 700)
    np.testing.assert_allclose(matmul.matmul(a, b, c, 0.5, 2.0), 2 * want + 0.5 * c, atol=4e-4)
    a[3, 4] = math.inf
    assert np.array_equal(np.isfinite(matmul.matmul(a, b, c)), np.isfinite(a.astype(np.float64) @ b))
    x, y = (RNG.standard_normal(s).astype(np.float32) for s in ((5, 3, 80, 90), (5, 3, 90, 100)))
    for u, v in ((x, y), (x, y[:1]), (x.transpose(1, 0, 2, 3), y[:1, :1]), (x.swapaxes(2, 3), x)):
        np.testing.assert_allclose(matmul.matmul(u, v), u @ v, atol=2e-4)
