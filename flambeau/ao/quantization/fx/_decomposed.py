"""`torch.ops.quantized_decomposed`: quantization in operators of plain tensors, whose codes are integers of plain dtypes.

Exported graphs hold these operators. They differ from `quantize_per_tensor` and its kind in how they round, as PyTorch's
do: the zero point is added after rounding, and whatever the dtype.
"""

import math

import flambeau
from flambeau._quantized import operator
from flambeau.ao.quantization.utils import determine_qparams, validate_qmin_qmax
from flambeau.autograd import Function

__all__ = [
    "choose_qparams_per_token",
    "choose_qparams_per_token_asymmetric",
    "choose_qparams_symmetric_tensor",
    "choose_qparams_tensor",
    "convert_element_type",
    "dequantize_per_channel",
    "dequantize_per_channel_group",
    "dequantize_per_tensor",
    "dequantize_per_token",
    "fake_quant_per_channel",
    "quantize_per_channel",
    "quantize_per_channel_group",
    "quantize_per_tensor",
    "quantize_per_token",
]

_INTEGERS = (flambeau.uint8, flambeau.int8, flambeau.uint16, flambeau.int16, flambeau.int32)
_DTYPE_TO_QVALUE_BOUNDS = {d: (flambeau.iinfo(d).min, flambeau.iinfo(d).max) for d in _INTEGERS}
_DTYPE_TO_QVALUE_BOUNDS.update(
    {
        d: (int(flambeau.finfo(d).min), int(flambeau.finfo(d).max))
        for d in (flambeau.float8_e5m2, flambeau.float8_e4m3fn)
    }
)

_BOUNDS = "int quant_min, int quant_max, ScalarType dtype"


def _op(*schemas):
    return operator(*schemas, namespace="quantized_decomposed")


def _demand_bounds(quant_min, quant_max, dtype):
    if dtype not in _DTYPE_TO_QVALUE_BOUNDS:
        raise ValueError(f"Unsupported dtype: {dtype}")
    low, high = _DTYPE_TO_QVALUE_BOUNDS[dtype]
    if quant_min < low:
        raise AssertionError(f"quant_min out of bounds for dtype, quant_min_lower_bound: {low} quant_min: {quant_min}")
    if quant_max > high:
        raise AssertionError(f"quant_max out of bounds for dtype, quant_max_upper_bound: {high} quant_max: {quant_max}")


def _floats(input):
    """An input of half precision in single precision; any other must be in it."""
    if input.dtype in (flambeau.float16, flambeau.bfloat16):
        input = input.to(flambeau.float32)
    if input.dtype != flambeau.float32:
        raise AssertionError(f"Expecting input to have dtype torch.float32, but got dtype: {input.dtype}")
    return input


def _numbers(input, scale, zero_point, *bounds):
    """Scale, zero point and bounds as numbers; for a tensor without data, any will do."""
    for name, t in (("zero_point", zero_point), ("scale", scale)):
        if t.numel() != 1:
            raise AssertionError(f"Expecting {name} tensor to be one element, but received : {t.numel()}")
    if input.is_meta:
        return (1.0, 0, *(0 for _ in bounds))
    return (scale.item(), zero_point.item(), *(int(b) for b in bounds))


@_op(f"quantize_per_tensor(Tensor input, float scale, int zero_point, {_BOUNDS}) -> Tensor")
def quantize_per_tensor(input, scale, zero_point, quant_min, quant_max, dtype):
    """Codes by one scale and zero point."""
    input = _floats(input)
    _demand_bounds(quant_min, quant_max, dtype)
    return flambeau.clamp(flambeau.round(input * (1.0 / scale)) + zero_point, quant_min, quant_max).to(dtype)


