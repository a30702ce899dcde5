"""Graphs for inference: norms that become part of the layers before them, dropout that is left out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from flambeau import fx, nn
from flambeau.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

__all__ = ["extract_subgraph", "fuse", "matches_module_pattern", "remove_dropout", "replace_node_module"]

_PAIRS = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d), (nn.Linear, nn.BatchNorm1d))  # fmt: skip


def matches_module_pattern(pattern: Iterable[type], node: Any, modules: dict[str, Any]) -> bool:
    """Whether a node, and what it is first given, call modules of these two classes."""
    if not node.args:
        return False
    calls = (node.args[0], node)
    return all(
        isinstance(n, fx.Node) and n.op == "call_module" and type(modules.get(str(n.target))) is cls
        for cls, n in zip(pattern, calls, strict=False)
    )


def replace_node_module(node: Any, modules: dict[str, Any], new_module: Any) -> None:
    """Put another module where a node calls one."""
    owner, _, name = str(node.target).rpartition(".")
    modules[node.target] = new_module
    setattr(modules[owner], name, new_module)


def fuse(model: Any, inplace: bool = False, no_trace: bool = False) -> Any:
    """The model in evaluation mode, with each batch norm made part of the convolution or linear layer before it.

    Args:
        inplace: change the model's own layers.
        no_trace: the model is a graph already.
    """
    model = model if inplace else copy.deepcopy(model)
    traced = model if no_trace and isinstance(model, fx.GraphModule) else fx.symbolic_trace(model)
    modules: dict[str, Any] = dict(traced.named_modules())
    graph = copy.deepcopy(traced.graph)
    for pair in _PAIRS:
        for node in graph.nodes:
            if not matches_module_pattern(pair, node, modules) or len(node.args[0].users) > 1:
                continue
            layer, norm = modules[node.args[0].target], modules[node.target]
            if norm.track_running_stats:
                join = fuse_linear_bn_eval if pair[0] is nn.Linear else fuse_conv_bn_eval
                replace_node_module(node.args[0], modules, join(layer, norm))
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
    return fx.GraphModule(traced, graph)


def remove_dropout(model: Any) -> Any:
    """The model without its dropout layers."""

    class Without(fx.Transformer):
        def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
            return args[0] if isinstance(self.submodules[target], nn.Dropout) else super().call_module(target, args, kwargs)  # fmt: skip

    return Without(fx.symbolic_trace(model)).transform()


def extract_subgraph(orig_module: Any, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Any:
    """A module of some of a graph's nodes, with inputs and results of its own."""
    graph, known = fx.Graph(), {}
    for node in inputs:
        known[node] = graph.placeholder(node.name)
    for node in nodes:
        known[node] = graph.node_copy(node, lambda n: known[n])
    graph.output([known[n] for n in outputs])
    graph.lint()
    return fx.GraphModule(orig_module, graph)
