"""Linear layers trained for dynamic quantization."""

from flambeau import ao
from flambeau.ao.nn.qat.modules.linear import Linear as StaticLinear

__all__ = ["Linear"]


class Linear(StaticLinear):
    """Its observer of activations must not remember what it saw before."""

    def __init__(self, in_features, out_features, bias=True, qconfig=None, device=None, dtype=None):
        super().__init__(in_features, out_features, bias, qconfig, device, dtype)
        if not ao.quantization.qconfig._activation_is_memoryless(qconfig):
            raise ValueError(
                "Dynamic QAT requires a memoryless observer."
                "This means a MovingAverage observer with averaging constant equal to 1"
            )
