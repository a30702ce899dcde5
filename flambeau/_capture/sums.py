"""What is done with a product before anything reads it: its kernel does that on the way to memory, where the result is wanted there anyway.

A pass over a program. A row that is added, `relu`, a derivative that is zero where another array is: a few words of the product's
elements, of one more array's, and of numbers. What only goes on into other kernels stays what it is: those read the product as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace

from flambeau._backends.cpu.pen import Words, writes
from flambeau._capture import place
from flambeau._capture.expressions import Leaf, Program, Step
from flambeau._kernel.ir import COSTLY, HALVES, WORDS
from flambeau._kernel.record import Expr, cast, parameter, toposort
from flambeau._values.shape import contiguous_strides

WIDE = 64  # columns: products of few are made by kernels that turn them round
SIMPLE = WORDS - COSTLY - {"cast"} | {"fma"}
PLAIN = ((("param", ()),), (("param", ()), ("param", ()), ("add", (0, 1))))  # a product, and what an array is added to
LITTLE = 16  # how many times as large a product is as what is worth computing first, to be added to it
MOST = 8  # words: they are written once for each vector of a tile


def finish(program: Program) -> None:
    """Makes such results what the products give, whose own values are nowhere else."""
    leaves = {x.expr: x for x in program.leaves}
    roots = dict.fromkeys(used(program))
    every = {s.outs[0].expr: s for s in program.steps if s.kind == "product"}
    if not every:
        return
    products = {e: s for e, s in every.items() if e not in roots}
    wanted = {place.strided(e, leaves).core: None for s in program.steps for e in s.ins}
    wanted |= {place.strided(r.expr, leaves).core: None for r in program.results if r.expr is not None}
    users: dict[Expr, list[Expr]] = {}
    for e in toposort(*roots):
        for x in dict.fromkeys(e.src):
            users.setdefault(x, []).append(e)
    swap: dict[Expr, Expr] = {}
    for end in wanted:
        found = None if end in leaves else ending(end, products, users, roots.keys(), wanted.keys(), leaves)
        if found is not None:
            out, other, words = found
            said = words[:-1] if words[-1][:2] == ("cast", (len(words) - 2,)) else words  # results are rounded, anyway
            plain = tuple(w[:2] for w in said) in PLAIN
            if other is not None and out.shape[-1] < WIDE and not plain:
                continue
            del products[out]
            step = every.pop(out)
            step.ins += [] if other is None else [other]
            if not plain:
                step.params["finish"] = words
            swap[end] = out
    swap |= widened(program, every, users, roots.keys())
    if swap:
        rewrite(program, swap)


def widened(
    program: Program, products: Mapping[Expr, Step], users: Mapping[Expr, list[Expr]], roots: Set[Expr]
) -> dict[Expr, Expr]:
    """Products of halves whose sums something else reads before they are rounded are products of what the halves are widened to."""
    swap: dict[Expr, Expr] = {}
    for out, step in products.items():
        sums = next(filter(place.widens, users.get(out, ())), None)
        if sums is None or (
            sums not in roots and all(narrows(e) and e.dtype is out.dtype for e in users.get(sums, ()))
        ):
            continue
        at = next(n for n, leaf in enumerate(program.leaves) if leaf.expr is out)
        old = program.leaves[at]
        made = replace(
            old, expr=parameter(at, out.shape, sums.dtype), layout=replace(old.layout, dtype=sums.dtype.name)
        )
        program.leaves[at], step.outs = made, [made]
        step.ins = [cast(x, sums.dtype) for x in step.ins]
        swap |= {sums: made.expr, out: cast(made.expr, out.dtype)}
    return swap


def ending(
    end: Expr,
    products: Mapping[Expr, Step],
    users: Mapping[Expr, list[Expr]],
    roots: Set[Expr],
    wanted: Set[Expr],
    leaves: Mapping[Expr, Leaf],
) -> tuple[Expr, Expr | None, Words] | None:
    """(the product, the other array, the words) of an expression that is made of these alone; nothing else reads what lies between."""
    inner: dict[Expr, bool] = {}  # what lies between, sources first, once all of its sources are known
    arrays: dict[Expr, None] = {}
    stack = [end]
    while stack:
        e = stack[-1]
        if e in arrays or e.op == "const" or inner.get(e):
            stack.pop()
        elif e in inner:
            inner[e] = True
            inner[e] = inner.pop(e)
            stack.pop()
        elif e in leaves or (e is not end and e in wanted) or (e.op in place.FREE and not spread(e)):
            arrays[e] = None
        elif len(inner) <= 2 * MOST and (spread(e) or (simple(e) and e.shape == end.shape)):
            inner[e] = False
            stack += e.src
        else:
            return None
    between = [e for e in inner if e is not end and not spread(e)]
    alone = [x for x in arrays if all(u in inner for e in (x, *between) for u in users.get(e, ()))]
    out = next((x for x in alone if x in products), None)
    others = {x: place.narrowed(x) or x for x in arrays if x is not out}  # as they are in memory
    if (
        out is None
        or end.dtype is not out.dtype
        or len(others) > 1
        or any(e in roots for e in between)
        or not all(fits(out, x, wanted, leaves) for x in others.values())
    ):
        return None
    name = out.dtype.name
    wide = "float32" if name in HALVES else name  # in which sums are
    words: list[tuple[str, tuple[int, ...], object, str]] = [("param", (), 0, wide)]
    at: dict[Expr, int] = {out: 0}
    if wide != name and any(
        out in e.src for e in inner if not place.widens(e)
    ):  # it is wanted as it would be in memory
        at[out] = len(words)
        words.append(("cast", (0,), None, name))
    for e, x in others.items():
        at[e] = len(words)
        words.append(("param", (), 1, x.dtype.name))
    for e in inner:
        for x in (e, *e.src):
            if x.op == "const" and x not in at:
                at[x] = len(words)
                words.append(("const", (), x.arg, x.dtype.name))
        if spread(e):
            at[e] = at[e.src[0]]
        elif place.widens(e):
            at[e] = 0 if e.src[0] is out else at[e.src[0]]
        else:
            at[e] = len(words)
            words.append((e.op, tuple(at[x] for x in e.src), None if e.op == "cast" else e.arg, e.dtype.name))
    plain = all(w[3] in (name, wide, "bool") for w in words) and words[-1][3] == name
    if not plain or sum(w[0] not in ("param", "const", "cast") for w in words) > MOST or not writes(tuple(words)):
        return None
    return out, next(iter(others.values()), None), tuple(words)


def narrows(e: Expr) -> bool:
    """Whether what was computed with becomes halves."""
    return e.op == "cast" and e.dtype.name in HALVES and e.src[0].dtype.name == "float32"


def simple(e: Expr) -> bool:
    """Whether it is a word that takes little."""
    return e.op in SIMPLE or place.widens(e) or narrows(e)


def spread(e: Expr) -> bool:
    """Whether it is one number everywhere."""
    return e.op == "expand" and e.src[0].op == "const"


def fits(out: Expr, x: Expr, wanted: Set[Expr], leaves: Mapping[Expr, Leaf]) -> bool:
    """Whether an array is in memory as the kernels read one: the numbers of a row side by side, and rows one after the other or all the same."""
    where = place.strided(x, leaves)
    last = out.shape[-1]
    if (
        (last < WIDE and out.dtype.name not in HALVES)
        or x.shape != out.shape
        or x.dtype is not out.dtype
        or where.strides[-1] != 1
    ):
        return False
    row = all(t == 0 or n == 1 for n, t in zip(out.shape[:-1], where.strides[:-1], strict=True))
    there = where.core in leaves or where.core in wanted or math.prod(where.core.shape) * LITTLE <= math.prod(out.shape)
    return there and (row or tuple(where.strides) == contiguous_strides(out.shape))


def used(program: Program) -> Iterator[Expr]:
    """Every expression that a program names."""
    for s in program.steps:
        yield from s.ins
        if s.after is not None:
            yield s.after
    for r in program.results:
        if r.expr is not None:
            yield r.expr
        if r.whole is not None:
            yield r.whole[0]
    yield from (e for _, e in program.writes)
    yield from (e for parts in program.parts.values() for e, _ in parts)


def rewrite(program: Program, swap: Mapping[Expr, Expr]) -> None:
    """Replaces some expressions wherever a program names them."""
    names = list(dict.fromkeys(used(program)))
    now = dict(zip(names, place.rewritten(names, swap), strict=True))
    for s in program.steps:
        s.ins[:] = [now[e] for e in s.ins]
        s.after = None if s.after is None else now[s.after]
    for n, r in enumerate(program.results):
        whole = None if r.whole is None else (now[r.whole[0]], r.whole[1])
        program.results[n] = replace(r, expr=None if r.expr is None else now[r.expr], whole=whole)
    program.writes[:] = [(i, now[e]) for i, e in program.writes]
    for found in program.parts.values():
        found[:] = [(now[e], where) for e, where in found]
