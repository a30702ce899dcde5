"""Calls meet signatures: which overload takes these arguments, and what is done to them to fit."""

from __future__ import annotations

from typing import Any

from flambeau.jit._language import types as ty
from flambeau.jit._language.graph import Value
from flambeau.jit._language.schema import REQUIRED, Argument, Schema


class Mismatch(Exception):
    """Why a call does not fit a signature."""


def convert(em: Any, v: Value, formal: ty.Type, loose: bool) -> Value:
    """The value as the type `formal`, where TorchScript converts by itself."""
    target = formal.element if isinstance(formal, ty.Optional) else formal
    t = v.type
    if isinstance(target, ty.Union) and isinstance(t, ty.Tuple) and not ty.subtype(t, formal):
        for a in ty.alternatives(target):
            made = convert(em, v, a, loose) if isinstance(a, ty.List) else v
            if made is not v:
                return made
    if isinstance(target, ty.List) and isinstance(t, ty.Tuple) and not t.qualified and not ty.subtype(t, formal):
        if all(ty.subtype(p, target.element) for p in t.parts):
            return em.list_of(em.unpack(v), target.element)
        if all(p in (ty.TENSOR, ty.INT) for p in t.parts) and target.element is ty.INT and loose:
            return em.list_of([convert(em, x, ty.INT, loose) for x in em.unpack(v)], ty.INT)
    if isinstance(t, ty.List) and t.element is ty.TENSOR and isinstance(target, ty.List) and isinstance(target.element, ty.Optional) and target.element.element is ty.TENSOR:  # fmt: skip
        return v
    if v.node is not None and v.node.kind == "prim::ListConstruct" and not v.node.inputs and isinstance(target, ty.List) and not isinstance(target.element, ty.Variable):  # fmt: skip
        if v.node.attrs.get("_bare") and t != target:
            v.type = target
            return v
    if (
        isinstance(target, ty.List)
        and v.node is not None
        and v.node.kind == "prim::ListConstruct"
        and not ty.subtype(t, formal)
        and not any(isinstance(x, ty.Variable) for x in ty.walk(target))
        and all(ty.subtype(x.type, target.element) for x in v.node.inputs)
    ):
        return em.list_of(v.node.inputs, target.element)
    if loose and not ty.subtype(t, formal):
        if t is ty.TENSOR and target is ty.INT:
            return em.op("aten::IntImplicit", v)
        if t is ty.TENSOR and target is ty.FLOAT:
            return em.op("aten::FloatImplicit", v)
        if t is ty.TENSOR and target is ty.NUMBER:
            return em.op("aten::ScalarImplicit", v)
        if t is ty.NUMBER and target is ty.FLOAT:
            return em.op("aten::Float", v)
        if t is ty.NUMBER and target is ty.INT:
            return em.op("aten::Int", v)
        if t is ty.STR and target is ty.DEVICE:
            return em.op("aten::device", v)
    return v


def fit(em: Any, schema: Schema, args: list[Value], kwargs: dict[str, Value], loose: bool, self_value: Value | None = None
        ) -> tuple[list[Value], dict[str, ty.Type]]:  # fmt: skip
    """The inputs, in the order of the signature; raises Mismatch with PyTorch's words."""
    bound: dict[str, ty.Type] = {}
    kwargs = dict(kwargs)
    inputs: list[Value] = []
    position = 0
    formals = schema.arguments
    if self_value is not None:
        taken = next((i for i, a in enumerate(formals) if a.name == "self"), 0)
        if taken == 0:
            args = [self_value, *args]
        else:
            kwargs[formals[taken].name] = self_value
    for i, a in enumerate(formals):
        if not a.keyword and position < len(args):
            v = args[position]
            if a.name in kwargs and kwargs[a.name] is not None and not (self_value is not None and a.name == "self"):
                raise Mismatch(f"Argument {a.name} specified twice in schema.")
            inner = a.type.element if isinstance(a.type, ty.Optional) else a.type
            rest = args[position:]
            last = all(b.keyword for b in formals[i + 1 :])
            spread = (
                isinstance(inner, ty.List) and a.length is None and last and not isinstance(inner.element, ty.Variable)
                and (len(rest) > 1 or not isinstance(v.type, (ty.List, ty.Tuple, ty.Optional)))
                and v.type is not ty.NONE and i == len([b for b in formals if not b.keyword]) - 1
                and (self_value is not None or len(rest) > 1 or i == 0)
            )  # fmt: skip
            if spread and len(rest) == 1 and schema.overload_name == "dims":
                spread = False
            if spread and all(ty.subtype(x.type, inner.element) or (loose and x.type is ty.TENSOR and inner.element is ty.INT) for x in rest):  # fmt: skip
                v = em.list_of([convert(em, x, inner.element, loose) for x in rest], inner.element)
                position = len(args)
            else:
                position += 1
        elif a.name in kwargs:
            v = kwargs.pop(a.name)
        elif a.default is not REQUIRED:
            inputs.append(em.constant(a.default, a.type))
            continue
        else:
            raise Mismatch(f"Argument {a.name} not provided.")
        inputs.append(one(em, a, v, bound, loose))
        kwargs.pop(a.name, None) if self_value is not None and v is self_value else None
    if schema.varargs:
        inputs += args[position:]
        position = len(args)
    if position < len(args):
        raise Mismatch(f"Expected at most {len([a for a in formals if not a.keyword])} arguments but found {len(args)} positional arguments.")  # fmt: skip
    for name in kwargs:
        if any(a.name == name for a in formals):
            raise Mismatch(f"Argument {name} specified twice in schema.")
        raise Mismatch(f"Unknown keyword argument '{name}'.")
    return inputs, bound


