"""Modules with weights of codes, whose inputs are floats and quantized as they come."""

from . import modules
from .modules import *  # noqa: F403

__all__ = list(modules.__all__)
