"""Where a value came from: an expression that finds it again in the world outside, at the next call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Source:
    """One expression. `kind` says how `base` and `key` make it; sources are interned, so equal ones are identical."""

    __slots__ = ("base", "key", "kind")

    def __init__(self, kind: str, base: Any, key: Any) -> None:
        self.kind, self.base, self.key = kind, base, key

    def __repr__(self) -> str:
        return f"<{self.spoken()}>"

    @property
    def root(self) -> Source:
        """The first expression of the chain: a local or a constant."""
        s = self
        while isinstance(s.base, Source):
            s = s.base
        return s

    @property
    def fixed(self) -> bool:
        """Whether the chain starts at an object that is the same at each call (a module, a class, a namespace)."""
        return self.root.kind == "const"

    def spoken(self) -> str:
        """As a person would write it."""
        kind, base, key = self.kind, self.base, self.key
        if kind == "local":
            return str(key)
        if kind == "const":
            return _spoken_const(key)
        if kind == "attr":
            return f"{base.spoken()}.{key}"
        if kind == "dict":
            return f"{base.spoken()}.__dict__"
        if kind == "item":
            if base.kind == "dict" and isinstance(key, str):
                return f"{base.base.spoken()}.{key}"
            if base.kind == "const" and isinstance(base.key, dict) and isinstance(key, str):
                return key
            return f"{base.spoken()}[{key.spoken() if isinstance(key, Source) else repr(key)}]"
        if kind == "nth":
            return f"list({base.spoken()})[{key}]"
        if kind == "size":
            return f"{base.spoken()}.shape[{key}]"
        return key.format(*(b.spoken() if isinstance(b, Source) else repr(b) for b in base))


def evaluate(source: Any, found: dict[str, Any]) -> Any:
    """What a source finds now; `found` are the locals."""
    if not isinstance(source, Source):
        return source
    kind, base, key = source.kind, source.base, source.key
    if kind == "local":
        return found[key]
    if kind == "const":
        return key
    if kind in ("expression", "call"):
        raise LookupError
    x = evaluate(base, found)
    if kind == "attr":
        return getattr(x, key)
    if kind == "dict":
        return x.__dict__
    if kind == "size":
        return x._a.shape[key]
    return list(x)[key] if kind == "nth" else x[evaluate(key, found)]


def _spoken_const(value: Any) -> str:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if name is None and isinstance(value, dict):
        name = f"globals of {value.get('__name__', '?')}"
    return name if isinstance(name, str) else type(value).__name__


class Sources:
    """The sources of one capture, each made once."""

    def __init__(self) -> None:
        self._made: dict[Any, Source] = {}
        self._alive: list[Any] = []  # constants named by their identity must not be freed meanwhile

    def _get(self, kind: str, base: Any, key: Any, mark: Any) -> Source:
        found = self._made.get(mark)
        if found is None:
            found = self._made[mark] = Source(kind, base, key)
        return found

    def local(self, name: str) -> Source:
        return self._get("local", None, name, ("local", name))

    def const(self, value: Any) -> Source:
        """The object itself."""
        self._alive.append(value)
        return self._get("const", None, value, ("const", id(value)))

    def attr(self, base: Source, name: str) -> Source:
        return self._get("attr", base, name, ("attr", id(base), name))

    def dict(self, base: Source) -> Source:
        return self._get("dict", base, None, ("dict", id(base)))

    def item(self, base: Source, key: Any) -> Source:
        """`base[key]`; the key is a constant or a source itself."""
        mark = ("item", id(base), id(key)) if isinstance(key, Source) else ("item", id(base), type(key), key)
        return self._get("item", base, key, mark)

    def nth(self, base: Source, i: int) -> Source:
        """The i-th key of a dictionary, or element of what can only be iterated over."""
        return self._get("nth", base, i, ("nth", id(base), i))

    def size(self, base: Source, d: int) -> Source:
        """How large a tensor is in a dimension."""
        return self._get("size", base, d, ("size", id(base), d))

    def expression(self, text: str, *operands: Any) -> Source:
        """Arithmetic over other sources (and constants): `{} + {}`."""
        marks = tuple(("s", id(o)) if isinstance(o, Source) else (type(o), repr(o)) for o in operands)
        return self._get("expression", operands, text, ("expression", text, marks))

    def anew(self, text: str, base: Source) -> Source:
        """Something of an object that changes without a trace: it is read at each call. `{}` stands for the object."""
        return self._get("call", (base,), text, ("anew", text, id(base)))

    def call(self, fn: Source, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Source:
        """What a function gives that remembers what it gave: it is called each time."""
        given = ["{}"] * len(args) + [f"{k}={{}}" for k in kwargs]
        text, operands = f"{{}}({', '.join(given)})", (fn, *args, *kwargs.values())
        marks = tuple(("s", id(o)) if isinstance(o, Source) else (type(o), repr(o)) for o in operands)
        return self._get("call", operands, text, ("call", text, marks))
