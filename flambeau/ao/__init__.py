"""Architecture optimization: pruning, quantization, the modules they exchange. Each is loaded when first asked for."""

import importlib
from types import ModuleType

__all__ = ["nn", "ns", "pruning", "quantization"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.ao' has no attribute '{name}'")
