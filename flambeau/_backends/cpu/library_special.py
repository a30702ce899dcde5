"""Special functions: SciPy's under their names there, and orthogonal polynomials by their recurrences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def scipy_special(*xs: Any, routine: str) -> Any:
    """The function of scipy.special of that name, in the dtype of its operands."""
    import scipy.special

    out = getattr(scipy.special, routine)(*xs)
    return np.asarray(out[0] if isinstance(out, tuple) else out).astype(xs[0].dtype, copy=False)


def frexp(x: Any) -> tuple[Any, Any]:
    mantissa, exponent = np.frexp(x if x.dtype.kind == "f" else x.astype(np.float32))
    return np.asarray(mantissa).astype(x.dtype, copy=False), np.asarray(exponent)


# name -> (the polynomial of degree 1, that of degree n from those of degrees n-1 (q) and n-2 (p)).
RECURRENCES: dict[str, tuple[Callable[[Any], Any], Callable[[int, Any, Any, Any], Any]]] = {
    "chebyshev_t": (lambda x: x, lambda n, x, p, q: 2 * x * q - p),
    "chebyshev_u": (lambda x: 2 * x, lambda n, x, p, q: 2 * x * q - p),
    "chebyshev_v": (lambda x: 2 * x - 1, lambda n, x, p, q: 2 * x * q - p),
    "chebyshev_w": (lambda x: 2 * x + 1, lambda n, x, p, q: 2 * x * q - p),
    "hermite_h": (lambda x: 2 * x, lambda n, x, p, q: 2 * x * q - 2 * (n - 1) * p),
    "hermite_he": (lambda x: x, lambda n, x, p, q: x * q - (n - 1) * p),
    "laguerre_l": (lambda x: 1 - x, lambda n, x, p, q: ((2 * n - 1 - x) * q - (n - 1) * p) / n),
    "legendre_p": (lambda x: x, lambda n, x, p, q: ((2 * n - 1) * x * q - (n - 1) * p) / n),
}


def polynomial(x: Any, n: Any, *, family: str) -> Any:
    """The polynomial of degree n (truncated to an integer; 0 where it is negative) at x."""
    x, n = np.broadcast_arrays(x, np.trunc(n))
    first, step = RECURRENCES[family]
    out = np.where(n == 0, x.dtype.type(1), x.dtype.type(0))
    p, q = np.ones_like(x), np.asarray(first(x))
    last = int(n.max(initial=0)) if np.isfinite(n).all() else 0
    for degree in range(1, last + 1):
        out = np.where(n == degree, q, out)
        p, q = q, step(degree + 1, x, p, q)
    return out.astype(x.dtype, copy=False)
