"""Proxy: stands for a value while a program is traced, and records what is done to it."""

from __future__ import annotations

import dis
import inspect
import operator
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import flambeau
from flambeau.fx import traceback as fx_traceback
from flambeau.fx.codegen import magic_methods, reflectable_magic_methods
from flambeau.fx.graph import Graph
from flambeau.fx.node import Node, base_types

_ITERATION = ("Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or **kwargs function "
              "argument. See the torch.fx docs on pytorch.org for a more detailed explanation of what types of control flow can be traced, "
              "and check out the Proxy docstring for help troubleshooting Proxy iteration errors")  # fmt: skip


class TraceError(ValueError):
    """The program does something that a trace cannot hold."""


class TracerBase:
    """Makes nodes of a graph, and proxies for them."""

    graph: Graph
    record_stack_traces: bool = False
    check_mutable_operations: bool = False
    trace_asserts: bool = False
    proxy_buffer_attributes: bool = False
    traced_func_name: str = "forward"

    def create_node(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None,
                    type_expr: Any = None) -> Node:  # fmt: skip
        """A node at the graph's insert point."""
        node = self.graph.create_node(kind, target, args, kwargs, name, type_expr)
        if fx_traceback.has_preserved_node_meta():
            node.meta.update({k: v for k, v in fx_traceback.get_current_meta().items() if k not in node.meta})
        return node

    def proxy(self, node: Node) -> Proxy:
        """A proxy for a node."""
        return Proxy(node, self)

    def create_proxy(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None,
                     type_expr: Any = None, proxy_factory_fn: Callable[[Node], Proxy] | None = None) -> Any:  # fmt: skip
        """A node for a call whose arguments may be proxies, and a proxy for it."""
        args_, kwargs_ = self.create_arg(args), self.create_arg(kwargs)
        assert isinstance(args_, tuple) and isinstance(kwargs_, dict)
        node = self.create_node(kind, target, args_, kwargs_, name, type_expr)
        made = proxy_factory_fn(node) if proxy_factory_fn else self.proxy(node)
        if self.record_stack_traces and not node.stack_trace:
            node.stack_trace = "".join(traceback.StackSummary.from_list(self._user_frames()).format())
        return made

    def _user_frames(self) -> Any:
        ours = flambeau.__path__[0]
        return [f for f in traceback.extract_stack() if not f.filename.startswith((ours, "<flambeau"))]

    def create_arg(self, a: Any) -> Any:
        """A value as it may stand in a node's arguments."""
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, tuple):
            made = [self.create_arg(x) for x in a]
            return type(a)(*made) if hasattr(a, "_fields") else type(a)(made) if type(a) is not tuple else tuple(made)
        if isinstance(a, list):
            return [self.create_arg(x) for x in a]
        if isinstance(a, dict):
            out = {}
            for k, v in a.items():
                key = self.create_arg(k)
                if any(True for _ in _nodes(key)):
                    raise RuntimeError(
                        f"Keys for dictionaries used as an argument cannot contain a Node. Got key: {key}"
                    )
                out[key] = self.create_arg(v)
            return out
        if isinstance(a, slice):
            return slice(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if isinstance(a, range):
            return range(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if is_dataclass(a) and not isinstance(a, type):
            return self.create_node(
                "call_function", a.__class__, (), {f.name: self.create_arg(getattr(a, f.name)) for f in fields(a)}
            )
        if isinstance(a, (*base_types, type(None), type(...), type)) or callable(a) or a is inspect.Parameter.empty:
            return a
        raise NotImplementedError(f"argument of type: {type(a)}")

    def to_bool(self, obj: Proxy) -> bool:
        """Called where a proxy decides a branch."""
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow")

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """Called where a proxy is iterated over. Unpacking to a known number of names is allowed."""
        frame = sys._getframe(2)
        expected = _unpacked(frame)
        if expected is not None:
            return (obj[i] for i in range(expected))
        raise TraceError(_ITERATION)

    def keys(self, obj: Proxy) -> Any:
        """Called where a proxy is spread as `**kwargs`."""
        return Attribute(obj, "keys")()


def _nodes(a: Any) -> Iterator[Node]:
    from flambeau.fx.node import nodes_in

    return nodes_in(a)


def _unpacked(frame: Any) -> int | None:
    """How many names the instruction that a frame is at unpacks into, if it does."""
    last = [x for x in dis.get_instructions(frame.f_code) if x.offset <= frame.f_lasti][-1]
    return last.arg if last.opname == "UNPACK_SEQUENCE" else None


class GraphAppendingTracer(TracerBase):
    """Appends to a graph that exists: for proxies made by hand."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.scope = None
        self.module_stack: dict[str, Any] = {}


class Proxy:
    """A value of a traced program: every operation on it becomes a node."""

    def __init__(self, node: Node, tracer: TracerBase | None = None) -> None:
        self.tracer = tracer if tracer is not None else GraphAppendingTracer(node.graph)
        self.node = node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Any:
        if k in ("node", "tracer"):
            raise AttributeError(k)
        return Attribute(self, k)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state

    def __deepcopy__(self, memo: Any) -> Proxy:
        return Proxy(self.node, self.tracer)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        return self.tracer.iter(self)

    def __abs__(self) -> Any:
        return self.tracer.create_proxy("call_function", operator.abs, (self,), {})

    def __bool__(self) -> bool:
        if self.tracer.trace_asserts:
            frame = sys._getframe(1)
            if _asserted(frame):
                self.tracer.create_proxy("call_function", flambeau._assert, (self, "assertion"), {})
                return True
        return self.tracer.to_bool(self)

    def keys(self) -> Any:
        """Spread as `**kwargs`: refused by the tracer."""
        return self.tracer.keys(self)

    def __len__(self) -> int:
        raise RuntimeError("'len' is not supported in symbolic tracing by default. If you want this call to be recorded, please call torch.fx.wrap('len') at module scope")  # fmt: skip

    @classmethod
    def __torch_function__(cls, orig_method: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tracer = next(t for a in (*args, *kwargs.values()) if (t := _tracer_of(a)) is not None)
        name = getattr(orig_method, "__name__", "")
        if getattr(orig_method, "__qualname__", "").startswith("Tensor.") or (
            isinstance(orig_method, (staticmethod, type(Proxy.keys))) and _is_method(orig_method)
        ):
            return tracer.create_proxy("call_method", name, args, kwargs)
        args, kwargs = _as_called(orig_method, args, kwargs)
        return tracer.create_proxy("call_function", _public(orig_method), args, kwargs)


def _public(fn: Any) -> Any:
    """The public function that an overload of it stands for."""
    name, module = getattr(fn, "__name__", ""), getattr(fn, "__module__", "")
    if getattr(fn, "__op__", None) is not None and module.startswith("flambeau"):
        owner: Any = flambeau
        for part in module.split(".")[1:]:
            owner = getattr(owner, part, None)
        found = getattr(owner, name, None) if owner is not None else None
        if found is not None and callable(found):
            return found
    return fn


def _is_method(fn: Any) -> bool:
    return getattr(flambeau.Tensor, getattr(fn, "__name__", ""), None) is fn and not hasattr(flambeau, fn.__name__)


def _tracer_of(a: Any) -> TracerBase | None:
    if isinstance(a, Proxy):
        return a.tracer
    if isinstance(a, (tuple, list)):
        return next((t for x in a if (t := _tracer_of(x)) is not None), None)
    if isinstance(a, dict):
        return _tracer_of(list(a.values()))
    if isinstance(a, slice):
        return _tracer_of([a.start, a.stop, a.step])
    return None


def _as_called(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as the program wrote them: operators hand them on in the order of their parameters, named or not."""
    op, call = getattr(fn, "__op__", None), _call_of(fn)
    if op is None or call is None:
        return args, kwargs
    count, names = call
    full = {p.name: p.default for p in op.params} | dict(zip((p.name for p in op.params), args)) | kwargs
    if count > len(op.params) or not set(names) <= set(full):
        return args, kwargs
    if op.params[0].name == "size" and count > 1 and fn.__code__.co_flags & inspect.CO_VARARGS:
        return tuple(full["size"]), {n: full[n] for n in names}
    first = [p.name for p in op.params[:count]]
    return tuple(full[n] for n in first), {n: full[n] for n in names}


def _call_of(fn: Any) -> tuple[int, tuple[str, ...]] | None:
    """How many arguments by position, and which names, the call of fn that is on the stack has: read from the caller's instructions."""
    code = getattr(fn, "__code__", None)
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    frame = frame and frame.f_back
    if frame is not None and frame.f_code.co_name == "overloaded":  # the chooser between overloads
        frame = frame.f_back
    if frame is None:
        return None
    names: Any = ()
    found = [x for x in dis.get_instructions(frame.f_code) if x.offset <= frame.f_lasti]
    last = found[-1]  # the frame may stand in the inline caches behind the call
    if last.opname not in ("CALL", "CALL_KW"):
        return None
    for x in reversed(found[:-1]):
        if x.opname == "KW_NAMES":
            names = frame.f_code.co_consts[x.arg]  # type: ignore[index]
        if x.opname != "PRECALL":
            break
    if last.opname == "CALL_KW":
        names = found[-2].argval
    return (last.arg or 0) - len(names), tuple(names)


def _asserted(frame: Any) -> bool:
    found = list(dis.get_instructions(frame.f_code))
    at = sum(x.offset <= frame.f_lasti for x in found)
    return any(x.opname == "LOAD_ASSERTION_ERROR" for x in found[at : at + 3])


class Attribute(Proxy):
    """`x.name` of a proxy: a method if it is called, else a node that reads the attribute."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class ParameterProxy(Proxy):
    """A parameter of the traced module; its shape is known."""

    def __init__(self, tracer: TracerBase, node: Node, name: str, param: Any) -> None:
        super().__init__(node, tracer)
        self.param, self.name = param, name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self) -> Any:
        return self.param.shape

    def size(self) -> Any:
        return self.param.size()

    def dim(self) -> int:
        return self.param.dim()

    @property
    def ndim(self) -> int:
        return self.param.ndim

    def numel(self) -> int:
        return self.param.numel()

    def nelement(self) -> int:
        return self.param.nelement()


def _define(name: str, fn: Any) -> None:
    def method(*args: Any, **kwargs: Any) -> Any:
        return args[0].tracer.create_proxy("call_function", fn, args, kwargs)

    method.__name__ = method.__qualname__ = name
    setattr(Proxy, name, method)


def _define_reflected(name: str, fn: Any) -> None:
    def method(self: Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", fn, (other, self), {})

    method.__name__ = method.__qualname__ = name
    setattr(Proxy, name, method)


for _name in magic_methods:
    _define(f"__{_name.strip('_')}__", getattr(operator, _name))
for _name in reflectable_magic_methods:
    _define_reflected(f"__r{_name.strip('_')}__", getattr(operator, _name))
Proxy.__hash__ = object.__hash__  # type: ignore[method-assign]  # `__eq__` above records a node
