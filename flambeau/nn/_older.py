"""Packages that moved to `ao.nn`: under their older names programs find the same modules, not others with the same text."""

import importlib
import pkgutil
import sys


def stand_for(name, home, **renamed):
    """Makes the modules of the package ``home`` those of ``name``, in which some have other names than there."""
    package = importlib.import_module(home)
    found = [m.name for m in pkgutil.walk_packages(package.__path__, home + ".")]
    for old in [home, *found]:
        module = importlib.import_module(old)
        inside = old[len(home) :].split(".")
        sys.modules[name + ".".join(inside)] = module
        other = ".".join(renamed.get(part, part) for part in inside)
        sys.modules[name + other] = module
    for new, other in renamed.items():
        setattr(package, other, getattr(package, new))
    return package
