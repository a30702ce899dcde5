"""Tracer and symbolic_trace: run a program on proxies and keep the graph of what it did."""

from __future__ import annotations

import builtins
import copy
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

import flambeau
from flambeau import nn
from flambeau.fx.graph import Graph, _PyTreeCodeGen, _PyTreeInfo
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node
from flambeau.fx.proxy import ParameterProxy, Proxy, TracerBase
from flambeau.utils import _pytree as pytree

_call, _getattr = nn.Module.__call__, nn.Module.__getattr__
_wrapped: list[tuple[dict[str, Any], str]] = []
_wrapped_methods: list[tuple[type, str]] = []
_tracing: list[bool] = []


def is_fx_tracing() -> bool:
    """Whether a symbolic trace is running."""
    return bool(_tracing)


is_fx_symbolic_tracing = is_fx_tracing


class PHBase:
    """Marks the arguments of `concrete_args` that stay inputs."""

    def __repr__(self) -> str:
        return "PH"


PH = PHBase()


class ProxyableClassMeta(type):
    """Classes whose construction is recorded when an argument is a proxy."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        found = _find_proxy(args, kwargs)
        if found is not None:
            return found.tracer.create_proxy("call_function", cls, args, kwargs)
        return super().__call__(*args, **kwargs)


class Tracer(TracerBase):
    """Traces a module or function. Override `is_leaf_module` and `create_proxy` and their kind to change what is recorded."""

    def __init__(self, autowrap_modules: tuple[Any, ...] = (__import__("math"),), autowrap_functions: tuple[Any, ...] = (),
                 param_shapes_constant: bool = False) -> None:  # fmt: skip
        super().__init__()
        self._autowrap_functions = {
            id(v)
            for m in autowrap_modules
            for name, v in m.__dict__.items()
            if not name.startswith("_") and callable(v)
        } | {id(f) for f in autowrap_functions}
        self._autowrap_search = list(autowrap_modules)
        self.param_shapes_constant = param_shapes_constant
        self.submodule_paths: dict[nn.Module, str] | None = None
        self.root_module_name = ""
        self.scope = None
        self.module_stack: dict[str, Any] = {}
        self.tensor_attrs: dict[Any, str] = {}
        self._fresh: dict[str, int] = {}
        self.root: nn.Module = nn.Module()

    # ---- what may be overridden ----

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is recorded as one call; by default those of the library, but Sequential."""
        return m.__module__.startswith(("flambeau.nn", "torch.nn", "flambeau.ao.nn")) and not isinstance(
            m, nn.Sequential
        )

    def path_of_module(self, mod: nn.Module) -> str:
        """The dotted path of a module below the root."""
        if self.submodule_paths:
            path = self.submodule_paths.get(mod)
            if path is None:
                raise NameError("module is not installed as a submodule")
            return path
        for name, m in self.root.named_modules():
            if m is mod:
                return name
        raise NameError("module is not installed as a submodule")

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Called for each call of a module: records it if it is a leaf, else goes through it."""
        path = self.path_of_module(m)
        if not self.is_leaf_module(m, path):
            return forward(*args, **kwargs)
        made = self.create_proxy("call_module", path, args, kwargs)
        return made

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Called for each attribute of a module that is read: parameters become nodes."""

        def find(values: Iterator[tuple[str, Any]], parameter: bool) -> Any:
            for n, p in values:
                if attr_val is p:
                    if n not in parameter_proxy_cache:
                        options: dict[str, Any] = {}
                        if parameter and self.param_shapes_constant:
                            options["proxy_factory_fn"] = lambda node, n=n: ParameterProxy(self, node, n, attr_val)
                        parameter_proxy_cache[n] = self.create_proxy("get_attr", n, (), {}, **options)
                    return parameter_proxy_cache[n]
            return None

        if isinstance(attr_val, nn.Parameter):
            found = find(self.root.named_parameters(), True)
            if found is not None:
                return found
        if self.proxy_buffer_attributes and isinstance(attr_val, flambeau.Tensor):
            found = find(self.root.named_buffers(), False)
            if found is not None:
                return found
        return attr_val

    def create_arg(self, a: Any) -> Any:
        """A value as it may stand in a node's arguments; parameters, buffers and other tensors become attributes."""
        if isinstance(a, nn.Parameter):
            for n, p in self.root.named_parameters():
                if a is p:
                    return self.create_node("get_attr", n, (), {})
        elif isinstance(a, flambeau.Tensor):
            for n, p in self.root.named_buffers():
                if a is p:
                    return self.create_node("get_attr", n, (), {})
        elif isinstance(a, nn.Module):
            for n, m in self.root.named_modules():
                if a is m:
                    return self.create_node("get_attr", n, (), {})
        if isinstance(a, flambeau.Tensor):
            name = self.tensor_attrs.get(a)
            if name is None:
                name = self.get_fresh_qualname("_tensor_constant")
                self.tensor_attrs[a] = name
                setattr(self.root, name, a)
            return self.create_node("get_attr", name, (), {})
        if type(a) in _proxyable:
            name = self.get_fresh_qualname(f"_{a.__class__.__name__}_constant_")
            setattr(self.root, name, a)
            return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def get_fresh_qualname(self, prefix: str) -> str:
        """A name that the root has no attribute of."""
        n = self._fresh.get(prefix, 0)
        while hasattr(self.root, f"{prefix}{n}"):
            n += 1
        self._fresh[prefix] = n + 1
        return f"{prefix}{n}"

    # ---- the trace ----

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The function to run and its arguments: a proxy for each parameter."""
        fn = inspect.unwrap(root_fn)
        code: CodeType = fn.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        names = iter(code.co_varnames)
        args: list[Any] = []
        skip = 0
        if is_module:
            if count == 0:
                raise RuntimeError("``self`` argument cannot be part of *args expansion!")
            skip = 1
            next(names)
            args.append(self.root)
        signature = inspect.signature(fn)
        if isinstance(concrete_args, tuple):
            taken = [p for p in signature.parameters if p != "self" or not is_module]
            concrete_args = dict(zip(taken, concrete_args, strict=False))

        def placeholder(name: str) -> Any:
            if concrete_args is not None and name in concrete_args:
                flat, spec = pytree.tree_flatten(concrete_args[name])
                made = []
                for i, value in enumerate(flat):
                    if isinstance(value, PHBase):
                        made.append(self.create_proxy("placeholder", f"{name}_{i + 1}", (), {}))
                        continue
                    if len(flat) == 1:
                        out = self.create_proxy("placeholder", f"{name}_1", (), {})
                        if value is None or isinstance(value, (bool, int, float, str)):
                            self._guard_concrete(out, name, value)
                    made.append(value)
                return pytree.tree_unflatten(made, spec)
            default: tuple[Any, ...] = ()
            if name[0] != "*":
                p = signature.parameters[name]
                default = () if p.default is inspect.Parameter.empty else (p.default,)
            hint = getattr(fn, "__annotations__", {}).get(name.replace("*", ""))
            return self.create_proxy(
                "placeholder", name, default, {}, type_expr=hint if not isinstance(hint, str) else None
            )

        given = [next(names) for _ in range(skip, count)]
        args += [placeholder(n) for n in given]
        if code.co_kwonlyargcount > 0 or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
            if code.co_flags & inspect.CO_VARARGS:
                args.append(placeholder("*" + next(names)))
            if code.co_flags & inspect.CO_VARKEYWORDS:
                args.append(placeholder("**" + next(names)))
            root_fn = _without_varieties(fn, len(args))
        if concrete_args and any(not pytree.tree_is_leaf(v) for v in concrete_args.values()):
            in_spec = pytree.tree_flatten([concrete_args.get(n, PH) for n in given])[1]
            inner = root_fn

            def root_fn(*values: Any) -> Any:
                flat, spec = pytree.tree_flatten(inner(*values))
                self.graph._codegen = _PyTreeCodeGen(_PyTreeInfo(given, in_spec, spec))
                return flat

        return root_fn, args

    def _guard_concrete(self, out: Any, name: str, value: Any) -> None:
        if isinstance(value, bool):
            fn: Any = flambeau._assert
            self.create_proxy("call_function", fn, (out == value, f"{name} has been specialized to have value {value} but got another value"), {})  # fmt: skip
        elif value is None:
            self.create_proxy("call_function", _assert_is_none, (out, f"{name} has been specialized to have value None but got another value"), {})  # fmt: skip
        else:
            self.create_proxy("call_function", flambeau._assert, (out == value, f"{name} has been specialized to have value {value} but got another value"), {})  # fmt: skip

    def trace(self, root: nn.Module | Callable[..., Any], concrete_args: Any = None) -> Graph:
        """The graph of a module's forward, or of a function."""
        is_module = isinstance(root, nn.Module)
        if is_module:
            assert hasattr(type(root), self.traced_func_name), f"traced_func_name={self.traced_func_name} doesn't exist in {type(root).__name__}"  # fmt: skip
            fn = getattr(type(root), self.traced_func_name)
            self.root, self.root_module_name = root, root._get_name()
            self.submodule_paths = {m: name for name, m in root.named_modules()}
        else:
            self.root, fn = nn.Module(), root
        self.graph = Graph(tracer_cls=type(self))
        code = getattr(fn, "__code__", None)
        if code is not None:
            self.graph._co_fields = {"co_name": code.co_name, "co_filename": code.co_filename, "co_firstlineno": code.co_firstlineno}  # type: ignore[attr-defined]  # fmt: skip
        self.tensor_attrs = {}
        self._collect(self.root, [])
        fn, args = self.create_args_for_root(fn, is_module, concrete_args)
        cache: dict[str, Any] = {}

        def read(mod: nn.Module, attr: str) -> Any:
            return self.getattr(attr, _getattr(mod, attr), cache)

        def called(mod: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return self.call_module(mod, lambda *a, **k: _call(mod, *a, **k), args, kwargs)

        patches = _Patches()
        _tracing.append(True)
        try:
            patches.set(nn.Module, "__getattr__", read)
            patches.set(nn.Module, "__call__", called)
            for scope, name in _wrapped:
                patches.wrap(scope, name)
            for cls, name in _wrapped_methods:
                patches.set(cls, name, _recording_method(cls, name))
            self._autowrap(getattr(fn, "__globals__", {}), patches)
            for module in self._autowrap_search:
                self._autowrap(module.__dict__, patches)
            out = fn(*args)
            self.create_node("output", "output", (self.create_arg(out),), {},
                             type_expr=getattr(fn, "__annotations__", {}).get("return") if not isinstance(
                                 getattr(fn, "__annotations__", {}).get("return"), str) else None)  # fmt: skip
        finally:
            _tracing.pop()
            patches.revert()
        return self.graph

    def _collect(self, module: nn.Module, prefix: list[str]) -> None:
        for k, v in module.__dict__.items():
            if isinstance(v, flambeau.Tensor):
                self.tensor_attrs[v] = ".".join([*prefix, k])
        for k, v in module.named_children():
            self._collect(v, [*prefix, k])

    def _autowrap(self, scope: dict[str, Any], patches: _Patches) -> None:
        for name, value in list(scope.items()):
            if not name.startswith("_") and callable(value) and id(value) in self._autowrap_functions:
                patches.wrap(scope, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tracer:
        made = Tracer.__new__(type(self))
        for k, v in self.__dict__.items():
            made.__dict__[k] = copy.copy(v) if k in ("_autowrap_search",) else copy.deepcopy(v, memo)
        return made


_proxyable: dict[type, None] = {}


def _assert_is_none(value: Any, msg: str) -> None:
    assert value is None, msg


def _without_varieties(fn: Any, count: int) -> Any:
    """The function with `*args` and `**kwargs` as plain arguments, as a graph passes them."""
    code = fn.__code__
    flags = code.co_flags & ~(inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    made = FunctionType(
        code.replace(co_argcount=count, co_posonlyargcount=0, co_kwonlyargcount=0, co_flags=flags), fn.__globals__, fn.__name__,
        fn.__defaults__, fn.__closure__)  # fmt: skip
    made.__annotations__ = getattr(fn, "__annotations__", {})
    return made


class _Patches:
    """Replacements that last as long as a trace."""

    def __init__(self) -> None:
        self.undo: list[Callable[[], None]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        own = owner.__dict__.get(name)
        self.undo.append((lambda: delattr(owner, name)) if own is None else (lambda: setattr(owner, name, own)))
        setattr(owner, name, value)

    def wrap(self, scope: dict[str, Any], name: str) -> None:
        if name in scope:
            before = scope[name]
            if getattr(before, "__fx_already_patched", False):
                return
            self.undo.append(lambda: scope.__setitem__(name, before))
        elif hasattr(builtins, name):
            before = getattr(builtins, name)
            self.undo.append(lambda: scope.__delitem__(name))
        else:
            return
        scope[name] = _recording(before)

    def revert(self) -> None:
        while self.undo:
            self.undo.pop()()


def _find_proxy(*objects: Any) -> Proxy | None:
    return next((x for x in pytree.tree_leaves(objects) if isinstance(x, Proxy)), None)


def _recording(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        found = _find_proxy(args, kwargs)
        if found is None:
            return fn(*args, **kwargs)
        made = found.tracer.create_proxy("call_function", fn, args, kwargs)
        made.node.meta["is_wrapped"] = True
        return made

    recorded.__fx_already_patched = True  # type: ignore[attr-defined]
    return recorded


def _recording_method(cls: type, name: str) -> Callable[..., Any]:
    before = getattr(cls, name)

    @functools.wraps(before)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        found = _find_proxy(args, kwargs)
        return (
            before(*args, **kwargs) if found is None else found.tracer.create_proxy("call_method", name, args, kwargs)
        )

    return recorded


def wrap(fn_or_name: str | Callable[..., Any]) -> Any:
    """At the top of a module: calls of this function of the module are recorded, not followed.

    >>> import flambeau as torch
    >>> torch.fx.wrap("len")
    'len'
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    frame = sys._getframe(1)
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped.append((frame.f_globals, name))
    return fn_or_name


def symbolic_trace(root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> GraphModule:
    """Run a module or function on proxies; the graph of what it did, as a module.

    >>> import flambeau as torch
    >>> print(torch.fx.symbolic_trace(lambda x: (x + 1).relu()).graph)
    graph():
        %x : [num_users=1] = placeholder[target=x]
        %add : [num_users=1] = call_function[target=operator.add](args = (%x, 1), kwargs = {})
        %relu : [num_users=1] = call_method[target=relu](args = (%add,), kwargs = {})
        return relu
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = root.__class__.__name__ if isinstance(root, nn.Module) else root.__name__
    return GraphModule(tracer.root, graph, name)


@contextmanager
def _new_patcher() -> Iterator[_Patches]:
    patches = _Patches()
    try:
        yield patches
    finally:
        patches.revert()


__all__ = ["PH", "Node", "ProxyableClassMeta", "Tracer", "is_fx_tracing", "symbolic_trace", "wrap"]
