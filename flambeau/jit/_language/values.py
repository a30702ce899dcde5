"""What names mean while a program is compiled: values of the graph, and things that exist only then (modules, classes, functions)."""

from __future__ import annotations

import types as python_types
from typing import Any

from flambeau.jit._language import operators, types as ty
from flambeau.jit._language.graph import Value
from flambeau.jit._language.match import Mismatch, choose, convert, fit
from flambeau.jit._language.schema import overloads


class Sugared:
    """Something a name stands for."""

    def kind(self) -> str:
        return type(self).__name__

    def value(self, em: Any, place: Any) -> Value:
        em.fail(f"{self.kind()} cannot be used as a value", place)
        raise AssertionError

    def attr(self, em: Any, name: str, place: Any) -> Any:
        em.fail(f"attribute lookup is not defined on {self.kind()}", place)

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        em.fail(f"cannot call a {self.kind()}", place)

    def items(self, em: Any, place: Any) -> list[Any] | None:
        """The elements, where their number is known; else None."""
        return None

    def getitem(self, em: Any, index: Any, place: Any) -> Any:
        em.fail(f"{self.kind()} cannot be indexed", place)


def as_value(em: Any, v: Any, place: Any) -> Value:
    return v if isinstance(v, Value) else v.value(em, place)


class Builtin(Sugared):
    """An operator, perhaps bound to its first argument."""

    def __init__(self, name: str, self_value: Value | None = None, known: Any = None) -> None:
        self.name, self.self_value = name, self_value
        self.known = known  # its schemas, where they are no part of the language

    def kind(self) -> str:
        return "builtin"

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        vs = [as_value(em, a, place) for a in args]
        ks = {k: as_value(em, v, place) for k, v in kwargs.items()}
        return choose(em, self.name, self.known or overloads(self.name), vs, ks, self.self_value, place)


class Function(Sugared):
    """A compiled function."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        vs = [as_value(em, a, place) for a in args]
        ks = {k: as_value(em, v, place) for k, v in kwargs.items()}
        self.fn.ensure()
        for loose in (False, True):
            try:
                inputs, _ = fit(em, self.fn.schema, vs, ks, loose)
            except Mismatch as why:
                if loose:
                    em.fail(f"\n{self.fn.schema}:\n{why}\n", place)
                continue
            break
        return em.call_function(self.fn, inputs, place)


class Overloaded(Sugared):
    """Several compiled functions: the first that fits is called."""

    def __init__(self, candidates: list[Any]) -> None:
        self.candidates = candidates

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        whys = []
        for c in self.candidates:
            mark = em.mark()
            try:
                return c.call(em, args, kwargs, place)
            except em.Error as problem:
                em.rollback(mark)
                whys.append(str(problem))
        em.fail("Arguments for call are not valid.\nThe following variants are available:\n" + "\n".join(whys), place)


class Method(Sugared):
    """A method of an object of a class."""

    def __init__(self, owner: Value, name: str) -> None:
        self.owner, self.name = owner, name

    def kind(self) -> str:
        return "method"

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        t: Any = self.owner.type
        vs = [self.owner, *(as_value(em, a, place) for a in args)]
        ks = {k: as_value(em, v, place) for k, v in kwargs.items()}
        found = t.methods[self.name]
        if hasattr(found, "ensure"):
            found.ensure()
        schema = getattr(found, "schema", found)
        for loose in (False, True):
            try:
                inputs, _ = fit(em, schema, vs, ks, loose)
            except Mismatch as why:
                if loose:
                    em.fail(f"\n{schema}:\n{why}\n", place)
                continue
            break
        return em.call_method(self.owner, self.name, inputs, schema.result, place)


class Items(Sugared):
    """Several things in order that need not be values: modules of a list, what `zip` gives."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def kind(self) -> str:
        return "Tuple"

    def value(self, em: Any, place: Any) -> Value:
        return em.tuple_of([as_value(em, p, place) for p in self.parts])

    def items(self, em: Any, place: Any) -> list[Any]:
        return self.parts

    def getitem(self, em: Any, index: Any, place: Any) -> Any:
        if isinstance(index, slice):
            return Items(self.parts[index])
        if isinstance(index, int):
            return self.parts[index]
        v = as_value(em, index, place)
        if v.node is not None and v.node.kind == "prim::Constant":
            return self.parts[v.node.attrs["value"]]
        em.fail(
            "Expected integer literal for index. ModuleList/Sequential indexing is only supported with integer literals.",
            place,
        )


class Slice(Sugared):
    """`slice(...)`: it is no value, and stands only where something is indexed."""

    def __init__(self, lower: Any, upper: Any, step: Any) -> None:
        self.lower, self.upper, self.step = lower, upper, step

    def kind(self) -> str:
        return "Slice"


class Special(Sugared):
    """A name of Python or PyTorch that the compiler itself understands."""

    def __init__(self, name: str, fn: Any) -> None:
        self.name, self.fn = name, fn

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        return self.fn(em, args, kwargs, place)


class Constructor(Sugared):
    """A class, whose call makes an object."""

    def __init__(self, t: ty.Class) -> None:
        self.type = t

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        made = em.node("prim::CreateObject", [], self.type, place)
        if "__init__" in self.type.methods:
            Method(made, "__init__").call(em, args, kwargs, place)
        return made

    def attr(self, em: Any, name: str, place: Any) -> Any:
        if name in self.type.static:
            return Function(self.type.static[name])
        if name in self.type.constants:
            return em.constant(self.type.constants[name])
        em.fail(f"Tried to access nonexistent attribute or method '{name}' of type '{self.type}'.", place)


