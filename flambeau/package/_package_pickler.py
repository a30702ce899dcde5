"""Pickling under PyTorch's names, with importers that say what everything else is called."""

import copyreg
import pickle
from struct import pack
from types import FunctionType

from flambeau._pickling import Pickler
from flambeau.package.importer import ObjMismatchError, ObjNotFoundError, attribute, sys_importer


class PackagePickler(Pickler):
    """Names objects as an importer does."""

    def __init__(self, importer, *args, **kwargs):
        self.importer = importer
        super().__init__(*args, **kwargs)

    def save_global(self, obj, name=None):
        """Writes the name of something that is imported."""
        if str(getattr(obj, "__module__", None)).partition(".")[0] in ("flambeau", "torch") or not hasattr(
            obj, "__module__"
        ):
            super().save_global(obj, name)
            return
        try:
            module_name, name = self.importer.get_name(obj, name)
        except (ObjNotFoundError, ObjMismatchError) as err:
            raise pickle.PicklingError(f"Can't pickle {obj}: {err}") from err
        module = self.importer.import_module(module_name)
        _, parent = attribute(module, name)
        code = copyreg._extension_registry.get((module_name, name))
        if code:
            kind, form = (
                (pickle.EXT1, "<B") if code <= 0xFF else (pickle.EXT2, "<H") if code <= 0xFFFF else (pickle.EXT4, "<i")
            )
            self.write(kind + pack(form, code))
            return
        if self.proto >= 4:
            self.save(module_name)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        elif parent is not module:
            self.save_reduce(getattr, (parent, name.rpartition(".")[2]))
        else:
            self.write(pickle.GLOBAL + f"{module_name}\n{name}\n".encode())
        self.memoize(obj)

    def save_type(self, obj):
        """Writes the name of a class."""
        if obj in (type(None), type(NotImplemented), type(...)):
            super().save_type(obj)
        else:
            self.save_global(obj)

    dispatch = {**Pickler.dispatch, type: save_type, FunctionType: save_global}


def create_pickler(data_buf, importer, protocol=4, persistent_id=lambda obj: None):
    """A pickler for packages."""
    if importer is sys_importer:
        return Pickler(data_buf, protocol, persistent_id)
    return PackagePickler(importer, data_buf, protocol, persistent_id)
