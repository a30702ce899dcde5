"""Makes `torch` and every `torch.x.y` the same module objects as `flambeau` and `flambeau.x.y`: `install()`.

Nothing here happens on `import flambeau`. Programs get it through `flambeau run`, `flambeau link`, or the folder
`_beside`, which holds a `torch` package that calls `install()` and the metadata of a distribution named torch: with
that folder on the module path, child processes of every start method find what their parent found.
"""

import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, cast

BESIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_beside")


def install() -> ModuleType:
    """Turn `import torch` into flambeau in this process, from now on, and return flambeau."""
    flambeau = importlib.import_module("flambeau")
    found = sys.modules.get("torch")
    if found is not None and found is not flambeau:
        raise ImportError("real PyTorch is already imported in this process: flambeau cannot take its name")
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
    if BESIDE not in sys.path:  # the metadata is found there, and spawned children inherit the path
        sys.path.append(BESIDE)
    sys.modules["torch"] = flambeau
    # Programs compare it with the first part of a path, as they do with where its types are from.
    flambeau.__name__ = "torch"
    for kind in (flambeau.Tensor, flambeau.Size, flambeau.dtype, flambeau.device):
        kind.__module__ = "torch"
    for name, module in list(sys.modules.items()):
        if name.startswith("flambeau."):
            sys.modules.setdefault("torch" + name[8:], module)
            say_torch(module, name)
    return flambeau


def say_torch(module: ModuleType, name: str) -> None:
    """Classes of a public module are from `torch.x.y`: libraries look for `torch.nn` in `type(layer).__module__`."""
    if name.startswith("flambeau._"):
        return
    for kind in list(vars(module).values()):
        if isinstance(kind, type) and kind.__module__ == name:
            kind.__module__ = "torch" + name[8:]


class Finder:
    """Finds `torch.x.y` where `flambeau.x.y` is, and sees modules of flambeau that are loaded later."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.startswith("flambeau.") and not name.startswith("flambeau._"):
            return watched(PathFinder.find_spec(name, path, target))
        if name != "torch" and not name.startswith("torch."):
            return None
        ours = "flambeau" + name[5:]
        if ours in sys.modules:
            spec = getattr(sys.modules[ours], "__spec__", None)
        else:
            spec = importlib.util.find_spec(ours)
            if spec is None:
                return None
        alias = ModuleSpec(name, cast(Any, Loader(ours, spec)), origin=getattr(spec, "origin", None))
        alias.has_location = getattr(spec, "has_location", False)
        alias.submodule_search_locations = getattr(spec, "submodule_search_locations", None)
        return alias


def watched(spec: ModuleSpec | None) -> ModuleSpec | None:
    """What loads a module of flambeau, and then names its classes."""
    if spec is not None and spec.loader is not None:
        name, execute = spec.name, spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            say_torch(module, name)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


class Loader:
    """Loads `torch.x.y` by importing `flambeau.x.y`; the rest (code, source, resources) is the real loader's."""

    def __init__(self, ours: str, spec: ModuleSpec | None):
        self.ours, self.loader, self.spec = ours, getattr(spec, "loader", None), spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.ours)
        self.spec = module.__spec__  # the import system is about to overwrite it
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec

    def get_code(self, name: str) -> Any:
        return self.loader.get_code(self.ours)  # type: ignore[union-attr]  # for `python -m torch.x.y`

    def get_source(self, name: str) -> Any:
        return self.loader.get_source(self.ours)  # type: ignore[union-attr]

    def is_package(self, name: str) -> bool:
        return self.spec is not None and self.spec.submodule_search_locations is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__.get("loader"), name)
