"""Fused modules trained with fake quantization of their weights."""

from . import modules
from .modules import *  # noqa: F403

__all__ = list(modules.__all__)
