"""Names of modules that were imported from packages: `<torch_package_0>.a.b`."""

import itertools
import re

_numbers = itertools.count()


class PackageMangler:
    """Gives the names of one importer's modules."""

    def __init__(self) -> None:
        self._mangle_index = next(_numbers)
        self._mangle_parent = f"<torch_package_{self._mangle_index}>"

    def mangle(self, name) -> str:
        """The name of a module of this importer."""
        if not name:
            raise AssertionError("name must not be empty")
        return f"{self._mangle_parent}.{name}"

    def demangle(self, mangled: str) -> str:
        """The name inside the package, of this importer's modules; other names as they are."""
        return mangled.removeprefix(self._mangle_parent + ".")

    def parent_name(self):
        """What comes first."""
        return self._mangle_parent


def is_mangled(name: str) -> bool:
    """Whether a module came from a package."""
    return re.match(r"<torch_package_\d+>", name) is not None


def demangle(name: str) -> str:
    """The name inside the package.

    >>> demangle("<torch_package_0>.a.b"), demangle("a.b")
    ('a.b', 'a.b')
    """
    return name.partition(".")[2] if is_mangled(name) else name


def get_mangle_prefix(name: str) -> str:
    """Which importer a module came from."""
    return name.partition(".")[0] if is_mangled(name) else name
