"""Readings: quantized tensors made of floating ones and read back, and what they mean by their codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.quantized_arrays import (
    PerChannel,
    PerTensor,
    QuantizedArray,
    bounds,
    codes,
    decode,
    encode,
    quantized,
    side_by_side,
)
from flambeau._eager.quantized import codes_of, reading, refused
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes
from flambeau._values.qscheme import CODES, PACKED, per_channel_affine, per_tensor_affine
from flambeau._values.ranges import best_range, qparams_of_range, range_of

F32 = np.float32
OF_CODES = {dtypes.of(np.dtype(kind)): d for d, (kind, *_) in list(CODES.items())[:3]}  # int8 -> qint8, ...


def is_quantized(t: Any) -> bool:
    """Whether a tensor holds codes."""
    return type(t._a) is QuantizedArray


def quantizable(t: Any, d: Any) -> None:
    """Refuse what cannot be quantized to a dtype."""
    if t.dtype is not dtypes.float32:
        raise RuntimeError(f"Quantize only works on Float Tensor, got {dtypes.SPOKEN[t.dtype]}")
    if d not in CODES:
        raise RuntimeError(f"ScalarType {dtypes.SPOKEN[d]} is not supported in new_qtensor.")


def in_range(zero_points: Any, d: Any, name: str) -> None:
    """Refuse zero points that are no codes."""
    low, high = bounds(d)
    for z in np.atleast_1d(zero_points).tolist():
        if z > high:
            raise RuntimeError(f"{name} zero_point {z} is above upper bound.")
        if z < low:
            raise RuntimeError(f"{name} zero_point {z} is below lower bound.")


def made(x: Any, quantizer: Any, d: Any) -> Any:
    """The quantized tensor of an array of floats."""
    return wrap(quantized(encode(x, quantizer, d), d, quantizer))


@reading("quantize_per_tensor")
def quantize_per_tensor(input: Any, scale: float, zero_point: int, dtype: Any) -> Any:
    quantizable(input, dtype)
    in_range(zero_point, dtype, "quantize_tensor_per_tensor_affine")
    return made(input._a, PerTensor(scale, zero_point), dtype)


@reading("quantize_per_tensor.tensor_qparams")
def quantize_by_tensors(input: Any, scale: Any, zero_point: Any, dtype: Any) -> Any:
    return quantize_per_tensor(input, scale.item(), int(zero_point.item()), dtype)


@reading("quantize_per_tensor.tensors")
def quantize_each(tensors: Any, scales: Any, zero_points: Any, dtype: Any) -> Any:
    parts = zip(tensors, scales.tolist(), zero_points.tolist(), strict=True)
    return tuple(quantize_per_tensor(t, s, int(z), dtype) for t, s, z in parts)


def per_channel(scales: Any, zero_points: Any, axis: int) -> PerChannel:
    """The quantizer of two tensors; scales of integer zero points are held in float64, as PyTorch holds them."""
    s, z = scales._a, zero_points._a
    if z.dtype.kind == "f":
        return PerChannel(s.astype(F32), z.astype(F32), axis)
    return PerChannel(s.astype(np.float64), z.astype(np.int64), axis)


@reading("quantize_per_channel")
def quantize_per_channel(input: Any, scales: Any, zero_points: Any, axis: int, dtype: Any) -> Any:
    quantizable(input, dtype)
    if scales.ndim != 1:
        raise RuntimeError("scale tensor must have dimension 1")
    if zero_points.ndim != 1:
        raise RuntimeError("zero_points tensor must have dimension 1")
    if scales.numel() != zero_points.numel():
        raise RuntimeError("number of elements in scales and zero_points must match")
    if not 0 <= axis < input.ndim:
        raise RuntimeError("Channel axis out of range in per channel affine quantization.")
    if input.shape[axis] != scales.numel():
        raise RuntimeError(
            f"length of scales must equal to channel, expected {input.shape[axis]} got, {scales.numel()}"
        )
    q = per_channel(scales, zero_points, axis)
    if q.scheme is per_channel_affine:
        in_range(q.zero_points, dtype, "quantize_tensor_per_channel_affine")
    return made(input._a, q, dtype)


@reading("_choose_qparams_per_tensor")
def _choose_qparams_per_tensor(input: Any, reduce_range: bool = False) -> Any:
    low, high = range_of(input._a)
    return qparams_of_range(low, high, 0, 127 if reduce_range else 255)


@reading("choose_qparams_optimized")
def choose_qparams_optimized(input: Any, numel: int, n_bins: int, ratio: float, bit_width: int) -> Any:
    low, high = best_range(np.ascontiguousarray(input._a, F32).reshape(-1)[:numel], n_bins, ratio, bit_width)
    return wrap(np.array([high], F32)), wrap(np.array([low], F32))


@reading("quantize_per_tensor_dynamic")
def quantize_per_tensor_dynamic(input: Any, dtype: Any, reduce_range: bool) -> Any:
    if dtype not in (dtypes.qint8, dtypes.quint8, dtypes.float16):
        raise RuntimeError(f"dtype {dtypes.SPOKEN[dtype]} not supported")
    if input._a.dtype != np.float32:
        quantizable(input, dtype)
    if dtype is dtypes.float16:
        return input.to(dtypes.float16)
    qmin, qmax = bounds(dtype)
    if reduce_range:
        qmin, qmax = int(qmin / 2), qmax // 2
    scale, zero = qparams_of_range(*range_of(input._a), qmin, qmax)
    return quantize_per_tensor(input, scale, zero, dtype)


@reading("_to_copy")
def _to_copy(input: Any, *, dtype: Any = None, memory_format: Any = None, **_: Any) -> Any:
    if is_quantized(input) and dtype is not None and dtype is not input.dtype:
        raise RuntimeError("Creation of quantized tensor requires quantized dtype like torch.quint8")
    return input.clone() if memory_format is None else input.clone(memory_format=memory_format)


@reading("dequantize.self")
def dequantize(input: Any) -> Any:
    return wrap(decode(input._a)) if is_quantized(input) else input.to(dtypes.float32)


@reading("dequantize.tensors")
def dequantize_each(tensors: Any) -> Any:
    return tuple(map(dequantize, tensors))


# ---------------------------------------------------------------- what they mean


def _expect(input: Any, name: str, tensor: bool) -> Any:
    if not is_quantized(input):
        raise refused(name, (input,), "")
    q = input._a.quantizer
    if (q.scheme is per_tensor_affine) != tensor:
        wanted = (
            "quantizer->qscheme() == kPerTensorAffine"
            if tensor
            else "quantizer->qscheme() == kPerChannelAffine || quantizer->qscheme() == kPerChannelAffineFloatQParams"
        )
        raise RuntimeError(f"Expected {wanted} to be true, but got false.  (Could this error message be improved?  If so, "
                           "please report an enhancement request to PyTorch.)")  # fmt: skip
    return q


@reading("int_repr")
def int_repr(input: Any) -> Any:
    if not is_quantized(input):
        raise refused("int_repr", (input,), "")
    if input.dtype in PACKED:
        return wrap(side_by_side(codes(input._a).reshape(-1), PACKED[input.dtype]))
    return codes_of(input).clone()


@reading("q_scale")
def q_scale(input: Any) -> float:
    return _expect(input, "q_scale", True).scale


@reading("q_zero_point")
def q_zero_point(input: Any) -> int:
    return _expect(input, "q_zero_point", True).zero_point


@reading("q_per_channel_scales")
def q_per_channel_scales(input: Any) -> Any:
    return wrap(_expect(input, "q_per_channel_scales", False).scales)


@reading("q_per_channel_zero_points")
def q_per_channel_zero_points(input: Any) -> Any:
    return wrap(_expect(input, "q_per_channel_zero_points", False).zero_points)


@reading("q_per_channel_axis")
def q_per_channel_axis(input: Any) -> int:
    return _expect(input, "q_per_channel_axis", False).axis


@reading("qscheme")
def qscheme(input: Any) -> Any:
    if not is_quantized(input):
        raise refused("qscheme", (input,), "")
    return input._a.quantizer.scheme


# ---------------------------------------------------------------- made of parts


def _of_integers(input: Any, quantizer: Any) -> Any:
    if input.dtype not in OF_CODES:
        raise RuntimeError(f"toQIntType: unsupported scalar type {dtypes.SPOKEN[input.dtype]}")
    return wrap(quantized(input._a.copy(), OF_CODES[input.dtype], quantizer))


@reading("_make_per_tensor_quantized_tensor")
def _make_per_tensor_quantized_tensor(input: Any, scale: float, zero_point: int) -> Any:
    return _of_integers(input, PerTensor(scale, zero_point))


@reading("_make_per_channel_quantized_tensor")
def _make_per_channel_quantized_tensor(input: Any, scale: Any, zero_point: Any, axis: int) -> Any:
    return _of_integers(input, per_channel(scale, zero_point, axis))
