"""Loads flambeau.nn with real PyTorch standing in for the rest of flambeau.

The library floor is written against the public API alone, so it must work on PyTorch's own tensors: `stand_in()` makes
a package `flambeau` whose nn (and the few files nn stands on) are ours and whose everything else is torch.
"""

import importlib
import importlib.abc
import importlib.util
import pathlib
import sys
import types

PACKAGE = pathlib.Path(__file__).resolve().parents[3] / "flambeau"


def _is_ours(name):
    return name == "flambeau.nn" or name.startswith("flambeau.nn.") or name == "flambeau.utils.hooks"


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `flambeau.x` as `torch.x`, except for what is ours."""

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("flambeau.") or (_is_ours(name) and name != "flambeau.utils.hooks"):
            return None
        if name == "flambeau.utils.hooks":
            return importlib.util.spec_from_file_location(name, PACKAGE / "utils" / "hooks.py")
        return importlib.util.spec_from_loader(name, self)

    def create_module(self, spec):
        return importlib.import_module("torch" + spec.name.removeprefix("flambeau"))

    def exec_module(self, module):
        pass


def stand_in():
    """The package `flambeau`: torch, with our nn."""
    import torch

    if "flambeau" in sys.modules:
        raise RuntimeError("flambeau is already loaded: stand in for it in a fresh process")
    package = types.ModuleType("flambeau")
    package.__path__ = [str(PACKAGE)]
    package.__getattr__ = lambda name: getattr(torch, name)
    sys.modules["flambeau"] = package
    sys.meta_path.insert(0, _Alias())
    package.nn = importlib.import_module("flambeau.nn")
    return package
