"""Flat functions on integers and booleans say what the general lane says: values, dtypes, strides, refusals in the same words."""

import numpy as np
import pytest

import flambeau as fl
from flambeau import _operators
from flambeau._eager import call, derive
from flambeau._operators.op import REGISTRY, REQUIRED

_operators.load()


def usable(op) -> bool:
    return (
        op.kind == "pointwise"
        and "function" in op.variants
        and op.promote != "none"
        and all(p.default is not REQUIRED for p in op.params if not p.is_tensor)
        and all(p.default is not None for p in op.params if p.is_tensor)
    )


OPS = sorted({op.overload: op for op in REGISTRY.values() if usable(op)}.items())
LAYOUTS = {
    "dense": lambda n, d: [drawn((3, 5), d, i) for i in range(n)],
    "transposed": lambda n, d: [drawn((5, 3), d, i).t() for i in range(n)],
    "broadcast": lambda n, d: [drawn((3, 1) if i else (5,), d, i) for i in range(n)],
    "every second": lambda n, d: [drawn((6, 5), d, i)[::2] for i in range(n)],
    "one number": lambda n, d: [drawn((), d, i) for i in range(n)],
    "expanded": lambda n, d: [drawn((1, 5), d, i).expand(3, 5) for i in range(n)],
    "nothing": lambda n, d: [drawn((0, 5), d, i) for i in range(n)],
    "misfits": lambda n, d: [drawn((2 + i,), d, i) for i in range(n)],
}


def drawn(shape, dtype, seed):
    low, high = (0, 2) if dtype is fl.bool else (0, 100) if dtype is fl.uint8 else (-100, 100)
    return fl.from_numpy(np.asarray(np.random.default_rng(seed).integers(low, high, shape))).to(dtype)


def answer(fn, *args):
    try:
        r = fn(*args)
    except Exception as e:
        return type(e), str(e)
    return r.dtype, r.stride(), r.shape, r.tolist()


def called(op, given):
    """(what the flat function says, what the general lane says)."""
    tensors = iter(given)
    values = tuple(next(tensors) if p.is_tensor else p.default for p in op.params)
    return answer(derive.function(op), *given), answer(call.general, op, values)


@pytest.mark.parametrize(("name", "op"), OPS, ids=[n for n, _ in OPS])
@pytest.mark.parametrize("dtype", [fl.int64, fl.int32, fl.int8, fl.uint8, fl.bool], ids=str)
def test_tensors(name, op, dtype):
    n = sum(p.is_tensor for p in op.params)
    for what, make in LAYOUTS.items():
        given = [x.bool() if p.is_free else x for x, p in zip(make(n, dtype), (p for p in op.params if p.is_tensor), strict=True)]  # fmt: skip
        flat, general = called(op, given)
        assert flat == general or "nan" in str(flat), what


NUMBERS = [(n, o) for n, o in OPS if sum(p.is_tensor for p in o.params) == 2 and o.params[1].takes_number]


@pytest.mark.parametrize(("name", "op"), NUMBERS, ids=[n for n, _ in NUMBERS])
@pytest.mark.parametrize("dtype", [fl.int64, fl.int32, fl.uint8, fl.bool], ids=str)
@pytest.mark.parametrize("number", [0, 3, -2, 300, 2.5, True])
def test_numbers(name, op, dtype, number):
    for make in (LAYOUTS["dense"], LAYOUTS["one number"]):
        flat, general = called(op, [make(1, dtype)[0], number])
        assert flat == general or "nan" in str(flat)


def test_kinds_stay(agree):
    agree(
        lambda fl: (fl.arange(4) + 1, fl.arange(4) > 2, fl.arange(4) * fl.arange(4), ~(fl.arange(4) > 1), -fl.arange(3))
    )
    agree(lambda fl: (fl.arange(4) // 3, fl.arange(4) % 3, fl.arange(4) ** 2, fl.arange(4) == 2, fl.arange(4) * 2.5))
    agree(lambda fl: (fl.ones(2, dtype=fl.bool) + fl.ones(2, dtype=fl.bool)) & fl.tensor([True, False]))
    agree(lambda fl: fl.ones(2, dtype=fl.bool) - fl.ones(2, dtype=fl.bool), raises=RuntimeError)
    agree(lambda fl: fl.arange(4) & 1.5, raises=NotImplementedError)
