"""Normalizations of quantized tensors by their own statistics."""

from flambeau import nn, ops

from .activation import observed_qparams, register_qparams

__all__ = ["LayerNorm", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class LayerNorm(nn.LayerNorm):
    """``nn.LayerNorm``; the result has ``scale`` and ``zero_point``."""

    def __init__(
        self,
        normalized_shape,
        weight,
        bias,
        scale,
        zero_point,
        eps=1e-5,
        elementwise_affine=True,
        device=None,
        dtype=None,
    ):
        super().__init__(normalized_shape, eps, elementwise_affine, device=device, dtype=dtype)
        self.weight = weight
        self.bias = bias
        register_qparams(self, scale, zero_point, device, dtype)

    def forward(self, input):
        return ops.quantized.layer_norm(
            input,
            self.normalized_shape,
            weight=self.weight,
            bias=self.bias,
            eps=self.eps,
            output_scale=self.scale,
            output_zero_point=self.zero_point,
        )

    def _get_name(self):
        return "QuantizedLayerNorm"

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        return cls.from_reference(mod, *observed_qparams(mod))

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        return cls(
            mod.normalized_shape, mod.weight, mod.bias, float(scale), int(zero_point), mod.eps, mod.elementwise_affine
        )


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``; the result has ``scale`` and ``zero_point``."""

    def __init__(
        self,
        num_groups,
        num_channels,
        weight,
        bias,
        scale,
        zero_point,
        eps=1e-5,
        affine=True,
        device=None,
        dtype=None,
    ):
        super().__init__(num_groups, num_channels, eps, affine, device, dtype)
        self.weight = weight
        self.bias = bias
        register_qparams(self, scale, zero_point, device, dtype)

    def forward(self, input):
        return ops.quantized.group_norm(
            input, self.num_groups, self.weight, self.bias, self.eps, self.scale, self.zero_point
        )

    def _get_name(self):
        return "QuantizedGroupNorm"

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        qparams = observed_qparams(mod)
        return cls(mod.num_groups, mod.num_channels, mod.weight, mod.bias, *qparams, mod.eps, mod.affine)


class _InstanceNorm:
    """What the three dimensions share, mixed into the float module."""

    def __init__(
        self,
        num_features,
        weight,
        bias,
        scale,
        zero_point,
        eps=1e-5,
        momentum=0.1,
        affine=False,
        track_running_stats=False,
        device=None,
        dtype=None,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.weight = weight
        self.bias = bias
        register_qparams(self, scale, zero_point, device, dtype)

    def forward(self, input):
        return ops.quantized.instance_norm(input, self.weight, self.bias, self.eps, self.scale, self.zero_point)

    def _get_name(self):
        return "Quantized" + type(self).__name__

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        return cls.from_reference(mod, *observed_qparams(mod))

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        # The affine flag arrives as the momentum: so it does in PyTorch, and printed modules show it.
        return cls(mod.num_features, mod.weight, mod.bias, float(scale), int(zero_point), mod.eps, mod.affine)


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """``nn.InstanceNorm1d``; the result has ``scale`` and ``zero_point``."""


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """``nn.InstanceNorm2d``; the result has ``scale`` and ``zero_point``."""


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """``nn.InstanceNorm3d``; the result has ``scale`` and ``zero_point``."""
