"""What `torch.ao.quantization` was called before; programs still name it so, and its modules."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from flambeau.ao import quantization as _home

_MODULES = ("fake_quantize", "fuse_modules", "fuser_method_mappings", "observer", "qconfig", "quant_type", "quantization_mappings", "quantize",
            "quantize_jit", "stubs", "utils")  # fmt: skip
for _name in _MODULES:  # the same modules, not others with the same text
    sys.modules[f"{__name__}.{_name}"] = importlib.import_module(f"{_home.__name__}.{_name}")

__all__ = [n for n in _home.__all__ if n not in ("ObserverOrFakeQuantize", "QConfigMapping")]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'torch.quantization' has no attribute '{name}'")
    return getattr(_home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
