"""What passes share: names of targets, the order of nodes."""

from __future__ import annotations

import collections
import heapq
import operator
from collections.abc import Mapping
from typing import Any

import flambeau
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node, _get_qualified_name

__all__ = [
    "FxNetAccFusionsFinder",
    "get_acc_ops_name",
    "get_node_target",
    "is_node_output_tensor",
    "legalize_graph",
    "stable_topological_sort",
]

Tensors = tuple[flambeau.Tensor] | list[flambeau.Tensor]
TensorOrTensors = flambeau.Tensor | Tensors
NodeList = list[Node]
NodeSet = set[Node]
Names = list[str]
CALLABLE_NODE_OPS = {"call_module", "call_function", "call_method"}
# Computed as soon as they can be: sizes and what is asserted of them.
_SOON = [operator.add, operator.mul, operator.sub, operator.floordiv, operator.truediv, operator.mod, operator.le, operator.lt, operator.ge,
         operator.gt, operator.eq, operator.ne]  # fmt: skip


def get_acc_ops_name(k: Any) -> str:
    """The name under which a target stands in a table of supported operators."""
    if isinstance(k, str):
        return k
    module = k.__module__ or ""
    if "acc_ops" in module:
        return f"acc_ops.{k.__name__}"
    first, dot, rest = module.partition(".")
    return f"{'torch' if first == flambeau.__name__ else first}{dot}{rest}.{k.__name__}"


def get_node_target(submodules: Mapping[str, Any], node: Node) -> str:
    """What a node calls, as a name: of a module its class, of a function where it stands."""
    if node.op not in CALLABLE_NODE_OPS:
        raise AssertionError(f"Expect op types of {', '.join(CALLABLE_NODE_OPS)}, but found {node.op}")
    if node.op == "call_module":
        submodule = submodules[str(node.target)]
        return get_acc_ops_name(getattr(submodule, "_base_class_origin", type(submodule)))
    if node.op == "call_function":
        module = getattr(node.target, "__module__", None) or ""
        if "acc_ops" in module:
            return get_acc_ops_name(node.target)
        return f"_operator.{node.target.__name__}" if module == "_operator" else _get_qualified_name(node.target)  # type: ignore[union-attr, arg-type]
    return str(node.target)


def is_node_output_tensor(node: Node) -> bool:
    """Whether a node gives a tensor, as far as `ShapeProp` has seen."""
    kind = node.meta.get("type")
    return kind is not None and issubclass(kind, flambeau.Tensor)


class FxNetAccFusionsFinder:
    """Groups of nodes that must stay together for an accelerator."""

    def __init__(self, module: GraphModule, acc_nodes: NodeSet) -> None:
        raise NotImplementedError("torch.fx.passes.tools_common.FxNetAccFusionsFinder")


def legalize_graph(gm: GraphModule) -> GraphModule:
    """The nodes in an order in which each follows what it uses: breadth first, arithmetic as early as it can be."""
    waiting = {n: len(n._input_nodes) for n in gm.graph.nodes}
    ready = collections.deque(n for n in gm.graph.nodes if not waiting[n])

    def after(node: Node) -> None:
        for user in node.users:
            waiting[user] -= 1
            if not waiting[user] and user.target in _SOON:
                ready.appendleft(user)
            elif not waiting[user]:
                ready.append(user)

    order = []
    while ready:
        order.append(ready.popleft())
        after(order[-1])
    return _reordered(gm, order)


def stable_topological_sort(gm: GraphModule) -> GraphModule:
    """The same, where nodes change their places only if they must."""
    place = {n: i for i, n in enumerate(gm.graph.nodes)}
    waiting = {n: len(n._input_nodes) for n in place}
    ready = [(i, n) for n, i in place.items() if not waiting[n]]
    heapq.heapify(ready)
    order = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for user in node.users:
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (place[user], user))
    return _reordered(gm, order)


def _reordered(gm: GraphModule, order: list[Node]) -> GraphModule:
    done = set(order)
    left = [n for n in gm.graph.nodes if n not in done]
    if left:
        raise RuntimeError(f"Input graph has cycles, unable to add {left}")
    made, env = Graph(), {}
    made.set_codegen(gm.graph._codegen)
    for node in [n for n in order if n.op != "output"] + [n for n in order if n.op == "output"]:
        env[node] = made.node_copy(node, lambda n: env[n])
    gm.graph = made
    return gm
