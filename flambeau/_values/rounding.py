"""What C's mathematical library and fused multiply-add give, on arrays, to the last bit.

NumPy's vectorised log, exp, sin... may differ from libm's in the last place; where PyTorch calls libm, so do we.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Doubles = np.ndarray[Any, np.dtype[np.float64]]

FEW = 64  # numbers from which native code is worth a call
_native: Any = None  # functions of libm over arrays: (name, numbers, ...) -> numbers


def accelerate(native: Any) -> None:
    """From now on native code goes through arrays; it gives the same numbers."""
    global _native
    _native = native


def log(x: float) -> float:
    """The logarithm, of 0 as well."""
    return math.log(x) if x else -math.inf


def libm(function: Callable[[float], float], x: Doubles) -> Doubles:
    """A function of `math` (or `log` below), element by element."""
    if _native is not None and x.size >= FEW:
        return _native(function.__name__, np.ascontiguousarray(x))
    return np.fromiter(map(function, x.tolist()), np.float64, x.size)


def fma(a: Doubles, b: float, c: float) -> Doubles:
    """a * b + c, rounded once."""
    if _native is not None and a.size >= FEW:
        return _native("fma", np.ascontiguousarray(a), b, c)
    return np.asarray(fused(np, a, b, c))


# -- by the operations of any array library --------------------------------------------------------------------------------


def fused(xp: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z in float64, rounded once (Boldo and Melquiond, Emulation of FMA and correctly rounded sums, 2008)."""
    product, error = _exact_product(x, y)
    high, low = exact_sum(z, error)
    head, tail = exact_sum(product, high)
    r = head + to_odd(xp, *exact_sum(tail, low))
    plain = xp.where(xp.isinf(z) & xp.isfinite(x) & xp.isfinite(y), z, x * y + z)
    return xp.where(xp.isfinite(r) & (r != 0), r, plain)  # of a zero, too: -0 - 0 is -0


def to_odd(xp: Any, s: Any, lost: Any) -> Any:
    """A rounded sum and what it lost as the neighbour with an odd last bit, which is not rounded twice by the next operation."""
    even = (xp.asarray(s).view("i8") & 1) == 0
    return xp.where(even & (abs(lost) > 0), xp.nextafter(s, xp.copysign(xp.inf, lost)), s)


def exact_sum(x: Any, y: Any) -> tuple[Any, Any]:
    """x + y and what rounding took from it (Knuth)."""
    s = x + y
    t = s - x
    return s, (x - (s - t)) + (y - t)


def _exact_product(x: Any, y: Any) -> tuple[Any, Any]:
    """x * y and what rounding took from it (Dekker; halves by Veltkamp)."""
    p, (a, b), (c, d) = x * y, _halves(x), _halves(y)
    return p, ((a * c - p) + a * d + b * c) + b * d


def _halves(x: Any) -> tuple[Any, Any]:
    t = x * 134217729.0  # 2**27 + 1
    high = t - (t - x)
    return high, x - high
