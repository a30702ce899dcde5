"""Modules while they are compiled: their types, their members, and the scripted modules that are made of them."""

from __future__ import annotations

import ast
import enum
import inspect
import textwrap
import types as python_types
import typing
from typing import Any

import flambeau
from flambeau import _jit_internal as marks
from flambeau.jit._language import operators, types as ty
from flambeau.jit._language.graph import Value
from flambeau.jit._language.program import Compiled
from flambeau.jit._language.schema import Argument
from flambeau.jit._language.values import Items, Method, Overloaded, Special, Sugared, as_value
from flambeau.jit._recursive import (
    _KINDS,
    PythonResolver,
    _defined,
    class_type,
    dropped,
    from_python,
    method_of,
    need,
    python_call,
    signature,
    unique,
)
from flambeau.nn import Module, ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from flambeau.nn.modules.rnn import RNNBase

_OWN = ("flambeau.nn", "torch.nn")  # where the library's modules are from, also where it stands in for PyTorch


class ModuleValue(Sugared):
    """A module while it is compiled: its members are found on Python's module."""

    def __init__(self, v: Value) -> None:
        self.v = v

    @property
    def type(self) -> Any:
        return self.v.type

    @property
    def module(self) -> Any:
        return self.v.type.concrete

    def kind(self) -> str:
        return "module"

    def value(self, em: Any, place: Any) -> Value:
        return self.v

    def python_is(self, wanted: Any, objects: tuple[Any, ...]) -> bool:
        return isinstance(self.module, tuple(o for o in objects if inspect.isclass(o)))

    python_type = True

    def has(self, name: str) -> bool:
        return name in self.type.attributes or name in self.type.constants or hasattr(self.module, name)

    def child(self, em: Any, name: str, place: Any = None) -> Any:
        t = self.type.attributes[name]
        v = em.node("prim::GetAttr", [self.v], t, place, out=name, name=name)
        return ModuleValue(v) if isinstance(t, ty.Class) and t.is_module else v

    def children(self, em: Any, place: Any) -> list[Any]:
        return [self.child(em, n, place) for n in self.module._modules]

    def items(self, em: Any, place: Any) -> list[Any] | None:
        if isinstance(self.module, (Sequential, ModuleList)):
            return self.children(em, place)
        if isinstance(self.module, ModuleDict):
            return [em.constant(n) for n in self.module._modules]
        if isinstance(self.module, ParameterList):
            return [self.child(em, str(i), place) for i in range(len(self.module))]
        em.fail("Only constant Sequential, ModuleList, ModuleDict, or ParameterList can be used as an iterable", place)
        return None

    def getitem(self, em: Any, index: Any, place: Any) -> Any:
        if isinstance(self.module, ModuleDict):
            v = as_value(em, index, place)
            if v.node is None or v.node.kind != "prim::Constant":
                em.fail("Unable to extract string literal index. ModuleDict indexing is only supported with string literals. For example, 'i = \"a\"; self.layers[i](x)' will fail because i is not a literal.", place)  # fmt: skip
            return self.child(em, v.node.attrs["value"], place)
        return Items(self.items(em, place) or []).getitem(em, index, place)

    def attr(self, em: Any, name: str, place: Any) -> Any:
        t, m = self.type, self.module
        if isinstance(m, (ModuleDict, ParameterDict)) and name in ("items", "keys", "values"):
            keys = list(m._modules) if isinstance(m, ModuleDict) else list(m.keys())
            parts = [em.constant(k) if name == "keys" else self.child(em, k, place) if name == "values" else Items([em.constant(k), self.child(em, k, place)]) for k in keys]  # fmt: skip
            return Special(name, lambda em, a, k, p: Items(parts))
        if name in ("named_children", "children", "modules", "named_modules", "parameters", "named_parameters", "buffers", "named_buffers") and name not in t.attributes:  # fmt: skip
            return Special(name, lambda em, a, k, p: self.listing(em, name, p))
        if name in t.attributes:
            if t.attributes[name] is ty.NONE:
                return em.constant(None)
            return self.child(em, name, place)
        if name in t.constants:
            value = t.constants[name]
            return em.constant(value) if not isinstance(value, (tuple, list)) else constant_items(em, value)
        if name in t.methods and name not in ("forward",):
            return Method(self.v, name)
        functions = t.functions
        if name in functions:
            return PythonResolver({}).sugar(functions[name], em, place, name)
        if name in t.failed:
            em.fail(f"Module '{t.name()}' has no attribute '{name}' ({t.failed[name]})", place)
        found = inspect.getattr_static(type(m), name, None)
        if isinstance(found, property):
            key = f"__{name}_getter"
            if marks.is_ignored_fn(found.fget) or name in getattr(type(m), "__jit_unused_properties__", ()):
                em.fail(f"Module '{t.name()}' has no attribute '{name}' (it is an unused or ignored property)", place)
            if key not in t.methods:
                t.methods[key] = method_of(t, found.fget, key)
                t.properties[name] = (key, None)
            return Method(self.v, key).call(em, [], {}, place)
        if isinstance(found, staticmethod):
            return PythonResolver({}).sugar(found.__func__, em, place, name)
        fn = getattr(m, name, None)
        if callable(fn):
            return self.method(em, name, fn, place)
        if found is not None:
            return PythonResolver({}).sugar(getattr(m, name), em, place, name)
        em.fail(f"Module '{t.name()}' has no attribute '{name}' ", place)

    def listing(self, em: Any, name: str, place: Any) -> Any:
        m = self.module
        if name in ("children", "named_children"):
            parts = self.children(em, place)
            return Items([Items([em.constant(k), p]) for k, p in zip(m._modules, parts)] if name[0] == "n" else parts)
        em.fail(f"{name} is not supported in TorchScript", place)

    def method(self, em: Any, name: str, fn: Any, place: Any) -> Any:
        t = self.type
        if name in t.methods:
            return Method(self.v, name)
        if marks.should_drop(fn):
            return Special(name, lambda em, a, k, p: dropped(em, name, p))
        if marks.is_ignored_fn(fn):
            return Special(
                name, lambda em, a, k, p: python_call(em, getattr(fn, "__func__", fn), name, a, k, p, self.v)
            )
        plain = getattr(fn, "__func__", None)
        if plain is None:
            return PythonResolver({}).sugar(fn, em, place, name)
        declared = marks._get_overloaded_methods(fn, type(self.module))
        if declared:
            made = []
            for i, d in enumerate(declared):
                key = f"{name}__{i}"
                if key not in t.methods:
                    t.methods[key] = overloaded_method(t, plain, d, key)
                made.append(Method(self.v, key))
            return Overloaded(made)
        t.methods[name] = method_of(t, text_of(type(self.module), name) or plain, name)
        return Method(self.v, name)

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        if self.module is None:
            return Method(self.v, "forward").call(em, args, kwargs, place)
        return self.attr(em, "forward", place).call(em, args, kwargs, place) if "forward" not in self.type.methods else Method(self.v, "forward").call(em, args, kwargs, place)  # fmt: skip


