"""Gradients of attention that are joined into one array: their kernel writes each into its part, and nothing is copied.

A pass over a program. That is the way back of a layer that gives queries, keys and values side by side: `qkv(x).split(...)`.
"""

from __future__ import annotations

from collections.abc import Mapping

from flambeau._backends.cpu.attention_backward import shared_out
from flambeau._capture import place
from flambeau._capture.expressions import Leaf, Program, Step
from flambeau._capture.sums import used
from flambeau._kernel.record import Expr, toposort
from flambeau._values.shape import contiguous_strides


def join_gradients(program: Program) -> None:
    """Lets derivatives of attention give what a join makes of them, whose own values are nowhere else."""
    sources = {s.outs[0].expr: s for s in program.steps if s.target == "attention_backward"}
    joins = [s for s in program.steps if s.target == "join"]
    if not sources or not joins:
        return
    leaves = {x.expr: x for x in program.leaves}
    roots = list(used(program))
    users: dict[Expr, int] = {}
    for e in roots:
        users[e] = users.get(e, 0) + 1
    for e in toposort(*dict.fromkeys(roots)):
        for x in e.src:
            users[x] = users.get(x, 0) + 1
    for join in joins:
        source = sources.get(place.strided(join.ins[0], leaves).core)
        if source is not None and side_by_side(source, join, users, leaves):
            source.outs[:] = join.outs
            source.params["joined"] = True
            program.steps.remove(join)


def side_by_side(source: Step, join: Step, users: Mapping[Expr, int], leaves: Mapping[Expr, Leaf]) -> bool:
    """Whether a join has the gradients of queries, keys and values in its last dim, a head after the other, and nobody else has them."""
    if len(join.ins) != 3 or join.params["dim"] != 2 or join.outs[0].expr.ndim != 3:
        return False
    for x, leaf in zip(join.ins, source.outs, strict=True):
        seen = place.strided(x, leaves)
        if seen.core is not leaf.expr or any(type(n) is not int for n in leaf.expr.shape):
            return False
        batch, heads, length, width = leaf.expr.shape
        if (
            x.shape != (batch, length, heads * width)
            or seen.offset
            or tuple(seen.strides) != contiguous_strides(x.shape)
        ):
            return False
        while users[x] == 1 and x is not leaf.expr:
            x = x.src[0]
        if users[x] > 1:
            return False
    (batch, heads, *_), keys = source.outs[1].expr.shape, source.outs[1].expr.shape[2]
    return shared_out(batch * heads, keys)[0] == 1
