"""Linear layers whose input is quantized as it comes."""

import flambeau
from flambeau import ao, nn, ops
from flambeau.ao.nn import intrinsic, quantized
from flambeau.ao.nn.quantized.modules.utils import _quantize_weight

__all__ = ["Linear"]


class Linear(quantized.Linear):
    """A linear layer with a weight of codes or in float16; it takes and gives floats."""

    # A version of its own: since the fourth, inputs have codes of seven bits.
    _version = 4

    def __init__(self, in_features, out_features, bias_=True, dtype=flambeau.qint8):
        super().__init__(in_features, out_features, bias_, dtype=dtype)
        self.version = 4

    def forward(self, x):
        packed = self._packed_params
        if packed.dtype == flambeau.qint8:
            options = {} if self.version is None or self.version < 4 else {"reduce_range": True}
            y = ops.quantized.linear_dynamic(x, packed._packed_params, **options)
        elif packed.dtype == flambeau.float16:
            y = ops.quantized.linear_dynamic_fp16(x, packed._packed_params)
        else:
            raise RuntimeError("Unsupported dtype on dynamic quantized linear!")
        return y.to(x.dtype)

    def _get_name(self):
        return "DynamicQuantizedLinear"

    def extra_repr(self):
        dtype = self._packed_params.dtype
        scheme = f", qscheme={self.weight().qscheme()}" if dtype == flambeau.qint8 else ""
        return f"in_features={self.in_features}, out_features={self.out_features}, dtype={dtype}{scheme}"

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, *lists):
        self.version = local_metadata.get("version")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, False, *lists)

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the weight of ``mod``, quantized as its configuration says."""
        allowed = [
            nn.Linear,
            nn.modules.linear.NonDynamicallyQuantizableLinear,
            intrinsic.LinearReLU,
            ao.nn.qat.dynamic.Linear,
        ]
        if type(mod) not in allowed:
            raise AssertionError(
                f"nn.quantized.dynamic.Linear.from_float only works for one of{[t.__name__ for t in allowed]}, "
                f"got {type(mod)}"
            )
        if not hasattr(mod, "qconfig"):
            raise AssertionError("Input float module must have qconfig defined")
        if type(mod) is intrinsic.LinearReLU:
            mod = mod[0]
        observer = weight_observer_of(mod.qconfig)()
        dtype = observer.dtype
        if dtype not in (flambeau.qint8, flambeau.float16):
            raise AssertionError(
                f"The only supported dtypes for dynamic quantized linear are qint8 and float16, got: {dtype}"
            )
        observer(mod.weight)
        weight = mod.weight.float()
        if dtype == flambeau.qint8:
            weight = _quantize_weight(weight, observer)
        made = cls(mod.in_features, mod.out_features, dtype=dtype)
        made.set_weight_bias(weight, mod.bias)
        return made

    @classmethod
    def from_reference(cls, ref_qlinear):
        """What becomes of a reference module."""
        made = cls(ref_qlinear.in_features, ref_qlinear.out_features, dtype=ref_qlinear.weight_dtype)
        made.set_weight_bias(ref_qlinear.get_quantized_weight(), ref_qlinear.bias)
        return made


def weight_observer_of(qconfig):
    """What makes the observer of a weight: the configuration's, else that of dynamic quantization."""
    if qconfig is not None and qconfig.weight is not None:
        return qconfig.weight
    return ao.quantization.default_dynamic_qconfig.weight
