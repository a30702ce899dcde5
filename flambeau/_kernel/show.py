"""Kernels as text that reads as Python, and back: `read(show(kernel)) == kernel`. The text is also the cache key.

    def kernel(out0: "out float32", p0: "in float32", n0, n1, s0, vector="j0"):
      for i0 in outer(n0):
        acc0 = float32(-inf)
        for j0 in inner(n1):
          acc0 = maximum(acc0, p0[i0 * s0 + j0])
        out0[i0] = acc0

A bare number has the dtype of the operand beside it; elsewhere it is written `float32(0.5)`. `v` names are shared values.
"""

from __future__ import annotations

import ast
from collections import Counter
from typing import Any

from flambeau._kernel.index import At, Atom, Axis, Div, Index, Mod, Size, Span
from flambeau._kernel.ir import (
    MEMORY,
    Buffer,
    Kernel,
    Scalar,
    Stage,
    Statement,
    Store,
    Update,
    const,
    identity,
    load,
    walk,
    word,
)

SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="
}  # fmt: skip
DEEP = 40
AST_SIGNS: dict[type, str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
AST_COMPARE: dict[type, str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"
}  # fmt: skip

# ---------------------------------------------------------------- writing


def number(v: Any) -> str:
    return repr(v)


def scalar(e: Scalar, names: dict[Scalar, str] | None = None, beside: str = "") -> str:
    """One expression; `names` are shared values already written, `beside` the dtype a bare number would be read as."""
    names = names or {}
    if e in names:
        return names[e]
    if e.op == "const":
        return number(e.arg) if beside == e.dtype and not isinstance(e.arg, str) else f"{e.dtype}({e.arg})"
    if e.op == "acc":
        return str(e.arg)
    if e.op == "load":
        return f"{e.arg[0]}[{index(e.arg[1], names)}]"
    if e.op == "index":
        return f"index({index(e.arg, names)})"
    if e.op == "cast":
        return f"{e.arg}({scalar(e.src[0], names)})"
    group = e.src[1:] if e.op == "where" else e.src
    typed = next((s.dtype for s in group if s.op != "const"), "")
    src = [scalar(s, names, typed) for s in group]
    if e.op == "where":
        src.insert(0, scalar(e.src[0], names))
    if e.op == "guard":
        tests = " and ".join(f"0 <= {index(i, names)} < {n}" for i, n in e.arg)
        return f"({src[0]} if {tests} else {src[1]})"
    if e.op == "neg":
        return f"(-{src[0]})"
    if e.op in SIGNS:
        return f"({src[0]} {SIGNS[e.op]} {src[1]})"
    return f"{e.op}({', '.join(src)})"


def index(i: Index, names: dict[Scalar, str] | None = None) -> str:
    parts = [atom(a, names) if c == 1 else f"{atom(a, names)} * {c}" for a, c in i.terms]
    text = " + ".join(parts + [str(i.const)] * (i.const != 0 or not parts))
    return text.replace("+ -", "- ")


def atom(a: Atom, names: dict[Scalar, str] | None = None) -> str:
    match a:
        case Axis():
            return a.name
        case At():
            return f"at({scalar(a.value, names)})"
    inner = index(a.index, names)
    return f"({inner if inner.isidentifier() else f'({inner})'} {'//' if isinstance(a, Div) else '%'} {a.by})"


def show(kernel: Kernel) -> str:
    """The kernel as Python text."""
    head = [f'{b.name}: "{b.role} {b.dtype}{f" {b.size}" if b.role == "row" else ""}"' for b in kernel.buffers]
    head += [*kernel.sizes, f'vector="{kernel.vector}"', *([f'tile="{kernel.tile}"'] if kernel.tile else [])]
    lines = [f"def kernel({', '.join(head)}):"]
    depth = 1
    for a in kernel.outer:
        lines.append(f"{'  ' * depth}for {a.name} in outer({a.extent}):")
        depth += 1
    for s in kernel.stages:
        write_stage(s, depth, lines)
    return "\n".join(lines) + "\n"


def write_stage(stage: Stage, depth: int, lines: list[str]) -> None:
    for b in stage.body:
        if isinstance(b, Update):
            lines.append(f"{'  ' * depth}{b.acc} = {b.value.dtype}({number(identity(b.op, b.value.dtype))})")
    for a in stage.axes:
        lines.append(f"{'  ' * depth}for {a.name} in inner({a.extent}):")
        depth += 1
    pad, names = "  " * depth, dict[Scalar, str]()
    shared = {e: n for e, n in uses(stage).items() if n > 1 and e.op not in ("const", "acc")}
    deep: dict[Scalar, int] = {}
    for b in stage.body:
        for e in walk(b.value):
            deep[e] = 1 + max((deep[x] for x in e.operands), default=0)
            if deep[e] == DEEP:  # a line would be too long for anybody to read, and for Python to parse
                shared[e], deep[e] = 2, 0
            if e in shared and e not in names:
                text = scalar(e, names)
                names[e] = f"v{len(names)}"
                lines.append(f"{pad}{names[e]} = {text}")
        if isinstance(b, Store):
            lines.append(f"{pad}{b.buffer}[{index(b.index, names)}] = {scalar(b.value, names)}")
        else:
            value = scalar(b.value, names)
            text = f"{b.acc} + {value}" if b.op == "add" else f"{b.op}({b.acc}, {value})"
            lines.append(f"{pad}{b.acc} = {text}")


def uses(stage: Stage) -> Counter[Scalar]:
    """How often each node is an operand (or a statement's value) within a stage."""
    roots = [b.value for b in stage.body]
    return Counter([*roots, *(s for e in walk(*roots) for s in e.operands)])


# ---------------------------------------------------------------- reading


class Reader:
    """The inverse of `show`: a walk over Python's own syntax tree."""

    def __init__(self, text: str) -> None:
        self.fn = ast.parse(text).body[0]
        self.buffers: dict[str, Buffer] = {}
        self.axes: dict[str, Axis] = {}
        self.values: dict[str, Scalar] = {}  # accumulators and shared values

    def kernel(self) -> Kernel:
        args = self.fn.args  # type: ignore[attr-defined]
        sizes, schedule = [], [d.value for d in args.defaults]
        for a in args.args[: -len(schedule)]:
            if a.annotation is None:
                sizes.append(a.arg)
                continue
            role, dtype, *size = a.annotation.value.split()
            self.buffers[a.arg] = Buffer(a.arg, dtype, role, self.size_text(size[0]) if size else 0)
        outer, body = [], self.fn.body  # type: ignore[attr-defined]
        while isinstance(body[0], ast.For) and body[0].iter.func.id == "outer":  # type: ignore[attr-defined]
            outer.append(self.axis(body[0]))
            body = body[0].body
        return Kernel(tuple(self.buffers.values()), tuple(sizes), tuple(outer), tuple(self.stages(body)), *schedule)

    def size_text(self, text: str) -> Size:
        return int(text) if text.lstrip("-").isdigit() else text

    def size(self, node: Any) -> Any:
        if isinstance(node, ast.Call):  # min(size, total - axis * size)
            minus = node.args[1]
            return Span(self.size(node.args[0]), self.size(minus.left), minus.right.left.id)  # type: ignore[attr-defined]
        if isinstance(node, ast.UnaryOp):
            return -self.size(node.operand)
        return node.id if isinstance(node, ast.Name) else node.value

    def axis(self, loop: Any) -> Axis:
        axis = Axis(loop.target.id, self.size(loop.iter.args[0]))
        self.axes[axis.name] = axis
        return axis

    def stages(self, body: list[Any]) -> list[Stage]:
        out, flat = list[Stage](), list[Any]()
        for node in body:
            if isinstance(node, ast.For):
                axes = []
                while isinstance(node, ast.For):
                    axes.append(self.axis(node))
                    inner = node.body
                    node = inner[0]
                out.append(Stage(tuple(axes), tuple(self.statements(inner))))
            elif self.is_start(node):
                self.values[node.targets[0].id] = Scalar("acc", (), node.targets[0].id, node.value.func.id)
            else:
                flat.append(node)
                continue
            if flat:
                raise SyntaxError("statements without a loop come last")
        return [*out, Stage((), tuple(self.statements(flat)))] if flat else out

    def is_start(self, node: Any) -> bool:
        """`acc0 = float32(-inf)`."""
        name = getattr(node.targets[0], "id", "")
        return name.startswith("acc") and name not in self.values

    def statements(self, body: list[Any]) -> list[Statement]:
        out: list[Statement] = []
        for node in body:
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Subscript):
                out.append(Store(target.value.id, self.index(target.slice), self.scalar(value)))  # type: ignore[attr-defined]
            elif target.id.startswith("acc"):
                op = "add" if isinstance(value, ast.BinOp) else value.func.id
                out.append(Update(target.id, op, self.scalar(value.right if op == "add" else value.args[1])))
            else:
                self.values[target.id] = self.scalar(value)
        return out

    def literal(self, node: Any) -> Any:
        """A bare number, or None."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in ("inf", "nan"):
            return float(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self.literal(node.operand)
            return None if inner is None else -inner
        return None

    def group(self, nodes: list[Any]) -> list[Scalar]:
        """Operands that must agree: bare numbers take the dtype of the others."""
        src = [None if self.literal(n) is not None else self.scalar(n) for n in nodes]
        dtype = next((s.dtype for s in src if s is not None and s.op != "const"), "")
        return [const(self.literal(n), dtype) if s is None else s for n, s in zip(nodes, src, strict=True)]

    def scalar(self, node: Any) -> Scalar:
        match node:
            case ast.Name():
                return self.values[node.id]
            case ast.Subscript(value=ast.Name(id=name)):
                return load(name, self.index(node.slice), self.buffers[name].dtype)
            case ast.BinOp():
                return word(AST_SIGNS[type(node.op)], *self.group([node.left, node.right]))
            case ast.Compare():
                return word(AST_COMPARE[type(node.ops[0])], *self.group([node.left, node.comparators[0]]))
            case ast.UnaryOp():
                return word("neg", self.scalar(node.operand))
            case ast.IfExp():
                tests = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
                arg = tuple((self.index(t.comparators[0]), self.size(t.comparators[1])) for t in tests)  # type: ignore[attr-defined]
                src = self.group([node.body, node.orelse])
                return Scalar("guard", tuple(src), arg, src[0].dtype)
            case ast.Call(func=ast.Name(id=name)):
                return self.call(name, node.args)
        raise SyntaxError(ast.dump(node))

    def call(self, name: str, args: list[Any]) -> Scalar:
        if name == "index":
            return Scalar("index", (), self.index(args[0]), "int64")
        if name in MEMORY:
            v = self.literal(args[0])
            if v is None and isinstance(args[0], ast.Name) and args[0].id not in self.values:
                v = args[0].id  # a run-time size
            if v is not None:
                return const(v, name)
            return word("cast", self.scalar(args[0]), dtype=name)
        if name == "where":
            return word("where", self.scalar(args[0]), *self.group(args[1:]))
        return word(name, *self.group(args))

    def index(self, node: Any) -> Index:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            left, right = self.index(node.left), self.index(node.right)
            sign = -1 if isinstance(node.op, ast.Sub) else 1
            zero = right.const == 0
            return Index(left.terms + right.terms, left.const if zero else right.const if sign == 1 else -right.const)  # type: ignore[operator]
        coefficient: Size = 1
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            coefficient, node = self.size(node.right), node.left
        match node:
            case ast.BinOp():
                by = self.size(node.right)
                kind = Div if isinstance(node.op, ast.FloorDiv) else Mod
                return Index(((kind(self.index(node.left), by), coefficient),))
            case ast.Call(func=ast.Name(id="at")):
                return Index(((At(self.scalar(node.args[0])), coefficient),))
            case ast.Name() if node.id in self.axes:
                return Index(((self.axes[node.id], coefficient),))
        return Index((), self.size(node))


def read(text: str) -> Kernel:
    """The kernel that `show` wrote."""
    return Reader(text).kernel()


__all__ = ["read", "show"]
