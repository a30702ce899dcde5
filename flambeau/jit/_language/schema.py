"""Signatures: of PyTorch's operators, read from `schemas.txt` (its own notation), and of compiled functions; and how calls meet them."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

from flambeau.jit._language import types as ty

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()


class Argument:
    """One parameter or result."""

    __slots__ = ("default", "inferred", "keyword", "kind", "length", "name", "type", "writes")

    def __init__(self, name: str, type: ty.Type, default: Any = REQUIRED, keyword: bool = False, length: int | None = None,
                 kind: str = "", writes: bool = False) -> None:  # fmt: skip
        self.name, self.type, self.default, self.keyword, self.length = name, type, default, keyword, length
        self.inferred = False  # a Tensor because nothing was said
        self.kind, self.writes = kind, writes  # `ScalarType`, `Layout`, `MemoryFormat` are ints with a meaning

    def has_default_value(self) -> bool:
        return self.default is not REQUIRED

    @property
    def default_value(self) -> Any:
        return None if self.default is REQUIRED else self.default

    @property
    def kwarg_only(self) -> bool:
        return self.keyword

    @property
    def N(self) -> int | None:
        return self.length

    def __str__(self) -> str:
        kind = self.kind + ("?" if self.kind and isinstance(self.type, ty.Optional) else "") or str(self.type)
        if self.length is not None:
            kind = kind.replace("[]", f"[{self.length}]")
        return f"{kind} {self.name}" + ("" if self.default is REQUIRED else f"={written(self.default)}")


def written(value: Any) -> str:
    """A constant as schemas and programs write it."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(written, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    return str(value)


def number(value: float) -> str:
    """A float, in as many digits as tell it from all others."""
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value)}." if value or str(value)[0] != "-" else "-0."
    return f"{value:.17g}"


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def quoted(text: str) -> str:
    out = []
    for c in text.encode():
        s = chr(c)
        out.append(_ESCAPES.get(s) or (s if 32 <= c < 127 else f"\\{c:03o}"))
    return '"' + "".join(out) + '"'


class Schema:
    """What a function takes and gives."""

    def __init__(
        self, name: str, overload: str, arguments: list[Argument], returns: list[Argument], varargs: bool = False
    ) -> None:
        self.name, self.overload_name, self.arguments, self.returns, self.varargs = (
            name,
            overload,
            arguments,
            returns,
            varargs,
        )

    def __str__(self) -> str:
        parts, starred = [], False
        for a in self.arguments:
            if a.keyword and not starred:
                parts.append("*")
                starred = True
            parts.append(str(a))
        if self.varargs:
            parts.append("...")
        name = self.name + ("." + self.overload_name if self.overload_name else "")
        gives = [f"{r.type} {r.name}".rstrip() for r in self.returns]
        return f"{name}({', '.join(parts)}) -> {gives[0] if len(gives) == 1 else '(' + ', '.join(gives) + ')'}"

    __repr__ = __str__

    @property
    def key(self) -> str:
        return self.name + ("." + self.overload_name if self.overload_name else "")

    @property
    def mutates(self) -> bool:
        return any(a.writes for a in self.arguments)

    @property
    def result(self) -> ty.Type:
        """The type of what a call gives."""
        if len(self.returns) == 1:
            return self.returns[0].type
        return ty.Tuple(*(r.type for r in self.returns)) if self.returns else ty.NONE


