"""`torch.classes`: C++ classes that compiled libraries register. There are none here, and asking for one says so."""

from __future__ import annotations

import types
from typing import Any


class _ClassNamespace(types.ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(f"torch.classes.{name}")
        self.name = name

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("__"):
            raise AttributeError(attr)
        if self.name in ("quantized", "rnn"):
            from flambeau._quantized.params import CLASSES

            if attr in CLASSES[self.name]:
                return CLASSES[self.name][attr]
        raise RuntimeError(
            f"Tried to instantiate class '{self.name}.{attr}', but it does not exist! Ensure that it is registered via "
            "torch::class_"
        )


class _Classes(types.ModuleType):
    """`torch.classes`."""

    __file__ = "_classes.py"

    def __init__(self) -> None:
        super().__init__("torch.classes")
        self.loaded_libraries: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module 'torch.classes' has no attribute '{name}'")
        namespace = _ClassNamespace(name)
        setattr(self, name, namespace)
        return namespace

    def load_library(self, path: str) -> None:
        """Compiled libraries are built against PyTorch's C++; they cannot be loaded."""
        raise OSError(
            f"Could not load this library: {path} (it is built against PyTorch's C++, which flambeau does not have)"
        )


classes = _Classes()
