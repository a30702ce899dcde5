"""Batch normalization of quantized tensors, by the statistics of training."""

import flambeau
from flambeau import nn, ops
from flambeau.ao.nn import intrinsic

__all__ = ["BatchNorm2d", "BatchNorm3d"]

_STATE = ("weight", "bias", "running_mean", "running_var")


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """The result has ``scale`` and ``zero_point``."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, device=None, dtype=None):
        options = {"device": device, "dtype": dtype}
        super().__init__(num_features, eps, momentum, True, True, **options)
        self.register_buffer("scale", flambeau.tensor(1.0, **options))
        self.register_buffer("zero_point", flambeau.tensor(0, **options))

    def _take_over(self, bn, scale, zero_point):
        for name in _STATE:
            setattr(self, name, getattr(bn, name))
        self.scale, self.zero_point = scale, zero_point
        return self

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        """With the parameters and statistics of ``mod``, and the scale and zero point its observer chose."""
        qparams = mod.activation_post_process.calculate_qparams()
        if type(mod) is cls._NNI_BN_RELU_MODULE:
            mod = mod[0]
        return cls(mod.num_features, mod.eps)._take_over(mod, *qparams)

    @classmethod
    def from_reference(cls, bn, output_scale, output_zero_point):
        """With the parameters and statistics of ``bn``."""
        made = cls(bn.num_features, bn.eps, bn.momentum, device=bn.weight.device, dtype=bn.weight.dtype)
        return made._take_over(bn, output_scale, output_zero_point)

    def _arguments(self):
        """What the operators take after the input."""
        return (*(getattr(self, name) for name in _STATE), self.eps, self.scale, self.zero_point)

    def _get_name(self):
        return f"QuantizedBatchNorm{self._dims}d"

    def _check_input_dim(self, input):
        if len(input.shape) != self._dims + 2:
            raise ValueError("Input shape must be `(N, C, H, W)`!")

    def forward(self, input):
        return getattr(ops.quantized, f"batch_norm{self._dims}d")(input, *self._arguments())


class BatchNorm2d(_BatchNorm):
    """``nn.BatchNorm2d`` of quantized images."""

    _dims = 2
    _NNI_BN_RELU_MODULE = intrinsic.BNReLU2d


class BatchNorm3d(_BatchNorm):
    """``nn.BatchNorm3d`` of quantized volumes."""

    _dims = 3
    _NNI_BN_RELU_MODULE = intrinsic.BNReLU3d
