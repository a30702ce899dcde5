"""Depthwise convolutions with channels last: against the sums that they are."""

from typing import Any

import numpy as np
import pytest

from flambeau._backends.cpu import engine, library_window
from flambeau._backends.cpu.layouts import channels_last, laid
from flambeau._backends.cpu.library_product import conv_forward, conv_input

pytestmark = pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
CASES = [  # images, channels, plane, kernel, stride, padding, dilation
    (2, 64, (15, 17), (3, 3), (1, 1), (1, 1), (1, 1)), (3, 37, (31, 40), (3, 3), (2, 2), (1, 1), (1, 1)),
    (2, 16, (20, 70), (5, 3), (1, 2), (0, 2), (2, 3)), (1, 130, (9, 9), (7, 7), (1, 1), (3, 3), (1, 1)),
    (4, 24, (8, 30), (1, 1), (3, 1), (0, 0), (1, 1)), (2, 100, (4, 3), (3, 3), (1, 1), (5, 4), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("biased", [False, True])
def test_values_and_gradients(case: Any, dtype: str, biased: bool) -> None:
    images, c, plane, size, stride, padding, dilation = case
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((images, c, *plane)), rng.standard_normal((c, 1, *size))
    bias = rng.standard_normal(c) if biased else None
    how = dict(stride=stride, padding=padding, dilation=dilation, groups=c)
    want = library_window.conv_forward(x, w, **how)
    t = {"f2": 2e-2, "f4": 1e-5, "f8": 1e-12}[dtype]
    narrow = [None if v is None else v.astype(dtype) for v in (x, w, bias)]
    found = conv_forward(laid(narrow[0], True), *narrow[1:], **how)
    np.testing.assert_allclose(found, want if bias is None else want + bias[:, None, None], rtol=t, atol=10 * t)
    assert found.dtype == dtype and channels_last(found)
    g = rng.standard_normal(want.shape)
    back = library_window.conv_input(g, w, size=x.shape, **how)
    found = conv_input(laid(g.astype(dtype), True), narrow[1], size=x.shape, **how)
    np.testing.assert_allclose(found, back, rtol=t, atol=10 * t)


def test_of_a_part_of_wider_images() -> None:
    rng = np.random.default_rng(1)
    x, w = laid(rng.standard_normal((2, 40, 20, 30)), True), rng.standard_normal((32, 1, 3, 3))
    part = x[:, 3:35, 1:, ::2]
    how = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=32)
    np.testing.assert_allclose(
        conv_forward(part, w, **how), library_window.conv_forward(part.copy(), w, **how), atol=1e-10
    )


def test_infinities_and_nan_stay_where_they_are_seen() -> None:
    x = np.ones((1, 64, 20, 20), "f4")
    x[0, 5, 3, 4], x[0, 7, 0, 0] = np.inf, np.nan
    w = np.ones((64, 1, 3, 3), "f4")
    how = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=64)
    np.testing.assert_array_equal(conv_forward(laid(x, True), w, **how), conv_forward(x, w, **how))
