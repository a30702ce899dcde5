"""Convolutions whose input is quantized as it comes."""

import warnings

from flambeau import nn, ops
from flambeau.ao.nn import quantized

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


def _warn(module):
    warnings.warn(
        f"The current implementation of the {module._get_name()} module has poor numerical accuracy "
        "and its use is not recommended",
        stacklevel=3,
    )


class _Dynamic:
    """What all of them share, mixed into the quantized convolution: they take and give floats."""

    _NNIQAT_CONV_BN_MODULE = None
    _NNI_CONV_RELU_MODULE = None

    def _get_name(self):
        return f"DynamicQuantizedConv{self._dims}d"

    def forward(self, input, reduce_range=True):
        conv = getattr(ops.quantized, f"conv{self._dims}d_dynamic")
        return conv(self._padded(input), self._packed_params, reduce_range)


class _DynamicTranspose:
    """What the transposed ones share."""

    def _get_name(self):
        return f"DynamicQuantizedConvTranspose{self._dims}d"

    def forward(self, input, reduce_range=True):
        conv = getattr(ops.quantized, f"conv_transpose{self._dims}d_dynamic")
        return conv(self._padded(input), self._packed_params, reduce_range)


class Conv1d(_Dynamic, quantized.Conv1d):
    """``nn.Conv1d`` with a weight of codes."""

    _FLOAT_MODULE = nn.Conv1d

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
        reduce_range=True,
    ):
        _warn(self)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )


class Conv2d(_Dynamic, quantized.Conv2d):
    """``nn.Conv2d`` with a weight of codes."""

    _FLOAT_MODULE = nn.Conv2d

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        _warn(self)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )


class Conv3d(_Dynamic, quantized.Conv3d):
    """``nn.Conv3d`` with a weight of codes."""

    _FLOAT_MODULE = nn.Conv3d

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        _warn(self)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )


class ConvTranspose1d(_DynamicTranspose, quantized.ConvTranspose1d):
    """``nn.ConvTranspose1d`` with a weight of codes."""

    _FLOAT_MODULE = nn.ConvTranspose1d

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        _warn(self)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )


class ConvTranspose2d(_DynamicTranspose, quantized.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with a weight of codes."""

    _FLOAT_MODULE = nn.ConvTranspose2d

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        _warn(self)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )


class ConvTranspose3d(_DynamicTranspose, quantized.ConvTranspose3d):
    """``nn.ConvTranspose3d`` with a weight of codes."""

    _FLOAT_MODULE = nn.ConvTranspose3d

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        padding_mode="zeros",
        device=None,
        dtype=None,
    ):
        _warn(self)
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,
            device,
            dtype,
        )
