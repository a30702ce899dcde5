"""Places in rising rows: the kernel and the array library; numbers drawn by them; ranges and windows by kernels."""

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau._backends.cpu import library_statistics, ranges, search
from flambeau._backends.cpu.library_fill import arange, linspace, logspace, window
from flambeau._values import dtype as dtypes


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("length", [1, 2, 3, 100, 1024, 5003])
@pytest.mark.parametrize("rows", [0, 7])
def test_search(monkeypatch: Any, dtype: str, length: int, rows: int, right: bool) -> None:
    rng = np.random.default_rng(length)
    lead = (rows,) if rows else ()
    line = np.sort((rng.standard_normal((*lead, length)) * 50).astype(dtype), -1)
    x = (rng.standard_normal((*lead, 1237)) * 50).astype(dtype)
    x.flat[:2] = line.flat[0], line.flat[-1]
    if dtype[0] == "f":
        x.flat[2:6] = np.nan, np.inf, -np.inf, -0.0
    monkeypatch.setattr(search, "LARGE", 1)
    t = flambeau.from_numpy
    for int32 in (False, True):
        found = flambeau.searchsorted(t(line), t(x), right=right, out_int32=int32)
        pairs = zip(line, x, strict=True) if rows else [(line, x)]
        expected = np.stack([np.searchsorted(b, v, "right" if right else "left") for b, v in pairs])
        assert found.dtype is (flambeau.int32 if int32 else flambeau.int64)
        np.testing.assert_array_equal(found.numpy().reshape(expected.shape), expected)


def test_threads_change_nothing() -> None:
    before, results = flambeau.get_num_threads(), []
    x, b = flambeau.linspace(-1, 1, 50000).sin(), flambeau.linspace(-1, 1, 77)
    try:
        for threads in (1, 2, 7):
            flambeau.set_num_threads(threads)
            results.append(flambeau.bucketize(x, b).numpy().tobytes())
    finally:
        flambeau.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("rows", [1, 5])
def test_drawn_with_replacement(monkeypatch: Any, rows: int) -> None:
    flambeau.manual_seed(3)
    weights = flambeau.rand(rows, 300)
    drawn = []
    for least in (1, 1 << 60):
        monkeypatch.setattr(search, "LARGE", least)
        flambeau.manual_seed(4)
        drawn.append(flambeau.multinomial(weights, 2000, replacement=True))
    assert flambeau.equal(*drawn)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_histograms(monkeypatch: Any, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal(20000).astype(dtype)
    x[:4] = np.nan, np.inf, -np.inf, 1.0
    t = flambeau.from_numpy(x)
    calls = [
        lambda: flambeau.histc(t, 7, -1, 1),
        lambda: flambeau.histc(t[4:], 100),
        lambda: flambeau.histogram(t, 10, range=(-1.0, 1.0))[0],
        lambda: flambeau.histogram(t[4:], 33)[0],
        lambda: flambeau.histogram(t, flambeau.tensor([-1, -0.5, 0.1, 0.3, 1.0], dtype=t.dtype), density=True)[0],
        lambda: flambeau.histogram(t[4::2], 3)[0],
    ]
    found = [call() for call in calls]
    monkeypatch.setattr(library_statistics, "DISTANCES", 1 << 60)
    for a, call in zip(found, calls, strict=True):
        assert flambeau.equal(a, call())


N = ranges.LARGE + 3
CALLS = {
    "arange": lambda d: arange(start=0.25, end=1e9, step=0.3, count=N, dtype=d),
    "linspace": lambda d: linspace(start=-3.0, end=7.5, steps=N, dtype=d),
    "logspace": lambda d: logspace(start=-2.0, end=2.0, steps=N, base=10.0, dtype=d),
    "hann": lambda d: window(kind="hann", length=N, periodic=True, dtype=d),
    "hann, both ends": lambda d: window(kind="hann", length=N, periodic=False, dtype=d),
    "hamming": lambda d: window(kind="hamming", length=N, periodic=True, dtype=d, alpha=0.6, beta=0.3),
    "blackman": lambda d: window(kind="blackman", length=N, periodic=False, dtype=d),
    "bartlett": lambda d: window(kind="bartlett", length=N, periodic=True, dtype=d),
    "kaiser": lambda d: window(kind="kaiser", length=N, periodic=False, dtype=d, beta=12.0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64, dtypes.bfloat16, dtypes.float16], ids=str)
def test_ranges_and_windows(monkeypatch: Any, call: Any, dtype: Any) -> None:
    found = call(dtype)
    monkeypatch.setattr(ranges, "LARGE", 1 << 60)
    expected = call(dtype)
    assert found.shape == expected.shape and found.dtype == expected.dtype and found.flags.c_contiguous
    t = {"float32": 3e-7, "float64": 1e-15}.get(found.dtype.name, 1e-2)
    np.testing.assert_allclose(found.astype("d"), expected.astype("d"), rtol=t, atol=t if abs(expected[-1]) < 2 else 0)


def test_whole_numbers_in_a_range(monkeypatch: Any) -> None:
    found = [linspace(start=-100, end=10**6, steps=N, dtype=d) for d in (dtypes.int32, dtypes.int64)]
    monkeypatch.setattr(ranges, "LARGE", 1 << 60)
    for a, d in zip(found, (dtypes.int32, dtypes.int64), strict=True):
        np.testing.assert_array_equal(a, linspace(start=-100, end=10**6, steps=N, dtype=d))


@pytest.mark.parametrize("dtype", ["float32", "bool", "int64", "complex64", "bfloat16", "int8"])
@pytest.mark.parametrize("diagonal", [0, 3, -5, 200, -200])
def test_triangles(dtype: str, diagonal: int) -> None:
    x = flambeau.arange(3 * 80 * 110).reshape(3, 80, 110).to(getattr(flambeau, dtype))
    for y in (x, x.mT, x[..., ::2], x.flip(2)):
        wide = y.float() if dtype == "bfloat16" else y
        for ours, numpys in ((flambeau.tril, np.tril), (flambeau.triu, np.triu)):
            found = ours(y, diagonal)
            assert found.is_contiguous() and found.dtype is y.dtype
            np.testing.assert_array_equal((found.to(wide.dtype)).numpy(), numpys(wide.numpy(), diagonal))
