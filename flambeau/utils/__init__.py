"""Tools around the library: data loading, checkpointing, pytrees; submodules load when first used."""

import importlib as _importlib
from types import ModuleType as _Module


def __getattr__(name: str) -> _Module:
    if not name.startswith("_") or name == "_pytree":
        try:
            return _importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as missing:
            if missing.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
