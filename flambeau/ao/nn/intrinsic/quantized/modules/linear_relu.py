"""Linear layers fused with activations, of quantized tensors."""

import flambeau
from flambeau import ops
from flambeau.ao.nn import intrinsic, quantized
from flambeau.ao.nn.quantized.modules.activation import observed_qparams

__all__ = ["LinearReLU", "LinearLeakyReLU", "LinearTanh"]


class LinearReLU(quantized.Linear):
    """A linear layer, then ReLU."""

    _FLOAT_MODULE = intrinsic.LinearReLU

    def __init__(self, in_features, out_features, bias=True, dtype=flambeau.qint8):
        super().__init__(in_features, out_features, bias, dtype)

    def forward(self, x):
        return ops.quantized.linear_relu(x, self._packed_params._packed_params, self.scale, self.zero_point)

    def _get_name(self):
        return "QuantizedLinearReLU"

    @classmethod
    def from_reference(cls, ref_linear_relu, output_scale, output_zero_point):
        return super().from_reference(ref_linear_relu[0], output_scale, output_zero_point)


class _Activated(quantized.Linear):
    """A linear layer and an activation that is not ReLU."""

    @staticmethod
    def _beyond(activation):
        """What the constructor takes of the activation."""
        return ()

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """What becomes of an observed module."""
        if type(mod) is not cls._FLOAT_MODULE:
            raise AssertionError(f"Input float module should be {cls._FLOAT_MODULE.__name__}")
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        linear, activation = mod[0], mod[1]  # the observer of the results is a third
        return cls._quantized(linear, linear.qconfig.weight(), observed_qparams(mod), True, cls._beyond(activation))

    @classmethod
    def from_reference(cls, ref_mod, output_scale, output_zero_point):
        """What becomes of a reference module."""
        linear, activation = ref_mod[0], ref_mod[1]
        made = cls(linear.in_features, linear.out_features, *cls._beyond(activation))
        made.set_weight_bias(linear.get_quantized_weight(), linear.bias)
        made.scale, made.zero_point = float(output_scale), int(output_zero_point)
        return made


class LinearLeakyReLU(_Activated):
    """A linear layer, then leaky ReLU."""

    _FLOAT_MODULE = intrinsic.LinearLeakyReLU

    def __init__(self, in_features, out_features, negative_slope, bias=True, dtype=flambeau.qint8):
        super().__init__(in_features, out_features, bias, dtype)
        self.negative_slope = negative_slope

    def forward(self, x):
        packed = self._packed_params._packed_params
        return ops.quantized.linear_leaky_relu(x, packed, self.scale, self.zero_point, self.negative_slope)

    def _get_name(self):
        return "QuantizedLinearLeakyReLU"

    @staticmethod
    def _beyond(activation):
        return (activation.negative_slope,)


class LinearTanh(_Activated):
    """A linear layer, then tanh."""

    _FLOAT_MODULE = intrinsic.LinearTanh

    def __init__(self, in_features, out_features, bias=True, dtype=flambeau.qint8):
        super().__init__(in_features, out_features, bias, dtype)

    def forward(self, x):
        return ops.quantized.linear_tanh(x, self._packed_params._packed_params, self.scale, self.zero_point)

    def _get_name(self):
        return "QuantizedLinearTanh"
