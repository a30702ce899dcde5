"""Modules whose weights have blocks of zeros, and whose inputs are quantized as they come."""

from .linear import Linear

__all__ = ["Linear"]
