"""Graphs that run operator by operator, and leave everything as it was where an operator refuses what tensors hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._capture import mistakes, shared
from flambeau._capture.breaks import REFUSED
from flambeau._capture.refusals import refuses
from flambeau._ops import OpOverload
from flambeau._values.generator import default_generator
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node


def guarded(gm: GraphModule, run: Callable[..., Sequence[Any]]) -> Callable[..., Any]:
    """`run`, which carries out the graph in order: REFUSED where an operator raises, and then all is as before."""
    nodes: list[Node] = list(gm.graph.nodes)
    last = max((i for i, n in enumerate(nodes) if refuses(n.target, n.meta.get("val"))), default=-1)
    if last < 0:
        return run
    early = set(nodes[:last])
    memory = shared.roots(nodes)
    places = [n for n in nodes if n.op == "placeholder"]
    into = {memory[n] for n in early if shared.writes(n)}
    at = [i for i, n in enumerate(places) if n in into]
    draws = any(isinstance(n.target, OpOverload) and n.target.is_random for n in nodes[: last + 1])

    def guarded(*inputs: Any) -> Any:
        held = [Held(inputs[i]) for i in at]
        state = default_generator.get_state() if draws else None
        try:
            return run(*inputs)
        except Exception as error:
            if mistakes.ours(error):
                mistakes.tell(error, "a program ends")
            for h in reversed(held):
                h.put_back()
            if draws:
                default_generator.set_state(state)
            if not mistakes.within(error):
                raise  # what a backend of one's own says of itself
            return REFUSED

    return guarded


class Held:
    """A tensor as it was: elements, versions, history."""

    __slots__ = ("array", "node", "nr", "t", "version")

    def __init__(self, t: Any) -> None:
        self.t, self.array, self.node, self.nr = t, t._a.copy(), t._node, t._nr
        self.version = shared.counter(t)[0]

    def put_back(self) -> None:
        """The tensor is that again."""
        t = self.t
        t._a[...], t._node, t._nr = self.array, self.node, self.nr
        shared.counter(t)[0] = self.version


__all__ = ["guarded"]
