"""Pointwise expressions as Python text, one line a node: the NumPy reading of an expression, written out once and for all.

The same text serves arrays and tensors: only what the words stand for differs (`np_exp` or `t_exp`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flambeau._kernel.record import Expr, toposort


def lines(roots: Sequence[Expr], names: dict[Expr, str], word: Callable[[str], str], const: Callable[[Expr], str],
          cast: Callable[[Expr, str], str], tail: Callable[[str], str] = lambda op: "", prefix: str = "v") -> tuple[list[str], list[str]]:  # fmt: skip
    """Assignments that compute the roots, and the names that hold them. `names` are the nodes that are already known."""
    known, seen = dict(names), set(names)
    out: list[str] = []
    order: list[Expr] = []
    stack: list[tuple[Expr, bool]] = []

    def visit(root: Expr) -> None:  # like toposort, but stops at what is known
        stack.append((root, False))
        while stack:
            e, done = stack.pop()
            if e in seen:
                continue
            if done:
                seen.add(e)
                order.append(e)
            else:
                stack.append((e, True))
                stack.extend((s, False) for s in reversed(e.src))

    for root in roots:
        visit(root)
    for e in order:
        if e.op == "const":
            known[e] = const(e)
            continue
        if e.op == "expand":  # operands broadcast by themselves
            known[e] = known[e.src[0]]
            continue
        known[e] = f"{prefix}{len(out)}"
        xs = [known[s] for s in e.src]
        out.append(
            f"{known[e]} = " + (cast(e, xs[0]) if e.op == "cast" else f"{word(e.op)}({', '.join(xs)}{tail(e.op)})")
        )
    return out, [known[r] for r in roots]


def uses(roots: Sequence[Expr], wanted: Sequence[Expr], stop: Sequence[Expr] = ()) -> set[Expr]:
    """Which of `wanted` the roots read, not looking below `stop`."""
    found: set[Expr] = set()
    seen: set[Expr] = set()
    stack = list(roots)
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if e in wanted:
            found.add(e)
            if e in stop:
                continue
        stack.extend(e.src)
    return found


__all__ = ["lines", "toposort", "uses"]