class NamedTupleMaker(Sugared):
    def __init__(self, t: ty.Tuple) -> None:
        self.type = t

    def call(self, em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        vs = [as_value(em, a, place) for a in args]
        for field, kind in list(zip(self.type.fields, self.type.parts))[len(vs) :]:
            if field in kwargs:
                vs.append(as_value(em, kwargs[field], place))
                continue
            offset = len(self.type.fields) - len(self.type.defaults)
            at = self.type.fields.index(field) - offset
            if at < 0:
                em.fail(f"Argument {field} not provided.", place)
            vs.append(em.constant(self.type.defaults[at], kind))
        vs = [convert(em, v, p, True) for v, p in zip(vs, self.type.parts)]
        for v, p, f in zip(vs, self.type.parts, self.type.fields):
            if not ty.subtype(v.type, p):
                em.fail(f"Expected a value of type '{p.annotation_str}' for argument '{f}' but instead found type '{v.type.annotation_str}'.", place)  # fmt: skip
        return em.node("prim::TupleConstruct", vs, self.type, place)


class EnumClass(Sugared):
    def __init__(self, t: ty.Enum) -> None:
        self.type = t

    def attr(self, em: Any, name: str, place: Any) -> Any:
        if name == "__members__" or name not in dict(self.type.members):
            em.fail(f"Enum '{self.type}' has no member '{name}'", place)
        return em.constant(self.type.python[name], self.type)

    def items(self, em: Any, place: Any) -> list[Any]:
        return [em.constant(self.type.python[n], self.type) for n, _ in self.type.members]


_PROPERTIES = frozenset(["device", "dtype", "layout", "is_cuda", "is_cpu", "is_sparse", "is_quantized", "is_meta", "is_mkldnn", "is_mps", "is_xpu", "requires_grad", "grad", "data", "itemsize", "nbytes", "name", "is_nested"])  # fmt: skip
_ATTRIBUTE_OPS = {
    "T": "numpy_T",
    "mT": "mT",
    "H": "matrix_H",
    "mH": "mH",
    "real": "real",
    "imag": "imag",
    "is_leaf": "is_leaf",
}


def value_attr(em: Any, v: Value, name: str, place: Any) -> Any:
    """`v.name`."""
    t = v.type
    if t is ty.TENSOR:
        if name == "shape":
            return em.op("aten::size", v, place=place)
        if name == "ndim":
            return em.op("aten::dim", v, place=place)
        if name in _PROPERTIES:
            return em.op("prim::" + name, v, place=place)
        if name in _ATTRIBUTE_OPS:
            return em.op("aten::" + _ATTRIBUTE_OPS[name], v, place=place)
        if name in operators.CASTS:
            to = operators.code_of(operators.CASTS[name])
            return Special(name, lambda em, a, k, p: em.op("aten::to", v, *map(em.constant, (to, False, False, None)), place=p))  # fmt: skip
        if name == "type":
            return Builtin("aten::to", v)  # of a dtype; the names of types are Python's alone
        if name == "tolist":
            return Special("tolist", lambda em, a, k, p: _tolist(em, v, p))
    if t is ty.DEVICE and name in ("type", "index"):
        return em.op("prim::" + name, v, place=place)
    if isinstance(t, ty.Tuple) and name in t.fields:
        at = t.fields.index(name)
        return em.node("prim::TupleIndex", [v, em.constant(at)], t.parts[at], place)
    if isinstance(t, ty.Enum) and name in ("name", "value"):
        return em.node("prim::Enum" + name.capitalize(), [v], ty.STR if name == "name" else t.value, place)
    if isinstance(t, (ty.Class, ty.Interface)):
        return object_attr(em, v, t, name, place)
    if isinstance(t, (ty.Future, ty.Await)) and name == "wait":
        return Special("wait", lambda em, a, k, p: em.node("aten::wait" if isinstance(t, ty.Future) else "prim::awaitable_wait", [v], t.element, p))  # fmt: skip
    if overloads("aten::" + name):
        return Builtin("aten::" + name, v)
    shown = t.annotation_str
    if isinstance(t, (ty.Optional, ty.Union)):
        em.fail(f"'{shown}' object has no attribute or method '{name}'. Did you forget to refine the type with `is not None` or isinstance?", place)  # fmt: skip
    em.fail(f"'{shown}' object has no attribute or method '{name}'.", place)


def _tolist(em: Any, v: Value, place: Any) -> Value:
    wanted = em.expected
    if wanted is None:
        em.fail("Expected type hint for result of tolist()", place)
    return em.node("prim::tolist", [v, em.constant(0), em.constant(0)], wanted, place)


def object_attr(em: Any, v: Value, t: Any, name: str, place: Any) -> Any:
    if name in t.methods:
        return Method(v, name)
    if isinstance(t, ty.Class):
        if name in t.attributes:
            return em.node("prim::GetAttr", [v], t.attributes[name], place, out=name, name=name)
        if name in t.constants:
            return em.constant(t.constants[name])
        if name in t.properties:
            return Method(v, t.properties[name][0]).call(em, [], {}, place)
        if name in t.static:
            return Function(t.static[name])
    what = "Module" if t.is_module else f"'{t}' object"
    em.fail(f"{what} '{t.qualified.rpartition('.')[2]}' has no attribute '{name}' " if t.is_module else f"Tried to access nonexistent attribute or method '{name}' of type '{t}'. Did you forget to initialize an attribute in __init__()?", place)  # fmt: skip


class PythonModule(Sugared):
    """A module of Python: its members are looked up while compiling."""

    def __init__(self, module: python_types.ModuleType, resolve: Any) -> None:
        self.module, self.resolve = module, resolve

    def attr(self, em: Any, name: str, place: Any) -> Any:
        found = self.resolve.member(self.module, name, em, place)
        if found is None:
            em.fail(f"module '{self.module.__name__}' has no attribute '{name}'", place)
        return found
