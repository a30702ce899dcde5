"""Groups of nodes become submodules."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node
from flambeau.fx.passes.tools_common import stable_topological_sort
from flambeau.fx.passes.utils.common import lift_subgraph_as_module


def topo_sort(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, each after those of them that it uses."""
    inside = set(nodes)
    waiting = {n: sum(u in inside for u in n.all_input_nodes) for n in nodes}
    ready = [n for n in nodes if not waiting[n]]
    done: list[Node] = []
    while ready:
        done.append(min(ready))  # the order of the graph, as far as it goes
        ready.remove(done[-1])
        for user in done[-1].users:
            if user in inside:
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
    if len(done) != len(nodes):
        raise AssertionError("topological sorted nodes doesn't have same length as input nodes")
    return done


def validate_partition(partition: Iterable[Node]) -> bool:
    """Whether nodes can become one: no way leads out of them and back in."""
    inside = set(partition)
    seen: set[Node] = set()
    ways = [user for n in inside for user in n.users if user not in inside]
    while ways:
        node = ways.pop()
        if node in inside:
            return False
        if node not in seen:
            seen.add(node)
            ways += node.users
    return True


def fuse_as_graphmodule(gm: GraphModule, nodes: Sequence[Node], module_name: str, partition_lookup_table: Mapping[Node, Any] | None = None, *,
                        always_return_tuple: bool = False) -> tuple[GraphModule, tuple[Node, ...], tuple[Node, ...]]:  # fmt: skip
    """Sorted nodes as a module, with the graph's nodes that it takes and those that it gives."""
    for node in nodes:
        if node.graph.owning_module is not gm:
            raise AssertionError(f"{node} doesn't belong to passed in graph module {gm._get_name()}")
        if node._erased:
            raise AssertionError(f"{node} has been removed from owning graph")
    if not validate_partition(nodes):
        raise AssertionError("Invalid partition, found dependency cycles")
    inside = set(nodes)
    graph, env, inputs = Graph(), {}, {}

    def value(n: Node) -> Node:
        if n not in env:
            env[n] = graph.placeholder(n.name, type_expr=n.type)
            env[n].meta = dict(n.meta)
            inputs[n] = env[n]
        return env[n]

    for node in nodes:
        env[node] = graph.node_copy(node, value)
    outputs = {n: env[n] for n in nodes if any(u not in inside for u in n.users)}
    outs = tuple(outputs.values())
    graph.output(outs[0] if len(outs) == 1 and not always_return_tuple else outs)
    graph.lint()
    made, _ = lift_subgraph_as_module(gm, graph, comp_name="", class_name=module_name)
    return made, tuple(inputs), tuple(outputs)


def insert_subgm(gm: GraphModule, sub_gm: GraphModule, orig_inputs: tuple[Node, ...], orig_outputs: tuple[Node, ...], insertion_point: Node | None = None) -> GraphModule:  # fmt: skip
    """Adds a module, and its call in place of the nodes that gave its results."""
    name = type(sub_gm).__name__
    gm.add_submodule(name, sub_gm)
    before = next(iter(orig_outputs[0].users)) if insertion_point is None else insertion_point.next
    with gm.graph.inserting_before(before):
        call = gm.graph.call_module(name, orig_inputs)
        last = next(iter(reversed(sub_gm.graph.nodes)))
        if len(orig_outputs) == 1 and not isinstance(last.args[0], tuple):
            orig_outputs[0].replace_all_uses_with(call, propagate_meta=True)
        else:
            for i, old in enumerate(orig_outputs):
                part = gm.graph.call_function(operator.getitem, (call, i))
                old.replace_all_uses_with(part, propagate_meta=True)
            call.meta["val"] = tuple(old.meta.get("val") for old in orig_outputs)
    return gm


def erase_nodes(gm: GraphModule, nodes: Sequence[Node]) -> None:
    """Takes sorted nodes out of a graph."""
    for node in reversed(nodes):
        gm.graph.erase_node(node)


def fuse_by_partitions(gm: GraphModule, partitions: Sequence[Mapping[Node, Any]], prefix: str = "fused_", always_return_tuple: bool = False) -> GraphModule:  # fmt: skip
    """Each group of nodes becomes one submodule: `fused_0`, `fused_1`, ..."""
    for i, partition in enumerate(partitions):
        nodes = topo_sort(list(partition))
        made, inputs, outputs = fuse_as_graphmodule(gm, nodes, f"{prefix}{i}", always_return_tuple=always_return_tuple)
        insert_subgm(gm, made, inputs, outputs, nodes[-1])
        erase_nodes(gm, nodes)
    return stable_topological_sort(gm)
