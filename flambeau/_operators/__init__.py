"""Floor 3: every operator, once. Knows no device and no Tensor.

`load()` imports the definitions: it runs when the first operator is asked for, so that importing the library stays quick.
"""

from __future__ import annotations

import threading

_loaded = _loading = False
_lock = threading.RLock()


def load() -> None:
    """Import every module of definitions in this folder, once. Threads wait for the one that does it."""
    global _loaded, _loading
    if _loaded:
        return
    with _lock:
        if _loaded or _loading:  # loading: a definition asks for operators while it is itself being imported
            return
        import importlib
        import pkgutil

        _loading = True
        try:
            for module in pkgutil.iter_modules(__path__):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{__name__}.{module.name}")
            _loaded = True
        finally:
            _loading = False
