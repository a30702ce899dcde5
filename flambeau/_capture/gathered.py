"""Gradients of many parts of one tensor, each of them in zeros, that are added up: their sum is laid together from the parts.

The derivative of `x[:, 0]`, `x[:, 1]`, ... is a sum of as many tensors as x has rows, each as large as x. As an expression it would ask at
each element for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flambeau._values.shape import wrap_dim
from flambeau.fx.graph import Graph
from flambeau.fx.node import Node

FEW = 4  # parts: the sum of fewer reads about as much as what is laid together


@dataclass(frozen=True)
class Part:
    """A node that puts its argument into zeros, from `start` to `end` of a dim."""

    node: Node
    sizes: tuple[int, ...]
    dim: int
    start: int
    end: int
    whole: bool  # the argument has the dim, too

    @property
    def value(self) -> Any:
        return self.node.args[0]


@dataclass(frozen=True)
class Sum:
    """What parts are added to, if anything, and the parts. They do not overlap; where nothing else is added, several may be in one place."""

    rest: Node | None
    parts: tuple[Part, ...]

    def takes(self, p: Part) -> bool:
        first = self.parts[0]
        return (p.sizes, p.dim) == (first.sizes, first.dim) and all(
            p.end <= q.start or q.end <= p.start or (self.rest is None and (p.start, p.end) == (q.start, q.end))
            for q in self.parts
        )

    def places(self) -> list[list[Part]]:
        """The parts of each place, in the order in which they are added; places in that of memory."""
        found: dict[int, list[Part]] = {}
        for p in self.parts:
            found.setdefault(p.start, []).append(p)
        return [found[start] for start in sorted(found)]


def sums(graph: Graph) -> dict[Node, Sum]:
    """Which additions are the last of such sums. Nothing is added in another order than it was."""
    parts = {p.node: p for node in graph.nodes if (p := part(node)) is not None}
    found: dict[Node, Sum] = {}
    for node in graph.nodes if len(parts) >= FEW else ():
        if str(node.target) != "aten.add.Tensor" or node.kwargs or len(node.args) != 2:
            continue
        for rest, last in (node.args, node.args[::-1]):
            p = parts.get(last)
            if p is None or rest is last or not isinstance(rest, Node):
                continue
            before = found.get(rest) if len(rest.users) == 1 else None
            if before is not None and before.takes(p):
                found[node] = Sum(found.pop(rest).rest, (*before.parts, p))
            elif rest in parts and Sum(None, (parts[rest],)).takes(p):
                found[node] = Sum(None, (parts[rest], p))
            else:
                found[node] = Sum(rest, (p,))
            break
    return {node: s for node, s in found.items() if len(s.parts) >= FEW}


def part(node: Node) -> Part | None:
    """A node that is such a gradient, wanted by one other node, at sizes that are known."""
    if node.op != "call_function" or len(node.users) != 1 or node.kwargs:
        return None
    name = str(node.target)
    if name not in ("aten.select_backward.default", "aten.slice_backward.default"):
        return None
    _, sizes, dim, *where = node.args
    if any(type(n) is not int for n in (*sizes, dim, *where)):
        return None
    dim = wrap_dim(dim, len(sizes))
    n = sizes[dim]
    if name == "aten.select_backward.default":
        start = where[0] % n
        return Part(node, tuple(sizes), dim, start, start + 1, False)
    start, end, step = where
    start, end = (min(max(i + n if i < 0 else i, 0), n) for i in (start, end))
    return Part(node, tuple(sizes), dim, start, end, True) if step == 1 and start < end else None
