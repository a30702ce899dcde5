"""Max pooling by the kernel against the array library's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau
from flambeau._backends.cpu import library_product, library_window as window
from flambeau._backends.cpu.layouts import channels_last, laid
from flambeau._backends.cpu.pool import max_pool, max_pool_back, mean_pool

CASES = [  # shape, size, stride, padding, dilation
    ((2, 3, 20, 41), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((2, 3, 20, 70), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 3, 21, 90), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 20, 41), (3, 2), (3, 3), (1, 0), (2, 1)),
    ((4, 50), (5,), (2,), (2,), (1,)),
    ((2, 3, 7, 8, 40), (2, 3, 2), (1, 2, 1), (1, 1, 0), (1, 1, 2)),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    ((0, 3, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((3, 5, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((2, 3, 7, 9), (3, 3), (2, 1), (1, 1), (1, 2)),
    ((2, 3, 5, 6, 7), (3, 2, 3), (2, 2, 1), (1, 1, 1), (1, 1, 1)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_max_pool(case, dtype):
    shape, size, stride, padding, dilation = case
    n = len(size)
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, shape).astype(
        np.dtype(dtype) if dtype != "bfloat16" else ml_dtypes.bfloat16
    )  # many equal ones
    x.reshape(-1)[5::17] = np.nan
    x.reshape(-1)[7::5] = -np.inf
    for ceil in (0, 1):
        out = tuple(
            (e + 2 * p - d * (k - 1) - 1 + ceil * (s - 1)) // s + 1
            for e, k, s, p, d in zip(shape[-n:], size, stride, padding, dilation)
        )
        got = max_pool(x, size, stride, padding, dilation, out)
        wide = x.astype(np.float64)
        want = window.max_pool(wide, size=size, stride=stride, padding=padding, dilation=dilation, out=out)
        assert np.array_equal(got[0].astype(np.float64), want[0], equal_nan=True)
        if got[1].size:
            flat = wide.reshape(*shape[:-n], -1)
            found = np.take_along_axis(flat, got[1].reshape(*shape[:-n], -1), -1).reshape(want[0].shape)
            assert np.array_equal(found, want[0], equal_nan=True)
        same = want[0] > -np.inf
        assert np.array_equal(got[1][same], want[1][same])
    moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
    assert np.array_equal(max_pool(moved, size, stride, padding, dilation, out)[1], got[1])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_max_pool_backward(case, dtype):
    shape, size, stride, padding, dilation = case
    n = len(size)
    out = tuple((e + 2 * p - d * (k - 1) - 1) // s + 1
                for e, k, s, p, d in zip(shape[-n:], size, stride, padding, dilation))  # fmt: skip
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    index = window.max_pool(x, size=size, stride=stride, padding=padding, dilation=dilation, out=out)[1]
    g = rng.integers(-4, 5, index.shape).astype(np.dtype(dtype) if dtype != "bfloat16" else ml_dtypes.bfloat16)
    got = max_pool_back(g, index, shape, n)
    want = window.max_pool_backward(g.astype(np.float64), index, shape=shape, n=n)
    assert got.dtype == g.dtype and np.array_equal(got.astype(np.float64), want)


MEANS = [  # shape, window, stride, padding
    ((2, 3, 20, 41), (2, 2), (2, 2), (0, 0)),
    ((2, 3, 19, 70), (3, 3), (1, 1), (1, 1)),
    ((2, 3, 21, 35), (3, 3), (2, 2), (1, 1)),
    ((3, 20, 41), (3, 2), (3, 4), (1, 0)),
    ((4, 50), (5,), (2,), (2,)),
    ((5, 4, 50), (7,), (1,), (0,)),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0)),
    ((0, 3, 4, 4), (2, 2), (2, 2), (0, 0)),
    ((2, 2, 5, 5), (2, 3), (4, 5), (0, 1)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("case", MEANS, ids=str)
def test_means(case, dtype):
    shape, size, stride, padding = case
    n = len(size)
    rng = np.random.default_rng(2)
    x = rng.integers(-9, 9, shape).astype(dtype)
    divisor = float(np.prod(size))
    for ceil in (0, 1):
        out = tuple((e + 2 * p - k + ceil * (s - 1)) // s + 1 for e, k, s, p in zip(shape[-n:], size, stride, padding))
        want = window.avg_pool(
            x.astype(np.float64), size=size, stride=stride, padding=padding, out=out, divisor=divisor
        )
        got = mean_pool(x, want.shape, size, stride, padding, divisor, False)
        assert got.dtype == x.dtype and np.allclose(got, want, rtol=1e-3 if dtype == "float16" else 1e-6)
        g = rng.integers(-9, 9, want.shape).astype(dtype)
        want = window.avg_pool_backward(
            g.astype(np.float64), shape=shape, size=size, stride=stride, padding=padding, divisor=divisor
        )
        got = mean_pool(g, shape, size, stride, padding, divisor, True)
        assert np.allclose(got, want, rtol=1e-3 if dtype == "float16" else 1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("case", [c for c in CASES if len(c[0]) == len(c[1]) + 2 and len(c[1]) > 1], ids=str)
def test_channels_last(monkeypatch, case, dtype):
    shape, size, stride, padding, dilation = case
    rng, n = np.random.default_rng(0), len(size)
    shape = (shape[0], 37, *shape[2:])
    x = rng.integers(-9, 9, shape).astype(dtype)
    x.reshape(-1)[5::17], x.reshape(-1)[7::5] = np.nan, -np.inf
    x = laid(x, True)
    how = dict(size=size, stride=stride, padding=padding, dilation=dilation)
    out = tuple(
        (e + 2 * p - d * (k - 1) - 1) // s + 1 for e, k, s, p, d in zip(shape[2:], size, stride, padding, dilation)
    )
    monkeypatch.setattr(library_product, "POOLED", 0)
    values, indices = library_product.max_pool(x, **how, out=out)
    want = window.max_pool(x, **how, out=out)
    assert not x.size or (channels_last(values) == channels_last(indices) == channels_last(x))
    np.testing.assert_array_equal(values, want[0])
    same = want[0] > -np.inf  # of windows of -inf alone, any element will do
    np.testing.assert_array_equal(indices[same], want[1][same])
    assert values.dtype == dtype and indices.dtype == np.int64
    g = laid(rng.integers(-9, 9, values.shape).astype(dtype), True)
    found = library_product.max_pool_backward(g, indices, shape=shape, n=n)
    assert found.dtype == dtype and (not x.size or channels_last(found) == channels_last(x))
    np.testing.assert_array_equal(found, window.max_pool_backward(g, indices, shape=shape, n=n))


DIMS = [  # shape, size, stride, padding: what is summed dim by dim
    ((2, 3, 60, 61), (5, 7), (5, 7), (0, 0)),
    ((2, 3, 60, 61), (7, 5), (2, 3), (3, 1)),
    ((2, 16, 23, 24), (2, 3), (2, 3), (1, 0)),
    ((2, 3, 9, 20, 21), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((2, 3, 11, 20, 21), (3, 1, 4), (1, 2, 5), (1, 0, 2)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("case", DIMS, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_means_dim_by_dim(case, dtype, last):
    shape, size, stride, padding = case
    n, rng = len(size), np.random.default_rng(0)
    x = laid(rng.standard_normal(shape).astype(dtype), last)
    t = {"float32": 1e-5, "float64": 1e-13, "float16": 2e-3}[dtype]
    for ceil in (0, 1):
        out = tuple((e + 2 * p - k + ceil * (s - 1)) // s + 1 for e, k, s, p in zip(shape[-n:], size, stride, padding))
        how = dict(size=size, stride=stride, padding=padding)
        for divisor in (4, 7, rng.integers(1, 9, out).tolist()):
            wide = x.astype("f8")
            found = library_product.avg_pool(x, **how, out=out, divisor=divisor)
            assert found.dtype == x.dtype and channels_last(found) == (last and n == 2)
            np.testing.assert_allclose(found, window.avg_pool(wide, **how, out=out, divisor=divisor), rtol=t, atol=t)
            g = laid(rng.standard_normal(found.shape).astype(dtype), last)
            found = library_product.avg_pool_backward(g, **how, shape=shape, divisor=divisor)
            want = window.avg_pool_backward(g.astype("f8"), **how, shape=shape, divisor=divisor)
            assert found.dtype == g.dtype and found.shape == shape
            np.testing.assert_allclose(found, want, rtol=t, atol=t)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [2, 3, (2, 5), (13, 21), (13, 2)])
def test_means_of_tiles_and_whole_images(monkeypatch, dtype, last, size):
    x = flambeau.linspace(-3, 3, 3 * 16 * 13 * 21).reshape(3, 16, 13, 21).sin().to(getattr(flambeau, dtype))
    x = x.contiguous(memory_format=flambeau.channels_last) if last else x
    for ceil in (False, True):
        found = flambeau.nn.functional.avg_pool2d(x, size, ceil_mode=ceil)
        with monkeypatch.context() as m:
            m.setattr(library_product, "_means", lambda *args: None)
            other = flambeau.nn.functional.avg_pool2d(x, size, ceil_mode=ceil)
        assert found.stride() == other.stride() and found.dtype is other.dtype
        t = {"float32": 1e-6, "float64": 1e-14, "bfloat16": 1e-2}[dtype]
        assert flambeau.allclose(found.double(), other.double(), rtol=t, atol=t)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("size, stride, padding", [(2, 2, 0), (3, 1, 1), (3, 1, 0), (5, 3, 2), (8, 7, 4)])
def test_means_of_lines(monkeypatch, dtype, size, stride, padding):
    x = flambeau.linspace(-3, 3, 3 * 16 * 1003).reshape(3, 16, 1003).sin().to(getattr(flambeau, dtype))
    for line in (x, x.mT.contiguous().mT, x[..., ::2], x[0]):
        for ceil in (False, True):
            found = flambeau.nn.functional.avg_pool1d(line, size, stride, padding, ceil)
            with monkeypatch.context() as m:
                m.setattr(library_product, "_means", lambda *args: None)
                other = flambeau.nn.functional.avg_pool1d(line, size, stride, padding, ceil)
            assert found.stride() == other.stride() and found.dtype is other.dtype
            t = {"float32": 1e-6, "float64": 1e-14, "bfloat16": 1e-2}[dtype]
            assert flambeau.allclose(found.double(), other.double(), rtol=t, atol=t)
