"""split_module: one graph becomes several submodules and a graph that calls them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flambeau import nn
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule, _copy_attr
from flambeau.fx.node import Node, map_arg


class Partition:
    """The nodes of one submodule, what comes in and what goes out."""

    def __init__(self, name: str) -> None:
        self.name, self.submod_name = name, f"submod_{name}"
        self.nodes: list[Node] = []
        self.inputs: dict[Node, None] = {}
        self.outputs: dict[Node, None] = {}
        self.needs: dict[str, None] = {}


def split_module(m: GraphModule, root_m: nn.Module, split_callback: Callable[[Node], int | str], qualname_map: dict[str, str] | None = None,
                 keep_original_order: bool | None = False, keep_original_node_name: bool | None = False,
                 keep_original_input_name: bool = True, *, partition_affix: str | None = None) -> GraphModule:  # fmt: skip
    """Split a module's graph: `split_callback(node)` names the partition of each node."""
    parts: dict[str, Partition] = {}
    where: dict[Node, str] = {}
    for node in m.graph.nodes:
        if node.op in ("placeholder", "output", "get_attr"):
            continue
        key = str(split_callback(node))
        part = parts.setdefault(key, Partition(f"{partition_affix}_{key}" if partition_affix else key))
        part.nodes.append(node)
        where[node] = key
    for node, key in where.items():
        for used in node.all_input_nodes:
            if where.get(used) == key:
                continue
            parts[key].inputs[used] = None
            if used in where:
                parts[where[used]].outputs[used] = None
                parts[key].needs[where[used]] = None
    for used in m.graph.output_node().all_input_nodes:
        if used in where:
            parts[where[used]].outputs[used] = None
    base = Graph()
    env: dict[Node, Any] = {}
    shell = nn.Module()
    for node in m.graph.nodes:
        if node.op == "placeholder":
            env[node] = base.node_copy(node, lambda n: env[n])

    def value(n: Node) -> Any:
        if n not in env:
            _copy_attr(root_m, shell, str(n.target))
            env[n] = base.get_attr(str(n.target))
            env[n].meta = dict(n.meta)
        return env[n]

    if not keep_original_order:
        for node in m.graph.nodes:
            if node.op == "get_attr":
                value(node)
    for key in parts if keep_original_order else _ordered(parts):
        part = parts[key]
        for used in part.inputs:
            if used.op == "get_attr":
                value(used)
        _call(
            part,
            _submodule(part, root_m, {} if qualname_map is None else qualname_map, bool(keep_original_node_name)),
            base,
            env,
            shell,
        )

    old = m.graph.output_node()
    made = base.output(map_arg(old.args[0], value))
    made.meta = dict(old.meta)
    return GraphModule(shell, base)


def _ordered(parts: dict[str, Partition]) -> list[str]:
    """Partitions, each after those whose results it uses; among free ones the last comes first, as in PyTorch."""
    needs = {key: set(part.needs) for key, part in parts.items()}
    free = [key for key, others in needs.items() if not others]
    done: list[str] = []
    while free:
        key = free.pop()
        done.append(key)
        for other in parts:
            if key in needs[other]:
                needs[other].discard(key)
                if not needs[other]:
                    free.append(other)
    if len(done) != len(parts):
        raise RuntimeError("cycle exists between partitions!")
    return done


def _submodule(part: Partition, root: nn.Module, names: dict[str, str], keep: bool) -> GraphModule:
    graph: Graph = Graph()
    env: dict[Node, Node] = {}
    shell = nn.Module()
    for used in part.inputs:
        env[used] = graph.placeholder(used.name, type_expr=used.type)
        env[used].meta = dict(used.meta)

    for node in part.nodes:
        target = node.target
        if node.op == "call_module":
            target = str(node.target).replace(".", "_")
            setattr(shell, target, root.get_submodule(str(node.target)))
            names[f"{part.submod_name}.{target}"] = str(node.target)
        args, kwargs = map_arg(node.args, env.__getitem__), map_arg(node.kwargs, env.__getitem__)
        env[node] = graph.create_node(node.op, target, args, kwargs, node.name if keep else None, node.type)
        env[node].meta = dict(node.meta)
    outs = tuple(env[n] for n in part.outputs)
    if outs:
        graph.output(outs if len(outs) > 1 else outs[0])
    else:
        graph.output(())
    return GraphModule(shell, graph)


def _call(part: Partition, made: GraphModule, base: Graph, env: dict[Node, Any], shell: nn.Module) -> None:
    setattr(shell, part.submod_name, made)
    node = base.call_module(part.submod_name, tuple(env[n] for n in part.inputs))
    outs = list(part.outputs)
    if len(outs) == 1:
        env[outs[0]] = node
        node.meta = dict(outs[0].meta)
        return
    for i, n in enumerate(outs):
        env[n] = base.call_function(operator.getitem, (node, i))
        env[n].meta = dict(n.meta)
