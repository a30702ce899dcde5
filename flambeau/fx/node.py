"""Node: one step of a graph. What it calls, with which arguments, and who uses the result."""

from __future__ import annotations

import builtins
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import flambeau
from flambeau._ops import OpOverload, OpOverloadPacket
from flambeau.fx.immutable_collections import immutable_dict, immutable_list

Target: TypeAlias = "Callable[..., Any] | str"
Argument: TypeAlias = Any  # nodes, numbers, strings, dtypes, ..., and tuples, lists, dicts and slices of them
base_types = (str, int, float, bool, complex, flambeau.dtype, flambeau.Tensor, flambeau.device, flambeau.memory_format,
              flambeau.layout, OpOverload)  # fmt: skip
_legal_ops = dict.fromkeys(["placeholder", "get_attr", "call_function", "call_module", "call_method", "output", "root"])
_side_effectful_functions: set[Callable[..., Any]] = {operator.setitem, operator.delitem}


def has_side_effect(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Say that calls of fn matter even where nobody uses their result."""
    _side_effectful_functions.add(fn)
    return fn


def map_aggregate(a: Any, fn: Callable[[Any], Any]) -> Any:
    """`a` with fn applied to each leaf; tuples, lists, dicts and slices are rebuilt, the latter two immutable."""
    if isinstance(a, tuple):
        it = [map_aggregate(x, fn) for x in a]
        return type(a)(*it) if hasattr(a, "_fields") else tuple(it)
    if isinstance(a, list):
        return immutable_list([map_aggregate(x, fn) for x in a])
    if isinstance(a, dict):
        return immutable_dict((k, map_aggregate(v, fn)) for k, v in a.items())
    if isinstance(a, slice):
        return slice(map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn))
    return fn(a)


def map_arg(a: Any, fn: Callable[[Node], Any]) -> Any:
    """`a` with fn applied to each node in it."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


def nodes_in(a: Any) -> Iterator[Node]:
    """The nodes in an argument, in order."""
    if isinstance(a, Node):
        yield a
    elif isinstance(a, (tuple, list)):
        for x in a:
            yield from nodes_in(x)
    elif isinstance(a, dict):
        for x in a.values():
            yield from nodes_in(x)
    elif isinstance(a, slice):
        for x in (a.start, a.stop, a.step):
            yield from nodes_in(x)


def torch_path(module: str) -> str:
    """A module of ours under PyTorch's name."""
    return "torch" + module[8:] if module == "flambeau" or module.startswith("flambeau.") else module


def _get_qualified_name(func: Callable[..., Any]) -> str:
    """The dotted name under which generated code finds a function."""
    if isinstance(func, (OpOverload, OpOverloadPacket)):
        return f"torch.ops.{func}"
    name = getattr(func, "__name__", type(func).__name__)
    if getattr(builtins, name, None) is func:
        return name
    module = getattr(func, "__module__", None)
    if isinstance(func, (types.MethodDescriptorType, types.WrapperDescriptorType)):
        return f"{func.__objclass__.__module__}.{func.__objclass__.__name__}.{name}"
    if module == "_operator":
        module = "operator"
    elif module is None:
        owner = getattr(func, "__self__", None)
        module = owner.__name__ if isinstance(owner, types.ModuleType) else "builtins"
    if (
        module.startswith("flambeau._")
        and not module.startswith("flambeau._C")
        and getattr(flambeau, name, None) is func
    ):
        return f"torch.{name}"
    qualified = getattr(func, "__qualname__", name)
    if "<locals>" not in qualified and "." in qualified and module.startswith("flambeau"):
        name = qualified
    return f"{torch_path(module)}.{name}"


def _type_repr(obj: Any) -> str:
    """A type as code."""
    if isinstance(obj, type) and not isinstance(obj, types.GenericAlias):
        if obj.__module__ == "builtins":
            return obj.__qualname__
        return f"{torch_path(obj.__module__)}.{obj.__qualname__}"
    if obj is ...:
        return "..."
    if isinstance(obj, types.FunctionType):
        return obj.__name__
    return repr(obj).replace("flambeau.", "torch.")


def _format_arg(arg: Any, max_list_len: float = float("inf")) -> str:
    """An argument as graphs print it: nodes with a percent sign, strings bare; of longer lists the beginning and the length."""
    if isinstance(arg, (list, tuple)):
        inside = ", ".join(_format_arg(a) for i, a in enumerate(arg) if i < max_list_len)
        rest = f", ...[total_len={len(arg)}]" if len(arg) > max_list_len else ""
        return f"[{inside}{rest}]" if isinstance(arg, list) else f"({inside}{',' if len(arg) == 1 else ''}{rest})"
    if isinstance(arg, dict):
        return "{" + ", ".join(f"{k}: {_format_arg(v)}" for k, v in arg.items()) + "}"
    return "%" + str(arg) if isinstance(arg, Node) else str(arg)


class Node:
    """One step: `op` says of what kind, `target` what is called or named, `args` and `kwargs` with what.

    `users` are the nodes that use the result, `meta` is for whoever works on the graph.
    """

    __slots__ = ("__dict__", "__weakref__", "_args", "_erased", "_input_nodes", "_kwargs", "_next", "_order", "_prev", "_repr_fn", "graph", "meta",
                 "name", "op", "target", "type", "users")  # fmt: skip

    def __init__(self, graph: Any, name: str, op: str, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any],
                 return_type: Any = None) -> None:  # fmt: skip
        assert op in _legal_ops, f"op '{op}' is not in _legal_ops"
        if op == "call_function":
            if not callable(target):
                raise ValueError(
                    f"Node [graph = {graph}, name = '{name}'] target {target} has type {type(target).__name__} but a Callable is expected"
                )
        elif not isinstance(target, str):
            raise ValueError(
                f"Node [graph = {graph}, name = '{name}'] target {target} has type {type(target)} but a str is expected"
            )
        self.graph, self.name, self.op, self.target, self.type = graph, name, op, target, return_type
        self._prev = self._next = self
        self._erased = False
        self._order = 0
        self._input_nodes: dict[Node, None] = {}
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._repr_fn: Callable[[Node], str] | None = None
        self._update(args, kwargs)

    # ---- arguments ----

    def _update(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for old in self._input_nodes:
            old.users.pop(self, None)
        self._args = map_aggregate(tuple(args), lambda x: x)
        self._kwargs = map_aggregate(dict(kwargs), lambda x: x)
        self._input_nodes = dict.fromkeys(nodes_in(self._args))
        self._input_nodes.update(dict.fromkeys(nodes_in(self._kwargs)))
        for used in self._input_nodes:
            used.users[self] = None

    _update_args_kwargs = _update

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return self._args

    @args.setter
    def args(self, args: tuple[Any, ...]) -> None:
        self._update(args, self._kwargs)

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self._update(self._args, kwargs)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments, each once."""
        return list(self._input_nodes)

    def update_arg(self, idx: int, arg: Any) -> None:
        """Replace one positional argument."""
        args = list(self._args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Any) -> None:
        """Put one more positional argument before the idx-th."""
        assert 0 <= idx <= len(self._args), "insert_args index must be between 0 and len(self.args)"
        self.args = (*self._args[:idx], arg, *self._args[idx:])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Replace or add one keyword argument."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Use `new_input` wherever `old_input` was an argument."""
        swap = lambda n: new_input if n is old_input else n
        for hook in getattr(self.graph.owning_module, "_replace_hooks", ()):
            hook(old=old_input, new=new_input.name, user=self)
        self._update(map_arg(self._args, swap), map_arg(self._kwargs, swap))

    _replace_input_with = replace_input_with

    def replace_all_uses_with(self, replace_with: Node, delete_user_cb: Any = None, *, propagate_meta: bool = False) -> list[Node]:  # fmt: skip
        """Let every user use `replace_with` instead; returns those users."""
        if propagate_meta:
            assert len(replace_with.meta) == 0, "Called node.replace_all_uses_with(replace_with, propagate_meta=True), but replace_with already has .meta keys"  # fmt: skip
            replace_with.meta.update(self.meta)
        changed = [u for u in self.users if delete_user_cb is None or delete_user_cb(u)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    # ---- place in the graph ----

    @property
    def next(self) -> Node:
        """The node after this one; after the last comes the graph's root."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one."""
        return self._prev

    def prepend(self, x: Node) -> None:
        """Put `x` (of the same graph) just before this node."""
        assert self.graph is x.graph, "Attempting to move a Node into a different Graph"
        if self is x:
            return
        x._remove_from_list()
        p = self._prev
        p._next, x._prev = x, p
        x._next, self._prev = self, x
        self.graph._ordered = False

    def append(self, x: Node) -> None:
        """Put `x` (of the same graph) just after this node."""
        self._next.prepend(x)

    def _remove_from_list(self) -> None:
        p, n = self._prev, self._next
        p._next, n._prev = n, p

    def __lt__(self, other: Node) -> bool:
        return self._place() < other._place()

    def __le__(self, other: Node) -> bool:
        return self is other or self < other

    def __gt__(self, other: Node) -> bool:
        return other < self

    def __ge__(self, other: Node) -> bool:
        return self is other or self > other

    def _place(self) -> int:
        if not self.graph._ordered:
            for i, node in enumerate(self.graph.nodes):
                node._order = i
            self.graph._ordered = True
        return self._order

    # ---- how it prints ----

    def __repr__(self) -> str:
        return self._repr_fn(self) if self._repr_fn else self.name

    def _pretty_print_target(self, target: Any) -> str:
        if isinstance(target, str):
            return target
        module = getattr(target, "__module__", None)
        if module is not None:
            name = getattr(target, "__name__", type(target).__name__)
            if module == "builtins":
                return f"builtins.{name}"
            if module == "_operator":
                return f"operator.{name}"
        return _get_qualified_name(target)

    def format_node(self, placeholder_names: list[str] | None = None, maybe_return_typename: list[str] | None = None, *,
                    include_tensor_metadata: bool = False) -> str | None:  # fmt: skip
        """The node's line in a printed graph."""
        typename = f"{_type_repr(self.type)} " if self.type else ""
        if self.op == "placeholder":
            default = f"(default={self.args[0]})" if self.args else ""
            if placeholder_names is not None:
                placeholder_names.append(f"{self.target}{': ' + typename.strip() if typename else ''}{default}")
                return None
            return f"%{self.name} : {typename}[num_users={len(self.users)}] = {self.op}[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"%{self.name} : {typename}[num_users={len(self.users)}] = {self.op}[target={self._pretty_print_target(self.target)}]"
        if self.op == "output":
            if self.type and maybe_return_typename is not None:
                maybe_return_typename[0] = f" -> {_type_repr(self.type)}"
            return f"return {self.args[0]}"
        return (
            f"%{self.name} : {typename}[num_users={len(self.users)}] = {self.op}[target={self._pretty_print_target(self.target)}]"
            f"(args = {_format_arg(self.args)}, kwargs = {_format_arg(self.kwargs)})"
        )

    @property
    def stack_trace(self) -> str | None:
        """Where the program made this call, if that was recorded."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    # ---- facts ----

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether the node must stay though nobody uses it."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            if isinstance(self.target, OpOverload):
                if self.target.is_write:
                    return True
                if impure_random and self.target.is_random:
                    return True
            return self.target in _side_effectful_functions
        if self.op == "call_method":
            name = str(self.target)
            return name.endswith("_") and not name.endswith("__")
        if self.op == "call_module":
            module = (
                self.graph.owning_module.get_submodule(self.target) if self.graph.owning_module is not None else None
            )
            return getattr(module, "_is_impure", False)
        return False

    def normalized_arguments(self, root: Any, arg_types: Any = None, kwarg_types: Any = None,
                             normalize_to_only_use_kwargs: bool = False) -> Any:  # fmt: skip
        """(args, kwargs) with names and defaults filled in from the target's signature, or None."""
        from flambeau.fx.operator_schemas import normalize_function, normalize_module

        if self.op == "call_function":
            return normalize_function(self.target, self.args, self.kwargs, arg_types, kwarg_types,
                                      normalize_to_only_use_kwargs)  # fmt: skip
        if self.op == "call_module":
            return normalize_module(root, self.target, self.args, self.kwargs, normalize_to_only_use_kwargs)
        return None

    def _rename(self, candidate: str) -> None:
        if candidate != self.name:
            self.name = self.graph._graph_namespace.create_name(candidate, None)
            self.graph._graph_namespace._rename_object(self, self.name)
