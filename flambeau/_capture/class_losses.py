"""What a class loss and its derivative, written for each alone, compute twice or add up in vain when one kernel does both.

A pass over a program. The derivative of `log_softmax` takes exponentials of what it gave, x - max - log(sum(exp(x - max))): these are the
exponentials that were summed, over their sum. And the sum of a row that has one number in it and zeros elsewhere, which is what
`nll_loss` passes back, is that number.
"""

from __future__ import annotations

from collections.abc import Set

from flambeau._capture import place
from flambeau._capture.expressions import Program
from flambeau._capture.sums import rewrite, used
from flambeau._kernel.record import Expr, Record, expand, toposort

k = Record()


def shorten(program: Program) -> None:
    """Replaces such expressions; log-probabilities that are in memory anyway are read there."""
    roots = dict.fromkeys(used(program))
    leaves = {x.expr: x for x in program.leaves}
    wanted = {place.strided(e, leaves).core for e in roots} | roots.keys()
    swap: dict[Expr, Expr] = {}
    for e in toposort(*roots):
        made = share(e, wanted) if e.op == "exp" else single(e) if e.op == "sum" else None
        if made is not None and e not in leaves:
            swap[e] = made
    if swap:
        rewrite(program, swap)


def share(e: Expr, wanted: Set[Expr]) -> Expr | None:
    """exp(a - log(s)) as exp(a) / s, where s is the sum of exp(a) and a is at most 0."""
    log_p = e.src[0]
    if log_p.op != "sub" or log_p in wanted:
        return None
    a, log = log_p.src[0], narrow(log_p.src[1])
    if log is None or log.op != "log" or log.src[0].op != "sum":
        return None
    total = log.src[0]
    powers = total.src[0]
    if powers.op != "exp" or powers.src[0] is not a or a.op != "sub" or powers in wanted:
        return None
    most = narrow(a.src[1])
    if most is None or most.op != "max" or most.src[0] is not a.src[0] or most.arg != total.arg:
        return None
    return powers * expand(k.reciprocal(total), e.shape)


def single(e: Expr) -> Expr | None:
    """The sum along a dim of what is 0 but at one place of each row, where a number stands that only the row tells."""
    picked = e.src[0]
    if len(e.arg) != 1 or picked.op != "where" or picked.src[0].op != "eq":
        return None
    at, value, zero = picked.src[0].src, picked.src[1], picked.src[2]
    (dim,) = e.arg
    n = picked.shape[dim]
    places = [x for x in at if counts(x, dim)]
    others = [narrow(x) for x in (*(x for x in at if not counts(x, dim)), value)]
    if len(places) != 1 or None in others or not nothing(zero) or type(n) is not int:
        return None
    place_, value_ = others
    assert place_ is not None and value_ is not None
    if any(x.shape != e.shape for x in (place_, value_)):
        return None
    there = k.logical_and(place_ >= 0, place_ < n)
    return k.where(there, value_ + 0.0, 0.0)  # -0.0 and zeros sum up to 0.0


def narrow(e: Expr) -> Expr | None:
    """What an expression is of which a dim or more are spread out."""
    return e.src[0] if e.op == "expand" and e.src[0].ndim == e.ndim else None


def counts(e: Expr, dim: int) -> bool:
    """Whether an expression is 0, 1, 2, ... along a dim."""
    if e.op == "expand":
        e, shape = e.src[0], e.shape
        if e.ndim != len(shape) or e.shape[dim] != shape[dim]:
            return False
    if e.op == "reshape" and e.src[0].op == "iota":
        return all(n == (e.src[0].arg if d == dim else 1) for d, n in enumerate(e.shape))
    return e.op == "iota"


def nothing(e: Expr) -> bool:
    """Whether an expression is 0 everywhere."""
    return e.op == "expand" and e.src[0].op == "const" and type(e.src[0].arg) in (int, float) and e.src[0].arg == 0
