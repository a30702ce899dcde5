"""Batch normalization fused with ReLU, of quantized tensors."""

from flambeau import ops
from flambeau.ao.nn import intrinsic, quantized
from flambeau.ao.nn.quantized.modules.conv import _SHAPES

__all__ = ["BNReLU2d", "BNReLU3d"]


class _BNReLU:
    """What the two share, mixed into the quantized normalization."""

    def forward(self, input):
        if len(input.shape) != self._dims + 2:
            raise ValueError(f"Input shape must be `{_SHAPES[self._dims]}`!")
        return getattr(ops.quantized, f"batch_norm{self._dims}d_relu")(input, *self._arguments())

    def _get_name(self):
        return f"QuantizedBNReLU{self._dims}d"

    @classmethod
    def from_reference(cls, bn_relu, output_scale, output_zero_point):
        return super().from_reference(bn_relu[0], output_scale, output_zero_point)


class BNReLU2d(_BNReLU, quantized.BatchNorm2d):
    """Batch normalization, then ReLU."""

    _FLOAT_MODULE = intrinsic.BNReLU2d


class BNReLU3d(_BNReLU, quantized.BatchNorm3d):
    """Batch normalization, then ReLU."""

    _FLOAT_MODULE = intrinsic.BNReLU3d
