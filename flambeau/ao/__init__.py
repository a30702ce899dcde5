"""Architecture optimization: of quantization there is what float models carry."""

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name == "quantization":
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.ao' has no attribute '{name}'")
