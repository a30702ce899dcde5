"""Whether optional packages are there."""

from functools import lru_cache
from importlib.util import find_spec


def _check_module_exists(name: str) -> bool:
    """Can a module be imported?  It is not."""
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


@lru_cache
def dill_available() -> bool:
    """Is the package dill installed?"""
    return _check_module_exists("dill")


@lru_cache
def import_dill():
    """The package dill, without its extensions of pickle; None if it is not installed."""
    if not dill_available():
        return None
    import dill

    dill.extend(use_dill=False)
    return dill
