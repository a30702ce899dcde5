"""Convolutions of the template against a plain sum over taps in float64."""

from __future__ import annotations

from itertools import product

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu.conv_plan import out_size
from flambeau._backends.cpu.convolve import Convolution
from flambeau._backends.cpu.layouts import channels_last, last_strides
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

TOLERANCE = {"float32": 2e-6, "float64": 2e-15, "bfloat16": 8e-3, "float16": 1e-3}


def reference(x, w, stride, padding, dilation, groups):
    """(convolution, the same of magnitudes) in float64, tap by tap."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((p, p) for p in padding)])
    w = w.astype(np.float64)
    sizes = [out_size(n, k, s, 0, d) for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation)]
    out = np.zeros((x.shape[0], groups, w.shape[0] // groups, *sizes))
    x = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for tap in product(*(range(k) for k in w.shape[3:])):
        part = x[(..., *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, dilation, sizes, stride)))]
        out += np.einsum("ngc...,gmc->ngm...", part, w[(..., *tap)])
    return out.reshape(x.shape[0], out.shape[1] * out.shape[2], *sizes)


def transposed(g, w, spatial, stride, padding, dilation, groups):
    """The gradient of `reference` for its input."""
    g, w = g.astype(np.float64), w.astype(np.float64)
    n, sizes = g.shape[0], g.shape[2:]
    out = np.zeros((n, groups, w.shape[1], *(s + 2 * p for s, p in zip(spatial, padding))))
    g = g.reshape(n, groups, g.shape[1] // groups, *sizes)
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for tap in product(*(range(k) for k in w.shape[3:])):
        at = tuple(slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, m, s in zip(tap, dilation, sizes, stride))
        out[(..., *at)] += np.einsum("ngo...,goc->ngc...", g, w[(..., *tap)])
    out = out[(..., *(slice(p, p + s) for p, s in zip(padding, spatial)))]
    return out.reshape(n, out.shape[1] * out.shape[2], *spatial)


CASES = [  # x, w, stride, padding, dilation, groups
    ((2, 3, 9, 11), (5, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 8, 12, 40), (20, 8, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 23, 25), (16, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),
    ((1, 4, 10, 9), (6, 2, 3, 2), (2, 3), (2, 1), (2, 1), 2),
    ((3, 6, 8, 8), (6, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),
    ((2, 5, 40, 37), (5, 1, 3, 5), (1, 2), (1, 0), (2, 1), 5),
    ((2, 5, 80), (5, 1, 4), (3,), (2,), (1,), 5),
    ((2, 4, 8, 8), (8, 1, 3, 3), (2, 2), (1, 1), (1, 1), 4),
    ((2, 5, 7, 7), (4, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 5, 7, 7), (4, 5, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((2, 4, 30), (6, 4, 5), (1,), (2,), (1,), 1),
    ((2, 4, 30), (6, 2, 4), (3,), (0,), (2,), 2),
    ((1, 3, 5, 6, 7), (4, 3, 3, 2, 3), (1, 2, 1), (1, 0, 2), (1, 1, 2), 1),
    ((1, 150, 6, 6), (33, 150, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 4, 4), (2, 3, 2, 2), (5, 5), (0, 0), (1, 1), 1),
    ((0, 3, 4, 4), (2, 3, 2, 2), (1, 1), (0, 0), (1, 1), 1),
    ((1, 2, 70, 60), (40, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 20, 61, 57), (4, 20, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((5, 40, 7, 7), (37, 40, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((9, 16, 4, 4), (32, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((20, 70, 2, 3), (18, 70, 2, 2), (1, 1), (1, 1), (1, 1), 1),
    ((3, 33, 17, 30), (31, 33, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 24, 9, 50), (15, 24, 3, 3), (3, 3), (1, 1), (1, 1), 1),
    ((1, 130, 40, 40), (140, 130, 3, 3), (1, 1), (2, 2), (2, 2), 1),
]


def cast(x, dtype):
    return x.astype(np.dtype(dtype) if dtype != "bfloat16" else ml_dtypes.bfloat16, order="K")


def close(got, want, scale, dtype, last=False):
    assert got is not None and got.shape == want.shape
    assert got.strides == last_strides(got.shape, got.itemsize) if last else got.flags.c_contiguous
    assert np.all(np.abs(got.astype(np.float64) - want) <= TOLERANCE[dtype] * (scale + 1e-6))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case, dtype):
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(0)
    x, w, bias = (cast(rng.standard_normal(s), dtype) for s in (x_shape, w_shape, w_shape[:1]))
    conv = Convolution(*how)
    want, scale = reference(x, w, *how), reference(np.abs(x), np.abs(w), *how)
    close(conv.forward(x, w), want, scale, dtype)
    column = bias.astype(np.float64).reshape(-1, *(1,) * (x.ndim - 2))
    close(conv.forward(x, w, bias), want + column, scale + np.abs(column), dtype)
    last = cast(rng.standard_normal((x_shape[0], *x_shape[2:], x_shape[1])), dtype)  # channels last
    x = np.moveaxis(last, -1, 1)
    want, scale = reference(x, w, *how), reference(np.abs(x), np.abs(w), *how)
    close(conv.forward(x, w), want, scale, dtype, channels_last(x))
    close(conv.forward(x, w, bias), want + column, scale + np.abs(column), dtype, channels_last(x))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_transposed(case, dtype):
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(0)
    sizes = [out_size(*v) for v in zip(x_shape[2:], w_shape[2:], *how[:3])]
    g, w = (cast(rng.standard_normal(s), dtype) for s in ((x_shape[0], w_shape[0], *sizes), w_shape))
    got = Convolution(*how).transposed(g, w, tuple(x_shape[2:]))
    want, scale = transposed(g, w, x_shape[2:], *how), transposed(np.abs(g), np.abs(w), x_shape[2:], *how)
    close(got, want, scale, dtype)
    g = np.moveaxis(np.ascontiguousarray(np.moveaxis(g, 1, -1)), -1, 1)
    close(Convolution(*how).transposed(g, w, tuple(x_shape[2:])), want, scale, dtype, channels_last(g))
    bias = cast(rng.standard_normal(w.shape[1] * how[-1]), dtype)
    column = bias.astype(np.float64).reshape(-1, *(1,) * (g.ndim - 2))
    got = Convolution(*how).transposed(g, w, tuple(x_shape[2:]), bias)
    close(got, want + column, scale + np.abs(column), dtype, channels_last(g))


def weight(x, g, shape, stride, padding, dilation, groups):
    """The gradient of `reference` for its weights."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((p, p) for p in padding)])
    g, sizes = g.astype(np.float64), g.shape[2:]
    x = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    g = g.reshape(g.shape[0], groups, g.shape[1] // groups, *sizes)
    out = np.zeros((groups, shape[0] // groups, *shape[1:]))
    for tap in product(*(range(k) for k in shape[2:])):
        part = x[(..., *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, dilation, sizes, stride)))]
        axes = [0, *range(3, part.ndim)]
        for q in range(groups):
            out[(q, slice(None), slice(None), *tap)] = np.tensordot(
                g[:, q], part[:, q], ([a - 1 if a else 0 for a in axes],) * 2
            )
    return out.reshape(shape)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_weight(case, dtype):
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(0)
    sizes = [out_size(*v) for v in zip(x_shape[2:], w_shape[2:], *how[:3])]
    x, g = (cast(rng.standard_normal(s), dtype) for s in (x_shape, (x_shape[0], w_shape[0], *sizes)))
    got = Convolution(*how).weight(x, g, w_shape)
    close(got, weight(x, g, w_shape, *how), weight(np.abs(x), np.abs(g), w_shape, *how), dtype)
    g = cast(np.moveaxis(rng.standard_normal((*g.shape[:1], *g.shape[2:], g.shape[1])), -1, 1), dtype)  # channels last
    close(
        Convolution(*how).weight(x, g, w_shape),
        weight(x, g, w_shape, *how),
        weight(np.abs(x), np.abs(g), w_shape, *how),
        dtype,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_any_number_of_threads_gives_the_same_bits(case):
    x_shape, w_shape, *how = case
    rng = np.random.default_rng(0)
    sizes = [out_size(*v) for v in zip(x_shape[2:], w_shape[2:], *how[:3])]
    x, w, g = (cast(rng.standard_normal(s), "float32") for s in (x_shape, w_shape, (x_shape[0], w_shape[0], *sizes)))
    conv, before = Convolution(*how), get_num_threads()
    got = []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            got.append([conv.forward(x, w), conv.transposed(g, w, tuple(x_shape[2:])), conv.weight(x, g, w_shape)])
    finally:
        set_num_threads(before)
    for other in got[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(got[0], other))


def test_not_a_number_stays_in_its_windows():
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((4, 20, 9, 9), (18, 20, 3, 3)))
    x[1, 3, 4, 4] = np.nan
    x[2, 5, 0, 8] = np.inf
    got = Convolution((1, 1), (1, 1), (1, 1), 1).forward(x, w)
    bad = np.zeros(got.shape, bool)
    bad[1, :, 3:6, 3:6] = bad[2, :, 0:2, 7:9] = True
    assert np.array_equal(~np.isfinite(got), bad)
