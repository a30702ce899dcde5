"""`torch.jit.script` and the objects it makes: compiled functions, modules, objects of compiled classes."""

from __future__ import annotations

import collections
import copy
import inspect
import io
import warnings
from typing import Any

from flambeau._tensor import Tensor
from flambeau.jit._language import types as ty
from flambeau.jit._language.call import arguments, out
from flambeau.jit._language.core import GraphView
from flambeau.jit._language.failures import NotScript
from flambeau.jit._language.printer import Printer
from flambeau.jit._language.program import Compiled, inline
from flambeau.jit._language.run import Object
from flambeau.jit._state import _enabled
from flambeau.nn import Module

Attribute = collections.namedtuple("Attribute", ["value", "type"])
Attribute.__doc__ = "A value and its type in TorchScript, for attributes whose type does not show."


class ScriptWarning(Warning):
    """Something in a scripted program is not what it seems."""


class ConstMap:
    """Constants of a program's text by name: `code_with_constants`."""

    def __init__(self, constants: list[Any]) -> None:
        self.const_mapping = {f"c{i}": c for i, c in enumerate(constants)}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["const_mapping"][name]
        except KeyError:
            raise AttributeError(name) from None


class _Callable:
    """What compiled functions and methods share: texts of their stages."""

    _fn: Compiled

    @property
    def graph(self) -> Any:
        return GraphView(self._fn.graph)

    @property
    def inlined_graph(self) -> Any:
        return GraphView(inline(self._fn.graph))

    @property
    def schema(self) -> Any:
        return self._fn.schema

    @property
    def code(self) -> str:
        return self.code_with_constants[0]

    @property
    def code_with_constants(self) -> tuple[str, ConstMap]:
        constants: list[Any] = []
        fn = self._fn
        owner = "" if fn.owner is not None else None
        text = Printer(constants).function(fn.graph, fn.short, fn.schema, self_type=owner)
        return text, ConstMap(constants)

    def graph_for(self, *args: Any, **kwargs: Any) -> Any:
        """The graph that runs for these arguments: here it is the same for all, with calls inlined."""
        return self.inlined_graph

    def get_debug_state(self) -> Any:
        raise NotImplementedError("get_debug_state is not implemented")


class ScriptFunction(_Callable):
    """A compiled function."""

    def __init__(self, fn: Compiled, python: Any = None) -> None:
        self._fn = fn
        self.__doc__ = getattr(python, "__doc__", None)
        self.__name__ = fn.short
        self._python = python
        if python is not None:
            self.__wrapped__ = python

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fn = self._fn
        from flambeau.jit._language import tracing

        state = tracing.STATE.current
        if state is not None:
            return state.call_script(fn, args, kwargs)
        return out(fn.call(*arguments(fn.schema, fn.short, args, kwargs, False)))

    @property
    def name(self) -> str:
        return self._fn.short

    @property
    def qualified_name(self) -> str:
        return self._fn.name

    def save(self, f: Any, _extra_files: Any = None) -> None:
        from flambeau.jit._serialization import save

        save(self, f, _extra_files)

    def save_to_buffer(self, _extra_files: Any = None) -> bytes:
        buffer = io.BytesIO()
        self.save(buffer, _extra_files)
        return buffer.getvalue()

    def __getstate__(self) -> Any:
        raise RuntimeError("ScriptFunction cannot be pickled")

    def __reduce__(self) -> Any:
        raise RuntimeError("ScriptFunction cannot be pickled")

    def _debug_flush_compilation_cache(self) -> None:
        self._fn._run = None


class ScriptMethod(_Callable):
    """A compiled method of a module."""

    def __init__(self, owner: Any, fn: Compiled) -> None:
        self.owner, self._fn = owner, fn
        self.__name__ = self.name = fn.short

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        fn = self._fn
        from flambeau.jit._language import tracing

        state = tracing.STATE.current
        if state is not None:
            return state.call_script(fn, args, kwargs, self.owner)
        return out(fn.call(self.owner, *arguments(fn.schema, fn.short, args, kwargs, True)))


