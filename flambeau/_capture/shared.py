"""What native programs leave to eager code about memory that is shared: results that are views, versions of what is written, inputs that overlap.

A program believes that what it writes shares memory with nothing else that it reads, and makes each result in memory of its own. Here is
what makes that true: a guard, or a graph whose last views are taken outside.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flambeau._capture.breaks import REFUSED
from flambeau._capture.expressions import Unsupported
from flambeau._capture.refusals import asserts, looks
from flambeau._eager.views import memory_of
from flambeau._ops import OpOverload
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node

# ---------------------------------------------------------------- what a graph shares


def roots(nodes: Iterable[Node]) -> dict[Node, Node]:
    """For each node the one whose memory it lies in."""
    found: dict[Node, Node] = {}
    for n in nodes:
        first = n.args[0] if n.args else None
        alias = isinstance(first, Node) and (writes(n) or _views(n))
        found[n] = found[first] if alias else n  # type: ignore[index]
    return found


def written(gm: GraphModule) -> dict[int, int]:
    """How often each input is written, by its place."""
    nodes = list(gm.graph.nodes)
    places = {n: i for i, n in enumerate(n for n in nodes if n.op == "placeholder")}
    found, memory = dict[int, int](), roots(nodes)
    for n in nodes:
        if writes(n) and memory[n] in places:
            at = places[memory[n]]
            found[at] = found.get(at, 0) + 1
    return found


def writes(n: Node) -> bool:
    return isinstance(n.target, OpOverload) and n.target.is_write


def _views(n: Node) -> bool:
    """Whether a node is a view of its first argument (or, of several, one)."""
    if n.target is operator.getitem:
        return isinstance(n.args[0], Node) and _views(n.args[0])
    return n.op == "call_method" or (isinstance(n.target, OpOverload) and n.target.is_view and not n.target.is_write)


# ---------------------------------------------------------------- results that are views


def split(gm: GraphModule) -> tuple[GraphModule, GraphModule] | None:
    """(the graph without its last views, the views): results that are views of inputs, or of one another, are taken outside.

    The second graph gets the inputs, then the results of the first. None where there are no such results.
    """
    output = gm.graph.output_node()
    outs = [n for n in output.args[0] if isinstance(n, Node)]
    nodes = list(gm.graph.nodes)
    places = [n for n in nodes if n.op == "placeholder"]
    memory = roots(nodes)
    count: dict[Node, int] = {}
    for n in dict.fromkeys(outs):
        count[memory[n]] = count.get(memory[n], 0) + 1
    late = {n for n in outs if memory[n] is not n and (memory[n] in places or count[memory[n]] > 1 or _repeats(n))}
    if not late:
        return None
    if gm.meta.get("live"):
        changed = {memory[n] for n in nodes if writes(n)}
        if any(memory[n] in changed for n in late) or any(_switches(n) for n in nodes):
            raise Unsupported("a result with a history is a view of what is written, or of another grad mode")
    kept = list(dict.fromkeys(memory[n] if n in late else n for n in outs))
    kept = [n for n in kept if n not in places]
    first, views = Graph(), Graph()
    env: dict[Node, Node] = {}
    for n in nodes:
        if n is not output:
            env[n] = first.node_copy(n, lambda x: env[x])
            env[n].meta = dict(n.meta)
    first.output(tuple(env[n] for n in kept))
    there = {n: views.placeholder(f"given_{i}") for i, n in enumerate(places)}
    there |= {n: views.placeholder(f"made_{i}") for i, n in enumerate(kept)}

    def taken(n: Node) -> Node:
        if n not in there:
            if writes(n):
                there[n] = taken(n.args[0])
            elif not _views(n):
                raise Unsupported("a view that is made with other results")
            else:
                there[n] = views.node_copy(n, taken)
        return there[n]

    views.output(tuple(taken(n) if isinstance(n, Node) else n for n in output.args[0]))
    inner = GraphModule(gm, first)
    first.eliminate_dead_code(lambda n: n.op in ("placeholder", "output") or _effect(n))
    inner.recompile()
    inner.meta.update((k, v) for k, v in gm.meta.items() if k != "lent")  # results have other numbers
    return inner, GraphModule(gm, views)


def _repeats(n: Node) -> bool:
    """Whether elements of a view lie in one place: memory of its own would hold each of them."""
    a = n.meta["val"]._a
    return any(s == 0 and size != 1 for size, s in zip(a.shape, a.strides, strict=True))


def _switches(n: Node) -> bool:
    return n.op == "call_function" and not isinstance(n.target, OpOverload) and n.target is not operator.getitem


def _effect(n: Node) -> bool:
    if isinstance(n.target, OpOverload) and (n.target.is_write or n.target.is_random or asserts(n.target)):
        return True
    return _switches(n) or looks(n.target, n.meta.get("val"))


def with_views(run: Callable[..., Sequence[Any]], views: GraphModule) -> Callable[..., Sequence[Any]]:
    """A program, and then the views."""
    forward = views.forward

    def call(*inputs: Any) -> Any:
        made: Any = run(*inputs)
        return made if made is REFUSED else forward(*inputs, *made)

    call.writes = getattr(run, "writes", False)  # type: ignore[attr-defined]
    return call


def uncounted(run: Callable[..., Sequence[Any]], gm: GraphModule) -> Callable[..., Sequence[Any]]:
    """Eager operators, without the count of what they write: whoever calls the graph counts."""
    places = list(written(gm))

    def call(*inputs: Any) -> Any:
        counters = [counter(inputs[i]) for i in places]
        before = [c[0] for c in counters]
        made = run(*inputs)
        for c, n in zip(counters, before, strict=True):
            c[0] = n
        return made

    call.writes = True  # type: ignore[attr-defined]
    return call if places else run


# ---------------------------------------------------------------- inputs that overlap


def counter(t: Any) -> list[int]:
    """The counter of a tensor's versions."""
    if t._vc is None:
        t._vc = [0]
    return t._vc


