"""Reference modules: float modules whose weights are quantized and dequantized, with all that a backend needs."""

from . import modules
from .modules import *  # noqa: F403

__all__ = list(modules.__all__)
