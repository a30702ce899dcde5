"""Products of codes: linear layers and convolutions, with weights packed before.

The sums are exact. They are taken by products of floats, in single precision where no sum can reach 2**24; what follows is single
precision step by step, as in PyTorch's kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau
from flambeau._backends.quantized_arrays import PerTensor, codes, encode, quantized
from flambeau._quantized import CONV2, CONV3, LINEAR, operator
from flambeau._quantized.params import (
    Conv2dPackedParamsBase,
    Conv3dPackedParamsBase,
    ConvPackedParams,
    LinearPackedParamsBase,
    single,
)
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes
from flambeau._values.ranges import qparams_of_range, range_of

F32 = np.float32


# ---------------------------------------------------------------- sums, and what becomes of them


def distances(t: Any, kind: Any = F32, axis: int | None = None) -> Any:
    """How far codes lie from their zero points (which stand along a dimension), as floats."""
    q, c = t._a.quantizer, codes(t._a)
    if q.axis is None:
        return c.astype(kind) - kind(q.zero_point)
    return c.astype(kind) - q.along(c.ndim, axis)[1].astype(kind)


def exact_kind(terms: int, weight: Any) -> Any:
    """The kind of float that holds sums of so many products of codes with those of a weight exactly."""
    q = weight._a.quantizer
    centred = not np.any(q.zero_point if q.axis is None else q.zero_points)
    return F32 if terms * 255 * (128 if centred else 256) < 1 << 24 else np.float64


def weight_scales(weight: Any) -> Any:
    """The scales of a weight, in single precision: one, or one for each channel."""
    q = weight._a.quantizer
    return F32(q.scale) if q.axis is None else q.scales.astype(F32)


def _along(v: Any, ndim: int, axis: int) -> Any:
    if v is None or np.ndim(v) == 0:
        return v
    shape = [1] * ndim
    shape[axis] = -1
    return v.reshape(shape)


def requantized(
    sums: Any, in_scale: float, w_scale: Any, bias: Any, scale: float, zero_point: int, relu: bool, d: Any, axis: int
) -> Any:
    """Sums of products of codes, with a bias, in codes of the result: the bias is added in units of the products."""
    n = sums.ndim
    products = F32(in_scale) * w_scale  # what one unit of the sums stands for
    multiplier = _along(products / F32(scale), n, axis)
    x = sums.astype(F32)
    if bias is not None:
        b = bias.detach()._a.astype(F32)
        with np.errstate(all="ignore"):
            by = b / products if np.ndim(products) else b * (F32(1) / products)
        x = x + _along(by, n, axis)
    y = np.rint(x * multiplier) + zero_point
    kind, low, high = {dtypes.quint8: ("u1", 0, 255), dtypes.qint8: ("i1", -128, 127)}[d]
    return np.clip(y, max(low, zero_point) if relu else low, high).astype(kind)


# ---------------------------------------------------------------- linear


@operator(f"linear_prepack(Tensor W, Tensor? B=None) -> {LINEAR} W_prepack")
@operator(f"linear_prepack(Tensor W, Tensor? B=None) -> {LINEAR} W_prepack", namespace="_quantized")
def linear_prepack(weight: Any, bias: Any = None) -> Any:
    if weight.ndim != 2:
        raise RuntimeError("The weight tensor for quantized::linear_prepack (fbgemm) should be 2-dimensional.")
    weight.qscheme()
    if weight.dtype is not dtypes.qint8:
        raise RuntimeError(f"expected scalar type QInt8 but found {dtypes.SPOKEN[weight.dtype]}")
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != weight.shape[0]):
        raise RuntimeError("bias should have N elements: " + str(weight.shape[0]))
    return LinearPackedParamsBase(single(weight), None if bias is None else bias.contiguous())


@operator(f"linear_prepack_fp16(Tensor W, Tensor? B=None) -> {LINEAR} W_prepack")
def linear_prepack_fp16(weight: Any, bias: Any = None) -> Any:
    limited = weight.detach().clamp(-65504.0, 65504.0).to(dtypes.float16).to(dtypes.float32)
    return LinearPackedParamsBase(limited, bias)


@operator(f"linear_unpack({LINEAR} W_prepack) -> (Tensor W_origin, Tensor? B_origin)",
          f"linear_unpack_fp16({LINEAR} W_prepack) -> (Tensor W_origin, Tensor? B_origin)")  # fmt: skip
def linear_unpack(packed: Any) -> Any:
    return packed.unpack()


def _sums(x: Any, weight: Any) -> Any:
    """Rows of distances from zero, times the rows of a weight."""
    kind = exact_kind(weight.shape[1], weight)
    return x.astype(kind, copy=False) @ distances(weight, kind).T


def _check_width(x: Any, weight: Any) -> None:
    if x.shape[-1] != weight.shape[1]:
        raise RuntimeError(
            f"The number of rows in the packB should be equal to K: {x.shape[-1]}"
            if x.ndim
            else "input must have dimensions"
        )


def _linear(x: Any, packed: Any, scale: float, zero_point: int, relu: bool) -> Any:
    if x.dtype is not dtypes.quint8:
        raise RuntimeError(
            f"quantized::linear (fbgemm): Expected input data type {dtypes.SPOKEN[dtypes.quint8]} but got {dtypes.SPOKEN[x.dtype]}"
        )
    weight, bias = packed.unpack()
    _check_width(x, weight)
    sums = _sums(distances(x), weight)
    c = requantized(sums, x.q_scale(), weight_scales(weight), bias, scale, zero_point, relu, x.dtype, sums.ndim - 1)
    return wrap(quantized(np.ascontiguousarray(c), x.dtype, PerTensor(scale, zero_point)))


@operator(f"linear(Tensor X, {LINEAR} W_prepack, float Y_scale_i, int Y_zero_point_i) -> Tensor Y")
@operator(
    f"linear(Tensor X, {LINEAR} W_prepack, float Y_scale_i, int Y_zero_point_i) -> Tensor Y", namespace="_quantized"
)
def linear(x: Any, packed: Any, scale: float, zero_point: int) -> Any:
    return _linear(x, packed, scale, zero_point, False)


@operator(f"linear_relu(Tensor X, {LINEAR} W_prepack, float Y_scale_i, int Y_zero_point_i) -> Tensor Y")
def linear_relu(x: Any, packed: Any, scale: float, zero_point: int) -> Any:
    return _linear(x, packed, scale, zero_point, True)


@operator(
    f"linear_leaky_relu(Tensor X, {LINEAR} W_prepack, float Y_scale_i, int Y_zero_point_i, float negative_slope) -> Tensor Y"
)
def linear_leaky_relu(x: Any, packed: Any, scale: float, zero_point: int, slope: float) -> Any:
    y = flambeau.nn.functional.leaky_relu(_real(x, packed), slope)
    return flambeau.quantize_per_tensor(y, scale, zero_point, x.dtype)


@operator(f"linear_tanh(Tensor X, {LINEAR} W_prepack, float Y_scale_i, int Y_zero_point_i) -> Tensor Y")
def linear_tanh(x: Any, packed: Any, scale: float, zero_point: int) -> Any:
    return flambeau.quantize_per_tensor(_real(x, packed).tanh(), scale, zero_point, x.dtype)


def _real(x: Any, packed: Any) -> Any:
    """The result in floats, of an input in codes."""
    weight, bias = packed.unpack()
    return wrap(_floats(distances(x), x.q_scale(), weight, bias))


def _floats(x: Any, in_scale: float, weight: Any, bias: Any) -> Any:
    y = _sums(x, weight).astype(F32) * (F32(in_scale) * weight_scales(weight))
    return y if bias is None else y + bias.detach()._a.astype(F32)


def in_range_of(x: Any, reduce_range: bool) -> tuple[Any, float]:
    """A float tensor in codes of its own range, as distances from zero; and their scale."""
    scale, zero = qparams_of_range(*range_of(x), 0, 127 if reduce_range else 255)
    c = encode(np.ascontiguousarray(x, F32), PerTensor(scale, zero), dtypes.quint8)
    return c.astype(F32) - F32(zero), scale


def dynamic(x: Any, packed: Any, reduce_range: bool = False) -> Any:
    """A linear layer of floats, computed in codes of the range that its input has."""
    a = x.detach()._a
    if x.dtype is not dtypes.float32:
        raise RuntimeError(f"expected scalar type Float but found {dtypes.SPOKEN[x.dtype]}")
    weight, bias = packed.unpack()
    _check_width(a, weight)
    if not weight.is_quantized:  # packed in float16
        return flambeau.nn.functional.linear(x.detach(), weight, bias)
    c, scale = in_range_of(a, reduce_range)
    return wrap(np.ascontiguousarray(_floats(c, scale, weight, bias)))


@operator(f"linear_dynamic(Tensor X, {LINEAR} W_prepack, bool reduce_range=False) -> Tensor Y")
@operator(f"linear_dynamic(Tensor X, {LINEAR} W_prepack, bool reduce_range=False) -> Tensor Y", namespace="_quantized")
def linear_dynamic(x: Any, packed: Any, reduce_range: bool = False) -> Any:
    return dynamic(x, packed, reduce_range)


@operator(f"linear_relu_dynamic(Tensor X, {LINEAR} W_prepack, bool reduce_range=False) -> Tensor Y")
def linear_relu_dynamic(x: Any, packed: Any, reduce_range: bool = False) -> Any:
    return dynamic(x, packed, reduce_range).relu_()


@operator(f"linear_dynamic_fp16(Tensor X, {LINEAR} W_prepack) -> Tensor Y")
def linear_dynamic_fp16(x: Any, packed: Any) -> Any:
    return dynamic(x, packed)


@operator(f"linear_relu_dynamic_fp16(Tensor X, {LINEAR} W_prepack) -> Tensor Y")
def linear_relu_dynamic_fp16(x: Any, packed: Any) -> Any:
    return linear_dynamic_fp16(x, packed).relu_()


@operator("linear_dynamic_fp16_unpacked_weight(Tensor X, Tensor weight, Tensor? bias) -> Tensor Y")
def linear_dynamic_fp16_unpacked_weight(x: Any, weight: Any, bias: Any) -> Any:
    return linear_dynamic_fp16(x, linear_prepack_fp16(weight, bias))


@operator(
    f"linear_with_input_q_dq_qweight_dq_output_fp32(Tensor X, float X_scale, int X_zero_point, {LINEAR} W_prepack) -> Tensor Y"
)
def linear_floats(x: Any, scale: float, zero_point: int, packed: Any) -> Any:
    weight, bias = packed.unpack()
    c = encode(np.ascontiguousarray(x.detach()._a), PerTensor(scale, zero_point), dtypes.quint8).astype(F32) - F32(
        zero_point
    )
    return wrap(_floats(c, scale, weight, bias))


@operator(
    f"linear_with_input_q_dq_qweight_dq_relu_output_fp32(Tensor X, float X_scale, int X_zero_point, {LINEAR} W_prepack) -> Tensor Y"
)
def linear_relu_floats(x: Any, scale: float, zero_point: int, packed: Any) -> Any:
    return linear_floats(x, scale, zero_point, packed).relu_()


@operator("matmul(Tensor qa, Tensor qb, float scale, int zero_point) -> Tensor qc")
def matmul(a: Any, b: Any, scale: float, zero_point: int) -> Any:
    y = a.dequantize() @ b.dequantize()
    return flambeau.quantize_per_tensor(y, scale, zero_point, a.dtype)


# ---------------------------------------------------------------- convolutions


def _packed(n: int) -> type[ConvPackedParams]:
    return Conv3dPackedParamsBase if n == 3 else Conv2dPackedParamsBase


def _prepack(n: int, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, output_padding: Any = None,
             transpose: bool = False) -> Any:  # fmt: skip
    if weight.ndim != n + 2:
        raise RuntimeError(f"Weights are expected to have {n + 2} dimensions")
    if n == 1:  # one row high
        weight = weight.unsqueeze(2)
        stride, padding, dilation = [1, *stride[:1]], [0, *padding[:1]], [1, *dilation[:1]]
        output_padding = None if output_padding is None else [0, *output_padding]
    for name, given in (("stride", stride), ("padding", padding), ("dilation", dilation)):
        if len(given) != weight.ndim - 2:
            raise RuntimeError(f"{name} should contain {weight.ndim - 2} elements for {weight.ndim - 2}D convolution.")
    weight.qscheme()
    return _packed(n)(weight.clone(), bias, stride, padding, dilation, groups, output_padding, transpose)


def _exactly(x: Any, p: Any) -> Any:
    """The sums of a convolution (n, channels, ...) of distances from zero."""
    w = p._weight
    terms = int(np.prod(w.shape[1:])) if not p._transpose else int(np.prod(w.shape[2:])) * w.shape[0]
    kind = exact_kind(terms, w)
    weight = wrap(distances(w, kind))
    n = w.ndim - 2
    data = wrap(x.astype(kind, copy=False))
    with flambeau.no_grad():
        if p._transpose:
            conv = getattr(flambeau, f"conv_transpose{n}d")
            return conv(data, weight, None, p._stride, p._padding, p._output_padding, p._groups, p._dilation)._a
        return getattr(flambeau, f"conv{n}d")(data, weight, None, p._stride, p._padding, p._dilation, p._groups)._a


def _channel_scales(p: Any) -> Any:
    """One scale for each channel of the result, or one for all. Of a transposed convolution, channels repeat over groups."""
    return weight_scales(p._weight)


def _last(n: int) -> Any:
    return flambeau.channels_last if n == 2 else flambeau.channels_last_3d


def conv(x: Any, p: Any, scale: float, zero_point: int, relu: bool, accumulated: Any = None) -> Any:
    """A convolution of codes; its result lies with the channels last."""
    narrow = x.ndim == 3 and p.dims == 2
    if narrow:
        x = x.unsqueeze(2)
    if x.dtype is not dtypes.quint8:
        raise RuntimeError(
            f"quantized::conv{p.dims}d (fbgemm): Expected activation data type QUInt8 but got {dtypes.SPOKEN[x.dtype]}"
        )
    if x.ndim != p.dims + 2:
        raise RuntimeError(f"quantized::conv{p.dims}d (fbgemm): Expected activation shape")
    sums = _exactly(distances(x), p)
    if accumulated is not None:
        return _added(x, p, sums, scale, zero_point, relu, accumulated)
    c = requantized(sums, x.q_scale(), _channel_scales(p), p._bias, scale, zero_point, relu, x.dtype, 1)
    out = wrap(np.ascontiguousarray(c)).contiguous(memory_format=_last(p.dims))
    out = wrap(quantized(out._a, x.dtype, PerTensor(scale, zero_point)))
    return out.squeeze(2) if narrow else out


def _added(x: Any, p: Any, sums: Any, scale: float, zero_point: int, relu: bool, accumulated: Any) -> Any:
    y = _in_floats(sums, x.q_scale(), p) + accumulated.dequantize()._a
    y = np.maximum(y, 0) if relu else y
    out = flambeau.quantize_per_tensor(wrap(np.ascontiguousarray(y)), scale, zero_point, x.dtype)
    return out.contiguous(memory_format=_last(p.dims))


def _in_floats(sums: Any, in_scale: float, p: Any) -> Any:
    y = sums.astype(F32) * _along(F32(in_scale) * _channel_scales(p), sums.ndim, 1)
    return y if p._bias is None else y + _along(p._bias.detach()._a.astype(F32), sums.ndim, 1)


def conv_dynamic(x: Any, p: Any, reduce_range: bool) -> Any:
    """A convolution of floats in codes of the range that its input has, which the result is held to as well."""
    a = x.detach()._a
    scale, zero_point = qparams_of_range(*range_of(a), 0, 127 if reduce_range else 255)
    codes_of_x = flambeau.quantize_per_tensor(x.detach(), scale, zero_point, dtypes.quint8)
    return conv(codes_of_x, p, scale, zero_point, False).dequantize()


def _convolutions(n: int) -> None:
    """All operators of one number of dimensions."""
    base = CONV3 if n == 3 else CONV2
    how = "int[] stride, int[] padding, int[] dilation, int groups"
    to = f"Tensor qx, {base} packed_weight, float output_scale, int output_zero_point"
    more = "new" if n > 1 else ""  # the overload of what takes all from its packed weight
    dot = f".{more}" if more else ""

    @operator(f"conv{n}d_prepack(Tensor weight, Tensor? bias, {how}) -> {base}")
    def prepack(weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        return _prepack(n, weight, bias, stride, padding, dilation, groups)

    @operator(f"conv_transpose{n}d_prepack(Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] output_padding, "
              f"int[] dilation, int groups) -> {base}")  # fmt: skip
    def transpose_prepack(
        weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: int
    ) -> Any:
        return _prepack(n, weight, bias, stride, padding, dilation, groups, output_padding, True)

    @operator(f"conv{n}d_unpack({base} packed_weights) -> (Tensor unpacked_weights, Tensor? B_origin)",
              f"conv_transpose{n}d_unpack({base} packed_weights) -> (Tensor unpacked_weights, Tensor? B_origin)")  # fmt: skip
    def unpack(p: Any) -> Any:
        weight, bias = p.unpack()
        return (weight.squeeze(2) if n == 1 else weight), bias

    operator(f"conv{n}d{dot}({to}) -> Tensor")(lambda x, p, scale, zero: conv(x, p, scale, zero, False))
    operator(f"conv{n}d_relu{dot}({to}) -> Tensor")(lambda x, p, scale, zero: conv(x, p, scale, zero, True))
    operator(f"conv_transpose{n}d({to}) -> Tensor")(lambda x, p, scale, zero: conv(x, p, scale, zero, False))
    kinds = f"Tensor qx, {base} packed_weight, bool reduce_range=False"
    operator(f"conv{n}d_dynamic({kinds}) -> Tensor")(lambda x, p, reduce_range=False: conv_dynamic(x, p, reduce_range))
    operator(f"conv_transpose{n}d_dynamic({kinds}) -> Tensor")(
        lambda x, p, reduce_range=False: conv_dynamic(x, p, reduce_range)
    )
    if n == 1:
        return
    old = f"Tensor qx, {base} weight, {how}, float output_scale, int output_zero_point"
    operator(f"conv{n}d({old}) -> Tensor")(lambda x, p, a, b, c, d, scale, zero: conv(x, p, scale, zero, False))
    operator(f"conv{n}d_relu({old}) -> Tensor")(lambda x, p, a, b, c, d, scale, zero: conv(x, p, scale, zero, True))
    for fact, kind in (("stride", "int[]"), ("padding", "int[]"), ("output_padding", "int[]"), ("dilation", "int[]"), ("groups", "int"),
                       ("transpose", "int")):  # fmt: skip
        names = [f"conv{n}d_{fact}", f"conv_transpose{n}d_{fact}"]
        operator(*(f"{name}({base} packed_weights) -> {kind}" for name in names))(
            lambda p, fact=fact: getattr(p, fact)()
        )


for _n in (1, 2, 3):
    _convolutions(_n)

_to = f"Tensor qx, Tensor qaccum, {CONV2} packed_weight, float output_scale, int output_zero_point"
operator(f"conv2d_add({_to}) -> Tensor")(lambda x, y, p, scale, zero: conv(x, p, scale, zero, False, y))
operator(f"conv2d_add_relu({_to}) -> Tensor")(lambda x, y, p, scale, zero: conv(x, p, scale, zero, True, y))
_how = "Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation, int groups"
operator(f"conv_prepack({_how}) -> {CONV2}")(lambda *args: _prepack(2, *args))
operator(f"conv_unpack({CONV2} packed_weights) -> (Tensor unpacked_weights, Tensor? B_origin)")(lambda p: p.unpack())
