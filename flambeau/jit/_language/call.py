"""Between Python and compiled programs: arguments checked and converted on the way in, results on the way out."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau.jit._language import operators, types as ty
from flambeau.jit._language.run import Object, named_tuple
from flambeau.jit._language.schema import REQUIRED, Schema

Tensor = flambeau.Tensor
_KINDS = {"int": int, "float": float, "bool": bool, "str": str, "complex": complex}


class Unfit(Exception):
    """A value that is not of the type asked for."""


def into(value: Any, t: ty.Type) -> Any:
    """A Python value as one of type t; raises Unfit."""
    if t is ty.TENSOR:
        if isinstance(value, Tensor):
            return value
        raise Unfit
    if isinstance(t, (ty.Optional, ty.Union)) or t is ty.NUMBER:
        if value is None and ty.NONE in ty.alternatives(t):
            return None
        for a in ty.alternatives(t):
            try:
                return into(value, a)
            except Unfit:
                continue
        raise Unfit
    if t is ty.ANY:
        return value
    kind = _KINDS.get(str(t))
    if kind is not None:
        if type(value) is kind:
            return value
        if kind is int and not isinstance(value, (float, Tensor, str, complex)):
            code = operators.code_of(value)
            if isinstance(code, int):
                return int(code)
        if isinstance(value, Tensor) and value.ndim == 0 and kind in (int, float, bool) and not value.requires_grad:
            floating = value.is_floating_point()
            if (kind is float and floating) or (kind is int and not floating):
                return value.item()
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if kind is complex and isinstance(value, (int, float, complex)):
            return complex(value)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        raise Unfit
    if t is ty.NONE:
        if value is None:
            return None
        raise Unfit
    if isinstance(t, ty.List):
        if not isinstance(value, (list, tuple)):
            raise Unfit
        return value if t.element is ty.TENSOR and type(value) is list and all(isinstance(v, Tensor) for v in value) else [into(v, t.element) for v in value]  # fmt: skip
    if isinstance(t, ty.Dict):
        if not isinstance(value, dict):
            raise Unfit
        return {into(k, t.parts[0]): into(v, t.parts[1]) for k, v in value.items()}
    if isinstance(t, ty.Tuple):
        given = list(tuple.__iter__(value)) if isinstance(value, tuple) else value
        if type(given) is not list or len(given) != len(t.parts):
            raise Unfit
        parts = tuple(into(v, p) for v, p in zip(given, t.parts))
        return named_tuple(t)(*parts) if t.qualified else parts
    if t is ty.DEVICE:
        if isinstance(value, (str, flambeau.device)):
            return flambeau.device(value)
        raise Unfit
    if isinstance(t, ty.Enum):
        if isinstance(value, t.python):
            return value
        raise Unfit
    if isinstance(t, ty.Class) and not t.is_module:
        held = getattr(value, "_c", value)
        if isinstance(held, Object) and held._type is t:
            return held
        if t.python is not None and isinstance(value, t.python):
            made = Object(t)
            for name, kind_ in t.attributes.items():
                made.__dict__[name] = into(getattr(value, name), kind_)
            return made
        raise Unfit
    return value


def out(value: Any) -> Any:
    """A result as Python sees it."""
    if isinstance(value, Object):
        from flambeau.jit._script import RecursiveScriptClass

        return RecursiveScriptClass(value)
    if type(value) is list:
        return [out(v) for v in value]
    if type(value) is tuple:
        return tuple(out(v) for v in value)
    return value


def uncastable(value: Any) -> str:
    """Why a value does not become another type, in the words of PyTorch's binding."""
    return f"Unable to cast Python instance of type {type(value)} to C++ type '?' (#define PYBIND11_DETAILED_ERROR_MESSAGES or compile in debug mode for details)"


def type_name(value: Any) -> str:
    if isinstance(value, Tensor):
        return "Tensor"
    return type(value).__name__


def arguments(schema: Schema, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], bound: bool) -> list[Any]:
    """The arguments of a call in order, converted; raises RuntimeError in PyTorch's words."""
    formals = schema.arguments[1:] if bound else schema.arguments
    given = len(args)
    inputs: list[Any] = []
    shown = Schema(name, "", schema.arguments, schema.returns)
    if given > len([f for f in formals if not f.keyword]) or given + len(kwargs) > len(formals):
        most = len(schema.arguments)
        raise RuntimeError(
            f"{name}() expected at most {most} argument(s) but received {given + len(kwargs) + bound} argument(s). Declaration: {shown}"
        )
    used = 0
    for i, f in enumerate(formals):
        if i < given and not f.keyword:
            value = args[i]
            if f.name in kwargs:
                raise RuntimeError(f"{name}() Argument {f.name} specified both as positional and keyword argument")
        elif f.name in kwargs:
            value = kwargs[f.name]
            used += 1
        elif f.default is not REQUIRED:
            inputs.append(f.default)
            continue
        else:
            raise RuntimeError(f"{name}() is missing value for argument '{f.name}'. Declaration: {shown}")
        if f.type is ty.TENSOR and isinstance(value, Tensor):
            inputs.append(value)
            continue
        try:
            inputs.append(into(value, f.type))
        except Unfit:
            what = f"{f.type.annotation_str}" if f.type is not ty.TENSOR else "Tensor"
            position = f"Position: {i + bound}\n"
            why = f"Unable to cast {value} to {what}" if f.type is ty.TENSOR else uncastable(value)
            if f.inferred:
                what = "Tensor (inferred)"
                position = f"Inferred '{f.name}' to be of type 'Tensor' because it was not annotated with an explicit type.\n{position}"
            message = f"{name}() Expected a value of type '{what}' for argument '{f.name}' but instead found type '{type_name(value)}'.\n{position}Value: {value!r}\nDeclaration: {shown}\nCast error details: {why}"  # fmt: skip
            raise RuntimeError(message) from None
    if used < len(kwargs):
        unknown = [k for k in kwargs if not any(f.name == k for f in formals)]
        if unknown:
            raise RuntimeError(f"Unknown keyword argument '{unknown[0]}' for operator '{name}'. Schema: {shown}")
    return inputs
