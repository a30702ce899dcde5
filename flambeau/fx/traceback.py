"""What new nodes inherit from the node that is being run: its `meta`, where that is asked for; and where nodes came from."""

from __future__ import annotations

import copy
import functools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = [
    "NodeSource",
    "NodeSourceAction",
    "annotate",
    "annotate_fn",
    "format_stack",
    "get_current_meta",
    "get_current_replay_node",
    "get_graph_provenance_json",
    "has_preserved_node_meta",
    "preserve_node_meta",
    "reset_grad_fn_seq_nr",
    "set_current_meta",
    "set_current_replay_node",
    "set_grad_fn_seq_nr",
    "set_stack_trace",
]

_current: ContextVar[dict[str, Any]] = ContextVar("current_meta")
_replayed: ContextVar[Any] = ContextVar("current_replay_node", default=None)
_preserve: ContextVar[bool] = ContextVar("preserve_node_meta", default=False)


@contextmanager
def preserve_node_meta(enable: bool = True) -> Iterator[None]:
    """Within the block, nodes made while another one runs take over its meta."""
    token = _preserve.set(enable)
    try:
        yield
    finally:
        _preserve.reset(token)


def has_preserved_node_meta() -> bool:
    """Whether nodes take over meta now."""
    return _preserve.get()


@contextmanager
def set_current_meta(node: Any, pass_name: str = "") -> Iterator[None]:
    """Within the block, `node` is the one that runs."""
    token = _current.set(dict(node.meta) if _preserve.get() else {})
    try:
        yield
    finally:
        _current.reset(token)


def get_current_meta() -> dict[str, Any]:
    """The meta of the node that runs."""
    return _current.get({})


@contextmanager
def annotate(annotation: dict[str, Any]) -> Iterator[None]:
    """Within the block, new nodes carry `meta["custom"]` with these entries."""
    meta = dict(_current.get({}))
    meta["custom"] = {**meta.get("custom", {}), **annotation}
    token = _current.set(meta)
    try:
        yield
    finally:
        _current.reset(token)


def annotate_fn(annotation_dict: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: what the function does is within `annotate(annotation_dict)`."""

    def decorator(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with annotate(annotation_dict):
                return fn(*args, **kwargs)

        return wrapper

    return decorator


def _amend(**entries: Any) -> None:
    """Change entries of the current meta, if metas are kept; None takes an entry away."""
    if _preserve.get():
        meta = {**_current.get({}), **entries}
        _current.set({k: v for k, v in meta.items() if v is not None})


def set_stack_trace(stack: list[str]) -> None:
    """From now on, new nodes have this stack trace; none if it is empty."""
    _amend(stack_trace="".join(stack) or None)


def set_grad_fn_seq_nr(seq_nr: int) -> None:
    """New nodes belong to the derivative of the call with this number, until it is reset. Calls nest."""
    numbers = [*_current.get({}).get("grad_fn_seq_nr", []), seq_nr]
    _amend(grad_fn_seq_nr=numbers, in_grad_fn=len(numbers))


def reset_grad_fn_seq_nr() -> None:
    """Undo the last `set_grad_fn_seq_nr`."""
    numbers = _current.get({}).get("grad_fn_seq_nr", [])[:-1]
    _amend(grad_fn_seq_nr=numbers or None, in_grad_fn=len(numbers) or None)


def format_stack() -> list[str]:
    """The current stack trace, line by line: the one that nodes inherit, else that of the program."""
    if _preserve.get():
        return [_current.get({}).get("stack_trace", "")]
    return traceback.format_list(traceback.extract_stack()[:-1])


@contextmanager
def set_current_replay_node(node: Any) -> Iterator[None]:
    """Within the block, `node` is being made again."""
    token = _replayed.set(node)
    try:
        yield
    finally:
        _replayed.reset(token)


def get_current_replay_node() -> Any:
    """The node that is being made again, or None."""
    return _replayed.get()


class NodeSourceAction(Enum):
    """What a pass did to make a node."""

    CREATE = "create"
    REPLACE = "replace"


@dataclass(frozen=True)
class NodeInfo:
    """A node of an older graph: its name, target, and the graph's id."""

    name: str
    target: str
    graph_id: int


class NodeSource:
    """Where a node came from: the older node, the pass, and in turn where that came from. Kept in `meta["from_node"]`."""

    NodeInfo = NodeInfo

    def __init__(self, node: Any, pass_name: str = "", action: NodeSourceAction | list[NodeSourceAction] | None = None) -> None:  # fmt: skip
        self.pass_name = pass_name
        self.action = [] if action is None else action if isinstance(action, list) else [action]
        for a in self.action:
            if not isinstance(a, NodeSourceAction):
                raise AssertionError(f"Expected NodeSourceAction, got {type(a)}")
        self.node_info = None if node is None else NodeInfo(node.name, str(node.target), id(node.graph))
        self.from_node: list[NodeSource] = [] if node is None else copy.deepcopy(node.meta.get("from_node", []))

    @property
    def name(self) -> str:
        return self.node_info.name if self.node_info else ""

    @property
    def target(self) -> str:
        return self.node_info.target if self.node_info else ""

    @property
    def graph_id(self) -> int:
        return self.node_info.graph_id if self.node_info else -1

    def _actions(self) -> str:
        return "+".join(a.name.lower() for a in self.action)

    def print_readable(self, indent: int = 0) -> str:
        """One line for each older node, indented."""
        if indent > 9:  # a chain of passes without end is not shown
            return ""
        line = f"{'    ' * indent}(name={self.name}, pass_name={self.pass_name}, action={self._actions()}, graph_id={self.graph_id})\n"
        return line + "".join(source.print_readable(indent + 1) for source in self.from_node)

    __repr__ = print_readable

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "name": self.name,
            "target": self.target,
            "graph_id": self.graph_id,
            "pass_name": self.pass_name,
            "action": self._actions(),
            "from_node": [source.to_dict() for source in self.from_node],
        }

    @classmethod
    def _from_dict(cls, data: dict[str, Any] | None) -> NodeSource | None:
        """What `to_dict` gave, again as a NodeSource."""
        if data is None:
            return None
        actions = [NodeSourceAction[name.upper()] for name in data.get("action", "").split("+") if name]
        source = cls(None, data.get("pass_name", ""), actions)
        if {"name", "target", "graph_id"} <= data.keys():
            source.node_info = NodeInfo(data["name"], data["target"], data["graph_id"])
        source.from_node = [s for d in data.get("from_node") or () if (s := cls._from_dict(d)) is not None]
        return source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NodeSource) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.print_readable())


def get_graph_provenance_json(graph: Any) -> dict[str, Any]:
    """For each call of a function, where it came from, as plain data."""
    return {
        node.name: [source.to_dict() for source in node.meta.get("from_node", [])]
        for node in graph.nodes
        if node.op == "call_function"
    }
