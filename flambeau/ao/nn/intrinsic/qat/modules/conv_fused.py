"""Convolutions fused with batch normalization and ReLU, with fake quantization of their weights."""

import math

import flambeau
import flambeau.nn.functional as F
from flambeau import nn
from flambeau.ao.nn import _arguments, intrinsic, qat
from flambeau.ao.nn.qat.modules.conv import _plain
from flambeau.nn import init
from flambeau.nn.utils import fuse_conv_bn_weights

from .normalized import Normalized

__all__ = [
    "ConvBn1d",
    "ConvBnReLU1d",
    "ConvReLU1d",
    "ConvBn2d",
    "ConvBnReLU2d",
    "ConvReLU2d",
    "ConvBn3d",
    "ConvBnReLU3d",
    "ConvReLU3d",
    "update_bn_stats",
    "freeze_bn_stats",
]


class _ConvBnNd(Normalized, nn.modules.conv._Conv, intrinsic._FusedModule):
    """A convolution, then batch normalization, whose scale the weight carries when it is quantized."""

    _version = 2
    _FLOAT_RELU_MODULE = None

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=None,
        padding_mode="zeros",
        eps=1e-05,
        momentum=0.1,
        freeze_bn=False,
        qconfig=None,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            self._each(padding),  # names of padding are not understood
            dilation,
            groups,
            False,
            padding_mode,
        )
        bn = self._FLOAT_BN_MODULE(out_channels, eps, momentum, True, True)
        self._normalize(bn, bias, freeze_bn, qconfig)
        self._enable_slow_path_for_better_numerical_stability = False

    def reset_bn_parameters(self):
        """A random scale, a shift of zeros, statistics of nothing seen; the bias anew."""
        self.bn.reset_running_stats()
        init.uniform_(self.bn.weight)
        init.zeros_(self.bn.bias)
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def _forward(self, input):
        if self._enable_slow_path_for_better_numerical_stability:
            return self._forward_slow(input)
        return self._forward_approximate(input)

    def _along(self, ndim):
        """The shapes that lay numbers along the outputs of the weight, and along the channels of the result."""
        return (-1, *[1] * (ndim - 1)), (1, -1, *[1] * (ndim - 2))

    def _forward_approximate(self, input):
        """The convolution is divided by the scale of the weight again, and normalized: one convolution."""
        outputs, channels = self._along(self.weight.dim())
        scale = self.bn.weight / flambeau.sqrt(self.bn.running_var + self.bn.eps)
        weight = self.weight_fake_quant(self.weight * scale.reshape(outputs))
        zeros = flambeau.zeros(self.out_channels, device=weight.device, dtype=input.dtype)
        if self.bias is not None:
            zeros = flambeau.zeros_like(self.bias, dtype=input.dtype)
        unscaled = self._conv_forward(input, weight, zeros) / scale.reshape(channels)
        if self.bias is not None:
            unscaled = unscaled + self.bias.reshape(channels)
        return self.bn(unscaled)

    def _forward_slow(self, input):
        """Without the division, which a scale of zero forbids: two convolutions (Krishnamoorthi, 2018, 3.2.2)."""
        outputs, channels = self._along(self.weight.dim())
        zeros = flambeau.zeros(self.out_channels, device=self.weight.device, dtype=input.dtype)
        if self.bn.training:
            plain = self._conv_forward(input, self.weight, zeros)
            with flambeau.no_grad():  # for the statistics
                self.bn(plain if self.bias is None else plain + self.bias.reshape(channels))
        running_std = flambeau.sqrt(self.bn.running_var + self.bn.eps)
        scale = self.bn.weight / running_std
        weight = self.weight_fake_quant(self.weight * scale.reshape(outputs))
        result = self._conv_forward(input, weight, zeros)
        if self.bn.training:
            dims = [0, *range(2, self.weight.dim())]
            mean = plain.mean(dims)
            std = flambeau.sqrt(flambeau.square(plain - mean.reshape(channels)).mean(dims) + self.bn.eps)
            result *= (running_std / std).reshape(channels)
        else:
            mean, std = self.bn.running_mean - (0 if self.bias is None else self.bias), running_std
        result += (self.bn.bias - self.bn.weight * mean / std).reshape(channels)
        if self.bias is not None:
            result += (self.bias - self.bias).reshape(channels)  # so that the bias has a gradient, of zeros
        return result

    def forward(self, input):
        return self._forward(input)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *lists):
        version = local_metadata.get("version")
        if version is None or version == 1:
            for name, then in (
                ("bn.weight", "gamma"),
                ("bn.bias", "beta"),
                *((f"bn.{n}", n) for n in ("running_mean", "running_var", "num_batches_tracked")),
            ):
                if prefix + then in state_dict:
                    state_dict[prefix + name] = state_dict.pop(prefix + then)
                elif prefix + name not in state_dict and strict:
                    missing_keys.append(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *lists)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """The module with the parameters and statistics of ``mod``, which names a configuration."""
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(f"qat.{cls.__name__}.from_float only works for {cls._FLOAT_MODULE.__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        if not mod.qconfig:
            raise AssertionError("Input float module must have a valid qconfig")
        conv, bn = mod[0], mod[1]
        made = cls(*_arguments.of_conv(conv), bn.eps, bn.momentum, False, mod.qconfig)
        made._take_over(conv, bn)
        return made

    def to_float(self):
        """The convolution that does both, in a sequence with ReLU where this one is fused with it."""
        conv, bn = _plain(self), self.bn
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        if self._FLOAT_RELU_MODULE:
            conv = self._FUSED_FLOAT_MODULE(conv, self._FLOAT_RELU_MODULE())
        conv.train(self.training)
        return conv


class _WithReLU:
    """Mixed into a convolution: its result, then ReLU."""

    _FLOAT_RELU_MODULE = nn.ReLU

    def forward(self, input):
        return F.relu(super().forward(input))


class _ConvReLU(_WithReLU):
    """The constructor of those without normalization, mixed into the one with fake quantization."""

    _FLOAT_BN_MODULE = None

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
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, qconfig
        )


