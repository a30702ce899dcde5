"""Quantized arrays: codes (small integers) and what they mean. What a Tensor holds whose dtype is quantized.

They are strided memory like any other, and views made by the array library keep the meaning. Only arithmetic has none: codes are
opaque to the array library, so nothing adds them up by mistake.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._values import dtype as dtypes
from flambeau._values.qscheme import (
    CODES,
    per_channel_affine,
    per_channel_affine_float_qparams,
    per_tensor_affine,
    qscheme,
)

F32 = np.float32
_LARGEST = F32(2147483520.0)  # the largest float32 that an int32 holds
_BLOCK = 1 << 15


class PerTensor:
    """One scale and one zero point for all elements."""

    __slots__ = ("scale", "zero_point")
    scheme: qscheme = per_tensor_affine
    axis = None

    def __init__(self, scale: float, zero_point: int) -> None:
        self.scale, self.zero_point = float(scale), int(zero_point)

    def same(self, other: Any) -> bool:
        """Whether another means the same by its codes."""
        return type(other) is PerTensor and (self.scale, self.zero_point) == (other.scale, other.zero_point)


class PerChannel:
    """A scale and a zero point for each index along one dimension."""

    __slots__ = ("axis", "scales", "scheme", "zero_points")
    scheme: qscheme

    def __init__(self, scales: Any, zero_points: Any, axis: int) -> None:
        self.scales, self.zero_points, self.axis = scales, zero_points, axis
        self.scheme = per_channel_affine if zero_points.dtype.kind == "i" else per_channel_affine_float_qparams

    def same(self, other: Any) -> bool:
        """Whether another means the same by its codes."""
        return (
            type(other) is PerChannel
            and self.axis == other.axis
            and np.array_equal(self.scales, other.scales)
            and np.array_equal(self.zero_points, other.zero_points)
        )

    def along(self, ndim: int, axis: int | None = None) -> tuple[Any, Any]:
        """Scales and zero points, shaped to meet an array of so many dimensions."""
        shape = [1] * ndim
        shape[self.axis if axis is None else axis] = -1
        return self.scales.reshape(shape), self.zero_points.reshape(shape)


class QuantizedArray(np.ndarray):
    """An array of codes with the quantizer that says what they mean; views and copies keep it."""

    quantizer: Any = None

    def __array_finalize__(self, obj: Any) -> None:
        if obj is not None:
            self.quantizer = getattr(obj, "quantizer", None)


def quantized(codes: Any, dtype: dtypes.dtype, quantizer: Any) -> QuantizedArray:
    """The quantized array over the memory of an array of integers."""
    a = codes.view(dtype.np, QuantizedArray)
    a.quantizer = quantizer
    return a


def codes(a: Any) -> Any:
    """The codes of a quantized array, as integers over the same memory."""
    return a.view(np.dtype(CODES[dtypes.of(a.dtype)][0]), np.ndarray)


def side_by_side(codes: Any, each: int) -> Any:
    """Codes of few bits, so many of a row to a byte, the first in the lowest bits."""
    c = np.concatenate([codes, np.zeros((*codes.shape[:-1], -codes.shape[-1] % each), np.uint8)], -1)
    c = c.reshape(*c.shape[:-1], -1, each)
    return np.bitwise_or.reduce(c << (np.arange(each, dtype=np.uint8) * (8 // each)), -1).astype(np.uint8)


def apart(packed: Any, each: int) -> Any:
    """The codes of bytes that hold so many each, those of a byte along a last dimension."""
    bits = 8 // each
    return (packed[..., None] >> (np.arange(each, dtype=np.uint8) * bits)) & ((1 << bits) - 1)


def bounds(dtype: dtypes.dtype) -> tuple[int, int]:
    """The least and the greatest code of a dtype."""
    return CODES[dtype][1:]


def _in_blocks(fn: Any, x: Any, dtype: Any) -> Any:
    """A function of single elements, of a large array: block by block, so that what lies between stays in cache."""
    if x.size <= _BLOCK or not x.flags.c_contiguous:
        return np.asarray(fn(x))
    out = np.empty(x.shape, dtype)
    flat, made = x.reshape(-1), out.reshape(-1)
    for start in range(0, x.size, _BLOCK):
        made[start : start + _BLOCK] = fn(flat[start : start + _BLOCK])
    return out


def encode(x: Any, quantizer: Any, dtype: dtypes.dtype) -> Any:
    """The codes of an array of float32 that is quantized as a whole.

    With one scale, PyTorch adds the zero point before it rounds (half to even), fused with the product for codes of eight bits: what
    lies halfway goes by the parity of the code, not of the distance from zero.
    """
    kind, low, high = CODES[dtype]
    if type(quantizer) is PerTensor:
        with np.errstate(all="ignore"):
            inverse, zero = F32(1) / F32(quantizer.scale), quantizer.zero_point
            if kind == "i4":
                y = np.rint(x * inverse + F32(zero)).astype(np.float64)
                return np.asarray(np.clip(np.where(np.isnan(y), low, y), low, high).astype(np.int64).astype(kind))

            def fused(x: Any) -> Any:
                y = np.asarray(x.astype(np.float64))
                y *= np.float64(inverse)
                y += zero
                z = np.asarray(np.rint(y.astype(F32)))
                np.fmin(z, F32(high), out=z)  # NaN becomes the greatest code
                np.maximum(z, F32(low), out=z)
                return z.astype(kind)

            return _in_blocks(fused, x, kind)
    return code(x, quantizer, dtype)


def code(x: Any, quantizer: Any, dtype: dtypes.dtype) -> Any:
    """The codes of elements as operators compute them: divided by the scale (by its reciprocal in float32), rounded half to even,
    moved by the zero point, kept in bounds."""
    kind, low, high = CODES[dtype]
    if type(quantizer) is PerTensor:
        scale: Any = F32(quantizer.scale)
        zero: Any = quantizer.zero_point
    else:
        scale, zero = quantizer.along(x.ndim)
        scale = scale.astype(F32)
    with np.errstate(all="ignore"):
        inverse = F32(1) / scale
        if np.asarray(zero).dtype.kind == "f":
            inverse = np.where(scale == 0, F32(1), inverse)
            return np.asarray(np.clip(np.rint(x * inverse + zero.astype(F32)), low, high).astype(kind))
        if kind != "i4" and type(quantizer) is PerTensor:

            def plain(x: Any) -> Any:
                y = np.asarray(np.rint(x * inverse))
                np.fmin(y, F32(high - zero), out=y)
                np.maximum(y, F32(low - zero), out=y)
                y += F32(zero)
                return y.astype(kind)

            return _in_blocks(plain, x, kind)
        y = np.asarray(np.rint(x * inverse))
        if kind == "i4":
            wide = np.where(np.isnan(y), low, y.astype(np.float64) + zero)
            return np.asarray(np.clip(wide, low, high).astype(np.int64).astype(kind))
        y = np.where(y < _LARGEST, y, _LARGEST)  # NaN too
        return np.asarray(np.clip(np.clip(y, -(2.0**31), None).astype(np.int64) + zero, low, high).astype(kind))


def decode(a: Any) -> Any:
    """What the elements of a quantized array stand for, in float32."""
    q, c = a.quantizer, codes(a)
    if type(q) is PerTensor:
        scale, zero = F32(q.scale), q.zero_point
        if c.dtype.itemsize == 1:
            return _in_blocks(lambda c: (c.astype(F32) - F32(zero)) * scale, c, F32)
        return np.asarray((c.astype(np.int64) - zero).astype(F32) * scale)
    scales, zeros = q.along(a.ndim)
    if zeros.dtype.kind == "f":
        return (c.astype(F32) - zeros.astype(F32)) * scales.astype(F32)
    return (c.astype(np.int64) - zeros).astype(F32) * scales.astype(F32)


def decode_fused(a: Any) -> Any:
    """The same as operators on single elements see it: the zero point multiplied first, in one fused step with the scale."""
    q = a.quantizer
    scale = F32(q.scale)
    before = np.float64(F32(scale * F32(-q.zero_point)))
    return _in_blocks(lambda c: (c.astype(np.float64) * np.float64(scale) + before).astype(F32), codes(a), F32)
