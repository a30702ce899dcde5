"""Batch normalization fused with ReLU, of quantized tensors."""

from flambeau import ops
from flambeau.ao.nn import intrinsic, quantized

__all__ = ["BNReLU2d", "BNReLU3d"]


class BNReLU2d(quantized.BatchNorm2d):
    """Batch normalization, then ReLU."""

    _FLOAT_MODULE = intrinsic.BNReLU2d

    def forward(self, input):
        if len(input.shape) != 4:
            raise ValueError("Input shape must be `(N, C, H, W)`!")
        return ops.quantized.batch_norm2d_relu(input, *self._arguments())

    def _get_name(self):
        return "QuantizedBNReLU2d"

    @classmethod
    def from_reference(cls, bn_relu, output_scale, output_zero_point):
        return super().from_reference(bn_relu[0], output_scale, output_zero_point)


class BNReLU3d(quantized.BatchNorm3d):
    """Batch normalization, then ReLU."""

    _FLOAT_MODULE = intrinsic.BNReLU3d

    def forward(self, input):
        if len(input.shape) != 5:
            raise ValueError("Input shape must be `(N, C, D, H, W)`!")
        return ops.quantized.batch_norm3d_relu(input, *self._arguments())

    def _get_name(self):
        return "QuantizedBNReLU3d"

    @classmethod
    def from_reference(cls, bn_relu, output_scale, output_zero_point):
        return super().from_reference(bn_relu[0], output_scale, output_zero_point)