def constant_items(em: Any, value: Any) -> Any:
    parts = [constant_items(em, v) if isinstance(v, (tuple, list)) else em.constant(v) for v in value]
    return (
        Items(parts)
        if any(isinstance(p, Sugared) for p in parts)
        else em.tuple_of(parts)
        if isinstance(value, tuple)
        else em.constant(value)
    )


def overloaded_method(t: ty.Class, fn: Any, declaration: Any, name: str) -> Compiled:
    def make(c: Compiled) -> Any:
        tree, _, em, _ = signature(fn, t)
        _, schema, _, _ = signature(declaration, t)
        graph = em.function(
            tree,
            [(a.name, a.type) for a in schema.arguments],
            schema.returns[0].type if schema.returns else None,
            ModuleValue,
        )
        if not schema.returns:
            schema.returns = [Argument("", em.result)]
        return graph, schema

    made = Compiled(f"{t.qualified}.{name}", make)
    made.owner = t
    return made


def text_of(cls: type, name: str) -> Any:
    """The TorchScript text of a method of one of the library's own modules."""
    from flambeau.jit._language import nn_text

    for base in cls.__mro__:
        if name in vars(base):
            if not base.__module__.startswith(_OWN):
                return None
            for known in cls.__mro__:
                texts = getattr(nn_text, known.__name__, None)
                if texts is not None and known.__module__.startswith(_OWN):
                    return vars(texts).get(name)
            return None
    return None


