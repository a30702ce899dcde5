"""Max pooling by the kernel against the array library's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau._backends.cpu import library_window as window
from flambeau._backends.cpu.pool import max_pool

CASES = [  # shape, size, stride, padding, dilation
    ((2, 3, 20, 41), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((2, 3, 20, 70), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 3, 21, 90), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 20, 41), (3, 2), (3, 3), (1, 0), (2, 1)),
    ((4, 50), (5,), (2,), (2,), (1,)),
    ((2, 3, 7, 8, 40), (2, 3, 2), (1, 2, 1), (1, 1, 0), (1, 1, 2)),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    ((0, 3, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1)),
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
