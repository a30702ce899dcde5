"""Modules that quantization exchanges for one another: fused, trained with fake quantization, quantized, sparse."""

import importlib
from types import ModuleType

__all__ = ["intrinsic", "qat", "quantizable", "quantized", "sparse"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.ao.nn' has no attribute {name!r}")
