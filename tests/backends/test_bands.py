"""Bands: one dim by a banded matrix, by the kernel and by the array library, and the interpolations made of it."""

import numpy as np
import pytest

from flambeau._backends.cpu import library_product
from flambeau._operators.resample import _bands

SHAPES = [(3, 41, 67), (64, 33, 1), (2, 3, 40, 37), (1, 5, 3000), (3000, 3), (7, 1, 1300)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_kernel_and_the_array_library_agree(shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for dim, n in enumerate(shape):
        for kind, points in (
            ("nearest", 2 * n),
            ("linear", 2 * n + 1),
            ("cubic", n + 3),
            ("linear antialias", n // 3 + 1),
        ):
            bands, turned = (_bands(kind, n, points, False, None, t) for t in (False, True))
            for given, b in ((x, bands), (None, turned)):
                if given is None:
                    given = library_product._banded(x, dim, bands)
                found = library_product.banded(given, dim=dim - x.ndim, bands=b)
                expected = library_product._banded(given, dim, b)
                assert found.shape == expected.shape and found.dtype == expected.dtype
                np.testing.assert_allclose(found, expected, rtol=2e-3 if dtype == "float16" else 1e-5, atol=2e-3 if dtype == "float16" else 1e-5)  # fmt: skip


@pytest.mark.parametrize("size", [4, 64])
def test_only_what_has_a_weight_is_read(size):
    x = np.zeros((2, 4, size, size), np.float32)
    x[..., 1, 2], x[..., 3, :] = np.inf, -0.0
    for dim in (-1, -2):
        out = library_product.banded(x, dim=dim, bands=_bands("nearest", size, 2 * size, False, None, False))
        assert np.isinf(out).sum() == 2 * np.isinf(x).sum() and not np.isnan(out).any()
        assert np.signbit(out).sum() == 2 * np.signbit(x).sum()


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(7, 11), (80, 64), (40, 1)])
@pytest.mark.parametrize("last", [False, True])
def test_interpolations_are_those_of_torch(mode, size, last):
    torch = pytest.importorskip("torch")
    import flambeau

    g = np.random.default_rng(1).standard_normal((2, 5, *size)).astype(np.float32)
    a = np.random.default_rng(0).standard_normal((2, 5, 40, 37)).astype(np.float32)
    results = []
    for lib in (torch, flambeau):
        x = lib.from_numpy(a.copy())
        x = (x.contiguous(memory_format=lib.channels_last) if last else x).detach().requires_grad_()
        y = lib.nn.functional.interpolate(x, size=size, mode=mode)
        y.backward(lib.from_numpy(g))
        results.append((y.detach().numpy(), y.stride(), x.grad.numpy()))
    (y, strides, dx), (fy, fstrides, fdx) = results
    assert strides == fstrides
    np.testing.assert_allclose(fy, y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fdx, dx, rtol=1e-4, atol=1e-5)
