"""Expressions as text: the body that records them again. For people, and for tests, which read it back.

    def softmax(k, p0: "float32[256, 64]"):
        v0 = k.max(p0, (1,))  # float32[256, 1]
        v1 = p0 - v0  # float32[256, 64]
        ...

Operands broadcast, and numbers take the dtype of what they meet, as in any body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._ground import dumps
from flambeau._kernel.language import BINARY, TERNARY
from flambeau._kernel.record import Expr, toposort
from flambeau._values.dtype import BY_NAME
from flambeau._values.shape import broadcast

SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
BROADCASTING = frozenset((*BINARY, *TERNARY))


def body(roots: Sequence[Expr], name: str = "body") -> str:
    """The roots as a function of `k` and of the parameters that they read."""
    params = sorted((e for e in toposort(*roots) if e.op == "param"), key=lambda e: e.arg)
    written = Writer({e: f"p{e.arg}" for e in params})
    results = [written.name(r) for r in roots]
    head = ", ".join(["k", *(f'{written.names[e]}: "{typed(e)}"' for e in params)])
    identifier = "".join(c if c.isalnum() else "_" for c in name)
    return "\n".join([f"def {identifier}({head}):", *written.lines, f"    return {', '.join(results)}"]) + "\n"


def dump(name: str, roots: Sequence[Expr]) -> None:
    """FLAMBEAU_LOGS=expression."""
    if dumps.wanted("expression"):
        dumps.dump("expression", name, body(roots, name))


def read(text: str, k: Any, *params: Any) -> Any:
    """What `body` wrote, read by a kernel."""
    scope: dict[str, Any] = {**BY_NAME, "inf": float("inf"), "nan": float("nan")}
    made: dict[str, Any] = {}
    exec(text, scope, made)
    (fn,) = made.values()
    return fn(k, *params)


def typed(e: Expr) -> str:
    return f"{e.dtype.name}{list(e.shape)}"


class Writer:
    """Lines, one a node, in the order in which the nodes are wanted."""

    def __init__(self, names: dict[Expr, str]) -> None:
        self.names, self.lines, self.count = dict(names), list[str](), 0

    def name(self, root: Expr) -> str:
        for e in toposort(root):
            if e not in self.names and (e is root or not self.implied(e, root)):
                self.line(e)
        return self.names[root]

    def implied(self, e: Expr, root: Expr) -> bool:
        """Constants, and what is only broadcast, are written where they are used."""
        return e.op == "const" or (e.op == "expand" and e is not root)

    def line(self, e: Expr) -> None:
        text = self.call(e)
        self.names[e] = f"v{self.count}"
        self.count += 1
        self.lines.append(f"    {self.names[e]} = {text}  # {typed(e)}")

    def operands(self, e: Expr) -> list[str]:
        """The operands' names; numbers and operands that broadcast by themselves stand as they are."""
        if e.op in BROADCASTING:
            plain = [s.src[0] if s.op == "expand" else s for s in e.src]
            values = plain[1:] if e.op == "where" else plain
            numbers = {
                s for s in values if s.op == "const" and any(o.op != "const" and o.dtype is s.dtype for o in values)
            }
            if broadcast(*(s.shape for s in plain)) == e.shape:
                return [repr(s.arg) if s in numbers else self.known(s) for s in plain]
        return [self.known(s) for s in e.src]

    def known(self, e: Expr) -> str:
        if e not in self.names:
            self.line(e)
        return self.names[e]

    def call(self, e: Expr) -> str:
        """A node as what makes it: a sign, or a word of the language (compare `record.evaluate`)."""
        xs = self.operands(e)
        if e.op in SIGNS:
            return f"{xs[0]} {SIGNS[e.op]} {xs[1]}"
        match e.op:
            case "const":
                args = ["()", repr(e.arg), e.dtype.name]
                return f"k.full({', '.join(args)})"
            case "iota":
                args = [repr(e.arg), e.dtype.name]
            case "cast":
                args = [*xs, e.dtype.name]
            case "slice" | "windows" | "pad":
                args = [*xs, *map(repr, e.arg)]
            case "take" | "gather":
                args = [xs[0], repr(e.arg), xs[1]]
            case "argmax" | "argmin":
                args = [*xs, repr(e.arg[0])]
            case _:
                args = [*xs, *([repr(e.arg)] if e.arg is not None else [])]
        return f"k.{e.op}({', '.join(args)})"


__all__ = ["body", "dump", "read"]
