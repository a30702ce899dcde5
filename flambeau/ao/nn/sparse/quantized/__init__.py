"""Quantized modules whose weights have blocks of zeros."""

from . import dynamic
from .linear import Linear, LinearPackedParams

__all__ = ["dynamic", "Linear", "LinearPackedParams"]
