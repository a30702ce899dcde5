"""The derivative of each word: one line each. An operator with a recordable body needs no derivative of its own.

`e` is the node, `g` the gradient of its value; a rule gives one gradient (or None) for each source. Gradients of complex values
follow PyTorch's convention: the conjugate of the derivative multiplies g.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flambeau._kernel.record import Expr, Record, constant, expand, toposort

k = Record()
Rule = Callable[[Expr, Expr], tuple[Expr | None, ...]]
RULES: dict[str, Rule] = {}
LN2, LN10 = math.log(2), math.log(10)


def rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(fn: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, fn))
        return fn

    return register


def _c(x: Expr) -> Expr:
    if x.op == "const":
        return constant(x.arg.conjugate(), x.dtype) if isinstance(x.arg, complex) else x
    return k.conj(x) if x.dtype.is_complex else x


def _like(x: Expr, value: float) -> Expr:
    return expand(constant(value, x.dtype), x.shape)


rule("neg")(lambda e, g: (-g,))
rule("exp")(lambda e, g: (g * _c(e),))
rule("exp2")(lambda e, g: (g * _c(e) * LN2,))
rule("expm1")(lambda e, g: (g * (_c(e) + 1.0),))
rule("log")(lambda e, g: (g / _c(e.src[0]),))
rule("log2")(lambda e, g: (g / (_c(e.src[0]) * LN2),))
rule("log10")(lambda e, g: (g / (_c(e.src[0]) * LN10),))
rule("log1p")(lambda e, g: (g / (_c(e.src[0]) + 1.0),))
rule("sqrt")(lambda e, g: (g / (_c(e) * 2.0),))
rule("rsqrt")(lambda e, g: (g * -0.5 * _c(e * e * e),))
rule("reciprocal")(lambda e, g: (-g * _c(e * e),))
rule("sin")(lambda e, g: (g * _c(k.cos(e.src[0])),))
rule("cos")(lambda e, g: (g * -_c(k.sin(e.src[0])),))
rule("tan")(lambda e, g: (g * _c(e * e + 1.0),))
rule("asin")(lambda e, g: (g * _c(k.rsqrt(1.0 - e.src[0] * e.src[0])),))
rule("acos")(lambda e, g: (g * -_c(k.rsqrt(1.0 - e.src[0] * e.src[0])),))
rule("atan")(lambda e, g: (g / _c(e.src[0] * e.src[0] + 1.0),))
rule("sinh")(lambda e, g: (g * _c(k.cosh(e.src[0])),))
rule("cosh")(lambda e, g: (g * _c(k.sinh(e.src[0])),))
rule("tanh")(lambda e, g: (g * (1.0 - _c(e * e)),))
rule("asinh")(lambda e, g: (g * _c(k.rsqrt(e.src[0] * e.src[0] + 1.0)),))
rule("acosh")(lambda e, g: (g * _c(k.rsqrt(e.src[0] * e.src[0] - 1.0)),))
rule("atanh")(lambda e, g: (g / (1.0 - _c(e.src[0] * e.src[0])),))
rule("sigmoid")(lambda e, g: (g * (_c(e) * (1.0 - _c(e))),))
rule("erf")(lambda e, g: (g * (k.exp(-(e.src[0] * e.src[0])) * (2 / math.sqrt(math.pi))),))
rule("erfc")(lambda e, g: (g * (k.exp(-(e.src[0] * e.src[0])) * (-2 / math.sqrt(math.pi))),))
rule("erfinv")(lambda e, g: (g * (k.exp(e * e) * (math.sqrt(math.pi) / 2)),))
rule("lgamma")(lambda e, g: (g * k.digamma(e.src[0]),))
rule("digamma")(lambda e, g: (g * k.polygamma(_like(e, 1.0), e.src[0]),))
rule("polygamma")(lambda e, g: (None, g * k.polygamma(e.src[0] + 1.0, e.src[1])))
rule("conj")(lambda e, g: (k.conj(g),))
rule("floor", "ceil", "round", "trunc")(lambda e, g: (_like(g, 0.0),) if not e.dtype.is_complex else (None,))
rule("fma")(lambda e, g: (g * _c(e.src[1]), g * _c(e.src[0]), g))
rule("add")(lambda e, g: (g, g))
rule("sub")(lambda e, g: (g, -g))
rule("mul")(lambda e, g: (g * _c(e.src[1]), g * _c(e.src[0])))
# Of the operands, not of the result: programs change quotients in place (`(x / y).add_(1)`).
rule("div")(lambda e, g: (g / _c(e.src[1]), -(g / _c(e.src[1])) * _c(e.src[0]) / _c(e.src[1])))
rule("fmod")(lambda e, g: (g, -g * k.trunc(e.src[0] / e.src[1])))
rule("remainder")(lambda e, g: (g, -g * k.floor(e.src[0] / e.src[1])))
rule("hypot")(lambda e, g: (g * (e.src[0] / e), g * (e.src[1] / e)))
rule("copysign")(lambda e, g: (g * (k.where(k.eq(e.src[0], 0.0), _like(e, 0.0), e / e.src[0])), _like(g, 0.0)))
rule("cast")(lambda e, g: (k.cast(g, e.src[0].dtype) if e.src[0].dtype.kind in "fc" else None,))
rule("where")(lambda e, g: (None, k.where(e.src[0], g, 0.0), k.where(e.src[0], _like(g, 0.0), g)))
rule("sum")(lambda e, g: (expand(g, e.src[0].shape),))
rule("reshape")(lambda e, g: (k.reshape(g, e.src[0].shape),))
rule("permute")(lambda e, g: (k.permute(g, [e.arg.index(i) for i in range(len(e.arg))]),))
rule("flip")(lambda e, g: (k.flip(g, e.arg),))
rule("pad")(lambda e, g: (k.pad(g, [(-a, -b) for a, b in e.arg[0]]),))
rule("expand")(lambda e, g: (sum_to(g, e.src[0].shape),))
rule("cumsum")(lambda e, g: (k.flip(k.cumsum(k.flip(g, [e.arg]), e.arg), [e.arg]),))
rule("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "signbit", "logical_not", "logical_and", "logical_or", "logical_xor",
     "any", "all", "argmax", "argmin", "nextafter")(lambda e, g: (None,) * len(e.src))  # fmt: skip


@rule("abs")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:
    x = e.src[0]
    if x.dtype.is_complex:  # the unit vector; 0 at 0
        return (k.cast(g, x.dtype) * k.sign(x),)
    return (g * k.sign(x),)


@rule("sign")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:
    if not e.dtype.is_complex:
        return (_like(g, 0.0),)
    size = k.cast(k.abs(e.src[0]), e.dtype)  # what changes the modulus alone is lost
    along = k.cast(k.real(g * k.conj(e)), e.dtype)
    return (k.where(k.eq(size, 0.0), _like(g, 0.0), (g - e * along) / size),)


@rule("atan2")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:
    y, x = e.src
    d = x * x + y * y
    return g * (x / d), g * (-y / d)


@rule("pow")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:
    x, y = e.src
    zero = _like(e, 0.0)
    by_x = k.where(k.eq(y, 0.0), zero, g * _c(y * k.pow(x, y - 1.0)))
    cond = k.logical_and(k.eq(x, 0.0), k.ge(y, 0.0)) if not e.dtype.is_complex else k.eq(x, 0.0)
    return by_x, g * _c(k.where(cond, zero, e * k.log(x)))


@rule("maximum", "minimum")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:  # ties share the gradient
    x, y = e.src
    half, zero = g * 0.5, _like(g, 0.0)
    wins = k.gt(x, y) if e.op == "maximum" else k.lt(x, y)
    tie = k.eq(x, y)
    return k.where(tie, half, k.where(wins, g, zero)), k.where(tie, half, k.where(wins, zero, g))


@rule("fmax", "fmin")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:  # the first operand wins a tie; a NaN loses
    x, y = e.src
    first = k.logical_or(k.ge(x, y) if e.op == "fmax" else k.le(x, y), k.isnan(y))
    zero = _like(g, 0.0)
    return k.where(first, g, zero), k.where(first, zero, g)


@rule("max", "min")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:  # ties share the gradient
    x = e.src[0]
    hit = k.cast(k.eq(x, expand(e, x.shape)), g.dtype)
    return (hit / k.sum(hit, e.arg) * g,)


@rule("slice")
def _(e: Expr, g: Expr) -> tuple[Expr | None, ...]:
    dim, start, _, step = e.arg
    x = e.src[0]
    if step != 1:  # spread: one cell of `step` for each element, then cropped
        n = g.shape[dim]
        at = (*g.shape[: dim + 1], 1, *g.shape[dim + 1 :])
        widths = [(0, 0)] * (g.ndim + 1)
        widths[dim + 1] = (0, step - 1)
        g = k.reshape(k.pad(k.reshape(g, at), widths), (*g.shape[:dim], n * step, *g.shape[dim + 1 :]))
    widths = [(0, 0)] * x.ndim
    widths[dim] = (start, x.shape[dim] - start - g.shape[dim])
    return (k.pad(g, widths),)


def sum_to(g: Expr, shape: tuple[int, ...]) -> Expr:
    """Undo broadcasting: sum over the dims that were stretched."""
    lead = g.ndim - len(shape)
    dims = [i for i, n in enumerate((1,) * lead + shape) if n == 1 and g.shape[i] != 1]
    return k.reshape(k.sum(g, dims) if dims else g, shape)


def gradients(out: Expr, g: Expr, wrt: Sequence[Expr]) -> list[Expr | None]:
    """The gradients of <g, out> with respect to each of `wrt`; None where out does not depend on it."""
    grads: dict[Expr, Expr] = {out: g}
    order = toposort(out)
    live = set(wrt)
    for e in order:
        if any(s in live for s in e.src):
            live.add(e)
    for e in reversed(order):
        if e not in grads or e not in live or not e.src:
            continue
        if e.op not in RULES:
            raise NotImplementedError(f"the derivative of the word '{e.op}' is not implemented")
        for s, gs in zip(e.src, RULES[e.op](e, grads[e]), strict=True):
            if gs is not None and s in live:
                grads[s] = grads[s] + gs if s in grads else gs
    return [grads.get(w) for w in wrt]


__all__: list[Any] = ["RULES", "gradients", "sum_to"]
