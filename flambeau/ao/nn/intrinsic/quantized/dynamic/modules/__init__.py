"""Fused modules whose inputs are quantized as they come."""

from .linear_relu import LinearReLU

__all__ = ["LinearReLU"]
