"""Vector mathematics in functions written with `emit`: exp, log and their kind on its values.

`lanes.Builder` writes the mathematics; here it writes into the body of an `emit.Function`. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._backends.cpu import coefficients, words as language
from flambeau._backends.cpu.emit import Function, V, lane, lanes
from flambeau._backends.cpu.lanes import Builder, Value
from flambeau._backends.cpu.vecmath import nearest, power_of_two
from flambeau._kernel.ir import HALVES, Scalar

Words = tuple[
    tuple[str, tuple[int, ...], Any, str], ...
]  # of the kernel language: op, the operands' places, arg, dtype
KIND = {"float": "f32", "double": "f64"}
LEAST = {"f32": -126.0, "f64": -1022.0}  # the least exponent of a normal number


def apply(f: Function, function: Callable[..., Value], *xs: V, fma: bool = True, scale: bool = False) -> V:
    """function(b, *xs) of vecmath, written where f stands; `fma` and `scale` say which instructions there are."""
    b = Builder(fma, scale)
    b.scope, b.slots, b.declared = f.lines, f.slots, f.module.declared
    b.fresh = f.fresh  # type: ignore[method-assign]  # names are f's
    x = xs[0]
    out: Any = function(b, *(Value(b, KIND[lane(v.type)], lanes(v.type), v.name) for v in xs))
    return V(f, x.type, out.name)


def decay(b: Builder, x: Value) -> Value:
    """2**x for x <= 0: 0 where that is no normal number, NaN for NaN. Half the work of `exp2`."""
    n, i = nearest(b, x)
    r = (x - n) * 0.6931471805599453
    e = b.fma(r * r, b.poly(r, coefficients.EXP[x.type]), r)
    p = power_of_two(b, i)
    return b.select(x < LEAST[x.type], b.const(0.0, x), b.fma(p, e, p))


def expression(f: Function, words: Words, *xs: V) -> V:
    """Words where f stands, the last one's value; ("param", (), n) is the n-th of `xs`."""
    b = Builder()
    b.scope, b.slots, b.declared = f.lines, f.slots, f.module.declared
    b.fresh = f.fresh  # type: ignore[method-assign]
    out = spoken(b, words, [Value(b, KIND[lane(x.type)], lanes(x.type), x.name) for x in xs])
    return V(f, xs[0].type, b.spread(out, lanes(xs[0].type)).name)


def spoken(b: Builder, words: Words, xs: list[Value]) -> Value:
    """The last word's value."""
    nodes: list[Scalar] = []
    values: list[Value] = []
    for op, src, arg, dtype in words:
        held = "float32" if dtype in HALVES else dtype  # they are widened to be computed with
        nodes.append(
            Scalar("acc" if op == "param" else op, tuple(nodes[n] for n in src), dtype if op == "cast" else arg, held)
        )
        if op == "param":
            values.append(xs[arg])
        elif op == "const":
            values.append(b.number(arg, language.TYPES[held]))
        else:
            values.append(language.word(b, nodes[-1], [values[n] for n in src]))
    return values[-1]


def writes(words: Words) -> bool:
    """Whether `expression` can write them: each in line."""
    b = Builder()
    try:
        types = ["float32" if d in HALVES else d for op, _, _, d in words if op == "param"]
        spoken(b, words, [Value(b, language.TYPES[d], 4, f"%x{n}") for n, d in enumerate(types)])
    except NotImplementedError:
        return False
    return not b.functions