_SKIPPED = frozenset(vars(Module()).keys()) - {"training"}
_module_types: dict[Any, ty.Class] = {}


def infer(value: Any, seen: dict[int, Any] | None = None) -> ty.Type | None:
    """The type of an attribute's value; None where it has none."""
    if isinstance(value, flambeau.Tensor):
        return ty.TENSOR
    if isinstance(value, enum.Enum):
        return class_type(type(value))
    for kind in (bool, int, float, complex, str):
        if isinstance(value, kind):
            return _KINDS[kind]
    if value is None:
        return ty.NONE
    if isinstance(value, flambeau.device):
        return ty.DEVICE
    if isinstance(value, (flambeau.dtype, flambeau.layout, flambeau.memory_format)):
        return ty.INT
    if isinstance(value, tuple):
        parts = [infer(v) for v in tuple.__iter__(value)]  # subclasses may count and walk otherwise
        if any(p is None for p in parts):
            return None
        if hasattr(value, "_fields"):
            return class_type(type(value))
        return ty.Tuple(*parts)  # type: ignore[arg-type]
    if isinstance(value, list):
        return _joined(value, ty.List)
    if isinstance(value, dict):
        k, v = _joined(list(value), ty.List), _joined(list(value.values()), ty.List)
        return ty.Dict(k.element, v.element) if k is not None and v is not None else None
    from flambeau.jit._script import RecursiveScriptClass

    if isinstance(value, RecursiveScriptClass):
        return value._c._type
    return _plain_class(type(value))


def _plain_class(cls: type) -> ty.Type | None:
    """The type of a class of a program's own, compiled where that can be done."""
    try:
        t = class_type(cls)
    except (
        RuntimeError,
        NotImplementedError,
        SyntaxError,
        OSError,
        TypeError,
    ):  # what it does has no form in TorchScript, or no source
        return None
    return t if isinstance(t, ty.Class) else None


def _joined(values: list[Any], make: Any) -> Any:
    if not values:
        return None
    t = infer(values[0])
    for v in values[1:]:
        other = infer(v)
        t = ty.unify(t, other) if t is not None and other is not None else None
    return make(t) if t is not None else None


def annotations_of(cls: type) -> dict[str, Any]:
    notes: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith(_OWN) or base is object:
            continue
        scope = vars(inspect.getmodule(base)) if inspect.getmodule(base) is not None else {}
        for name, note in inspect.get_annotations(base).items():
            notes[name] = (note, scope)
    return notes


