"""Unpickling with names that an importer looks up."""

import pickle

from flambeau import storage


class PackageUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Finds classes in a package, or in what it may import."""

    def __init__(self, importer, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._importer = importer

    def find_class(self, module, name):
        """What a name means."""
        if module == "torch" and name in storage.LEGACY_CLASSES:
            return storage.LEGACY_CLASSES[name]
        found = self._importer.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found
