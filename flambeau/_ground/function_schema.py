"""A schema as an object: what `OpOverload._schema` gives, read from the schema's text."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True)
class AliasInfo:
    """How an argument's memory relates to others': the names of its set, and whether it is written."""

    before_set: frozenset[str]
    is_write: bool

    @property
    def after_set(self) -> frozenset[str]:
        return self.before_set


@dataclass(frozen=True)
class Argument:
    """One argument, or one result."""

    name: str
    type: str
    default_value: Any = None
    has_default: bool = False
    kwarg_only: bool = False
    alias_info: AliasInfo | None = None
    is_out: bool = False

    def has_default_value(self) -> bool:
        return self.has_default

    @property
    def real_type(self) -> str:
        return self.type

    @property
    def is_write(self) -> bool:
        return self.alias_info is not None and self.alias_info.is_write


@dataclass(frozen=True, eq=False)
class FunctionSchema:
    """`aten::add.Tensor(Tensor self, ...) -> Tensor`, taken apart."""

    text: str
    name: str
    overload_name: str
    arguments: list[Argument] = field(repr=False)
    returns: list[Argument] = field(repr=False)

    @property
    def is_mutable(self) -> bool:
        """Whether an argument is written."""
        return any(a.is_write for a in self.arguments)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(self.text)


def _split(text: str) -> list[str]:
    """Parts between commas outside brackets and quotes."""
    parts, depth, start, quoted = [], 0, 0, ""
    for i, c in enumerate(text):
        if quoted:
            quoted = "" if c == quoted else quoted
        elif c in "\"'":
            quoted = c
        elif c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == "," and not depth:
            parts.append(text[start:i])
            start = i + 1
    return [p.strip() for p in (*parts, text[start:]) if p.strip()]


_ALIAS = re.compile(r"\(([^()]*?)(!?)\)")


def _argument(text: str, keyword: bool, name: str = "") -> Argument:
    given, equals, default = text.partition("=")
    kind, _, found = given.strip().rpartition(" ")
    if not kind or name:
        kind, found = given.strip(), name
    alias = _ALIAS.search(kind)
    info = AliasInfo(frozenset(alias[1].split("|")), bool(alias[2])) if alias else None
    kind = _ALIAS.sub("", kind)
    value: Any = None
    if equals:
        try:
            value = ast.literal_eval(re.sub(r"(\d)\.(?!\d)", r"\1.0", default.strip()))
        except (ValueError, SyntaxError):
            value = default.strip()
    return Argument(found, kind, value, bool(equals), keyword, info, keyword and info is not None and info.is_write)


@cache
def function_schema(text: str) -> FunctionSchema:
    """Read a schema."""
    head, _, results = text.rpartition(" -> ")
    full, _, inside = head.partition("(")
    name, _, overload = full.partition(".")
    arguments, keyword = [], False
    for part in _split(inside[:-1]):
        if part == "*":
            keyword = True
        else:
            arguments.append(_argument(part, keyword))
    results = results.strip()
    inner = _split(results[1:-1]) if results.startswith("(") else [results]
    returns = [
        _argument(part, False) if re.search(r"[\])?\w] \w+$", part) else _argument(part, False, " ") for part in inner
    ]
    returns = [a if a.name.strip() else Argument("", a.type, alias_info=a.alias_info) for a in returns]
    return FunctionSchema(text, name, overload, arguments, returns)
