"""Submodules that load when somebody asks their package for them: `__getattr__ = on_demand(__name__, "pool", "queue")`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType


def on_demand(package: str, *names: str) -> Callable[[str], ModuleType]:
    """A module's `__getattr__` that imports these submodules of a package at their first use."""

    def find(name: str) -> ModuleType:
        if name in names:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module '{package.replace('flambeau', 'torch', 1)}' has no attribute '{name}'")

    return find
