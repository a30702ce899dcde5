"""Graph: nodes in execution order, and the ways to make, change, check and print them. Their Python text is `codegen`'s work."""

from __future__ import annotations

import builtins
import copy
import keyword
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flambeau
from flambeau.fx import codegen
from flambeau.fx.codegen import (  # noqa: F401
    CodeGen,
    PythonCode,
    _BoxedCodeGen,
    _custom_builtins,
    _parse_stack_trace,
    _ParsedStackTrace,
    _PyTreeCodeGen,
    _PyTreeInfo,
)
from flambeau.fx.node import Node, Target, map_arg

_LEGAL = re.compile(r"([A-Za-z_]\w*?)(?:_(\d+))?", re.ASCII)
_ILLEGAL_CHARACTERS = re.compile(r"\W+", re.ASCII)
_CAMEL = re.compile(r"(?<=[a-z])([A-Z])")
_TAKEN: dict[str, Any] = {k: object() for k in keyword.kwlist} | builtins.__dict__


class _Namespace:
    """Names that are valid in generated code, each given once."""

    def __init__(self) -> None:
        self._obj_to_name: dict[Any, str] = {}
        self._used_names: set[str] = set()
        self._base_count: dict[str, int] = {}

    def create_name(self, candidate: str, obj: Any) -> str:
        """A name like `candidate` that is still free; the same object gets the same name."""
        if obj is not None and obj in self._obj_to_name:
            return self._obj_to_name[obj]
        found = _LEGAL.fullmatch(candidate)
        if found is None:
            candidate = _ILLEGAL_CHARACTERS.sub("_", candidate) or "_unnamed"
            candidate = f"_{candidate}" if candidate[0].isdigit() else candidate
            found = _LEGAL.fullmatch(candidate)
            assert found is not None
        base, suffix = found.group(1, 2)
        if suffix is None or candidate in self._used_names:
            n = self._base_count.get(base, 0)
            if self._taken(candidate, obj):
                n += 1
                candidate = f"{base}_{n}"
        else:
            n = int(suffix)
        while candidate in self._used_names:
            n += 1
            candidate = f"{base}_{n}"
        self._used_names.add(candidate)
        self._base_count[base] = n
        if obj is not None:
            self._obj_to_name[obj] = candidate
        return candidate

    def associate_name_with_obj(self, name: str, obj: Any) -> None:
        """Give an object a name that was created for it."""
        self._obj_to_name.setdefault(obj, name)

    _rename_object = associate_name_with_obj

    def _taken(self, name: str, obj: Any) -> bool:
        if name in _TAKEN:
            return _TAKEN[name] is not obj
        return name in _custom_builtins and _custom_builtins[name].obj is not obj


def _snake_case(text: str) -> str:
    return _CAMEL.sub(r"_\1", text).lower()


class _node_list:
    """The nodes of a graph, first to last; `reversed` goes back. Nodes may be added and erased on the way."""

    def __init__(self, graph: Graph, direction: str = "_next") -> None:
        self.graph, self.direction = graph, direction

    def __len__(self) -> int:
        return self.graph._len

    def __iter__(self) -> Iterator[Node]:
        step, root = self.direction, self.graph._root
        node = getattr(root, step)
        while node is not root:
            if not node._erased:
                yield node
            node = getattr(node, step)

    def __reversed__(self) -> _node_list:
        return _node_list(self.graph, "_prev" if self.direction == "_next" else "_next")


class _InsertPoint:
    """Where new nodes go, until the block ends."""

    def __init__(self, graph: Graph, insert: Callable[[Node], None]) -> None:
        self.graph = graph
        self.before, graph._insert = graph._insert, insert

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self.graph._insert = self.before