_TOKEN = re.compile(r'\s*(->|\.\.\.|"(?:[^"\\]|\\.)*"|[A-Za-z_][\w.:]*|-?\d[\w.+-]*|.)')
_KINDS = {"ScalarType": ty.INT, "Layout": ty.INT, "MemoryFormat": ty.INT, "SymInt": ty.INT, "Scalar": ty.NUMBER}
_MEANT = frozenset(("ScalarType", "Layout", "MemoryFormat"))


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def take(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def type(self) -> tuple[ty.Type, int | None, str, bool]:
        """A type, the length of a list, its meaning where it is an int, whether it is written to."""
        length, kind, writes = None, "", False
        if self.take("("):
            parts = []
            while not self.take(")"):
                parts.append(self.type()[0])
                self.take(",")
            t: ty.Type = ty.Tuple(*parts)
        else:
            name = self.next()
            if name in ("Dict", "Future", "Await") and self.take("("):
                parts = []
                while not self.take(")"):
                    parts.append(self.type()[0])
                    self.take(",")
                t = ty.Dict(*parts) if name == "Dict" else ty.Future(*parts) if name == "Future" else ty.Await(*parts)
            elif name in _KINDS:
                t, kind = _KINDS[name], name if name in _MEANT else ""
            elif name in ty.SIMPLE:
                t = ty.SIMPLE[name]
            elif name == "AnyEnumType":
                t = ty.ANY_ENUM
            elif name == "AnyClassType":
                t = ty.ANY_CLASS
            else:
                t = ty.Variable(name)
        while True:
            if self.peek() == "(" and self.at + 1 < len(self.tokens):  # alias marks: (a!), (a -> *), (*), (b|a)
                close = self.tokens.index(")", self.at)
                writes = writes or "!" in self.tokens[self.at : close]
                self.at = close + 1
            elif self.take("["):
                if self.peek() != "]":
                    length = int(self.next())
                self.take("]")
                t = ty.List(t)
            elif self.take("?"):
                t = ty.Optional(t)
            else:
                return t, length, kind, writes

    def value(self, t: ty.Type) -> Any:
        token = self.next()
        if token == "[":
            out = []
            while not self.take("]"):
                out.append(self.value(t.contained[0] if t.contained else t))
                self.take(",")
            return out
        if token[0] == '"':
            return token[1:-1]
        if token in ("None", "True", "False"):
            return {"None": None, "True": True, "False": False}[token]
        if token in ("Mean", "strided", "contiguous_format", "long"):
            return {"Mean": 1, "strided": 0, "contiguous_format": 0, "long": 4}[token]
        inner = t.contained[0] if isinstance(t, ty.Optional) else t
        value: Any = float(token) if inner is ty.FLOAT or "." in token or "e" in token else int(token)
        return value


@functools.cache
def parse(text: str) -> Schema:
    """A schema from PyTorch's notation."""
    r = _Reader(text)
    name, _, overload = r.next().partition(".")
    r.take("(")
    arguments, keyword, varargs = [], False, False
    while not r.take(")"):
        if r.take("*"):
            keyword = True
        elif r.take("..."):
            varargs = True
        else:
            t, length, kind, writes = r.type()
            argument = Argument(r.next(), t, keyword=keyword, length=length, kind=kind, writes=writes)
            if r.take("="):
                default = r.value(t)
                inner = t.contained[0] if isinstance(t, ty.Optional) else t
                if isinstance(inner, ty.List) and default is not None and not isinstance(default, list):
                    default = [default] * (length or 1)
                argument.default = default
            arguments.append(argument)
        r.take(",")
    r.take("->")
    returns = []
    if r.take("("):
        while not r.take(")"):
            t, _, _, _ = r.type()
            returns.append(Argument("" if r.peek() in (",", ")") else r.next(), t))
            r.take(",")
    elif r.peek() != "...":
        returns.append(Argument("", r.type()[0]))
    return Schema(name, overload, arguments, returns, varargs)


@functools.cache
def _lines() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    text = resources.files("flambeau.jit._language").joinpath("schemas.txt").read_text()
    for line in (line.rstrip() for line in text.splitlines()):
        found.setdefault(line.partition("(")[0].partition(".")[0], []).append(line)
    return found


@functools.cache
def overloads(name: str) -> tuple[Schema, ...]:
    """The schemas of an operator: `aten::add`."""
    if name in _lines():
        return tuple(parse(line) for line in (*_lines()[name], *_into(name)))
    namespace, _, base = name.partition("::")
    if namespace in ("aten", "prim"):
        return ()
    return custom(namespace, base)


def _into(name: str) -> list[str]:
    """The forms with `out=` of an operator that has them."""
    from flambeau._operators.op import NAMES

    ops = NAMES[""].get(name.removeprefix("aten::"), ())
    if not name.startswith("aten::") or not any("out" in op.variants for op in ops):
        return []
    found = []
    for line in _lines()[name]:
        head, returns = line.rsplit(" -> ", 1)
        if returns == "Tensor":
            full, arguments = head.split("(", 1)
            star = "" if "*, " in arguments else "*, "
            overload = full.removeprefix(name).removeprefix(".")
            found.append(
                f"{name}.{overload + '_' if overload else ''}out({arguments[:-1]}, {star}Tensor(a!) out) -> Tensor(a!)"
            )
    return found


def registered(op: Any) -> tuple[Schema, ...]:
    """The schemas of an operator that programs reach as `torch.ops.aten.gelu_backward` alone."""
    packet = getattr(op, "overloadpacket", op)
    return tuple(parse(str(getattr(packet, name)._schema)) for name in packet.overloads())


def custom(namespace: str, base: str) -> tuple[Schema, ...]:
    """The schemas of a user's operator (`torch.library`)."""
    from flambeau._ops import _DEFINED

    return tuple(parse(str(d.schema)) for d in _DEFINED.get(namespace, {}).get(base, {}).values())