class ConvBn1d(_ConvBnNd, nn.Conv1d):
    """A convolution, then batch normalization."""

    _FLOAT_MODULE = intrinsic.ConvBn1d
    _FLOAT_CONV_MODULE = nn.Conv1d
    _FLOAT_BN_MODULE = nn.BatchNorm1d


class ConvBnReLU1d(_WithReLU, ConvBn1d):
    """A convolution, then batch normalization, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvBnReLU1d
    _FUSED_FLOAT_MODULE = intrinsic.ConvReLU1d


class ConvReLU1d(_ConvReLU, qat.Conv1d, intrinsic._FusedModule):
    """A convolution, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvReLU1d


class ConvBn2d(_ConvBnNd, nn.Conv2d):
    """A convolution, then batch normalization."""

    _FLOAT_MODULE = intrinsic.ConvBn2d
    _FLOAT_CONV_MODULE = nn.Conv2d
    _FLOAT_BN_MODULE = nn.BatchNorm2d


class ConvBnReLU2d(_WithReLU, ConvBn2d):
    """A convolution, then batch normalization, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvBnReLU2d
    _FUSED_FLOAT_MODULE = intrinsic.ConvReLU2d


class ConvReLU2d(_ConvReLU, qat.Conv2d, intrinsic._FusedModule):
    """A convolution, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvReLU2d


class ConvBn3d(_ConvBnNd, nn.Conv3d):
    """A convolution, then batch normalization."""

    _FLOAT_MODULE = intrinsic.ConvBn3d
    _FLOAT_CONV_MODULE = nn.Conv3d
    _FLOAT_BN_MODULE = nn.BatchNorm3d


class ConvBnReLU3d(_WithReLU, ConvBn3d):
    """A convolution, then batch normalization, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvBnReLU3d
    _FUSED_FLOAT_MODULE = intrinsic.ConvReLU3d


class ConvReLU3d(_ConvReLU, qat.Conv3d, intrinsic._FusedModule):
    """A convolution, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvReLU3d


_NORMALIZED = (ConvBnReLU1d, ConvBnReLU2d, ConvBnReLU3d, ConvBn1d, ConvBn2d, ConvBn3d)


def update_bn_stats(mod):
    """Keeps the statistics of a fused convolution up to date; other modules are let be: for ``module.apply``."""
    if type(mod) in _NORMALIZED:
        mod.update_bn_stats()


def freeze_bn_stats(mod):
    """Freezes the statistics of a fused convolution; other modules are let be: for ``module.apply``."""
    if type(mod) in _NORMALIZED:
        mod.freeze_bn_stats()
