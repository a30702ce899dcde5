"""Convolutions to whose results another quantized tensor is added."""

from flambeau import ops
from flambeau.ao.nn import intrinsic, quantized

__all__ = ["ConvAdd2d", "ConvAddReLU2d"]


class ConvAdd2d(quantized.Conv2d):
    """A convolution, then addition."""

    _FLOAT_MODULE = intrinsic.ConvAdd2d

    def forward(self, input, extra_input):
        return ops.quantized.conv2d_add(
            self._padded(input), extra_input, self._packed_params, self.scale, self.zero_point
        )

    def _get_name(self):
        return "QuantizedConvAdd2d"

    @classmethod
    def from_reference(cls, ref_qconv, output_scale, output_zero_point):
        return super().from_reference(ref_qconv[0], output_scale, output_zero_point)


class ConvAddReLU2d(quantized.Conv2d):
    """A convolution, then addition, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvAddReLU2d

    def forward(self, input, extra_input):
        return ops.quantized.conv2d_add_relu(
            self._padded(input), extra_input, self._packed_params, self.scale, self.zero_point
        )

    def _get_name(self):
        return "QuantizedConvAddReLU2d"

    @classmethod
    def from_reference(cls, ref_qconv, output_scale, output_zero_point):
        return super().from_reference(ref_qconv[0], output_scale, output_zero_point)
