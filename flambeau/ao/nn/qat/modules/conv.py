"""Convolutions with fake quantization of their weights."""

from flambeau import nn
from flambeau.ao.nn import _arguments
from flambeau.ao.nn.intrinsic import _FusedModule

__all__ = ["Conv1d", "Conv2d", "Conv3d"]


class _ConvNd(nn.modules.conv._Conv):
    """A convolution whose weight passes through ``weight_fake_quant``, which the configuration makes."""

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
        qconfig=None,
        device=None,
        dtype=None,
    ):
        options = {"device": device, "dtype": dtype}
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
            **options,
        )
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight(factory_kwargs=options)

    def forward(self, input):
        return self._conv_forward(input, self.weight_fake_quant(self.weight), self.bias)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """The module with the parameters of ``mod``, which names a configuration."""
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(
                f"qat.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}, got {type(mod).__name__}"
            )
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        if not mod.qconfig:
            raise AssertionError("Input float module must have a valid qconfig")
        if isinstance(mod, _FusedModule):
            mod = mod[0]
        made = cls(*_arguments.of_conv(mod), qconfig=mod.qconfig)
        made.weight, made.bias = mod.weight, mod.bias
        return made

    def to_float(self):
        """The plain module with these parameters: a sequence with ReLU where this one is fused with it."""
        conv = _plain(self)
        if not isinstance(self, _FusedModule):
            return conv
        fused = self._FLOAT_MODULE(conv, self._FLOAT_RELU_MODULE())
        fused.train(self.training)
        return fused


def _plain(conv):
    """The float convolution with the same parameters."""
    made = conv._FLOAT_CONV_MODULE(*_arguments.of_conv(conv))
    made.weight = nn.Parameter(conv.weight.detach())
    if conv.bias is not None:
        made.bias = nn.Parameter(conv.bias.detach())
    return made


class Conv1d(_ConvNd, nn.Conv1d):
    """``nn.Conv1d`` with fake quantization of its weight."""

    _FLOAT_MODULE = nn.Conv1d
    _FLOAT_CONV_MODULE = nn.Conv1d


class Conv2d(_ConvNd, nn.Conv2d):
    """``nn.Conv2d`` with fake quantization of its weight."""

    _FLOAT_MODULE = nn.Conv2d
    _FLOAT_CONV_MODULE = nn.Conv2d


class Conv3d(_ConvNd, nn.Conv3d):
    """``nn.Conv3d`` with fake quantization of its weight."""

    _FLOAT_MODULE = nn.Conv3d
    _FLOAT_CONV_MODULE = nn.Conv3d