def one(em: Any, a: Argument, v: Value, bound: dict[str, ty.Type], loose: bool) -> Value:
    formal = a.type
    inner = formal.element if isinstance(formal, ty.Optional) else formal
    if (
        a.length is not None
        and isinstance(inner, ty.List)
        and (ty.subtype(v.type, inner.element) or (loose and v.type is ty.TENSOR))
    ):
        return em.list_of([convert(em, v, inner.element, loose)] * a.length, inner.element)
    if any(isinstance(x, ty.Variable) for x in ty.walk(formal)):
        if v.node is not None and v.node.attrs.get("_bare"):
            try:
                v.type = ty.substitute(inner, bound)
            except KeyError:
                pass
        why = ty.bind(formal, v.type, bound)
        if why:
            raise Mismatch(f"Could not match type {v.type} to {formal} in argument '{a.name}': {why}.")
        formal = (
            ty.substitute(formal, bound)
            if all(x.name in bound for x in ty.walk(formal) if isinstance(x, ty.Variable))
            else ty.ANY
        )
        if isinstance(formal, ty.List) and isinstance(v.type, ty.Tuple):
            return em.list_of(em.unpack(v), formal.element)
        if not ty.subtype(v.type, formal):
            raise Mismatch(f"Expected a value of type '{formal.annotation_str}' for argument '{a.name}' but instead found type '{v.type.annotation_str}'.")  # fmt: skip
        return v
    v = convert(em, v, formal, loose)
    if not ty.subtype(v.type, formal):
        shown = formal.annotation_str
        message = f"Expected a value of type '{shown}' for argument '{a.name}' but instead found type '{v.type.annotation_str}'."
        raise Mismatch(message)
    return v


def choose(
    em: Any, name: str, schemas: Any, args: list[Value], kwargs: dict[str, Value], self_value: Value | None, place: Any
) -> Value:
    """Emit a call of the first overload that fits."""
    whys: list[str] = []
    if not schemas:
        em.fail(f"Unknown builtin op: {name}.\nCould not find any similar ops to {name}. This op may not exist or may not be currently supported in TorchScript.\n", place)  # fmt: skip
    bare = [(v, v.type) for v in (*args, *kwargs.values()) if v.node is not None and v.node.attrs.get("_bare")]
    for loose in (False, True):
        for s in schemas:
            mark = em.mark()
            try:
                inputs, bound = fit(em, s, args, kwargs, loose, self_value)
            except Mismatch as why:
                em.rollback(mark)
                for v, t in bare:
                    v.type = t
                if not loose:
                    whys.append(f"{s}:\n{why}\n")
                continue
            return em.emit_schema(s, inputs, bound, place)
    text = "\n".join(whys) if len(schemas) > 1 else whys[0] if whys else ""
    if len(schemas) > 1:
        text = (
            f"Arguments for call are not valid.\nThe following variants are available:\n\n{text}\nThe original call is"
        )
        em.fail(text, place)
    em.fail(f"\n{text}", place)
    raise AssertionError
