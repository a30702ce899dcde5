"""The threads of the array libraries' own BLAS: for matrices up to a few hundred rows one does as well as many, or better.

Many would also compete with the workers of `threads.py`, and wait for one another while others run. Only OpenBLAS can be
told; another BLAS is left alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

LARGE = 1 << 19  # elements of a matrix from which its BLAS may use all its threads
NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


def _controls(module: Any) -> tuple[Any, Any] | None:
    """(how many threads, use so many) of the OpenBLAS that an extension module is linked with."""
    try:
        library = ctypes.CDLL(module.__file__)
    except (AttributeError, OSError):
        return None
    for name in NAMES:
        found = [getattr(library, name.format(f"{verb}_num_threads"), None) for verb in ("get", "set")]
        if None not in found:
            return found[0], found[1]
    return None


@cache
def controls() -> tuple[tuple[Any, Any], ...]:
    """Those of NumPy and SciPy, as far as they are there."""
    from numpy.linalg import _umath_linalg

    modules = [_umath_linalg]
    try:
        from scipy.linalg import _flapack
    except ImportError:
        pass
    else:
        modules.append(_flapack)
    return tuple(c for c in map(_controls, modules) if c is not None)


def alone(routine: Callable[..., Any]) -> Callable[..., Any]:
    """The routine of a matrix, or batch of them, with one BLAS thread unless a matrix is large."""

    @wraps(routine)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if x.ndim < 2 or x.shape[-1] * x.shape[-2] >= LARGE:
            return routine(x, *args, **kwargs)
        before = [get() for get, _ in controls()]
        try:
            for _, use in controls():
                use(1)
            return routine(x, *args, **kwargs)
        finally:
            for n, (_, use) in zip(before, controls(), strict=True):
                use(n)

    return call
