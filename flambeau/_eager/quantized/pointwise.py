"""Readings: functions of single elements, and reductions that PyTorch computes on dequantized elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._backends.quantized_arrays import (
    PerTensor,
    code as code_of,
    codes,
    decode,
    decode_fused,
    encode,
    quantized,
)
from flambeau._eager.quantized import like, reading
from flambeau._eager.quantized.convert import is_quantized
from flambeau._operators.op import REGISTRY
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes


def floats(t: Any) -> Any:
    """What a tensor stands for; anything else as it is."""
    return wrap(decode(t._a)) if hasattr(t, "_a") and is_quantized(t) else t


def uniform(t: Any, name: str) -> Any:
    """The quantizer of a tensor that has one scale."""
    q = t._a.quantizer
    if q.axis is not None:
        raise RuntimeError(
            "Expected quantizer->qscheme() == kPerTensorAffine to be true, but got false.  (Could this error message be improved?  If so, "
            "please report an enhancement request to PyTorch.)"
        )
    return q


def through(x: Any, scale: float, zero_point: int, d: Any) -> Any:
    """A float tensor in codes, as operators on single elements make them."""
    q = PerTensor(scale, zero_point)
    return wrap(quantized(code_of(np.ascontiguousarray(x._a, np.float32), q, d), d, q))


def seen(t: Any) -> Any:
    """What a quantized tensor stands for, as operators on single elements see it."""
    return wrap(decode_fused(t._a))


# ---------------------------------------------------------------- comparisons


def _compared(overload: str) -> None:
    op = REGISTRY[overload]
    reading(overload)(lambda input, other: op(floats(input), floats(other)))


for _name in ("eq.Tensor", "ne.Tensor", "lt.Tensor", "le.Tensor", "gt.Tensor", "ge.Tensor"):
    _compared(_name)


@reading("equal")
def equal(input: Any, other: Any) -> bool:
    if not (is_quantized(input) and is_quantized(other)):
        raise RuntimeError("Expected both tensors to be quantized")
    return bool(input.dtype is other.dtype and input._a.quantizer.same(other._a.quantizer)
                and np.array_equal(codes(input._a), codes(other._a)))  # fmt: skip


# ---------------------------------------------------------------- in the same codes


def clamped(t: Any, low: int | None, high: int | None) -> Any:
    """Codes kept between two others."""
    return like(t, wrap(np.clip(codes(t._a), low, high).astype(codes(t._a).dtype)))


@reading("relu")
def relu(input: Any) -> Any:
    return clamped(input, uniform(input, "relu").zero_point, None)


def code(t: Any, value: float) -> int:
    """The code of a number."""
    return int(code_of(np.asarray(value, np.float32), t._a.quantizer, t.dtype))


@reading("clamp", "hardtanh")
def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    uniform(input, "clamp")
    if min is None and max is None:
        raise RuntimeError("Both min and max not specified")
    return clamped(input, None if min is None else code(input, min), None if max is None else code(input, max))


def _elementwise(overload: str) -> None:
    """Computed on what the elements stand for, and quantized as they were."""
    op = REGISTRY[overload]

    def same_codes(input: Any, *args: Any, **kwargs: Any) -> Any:
        q = uniform(input, overload)
        return through(op(seen(input), *args, **kwargs), q.scale, q.zero_point, input.dtype)

    reading(overload)(same_codes)


for _name in ("gelu", "leaky_relu", "threshold"):
    if _name in REGISTRY:
        _elementwise(_name)


def _reduced(overload: str) -> None:
    """Dequantized, reduced, and quantized again."""
    op = REGISTRY[overload]

    def reduced(input: Any, *args: Any, **kwargs: Any) -> Any:
        q = uniform(input, overload)
        r = op(floats(input), *args, **kwargs)
        return wrap(quantized(encode(r._a, q, input.dtype), input.dtype, q))

    reading(overload)(reduced)


for _name in ("mean.dim", "std.correction", "std", "std.all"):
    _reduced(_name)


# ---------------------------------------------------------------- in codes of their own


def _bounded(overload: str, scales: dict[Any, tuple[float, int]]) -> None:
    """Functions whose values lie in a fixed range: their codes cover just that."""
    op = REGISTRY[overload]

    def own_codes(input: Any) -> Any:
        uniform(input, overload)
        return through(op(seen(input)), *scales[input.dtype], input.dtype)

    reading(overload)(own_codes)


_UNIT = {dtypes.quint8: (1 / 256, 0), dtypes.qint8: (1 / 256, -128), dtypes.qint32: (2.0**-32, 0)}
_SIGNED = {dtypes.quint8: (2 / 256, 128), dtypes.qint8: (2 / 256, 0), dtypes.qint32: (2.0**-31, 0)}
for _name, _scales in {"sigmoid": _UNIT, "tanh": _SIGNED, "hardsigmoid": _UNIT}.items():
    if _name in REGISTRY:
        _bounded(_name, _scales)


def lifted(fn: Callable[[Any], Any], t: Any, scale: float, zero_point: int) -> Any:
    """A function of floats, of a quantized tensor, in other codes."""
    return through(fn(seen(t)), scale, zero_point, t.dtype)
