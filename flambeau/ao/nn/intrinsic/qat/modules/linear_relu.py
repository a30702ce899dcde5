"""A linear layer fused with ReLU, with fake quantization of its weight."""

import flambeau.nn.functional as F
from flambeau import nn
from flambeau.ao.nn import intrinsic, qat
from flambeau.ao.nn.intrinsic.modules.fused import _FusedModule

__all__ = ["LinearReLU"]


class LinearReLU(qat.Linear, _FusedModule):
    """A linear layer, then ReLU."""

    _FLOAT_MODULE = intrinsic.LinearReLU

    def __init__(self, in_features, out_features, bias=True, qconfig=None):
        super().__init__(in_features, out_features, bias, qconfig)

    def forward(self, input):
        return F.relu(F.linear(input, self.weight_fake_quant(self.weight), self.bias))

    def to_float(self):
        """The fused float module with these parameters."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None)
        linear.weight = nn.Parameter(self.weight.detach())
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach())
        return intrinsic.LinearReLU(linear, nn.ReLU())
