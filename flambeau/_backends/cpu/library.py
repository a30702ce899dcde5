"""Where `k.library(name, ...)` finds its routines: the modules below, searched in this order. Arrays in, arrays out.

A module is imported when a name is first looked for in it, so that what is rare costs nothing at import.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULES = (
    "memory",
    "fill",
    "order",
    "indexing",
    "product",
    "sums",
    "attention",
    "recurrent",
    "window",
    "math",
    "linalg",
    "random",
    "special",
    "statistics",
    "ctc",
    "taps",
    "pad",
    "transform",
)  # library_<name>.py


def find(name: str) -> Any:
    """The routine of that name."""
    for module in MODULES:
        try:
            found = import_module(f"flambeau._backends.cpu.library_{module}")
        except ModuleNotFoundError as missing:
            if missing.name == f"flambeau._backends.cpu.library_{module}":
                continue
            raise
        if hasattr(found, name):
            return getattr(found, name)
    raise NotImplementedError(f"the array library has no routine {name!r}")
