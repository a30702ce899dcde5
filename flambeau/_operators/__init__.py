"""Floor 3: every operator, once. Knows no device and no Tensor.

`load()` imports the definitions: it runs when the first operator is asked for, so that importing the library stays quick.
"""

from __future__ import annotations

_loaded = False


def load() -> None:
    """Import every module of definitions in this folder, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
