"""Algebra of scalar expressions: what is exactly equal and cheaper. Nothing here may change a bit of a result."""

from __future__ import annotations

import math
from collections.abc import Callable

from flambeau._kernel.ir import FLOATS, HALVES, INTS, Scalar, const, rebuilt, same, walk, word
from flambeau._values.shape import symbolic

Rule = Callable[[Scalar], "Scalar | None"]
RULES: dict[str, list[Rule]] = {}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        for op in ops:
            RULES.setdefault(op, []).append(fn)
        return fn

    return register


def simplified(e: Scalar) -> Scalar:
    """The expression with every rule applied, from its leaves up."""
    done: dict[Scalar, Scalar] = {}
    for n in walk(e):
        new = rebuilt(n, done, same)
        for r in RULES.get(new.op, ()):
            better = r(new)
            if better is not None:
                new = better
                break
        done[n] = new
    return done[e]


def number(e: Scalar) -> float | None:
    return e.arg if e.op == "const" and not isinstance(e.arg, str) else None


@rule("mul")
def _times_one(e: Scalar) -> Scalar | None:
    x, y = e.src
    return x if number(y) == 1 else y if number(x) == 1 else None


@rule("div")
def _over(e: Scalar) -> Scalar | None:
    x, y = e.src
    n = number(y)
    if n == 1:
        return x
    if n and not symbolic(n) and e.dtype in FLOATS and math.frexp(n)[0] in (0.5, -0.5) and 2**-100 < abs(n) < 2**100:
        return word("mul", x, const(1 / n, e.dtype))  # a power of two: exact
    return None


@rule("sub", "add")
def _plus_zero(e: Scalar) -> Scalar | None:
    """x - 0 is x; x + 0 is not x where x is -0.0, but is for integers, and x + -0.0 always is."""
    x, y = e.src
    n = number(y)
    if n != 0:
        return None
    zero_sign = math.copysign(1, n) if e.dtype in FLOATS else 1
    exact = e.dtype in INTS or (zero_sign > 0) == (e.op == "sub")
    return x if exact else None


@rule("neg")
def _twice(e: Scalar) -> Scalar | None:
    return e.src[0].src[0] if e.src[0].op == "neg" else None


@rule("where")
def _known(e: Scalar) -> Scalar | None:
    c, x, y = e.src
    n = number(c)
    return x if x is y else None if n is None else x if n else y


@rule("le")
def _shut(e: Scalar) -> Scalar | None:
    """max(c, x) <= c where x is: what closes the gradient of a rectifier. NaN is neither."""
    m, y = e.src
    n = number(y)
    if m.op != "maximum" or n is None or n != n:
        return None
    x, z = m.src
    return word("le", z, y) if number(x) == n else word("le", x, y) if number(z) == n else None


@rule("cast")
def _cast(e: Scalar) -> Scalar | None:
    x = e.src[0]
    if x.dtype == e.arg:
        return x
    n = number(x)
    if n is not None and e.arg not in HALVES and (e.arg in FLOATS or abs(n) < 2**31):
        return const(n, e.arg)
    if x.op == "cast" and x.arg == "float64" and x.src[0].dtype == "float32" == e.arg:
        return x.src[0]  # widened and narrowed again
    return None


@rule("pow")
def _power(e: Scalar) -> Scalar | None:
    """The powers that PyTorch computes by multiplication."""
    x, n = e.src[0], number(e.src[1])
    if e.dtype in INTS:
        return _integer_power(x, n)
    match n:
        case 0:
            return const(1, e.dtype)
        case 1:
            return x
        case 2:
            return word("mul", x, x)
        case 3:
            return word("mul", word("mul", x, x), x)
        case 0.5:
            return word("sqrt", x)
        case -0.5:
            return word("rsqrt", x)
        case -1:
            return word("div", const(1, e.dtype), x)
        case -2:
            return word("div", const(1, e.dtype), word("mul", x, x))
    return None


def _integer_power(x: Scalar, n: float | None) -> Scalar | None:
    if n is None or not 0 <= n <= 64:
        return None
    out, square, m = None, x, int(n)
    while m:
        if m & 1:
            out = square if out is None else word("mul", out, square)
        m >>= 1
        if m:
            square = word("mul", square, square)
    return const(1, x.dtype) if out is None else out
