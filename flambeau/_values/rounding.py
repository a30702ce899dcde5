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

_SPLIT = 134217729.0  # 2**27 + 1: halves a double's 53 bits (Veltkamp)


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
    """a * b + c, rounded once. The parts must be far from overflow and underflow."""
    if _native is not None and a.size >= FEW:
        return _native("fma", np.ascontiguousarray(a), b, c)
    product = a * b
    high = a * _SPLIT
    high -= high - a
    low = a - high
    b_high = b * _SPLIT - (b * _SPLIT - b)
    b_low = b - b_high
    error = ((high * b_high - product) + high * b_low + low * b_high) + low * b_low  # product + error == a * b (Dekker)
    total = product + c
    part = total - product
    rest = (product - (total - part)) + (c - part)  # total + rest == product + c (Knuth)
    tail = rest + error
    part = tail - rest
    lost = (rest - (tail - part)) + (error - part)
    # Round the tail to odd, so that the last addition rounds as if nothing had been lost (Boldo and Melquiond).
    even = (lost != 0) & ((tail.view(np.int64) & 1) == 0)
    tail = np.where(even, np.nextafter(tail, np.copysign(np.inf, lost)), tail)
    return np.asarray(total + tail)
