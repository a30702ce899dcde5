"""Tensors print as PyTorch prints them, character for character."""

import hashlib
import random

import numpy as np
import pytest

import flambeau

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "int16", "bool", "complex64", "complex128",
          "int8", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")  # fmt: skip
SHAPES = ((), (1,), (3,), (0,), (2, 0), (5,), (40,), (2, 3), (3, 2, 4), (1001,), (40, 30), (6, 200), (2, 2, 3, 4), (200, 8),
          (11, 10, 10), (1, 1, 1), (3, 1, 400), (12, 100))  # fmt: skip
OPTIONS = (
    *({"profile": "default"},) * 3, {"profile": "short"}, {"profile": "full"},
    *({"profile": "default", "precision": n} for n in (0, 1, 2, 8)),
    *({"profile": "default", "threshold": n} for n in (0, 5, 100)),
    *({"profile": "default", "threshold": 10, "edgeitems": n} for n in (0, 1, 2, 5)),
    *({"profile": "default", "linewidth": n} for n in (10, 40, 120, 200)),
    {"profile": "default", "sci_mode": True}, {"profile": "default", "sci_mode": False},
)  # fmt: skip


def numbers(rng, dtype, shape):
    """Numbers of many magnitudes, whole or not, with zeros, infinities and nans, as PyTorch tensors can be made of them."""
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if "int" in dtype:
        low = 0 if dtype.startswith("u") else -100
        return np.asarray(rng.integers(low, rng.choice([2, 10, 100]), shape))
    a = np.asarray(rng.standard_normal(shape) * 10.0 ** rng.choice([0, 0, 0, 1, 3, -3, -6, 9, 20, -20]))
    if "float8" in dtype:
        return np.clip(a, -100, 100)
    kind = rng.random()
    if kind < 0.3:
        a = np.asarray(np.round(a))
    elif kind < 0.4:
        a = np.asarray(a * 10.0 ** rng.integers(-5, 5, shape))
    if dtype.startswith("complex"):
        a = np.asarray(a + 1j * rng.standard_normal(shape) * rng.choice([1, 1e5, 0]))
    if rng.random() < 0.3 and a.ndim:
        a[rng.random(shape) < 0.2] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0])
    return a


def texts(fl, seed, count):
    """`count` texts of random tensors under random options."""
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    out = []
    try:
        for i in range(count):
            if i % 5 == 0:
                options = chance.choice(OPTIONS)
                fl.set_printoptions(**options)
            dtype, shape = chance.choice(DTYPES), chance.choice(SHAPES)
            a = numbers(rng, dtype, shape)
            if not (options["profile"] == "full" and a.size > 500):
                out.append(repr(fl.tensor(a).to(getattr(fl, dtype))))
    finally:
        fl.set_printoptions(profile="default")
    return out


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(4))
def test_random_tensors(torch, seed):
    for ours, theirs in zip(texts(flambeau, seed, 500), texts(torch, seed, 500), strict=True):
        assert ours == theirs


def test_random_tensors_recorded(agree):
    agree(lambda fl: hashlib.sha1("\n".join(texts(fl, 99, 300)).encode()).hexdigest())


CASES = {
    "whole": lambda fl: fl.arange(5.0),
    "matrix": lambda fl: fl.arange(6).reshape(2, 3),
    "halves": lambda fl: fl.arange(5) / 2,
    "scientific": lambda fl: fl.tensor([1e-5, 1.0, 1e5]),
    "nan": lambda fl: fl.tensor([float("nan"), float("inf"), -1.5]),
    "scalar": lambda fl: fl.tensor(3.25),
    "empty": lambda fl: (fl.empty(0), fl.empty(2, 0), fl.empty(0, dtype=fl.int64)),
    "summary": lambda fl: fl.arange(10000).reshape(100, 100),
    "dtype": lambda fl: fl.tensor([1, 2], dtype=fl.int32),
    "half": lambda fl: fl.tensor([1.5, 2], dtype=fl.float16),
    "complex": lambda fl: fl.tensor([1 + 2j, -3.5 - 1e-3j]),
    "bool": lambda fl: fl.tensor([[True], [False]]),
    "negative zero": lambda fl: fl.tensor([0.0, -0.0]),
    "requires grad": lambda fl: fl.ones(2, requires_grad=True),
    "history": lambda fl: fl.ones(2, 3, requires_grad=True) * 2,
    "wide history": lambda fl: fl.ones(9, requires_grad=True, dtype=fl.float64).exp() * 1234.5678,
    "parameter": lambda fl: fl.nn.Parameter(fl.ones(2, 2)),
    "meta": lambda fl: (fl.empty(2, 3, device="meta"), fl.empty(2, device="meta", dtype=fl.int64)),
    "view": lambda fl: fl.arange(12.0).reshape(3, 4).t()[::2],
    "list": lambda fl: [fl.ones(2), {"a": fl.zeros(1)}],
    "float8": lambda fl: fl.tensor([1.0, 2.5]).to(fl.float8_e4m3fn),
    "format": lambda fl: f"{fl.tensor(2.5):.3f} {fl.ones(2)} {fl.tensor(7)!s}",
}


@pytest.mark.parametrize("case", CASES)
def test_cases(agree, case):
    agree(lambda fl: repr(CASES[case](fl)) if not isinstance(CASES[case](fl), str) else CASES[case](fl))


def test_default_dtype(agree):
    def program(fl):
        fl.set_default_dtype(fl.float64)
        try:
            return repr([fl.ones(2), fl.ones(2, dtype=fl.float32), fl.ones(1, dtype=fl.complex128), fl.empty(0)])
        finally:
            fl.set_default_dtype(fl.float32)

    agree(program)


def test_options():
    from flambeau import _tensor_str

    before = _tensor_str.get_printoptions()
    assert before == {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
    with _tensor_str.printoptions(precision=1, sci_mode=True):
        assert repr(flambeau.ones(2)) == "tensor([1.0e+00, 1.0e+00])"
    assert _tensor_str.get_printoptions() == before


def test_printing_leaves_no_trace():
    x = flambeau.ones(3, requires_grad=True)
    y = x * 2
    repr(y)
    assert y.grad_fn is not None
    y.sum().backward()
    assert x.grad.tolist() == [2, 2, 2]
