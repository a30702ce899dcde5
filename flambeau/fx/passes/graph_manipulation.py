"""Other targets for nodes of a graph, and how many bytes nodes hold."""

from __future__ import annotations

from typing import Any, NamedTuple

from flambeau.fx.graph import Graph
from flambeau.fx.node import Node, map_arg
from flambeau.fx.passes.shape_prop import ShapeProp

__all__ = ["replace_target_nodes_with", "size_bytes", "get_size_of_all_nodes", "get_tensor_meta", "get_size_of_node"]


def replace_target_nodes_with(fx_module: Any, old_op: str, old_target: Any, new_op: str, new_target: Any) -> None:
    """Have all nodes of one kind and target be of another.

    >>> import flambeau as torch
    >>> gm = torch.fx.symbolic_trace(lambda x: torch.relu(x))
    >>> replace_target_nodes_with(gm, "call_function", torch.relu, "call_function", torch.neg)
    >>> gm(torch.ones(2))
    tensor([-1., -1.])
    """
    graph = Graph()
    copies: dict[Node, Node] = {}
    for node in fx_module.graph.nodes:
        if (node.op, node.target) == (old_op, old_target):
            args, kwargs = (map_arg(x, copies.__getitem__) for x in (node.args, node.kwargs))
            copies[node] = graph.create_node(new_op, new_target, args, kwargs, node.name)
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    fx_module.graph = graph


class size_bytes(NamedTuple):
    """The bytes of what a node gives, and those with its module's parameters."""

    output_size: int
    total_size: int


def get_size_of_all_nodes(fx_module: Any, args: Any = None) -> None:
    """Give every node its `size_bytes`; with example inputs, which are run through the graph first."""
    if args is not None:
        ShapeProp(fx_module).propagate(*args)
    for node in fx_module.graph.nodes:
        if node.op == "output":
            break
        node.size_bytes = get_size_of_node(fx_module, node)


def get_tensor_meta(node: Node) -> Any:
    """What shape propagation noted of a node's result."""
    meta = node.meta.get("tensor_meta")
    if not meta:
        raise RuntimeError(
            f"Node {node} has no tensor metadata associated with it! Check that shape propagation has run."
        )
    return meta


def get_size_of_node(fx_module: Any, node: Node) -> size_bytes:
    """The bytes of one node, once shapes have been propagated."""
    held = 0
    if node.op == "call_module":
        held = sum(p.numel() for p in dict(fx_module.named_modules())[node.target].parameters())
    meta = get_tensor_meta(node)
    given = meta.shape.numel()
    each = meta.dtype.itemsize
    return size_bytes(each * given, each * (held + given))
