"""Functions of quantized tensors: those of ``nn.functional`` that keep codes, and those that choose new scales."""

import warnings

import flambeau
import flambeau.nn.functional as F
from flambeau import ops
from flambeau.nn.modules.utils import _pair, _triple

from .modules.utils import _pair_from_first

__all__ = [
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "interpolate",
    "linear",
    "max_pool1d",
    "max_pool2d",
    "celu",
    "leaky_relu",
    "hardtanh",
    "hardswish",
    "threshold",
    "elu",
    "hardsigmoid",
    "clamp",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]


def _demand(input, name):
    if not input.is_quantized:
        raise ValueError(f"Input to 'quantized.{name}' must be quantized!")


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """Means over windows, rounded to codes of the input's scale."""
    _demand(input, "avg_pool2d")
    return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """Means over windows, rounded to codes of the input's scale."""
    _demand(input, "avg_pool3d")
    return F.avg_pool3d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool2d(input, output_size):
    """Means over as many windows as are asked for."""
    _demand(input, "functional.adaptive_avg_pool2d")
    return F.adaptive_avg_pool2d(input, output_size)


def adaptive_avg_pool3d(input, output_size):
    """Means over as many windows as are asked for."""
    _demand(input, "functional.adaptive_avg_pool3d")
    return F.adaptive_avg_pool3d(input, output_size)


def _conv(dims, shape, each, input, weight, bias, stride, padding, dilation, groups, padding_mode, scale, zero_point):
    if padding_mode != "zeros":
        raise NotImplementedError("Only zero-padding is supported!")
    if input.dtype != flambeau.quint8:
        raise NotImplementedError("Only torch.quint8 is supported for activation tensor!")
    if weight.dtype != flambeau.qint8:
        raise NotImplementedError("Only torch.qint8 is supported for weight tensor!")
    if input.ndim != dims + 2:
        raise ValueError(f"Input shape must be `{shape}`!")
    pack, conv = getattr(ops.quantized, f"conv{dims}d_prepack"), getattr(ops.quantized, f"conv{dims}d")
    packed = pack(weight, bias, each(stride), each(padding), each(dilation), groups)
    return conv(input, packed, scale, zero_point)


def conv1d(
    input,
    weight,
    bias,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    padding_mode="zeros",
    scale=1.0,
    zero_point=0,
    dtype=flambeau.quint8,
):
    """A convolution in one dimension, into codes of this scale and zero point."""
    options = (stride, padding, dilation, groups, padding_mode, scale, zero_point)
    return _conv(1, "(N, C, L)", _pair_from_first, input, weight, bias, *options)


def conv2d(
    input,
    weight,
    bias,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    padding_mode="zeros",
    scale=1.0,
    zero_point=0,
    dtype=flambeau.quint8,
):
    """A convolution in two dimensions, into codes of this scale and zero point."""
    options = (stride, padding, dilation, groups, padding_mode, scale, zero_point)
    return _conv(2, "(N, C, H, W)", _pair, input, weight, bias, *options)


def conv3d(
    input,
    weight,
    bias,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    padding_mode="zeros",
    scale=1.0,
    zero_point=0,
    dtype=flambeau.quint8,
):
    """A convolution in three dimensions, into codes of this scale and zero point."""
    options = (stride, padding, dilation, groups, padding_mode, scale, zero_point)
    return _conv(3, "(N, C, D, H, W)", _triple, input, weight, bias, *options)


def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """Another resolution, in codes of the input's scale."""
    _demand(input, "interpolate")
    return F.interpolate(input, size, scale_factor, mode, align_corners)


def linear(input, weight, bias=None, scale=None, zero_point=None):
    """A linear layer, into codes of this scale and zero point: the input's, unless told."""
    scale = input.q_scale() if scale is None else scale
    zero_point = input.q_zero_point() if zero_point is None else zero_point
    return ops.quantized.linear(input, ops.quantized.linear_prepack(weight, bias), scale, zero_point)


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest in each window."""
    if return_indices:
        raise NotImplementedError("return_indices is not yet implemented!")
    return F.max_pool1d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode=ceil_mode)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest in each window."""
    if return_indices:
        raise NotImplementedError("return_indices is not yet implemented!")
    return F.max_pool2d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode=ceil_mode)


def celu(input, scale, zero_point, alpha=1.0):
    """CELU, into codes of this scale and zero point."""
    _demand(input, "celu")
    return ops.quantized.celu(input, scale, zero_point, alpha)


def leaky_relu(input, negative_slope=0.01, inplace=False, scale=None, zero_point=None):
    """Leaky ReLU, into codes of the input's scale and zero point or of others."""
    if scale is not None and zero_point is not None:
        if inplace:
            raise AssertionError("Cannot rescale with `inplace`")
        return ops.quantized.leaky_relu(input, negative_slope, False, scale, int(zero_point))
    return F.leaky_relu(input, negative_slope, inplace)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """Numbers held between two."""
    _demand(input, "hardtanh")
    return F.hardtanh(input, min_val, max_val, inplace)


def hardswish(input, scale, zero_point):
    """Hardswish, into codes of this scale and zero point."""
    _demand(input, "hardswish")
    return ops.quantized.hardswish(input, scale, zero_point)


def threshold(input, threshold, value):
    """Numbers above a threshold; ``value`` for the others."""
    _demand(input, "threshold")
    if threshold is None:
        raise ValueError("Input to 'threshold' must be specified!")
    if value is None:
        raise ValueError("Input to 'value' must be specified!")
    return ops.quantized.threshold(input, threshold, value)


def elu(input, scale, zero_point, alpha=1.0):
    """ELU, into codes of this scale and zero point."""
    _demand(input, "elu")
    return ops.quantized.elu(input, scale, zero_point, alpha)


def hardsigmoid(input, inplace=False):
    """Hardsigmoid, into codes of 1/256."""
    _demand(input, "hardsigmoid")
    return F.hardsigmoid(input, inplace)


def clamp(input, min_, max_):
    """Numbers held between two."""
    _demand(input, "clamp")
    return flambeau.clamp(input, min_, max_)


def _deprecated(name):
    warnings.warn(
        f"nn.quantized.functional.{name} is deprecated. Use nn.quantized.functional.interpolate instead.",
        stacklevel=3,
    )


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """The older name of :func:`interpolate`."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_bilinear(input, size=None, scale_factor=None):
    """:func:`interpolate` between four corners, aligned."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


def upsample_nearest(input, size=None, scale_factor=None):
    """:func:`interpolate` by the nearest."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")