class Graph:
    """A program as a list of nodes: placeholders, calls, one output.

    >>> import flambeau as torch
    >>> graph = torch.fx.Graph()
    >>> x = graph.placeholder("x")
    >>> y = graph.output(graph.call_function(torch.relu, (x,)))
    >>> print(graph)
    graph():
        %x : [num_users=1] = placeholder[target=x]
        %relu : [num_users=1] = call_function[target=torch.relu](args = (%x,), kwargs = {})
        return relu
    """

    _late = False  # whether a module's code is written when it is asked for

    def __init__(self, owning_module: Any = None, tracer_cls: Any = None, tracer_extras: dict[str, Any] | None = None) -> None:  # fmt: skip
        self._graph_namespace = _Namespace()
        self._root = Node(self, "", "root", "", (), {})
        self._insert: Callable[[Node], None] = self._root.prepend
        self._len = 0
        self._ordered = False
        self._owning_module, self._owners = owning_module, int(owning_module is not None)
        self._tracer_cls, self._tracer_extras = tracer_cls, tracer_extras
        self._codegen = CodeGen()

    @property
    def owning_module(self) -> Any:
        """The module whose graph this is; None where it is that of several."""
        return self._owning_module

    @owning_module.setter
    def owning_module(self, mod: Any) -> None:
        if mod is not None:
            self._owning_module = None if self._owners else mod
            self._owners += 1

    # ---- making nodes ----

    @property
    def nodes(self) -> _node_list:
        """The nodes in order."""
        return _node_list(self)

    def create_node(self, op: str, target: Target, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None,
                    name: str | None = None, type_expr: Any = None) -> Node:  # fmt: skip
        """Make a node and put it at the insert point."""
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        assert isinstance(args, tuple), "args must be a tuple"
        assert isinstance(kwargs, dict), "kwargs must be a dict"
        name = self._graph_namespace.create_name(name if name is not None else self._target_to_str(target), None)
        node = Node(self, name, op, target, args, kwargs, type_expr)
        self._graph_namespace.associate_name_with_obj(name, node)
        for hook in getattr(self.owning_module, "_create_node_hooks", ()):
            hook(node)
        self._insert(node)
        self._len += 1
        return node

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = codegen.EMPTY) -> Node:
        """An argument of the graph's function."""
        args = () if default_value is codegen.EMPTY else (default_value,)
        return self.create_node("placeholder", name, args=args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """A parameter, buffer or module of the module hierarchy."""
        if self.owning_module is not None and not _has_attr(self.owning_module, qualified_name):
            import warnings

            warnings.warn("Attempted to insert a get_attr Node with no underlying reference in the owning GraphModule! Call GraphModule.add_submodule to add the necessary submodule, GraphModule.add_parameter to add the necessary Parameter, or nn.Module.register_buffer to add the necessary buffer", stacklevel=2)  # fmt: skip
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(self, module_name: str, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None,
                    type_expr: Any = None) -> Node:  # fmt: skip
        """A call of a submodule."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(self, method_name: str, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None,
                    type_expr: Any = None) -> Node:  # fmt: skip
        """A call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(self, the_function: Callable[..., Any], args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None,
                      type_expr: Any = None, name: str | None = None) -> Node:  # fmt: skip
        """A call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name=name, type_expr=type_expr)

    def output(self, result: Any, type_expr: Any = None) -> Node:
        """What the function returns."""
        return self.create_node("output", "output", args=(result,), type_expr=type_expr)

    def output_node(self) -> Node:
        """The last node, which is the output."""
        node = self._root._prev
        assert node.op == "output", f"Expected output node, got {node.op}"
        return node

    def create_size_node(self, tensor_node: Node, dim: int) -> Node:
        """A node for `tensor_node.size(dim)`."""
        return self._asked(flambeau.ops.aten.sym_size.int, tensor_node, "size", dim)

    def create_stride_node(self, tensor_node: Node, dim: int) -> Node:
        """A node for `tensor_node.stride(dim)`."""
        return self._asked(flambeau.ops.aten.sym_stride.int, tensor_node, "stride", dim)

    def create_storage_offset_node(self, tensor_node: Node) -> Node:
        """A node for `tensor_node.storage_offset()`."""
        return self._asked(flambeau.ops.aten.sym_storage_offset.default, tensor_node, "storage_offset")

    def _asked(self, target: Any, tensor_node: Node, method: str, *args: int) -> Node:
        node = self.call_function(target, (tensor_node, *args))
        for key in ("example_value", "val"):
            if isinstance(value := tensor_node.meta.get(key), flambeau.Tensor):
                node.meta[key] = getattr(value, method)(*args)
                break
        return node

    def materialize_symints(self, values: Any) -> list[Any]:
        """Sizes as values of the graph. Sizes of metas are numbers here, and stand for themselves."""
        if not all(isinstance(v, int) for v in values):
            raise NotImplementedError("torch.fx.Graph.materialize_symints of a symbolic size")
        return list(values)

    def materialize_symint(self, value: Any) -> Any:
        """The same for one size."""
        return self.materialize_symints([value])[0]

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda x: x) -> Node:
        """A copy, here, of a node of another graph; `arg_transform` maps its arguments to nodes of this one."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta = copy.copy(node.meta)
        return made

    def graph_copy(self, g: Graph, val_map: dict[Node, Any], return_output_node: bool = False) -> Any:
        """Copy all nodes of g to the insert point; returns what its output was of. `val_map` gets old to new."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                value = map_arg(node.args[0], lambda n: val_map[n])
                return value if not return_output_node else (value, node)
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Graph:
        memo = {} if memo is None else memo
        g = Graph(tracer_cls=self._tracer_cls)
        g._codegen = copy.deepcopy(self._codegen)
        result = g.graph_copy(self, val_map := {}, return_output_node=True)
        for old, new in val_map.items():
            memo[id(old)] = new
            new.meta = copy.copy(old.meta)
        if isinstance(result, tuple):
            value, old = result
            made = g.output(value, old.type)
            made.meta = copy.copy(old.meta)
        return g

    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """New nodes go before n (None: to the beginning), from now on or within a `with` block."""
        if n is None:
            return self.inserting_after(self._root)
        assert n.graph == self, "Node to insert before is not in graph."
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """New nodes go after n (None: to the end), from now on or within a `with` block."""
        if n is None:
            return self.inserting_before(self._root)
        assert n.graph == self, "Node to insert after is not in graph."
        last = n

        def insert(node: Node) -> None:
            nonlocal last
            last.append(node)
            last = node

        return _InsertPoint(self, insert)

    # ---- finding and removing ----

    def find_nodes(self, *, op: str, target: Any = None, sort: bool = True) -> list[Node]:
        """The nodes of a kind (for calls of functions: of that function), in order."""
        if op == "call_function" and target is not None:
            return [n for n in self.nodes if n.op == op and n.target == target]
        return [n for n in self.nodes if n.op == op and (target is None or n.target == target)]

    def erase_node(self, to_erase: Node) -> None:
        """Take a node out; nobody may use it any more."""
        if len(to_erase.users) > 0:
            raise RuntimeError(f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the graph: {to_erase.users}!")  # fmt: skip
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        if to_erase._erased:
            import warnings

            warnings.warn(f"erase_node({to_erase}) on an already erased node", stacklevel=2)
            return
        for hook in getattr(self.owning_module, "_erase_node_hooks", ()):
            hook(to_erase)
        to_erase._remove_from_list()
        to_erase._erased = True
        self._len -= 1
        to_erase._update((), {})

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Erase every node whose result nobody uses and that does nothing else; says whether there was any."""
        self.lint()
        impure = is_impure_node if is_impure_node is not None else Node.is_impure
        changed = False
        for node in reversed(self.nodes):
            if not impure(node) and len(node.users) == 0:
                self.erase_node(node)
                changed = True
        return changed

    def _clear_nodes(self) -> None:
        for node in reversed(self.nodes):
            node._update((), {})
            node._erased = True
        self._root._prev = self._root._next = self._root
        self._len = 0

    # ---- checking and printing ----

    def lint(self) -> None:
        """Raise where the graph is not well formed: order, names, targets, uses."""
        names: set[str] = set()
        seen: set[Node] = set()

        def check(arg: Node, user: Node) -> Node:
            if arg.graph is not self:
                raise RuntimeError(f"Argument '{arg}' of Node '{user}' does not belong to this Graph, but was used as an argument! If you are copying nodes from another graph, make sure to use ``arg_transform`` on node_copy() to remap values\n{self}")  # fmt: skip
            if arg not in seen:
                raise RuntimeError(f"Argument '{arg}' of Node '{user}' was used before it has been defined! Please check that Nodes in the graph are topologically ordered\n{self}")  # fmt: skip
            return arg

        for node in self.nodes:
            if node.op not in ("placeholder", "call_method", "call_module", "call_function", "get_attr", "output"):
                raise RuntimeError(f"Node {node} had unknown opcode {node.op}!")
            if node.graph is not self:
                raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
            if node in seen:
                raise RuntimeError(f"Node '{node}' already exists in the Graph!")
            map_arg((node.args, node.kwargs), lambda arg, node=node: check(arg, node))
            seen.add(node)
            if node.name in names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            names.add(node.name)
            if node.op == "call_function" and not callable(node.target):
                raise ValueError(
                    f"Node {node} target {node.target} has type {type(node.target)} but a Callable is expected"
                )
            if node.op != "call_function" and not isinstance(node.target, str):
                raise ValueError(f"Node {node} target {node.target} has type {type(node.target)} but a str is expected")
        if self.owning_module is not None:
            for node in self.nodes:
                if node.op in ("get_attr", "call_module") and not _has_attr(self.owning_module, str(node.target)):
                    raise RuntimeError(f"Node {node} target {node.target} references nonexistent attribute {str(node.target).split('.')[-1]} of {'.'.join(str(node.target).split('.')[:-1])}")  # fmt: skip

    def python_code(self, root_module: str, *, verbose: bool = False, include_stride: bool = False, include_device: bool = False,
                    colored: bool = False, expanded_def: bool = False, record_func: bool = False,
                    additional_meta: list[str] | None = None) -> PythonCode:  # fmt: skip
        """The graph as a Python function `forward`, with the globals that its text needs."""
        before = {node: node._repr_fn for node in self.nodes}
        names = _Namespace()
        try:
            for node in before:
                node._repr_fn = lambda n: names.create_name(n.name, n)
            return self._codegen._gen_python_code(self.nodes, root_module, names, verbose=verbose, include_stride=include_stride,
                                                  include_device=include_device, colored=colored, expanded_def=expanded_def)  # fmt: skip
        finally:
            for node, fn in before.items():
                node._repr_fn = fn

    def __str__(self) -> str:
        names: list[str] = []
        returns = [""]
        lines = [line for n in self.nodes if (line := n.format_node(None, returns)) is not None]
        return f"graph({', '.join(names)}){returns[0]}:" + "".join("\n    " + line for line in lines)

    def print_tabular(self) -> None:
        """Print the nodes as a table of opcode, name, target, args and kwargs."""
        rows = [("opcode", "name", "target", "args", "kwargs")]
        rows += [(n.op, n.name, str(n.target), str(n.args), str(n.kwargs)) for n in self.nodes]
        widths = [max(len(r[i]) for r in rows) for i in range(5)]
        rows.insert(1, tuple("-" * w for w in widths))  # type: ignore[arg-type]
        print("\n".join("  ".join(cell.ljust(w) for cell, w in zip(r, widths)).rstrip() for r in rows))

    def _target_to_str(self, target: Target | None) -> str:
        if isinstance(target, str):
            op = target
        else:
            op = getattr(target, "__name__", type(target).__name__)
        if op.startswith("__") and op.endswith("__"):
            op = op[2:-2]
        return _snake_case(op)

    # ---- the calling convention ----

    def set_codegen(self, codegen: CodeGen) -> None:
        """Choose how the graph becomes text, and how inputs and outputs are passed."""
        self._codegen = codegen

    def process_inputs(self, *args: Any) -> Any:
        """The values of the placeholders, from the arguments of a call."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out: Any) -> Any:
        """What a call returns, from the value of the output node."""
        return self._codegen.process_outputs(out)

    @contextmanager
    def on_generate_code(self, make_transformer: Callable[[Any], Any]) -> Iterator[None]:
        """Within the block, every generated text goes through the transformer that `make_transformer(current)` gives."""
        before = self._codegen._body_transformer
        self._codegen._body_transformer = make_transformer(before)
        try:
            yield
        finally:
            self._codegen._body_transformer = before

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a Graph is saved as the code of its GraphModule")


def _has_attr(module: Any, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(module, name):
            return False
        module = getattr(module, name)
    return True
