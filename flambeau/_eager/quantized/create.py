"""Quantized tensors that are made without elements, or filled with one value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flambeau._backends.quantized_arrays import PerTensor, QuantizedArray, apart, quantized
from flambeau._eager.names import public
from flambeau._eager.quantized import reading, refused
from flambeau._eager.quantized.convert import is_quantized, per_channel
from flambeau._operators.op import Op
from flambeau._tensor import Tensor, wrap
from flambeau._values import dtype as dtypes
from flambeau._values.qscheme import CODES, PACKED, per_channel_affine_float_qparams, per_tensor_affine


def _empty(size: Any, quantizer: Any, d: Any, memory_format: Any) -> Any:
    if d not in CODES:
        spoken = dtypes.SPOKEN[dtypes.get_default_dtype() if d is None else d]
        raise RuntimeError(f"ScalarType {spoken} is not supported in new_qtensor.")
    shape = (size,) if isinstance(size, int) else tuple(size)
    integers = dtypes.of(np.dtype(CODES[d][0]))
    fmt = None if memory_format is None or memory_format.name == "preserve_format" else memory_format
    return wrap(quantized(public("empty")(shape, dtype=integers, memory_format=fmt)._a, d, quantizer))


@reading("_empty_affine_quantized")
def _empty_affine_quantized(
    size: Any, *, dtype: Any, scale: float, zero_point: int, memory_format: Any, **_: Any
) -> Any:
    return _empty(size, PerTensor(scale, zero_point), dtype, memory_format)


@reading("_empty_per_channel_affine_quantized")
def _empty_per_channel_affine_quantized(
    size: Any, *, scales: Any, zero_points: Any, axis: int, dtype: Any, memory_format: Any, **_: Any
) -> Any:
    return _empty(size, per_channel(scales, zero_points, axis), dtype, memory_format)


@reading("empty_quantized")
def empty_quantized(size: Any, qtensor: Any, *, dtype: Any, memory_format: Any, **_: Any) -> Any:
    if not is_quantized(qtensor):
        raise refused("qscheme", (qtensor,), "")
    return _empty(size, qtensor._a.quantizer, qtensor.dtype if dtype is None else dtype, memory_format)


def around(integers: Any, meaning: Any) -> Any:
    """The quantized tensor over the memory of a tensor whose dtype is quantized, by what a file says of it."""
    scheme, *rest = meaning
    if scheme is per_tensor_affine:
        quantizer: Any = PerTensor(*rest)
    else:
        scales, zeros, axis = rest
        if not isinstance(scales, Tensor):  # older files have lists
            floating = scheme is per_channel_affine_float_qparams
            scales = public("tensor")(scales) if floating else wrap(np.array(scales, np.float64))
            zeros = wrap(np.array(zeros, np.float32 if floating else np.int64))
        quantizer = per_channel(scales, zeros, axis)
    a = integers._a.view(QuantizedArray)
    a.quantizer = quantizer
    integers._a = a
    return integers


def unpacked(flat: Any, d: Any, shape: Any) -> Any:
    """The codes of bytes that hold several each, the first in the lowest bits."""
    c = apart(flat._a.view(np.uint8), PACKED[d])
    return wrap(np.ascontiguousarray(c.reshape(-1)[: math.prod(shape)].reshape(shape)).view(d.np))


def again(array: Any, like: Any) -> Any:
    """Another array of codes, which mean what those of `like` mean."""
    a = array.view(QuantizedArray)
    a.quantizer = like.quantizer
    return a


def created(op: Op, values: tuple[Any, ...], layout: Any, like: Any) -> Any:
    """`empty_like(q)` and its kind."""
    bound = {p.name: v for p, v in zip(op.params, values, strict=True)}
    d = bound.get("dtype") or like.dtype
    if op.aten.startswith("new_") and d in CODES:
        raise RuntimeError("cannot call qscheme on UnknownQuantizer")
    if d not in CODES:
        size = bound.get("size")
        return public(op.aten.removeprefix("new_"))(tuple(size), dtype=d) if size is not None else None
    inner = {"zeros_like": "zero_", "rand_like": "uniform_", "randn_like": "normal_", "randint_like": "random_.from"}
    if op.aten in inner:
        raise refused(inner[op.aten], (like,), "")
    a = like._a
    out = wrap(quantized(np.empty_like(a.view(CODES[a_dtype(a)][0], np.ndarray)), d, a.quantizer))
    if op.aten in ("ones_like", "full_like"):
        out.fill_(bound.get("fill_value", 1))
    return out


def a_dtype(a: Any) -> Any:
    """The dtype of an array."""
    return dtypes.of(a.dtype)
