"""Whether something came from a package."""

from types import ModuleType
from typing import Any

from flambeau.package._mangling import is_mangled


def is_from_package(obj: Any) -> bool:
    """Whether a module, or an object's class, came from a package."""
    return is_mangled(obj.__name__ if type(obj) is ModuleType else type(obj).__module__)
