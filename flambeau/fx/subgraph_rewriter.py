"""replace_pattern: every part of a graph that looks like one function becomes another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau import nn
from flambeau.fx._symbolic_trace import symbolic_trace
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node


class Match(NamedTuple):
    """Where a pattern was found: the pattern's own last node, and the graph's node for each of the pattern's."""

    anchor: Node
    nodes_map: dict[Node, Node]


class ReplacedPatterns(NamedTuple):
    """A match, and the nodes that replaced it."""

    anchor: Node
    nodes_map: dict[Node, Node]
    replacements: list[Node]


def replace_pattern(gm: GraphModule, pattern: Callable[..., Any] | GraphModule, replacement: Callable[..., Any] | GraphModule) -> list[Match]:  # fmt: skip
    """Replace each non-overlapping occurrence of `pattern`, a function of the values that flow in, by `replacement`."""
    found = _replace(gm, pattern, replacement, None, False)
    return [Match(m.anchor, m.nodes_map) for m in found]


def replace_pattern_with_filters(gm: GraphModule, pattern: Any, replacement: Any = None, match_filters: Any = None,
                                 ignore_literals: bool = False, replacement_callback: Any = None, node_name_match: str = "") -> list[ReplacedPatterns]:  # fmt: skip
    """The same, where every filter(match, graph, pattern graph) says yes."""
    return _replace(gm, pattern, replacement, match_filters, ignore_literals)


def _graph(fn: Any) -> Graph:
    if isinstance(fn, GraphModule):
        return fn.graph
    return fn if isinstance(fn, Graph) else symbolic_trace(fn).graph


def _replace(
    gm: GraphModule, pattern: Any, replacement: Any, filters: Any, ignore_literals: bool
) -> list[ReplacedPatterns]:
    shape, new = _graph(pattern), _graph(replacement)
    returned = _outputs(shape)
    taking, given = len(_placeholders(shape)), len(_placeholders(new))
    if taking != given:
        raise AssertionError(f"Placeholder count mismatch: {taking} vs {given}")
    out: list[ReplacedPatterns] = []
    taken: set[Node] = set()
    moved: dict[Node, Node] = {}
    matches: list[tuple[dict[Node, Node], list[Node]]] = []
    for node in gm.graph.nodes:  # all before anything changes: what replaces a match is no part of another
        found = _Matcher(shape, ignore_literals).match(returned, node, gm.graph)
        if found is None:
            continue
        inner = [n for p, n in found.items() if p.op not in ("placeholder", "output")]
        if taken & set(inner) or not _closed(inner, {found[r] for r in returned if r in found}):
            continue
        taken |= set(inner)
        matches.append((found, inner))
    anchor = next((r for r in returned if isinstance(r, Node)), None)
    for found, inner in matches:
        if filters and not all(f(Match(anchor, found), gm.graph, shape) for f in filters):  # type: ignore[arg-type]
            continue
        values: dict[Node, Any] = {}
        for p, q in zip(_placeholders(shape), _placeholders(new), strict=True):
            at = found[p]
            values[q] = found[p] = moved.get(at, at) if isinstance(at, Node) else at
        inside = set(inner)
        users = [u for r in returned for u in found[r].users if u not in inside]
        before = set(gm.graph.nodes)
        with gm.graph.inserting_before(min(users) if users else max(inner)):
            result = gm.graph.graph_copy(new, values)
        made = [n for n in gm.graph.nodes if n not in before]
        results = result if isinstance(result, (tuple, list)) else (result,)
        for r, value in zip(returned, results, strict=True):
            found[r].replace_all_uses_with(value)
            moved[found[r]] = value
        for n in sorted(inner, reverse=True):
            if not n.users:
                gm.graph.erase_node(n)
        out.append(ReplacedPatterns(anchor, found, made))  # type: ignore[arg-type]
    if out:
        if isinstance(replacement, nn.Module):
            for n in new.nodes:
                if n.op in ("call_module", "get_attr") and not hasattr(gm, str(n.target).split(".")[0]):
                    name = str(n.target).split(".")[0]
                    setattr(gm, name, copy.deepcopy(getattr(replacement, name)))
        gm.recompile()
    return out


def _placeholders(g: Graph) -> list[Node]:
    return [n for n in g.nodes if n.op == "placeholder"]


def _outputs(g: Graph) -> list[Node]:
    value = g.output_node().args[0]
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _closed(inner: list[Node], results: set[Node]) -> bool:
    """Whether nothing outside uses what lies inside, but for the results."""
    inside = set(inner)
    return all(n in results or set(n.users) <= inside for n in inner)


class _Matcher:
    """Compares a pattern with a graph, from the results upwards."""

    def __init__(self, shape: Graph, ignore_literals: bool) -> None:
        self.shape, self.ignore_literals = shape, ignore_literals
        self.found: dict[Node, Any] = {}

    def match(self, returned: list[Node], node: Node, graph: Graph) -> dict[Node, Any] | None:
        last = returned[-1]
        if not self.same(last, node):
            return None
        for other in reversed(returned[:-1]):
            if other in self.found:
                continue
            before = dict(self.found)
            for candidate in graph.nodes:
                if self.same(other, candidate):
                    break
                self.found = dict(before)
            else:
                return None
        return self.found if all(p in self.found for p in _placeholders(self.shape)) else None

    def same(self, p: Node, n: Any) -> bool:
        if p in self.found:
            return self.found[p] is n
        if p.op == "placeholder":
            self.found[p] = n
            return True
        if not isinstance(n, Node) or p.op != n.op or (p.op != "get_attr" and p.target != n.target):
            return False
        if p.op == "call_module":
            a, b = (x.graph.owning_module for x in (p, n))
            if (
                a is not None
                and b is not None
                and type(a.get_submodule(p.target)) is not type(b.get_submodule(n.target))
            ):
                return False
        self.found[p] = n
        if self.alike((p.args, p.kwargs), (n.args, n.kwargs)):
            return True
        del self.found[p]
        return False

    def alike(self, a: Any, b: Any) -> bool:
        if isinstance(a, Node):
            return self.same(a, b)
        if isinstance(a, (tuple, list)):
            return isinstance(b, (tuple, list)) and len(a) == len(b) and all(self.alike(x, y) for x, y in zip(a, b))
        if isinstance(a, dict):
            return isinstance(b, dict) and a.keys() == b.keys() and all(self.alike(a[k], b[k]) for k in a)
        if isinstance(a, slice):
            return isinstance(b, slice) and self.alike((a.start, a.stop, a.step), (b.start, b.stop, b.step))
        if isinstance(b, Node):
            return False
        return self.ignore_literals or (type(a) is type(b) and a == b)
