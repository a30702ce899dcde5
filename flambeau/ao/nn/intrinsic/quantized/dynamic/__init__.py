"""Fused modules whose inputs are quantized as they come."""

from .modules import LinearReLU

__all__ = [
    "LinearReLU",
]
