"""A weight in floating point, beside the scheme, dtype, scales and zero points by which it is to be quantized."""

import flambeau
from flambeau import nn, ops

__all__ = ["ReferenceQuantizedModule"]

_BY_CHANNEL = (flambeau.per_channel_affine, flambeau.per_channel_affine_float_qparams)
_CODES = (flambeau.quint8, flambeau.qint8, flambeau.qint32)
_INTEGERS = {flambeau.quint8: flambeau.uint8, flambeau.qint8: flambeau.int8, flambeau.qint32: flambeau.int32}


def _as_tensor(value, dtype, device):
    """A tensor of its own."""
    if isinstance(value, flambeau.Tensor):
        return value.detach().clone()
    return flambeau.tensor(value, dtype=dtype, device=device)


class ReferenceQuantizedModule(nn.Module):
    """Mixed into a float module with a ``weight``."""

    def _init_weight_qparams(self, weight_qparams, device):
        if weight_qparams is None:
            weight_qparams = {
                "qscheme": flambeau.per_tensor_affine,
                "dtype": flambeau.quint8,
                "scale": 1.0,
                "zero_point": 0,
            }
        self.weight_qscheme = weight_qparams["qscheme"]
        self.weight_dtype = weight_qparams["dtype"]
        if self.weight_qscheme not in (None, flambeau.per_tensor_affine, *_BY_CHANNEL):
            raise AssertionError(
                f"qscheme: {self.weight_qscheme} is not supported in reference quantized {self._get_name()}"
            )
        scale, zero_point, axis = 1.0, 0, 0
        if self.weight_dtype in (*_CODES, flambeau.quint4x2):
            scale, zero_point = weight_qparams["scale"], weight_qparams["zero_point"]
            if self.weight_qscheme in _BY_CHANNEL:
                axis = weight_qparams["axis"]
        self.register_buffer("weight_scale", _as_tensor(scale, flambeau.float, device))
        self.register_buffer("weight_zero_point", _as_tensor(zero_point, flambeau.int, device))
        self.register_buffer("weight_axis", _as_tensor(axis, flambeau.int, device))
        self.is_decomposed = weight_qparams.get("is_decomposed", False)
        self.weight_axis_int = self.weight_axis.item()
        self.weight_quant_min = weight_qparams.get("quant_min")
        self.weight_quant_max = weight_qparams.get("quant_max")

    def _qparams(self):
        return (
            self.weight_qscheme,
            self.weight_dtype,
            self.weight_scale,
            self.weight_zero_point,
            self.weight_axis_int,
        )

    def get_weight(self):
        """The weight, quantized and dequantized."""
        if not self.is_decomposed:
            return _quantize_and_dequantize_weight(self.weight, *self._qparams())
        bounds = self.weight_quant_min, self.weight_quant_max
        return _quantize_and_dequantize_weight_decomposed(self.weight, *self._qparams(), *bounds)

    def get_quantized_weight(self):
        """The weight, quantized: as a quantized tensor, or as integers where quantization is decomposed."""
        if not self.is_decomposed:
            return _quantize_weight(self.weight, *self._qparams())
        bounds = self.weight_quant_min, self.weight_quant_max
        return _quantize_weight_decomposed(self.weight, *self._qparams(), *bounds)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight_qscheme"] = self.weight_qscheme
        destination[prefix + "weight_dtype"] = self.weight_dtype
        if self.weight_qscheme is not None:
            destination[prefix + "weight_scale"] = self.weight_scale
            destination[prefix + "weight_zero_point"] = self.weight_zero_point
            if self.weight_qscheme == flambeau.per_channel_affine:
                destination[prefix + "weight_axis"] = self.weight_axis

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        keys = ["weight_qscheme", "weight_dtype"]
        if state_dict[prefix + "weight_qscheme"] is not None:
            keys += ["weight_scale", "weight_zero_point"]
        for key in keys:
            setattr(self, key, state_dict.pop(prefix + key))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)


def _unsupported(dtype, scheme):
    return ValueError(f"Unsupported dtype and qscheme: {dtype}, {scheme}")


def _quantize_weight(weight, scheme, dtype, scale, zero_point, axis):
    """The weight in codes; in half precision where that is the dtype."""
    if dtype == flambeau.float16:
        return weight.to(dtype)
    if scheme == flambeau.per_tensor_affine and dtype in _CODES:
        return flambeau.quantize_per_tensor(weight, scale, zero_point, dtype)
    if scheme in _BY_CHANNEL and dtype in (*_CODES, flambeau.quint4x2):
        return flambeau.quantize_per_channel(weight, scale, zero_point, axis, dtype)
    raise _unsupported(dtype, scheme)


def _quantize_and_dequantize_weight(weight, scheme, dtype, scale, zero_point, axis):
    """The numbers that the weight's codes stand for; the weight itself where no scheme is set."""
    if scheme is None:
        return weight
    return _quantize_weight(weight, scheme, dtype, scale, zero_point, axis).dequantize()


def _decomposed(scheme, dtype, axis, low, high):
    """Which operators, and what they take after scale and zero point."""
    if dtype not in _CODES or scheme not in (flambeau.per_tensor_affine, *_BY_CHANNEL):
        raise _unsupported(dtype, scheme)
    integers = _INTEGERS[dtype]
    if low is None or high is None:
        limits = flambeau.iinfo(integers)
        low, high = limits.min, limits.max
    if scheme == flambeau.per_tensor_affine:
        return "per_tensor", (low, high, integers)
    return "per_channel", (axis, low, high, integers)


def _quantize_weight_decomposed(weight, scheme, dtype, scale, zero_point, axis, low, high):
    """The weight as integers."""
    kind, rest = _decomposed(scheme, dtype, axis, low, high)
    return getattr(ops.quantized_decomposed, f"quantize_{kind}")(weight, scale, zero_point, *rest)


def _quantize_and_dequantize_weight_decomposed(weight, scheme, dtype, scale, zero_point, axis, low, high):
    """The numbers that the weight's integers stand for; the weight itself where no scheme is set."""
    if scheme is None:
        return weight
    kind, rest = _decomposed(scheme, dtype, axis, low, high)
    integers = _quantize_weight_decomposed(weight, scheme, dtype, scale, zero_point, axis, low, high)
    return getattr(ops.quantized_decomposed, f"dequantize_{kind}")(integers, scale, zero_point, *rest)
