"""Activations of quantized tensors."""

import warnings

import flambeau
from flambeau import ao, nn, ops
from flambeau.ao.nn import quantizable
from flambeau.ao.nn.quantized import functional

__all__ = ["ReLU6", "Hardswish", "ELU", "LeakyReLU", "Sigmoid", "Softmax", "MultiheadAttention", "PReLU"]


def observed_qparams(mod):
    """The scale and zero point that the observer of a module's results chose, as numbers."""
    scale, zero_point = mod.activation_post_process.calculate_qparams()
    return float(scale), int(zero_point)


def register_qparams(module, scale, zero_point, device, dtype):
    """Makes scale and zero point buffers of a module."""
    for name, value in (("scale", scale), ("zero_point", zero_point)):
        module.register_buffer(name, flambeau.tensor(value, device=device, dtype=dtype))


class ReLU6(nn.ReLU):
    """Numbers between zero and six."""

    def __init__(self, inplace=False):
        super().__init__(inplace)
        self.inplace = inplace

    def forward(self, input):
        return ops.quantized.relu6(input, self.inplace)

    def _get_name(self):
        return "QuantizedReLU6"

    @staticmethod
    def from_float(mod, use_precomputed_fake_quant=False):
        return ReLU6(mod.inplace)


class Hardswish(nn.Hardswish):
    """``nn.Hardswish``; the result has ``scale`` and ``zero_point``."""

    def __init__(self, scale, zero_point, device=None, dtype=None):
        super().__init__()
        register_qparams(self, scale, zero_point, device, dtype)

    def forward(self, input):
        return ops.quantized.hardswish(input, self.scale, self.zero_point)

    def _get_name(self):
        return "QuantizedHardswish"

    @staticmethod
    def from_float(mod, use_precomputed_fake_quant=False):
        return Hardswish(*observed_qparams(mod))

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        return cls(float(scale), int(zero_point))


class ELU(nn.ELU):
    """``nn.ELU``; the result has ``scale`` and ``zero_point``."""

    def __init__(self, scale, zero_point, alpha=1.0):
        super().__init__(alpha)
        self.scale = scale
        self.zero_point = zero_point

    def forward(self, input):
        return functional.elu(input, self.scale, self.zero_point, self.alpha)

    def _get_name(self):
        return "QuantizedELU"

    @staticmethod
    def from_float(mod, use_precomputed_fake_quant=False):
        return ELU(*observed_qparams(mod), mod.alpha)

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        return cls(float(scale), int(zero_point), mod.alpha)


class LeakyReLU(nn.LeakyReLU):
    """``nn.LeakyReLU``; the result has ``scale`` and ``zero_point``."""

    def __init__(self, scale, zero_point, negative_slope=1e-2, inplace=False, device=None, dtype=None):
        super().__init__(negative_slope, inplace)
        register_qparams(self, scale, zero_point, device, dtype)

    def forward(self, input):
        return ops.quantized.leaky_relu(input, self.negative_slope, self.inplace, self.scale, self.zero_point)

    def _get_name(self):
        return "QuantizedLeakyReLU"

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        return cls(*observed_qparams(mod), mod.negative_slope, mod.inplace)

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        return cls(float(scale), int(zero_point), mod.negative_slope, mod.inplace)


class Sigmoid(nn.Sigmoid):
    """``nn.Sigmoid``; the result has ``output_scale`` and ``output_zero_point``."""

    def __init__(self, output_scale, output_zero_point):
        super().__init__()
        self.output_scale = output_scale
        self.output_zero_point = output_zero_point

    def forward(self, input):
        return ops.quantized.sigmoid(input, self.output_scale, self.output_zero_point)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        return cls(*observed_qparams(mod))


class Softmax(nn.Softmax):
    """``nn.Softmax``; the result has ``scale`` and ``zero_point``."""

    def __init__(self, dim=None, scale=1.0, zero_point=0):
        super().__init__()
        self.dim = dim
        self.scale = scale
        self.zero_point = zero_point

    def forward(self, input):
        dim = self.dim
        if dim is None:
            dim = nn.functional._get_softmax_dim("softmax", input.dim(), 3)
        return ops.quantized.softmax(input, dim, self.scale, self.zero_point)

    def _get_name(self):
        return "QuantizedSoftmax"

    @staticmethod
    def from_float(mod, use_precomputed_fake_quant=False):
        return Softmax(mod.dim, *observed_qparams(mod))

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        return cls(mod.dim, float(scale), int(zero_point))


class MultiheadAttention(quantizable.MultiheadAttention):
    """What becomes of an observed ``quantizable.MultiheadAttention``."""

    _FLOAT_MODULE = quantizable.MultiheadAttention

    def _get_name(self):
        return "QuantizedMultiheadAttention"

    @classmethod
    def from_float(cls, other):
        """Not here: this class is made of observed modules only."""
        raise NotImplementedError(
            "It looks like you are trying to convert a non-observed MHA module. Please, see "
            "the examples on quantizable MHAs."
        )

    @classmethod
    def from_observed(cls, other):
        """The module with its parts converted, and its own biases quantized."""
        converted = ao.quantization.convert(
            other, mapping=None, inplace=False, remove_qconfig=True, convert_custom_config_dict=None
        )
        converted.__class__ = cls
        # Scale and zero point of both are chosen by the keys' bias, once it is quantized: PyTorch does so.
        chosen_by = None
        for name in ("bias_k", "bias_v"):
            if getattr(converted, name) is None:
                continue
            bias = converted._parameters.pop(name)
            chosen_by = bias if chosen_by is None else chosen_by
            scale, zero_point = flambeau._choose_qparams_per_tensor(chosen_by, reduce_range=False)
            quantized = flambeau.quantize_per_tensor(bias, scale, zero_point, flambeau.quint8)
            setattr(converted, name, quantized)
            chosen_by = quantized
        del converted.in_proj_weight
        del converted.in_proj_bias
        return converted


class PReLU(nn.Module):
    """``nn.PReLU`` with a quantized weight; the result has ``scale`` and ``zero_point``."""

    def __init__(self, output_scale, output_zero_point, num_parameters=1):
        super().__init__()
        self.num_parameters = num_parameters
        self.scale = output_scale
        self.zero_point = output_zero_point
        weight = flambeau.randn(num_parameters, dtype=flambeau.float)
        self.set_weight(flambeau.quantize_per_tensor(weight, scale=1.0, zero_point=0, dtype=flambeau.quint8))

    def set_weight(self, w):
        """Takes a quantized weight."""
        self.weight = w

    def forward(self, input):
        return ops.quantized.prelu(input, self.weight, self.scale, self.zero_point)

    def _get_name(self):
        return "QuantizedPReLU"

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        return cls.from_reference(mod, *observed_qparams(mod))

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        """With the weight quantized as its observer says."""
        made = cls(float(scale), int(zero_point), mod.num_parameters)
        weight = mod.weight.float()
        observer = mod.qconfig.weight()
        observer(weight)
        if observer.dtype != flambeau.quint8:
            warnings.warn(f"PReLU's weight observer should have dtype quint8 but got {observer.dtype}", stacklevel=2)
        scale, zero_point = observer.calculate_qparams()
        made.set_weight(flambeau.quantize_per_tensor(weight, float(scale), int(zero_point), flambeau.quint8))
        return made
