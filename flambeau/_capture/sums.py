"""Rows that are added to products: the kernel of a product adds them on the way to memory, where the sum is wanted there anyway.

A pass over a program. Sums that only go on into other kernels stay what they are: those read the product and the row as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from flambeau._capture import place
from flambeau._capture.expressions import Leaf, Program
from flambeau._kernel.record import Expr, toposort

WIDE = 64  # columns: products of few are made by kernels that turn them round


def add_rows(program: Program) -> None:
    """Makes such sums what the products give, whose own values are nowhere else."""
    leaves = {x.expr: x for x in program.leaves}
    roots = dict.fromkeys(used(program))
    wanted = {place.strided(e, leaves).core for s in program.steps for e in s.ins}
    wanted |= {place.strided(r.expr, leaves).core for r in program.results if r.expr is not None}
    users: dict[Expr, list[Expr]] = {}
    for e in toposort(*roots):
        for x in dict.fromkeys(e.src):
            users.setdefault(x, []).append(e)
    swap: dict[Expr, Expr] = {}
    for step in program.steps:
        if step.kind != "product" or step.outs[0].expr in roots:
            continue
        out = step.outs[0].expr
        found = users.get(out, [])
        if len(found) == 1 and found[0].op == "add" and found[0] in wanted:
            row = next((x for x in found[0].src if x is not out), None)
            if row is not None and fits(out, row, place.strided(row, leaves), leaves):
                step.ins.append(row)
                swap[found[0]] = out
    if swap:
        rewrite(program, swap)


def fits(out: Expr, row: Expr, where: place.Strided, leaves: Mapping[Expr, Leaf]) -> bool:
    """Whether a row is in memory as the kernels read one: its numbers side by side, the same for all rows of the product."""
    if where.core not in leaves:
        return False
    *outer, last = zip(out.shape, where.strides, strict=True)
    whole = all(type(n) is int for n in out.shape)
    same = row.shape == out.shape and row.dtype is out.dtype and out.dtype.name in ("float32", "float64")
    return same and whole and last[0] >= WIDE and last[1] == 1 and all(t == 0 or n == 1 for n, t in outer)


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
