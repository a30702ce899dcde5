"""Convolutions whose input is quantized as it comes."""

import warnings

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
        return "Dynamic" + super()._get_name()

    def forward(self, input, reduce_range=True):
        return self._operator("_dynamic")(self._padded(input), self._packed_params, reduce_range)


class _Conv(_Dynamic):
    """The constructor of ordinary ones."""

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


class _ConvTranspose(_Dynamic):
    """The constructor of transposed ones."""

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


class Conv1d(_Dynamic, quantized.Conv1d):
    """``nn.Conv1d`` with a weight of codes."""

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
        reduce_range=True,  # of no effect; the other dimensions do not take it
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


class Conv2d(_Conv, quantized.Conv2d):
    """``nn.Conv2d`` with a weight of codes."""


class Conv3d(_Conv, quantized.Conv3d):
    """``nn.Conv3d`` with a weight of codes."""


class ConvTranspose1d(_ConvTranspose, quantized.ConvTranspose1d):
    """``nn.ConvTranspose1d`` with a weight of codes."""


class ConvTranspose2d(_ConvTranspose, quantized.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with a weight of codes."""


class ConvTranspose3d(_ConvTranspose, quantized.ConvTranspose3d):
    """``nn.ConvTranspose3d`` with a weight of codes."""