class Memory:
    """Where the inputs lie that are the same at each call: those that are written, and the others."""

    def __init__(self, written: tuple[Any, ...], others: tuple[Any, ...]) -> None:
        self.written, self.others = written, others
        self.overlap = overlapping(written, others)
        owners = [memory_of(a) for a in written]
        self._written = {id(o) for o in owners}
        owners += [memory_of(a) for a in others]
        self._all = {id(o) for o in owners}
        self._lent = any(o.base is not None for o in owners)

    def meets(self, written: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
        """Whether, with these besides, something that is written overlaps something else."""
        seen = {*self._written} if written else self._written  # hot: once per call of a program that writes
        apart = not self._lent
        for a in written:
            owner = memory_of(a)
            apart = apart and owner.base is None and id(owner) not in seen and id(owner) not in self._all
            seen.add(id(owner))
        for a in others:
            owner = a if a.base is None else memory_of(a)
            apart = apart and owner.base is None and id(owner) not in seen
        return not apart and overlapping((*self.written, *written), (*self.others, *others))


def overlapping(written: Iterable[Any], others: Iterable[Any]) -> bool:
    """Whether the stretch of memory of one that is written meets that of another array."""
    stretches = [(*s, True) for a in written if (s := _stretch(a))] + [
        (*s, False) for a in others if (s := _stretch(a))
    ]
    reached = reached_written = 0
    for start, end, writes in sorted(stretches):
        if start < (reached if writes else reached_written):
            return True
        reached = max(reached, end)
        reached_written = max(reached_written, end) if writes else reached_written
    return False


def _stretch(a: Any) -> tuple[int, int] | None:
    """The first byte of an array, and the one after its last."""
    if a.size == 0:
        return None
    start = end = a.__array_interface__["data"][0]
    for n, step in zip(a.shape, a.strides, strict=True):
        if step < 0:
            start += (n - 1) * step
        else:
            end += (n - 1) * step
    return start, end + a.itemsize


__all__ = ["Memory", "counter", "overlapping", "roots", "split", "uncounted", "with_views", "writes", "written"]
