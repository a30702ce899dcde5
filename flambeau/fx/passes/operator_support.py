"""Which nodes a backend can run: the answers from which a graph is cut into parts."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flambeau.fx.node import Node
from flambeau.fx.passes.shape_prop import TensorMetadata
from flambeau.fx.passes.tools_common import CALLABLE_NODE_OPS, get_node_target

__all__ = ["OpSupports", "OperatorSupport", "OperatorSupportBase", "any_chain", "chain", "create_op_support"]

TargetTypeName = str
SupportedArgumentDTypes = tuple[Sequence[Sequence[Any]], dict[str, Sequence[Any]]] | None
SupportDict = Mapping[TargetTypeName, SupportedArgumentDTypes]
IsNodeSupported = Callable[[Mapping[str, Any], Node], bool]


class OperatorSupportBase(abc.ABC):
    """Says of each node whether it is supported."""

    @abc.abstractmethod
    def is_node_supported(self, submodules: Mapping[str, Any], node: Node) -> bool:
        raise NotImplementedError


class OperatorSupport(OperatorSupportBase):
    """Supports what a table names: for each target None, or the dtypes of its arguments, by position and by name."""

    _support_dict: SupportDict

    def __init__(self, support_dict: SupportDict | None = None) -> None:
        self._support_dict = support_dict or {}

    def is_node_supported(self, submodules: Mapping[str, Any], node: Node) -> bool:
        if node.op not in CALLABLE_NODE_OPS:
            return True
        target = get_node_target(submodules, node)
        if target not in self._support_dict:
            return False
        allowed = self._support_dict[target]
        if allowed is None:
            return True
        positional, named = allowed
        given = [*zip(node.args, positional), *((node.kwargs[k], d) for k, d in named.items() if k in node.kwargs)]
        return all(dtypes is None or not isinstance(a, Node) or _get_arg_dtype(a) in dtypes for a, dtypes in given)


class _Decided(OperatorSupportBase):
    def __init__(self, decide: IsNodeSupported) -> None:
        self.decide = decide

    def is_node_supported(self, submodules: Mapping[str, Any], node: Node) -> bool:
        return self.decide(submodules, node)


def create_op_support(is_node_supported: IsNodeSupported) -> OperatorSupportBase:
    """The support that a function decides."""
    return _Decided(is_node_supported)


def chain(*op_support: OperatorSupportBase) -> OperatorSupportBase:
    """Supports what all support."""
    return _Decided(lambda submodules, node: all(s.is_node_supported(submodules, node) for s in op_support))


def any_chain(*op_support: OperatorSupportBase) -> OperatorSupportBase:
    """Supports what one of them supports."""
    return _Decided(lambda submodules, node: any(s.is_node_supported(submodules, node) for s in op_support))


class OpSupports:
    """Supports that are often asked for."""

    @classmethod
    def decline_if_input_dtype(cls, dtype: Any) -> OperatorSupportBase:
        """Not where an input has this dtype."""
        return _Decided(lambda _, node: all(_get_arg_dtype(a) != dtype for a in node.all_input_nodes))

    @classmethod
    def decline_if_node_in_names(cls, disallow_set: set[str]) -> OperatorSupportBase:
        """Not where the node has one of these names."""
        return _Decided(lambda _, node: node.name not in disallow_set)


def _get_arg_dtype(arg: Node) -> Any:
    if not isinstance(arg, Node):
        raise TypeError(f"Expected Node, got {type(arg)}")
    known = arg.meta.get("tensor_meta")
    return known.dtype if isinstance(known, TensorMetadata) else arg.meta["type"]
