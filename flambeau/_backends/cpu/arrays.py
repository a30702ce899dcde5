"""The array reading on the CPU: `K`, the kernel over NumPy, and how to keep NumPy quiet about infinities and NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy._core import umath

from flambeau._kernel.arrays import SPECIAL, Arrays

QUIET = umath._make_extobj(all="ignore")  # what np.errstate(all="ignore") sets, made once
ERRORS = umath._extobj_contextvar
quiet, loud = ERRORS.set, ERRORS.reset


def special(word: str) -> Any:
    """A function of scipy.special, imported when it is first needed."""
    import scipy.special

    return getattr(scipy.special, SPECIAL.get(word, word))


def library(name: str) -> Any:
    """A routine by name: see library.py."""
    found = _routines.get(name)
    if found is None:
        from flambeau._backends.cpu.library import find  # imported with the first routine asked for

        found = _routines[name] = find(name)
    return found


_routines: dict[str, Any] = {}


K: Arrays = Arrays(np, special, library)
_narrow: dict[Any, Arrays] = {None: K}


def kernel(narrow: Any) -> Arrays:
    """The kernel for operands that were widened from a dtype (None: operands as they are)."""
    found = _narrow.get(narrow)
    if found is None:
        found = _narrow[narrow] = Arrays(np, special, library, narrow)
    return found