@_op(
    f"quantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor zero_point, {_BOUNDS}) -> Tensor",
    "quantize_per_tensor.tensor2(Tensor input, Tensor scale, Tensor zero_point, Tensor quant_min, Tensor quant_max, "
    "ScalarType dtype) -> Tensor",
)
def quantize_per_tensor_tensor(input, scale, zero_point, quant_min, quant_max, dtype):
    """Codes by one scale and zero point, which are tensors."""
    numbers = _numbers(input, scale, zero_point, quant_min, quant_max)
    return quantize_per_tensor(input, *numbers, dtype)


_OUT = "*, ScalarType? out_dtype=None"


@_op(f"dequantize_per_tensor(Tensor input, float scale, int zero_point, {_BOUNDS}, {_OUT}) -> Tensor")
def dequantize_per_tensor(input, scale, zero_point, quant_min, quant_max, dtype, *, out_dtype=None):
    """What codes stand for."""
    if input.dtype != dtype:
        raise AssertionError(f"Expecting input to have dtype: {dtype}, but got {input.dtype}")
    if dtype not in _DTYPE_TO_QVALUE_BOUNDS:
        raise ValueError(f"Unsupported dtype in dequantize_per_tensor: {dtype}")
    return (input.to(flambeau.float32 if out_dtype is None else out_dtype) - zero_point) * scale


@_op(
    f"dequantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor zero_point, {_BOUNDS}, {_OUT}) -> Tensor",
    "dequantize_per_tensor.tensor2(Tensor input, Tensor scale, Tensor zero_point, Tensor quant_min, Tensor quant_max, "
    f"ScalarType dtype, {_OUT}) -> Tensor",
)
def dequantize_per_tensor_tensor(input, scale, zero_point, quant_min, quant_max, dtype, *, out_dtype=None):
    """What codes stand for, by a scale and a zero point that are tensors."""
    numbers = _numbers(input, scale, zero_point, quant_min, quant_max)
    return dequantize_per_tensor(input, *numbers, dtype, out_dtype=out_dtype)


def _chosen(input, quant_min, quant_max, eps, dtype, scheme):
    if input.dtype not in (flambeau.float32, flambeau.float16, flambeau.bfloat16):
        raise AssertionError(f"Expecting input to have dtype torch.float32/16/b16, but got dtype: {input.dtype}")
    if dtype not in _DTYPE_TO_QVALUE_BOUNDS:
        raise AssertionError(f"Expecting target dtype to be one of {_DTYPE_TO_QVALUE_BOUNDS.keys()}, but got: {dtype}")
    validate_qmin_qmax(quant_min, quant_max)
    if input.is_meta:
        return tuple(flambeau.empty(1, dtype=d, device="meta") for d in (flambeau.double, flambeau.int64))
    low, high = flambeau.aminmax(input)
    eps = flambeau.tensor([eps], dtype=flambeau.float32)
    return determine_qparams(low, high, quant_min, quant_max, dtype, eps, has_customized_qrange=False, qscheme=scheme)


@_op(
    "choose_qparams.tensor(Tensor input, int quant_min, int quant_max, float eps, ScalarType dtype) -> (Tensor, Tensor)"
)
def choose_qparams_tensor(input, quant_min, quant_max, eps, dtype):
    """Scale and zero point by the range of a tensor."""
    return _chosen(input, quant_min, quant_max, eps, dtype, flambeau.per_tensor_affine)


@_op(
    "choose_qparams_symmetric.tensor(Tensor input, int quant_min, int quant_max, float eps, ScalarType dtype) -> "
    "(Tensor, Tensor)"
)
def choose_qparams_symmetric_tensor(input, quant_min, quant_max, eps, dtype):
    """Scale and zero point by the largest magnitude of a tensor."""
    return _chosen(input, quant_min, quant_max, eps, dtype, flambeau.per_tensor_symmetric)


def _along(v, input, axis):
    """Numbers laid along a dimension."""
    return v.view([-1 if d == axis else 1 for d in range(input.dim())])


def _demand_axis(input, axis):
    if axis >= input.dim():
        raise AssertionError(f"Expecting axis to be < {input.dim()}")


