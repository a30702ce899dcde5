"""A linear layer fused with ReLU, whose input is quantized as it comes."""

import flambeau
from flambeau import ops
from flambeau.ao.nn import intrinsic
from flambeau.ao.nn.quantized import dynamic

__all__ = ["LinearReLU"]


class LinearReLU(dynamic.Linear):
    """A linear layer, then ReLU."""

    _FLOAT_MODULE = intrinsic.LinearReLU

    def __init__(self, in_features, out_features, bias=True, dtype=flambeau.qint8):
        super().__init__(in_features, out_features, bias, dtype)

    def forward(self, x):
        packed = self._packed_params
        if packed.dtype == flambeau.qint8:
            y = ops.quantized.linear_relu_dynamic(x, packed._packed_params, reduce_range=True)
        elif packed.dtype == flambeau.float16:
            y = ops.quantized.linear_relu_dynamic_fp16(x, packed._packed_params)
        else:
            raise RuntimeError("Unsupported dtype on dynamic quantized linear relu!")
        return y.to(x.dtype)

    def _get_name(self):
        return "DynamicQuantizedLinearReLU"

    @classmethod
    def from_reference(cls, ref_qlinear_relu):
        return super().from_reference(ref_qlinear_relu[0])
