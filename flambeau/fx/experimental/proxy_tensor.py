"""make_fx: runs a function on real tensors and keeps the graph of the operators it reached.

Composite operators are followed; what is recorded are `torch.ops.aten` overloads, those of derivatives too. Not here: guards,
side effects and everything else by which `compile` makes such a graph valid for another call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

import flambeau
from flambeau._backends.meta import MetaArray
from flambeau._eager import call, create, derive, getitem, modes
from flambeau._eager.modes import STATE
from flambeau._operators import overloads
from flambeau._operators.op import REGISTRY, Op
from flambeau._ops import target, written
from flambeau._tensor import Tensor, wrap
from flambeau.fx._symbolic_trace import Tracer
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.node import Node
from flambeau.fx.proxy import Proxy
from flambeau.overrides import EXTRA
from flambeau.utils import _pytree as pytree


def make_fx(f: Callable[..., Any], decomposition_table: Any = None, tracing_mode: str = "real", *ignored: Any, **options: Any) -> Callable[..., GraphModule]:  # fmt: skip
    """A function that runs `f` on its arguments and returns the graph of what it did.

    >>> import flambeau as torch
    >>> from flambeau.fx.experimental.proxy_tensor import make_fx
    >>> print(make_fx(lambda x: torch.relu(x) + 1)(torch.ones(2)).graph)
    graph():
        %x_1 : [num_users=1] = placeholder[target=x_1]
        %relu : [num_users=1] = call_function[target=torch.ops.aten.relu.default](args = (%x_1,), kwargs = {})
        %add : [num_users=1] = call_function[target=torch.ops.aten.add.Tensor](args = (%relu, 1), kwargs = {})
        return add
    """

    def traced(*args: Any) -> GraphModule:
        recording = Recording(decomposition_table)
        leaves, spec = pytree.tree_flatten(args)
        code = getattr(inspect.unwrap(f), "__code__", None)
        names = code.co_varnames[: code.co_argcount] if code is not None else ()
        flat = len(leaves) == len(args)
        for i, x in enumerate(leaves):
            name = names[i] if flat and i < len(names) else f"arg{i}"
            if isinstance(x, Tensor):
                recording.note(x, recording.graph.placeholder(f"{name}_1"))
            else:
                recording.graph.placeholder(f"{name}_1")
        with recording:
            out = f(*pytree.tree_unflatten(leaves, spec))
        recording.graph.output(pytree.tree_map(recording.value, out))
        return GraphModule(recording.attributes, recording.graph, getattr(f, "__name__", "GraphModule"))

    return traced


def get_proxy_mode() -> Recording | None:
    """The recording that is running, if one is."""
    return _running[-1] if _running else None


_running: list[Recording] = []


get_innermost_proxy_mode = get_proxy_mode
py_sym_types = (flambeau.SymInt, flambeau.SymFloat, flambeau.SymBool)


@contextmanager
def maybe_enable_thunkify() -> Iterator[None]:
    """Sizes are numbers while a graph is recorded: there is nothing to put off."""
    yield


maybe_disable_thunkify = maybe_enable_thunkify


def _mapped(values: Any) -> bool:
    """Whether a batch is among the arguments: what `vmap` makes of it is what is recorded."""
    flat = [t for v in values for t in (v if isinstance(v, (list, tuple)) else (v,))]
    return any(isinstance(t, Tensor) and getattr(t, "_value", None) is not None for t in flat)


class Recording:
    """A graph that grows while operators run."""

    def __init__(self, table: Any = None, graph: Graph | None = None) -> None:
        self.graph, self.table = Graph() if graph is None else graph, table
        self.apart: list[Op] = []  # what is being taken apart: an operator that comes up within itself stays whole
        self.attributes: dict[str, Any] = {}
        self.nodes: dict[int, Node] = {}  # by the array that a tensor is around: aliases of one array are one value
        self.kept: list[Any] = []
        self.running = False

    def __enter__(self) -> Recording:
        _running.append(self)
        modes.enter("make_fx")
        STATE.readers = (*STATE.readers, self.read)
        self.method, call.HOOKS["method"] = call.HOOKS["method"], self.member
        create.HOOKS.append(self.created)
        EXTRA.append(self.called)
        return self

    def __exit__(self, *error: object) -> None:
        _running.remove(self)
        modes.leave("make_fx")
        STATE.readers = STATE.readers[:-1]
        EXTRA.remove(self.called)
        call.HOOKS["method"] = self.method
        create.HOOKS.remove(self.created)

    def read(self, t: Tensor, what: str) -> None:
        """Told where Python asks for elements: those of what is traced differ from run to run."""
        node = self.nodes.get(id(t._a))
        if not self.running and node is not None and node.op != "get_attr":
            raise self.refusal(what)

    def refusal(self, what: str) -> Exception:
        return RuntimeError(
            "It appears that you're trying to get value out of a tracing tensor with aten._local_scalar_dense.default - erroring out! It's "
            "likely that this is caused by data-dependent control flow or similar.  It may be possible to trace this with dynamic shapes; "
            "try setting tracing_mode='symbolic' in your make_fx call."
        )

    # ---- values ----

    def note(self, t: Tensor, node: Node) -> None:
        a = t._a
        self.nodes[id(a)] = node
        self.kept.append(a)
        node.meta["val"] = wrap(MetaArray(a.shape, a.dtype, a.strides))

    def value(self, x: Any) -> Any:
        """What stands in the graph for an argument or result."""
        if isinstance(x, Tensor):
            node = self.nodes.get(id(x._a))
            if node is None:
                name = f"_tensor_constant{len(self.attributes)}"
                self.attributes[name] = x.detach() if isinstance(x._a, np.ndarray) else x
                node = self.graph.get_attr(name)
                self.note(x, node)
            return node
        return x

    def values(self, x: Any) -> Any:
        if isinstance(x, (list, tuple)) and not isinstance(x, flambeau.Size):
            return [self.values(y) for y in x]
        return list(x) if isinstance(x, flambeau.Size) else self.value(x)

    def results(self, node: Node, r: Any) -> None:
        if isinstance(r, Tensor):
            self.note(r, node)
        elif isinstance(r, (list, tuple)):
            import operator

            node.meta["val"] = [
                wrap(MetaArray(x._a.shape, x._a.dtype, x._a.strides)) if isinstance(x, Tensor) else x for x in r
            ]
            for i, x in enumerate(r):
                if isinstance(x, Tensor):
                    self.note(x, self.graph.call_function(operator.getitem, (node, i)))

    # ---- the call path ----

    def called(self, op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
        """Asked by the general lane before it runs an operator."""
        if self.running or _mapped(values):
            return NotImplemented
        if self.table and out is None and not into:
            made = self.decomposed(op, values)
            if made is not NotImplemented:
                return made
        if op.kind == "composite":
            return NotImplemented
        if out is not None:
            raise NotImplementedError("make_fx of a call with out=")
        return self.record(op, values, into)

    def decomposed(self, op: Op, values: tuple[Any, ...]) -> Any:
        """What the table of decompositions makes of a call: its parts are recorded. What cannot be taken apart leaves no trace."""
        from flambeau._decomp import applied

        overload = overloads.chosen(op, values)
        whole = written(overload)
        if whole is None or whole not in self.table or op in self.apart:
            return NotImplemented
        before, known = list(self.graph.nodes), dict(self.nodes)
        self.apart.append(op)
        try:
            made = applied(self.table, whole, *overloads.arguments(op, overload, values))
        finally:
            self.apart.pop()
        if made is NotImplemented:
            for node in reversed(list(self.graph.nodes)[len(before) :]):
                self.graph.erase_node(node)
            self.nodes = known
        return made

    def record(self, op: Op, values: tuple[Any, ...], into: bool) -> Any:
        """One call: a node for it, and its result."""
        node, r = self.ran(op, values, lambda: call.general(op, values, None, into), into)
        self.results(node, r)
        return r

    def created(self, op: Op, values: tuple[Any, ...], out: Any, extra: dict[str, Any]) -> Any:
        """Asked before a tensor is made from sizes."""
        if self.running or out is not None or _mapped(values):
            return NotImplemented
        options = [extra[n] for n in ("layout", "device", "pin_memory", "requires_grad")]
        node, r = self.ran(op, values, lambda: create.create(op, values, None, *options))
        self.results(node, r)
        return r

    def ran(self, op: Op, values: tuple[Any, ...], run: Callable[[], Any], into: bool = False) -> tuple[Node, Any]:
        """Runs a call: a node for it, with what its arguments stood for before, and what came back."""
        overload = overloads.chosen(op, values)
        args, kwargs = overloads.arguments(op, overload, values)
        args, kwargs = [self.values(a) for a in args], {k: self.values(v) for k, v in kwargs.items()}
        self.running, STATE.copied = True, self.copies if into else None
        try:
            r = run()
        finally:
            self.running, STATE.copied = False, None
        return self.graph.call_function(
            target(op, overload, into), tuple(args), kwargs, name=op.aten + ("_" if into else "")
        ), r

    def copies(self, t: Tensor, copy: Tensor) -> None:
        """`copy` holds what `t` was before an operator that writes to it: its derivative needs that."""
        op = REGISTRY["clone"]
        self.note(
            copy,
            self.graph.call_function(
                target(op, overloads.chosen(op, (t, None)), False), (self.value(t),), name="clone"
            ),
        )

    # ---- branches ----

    def inner(self) -> Recording:
        """A recording of the same kind, for a graph within this one."""
        return type(self)(self.table)

    def branch(self, pred: Tensor, true_fn: Any, false_fn: Any, operands: Any) -> Any:
        """`cond`: both functions as graphs of their own, and one node that calls one of them."""
        leaves = pytree.tree_leaves(operands)
        given, at = [self.value(x) for x in leaves], self.value(pred)
        parts = [_Branch(self, leaves, given) for _ in range(2)]
        self.running = True
        try:
            for part, fn in zip(parts, (true_fn, false_fn), strict=True):
                part.run(fn, operands)
            holds = bool(pred)
        finally:
            self.running = False
        if parts[0].spec != parts[1].spec:
            raise RuntimeError(
                f"Unmatched output spec from torch.cond branches: true branch tree_spec {parts[0].spec} vs false branch tree_spec {parts[1].spec}."
            )
        taken = sorted({n for p in parts for n in p.captured}, key=lambda n: n.name)
        nodes = []
        for kind, part in zip(("true", "false"), parts, strict=True):
            name = f"{kind}_graph_{sum(k.startswith(f'{kind}_graph_') for k in self.attributes)}"
            self.attributes[name] = part.finished(taken, name)
            nodes.append(self.graph.get_attr(name))
        fn = flambeau.ops.higher_order.cond
        node = self.graph.call_function(fn, (at, *nodes, (*given, *taken)), name="cond")
        node.meta["branches"] = [self.attributes[n.target] for n in nodes]
        part = parts[0 if holds else 1]
        self.results(node, tuple(part.results))
        for n in nodes:
            n.meta.update({k: v for k, v in node.meta.items() if k in ("nn_module_stack", "stack_trace")})
        return pytree.tree_unflatten(part.results, part.spec)

    def member(self, fn: Any, args: Any, kwargs: Any) -> Any:
        """Asked where a method that is no operator is called: indexing is made of operators here."""
        name = getattr(fn, "__name__", "").strip("_")
        if self.running or name not in ("getitem", "setitem"):
            return self.method(fn, args, kwargs)
        if name == "getitem":
            return indexed(*args)
        basic, tensors = getitem.parse(args[0], args[1])
        if tensors is not None:
            raise NotImplementedError("make_fx of an assignment to indices that are tensors")
        into, value = viewed(args[0], basic), args[2]
        return into.copy_(value) if isinstance(value, Tensor) else into.fill_(value)


class _Branch:
    """One function of a `cond`: a recording within a recording; tensors that the outer one knows become inputs."""

    def __init__(self, outer: Recording, leaves: list[Any], given: list[Any]) -> None:
        self.outer, self.recording = outer, outer.inner()
        self.captured: dict[Node, Node] = {}
        graph = self.recording.graph
        self.last: Node | None = None
        for x, node in zip(leaves, given, strict=True):
            self.last = graph.placeholder(node.name)
            self.recording.note(x, self.last)
        own = self.recording.value

        def value(x: Any) -> Any:
            outside = outer.nodes.get(id(x._a)) if isinstance(x, Tensor) else None
            if outside is None or id(x._a) in self.recording.nodes or outside.op == "get_attr":
                return own(x)
            first = next(iter(graph.nodes), None)
            with graph.inserting_before(first) if first is not None else nullcontext():
                self.captured[outside] = graph.placeholder(outside.name)
            self.recording.note(x, self.captured[outside])
            return self.captured[outside]

        self.recording.value = value  # type: ignore[method-assign]

    def run(self, fn: Any, operands: Any) -> None:
        known = set(self.recording.nodes)
        with self.recording:
            self.results, self.spec = pytree.tree_flatten(fn(*operands))
        if any(isinstance(r, Tensor) and (id(r._a) in known or id(r._a) in self.outer.nodes) for r in self.results):
            raise RuntimeError(
                "torch.cond: a branch gives a tensor that was there before; let it return `input.clone()` to avoid aliasing"
            )
        self.recording.graph.output(tuple(self.recording.value(r) for r in self.results))

    def finished(self, taken: list[Node], name: str) -> GraphModule:
        """The graph, with inputs for all that either branch takes."""
        graph = self.recording.graph
        for outside in taken:
            node = self.captured.get(outside)
            if node is None:
                node = graph.placeholder(outside.name)
                node.meta.update({k: v for k, v in outside.meta.items() if k == "val"})
            (self.last.append if self.last is not None else next(iter(graph.nodes)).prepend)(node)
            self.last = node
        return GraphModule(self.recording.attributes, graph, name)


def indexed(t: Tensor, index: Any) -> Tensor:
    """`t[index]`, by operators."""
    basic, tensors = getitem.parse(t, index)
    r = viewed(t, basic)
    return r if tensors is None else derive.function(REGISTRY["index.Tensor"])(r, tensors)


def viewed(t: Tensor, basic: tuple[Any, ...]) -> Tensor:
    """The part of `t[basic]` that is a view: select, slice, unsqueeze."""
    return getitem.viewed(t, basic, lambda overload: derive.function(REGISTRY[overload]))


class DecompositionInterpreter(Interpreter):
    """Runs a graph, and writes what it does into another: operators that the table has as their parts."""

    def __init__(self, module: GraphModule, new_graph: Graph, decomposition_table: Any = None, **options: Any) -> None:
        super().__init__(module, **options)
        self.new_graph, self.decomposition_table = new_graph, decomposition_table or {}
        self.mode = Recording(self.decomposition_table, new_graph)

    def placeholder(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._noted(super().placeholder(target, args, kwargs), self.new_graph.placeholder(target))

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._noted(super().get_attr(target, args, kwargs), self.new_graph.get_attr(target))

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = super().output(target, args, kwargs)
        self.new_graph.output(pytree.tree_map(self.mode.value, out))
        return out

    def run(self, *args: Any, **options: Any) -> Any:
        with self.mode:
            return super().run(*args, **options)

    def _noted(self, value: Any, node: Node) -> Any:
        if isinstance(value, Tensor):
            self.mode.note(value, node)
        return value


class _Selected(Interpreter):
    """Runs a graph while it is recorded; the table holds for some of its nodes."""

    def __init__(self, module: GraphModule, wanted: Callable[[Node], bool], table: Any) -> None:
        super().__init__(module)
        self.wanted, self.chosen = wanted, table

    def run_node(self, n: Node) -> Any:
        mode = _running[-1]
        before = mode.table
        mode.table = self.chosen if self.wanted(n) else {}
        try:
            return super().run_node(n)
        finally:
            mode.table = before


def selective_decompose(joint_gm: GraphModule, *args: Any, decomposition: Any, should_decompose: Callable[[Node], bool],
                        trace_joint_graph: bool) -> GraphModule:  # fmt: skip
    """The graph once more; nodes that `should_decompose` answers for are taken apart by the table."""
    run = _Selected(joint_gm, should_decompose, decomposition or {}).run

    def flat(*args: Any) -> Any:
        return run(*args)

    def joint(primals: list[Any], tangents: list[Any]) -> Any:
        return run(*args)

    return make_fx(joint if trace_joint_graph else flat, decomposition_table={})(*args)


class PythonKeyTracer(Tracer):
    """A tracer that follows every module's calls, and reads attributes as they are."""

    def __init__(self) -> None:
        super().__init__(autowrap_modules=())

    def call_module(self, m: Any, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        return attr_val

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, flambeau.nn.Parameter):
            name = next((n for n, p in self.root.named_parameters() if p is a), None)
            if name is None:
                name = self.get_fresh_qualname("_param_constant")
                setattr(self.root, name, a)
            return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def unwrap_proxy(self, e: Any) -> Any:
        """What stands for a tensor in the graph that is being recorded; everything else as it is."""
        mode = get_proxy_mode()
        node = mode.nodes.get(id(e._a)) if mode is not None and isinstance(e, Tensor) else None
        return e if node is None else Proxy(node, self)


def dispatch_trace(root: Any, tracer: Tracer, concrete_args: tuple[Any, ...] | None = None) -> GraphModule:
    """What a tracer makes of a module or function; what nobody uses is kept, for it may have effects."""
    graph = tracer.trace(root, concrete_args)  # type: ignore[arg-type]
    name = type(root).__name__ if isinstance(root, flambeau.nn.Module) else root.__name__
    return GraphModule(tracer.root, graph, name)


def handle_sym_dispatch(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """A function of sizes: while a graph is recorded they are numbers, and so is what is made of them."""
    if get_proxy_mode() is None:
        raise AssertionError("Expected proxy mode to be set")
    return func(*args, **kwargs)