@_op(f"quantize_per_channel(Tensor input, Tensor scales, Tensor zero_points, int axis, {_BOUNDS}) -> Tensor")
def quantize_per_channel(input, scales, zero_points, axis, quant_min, quant_max, dtype):
    """Codes by scales and zero points along a dimension."""
    input = _floats(input)
    _demand_axis(input, axis)
    _demand_bounds(quant_min, quant_max, dtype)
    axis %= input.dim()
    codes = flambeau.round(input * (1.0 / _along(scales, input, axis))) + _along(zero_points, input, axis)
    return flambeau.clamp(codes, quant_min, quant_max).to(dtype)


@_op(f"dequantize_per_channel(Tensor input, Tensor scales, Tensor? zero_points, int axis, {_BOUNDS}, {_OUT}) -> Tensor")
def dequantize_per_channel(input, scales, zero_points, axis, quant_min, quant_max, dtype, *, out_dtype=None):
    """What codes stand for, by scales and zero points along a dimension."""
    if input.dtype != dtype:
        raise AssertionError(f"Expecting input to have dtype: {dtype}, but got dtype: {input.dtype}")
    _demand_axis(input, axis)
    _demand_bounds(quant_min, quant_max, dtype)
    axis %= input.dim()
    if zero_points is not None:
        input = input - _along(zero_points, input, axis)
    return (input * _along(scales, input, axis)).to(flambeau.float32 if out_dtype is None else out_dtype)


@_op("choose_qparams_per_token(Tensor input, ScalarType dtype) -> (Tensor, Tensor)")
def choose_qparams_per_token(input, dtype):
    """A scale for each row by its largest magnitude; zero points of zero."""
    scales = input.abs().amax(dim=-1, keepdim=True)
    if scales.dtype == flambeau.float16:
        scales = scales.float()
    if dtype != flambeau.int8:
        raise Exception(f"unsupported dtype in choose_qparams_per_token: {dtype}")
    scales = scales.clamp(min=1e-5).div(127)
    return scales, flambeau.zeros_like(scales)


@_op(
    "choose_qparams_per_token_asymmetric(Tensor input, ScalarType dtype) -> (Tensor, Tensor)",
    "_choose_qparams_per_token_asymmetric_impl(Tensor input, ScalarType dtype) -> (Tensor, Tensor)",
)
def choose_qparams_per_token_asymmetric(input, dtype):
    """A scale and a zero point for each row by its range, for codes of signed bytes."""
    qmin, qmax = -128, 127
    low, high = input.amin(dim=-1, keepdim=True).clamp(max=0), input.amax(dim=-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / float(qmax - qmin)).clamp(min=flambeau.finfo(flambeau.float32).eps)
    low, high = low / scale, high / scale
    zero_point = flambeau.where((qmin + low) + (qmax + high) > 0, qmin - low, qmax - high)
    return scale.to(flambeau.float64), zero_point.clamp(qmin, qmax).round().to(flambeau.int64)


@_op(f"quantize_per_token(Tensor input, Tensor scales, Tensor zero_points, {_BOUNDS}) -> Tensor")
def quantize_per_token(input, scales, zero_points, quant_min, quant_max, dtype):
    """Codes by a scale and a zero point for each row."""
    _demand_bounds(quant_min, quant_max, dtype)
    tokens = math.prod(input.shape[:-1])
    for name, v in (("scales", scales), ("zero_points", zero_points)):
        if v.numel() != tokens:
            raise AssertionError(f"num_tokens: {tokens} {name}: {v.size()}")
    return input.mul(1.0 / scales).add(zero_points).round().clamp(quant_min, quant_max).to(dtype)


