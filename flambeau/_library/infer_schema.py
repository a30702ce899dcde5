"""Schemas of users' operators: read from text, and inferred from annotations."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flambeau
from flambeau._operators._schema import _default
from flambeau._seldom import Tag
from flambeau._tensor import Tensor
from flambeau._values.device import device
from flambeau._values.dtype import dtype

SCHEMA = re.compile(r"^\s*(?:(?:(\w+)::)?(\w+)(?:\.(\w+))?)?\s*\((.*)\)\s*->\s*(.*?)\s*$", re.S)


class Parameter(typing.NamedTuple):
    """One argument of a schema."""

    name: str
    type: str
    default: Any
    keyword: bool
    mutated: bool
    marked: str  # the type as written, with its aliasing mark


def parse(text: str) -> list[Parameter]:
    """The arguments of a schema."""
    out, keyword = [], False
    for part in _split(text):
        if part == "*":
            keyword = True
            continue
        head, eq, default = part.partition("=")
        kind, _, name = head.strip().rpartition(" ")
        mutated, marked = "!" in kind, kind
        kind = re.sub(r"\([^)]*\)", "", kind)
        kind = re.sub(r"\[\d+\]", "[]", kind)
        value = inspect.Parameter.empty if not eq else _value(default.strip())
        out.append(Parameter(name, kind, value, keyword, mutated, marked))
    return out


def written(parameters: Iterable[Parameter]) -> str:
    """The arguments of a schema as PyTorch prints them."""
    parts, starred = [], False
    for p in parameters:
        if p.keyword and not starred:
            parts.append("*")
            starred = True
        default = "" if p.default is inspect.Parameter.empty else "=" + _default(p.default)
        parts.append(f"{p.marked} {p.name}{default}")
    return ", ".join(parts)


def _split(text: str) -> list[str]:
    parts, depth, now = [], 0, ""
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            parts.append(now.strip())
            now = ""
        else:
            now += c
    return [*parts, now.strip()] if now.strip() else parts


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return getattr(flambeau, text, text)


_KINDS = {
    Tensor: "Tensor",
    int: "SymInt",
    float: "float",
    bool: "bool",
    str: "str",
    dtype: "ScalarType",
    device: "Device",
}


def _kind(note: Any) -> str | None:
    """The schema's word for a type annotation."""
    if isinstance(note, str):
        note = {"Tensor": Tensor, "torch.Tensor": Tensor, "int": int, "float": float, "bool": bool, "str": str}.get(
            note, note
        )
    if isinstance(note, type) and issubclass(note, Tensor):
        return "Tensor"
    if note in _KINDS:
        return _KINDS[note]
    origin, args = typing.get_origin(note), typing.get_args(note)
    if origin in (typing.Union, types.UnionType):
        rest = [a for a in args if a is not type(None)]
        optional = "?" if len(rest) < len(args) else ""
        if set(rest) == {int, float, bool}:
            return "Scalar" + optional
        inner = _kind(rest[0]) if len(rest) == 1 else None
        return None if inner is None else inner + optional
    if origin in (list, typing.Sequence, Sequence) and args:
        inner = _kind(args[0])
        return None if inner is None else inner + "[]"
    return None


