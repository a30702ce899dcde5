"""SubgraphMatcher: the parts of a graph that look like a pattern."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from typing import Any

from flambeau.fx.graph import Graph
from flambeau.fx.node import Node

__all__ = ["InternalMatch", "SubgraphMatcher"]


@dataclass
class InternalMatch:
    """A place where the pattern was found: the graph's node for each of the pattern's."""

    anchors: list[Node]  # the pattern's last nodes, where the search began
    nodes_map: dict[Node, Node] = field(default_factory=dict)
    placeholder_nodes: list[Node] = field(default_factory=list)  # what flows in
    returning_nodes: list[Node] = field(default_factory=list)  # what flows out
    name_node_map: dict[str, Node] = field(default_factory=dict)

    def __copy__(self) -> InternalMatch:
        return InternalMatch(
            self.anchors, self.nodes_map.copy(), self.placeholder_nodes.copy(), self.returning_nodes.copy()
        )


class SubgraphMatcher:
    """Finds a pattern in graphs, from its last nodes upwards.

    Args:
        pattern: a graph without dead nodes.
        match_output, match_placeholder: whether outputs match only outputs, and placeholders only placeholders.
        remove_overlapping_matches: whether of matches that share nodes only the first counts.
        ignore_literals: whether numbers and strings match all others.
    """

    def __init__(self, pattern: Graph, match_output: bool = False, match_placeholder: bool = False,
                 remove_overlapping_matches: bool = True, ignore_literals: bool = False) -> None:  # fmt: skip
        self.pattern, self.match_output, self.match_placeholder = pattern, match_output, match_placeholder
        self.remove_overlapping_matches, self.ignore_literals = remove_overlapping_matches, ignore_literals
        nodes = list(pattern.nodes)
        if not nodes:
            raise ValueError("SubgraphMatcher cannot be initialized with an empty pattern")
        for node in nodes:
            if node.op != "output" and not node.users:
                raise AssertionError("SubgraphMatcher cannot be initialized with an pattern with dead code")
        self.pattern_placeholder_nodes = [n for n in nodes if n.op == "placeholder"]
        output = next(iter(reversed(nodes)))
        self.pattern_returning_nodes: list[Node] = output.all_input_nodes
        if match_output:
            self.pattern_anchors = [output]
        else:
            self.pattern_anchors = [n for n in output.all_input_nodes if len(n.users) == 1]

    def match(self, graph: Graph, node_name_match: str = "") -> list[InternalMatch]:
        """All places where the pattern stands in a graph."""
        candidates = [
            [n for n in graph.nodes if self._nodes_are_equal(anchor, n, node_name_match)]
            for anchor in self.pattern_anchors
        ]
        found = []
        for places in itertools.product(*candidates):
            trial: InternalMatch | None = InternalMatch(self.pattern_anchors)
            for anchor, place in zip(self.pattern_anchors, places):
                trial = self._matched(anchor, place, trial, node_name_match)
                if trial is None:
                    break
            if trial is not None and all(n in trial.nodes_map for n in self.pattern_placeholder_nodes):
                trial.placeholder_nodes = [trial.nodes_map[n] for n in self.pattern_placeholder_nodes]
                trial.returning_nodes = [trial.nodes_map[n] for n in self.pattern_returning_nodes]
                if self._is_contained(trial.nodes_map):
                    found.append(trial)
        return self._remove_overlapping_matches(found) if self.remove_overlapping_matches else found

    def _nodes_are_equal(self, pn: Node, gn: Node, node_name_match: str = "") -> bool:
        if not self.match_placeholder and pn.op == "placeholder":
            return True
        if node_name_match and node_name_match in gn.name:
            return True
        if pn.op != gn.op:
            return False
        if pn.op in ("placeholder", "output"):
            return True
        return self._match_attributes(pn, gn) if pn.op == "get_attr" else pn.target == gn.target

    def _match_attributes(self, pn: Node, gn: Node) -> bool:
        values = []
        for node in (pn, gn):
            owner: Any = node.graph.owning_module
            for step in str(node.target).split("."):
                owner = getattr(owner, step, None)
            values.append(owner)
        return values[0] is not None and type(values[0]) is type(values[1])

    def _is_contained(self, nodes_map: dict[Node, Node]) -> bool:
        """Whether nothing outside uses what lies inside, but for the results."""
        inside = {gn for pn, gn in nodes_map.items() if pn.op != "placeholder"}
        inner = [
            gn
            for pn, gn in nodes_map.items()
            if pn.op not in ("placeholder", "output") and pn not in self.pattern_returning_nodes
        ]
        return all(user in inside for gn in inner for user in gn.users)

    def _remove_overlapping_matches(self, matches: list[InternalMatch]) -> list[InternalMatch]:
        kept, taken = [], set()
        for m in matches:
            own = {gn for pn, gn in m.nodes_map.items() if pn.op not in ("placeholder", "output")}
            if not own & taken:
                taken |= own
                kept.append(m)
        return kept

    def _matched(self, pn: Node, gn: Any, so_far: InternalMatch | None, name: str) -> InternalMatch | None:
        """The match with one more node of the pattern, and all it needs; None if they differ."""
        assert so_far is not None
        if isinstance(pn, Node) and not isinstance(gn, Node):
            if self.match_placeholder or pn.op != "placeholder" or pn in so_far.nodes_map:
                return None
            trial = copy.copy(so_far)
            trial.nodes_map[pn] = gn
            return trial
        if pn in so_far.nodes_map:
            return so_far if so_far.nodes_map[pn] is gn else None
        if gn in so_far.nodes_map.values() and pn.op != "placeholder":
            return None
        if not self._nodes_are_equal(pn, gn, name):
            return None
        trial = copy.copy(so_far)
        trial.nodes_map[pn] = gn
        if pn.op == "placeholder":
            return trial
        return self._arguments((pn.args, pn.kwargs), (gn.args, gn.kwargs), trial, name)

    def _arguments(self, p: Any, g: Any, so_far: InternalMatch | None, name: str) -> InternalMatch | None:
        if isinstance(p, Node):
            return self._matched(p, g, so_far, name)
        if isinstance(g, Node):
            return None
        if isinstance(p, (list, tuple)):
            if not isinstance(g, (list, tuple)) or len(p) != len(g):
                return None
            pairs = list(zip(p, g))
        elif isinstance(p, dict):
            if not isinstance(g, dict) or p.keys() != g.keys():
                return None
            pairs = [(p[k], g[k]) for k in p]
        else:
            return so_far if self.ignore_literals or (type(p) is type(g) and p == g) else None
        for a, b in pairs:
            so_far = self._arguments(a, b, so_far, name)
            if so_far is None:
                return None
        return so_far
