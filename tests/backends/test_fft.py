"""Fourier transforms by kernels against NumPy's in double precision."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau as fl
from flambeau._backends.cpu import fft, fft_plan as kernels, fft_row, library_transform as library
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads

SIZES = [4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 24, 30, 35, 49, 64, 96, 128, 210, 256, 343, 512, 1000, 1024, 2048]


def close(got, want, dtype):
    assert got.dtype == dtype and got.shape == want.shape
    tolerance = 3e-7 if got.real.dtype == np.float32 else 6e-16
    assert np.abs(got - want).max() <= tolerance * np.log2(got.size + 2) * max(1e-30, np.abs(want).max())


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_every_kind_along_rows_and_columns(n, real):
    rng = np.random.default_rng(n)
    both = np.dtype("c8" if real == np.float32 else "c16")
    for batch in (4, 16, 19):
        z = (rng.standard_normal((batch, n)) + 1j * rng.standard_normal((batch, n))).astype(both)
        for dim in (1, 0):
            x = np.ascontiguousarray(z if dim else z.T)
            r = np.ascontiguousarray(x.real)
            h = np.ascontiguousarray(np.take(x, range(n // 2 + 1), dim))
            wide, rw, hw = x.astype("c16"), r.astype("f8"), h.astype("c16")
            close(kernels.one(x, "c2c", dim, n, False, 1.0), np.fft.fft(wide, axis=dim), both)
            close(kernels.one(x, "c2c", dim, n, True, 1 / n), np.fft.ifft(wide, axis=dim), both)
            close(kernels.one(r, "r2c", dim, n, False, 0.5), np.fft.rfft(rw, axis=dim) / 2, both)
            close(kernels.one(r, "r2full", dim, n, False, 1.0), np.fft.fft(rw, axis=dim), both)
            close(kernels.one(h, "c2r", dim, n, True, 1 / n), np.fft.irfft(hw, n, axis=dim), np.dtype(real))


def test_radices():
    for n in range(1, 3000):
        found = fft.factors(n)
        assert found is None or np.prod(found, dtype=int) == n
        smooth = n
        for p in (2, 3, 5, 7):
            while smooth % p == 0:
                smooth //= p
        assert (found is None) == (smooth != 1)


SHAPES = [((40, 64), (1,)), ((64, 40), (0,)), ((5, 16, 48), (0, 1, 2)), ((6, 30, 32), (1, 2)), ((8, 6, 5, 14), (2, 1)), ((3, 2048), (1,)), ((11, 300), (1,))]  # fmt: skip


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_several_dims_and_norms(shape, mode):
    shape, dims = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    norm = ("backward", "ortho", "forward")[mode]
    back = ("forward", "ortho", "backward")[mode]
    close(library.c2c(x, dims=dims, mode=mode, forward=True), np.fft.fftn(x, axes=dims, norm=norm), x.dtype)
    close(library.c2c(x, dims=dims, mode=mode, forward=False), np.fft.ifftn(x, axes=dims, norm=back), x.dtype)
    half = np.fft.rfftn(x.real, axes=dims, norm=norm)
    close(library.r2c(x.real, dims=dims, mode=mode, onesided=True), half, x.dtype)
    full = np.fft.fftn(x.real, axes=dims, norm=norm)
    close(library.r2c(x.real, dims=dims, mode=mode, onesided=False), full, x.dtype)
    sizes = [shape[d] for d in dims]
    want = np.fft.irfftn(half, sizes, axes=dims, norm=back)
    close(library.c2r(half, dims=dims, mode=mode, last=sizes[-1]), want, x.real.dtype)
    turned = library.c2c(
        np.asfortranarray(x), dims=dims, mode=mode, forward=True
    )  # dims that are rows there, columns here
    close(turned, library.c2c(x, dims=dims, mode=mode, forward=True), x.dtype)


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("n", [32, 64, 96, 128, 256, 512, 576, 800, 1024, 1120, 1536, 2240, 4096, 1 << 15])
def test_rows_one_at_a_time(n, real):
    """Squares that overlap (n is no multiple of a square), one row, rows that begin at any address; lanes above and below it."""
    rng = np.random.default_rng(n)
    both = np.dtype("c8" if real == np.float32 else "c16")
    lanes, points = fft_row.parts("r2c", kernels.REAL[np.dtype(real).name], n)
    assert 2 * lanes * points == n and lanes <= points
    for batch in (1, 3, 9):
        r = np.concatenate([np.zeros(1), rng.standard_normal(batch * n)]).astype(real)[1:].reshape(batch, n)
        z = np.concatenate([np.zeros(1), rng.standard_normal(batch * n) + 1j * rng.standard_normal(batch * n)]).astype(both)[1:].reshape(batch, n)  # fmt: skip
        close(kernels.one(r, "r2c", 1, n, False, 0.5), np.fft.rfft(r.astype("f8")) / 2, both)
        close(kernels.one(z, "c2c", 1, n, False, 2.0), np.fft.fft(z.astype("c16")) * 2, both)
        close(kernels.one(z, "c2c", 1, n, True, 1 / n), np.fft.ifft(z.astype("c16")), both)
        got = kernels.one(z.copy(), "c2c", 1, n, False, 1.0, own=True)
        close(got, np.fft.fft(z.astype("c16")), both)


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("n", [256, 1024, 2048])
def test_many_rows(n, real):
    """The next row is asked for while one is computed; the last chunks are not whole."""
    x = np.random.default_rng(n).standard_normal(((1 << 19) // n * 3 + 5, n)).astype(real)
    close(
        kernels.one(x, "r2c", 1, n, False, 1.0),
        np.fft.rfft(x.astype("f8")),
        np.dtype("c8" if real == np.float32 else "c16"),
    )


def test_threads_change_nothing():
    x = np.random.default_rng(1).standard_normal((200, 120)).astype(np.float32)
    rows = np.random.default_rng(2).standard_normal((50, 1024)).astype(np.float32)
    before, got = get_num_threads(), []
    try:
        for n in (1, 2, 7):
            set_num_threads(n)
            got.append([kernels.one(a, "r2c", 1, a.shape[1], False, 1.0) for a in (x, rows)])
    finally:
        set_num_threads(before)
    for other in got[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(got[0], other, strict=True))


def test_gradients_of_large_transforms():
    x = fl.randn(20, 256, dtype=fl.float64, requires_grad=True)
    g = fl.randn(20, 129, dtype=fl.float64)
    (fl.fft.rfft(x).abs() * g).sum().backward()
    small = x.detach()[:2, :].clone().requires_grad_()
    (fl.fft.rfft(small).abs() * g[:2]).sum().backward()
    assert np.allclose(x.grad[:2].numpy(), small.grad.numpy())
