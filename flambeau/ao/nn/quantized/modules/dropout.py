"""Dropout of quantized tensors, which does nothing."""

from flambeau import nn

__all__ = ["Dropout"]


class Dropout(nn.Dropout):
    """Stands where dropout stood; gives what it is given, in training too."""

    def forward(self, input):
        return input

    def _get_name(self):
        return "QuantizedDropout"

    @classmethod
    def from_float(cls, mod, use_precomputed_fake_quant=False):
        return cls(mod.p, mod.inplace)

    @classmethod
    def from_reference(cls, mod, scale, zero_point):
        return cls(mod.p, mod.inplace)
