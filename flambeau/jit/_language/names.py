"""Names that mean the same in all programs: Python's own functions, and the forms that take types."""

from __future__ import annotations

import ast
import sys
from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.express import Range, Zipped
from flambeau.jit._language.graph import Value
from flambeau.jit._language.match import convert
from flambeau.jit._language.schema import overloads
from flambeau.jit._language.values import Builtin, Items, Method, Slice, Special, Sugared, as_value

_SIMPLE = {
    **ty.SIMPLE,
    "Tensor": ty.TENSOR,
    "None": ty.NONE,
    "Number": ty.NUMBER,
    "list": ty.ANY_LIST,
    "tuple": ty.ANY_TUPLE,
    "AnyEnumType": ty.ANY_ENUM,
}


def cast(name: str) -> Any:
    kinds = {"int": "Int", "float": "Float", "bool": "Bool", "str": "str", "complex": "Complex"}

    def call(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        if not args:
            return em.constant({"int": 0, "float": 0.0, "bool": False, "str": ""}[name])
        vs = [as_value(em, a, place) for a in args]
        v = vs[0]
        if str(v.type) == name:
            return v
        if name == "bool" and not isinstance(v.type, ty.Class):
            return em.truth(v, place)
        if isinstance(v.type, ty.Class) and f"__{name}__" in v.type.methods:
            return Method(v, f"__{name}__").call(em, [], {}, place)
        if isinstance(v.type, ty.Class) and name == "bool":
            return em.constant(True)
        if (
            (name == "int" and v.type is ty.BOOL)
            or v.type in (ty.INT, ty.FLOAT, ty.BOOL, ty.STR, ty.TENSOR, ty.NUMBER)
            or name in ("str", "complex")
        ):
            return em.op("aten::" + kinds[name], *vs, place=place)
        return em.op("aten::" + kinds[name], *vs, place=place)

    return Special(name, call)


def _range(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    return Range([convert(em, as_value(em, a, place), ty.INT, True) for a in args])


def _slice(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    ends: list[Any] = [v if v.type is not ty.NONE else None for v in (as_value(em, a, place) for a in args)]
    lower, upper, step = [None, *ends, None] if len(ends) == 1 else [*ends, None][:3]
    if step is None:
        lower, upper = lower or em.constant(0), upper or em.constant(sys.maxsize)
    return Slice(lower, upper, step)


def _zip(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    return Zipped([iterable_value(em, a, place) for a in args])


def iterable_value(em: Any, v: Any, place: Any) -> Any:
    if isinstance(v, Value):
        if isinstance(v.type, ty.Tuple):
            return Items(em.unpack(v))
        if v.type is ty.TENSOR:
            return em.op("aten::unbind", v, place=place)
        if isinstance(v.type, ty.Dict):
            return em.op("aten::keys", v, place=place)
    return v


def _enumerate(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    start = args[1] if len(args) > 1 else kwargs.get("start", True)
    return Zipped([iterable_value(em, args[0], place)], start)


def _len(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    v = args[0]
    parts = v.items(em, place) if isinstance(v, Sugared) else None
    if parts is not None:
        return em.constant(len(parts))
    v = as_value(em, v, place)
    if isinstance(v.type, ty.Tuple):
        return em.constant(len(v.type.parts))
    if isinstance(v.type, ty.Class) and "__len__" in v.type.methods:
        return Method(v, "__len__").call(em, [], {}, place)
    return em.op("aten::len", v, place=place)


def _print(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    em.node("prim::Print", [as_value(em, a, place) for a in args], None, place)
    return em.constant(None)


def _extreme(name: str) -> Any:
    def call(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
        vs = [as_value(em, a, place) for a in args]
        if any(v.type is ty.TENSOR for v in vs):
            return em.op("aten::" + name, *vs, place=place)
        out = vs[0]
        if len(vs) == 1:
            if isinstance(out.type, ty.Tuple):
                out = em.list_of(em.unpack(out), out.type.parts[0])
            return em.op("prim::" + name, out, place=place)
        for v in vs[1:]:
            out = em.op("prim::" + name, out, v, place=place)
        return out

    return Special(name, call)


def _abs(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    v = as_value(em, args[0], place)
    return em.op("aten::abs" if v.type is ty.TENSOR else "prim::abs", v, place=place)


def _list(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    if not args:
        return em.list_literal(ast.List(elts=[]), em.expected)
    v = args[0]
    parts = v.items(em, place) if isinstance(v, Sugared) else None
    if parts is not None:
        vs = [as_value(em, p, place) for p in parts]
        return em.list_of(vs, vs[0].type if vs else ty.TENSOR)
    v = iterable_value(em, v, place)
    if isinstance(v, Items):
        vs = [as_value(em, p, place) for p in v.parts]
        return em.list_of(vs, vs[0].type)
    if isinstance(v, Zipped):
        return em.comprehension_of(v, place)
    return em.op("aten::list", as_value(em, v, place), place=place)


def _tuple(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    if not args:
        return em.tuple_of([])
    v = args[0]
    parts = v.items(em, place) if isinstance(v, Sugared) else None
    if parts is None and isinstance(v, Value) and isinstance(v.type, ty.Tuple):
        return v
    if parts is None and isinstance(v, Value) and v.node is not None and v.node.kind == "prim::ListConstruct":
        parts = v.node.inputs
    if parts is None:
        em.fail("cannot make a tuple from a list whose length is not known", place)
    return Items(parts) if not all(isinstance(p, Value) for p in parts) else em.tuple_of(parts)


def _dict(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    if not args and not kwargs:
        return em.dict_literal(ast.Dict(keys=[], values=[]), em.expected)
    if kwargs:
        flat = [x for k, v in kwargs.items() for x in (em.constant(k), as_value(em, v, place))]
        return em.node("prim::DictConstruct", flat, ty.Dict(ty.STR, flat[1].type), place)
    return em.op("aten::dict", as_value(em, args[0], place), place=place)


def _reversed(em: Any, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    parts = args[0].items(em, place) if isinstance(args[0], Sugared) else None
    if parts is not None:
        return Items(parts[::-1])
    v = as_value(em, args[0], place)
    return em.op("aten::slice", v, em.constant(None), em.constant(None), em.constant(-1), place=place)


BUILTINS: dict[str, Any] = {
    **{n: cast(n) for n in ("int", "float", "bool", "str", "complex")},
    "range": Special("range", _range), "zip": Special("zip", _zip), "enumerate": Special("enumerate", _enumerate),
    "len": Special("len", _len), "print": Special("print", _print), "min": _extreme("min"), "max": _extreme("max"),
    "abs": Special("abs", _abs), "list": Special("list", _list), "tuple": Special("tuple", _tuple), "dict": Special("dict", _dict),
    "reversed": Special("reversed", _reversed), "slice": Special("slice", _slice),
    **{n: Builtin("aten::" + n) for n in ("round", "sum", "sorted", "pow", "divmod", "ord", "chr", "hex", "bin", "oct", "hash", "any", "all")},
}  # fmt: skip


def structural(node: Any, find: Any, em: Any) -> ty.Type:
    """A type from an annotation's syntax; `find` knows the names that are not TorchScript's own."""

    def inner(x: Any) -> list[ty.Type]:
        return [structural(e, find, em) for e in (x.elts if isinstance(x, ast.Tuple) else [x])]

    match node:
        case ast.Constant(value=None):
            return ty.NONE
        case ast.Constant(value=str() as text):
            return structural(ast.parse(text, mode="eval").body, find, em)
        case ast.Name() if node.id in _SIMPLE:
            return _SIMPLE[node.id]
        case ast.Attribute(attr=name) if name in ("Tensor",):
            return ty.TENSOR
        case ast.BinOp(op=ast.BitOr()):
            return ty.union((structural(node.left, find, em), structural(node.right, find, em)))
        case ast.Subscript():
            name = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            match name:
                case "List" | "list":
                    return ty.List(*inner(node.slice))
                case "Dict" | "dict":
                    return ty.Dict(*inner(node.slice))
                case "Tuple" | "tuple":
                    if isinstance(node.slice, ast.Tuple) and not node.slice.elts:
                        return ty.Tuple()
                    return ty.Tuple(*inner(node.slice))
                case "Optional":
                    return ty.optional(inner(node.slice)[0])
                case "Union":
                    return ty.union(inner(node.slice))
                case "Future":
                    return ty.Future(*inner(node.slice))
                case "Await":
                    return ty.Await(*inner(node.slice))
                case "Final":
                    return inner(node.slice)[0]
                case _ if name.startswith("BroadcastingList"):
                    return ty.List(*inner(node.slice))
    found = find(node)
    if found is None:
        em.fail(f"Unknown type name '{ast.unparse(node)}'", node)
    return found


def form(e: ast.Call, name: str, em: Any, hint: Any) -> Any:
    """A form that takes a type: `annotate(List[int], [])`; None where `name` is none."""
    if name == "annotate":
        t = em.annotation(e.args[0])
        before, em.expected = em.expected, t
        v = as_value(em, em.expression(e.args[1], t), e)
        em.expected = before
        v = convert(em, v, t, True)
        if not ty.subtype(v.type, t):
            em.fail(f"expected an expression of type {t.annotation_str} but found {v.type.annotation_str}", e)
        return em.widened(v, t) if v.type != t and not isinstance(t, ty.List) and v.type is not t else v
    if name == "unchecked_cast":
        v = as_value(em, em.expression(e.args[1]), e)
        return em.node("prim::unchecked_cast", [v], em.annotation(e.args[0]), e)
    if name == "uninitialized":
        return em.node("prim::Uninitialized", [], em.annotation(e.args[0]), e)
    if name == "getattr":
        box = em.expression(e.args[0])
        key = e.args[1].value if isinstance(e.args[1], ast.Constant) else em.literal(e.args[1])
        if len(e.args) == 3 and not em.has(box, key):
            return em.expression(e.args[2])
        return em.lookup(box, key, e)
    if name == "isinstance":
        return em.condition(e).as_value(em)
    if name == "hasattr":
        return em.condition(e).as_value(em)
    return None


def tolist(em: Any, e: ast.Call) -> Any:
    wanted = em.expected
    args = [as_value(em, em.expression(a), e) for a in e.args]
    return em.node("prim::tolist", args, wanted, e)


__all__ = ["BUILTINS", "form", "overloads", "structural"]
