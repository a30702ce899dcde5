"""Graphs as modules of their own, and whether two graphs are alike."""

from __future__ import annotations

from typing import Any

from flambeau import nn
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.passes.utils.matcher_utils import SubgraphMatcher

__all__ = ["HolderModule", "compare_graphs", "lift_subgraph_as_module"]


class HolderModule(nn.Module):
    """Modules by name."""

    def __init__(self, d: dict[str, Any]) -> None:
        super().__init__()
        for name, module in d.items():
            self.add_module(name, module)


def lift_subgraph_as_module(gm: GraphModule, subgraph: Graph, comp_name: str = "", class_name: str = "GraphModule") -> tuple[GraphModule, dict[str, str]]:  # fmt: skip
    """A module for a graph whose nodes come from `gm`, with the submodules and attributes that it uses; and their names before and after."""
    root, names = HolderModule({}), {}
    for node in subgraph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        *path, last = str(node.target).split(".")
        source, place = gm, root
        for step in path:
            source = getattr(source, step)
            if not hasattr(place, step):
                place.add_module(step, HolderModule({}))
            place = getattr(place, step)
        setattr(place, last, getattr(source, last))
        names[str(node.target)] = f"{comp_name}.{node.target}"
    return GraphModule(root, subgraph, class_name), names


def compare_graphs(left: Graph, right: Graph) -> bool:
    """Whether two graphs do the same, node for node."""
    return len(SubgraphMatcher(left, match_output=True, match_placeholder=True).match(right)) > 0
