"""Where something is written: the extent of a piece of syntax, and the lines around it with that piece marked.

Extents are those of PyTorch's own parser, which programs see in errors: a call is marked by what is called, an operation from its first
operand to its last, without the bracket that closes it.
"""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

Point = tuple[int, int]  # line, column


class Place(NamedTuple):
    """Where something is written."""

    file: str
    line: int
    column: int
    last: int  # the line on which it ends
    end: int
    lines: Any  # (the number of the first line, all lines)

    def highlight(self, function: str = "") -> str:
        """The lines around, with the place marked, as PyTorch shows them; `function` is the one it stands in."""
        if not self.lines:
            return ""
        first, text = self.lines
        at, to = self.line - first, self.last - first
        inside = f", in {function}" if function else ""
        shown = [*text[max(0, at - 2) : at]]
        for i, line in enumerate(text[at : to + 1], at):
            start = self.column if i == at else len(line) - len(line.lstrip())
            stop = self.end if i == to else len(line)
            shown += [line, " " * start + "~" * max(1, stop - start) + (" <--- HERE" if i == to else "")]
        where = f'  File "{self.file}", line {self.line}{inside}\n' if self.file else ""
        return where + "\n".join([*shown, *text[to + 1 : to + 3]]) + "\n"


# The statements and the length of the word with which they begin: it is part of their extent.
_WORDS = {ast.Raise: 5, ast.Assert: 6, ast.Return: 6, ast.If: 2, ast.While: 5, ast.For: 3, ast.Delete: 3, ast.With: 4}
_BRACKETS = (ast.List, ast.Tuple, ast.Dict, ast.ListComp, ast.DictComp, ast.JoinedStr, ast.UnaryOp, *_WORDS)


def extent(node: Any) -> tuple[Point, Point]:
    """Where a piece of syntax begins and where it ends."""
    start = (node.lineno, node.col_offset)
    match node:
        case ast.Constant(value=str() as text) if node.end_lineno == node.lineno:
            return start, (node.lineno, node.col_offset + len(text) + 1)
        case ast.Attribute():
            first, last = extent(node.value)
            if last[0] == node.end_lineno:  # one character after what it is an attribute of
                return first, (last[0], last[1] + 1 + len(node.attr))
            return first, (node.end_lineno or node.lineno, node.end_col_offset or 0)
        case ast.Subscript():
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            first, last = _around([node.value, *parts[-1:]])
            return first, (last[0], last[1] + 1)
        case (
            ast.Call()
            | ast.BinOp()
            | ast.Compare()
            | ast.BoolOp()
            | ast.IfExp()
            | ast.Assign()
            | ast.AugAssign()
            | ast.Expr()
        ):
            return _around(_parts(node))
        case ast.Slice():
            parts = _parts(node)
            return _around(parts) if parts else (start, start)
    if isinstance(node, _BRACKETS):
        first, last = _around(_parts(node)) if _parts(node) else (start, start)
        return min(start, first), max((node.lineno, node.col_offset + _WORDS.get(type(node), 1)), last)
    return start, (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset + 1)


def callee(node: Any) -> tuple[Point, Point]:
    """The extent that errors of a step mark: of a call, what is called."""
    return extent(node.func) if isinstance(node, ast.Call) else extent(node)


def _around(nodes: list[Any]) -> tuple[Point, Point]:
    found = [extent(n) for n in nodes]
    return min(f for f, _ in found), max(t for _, t in found)


def _parts(node: Any) -> list[Any]:
    """The pieces with a place, those of nodes without one (keywords, comprehensions) among them."""
    found: list[Any] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.keyword):
            found.append(child.value)
        elif isinstance(child, (ast.comprehension, ast.FormattedValue)):
            found += _parts(child)
        elif hasattr(child, "lineno"):
            found.append(child)
    return found
