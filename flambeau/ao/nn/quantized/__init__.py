"""Quantized modules: they take and give quantized tensors."""

import importlib
from types import ModuleType

from . import functional, modules
from .modules import *  # noqa: F403
from .modules import MaxPool2d

__all__ = list(modules.__all__)


def __getattr__(name: str) -> ModuleType:
    if name in ("dynamic", "reference"):  # they stand on this module
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.ao.nn.quantized' has no attribute {name!r}")
