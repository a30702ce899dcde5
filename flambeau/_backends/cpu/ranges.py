"""Arrays whose elements follow from where they stand, and from a few numbers: ranges, powers and windows of many elements; triangles."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_product import native
from flambeau._kernel.expansions import bessel
from flambeau._kernel.record import Record, cast
from flambeau._values.dtype import dtype, float32, float64, int64

LARGE = 1 << 13  # elements from which it is a kernel
KINDS = "fi"
_K = Record()


def ranged(word: str, count: int, d: dtype, *numbers: float) -> Any:
    """`count` elements of dtype d by one of the texts below, or None where there is no kernel. What follows from the count, too, is
    a number: one kernel serves all counts."""
    if count < LARGE or d.kind not in KINDS or d.np.kind not in "fiuV" or d.itemsize > 8 or not native():
        return None
    given = [np.asarray(v, np.int64 if type(v) is int else np.float64) for v in numbers]
    return _compiled(word, d)(np.broadcast_to(given[0], (count,)), *given[1:])


@cache
def _compiled(word: str, d: dtype) -> Any:
    from flambeau._backends.cpu.compile import compile

    text = TEXTS[word]
    return compile(lambda first, *rest: cast(text(first, *rest, d), d), word)


def _places(like: Any, d: dtype) -> Any:
    return _K.iota(like.shape[0], d)


def arange(start: Any, step: Any, d: dtype) -> Any:
    return start + _places(start, start.dtype) * step


def linspace(start: Any, end: Any, step: Any, half: Any, last: Any, d: dtype) -> Any:
    """From both ends, each number rounded once."""
    i = _places(start, float64)
    rising = _K.lt(i, half)
    n = _K.where(rising, i, last - i)
    return _K.fma(n, _K.where(rising, step, -step), _K.where(rising, start, end))


def logspace(start: Any, step: Any, base: Any, d: dtype) -> Any:
    return _K.pow(base, start + _places(start, float64) * step)


def hann(span: Any, d: dtype) -> Any:
    """The square of the sine of half a turn: its argument is at most a quarter, so that all digits count."""
    i = _places(span, float64)
    x = _K.minimum(i, span - i) * (math.pi / span)
    s = _K.sin(x if d is float64 else cast(x, float32))
    return s * s


def hamming(span: Any, alpha: Any, beta: Any, d: dtype) -> Any:
    s = hann(span, d)
    return cast(alpha - beta, s.dtype) + cast(beta + beta, s.dtype) * s


def blackman(span: Any, d: dtype) -> Any:
    s = hann(span, d)
    return s * (s * 0.64 + 0.36)


def bartlett(span: Any, d: dtype) -> Any:
    i = _places(span, float64)
    return _K.minimum(i, span - i) * (2.0 / span)


def kaiser(span: Any, beta: Any, most: Any, d: dtype) -> Any:
    r = _places(span, float64) * (2.0 / span) - 1.0
    return bessel(_K, beta * _K.sqrt(_K.maximum(1.0 - r * r, _K.like(0, r))), 0) / most


TEXTS: dict[str, Callable[..., Any]] = {
    "arange": arange,
    "linspace": linspace,
    "logspace": logspace,
    "hann": hann,
    "hamming": hamming,
    "blackman": blackman,
    "bartlett": bartlett,
    "kaiser": kaiser,
}


BITS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}  # elements that are only moved


def triangle_of(x: Any, diagonal: int, lower: bool) -> Any:
    """x with zeros on one side of a diagonal, or None where there is no kernel."""
    bits = BITS.get(x.itemsize)
    if x.size < LARGE or bits is None or max(x.shape[-2:]) >= 1 << 30 or not native():
        return None
    found = _triangle(lower)(x.view(bits), min(max(diagonal, -(1 << 30)), 1 << 30))
    return None if found is None else found.view(x.dtype)


@cache
def _triangle(lower: bool) -> Any:
    from flambeau._backends.cpu.compile import compile

    def body(x: Any, diagonal: Any) -> Any:
        rows = _K.reshape(_K.iota(x.shape[-2], int64), (-1, 1)) + diagonal
        columns = _K.iota(x.shape[-1], int64)
        return _K.where((_K.le if lower else _K.ge)(columns, rows), x, _K.like(0, x))

    return compile(body, "triangle")
