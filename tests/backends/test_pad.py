"""Padding with the array's own cells, and its derivative: against NumPy's padding, and as the matrix that it is."""

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau._backends.cpu.layouts import channels_last, laid
from flambeau._backends.cpu.library_pad import pad_edges, pad_edges_backward

CASES = [((3, 7), ((0, 0), (3, 2))), ((2, 3, 5), ((0, 0), (1, 0), (0, 4))), ((2, 3, 4, 6), ((0, 0), (0, 0), (3, 1), (2, 5))),
         ((1, 1, 1, 2), ((0, 0), (0, 0), (0, 0), (1, 1))), ((2, 2, 3, 4, 5), ((0, 0), (0, 0), (2, 2), (1, 3), (4, 0)))]  # fmt: skip
MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # NumPy's names


@pytest.mark.parametrize(("shape", "widths"), CASES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last", [False, True])
def test_values_and_gradients(shape: tuple[int, ...], widths: Any, mode: str, last: bool) -> None:
    last = last and len(shape) > 3
    cells = int(np.prod(shape))
    x = laid(np.arange(cells, dtype="f8").reshape(shape), last)
    out = pad_edges(x, widths=widths, mode=mode)
    np.testing.assert_array_equal(out, np.pad(x, widths, mode=MODES[mode]))
    assert channels_last(out) == (channels_last(x) and mode != "circular")
    g = laid(np.random.default_rng(0).standard_normal(out.shape), last)
    want = np.bincount(out.reshape(-1).astype(int), g.reshape(-1), cells).reshape(shape)
    for dtype, t in (("f8", 1e-12), ("f4", 1e-5), ("f2", 1e-2)):
        found = pad_edges_backward(g.astype(dtype), widths=widths, mode=mode)
        assert found.dtype == dtype and found.shape == shape
        np.testing.assert_allclose(found, want, rtol=t, atol=t)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pad", [(1, 2, 0, 1), (-1, 2, 1, -1)])
def test_derivatives_are_those_of_differences(mode: str, pad: tuple[int, ...]) -> None:
    x = flambeau.arange(12, dtype=flambeau.float64).reshape(1, 1, 3, 4).sin().requires_grad_()
    padded = lambda x: flambeau.nn.functional.pad(x, pad, mode=mode).pow(2)
    assert flambeau.autograd.gradcheck(padded, (x,)) and flambeau.autograd.gradgradcheck(padded, (x,))


LARGE_CASES = [((37, 1021), ((0, 0), (19, 7))), ((8, 61, 67), ((0, 0), (3, 0), (0, 5))), ((3, 5, 31, 47), ((0, 0), (0, 0), (4, 2), (11, 3))),
               ((2, 3, 13, 17, 29), ((0, 0), (0, 0), (2, 5), (1, 3), (4, 0))), ((2, 3, 4, 5, 290), ((1, 1), (0, 1), (2, 2), (1, 1), (3, 3))),
               ((33, 7, 11, 13), ((2, 1), (0, 0), (0, 0), (0, 0))), ((2, 9, 40, 41), ((0, 0), (0, 0), (3, 1), (0, 0)))]  # fmt: skip


@pytest.mark.parametrize(("shape", "widths"), LARGE_CASES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["i1", "f2", "f4", "f8", "c16"])
def test_large_arrays(shape: tuple[int, ...], widths: Any, mode: str, dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    for array in (x, laid(x, True)) if len(shape) > 3 else (x, x[..., ::2], x[::-1]):
        out = pad_edges(array, widths=widths, mode=mode)
        np.testing.assert_array_equal(out, np.pad(array, widths, mode=MODES[mode]))
        assert out.dtype == dtype and channels_last(out) == (channels_last(array) and mode != "circular")
