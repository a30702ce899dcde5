"""Convolutions to whose results another quantized tensor is added."""

from flambeau.ao.nn import intrinsic, quantized

__all__ = ["ConvAdd2d", "ConvAddReLU2d"]


class _ConvAdd(quantized.Conv2d):
    """What the two share: ``forward`` takes the other tensor as well."""

    def forward(self, input, extra_input):
        conv = self._operator(self._suffix)
        return conv(self._padded(input), extra_input, self._packed_params, self.scale, self.zero_point)

    def _get_name(self):
        return f"Quantized{self._FLOAT_MODULE.__name__}"

    @classmethod
    def from_reference(cls, ref_qconv, output_scale, output_zero_point):
        return super().from_reference(ref_qconv[0], output_scale, output_zero_point)


class ConvAdd2d(_ConvAdd):
    """A convolution, then addition."""

    _FLOAT_MODULE = intrinsic.ConvAdd2d
    _suffix = "_add"


class ConvAddReLU2d(_ConvAdd):
    """A convolution, then addition, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvAddReLU2d
    _suffix = "_add_relu"
