"""Linear layers whose weights are packed codes."""

from collections.abc import Iterable

import flambeau
from flambeau import nn, ops
from flambeau.ao.nn import intrinsic
from flambeau.ao.nn.intrinsic import qat
from flambeau.nn.utils.fusion import fuse_linear_bn_weights
from flambeau.nn.utils.parametrize import type_before_parametrizations

from .activation import observed_qparams
from .utils import WeightedQuantizedModule, _hide_packed_params_repr, _quantize_weight

__all__ = ["LinearPackedParams", "Linear"]


class LinearPackedParams(nn.Module):
    """Weight and bias as the operators take them; a state dict holds them unpacked."""

    _version = 3

    def __init__(self, dtype=flambeau.qint8):
        super().__init__()
        self.dtype = dtype
        if dtype == flambeau.qint8:
            weight = flambeau._empty_affine_quantized([1, 1], scale=1.0, zero_point=0, dtype=flambeau.qint8)
        elif dtype == flambeau.float16:
            weight = flambeau.zeros([1, 1], dtype=flambeau.float)
        self.set_weight_bias(weight, None)

    def set_weight_bias(self, weight, bias):
        """Packs them."""
        if self.dtype == flambeau.qint8:
            self._packed_params = ops.quantized.linear_prepack(weight, bias)
        elif self.dtype == flambeau.float16:
            self._packed_params = ops.quantized.linear_prepack_fp16(weight, bias)
        else:
            raise RuntimeError("Unsupported dtype on dynamic quantized linear!")

    def _weight_bias(self):
        if self.dtype == flambeau.qint8:
            return ops.quantized.linear_unpack(self._packed_params)
        if self.dtype == flambeau.float16:
            return ops.quantized.linear_unpack_fp16(self._packed_params)
        raise RuntimeError("Unsupported dtype on dynamic quantized linear!")

    def forward(self, x):
        return x

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "dtype"] = self.dtype
        destination[prefix + "_packed_params"] = self._weight_bias()

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        version = local_metadata.get("version") or 1
        self.dtype = flambeau.qint8 if version < 2 else state_dict.pop(prefix + "dtype")
        if version < 3:
            self.set_weight_bias(state_dict.pop(prefix + "weight"), state_dict.pop(prefix + "bias"))
        else:
            self.set_weight_bias(*state_dict.pop(prefix + "_packed_params"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def __repr__(self):
        return repr(self._weight_bias())


class Linear(WeightedQuantizedModule):
    """A linear layer with a weight of codes; the result has ``scale`` and ``zero_point``."""

    _version = 3
    _FLOAT_MODULE = (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear)

    def __init__(self, in_features, out_features, bias_=True, dtype=flambeau.qint8):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        bias = flambeau.zeros(out_features, dtype=flambeau.float) if bias_ else None
        size = [out_features, in_features]
        if dtype == flambeau.qint8:
            weight = flambeau._empty_affine_quantized(size, scale=1, zero_point=0, dtype=flambeau.qint8)
        elif dtype == flambeau.float16:
            weight = flambeau.zeros(size, dtype=flambeau.float)
        else:
            raise RuntimeError("Unsupported dtype specified for quantized Linear!")
        self._packed_params = LinearPackedParams(dtype)
        self._packed_params.set_weight_bias(weight, bias)
        self.scale = 1.0
        self.zero_point = 0

    def _get_name(self):
        return "QuantizedLinear"

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale}, "
            f"zero_point={self.zero_point}, qscheme={self.weight().qscheme()}"
        )

    def __repr__(self):
        return _hide_packed_params_repr(self, LinearPackedParams)

    def forward(self, x):
        return ops.quantized.linear(x, self._packed_params._packed_params, self.scale, self.zero_point)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = flambeau.tensor(self.scale)
        destination[prefix + "zero_point"] = flambeau.tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.scale = float(state_dict.pop(prefix + "scale"))
        self.zero_point = int(state_dict.pop(prefix + "zero_point"))
        version = local_metadata.get("version")
        if version is None or version == 1:  # the parameters stood in the module itself
            for name in ("weight", "bias"):
                state_dict[f"{prefix}_packed_params.{name}"] = state_dict.pop(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    def _weight_bias(self):
        return self._packed_params._weight_bias()

    def weight(self):
        """The weight, unpacked."""
        return self._weight_bias()[0]

    def bias(self):
        """The bias, unpacked."""
        return self._weight_bias()[1]

    def set_weight_bias(self, w, b):
        """Packs a weight of codes and a bias."""
        self._packed_params.set_weight_bias(w, b)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """What becomes of an observed module, or of one trained with fake quantization."""
        if hasattr(mod, "weight_fake_quant"):
            if type_before_parametrizations(mod) == qat.LinearBn1d:
                bn = mod.bn
                mod.weight, mod.bias = fuse_linear_bn_weights(
                    mod.weight, mod.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
                )
            observer, outputs = mod.weight_fake_quant, mod
        else:
            allowed = cls._FLOAT_MODULE if isinstance(cls._FLOAT_MODULE, Iterable) else [cls._FLOAT_MODULE]
            found = type_before_parametrizations(mod)
            if found not in allowed:
                names = ", ".join(t.__name__ for t in allowed)
                raise AssertionError(f"nnq.{cls.__name__}.from_float only works for {names}, but got: {type(mod)}")
            if not hasattr(mod, "qconfig"):
                raise AssertionError("Input float module must have qconfig defined")
            mod.activation_post_process  # noqa: B018  an error where nothing observed the results
            outputs = mod
            if found == intrinsic.LinearReLU:
                mod = mod[0]
            observer = mod.weight_fake_quant if hasattr(mod, "weight_fake_quant") else mod.qconfig.weight()
        return cls._quantized(mod, observer, observed_qparams(outputs), not use_precomputed_fake_quant)

    @classmethod
    def _quantized(cls, linear, observer, qparams, observe=True, arguments=()):
        """The module with the weight of a float one, quantized as an observer says."""
        if observe:
            observer(linear.weight)
        if observer.dtype != flambeau.qint8:
            raise AssertionError(f"Weight observer must have dtype torch.qint8, got {observer.dtype}")
        weight = _quantize_weight(linear.weight.float(), observer)
        made = cls(linear.in_features, linear.out_features, *arguments, dtype=observer.dtype)
        made.set_weight_bias(weight, linear.bias)
        made.scale, made.zero_point = qparams
        return made

    @classmethod
    def from_reference(cls, ref_qlinear, output_scale, output_zero_point):
        """What becomes of a reference module."""
        made = cls(ref_qlinear.in_features, ref_qlinear.out_features)
        made.set_weight_bias(ref_qlinear.get_quantized_weight(), ref_qlinear.bias)
        made.scale, made.zero_point = float(output_scale), int(output_zero_point)
        return made
