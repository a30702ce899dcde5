"""Modules whose weights have blocks of zeros."""

from . import quantized
