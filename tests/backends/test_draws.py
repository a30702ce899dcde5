"""Random numbers by native code have the bits of the NumPy text that defines them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from flambeau._backends.cpu.draws import draws
from flambeau._backends.cpu.threads import get_num_threads, set_num_threads
from flambeau._values import mt19937, sampling
from flambeau._values.generator import Generator

SIZES = [1, 15, 16, 17, 623, 624, 625, 5000, 40001]


@pytest.fixture
def native():
    found = draws()
    if found is None:
        pytest.skip("no native code here")
    return found


def both(native, sample, monkeypatch, sizes=SIZES):
    """What one stream gives, drawn by NumPy and natively, at several sizes in a row."""
    slow, fast = Generator().manual_seed(7), Generator().manual_seed(7)
    for n in sizes:
        with monkeypatch.context() as patch:
            patch.setattr(mt19937, "_twist", None)
            want = sample(slow, n, None)
        got = sample(fast, n, native)
        assert got.dtype == want.dtype and got.tobytes() == want.tobytes()
        assert np.array_equal(slow.get_state(), fast.get_state())


NUMBERS = {
    "rand": lambda d: lambda g, n, native: sampling.uniform(g, n, d, native=native),
    "uniform": lambda d: lambda g, n, native: sampling.uniform(g, n, d, -3.7, 11.3, native),
    "randn": lambda d: lambda g, n, native: sampling.normal(g, n, d, 0.0, 1.0, True, native),
    "normal": lambda d: lambda g, n, native: sampling.normal(g, n, d, 0.3, 2.5, True, native),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", NUMBERS)
def test_same_bits(native, name, dtype, monkeypatch):
    both(native, NUMBERS[name](np.dtype(dtype)), monkeypatch)


@pytest.mark.parametrize("span", [1, 2, 1000, (1 << 28) - 1, 1 << 28, 1 << 40, (1 << 64) - 1])
def test_same_integers(native, span, monkeypatch):
    for low, dtype in ((0, np.int64), (-5, np.int32), (-(1 << 62), np.int64)):
        sample = lambda g, n, x, d=np.dtype(dtype), low=low: sampling.integers(g, n, d, low, span, x)
        both(native, sample, monkeypatch)


def test_same_choices(native, monkeypatch):
    for d in (np.bool_, np.float32, np.float64, np.int64):
        for p in (0.0, 0.3, 1.0):
            sample = lambda g, n, x, p=p, d=d: sampling.bernoulli(g, n, p, np.dtype(d), x).astype(d)
            both(native, sample, monkeypatch)
    both(native, lambda g, n, x: sampling.randperm(g, n, np.dtype(np.int64), x), monkeypatch)
    both(native, lambda g, n, x: sampling.randperm(g, n, np.dtype(np.int16), x), monkeypatch, [1, 2, 300, 5000])


def test_threads_change_nothing(native):
    before, got = get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            set_num_threads(threads)
            g = Generator().manual_seed(3)
            got.append([NUMBERS[name](np.dtype(np.float32))(g, 100_003, native).tobytes() for name in NUMBERS])
    finally:
        set_num_threads(before)
    assert got[0] == got[1] == got[2]


@pytest.mark.parity
def test_large_draws_are_pytorchs(torch):
    import flambeau as fl

    n = 300_007
    programs = [
        lambda t: t.randn(n),
        lambda t: t.randn(n // 4, dtype=t.float64),
        lambda t: t.rand(n),
        lambda t: t.empty(n).uniform_(-2, 5),
        lambda t: t.randint(3, 700, (n,)),
        lambda t: t.randint(0, 1 << 40, (n,)),
        lambda t: t.empty(n).bernoulli_(0.2),
        lambda t: t.randperm(n),
        lambda t: t.multinomial(t.rand(50, 40), 6, True),
        lambda t: t.nn.functional.dropout(t.ones(n), 0.4),
    ]
    for t in (torch, fl):
        t.manual_seed(11)
    for program in programs:
        assert np.array_equal(program(fl).numpy(), program(torch).numpy())


def test_words_may_begin_anywhere_in_a_block(native, monkeypatch):
    def sample(g, n, x):
        odd = sampling.uniform(g, 3, np.dtype(np.float32), native=x)
        found = [sampling.bernoulli(g, n, 0.5, np.dtype(d), x).astype(d) for d in (np.bool_, np.float32, np.float64)]
        found += [
            sampling.integers(g, n, np.dtype(np.int64), 0, 1 << 40, x),
            sampling.normal(g, 32, np.dtype("d"), 0.0, 1.0, True, x),
        ]
        return np.concatenate([odd, *found])

    both(native, sample, monkeypatch, [1, 16, 17, 100, 311, 312, 313])