def infer_schema(
    prototype_function: Callable[..., Any],
    /,
    *,
    mutates_args: str | Iterable[str],
    op_name: str | None = None,
    tags: Tag | Sequence[Tag] | None = (),
) -> str:
    """The schema that a function's annotations say. `Tag.inplace` and `Tag.out` among the tags: it gives what it writes.

    >>> import flambeau as torch
    >>> def f(x: torch.Tensor, n: int = 2) -> torch.Tensor: ...
    >>> torch.library.infer_schema(f, mutates_args=())
    '(Tensor x, SymInt n=2) -> Tensor'
    """
    signature = inspect.signature(prototype_function)
    tags = () if tags is None else (tags,) if isinstance(tags, Tag) else tags
    if Tag.inplace in tags and Tag.out in tags:
        raise AssertionError("torch.Tag.inplace and torch.Tag.out are mutually exclusive")
    written: list[
        tuple[str, str, bool]
    ] = []  # what is written: name, its type in the schema, whether it is named in calls

    def refuse(what: str) -> typing.NoReturn:
        raise ValueError(f"infer_schema(func): {what} Got func with signature {signature})")

    hints = {}
    for name, note in getattr(prototype_function, "__annotations__", {}).items():
        if isinstance(note, str):
            try:
                note = eval(note, getattr(inspect.unwrap(prototype_function), "__globals__", {}))
            except Exception as problem:  # annotations are evaluated, and may raise anything
                refuse(
                    f"Unsupported type annotation {note}. It is not a type. ({problem}). If you are using 'from __future__ import annotations', "
                    "note that annotations are evaluated lazily as strings; make sure all types referenced in annotations are importable at "
                    "module scope, not only inside a local function."
                )
        hints[name] = note
    parts, starred, seen = [], False, []
    for n, (name, p) in enumerate(signature.parameters.items()):
        if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL, p.VAR_KEYWORD):
            refuse("We do not support positional-only args, varargs, or varkwargs.")
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        if p.annotation is p.empty:
            refuse(f"Parameter {name} must have a type annotation.")
        kind = _kind(hints.get(name, p.annotation))
        if kind is None:
            refuse(f"Parameter {name} has unsupported type {p.annotation}. The valid types are: {list(_KINDS)}.")
        seen.append(name)
        if mutates_args == "unknown" or name in mutates_args:
            if mutates_args == "unknown" and not kind.startswith("Tensor"):
                pass
            elif not kind.startswith("Tensor"):
                refuse(f"Parameter {name} is in mutable_args but only Tensors or collections of Tensors can be mutated")
            else:
                kind = f"Tensor(a{n}!)" + kind.removeprefix("Tensor")
                written.append((name, kind, p.kind is p.KEYWORD_ONLY))
        parts.append(f"{kind} {name}" if p.default is p.empty else f"{kind} {name}={_written(p.default, refuse, name)}")
    if mutates_args != "unknown":
        strange = set(mutates_args) - set(seen)
        if strange:
            refuse(
                f"{strange} in mutates_args were not found in the custom op's signature. mutates_args should contain the names of all args "
                "that the custom op mutates, or just the string 'unknown' if you don't know."
            )
    if signature.return_annotation is signature.empty:
        refuse("No return type annotation was provided. Please add one.")
    note = hints.get("return", signature.return_annotation)
    if Tag.inplace in tags:
        placed = [name for name, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        returns = _returned_in_place(placed, parts, written, mutates_args, note, refuse)
    else:
        returns = _returned_outs(written, note, refuse) if Tag.out in tags else _returns(note, refuse)
    return f"{op_name or ''}({', '.join(parts)}) -> {returns}"


def _returned_in_place(
    placed: list[str], parts: list[str], written: Any, mutates_args: Any, note: Any, refuse: Any
) -> str:
    """The first argument, which is the only one that is written."""
    if not placed:
        refuse("torch.Tag.inplace requires a positional Tensor argument.")
    if parts[0].partition(" ")[0].partition("(")[0] != "Tensor" or parts[0].partition(" ")[0].endswith(("]", "?")):
        refuse("torch.Tag.inplace requires the first positional argument to be a Tensor.")
    if isinstance(mutates_args, str) or set(mutates_args) != {placed[0]}:
        given = mutates_args if isinstance(mutates_args, str) else tuple(mutates_args)
        refuse(
            f"torch.Tag.inplace requires mutates_args to contain exactly the first positional argument, got {given}."
        )
    if _returns(note, refuse) != "Tensor":
        refuse("torch.Tag.inplace requires the return annotation to be torch.Tensor.")
    return typing.cast(str, written[0][1])


def _returned_outs(written: Any, note: Any, refuse: Any) -> str:
    """The arguments that are written, which calls name."""
    for _, kind, named in written:
        if not named:
            refuse("torch.Tag.out requires mutable arguments to be keyword-only.")
        if not kind.endswith(")"):
            refuse("torch.Tag.out only supports mutable keyword-only Tensor arguments.")
    if not written:
        refuse("torch.Tag.out requires at least one mutable keyword-only Tensor argument.")
    if note != (Tensor if len(written) == 1 else tuple[(Tensor,) * len(written)]):
        names = tuple(name for name, _, _ in written)
        refuse(
            f"torch.Tag.out requires the return annotation to match the mutable keyword-only Tensor arguments {names}."
        )
    kinds = [kind for _, kind, _ in written]
    return kinds[0] if len(kinds) == 1 else f"({', '.join(kinds)})"


def _written(value: Any, refuse: Any, name: str) -> str:
    if value is None or isinstance(value, (int, float, bool)):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, device):
        return f'"{value}"'
    refuse(
        f"Parameter {name} has an unsupported default value type {type(value)}. Please file an issue on GitHub so we can prioritize this."
    )
    raise AssertionError


_RETURNED = {Tensor: "Tensor", typing.List[Tensor]: "Tensor[]", list[Tensor]: "Tensor[]", int: "SymInt", float: "float",  # noqa: UP006
             bool: "bool", int | float | bool: "Scalar"}  # fmt: skip


def _returns(note: Any, refuse: Any) -> str:
    if note is None or note is type(None):
        return "()"
    if typing.get_origin(note) is tuple:
        kinds = [_kind(a) for a in typing.get_args(note)]
        if all(k in _RETURNED.values() for k in kinds):
            return f"({', '.join(kinds)})"  # type: ignore[arg-type]
    kind = _kind(note)
    if kind is None or kind not in _RETURNED.values():
        refuse(f"Return has unsupported type {note}. The valid types are: {_RETURNED}.")
    return typing.cast(str, kind)
