"""A linear layer fused with batch normalization, with fake quantization of its weight."""

import flambeau
import flambeau.nn.functional as F
from flambeau import nn
from flambeau.ao.nn import intrinsic
from flambeau.nn import init
from flambeau.nn.utils.fusion import fuse_linear_bn_weights

from .normalized import Normalized

__all__ = ["LinearBn1d"]


class LinearBn1d(Normalized, nn.Linear, intrinsic._FusedModule):
    """A linear layer, then batch normalization, whose scale the weight carries when it is quantized."""

    def __init__(self, in_features, out_features, bias=True, eps=1e-05, momentum=0.1, freeze_bn=False, qconfig=None):
        nn.Linear.__init__(self, in_features, out_features, bias)
        self._normalize(nn.BatchNorm1d(out_features, eps, momentum, True, True), bias, freeze_bn, qconfig)

    def reset_bn_parameters(self):
        """A random scale, a shift of zeros, statistics of nothing seen."""
        self.bn.reset_running_stats()
        init.uniform_(self.bn.weight)
        init.zeros_(self.bn.bias)

    def forward(self, input):
        scale = self.bn.weight / flambeau.sqrt(self.bn.running_var + self.bn.eps)
        weight = self.weight_fake_quant(self.weight * scale.reshape(-1, 1))
        zeros = flambeau.zeros(self.out_features, device=weight.device)
        if self.bias is not None:
            zeros = flambeau.zeros_like(self.bias)
        unscaled = F.linear(input, weight, zeros) / scale.reshape(1, -1)
        if self.bias is not None:
            unscaled = unscaled + self.bias.reshape(1, -1)
        return self.bn(unscaled)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """The module with the parameters and statistics of ``mod``, which names a configuration."""
        if type(mod) is not intrinsic.LinearBn1d:
            raise AssertionError(f"qat.{cls.__name__}.from_float only works for {intrinsic.LinearBn1d.__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        if not mod.qconfig:
            raise AssertionError("Input float module must have a valid config")
        linear, bn = mod[0], mod[1]
        made = cls(
            linear.in_features, linear.out_features, linear.bias is not None, bn.eps, bn.momentum, False, mod.qconfig
        )
        made._take_over(linear, bn)
        return made

    def to_float(self):
        """The linear layer that does both."""
        bn, linear = self.bn, nn.Linear(self.in_features, self.out_features)
        linear.weight, linear.bias = fuse_linear_bn_weights(
            self.weight, self.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        return linear
