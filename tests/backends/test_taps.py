"""Sums of taps: by the kernel and by the array library; and the samples at grids that are made of them."""

import itertools
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau._backends.cpu import library_taps

SHAPES = [(1, 1, 7, 1, 5000), (2, 3, 50, 4, 333), (3, 17, 11, 8, 130), (2, 5, 1000, 16, 67), (2, 70, 3, 2, 31)]


def case(shape: tuple[int, ...], dtype: str) -> tuple[Any, ...]:
    n, c, cells, taps, points = shape
    rng = np.random.default_rng(points)
    place = rng.integers(-2, cells, (n, taps, points)).astype(np.int32)
    x, g, weight = (rng.standard_normal(s).astype(dtype) for s in ((n, c, cells), (n, c, points), (n, taps, points)))
    return x, g, place, weight


def three(x: Any, g: Any, place: Any, weight: Any) -> list[Any]:
    return [
        library_taps.taps_read(x, place, weight),
        library_taps.taps_spread(g, place, weight, cells=x.shape[2]),
        library_taps.taps_weigh(x, place, g),
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_kernels_and_the_array_library_agree(monkeypatch: Any, shape: tuple[int, ...], dtype: str) -> None:
    given = case(shape, dtype)
    given[0][:, :, 0] = np.inf  # what no tap reads is not looked at
    given = (*given[:2], np.where(given[2] == 0, -1, given[2]), given[3])
    found = three(*given)
    monkeypatch.setattr(library_taps, "LARGE", 1 << 60)
    t = {"float32": 1e-4, "float64": 1e-11, "float16": 4e-3}[dtype]
    for a, b in zip(found, three(*given), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype and np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=t, atol=10 * t)


def test_threads_change_nothing() -> None:
    before, results = flambeau.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            flambeau.set_num_threads(threads)
            results.append([r.tobytes() for r in three(*case((5, 9, 300, 4, 2000), "float32"))])
    finally:
        flambeau.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_second_derivatives_are_those_of_differences(mode: str) -> None:
    rng = np.random.default_rng(0)
    x = flambeau.tensor(rng.standard_normal((1, 2, 3, 4)), requires_grad=True)
    grid = flambeau.tensor(rng.uniform(-1.2, 1.2, (1, 2, 1, 2)), requires_grad=mode != "nearest")
    sample = lambda x, grid: flambeau.nn.functional.grid_sample(x, grid, mode=mode, align_corners=False)
    assert flambeau.autograd.gradcheck(sample, (x, grid)) and flambeau.autograd.gradgradcheck(sample, (x, grid))


GRIDS = [((2, 3, 5, 7), (11, 13)), ((1, 2, 1, 1), (3, 2)), ((2, 9, 9, 4), (40, 30)), ((2, 2, 3, 4, 5), (6, 7, 8)),
         ((0, 2, 3, 3), (2, 2)), ((2, 0, 3, 3), (2, 2)), ((1, 2, 3, 3), (0, 2))]  # fmt: skip


@pytest.mark.parametrize(("shape", "size"), GRIDS, ids=str)
def test_samples_are_those_of_torch(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    a, g = rng.standard_normal(shape), rng.standard_normal((*shape[:2], *size))
    at = rng.uniform(-1.5, 1.5, (shape[0], *size, len(size)))
    at.reshape(-1)[:3] = [1.0, -1.0, 0.0][: at.size]  # some lie on edges
    strange = at.copy()
    strange.reshape(-1)[:4] = [np.nan, np.inf, -np.inf, 9.0][: at.size]  # PyTorch's backward pass crashes at those
    modes = ["bilinear", "nearest", "bicubic"][: 5 - len(size)]
    for mode, padding, align in itertools.product(modes, ("zeros", "border", "reflection"), (True, False)):
        results = []
        for lib in (torch, flambeau):
            x, grid = (lib.tensor(v, requires_grad=True) for v in (a, at))
            y = lib.nn.functional.grid_sample(x, grid, mode, padding, align)
            y.backward(lib.tensor(g))
            z = lib.nn.functional.grid_sample(x, lib.tensor(strange), mode, padding, align)
            results.append([t.detach().numpy() for t in (y, z, x.grad, grid.grad)])
        for theirs, ours in zip(*results, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
