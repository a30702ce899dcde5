"""Convolutions as references."""

import flambeau.nn.functional as F
from flambeau import nn
from flambeau.ao.nn import _arguments

from .utils import ReferenceQuantizedModule

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvNd(nn.modules.conv._ConvNd, ReferenceQuantizedModule):
    """What all of them share."""

    _IS_REFERENCE = True

    @classmethod
    def from_float(cls, float_conv, weight_qparams):
        """With copies of the parameters of ``float_conv``."""
        weight, bias = float_conv.weight, float_conv.bias
        options = {"device": weight.device, "dtype": weight.dtype, "weight_qparams": weight_qparams}
        made = cls(*cls._arguments(float_conv), **options)
        made.weight = nn.Parameter(weight.detach())
        if bias is not None:
            made.bias = nn.Parameter(bias.detach())
        return made

    def _get_name(self):
        return f"Quantized{type(self).__name__}(Reference)"


class _Conv(_ConvNd, nn.modules.conv._Conv):
    """What ordinary convolutions share."""

    _arguments = staticmethod(_arguments.of_conv)

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
        weight_qparams=None,
    ):
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
        self._init_weight_qparams(weight_qparams, device)

    def forward(self, x):
        return self._convolve(x, self.get_weight(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv1d(_Conv, nn.Conv1d):
    """``nn.Conv1d`` with a weight that is quantized and dequantized."""

    _convolve = staticmethod(F.conv1d)


class Conv2d(_Conv, nn.Conv2d):
    """``nn.Conv2d`` with a weight that is quantized and dequantized."""

    _convolve = staticmethod(F.conv2d)


class Conv3d(_Conv, nn.Conv3d):
    """``nn.Conv3d`` with a weight that is quantized and dequantized."""

    _convolve = staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd, nn.modules.conv._ConvTransposeNd):
    """What transposed convolutions share."""

    _arguments = staticmethod(_arguments.of_conv_transpose)

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
        weight_qparams=None,
    ):
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
        self._init_weight_qparams(weight_qparams, device)

    def forward(self, x, output_size=None):
        padding = self.output_padding
        if output_size is not None:
            dims = len(self.kernel_size)
            padding = self._output_padding(
                x, output_size, self.stride, self.padding, self.kernel_size, dims, self.dilation
            )
        return self._convolve(
            x, self.get_weight(), self.bias, self.stride, self.padding, padding, self.groups, self.dilation
        )


class ConvTranspose1d(_ConvTransposeNd, nn.ConvTranspose1d):
    """``nn.ConvTranspose1d`` with a weight that is quantized and dequantized."""

    _convolve = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd, nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` with a weight that is quantized and dequantized."""

    _convolve = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd, nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` with a weight that is quantized and dequantized."""

    _convolve = staticmethod(F.conv_transpose3d)
