"""Copies of large arrays: every bit arrives, whatever the layouts, dtypes and values."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau as fl
from flambeau._backends.cpu.copies import copy_into
from flambeau._backends.cpu.library_memory import converted

DTYPES = ["f4", "f8", "i4", "i8", "u4", "c8", "i2", "u1"]


def filled(shape, dtype):
    """Any bits at all, NaNs with payloads among them."""
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.random.default_rng(n).integers(0, 256, n, np.uint8).view(dtype).reshape(shape)


def check(x):
    out = np.empty(x.shape, x.dtype)
    copy_into(out, x)
    assert out.tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_turned(dtype):
    a = filled((211, 307), dtype)
    for x in (a.T, a[::-1].T, a.T[:, ::-1], a[:, ::2].T, a[3:, 5:].T, a.T[1:]):
        check(x)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_permuted(order):
    for shape in [(29, 37, 41), (1, 300, 200), (2, 7, 4001)]:
        check(filled(shape, "f4").transpose(order))
        check(filled(shape, "i8").transpose(order))


def test_others():
    a = filled((300, 301), "f4")
    check(a)
    check(a[:, :1])
    check(np.broadcast_to(a[:1], (300, 301)).T)
    check(filled((301, 300), "f2").T)
    check(filled((301, 300), np.uint8).T)
    memory = filled((300, 300), "f4")
    want = memory.T.copy()
    copy_into(memory, memory.T)  # onto itself
    assert memory.tobytes() == want.tobytes()
    odd = np.zeros(4 * 90_000 + 1, np.uint8)[1:].view("f4").reshape(300, 300)
    copy_into(odd, a[:, :300].T)
    assert odd.tobytes() == a[:, :300].T.tobytes()


def test_where_tensors_use_them():
    x = fl.arange(300 * 400).reshape(300, 400).float().requires_grad_()
    for made in (x.t().contiguous(), x.t().reshape(-1).view(400, 300), x.t().clone(memory_format=fl.contiguous_format)):
        assert made.is_contiguous() and fl.equal(made.t(), x)
    y = x.view(2, 150, 400).transpose(1, 2).reshape(2, -1)
    y.sum().backward()
    assert (x.grad == 1).all()
    assert x.view(1, 300, 20, 20).contiguous(memory_format=fl.channels_last).stride() == (120000, 1, 6000, 300)


def test_broadcast_and_bits_of_any_kind():
    for dtype in ("f4", "u1", ml_dtypes.bfloat16, bool, "c16"):
        x = np.arange(700).astype(dtype)
        out = np.empty((500, 700), dtype)
        copy_into(out, x)
        assert out.tobytes() == np.broadcast_to(x, out.shape).tobytes()
        copy_into(out[:, 3:-2], x[5])
        assert (out[:, 3:-2] == x[5]).all() and (out[:, :3] == x[:3]).all() and (out[:, -2:] == x[-2:]).all()


def test_parts_of_a_larger_array():
    x = filled((8, 3, 156, 157), "f4")
    out = np.zeros((8, 3, 160, 161), "f4")
    copy_into(out[:, :, 1:-3, 3:-1], x)
    assert out[:, :, 1:-3, 3:-1].tobytes() == x.tobytes() and out[:, :, 0].sum() == out[..., :3].sum() == 0


@pytest.mark.parametrize("shape", [(16385,), (3, 7, 1601), (2, 16384), (5,), (0,)], ids=str)
@pytest.mark.parametrize("wide", ["f4", "f8"])
@pytest.mark.parametrize("narrow", ["uint8", "uint16", "uint32"])
def test_floats_as_unsigned_integers_wrap_around(shape: tuple[int, ...], wide: str, narrow: str) -> None:
    x = (np.random.default_rng(0).standard_normal(shape) * 300).astype(wide)
    for array in (x, x[::2], x.T):
        found = converted(array, dtype=getattr(fl, narrow))
        np.testing.assert_array_equal(found, array.astype(np.int64).astype(narrow))
        assert found.dtype == narrow


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "bool", "complex64"])
def test_small_turned_pieces_are_joined(dtype: str) -> None:

    parts = [fl.arange(i, i + 80 * 70).reshape(80, 70).to(getattr(fl, dtype)).t() for i in range(5)]
    for dim in (0, 1):
        found = fl.cat(parts, dim)
        expected = fl.cat([p.contiguous() for p in parts], dim)
        assert fl.equal(found, expected) and found.is_contiguous()
    assert fl.equal(fl.stack(parts, 1), fl.stack([p.contiguous() for p in parts], 1))