def module_type(module: Any, memo: dict[int, Any]) -> ty.Class:
    """The type of a module: attributes with types, constants, what Python alone can tell."""
    from flambeau.jit._script import Attribute, RecursiveScriptModule

    if isinstance(module, RecursiveScriptModule):
        return module._c._type()
    if id(module) in memo:
        return memo[id(module)]
    cls = type(module)
    t = ty.Class(marks._qualified_name(cls), is_module=True)
    t.python, t.concrete = cls, module
    t.functions, t.failed = {}, {}  # type: ignore[attr-defined]
    notes = annotations_of(cls)
    listed = set(getattr(cls, "__constants__", ()))
    for name, p in module._parameters.items():
        t.attributes[name] = ty.TENSOR if p is not None else ty.NONE
        if p is not None:
            t.parameters.add(name)
    for name, b in module._buffers.items():
        t.attributes[name] = ty.TENSOR if b is not None else ty.NONE
        if b is not None:
            t.buffers.add(name)
        if name in notes and isinstance(b, flambeau.Tensor):
            declared = from_python(notes[name][0], notes[name][1])
            if isinstance(declared, ty.Optional):
                t.attributes[name] = declared
    t.attributes["training"] = ty.BOOL
    values = {k: v for k, v in vars(module).items() if k not in _SKIPPED or k == "training"}
    if isinstance(module, RNNBase):
        values["_flat_weights"] = list(module._flat_weights)
    own = cls.__module__.startswith(_OWN)  # the library's modules: what is no tensor does not change
    for name in listed:
        if name not in values and hasattr(cls, name) and name not in module._modules:
            values[name] = getattr(cls, name)
    for name, value in values.items():
        if name == "training":
            continue
        note = notes.get(name)
        final = note is not None and (typing.get_origin(note[0]) is typing.Final or note[0] is typing.Final or (isinstance(note[0], str) and "Final" in note[0]))  # fmt: skip
        if isinstance(value, Attribute):
            t.attributes[name] = need(value.type)
        elif (name in listed or final or (own and value is not None and name[0] != "_")) and constant(value):
            t.constants[name] = operators.code_of(value) if not isinstance(value, (bool, int, float, str)) else value
        elif note is not None and not final:
            declared = from_python(note[0], note[1])
            if declared is None:
                t.failed[name] = f"its annotation {note[0]} is no type of TorchScript"  # type: ignore[attr-defined]
            else:
                t.attributes[name] = declared
        elif (kind := infer(value)) is not None:
            t.attributes[name] = kind
        elif (
            inspect.isfunction(value) or inspect.isbuiltin(value) or (callable(value) and not isinstance(value, Module))
        ):
            t.functions[name] = value  # type: ignore[attr-defined]
        else:
            hint = (
                "Attempted to infer its type from an empty container"
                if isinstance(value, (list, dict)) and not value
                else f"This attribute exists on the Python module, but we failed to convert Python type: '{type(value).__name__}' to a TorchScript type"
            )
            t.failed[name] = hint  # type: ignore[attr-defined]
    for name, child in module._modules.items():
        if child is None:
            t.attributes[name] = ty.NONE
            continue
        if name in notes and (face := _interface_of(notes[name])) is not None:
            t.attributes[name] = face
            module_type(child, memo)
            continue
        t.attributes[name] = module_type(child, memo)
    key = (cls, tuple((n, a if not isinstance(a, ty.Class) else id(a)) for n, a in t.attributes.items()), repr(t.constants),
           tuple((n, id(f)) for n, f in t.functions.items()), tuple(t.failed), frozenset(t.parameters), frozenset(t.buffers),
           tuple(module._modules) if isinstance(module, (ModuleList, ModuleDict, Sequential)) else ())  # type: ignore[attr-defined]  # fmt: skip
    known = _module_types.get(key)
    if known is None:
        t.qualified = unique(t.qualified)
        known = _module_types[key] = t
    memo[id(module)] = known
    return known


def _interface_of(note: Any) -> Any:
    try:
        t = from_python(note[0], note[1])
    except Exception:  # no type of the language: then no interface either
        return None
    return t if isinstance(t, ty.Interface) else None


def constant(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(constant, value))
    return value is None or isinstance(
        value, (bool, int, float, str, complex, flambeau.dtype, flambeau.device, flambeau.layout)
    )


def script_module(module: Any) -> Any:
    """The compiled form of a module; parameters and buffers are shared with it."""
    if hasattr(module, "__prepare_scriptable__"):
        module = module.__prepare_scriptable__()
    if not hasattr(module, "_parameters"):
        raise RuntimeError(f"'{type(module).__name__}' has not been initialized, did you forget to call 'super()'?")
    memo: dict[int, Any] = {}
    try:
        made = build(module, memo, {})
    except BaseException:
        for t in memo.values():
            for key in [k for k, v in _module_types.items() if v is t]:
                del _module_types[key]
        raise
    return made


