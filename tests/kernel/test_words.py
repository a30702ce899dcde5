"""Every word of the language on every dtype: native code gives what the array reading gives, or refuses by name."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau._backends.cpu import engine
from flambeau._backends.cpu.arrays import K as ARRAYS
from flambeau._backends.cpu.compile import compile
from flambeau._kernel.language import BINARY, UNARY
from flambeau._kernel.record import Record
from flambeau._values.dtype import BY_NAME

pytestmark = pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
k = Record()
DTYPES = ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"]
REFUSED = {
    "complex",
    "polygamma",
    "zeta",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "lshift",
    "rshift",
    "invert",
}


def operands(dtype: str, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    if dtype == "bool":
        return [rng.random(70) < 0.5 for _ in range(n)]
    if dtype.startswith("float"):
        return [(rng.uniform(0.05, 0.95, 70) + i * 0.01).astype(dtype) for i in range(n)]
    return [rng.integers(1, 7, 70).astype(dtype) for _ in range(n)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("word", [*UNARY, *BINARY])
def test_word(word: str, dtype: str) -> None:
    args = operands(dtype, 1 if word in UNARY else 2)
    if word == "acosh":
        args[0] = (args[0] + 1).astype(dtype)
    try:
        with np.errstate(all="ignore"):
            want = np.asarray(getattr(ARRAYS, word)(*args))
    except (TypeError, ValueError):
        return  # the array library has no such word for the dtype
    try:
        got = compile(lambda *xs: getattr(k, word)(*xs))(*args)
    except NotImplementedError:
        refused = True
    else:
        refused = False
    if refused:
        assert word in REFUSED or not dtype.startswith("float")
        return
    if got.dtype != want.dtype:
        assert not dtype.startswith("float")
        return  # such operands are cast before the word, by every operator
    np.testing.assert_allclose(np.asarray(got, "d"), np.asarray(want, "d"), rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("to", [*DTYPES, "float16", "bfloat16", "uint16", "int16", "uint32", "uint64"])
@pytest.mark.parametrize("dtype", [*DTYPES, "float16", "bfloat16"])
def test_cast(dtype: str, to: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(70) * 20).astype(BY_NAME[dtype].np) if dtype != "bool" else rng.random(70) < 0.5
    if dtype in ("float32", "float64", "float16", "bfloat16") and to.startswith("u"):
        x = np.abs(x)
    with np.errstate(all="ignore"):
        want = x.astype(BY_NAME[to].np)
    got = compile(lambda x: k.cast(x, BY_NAME[to]))(x)
    if dtype == to:
        return
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(np.asarray(got, "d"), np.asarray(want, "d"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_round_to_even(dtype: str) -> None:
    """Every kind of float32: halfway cases, overflow, denormals, NaN."""
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    halves = (np.arange(2000, dtype=np.uint32) << 16) * 30 + 0x8000
    x = np.concatenate(
        [bits.view("f"), halves.view("f"), np.array([np.nan, np.inf, -np.inf, 65519, 65520, 3.4e38, 1e-40], "f")]
    )
    with np.errstate(all="ignore"):
        want = x.astype(BY_NAME[dtype].np)
    got = compile(lambda x: k.cast(x, BY_NAME[dtype]))(x)
    same = (got.view(np.uint16) == want.view(np.uint16)) | (np.isnan(x) & np.isnan(got.astype("f")))
    assert same.all()


def test_layout_is_kept() -> None:
    """A pointwise result lies as its operands do; others are dense."""
    x = np.random.default_rng(0).standard_normal((5, 6, 7)).astype("f")
    out = compile(lambda x: k.exp(x))(x.transpose(2, 0, 1))
    assert out.strides == x.transpose(2, 0, 1).strides
    np.testing.assert_allclose(out, np.exp(x).transpose(2, 0, 1), rtol=1e-6)
    mixed = compile(lambda x, y: x + y)(x.transpose(0, 2, 1), np.zeros((7, 6), "f"))
    assert mixed.strides == (168, 4, 28)  # the first operand's, as PyTorch has it
    row = compile(lambda x, y: x + y)(np.zeros((5, 1)), np.zeros((4, 5)).T)
    assert row.strides == (8, 40)
    last = compile(lambda x, y: x * y)(np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2), np.zeros((3, 1, 1)))
    assert last.strides == (480, 8, 120, 24)
    total = compile(lambda x: k.sum(x, [0]))(x.T)
    assert total.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neighbours(dtype: str) -> None:
    edges = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 3e38, -3e38, 1.2e-38, 1e-45], dtype)
    rng = np.random.default_rng(0)
    x, y = (a.ravel() for a in np.meshgrid(edges, np.concatenate([edges, rng.standard_normal(60).astype(dtype)])))
    with np.errstate(all="ignore"):
        want = np.nextafter(x, y)
    got = compile(lambda x, y: k.nextafter(x, y))(x, y)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got)[got == 0], np.signbit(want)[want == 0])