class RecursiveScriptClass:
    """An object of a compiled class."""

    def __init__(self, c: Object) -> None:
        self.__dict__["_c"] = c

    def __getattr__(self, name: str) -> Any:
        c = self.__dict__["_c"]
        if name in c._type.methods:
            fn = c._type.methods[name]
            return lambda *args, **kwargs: out(fn.call(c, *arguments(fn.schema, name, args, kwargs, True)))
        if name in c.__dict__:
            return out(c.__dict__[name])
        if name in c._type.properties:
            return out(c._type.methods[c._type.properties[name][0]].call(c))
        raise AttributeError(f"'{c._type.name()}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        from flambeau.jit._language.call import into

        c = self.__dict__["_c"]
        c.__dict__[name] = into(value, c._type.attributes[name])

    def forward_magic_method(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        if method_name not in self.__dict__["_c"]._type.methods:
            raise TypeError(method_name)
        return self.__getattr__(method_name)(*args, **kwargs)


def _magic(name: str) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.forward_magic_method(name, *args, **kwargs)

    return call


for _n in ["__len__", "__neg__", "__mul__", "__contains__", "__add__", "__sub__", "__pow__", "__truediv__", "__mod__", "__ne__", "__eq__", "__lt__", "__gt__", "__le__", "__ge__", "__and__", "__or__", "__xor__", "__getitem__", "__setitem__", "__call__", "__int__", "__float__", "__bool__", "__str__", "__enter__", "__exit__", "__iter__"]:  # fmt: skip
    setattr(RecursiveScriptClass, _n, _magic(_n))
RecursiveScriptClass.__hash__ = object.__hash__  # type: ignore[method-assign]


class _Handle:
    """The compiled side of a module, as PyTorch's `_c` is used."""

    def __init__(self, module: Any, t: ty.Class) -> None:
        self.module, self.type = module, t

    def _type(self) -> ty.Class:
        return self.type

    def qualified_name(self) -> str:
        return self.type.qualified

    def _get_method(self, name: str) -> ScriptMethod:
        return ScriptMethod(self.module, self.type.methods[name])

    def _find_method(self, name: str) -> ScriptMethod | None:
        return self._get_method(name) if name in self.type.methods else None

    def _has_method(self, name: str) -> bool:
        return name in self.type.methods

    def _method_names(self) -> list[str]:
        return list(self.type.methods)

    def hasattr(self, name: str) -> bool:
        return name in self.type.attributes

    def getattr(self, name: str) -> Any:
        return getattr(self.module, name)

    def setattr(self, name: str, value: Any) -> None:
        setattr(self.module, name, value)


class ScriptMeta(type):
    """Classes whose methods are marked with `script_method`: an instance is compiled when it has been made."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        stubs = {}
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():
                if isinstance(value, _MethodStub):
                    stubs[name] = value
        made = super().__call__(*args, **kwargs)
        if not stubs or not _enabled or isinstance(made, RecursiveScriptModule):
            return made
        from flambeau.jit._language import modules

        modules.compile_into(made, {n: s.fn for n, s in stubs.items()})
        return made


class _MethodStub:
    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        if obj is None:
            return self
        t = obj.__dict__.get("_class_type")
        if t is not None:
            return ScriptMethod(obj, t.methods[self.fn.__name__])
        return self.fn.__get__(obj)


class ScriptModule(Module, metaclass=ScriptMeta):
    """A compiled module."""

    __jit_unused_properties__ = ["code", "code_with_constants", "graph", "inlined_graph", "original_name"]

    @property
    def _c(self) -> Any:
        t = self.__dict__.get("_class_type")
        if t is None:
            raise AttributeError("_c")
        return _Handle(self, t)

    def _method(self, name: str = "forward") -> ScriptMethod:
        t = self.__dict__.get("_class_type")
        if t is None or name not in t.methods:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return ScriptMethod(self, t.methods[name])

    @property
    def graph(self) -> Any:
        """The graph of `forward`."""
        return self._method().graph

    @property
    def inlined_graph(self) -> Any:
        """The graph of `forward`, with all it calls in place."""
        return self._method().inlined_graph

    @property
    def code(self) -> str:
        """The program of `forward`."""
        return self._method().code

    @property
    def code_with_constants(self) -> tuple[str, ConstMap]:
        """The program of `forward`, and the tensors it mentions."""
        return self._method().code_with_constants

    @property
    def original_name(self) -> str:
        """The name of the class that was compiled."""
        t = self.__dict__.get("_class_type")
        return t.name() if t is not None else ""

    def graph_for(self, *args: Any, **kwargs: Any) -> Any:
        return self._method().graph_for(*args, **kwargs)

    def get_debug_state(self, *args: Any, **kwargs: Any) -> Any:
        return self._method().get_debug_state()

    def save(self, f: Any, **kwargs: Any) -> None:
        """Write an archive; see `torch.jit.save`."""
        from flambeau.jit._serialization import save

        save(self, f, **kwargs)

    def save_to_buffer(self, *args: Any, **kwargs: Any) -> bytes:
        """The bytes of an archive."""
        buffer = io.BytesIO()
        self.save(buffer, **dict(zip(("_extra_files",), args)), **kwargs)
        return buffer.getvalue()

    def _save_for_lite_interpreter(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            "_save_for_lite_interpreter is not implemented: archives for the mobile interpreter are not written"
        )

    def _save_to_buffer_for_lite_interpreter(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("_save_to_buffer_for_lite_interpreter is not implemented")

    def define(self, src: str) -> None:
        """Add a method from its source."""
        from flambeau.jit._language import modules

        modules.define(self, src)

    def forward_magic_method(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        return self._method(method_name)(*args, **kwargs)

    def _get_methods(self) -> list[str]:
        return list(self._c._method_names())

    @property
    def _constants_set(self) -> set[str]:
        return set(self.__dict__["_class_type"].constants)


class _Forward:
    def __get__(self, obj: Any, owner: Any = None) -> Any:
        return self if obj is None else obj._method("forward")


class RecursiveScriptModule(ScriptModule):
    """A module compiled with all that it holds."""

    forward = _Forward()  # type: ignore[assignment]

    def __init__(self, cpp_module: Any = None) -> None:
        super().__init__()

    @staticmethod
    def _construct(cpp_module: Any, init_fn: Any) -> RecursiveScriptModule:
        return cpp_module.module if isinstance(cpp_module, _Handle) else cpp_module

    def __getattr__(self, name: str) -> Any:
        t = self.__dict__.get("_class_type")
        if t is not None:
            if name in t.methods:
                return ScriptMethod(self, t.methods[name])
            if name in t.properties:
                return out(t.methods[t.properties[name][0]].call(self))
            if name in t.constants and name not in self._parameters and name not in self._modules:
                return t.constants[name]
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise AttributeError(f"'RecursiveScriptModule' object has no attribute '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        t = self.__dict__.get("_class_type")
        if t is not None:
            if name in t.constants:
                raise RuntimeError(f"Can't set constant '{name}' which has value:{t.constants[name]}")
            kind = t.attributes.get(name)
            if kind is not None and name not in t.parameters and name not in t.buffers and name not in self._modules:
                from flambeau.jit._language.call import Unfit, into, uncastable

                try:
                    self.__dict__[name] = into(value, kind)
                except Unfit:
                    raise RuntimeError(
                        f"Could not cast attribute '{name}' to type {kind}: {uncastable(value)}"
                    ) from None
                return
            if kind is ty.TENSOR and not isinstance(value, Tensor):
                raise RuntimeError(
                    f"Could not cast attribute '{name}' to type Tensor: Unable to cast {value!r} to Tensor"
                )
            if name in self._modules and isinstance(value, Module) and not isinstance(value, ScriptModule):
                raise RuntimeError(
                    f"Cannot re-assign modules in a ScriptModule with non-scripted module, tried to replace existing module '{name}': {value}"
                )
        super().__setattr__(name, value)

    def __dir__(self) -> Any:
        t = self.__dict__.get("_class_type")
        return sorted({*super().__dir__(), *(t.methods if t is not None else ())})

    def extra_repr(self) -> str:
        return f"original_name={self.original_name}"

    def _get_name(self) -> str:
        return "RecursiveScriptModule"

    def train(self, mode: bool = True) -> Any:
        for m in self.modules():
            if "training" in m.__dict__:
                m.__dict__["training"] = mode
        return self

    def __copy__(self) -> Any:
        return self._copied(lambda v: v)

    def __deepcopy__(self, memo: Any) -> Any:
        return self._copied(lambda v: copy.deepcopy(v, memo), memo)

    def _copied(self, each: Any, memo: Any = None) -> Any:
        made = type(self).__new__(type(self))
        if memo is not None:
            memo[id(self)] = made
        for k, v in self.__dict__.items():
            made.__dict__[k] = (
                v if k == "_class_type" else dict(each(v)) if k in ("_parameters", "_buffers", "_modules") else each(v)
            )
        return made

    def __getstate__(self) -> Any:
        t = self.__dict__["_class_type"]
        raise RuntimeError(f"Tried to serialize object {t} which does not have a __getstate__ method defined!")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__getstate__()

    def __bool__(self) -> bool:
        t = self.__dict__["_class_type"]
        return bool(self._method("__bool__")()) if "__bool__" in t.methods else True


def _contained(module: Any, name: str, *args: Any) -> Any:
    """What containers of modules do, on their scripted form."""
    from flambeau import nn

    kind = getattr(nn, module.original_name, None)
    if kind not in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        raise NotImplementedError(name)
    held = module._modules
    if name == "__len__":
        return len(held)
    if name == "__iter__":
        return iter(list(held) if kind is nn.ModuleDict else list(held.values()))
    if name == "__contains__":
        return args[0] in (held if kind is nn.ModuleDict else held.values())
    return held[args[0]] if kind is nn.ModuleDict else list(held.values())[args[0]]


def _container(name: str) -> Any:
    def call(self: Any, *args: Any) -> Any:
        t = self.__dict__["_class_type"]
        return self._method(name)(*args) if name in t.methods else _contained(self, name, *args)

    return call


for _n in ("__len__", "__iter__", "__getitem__", "__contains__"):
    setattr(RecursiveScriptModule, _n, _container(_n))


class TracedModule(RecursiveScriptModule):
    """A module within one that was traced."""

    def _get_name(self) -> str:
        return self.original_name


class TopLevelTracedModule(TracedModule):
    """What `torch.jit.trace` gives for a module."""


def new_module(t: ty.Class, cls: Any = None) -> Any:
    """An empty module of a compiled type."""
    made = (cls or RecursiveScriptModule).__new__(cls or RecursiveScriptModule)
    Module.__init__(made)
    made.__dict__["_class_type"] = t
    if "training" not in t.attributes:
        made.__dict__["training"] = True
    return made


def script_method(fn: Any) -> Any:
    """Compile a method of a `ScriptModule`."""
    return _MethodStub(fn) if _enabled else fn


def interface(obj: Any) -> Any:
    """Make a class of method declarations a type that other classes and modules can satisfy."""
    if not inspect.isclass(obj):
        raise RuntimeError("interface must be applied to a class")
    if not (obj.__mro__[1] is object or issubclass(obj, Module)) or (
        len(obj.__mro__) > 3 and not issubclass(obj, Module)
    ):
        raise RuntimeError(
            "TorchScript interface does not support inheritance yet. Please directly inherit from 'object' or 'nn.Module'."
        )
    obj.__torch_script_interface__ = True
    return obj


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """Compile a function, class or module to TorchScript."""
    if not _enabled:
        return obj
    if optimize is not None:
        warnings.warn(
            "`optimize` is deprecated and has no effect. Use `with torch.jit.optimized_execution()` instead",
            FutureWarning,
            stacklevel=2,
        )
    if isinstance(obj, (ScriptModule, ScriptFunction, RecursiveScriptClass)):
        return obj
    try:
        return _compiled(obj)
    except NotScript as why:
        raise RuntimeError(*why.args) from None


def _compiled(obj: Any) -> Any:
    from flambeau.jit import _recursive

    if isinstance(obj, Module):
        return _recursive.script_module(obj)
    if isinstance(obj, (dict, list)):
        return obj
    if inspect.isclass(obj):
        return _recursive.script_class(obj)
    if inspect.isfunction(obj) or inspect.ismethod(obj):
        if getattr(obj, "__script_if_tracing_wrapper", False):
            obj = obj.__original_fn  # type: ignore[union-attr]
        return _recursive.script_function(obj)
    if callable(obj) and not isinstance(obj, type):
        return _recursive.script_class_instance(obj)
    raise TypeError(f"torch.jit.script cannot compile a {type(obj).__name__}")


def _unwrap_optional(x: Any) -> Any:
    if x is None:
        raise AssertionError("Unwrapping null optional")
    return x


class CompilationUnit:
    """Functions defined from their source."""

    def __init__(self, lang: str | None = None, _frames_up: int = 0) -> None:
        self._functions: dict[str, ScriptFunction] = {}
        if lang is not None:
            self.define(lang, _frames_up=_frames_up + 1)

    def define(self, lang: str, rcb: Any = None, _frames_up: int = 0) -> Any:
        from flambeau.jit import _recursive

        frame = inspect.currentframe()
        for _ in range(_frames_up + 1):
            frame = frame.f_back  # type: ignore[union-attr]
        scope = {**frame.f_globals, **frame.f_locals}  # type: ignore[union-attr]
        self._functions.update({n: ScriptFunction(f) for n, f in _recursive.define_functions(lang, scope).items()})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_functions"][name]
        except KeyError:
            raise AttributeError(f"'CompilationUnit' has no attribute '{name}'") from None


_python_cu = CompilationUnit()
__all__ = ["Attribute", "CompilationUnit", "RecursiveScriptClass", "RecursiveScriptModule", "ScriptFunction", "ScriptModule", "ScriptWarning",
           "interface", "script", "script_method"]  # fmt: skip