def build(module: Any, memo: dict[int, Any], seen: dict[int, Any], entry: bool = True, cls: Any = None) -> Any:
    from flambeau.jit._language.archive import put
    from flambeau.jit._language.call import into
    from flambeau.jit._script import Attribute, RecursiveScriptModule, new_module

    if isinstance(module, RecursiveScriptModule):
        return module
    if id(module) in seen:
        return seen[id(module)]
    t = module_type(module, memo)
    made = new_module(t, cls)
    seen[id(module)] = made
    made.__dict__["_python_class"] = type(module)
    made.__dict__["training"] = module.training
    for name, child in module._modules.items():
        made._modules[name] = build(child, memo, seen) if child is not None else None
    for name, kind in t.attributes.items():
        if name in module._modules or name == "training":
            continue
        if name in module._parameters:
            made._parameters[name] = module._parameters[name]
        elif name in module._buffers:
            made._buffers[name] = module._buffers[name]
        else:
            value = getattr(module, name)
            value = value.value if isinstance(value, Attribute) else value
            put(made, t, name, into(value, kind) if not isinstance(value, flambeau.Tensor) else value)
    made._non_persistent_buffers_set = set(module._non_persistent_buffers_set)
    made.__dict__["_non_persistent_buffers_set"] = set(module._non_persistent_buffers_set)
    if entry:
        compile_methods(module, t)
    for name in dir(type(module)):
        fn = inspect.getattr_static(type(module), name, None)
        mark = marks.get_torchscript_modifier(fn) if inspect.isfunction(fn) else None
        if mark in (marks.FunctionModifiers.IGNORE, marks.FunctionModifiers.COPY_TO_SCRIPT_WRAPPER) and not hasattr(
            RecursiveScriptModule, name
        ):
            made.__dict__[name] = python_types.MethodType(fn, made)
    return made


def compile_methods(module: Any, t: ty.Class) -> None:
    """Compile `forward` and what is exported."""
    cls = type(module)
    wanted = []
    forward = getattr(cls, "forward", None)
    if forward is not None and forward is not Module.forward and not marks.is_ignored_fn(getattr(module, "forward", None)) and not isinstance(module, (ModuleList, ModuleDict)):  # fmt: skip
        wanted.append("forward")
    for name in dir(cls):
        fn = inspect.getattr_static(cls, name, None)
        if (
            inspect.isfunction(fn)
            and marks.get_torchscript_modifier(fn) == marks.FunctionModifiers.EXPORT
            and name not in wanted
        ):
            wanted.append(name)
    for name in wanted:
        if name not in t.methods:
            fn = getattr(module, name)
            plain = getattr(fn, "__func__", fn)
            named = (
                getattr(fn, "__module__", None) is not None
            )  # else written by a program, as the `forward` of an fx graph
            declared = marks._get_overloaded_methods(fn, cls) if named else None
            if declared:
                for i, d in enumerate(declared):
                    t.methods[f"{name}__{i}"] = overloaded_method(t, plain, d, f"{name}__{i}")
                continue
            t.methods[name] = method_of(t, text_of(cls, name) or plain, name)
    for fn in list(t.methods.values()):
        fn.ensure()


def compile_into(module: Any, stubs: dict[str, Any]) -> None:
    """Compile the marked methods of a `ScriptModule` that has been made."""
    memo: dict[int, Any] = {}
    for name, child in list(module._modules.items()):
        if child is not None and not isinstance(child, flambeau.jit.ScriptModule):
            module._modules[name] = script_module(child)
    t = module_type(module, memo)
    module.__dict__["_class_type"] = t
    for name, fn in stubs.items():
        t.methods[name] = method_of(t, fn, name)
    for fn in list(t.methods.values()):
        fn.ensure()


def define(module: Any, text: str) -> None:
    """Add methods to a scripted module from their source."""
    t = module._c._type() if "_class_type" in module.__dict__ else module_type(module, {})
    module.__dict__["_class_type"] = t
    text = textwrap.dedent(text)
    frame = inspect.currentframe().f_back.f_back  # type: ignore[union-attr]
    scope = {**frame.f_globals, **frame.f_locals}  # type: ignore[union-attr]
    for tree in ast.parse(text).body:
        if isinstance(tree, ast.FunctionDef):
            t.methods[tree.name] = _defined(tree, scope, text, t)
    for fn in t.methods.values():
        fn.ensure()
