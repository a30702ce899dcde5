"""CapabilityBasedPartitioner: groups of nodes, as large as possible, that a backend supports."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node, _get_qualified_name
from flambeau.fx.passes.operator_support import OperatorSupportBase
from flambeau.fx.passes.utils.fuser_utils import fuse_by_partitions, validate_partition


class Partition:
    """A group of nodes."""

    def __init__(
        self, id: int | None = None, nodes: Iterable[Node] | None = None, node_orders: Iterable[int] | None = None
    ) -> None:
        self.id = id
        self.nodes: dict[Node, Any] = {}
        if nodes is not None:
            self.nodes = dict.fromkeys(nodes) if node_orders is None else dict(zip(nodes, node_orders))

    def __repr__(self) -> str:
        return str(self.nodes)

    def add_node(self, node: Node, node_order: int | None = None) -> None:
        """One more node."""
        self.nodes[node] = node_order

    def remove_node(self, node: Node) -> None:
        """One node less."""
        del self.nodes[node]

    def size(self) -> int:
        """How many nodes there are."""
        return len(self.nodes)


class CapabilityBasedPartitioner:
    """Groups the supported nodes of a graph, from its end to its start, where no way leads out of a group and back in.

    Args:
        graph_module: the graph.
        operator_support: which nodes are supported.
        allows_single_node_partition: whether one node alone is a group.
        non_compute_ops: names of functions that count for nothing: a group of them alone is none.
        allowed_single_node_partition_ops: names of functions that are a group alone.
    """

    def __init__(self, graph_module: GraphModule, operator_support: OperatorSupportBase, allows_single_node_partition: bool = False,
                 non_compute_ops: Sequence[str] | None = None, allowed_single_node_partition_ops: Sequence[str] | None = None,
                 skip_horizontal_fusion: bool = False) -> None:  # fmt: skip
        self.graph_module, self.operator_support = graph_module, operator_support
        self.allows_single_node_partition = allows_single_node_partition
        self.non_compute_ops = non_compute_ops or []
        self.allowed_single_node_partition_ops = allowed_single_node_partition_ops or []
        self.skip_horizontal_fusion = skip_horizontal_fusion

    def _is_node_supported(self, node: Node) -> bool:
        return self.operator_support.is_node_supported(dict(self.graph_module.named_modules()), node)

    def propose_partitions(self) -> list[Partition]:
        """The groups."""
        groups: dict[int, list[Node]] = {}
        where: dict[Node, int] = {}
        for order, node in enumerate(reversed(self.graph_module.graph.nodes)):
            near: dict[int, None] = {}
            if self._is_node_supported(node) and node.op not in ("placeholder", "output") and node not in where:
                groups[order], where[node] = [node], order
                near[order] = None
            elif self.skip_horizontal_fusion:
                continue
            for user in node.users:
                if user in where:
                    near[where[user]] = None
            first, *others = near or {-1: None}
            for other in others:
                if validate_partition(groups[first] + groups[other]):
                    for n in groups[other]:
                        where[n] = first
                    groups[first] += groups.pop(other)
        self._gather_items(groups, where)
        if not self.allows_single_node_partition:
            plain = {"torch.ops.aten.view", "_operator.getitem", *self.non_compute_ops}
            for key, nodes in list(groups.items()):
                names = [_name(n) for n in nodes if n.op == "call_function"]
                counted = sum(name not in plain for name in names) + sum(n.op != "call_function" for n in nodes)
                if counted <= 1 and not any(name in self.allowed_single_node_partition_ops for name in names):
                    del groups[key]
        return [Partition(key, nodes) for key, nodes in groups.items() if nodes]

    def _gather_items(self, groups: dict[int, list[Node]], where: dict[Node, int]) -> None:
        """Parts of a result stand with what gives it."""
        for node in self.graph_module.graph.nodes:
            if not node.users or any(u.op != "call_function" or u.target is not operator.getitem for u in node.users):
                continue
            source = where.get(node)
            for part in node.users:
                old = where.pop(part, None)
                if old is not None:
                    groups[old].remove(part)
                if source is not None:
                    groups[source].append(part)
                    where[part] = source

    def fuse_partitions(self, partitions: list[Partition], prefix: str = "fused_") -> GraphModule:
        """The graph with a submodule for each group."""
        return fuse_by_partitions(self.graph_module, [p.nodes for p in partitions], prefix=prefix)

    def remove_bookend_non_compute_ops(self, partitions: list[Partition]) -> None:
        """Takes functions that count for nothing from the ends of the groups."""
        skip = set(self.non_compute_ops)
        for partition in partitions:
            changed = True
            while changed:
                changed = False
                for node in list(partition.nodes):
                    ends = (
                        all(u not in partition.nodes for u in node.users),
                        all(i not in partition.nodes for i in node.all_input_nodes),
                    )
                    if node.op == "call_function" and _name(node) in skip and any(ends):
                        partition.remove_node(node)
                        changed = True

    def partition_and_fuse(self, prefix: str = "fused_") -> GraphModule:
        """Both steps."""
        return self.fuse_partitions(self.propose_partitions(), prefix=prefix)


def _name(node: Node) -> str:
    if getattr(node.target, "__module__", None) == "_operator":
        return f"_operator.{node.target.__name__}"  # type: ignore[union-attr]
    return _get_qualified_name(node.target)  # type: ignore[arg-type]