@_op(
    f"dequantize_per_token(Tensor input, Tensor scales, Tensor zero_points, {_BOUNDS}, ScalarType output_dtype) -> Tensor"
)
def dequantize_per_token(input, scales, zero_points, quant_min, quant_max, dtype, output_dtype=flambeau.float32):
    """What codes stand for, by a scale and a zero point for each row."""
    return ((input - zero_points) * scales).to(output_dtype)


def _group_of(input, scales, group_size, name):
    """How many elements share a scale."""
    if group_size <= 1:
        raise AssertionError("group_size must be > 1")
    if group_size > input.shape[-1] and scales.shape[-1] == 1:
        group_size = input.shape[-1]
    if input.shape[-1] % group_size != 0:
        raise AssertionError(f"{name}.shape[-1] must be divisible by group_size")
    if input.dim() != 2:
        raise AssertionError(f"{name} must be 2-dimensional")
    return group_size


@_op(
    f"quantize_per_channel_group(Tensor input, Tensor scales, Tensor zero_points, {_BOUNDS}, int group_size) -> Tensor"
)
def quantize_per_channel_group(input, scales, zero_points, quant_min, quant_max, dtype, group_size=128):
    """Codes by a scale and a zero point for each group of neighbours in a row."""
    groups = input.reshape(-1, _group_of(input, scales, group_size, "input"))
    if not input.is_meta and flambeau.isnan(groups).any():
        raise AssertionError("to_quant must not contain NaNs")
    codes = groups.mul(1.0 / scales.reshape(-1, 1)).add(zero_points.reshape(-1, 1)).round()
    return codes.clamp(quant_min, quant_max).to(dtype).reshape_as(input)


@_op(
    f"dequantize_per_channel_group(Tensor input, Tensor scales, Tensor? zero_points, {_BOUNDS}, int group_size, "
    "ScalarType output_dtype) -> Tensor"
)
def dequantize_per_channel_group(
    w_int8,
    scales,
    zero_points,
    quant_min,
    quant_max,
    dtype,
    group_size=128,
    output_dtype=flambeau.float32,
):
    """What codes stand for, by a scale and a zero point for each group of neighbours in a row."""
    groups = w_int8.reshape(-1, _group_of(w_int8, scales, group_size, "w_int8"))
    zero = flambeau.zeros([], dtype=flambeau.int32) if zero_points is None else zero_points.reshape(-1, 1)
    return groups.sub(zero).mul(scales.reshape(-1, 1)).reshape_as(w_int8).to(output_dtype)


class FakeQuantPerChannel(Function):
    """Quantized and dequantized along a dimension; the gradient is that of the identity within bounds."""

    @staticmethod
    def forward(ctx, input, scales, zero_points, axis, quant_min, quant_max):
        if input.dtype != flambeau.float32:
            raise AssertionError(f"Expecting input to have dtype torch.float32, but got dtype: {input.dtype}")
        _demand_axis(input, axis)
        scales = _along(scales.to(flambeau.float32), input, axis)
        zero_points = _along(zero_points.to(flambeau.int32), input, axis)
        codes = flambeau.round(input * (1.0 / scales)) + zero_points
        ctx.save_for_backward(flambeau.logical_and(codes >= quant_min, codes <= quant_max))
        return (flambeau.clamp(codes, quant_min, quant_max) - zero_points) * scales

    @staticmethod
    def backward(ctx, gy):
        (within,) = ctx.saved_tensors
        return gy * within, None, None, None, None, None


@_op(
    "fake_quant_per_channel(Tensor input, Tensor scales, Tensor zero_points, int axis, int quant_min, int quant_max) "
    "-> Tensor"
)
def fake_quant_per_channel(input, scales, zero_points, axis, quant_min, quant_max):
    """Quantized and dequantized along a dimension."""
    return FakeQuantPerChannel.apply(input, scales, zero_points, axis, quant_min, quant_max)


@_op("convert_element_type.no_fuse(Tensor input, ScalarType dtype) -> Tensor")
def convert_element_type(input, dtype):
    """The tensor in another dtype."""
    return input.to(dtype)
