"""Convolutions fused with ReLU, of quantized tensors."""

from flambeau.ao.nn import intrinsic, quantized
from flambeau.ao.nn.intrinsic import qat
from flambeau.ao.nn.quantized.modules.conv import _fuse_normalization

__all__ = ["ConvReLU1d", "ConvReLU2d", "ConvReLU3d"]


class _ConvReLU:
    """What the three dimensions share, mixed into the quantized convolution."""

    def forward(self, input):
        return self._operator("_relu")(self._padded(input), self._packed_params, self.scale, self.zero_point)

    def _get_name(self):
        return f"QuantizedConvReLU{self._dims}d"

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """What becomes of an observed module, or of one trained with fake quantization."""
        if type(mod) is cls._NNIQAT_CONV_BN_RELU_MODULE:
            _fuse_normalization(mod)
        return super().from_float(mod, use_precomputed_fake_quant)

    @classmethod
    def from_reference(cls, ref_qconv, output_scale, output_zero_point):
        """What becomes of a reference module."""
        n = cls._dims
        if type(ref_qconv) is getattr(intrinsic, f"ConvBnReLU{n}d"):
            raise AssertionError(f"BatchNorm{n}d should be fused into Conv{n}d before converting to reference module")
        return super().from_reference(ref_qconv[0], output_scale, output_zero_point)


class ConvReLU1d(_ConvReLU, quantized.Conv1d):
    """A convolution, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvReLU1d
    _NNIQAT_CONV_BN_RELU_MODULE = qat.ConvBnReLU1d


class ConvReLU2d(_ConvReLU, quantized.Conv2d):
    """A convolution, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvReLU2d
    _NNIQAT_CONV_BN_RELU_MODULE = qat.ConvBnReLU2d


class ConvReLU3d(_ConvReLU, quantized.Conv3d):
    """A convolution, then ReLU."""

    _FLOAT_MODULE = intrinsic.ConvReLU3d
    _NNIQAT_CONV_BN_RELU_MODULE = qat.ConvBnReLU3d
