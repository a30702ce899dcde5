"""Importers: where names of modules are looked up, in this environment or in packages."""

import importlib
import logging
import pickle
import sys
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

from flambeau.package._mangling import demangle, get_mangle_prefix, is_mangled

__all__ = ["ObjNotFoundError", "ObjMismatchError", "Importer", "OrderedImporter"]

log = logging.getLogger(__name__)


class ObjNotFoundError(Exception):
    """An object is not where its name says."""


class ObjMismatchError(Exception):
    """Another object is where an object's name says it is."""


def environment(name: str) -> ModuleType:
    """A module of this environment; PyTorch's names mean this library."""
    if name == "torch" or name.startswith("torch."):
        name = "flambeau" + name.removeprefix("torch")
    return importlib.import_module(name)


def attribute(module, name: str) -> tuple[Any, Any]:
    """(what a dotted name means in a module, what it is an attribute of)."""
    found = owner = module
    for part in name.split("."):
        if part == "<locals>":
            raise AttributeError(f"Can't get local attribute {name!r} on {module!r}")
        owner, found = found, getattr(found, part)
    return found, owner


class Importer(ABC):
    """Finds modules by name, and names of objects."""

    modules: dict[str, ModuleType]

    @abstractmethod
    def import_module(self, module_name: str) -> ModuleType:
        """The module of that name."""

    def get_name(self, obj: Any, name: str | None = None) -> tuple[str, str]:
        """(module, name) under which an object is found again."""
        if name is None and obj and pickle._Pickler.dispatch.get(type(obj)) is None:  # type: ignore[attr-defined]
            try:
                reduced = obj.__reduce__()
                name = reduced if isinstance(reduced, str) else None
            except Exception:  # the object's own code; its class may still have a name
                pass
        name = name or getattr(obj, "__qualname__", None) or obj.__name__
        module_name = demangle(self.whichmodule(obj, name))
        try:
            found, _ = attribute(self.import_module(module_name), name)
        except (ImportError, KeyError, AttributeError):
            raise ObjNotFoundError(f"{obj} was not found as {module_name}.{name}") from None
        if found is obj:
            return module_name, name

        def where(x):
            module = self.whichmodule(x, name)
            if is_mangled(module):
                prefix = get_mangle_prefix(module)
                return module, prefix, f"the importer for {prefix}"
            return module, "the current Python environment", "'sys_importer'"

        (module, place, importer), (other, elsewhere, other_importer) = where(obj), where(found)
        raise ObjMismatchError(
            f"\n\nThe object provided is from '{module}', which is coming from {place}.\nHowever, when we import '{other}', "
            f"it's coming from {elsewhere}.\nTo fix this, make sure this 'PackageExporter's importer lists {importer} before "
            f"{other_importer}."
        )

    def whichmodule(self, obj: Any, name: str) -> str:
        """The name of the module that an object says it is from, or that has it."""
        if getattr(obj, "__module__", None) is not None:
            return obj.__module__
        for module_name, module in self.modules.copy().items():
            if module_name in ("__main__", "__mp_main__") or module is None:
                continue
            try:
                if attribute(module, name)[0] is obj:
                    return module_name
            except AttributeError:
                pass
        return "__main__"


class _SysImporter(Importer):
    """This environment."""

    def import_module(self, module_name: str):
        """The module of that name."""
        return environment(module_name)

    def whichmodule(self, obj: Any, name: str) -> str:
        """The name of the module that an object says it is from, or that has it."""
        found = getattr(obj, "__module__", None)
        return pickle.whichmodule(obj, name) if found is None else found  # type: ignore[attr-defined]

    @property
    def modules(self):  # type: ignore[override]
        return sys.modules


sys_importer = _SysImporter()


class OrderedImporter(Importer):
    """Several importers, asked in turn."""

    def __init__(self, *args):
        self._importers: list[Importer] = list(args)

    @staticmethod
    def _is_torchpackage_dummy(module):
        """Whether a module is only there because others lie below it in a package."""
        if not getattr(module, "__torch_package__", False) or not hasattr(module, "__path__"):
            return False
        return getattr(module, "__file__", None) is None

    def get_name(self, obj: Any, name: str | None = None) -> tuple[str, str]:
        """(module, name) as the first importer that knows the object says."""
        for importer in self._importers:
            try:
                return importer.get_name(obj, name)
            except (ObjNotFoundError, ObjMismatchError) as e:
                log.warning("Tried to call get_name with obj %s, and name %s on %s and got %s", obj, name, importer, e)
        raise ObjNotFoundError(f"Could not find obj {obj} and name {name} in any of the importers {self._importers}")

    def import_module(self, module_name: str) -> ModuleType:
        """The module, of the first importer that has it."""
        missing: ModuleNotFoundError = ModuleNotFoundError(module_name)
        for importer in self._importers:
            if not isinstance(importer, Importer):
                raise TypeError(
                    f"{importer} is not a Importer. All importers in OrderedImporter must inherit from Importer."
                )
            try:
                module = importer.import_module(module_name)
                if not self._is_torchpackage_dummy(module):
                    return module
            except ModuleNotFoundError as err:
                missing = err
        raise missing

    def whichmodule(self, obj: Any, name: str) -> str:
        """What the first importer that knows it says."""
        found = (importer.whichmodule(obj, name) for importer in self._importers)
        return next((module for module in found if module != "__main__"), "__main__")
