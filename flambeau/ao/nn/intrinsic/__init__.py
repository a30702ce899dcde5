"""Fused modules: in floating point, sequences of their parts that fusion recognizes."""

import importlib
from types import ModuleType

from . import modules
from .modules import *  # noqa: F403
from .modules.fused import _FusedModule

__all__ = list(modules.__all__)


def __getattr__(name: str) -> ModuleType:
    if name in ("qat", "quantized"):  # they stand on this module
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.ao.nn.intrinsic' has no attribute {name!r}")
