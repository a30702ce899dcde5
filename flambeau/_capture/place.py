"""Where values lie: places, and what strides a chain of moves makes of memory. Functions of expressions and layouts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flambeau._kernel.ir import HALVES, WORDS
from flambeau._kernel.record import Expr, parameter, toposort
from flambeau._values.shape import contiguous_strides

Ints = tuple[int, ...]
# Words that compute nothing.
FREE = {"param", "const", "iota", "reshape", "permute", "expand", "slice", "flip", "windows"}
_ELEMENTWISE = WORDS | {"param", "const"}


@dataclass(frozen=True)
class Place:
    """kind: "arg" (an input), "out" (a result), "temp" (in the arena), "own" (beside it), "held" (what a call in Python gave)."""

    kind: str
    index: Any  # a number; while a program is planned for many sizes, a block of its arena


@dataclass(frozen=True)
class Strided:
    """A view of a core that lies in memory; strides and offset in elements."""

    core: Expr
    shape: Ints
    strides: Ints
    offset: int = 0


def strided(e: Expr, leaves: Mapping[Expr, Any]) -> Strided:
    """Where the elements of `e` lie if its core does: moves are followed as far as strides can say them."""
    chain = []
    while e not in leaves and e.op in ("reshape", "permute", "expand", "slice"):
        chain.append(e)
        e = e.src[0]
    strides = leaves[e].layout.strides if e in leaves else contiguous_strides(e.shape)
    found = Strided(e, e.shape, tuple(strides))
    for move in reversed(chain):
        moved = follow(found, move)
        found = moved if moved is not None else Strided(move, move.shape, contiguous_strides(move.shape))
    return found


def follow(s: Strided, move: Expr) -> Strided | None:
    match move.op:
        case "permute":
            return Strided(s.core, move.shape, tuple(s.strides[d] for d in move.arg), s.offset)
        case "expand":
            lead = move.ndim - len(s.shape)
            old = ((1, 0),) * lead + tuple(zip(s.shape, s.strides))
            return Strided(
                s.core, move.shape, tuple(0 if n == 1 and m != 1 else t for (n, t), m in zip(old, move.shape)), s.offset
            )
        case "slice":
            dim, start, _, step = move.arg
            strides = tuple(t * step if d == dim else t for d, t in enumerate(s.strides))
            return Strided(s.core, move.shape, strides, s.offset + start * s.strides[dim])
        case "reshape":
            strides_ = reshaped(s.shape, s.strides, move.shape)
            return None if strides_ is None else Strided(s.core, move.shape, strides_, s.offset)
    return None


def widens(e: Expr) -> bool:
    """Whether halves become what is computed with."""
    return e.op == "cast" and e.src[0].dtype.name in HALVES and e.dtype.name == "float32"


def narrowed(e: Expr) -> Expr | None:
    """What was only widened and moved, as it is in memory."""
    if widens(e):
        return e.src[0]
    if e.op not in ("reshape", "permute", "expand", "slice"):
        return None
    x = narrowed(e.src[0])
    return None if x is None else Expr(e.op, (x,), e.arg, e.shape, x.dtype)


def reshaped(shape: Ints, strides: Ints, new: Ints) -> Ints | None:
    """The strides of a view in another shape; None where there is no such view."""
    if math.prod(shape) == 0 or tuple(strides) == contiguous_strides(shape):
        return contiguous_strides(new)
    dims = [(n, t) for n, t in zip(shape, strides) if n != 1]
    merged: list[tuple[int, int]] = []
    for n, t in dims:
        if merged and merged[-1][1] == n * t:
            merged[-1] = (merged[-1][0] * n, t)
        else:
            merged.append((n, t))
    out: list[int] = []
    pieces = iter(merged)
    left, step = 1, 0  # what is not yet handed out of the current piece, and the stride of the whole of it
    for m in new:
        if m == 1:
            out.append(0)
            continue
        if left == 1:
            n, t = next(pieces, (1, 0))
            left, step = n, n * t
        if left % m:
            return None
        step //= m
        left //= m
        out.append(step)
    if left != 1 or next(pieces, None) is not None:
        return None
    for d in reversed(range(len(new))):  # dims of size 1 get the stride that a dense array would have
        if new[d] == 1:
            out[d] = out[d + 1] * new[d + 1] if d + 1 < len(new) else 1
    return tuple(out)


def covers(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether strides walk memory densely, each element once."""
    n = 1
    for size, step in sorted(zip(shape, strides), key=lambda x: x[1]):
        if size == 1:
            continue
        if step != n:
            return False
        n *= size
    return True


def alike(s: Strided, strides: Sequence[int]) -> bool:
    """Whether a view has these strides where they matter."""
    return all(n == 1 or a == b for n, a, b in zip(s.shape, s.strides, strides, strict=True))


def pointwise(root: Expr, leaf: Expr) -> bool:
    """Whether an expression reads a leaf only at the place that it writes."""
    bad: set[Expr] = set()
    good: dict[Expr, None] = {}
    stack = [root]
    while stack:
        e = stack.pop()
        if e in good or e in bad:
            continue
        if e is not leaf and e.op in _ELEMENTWISE and e.shape == root.shape:
            good[e] = None
            stack.extend(e.src)
        elif e is leaf and e.shape == root.shape:
            good[e] = None
        elif e is leaf or leaf in toposort(e):
            return False
        else:
            bad.add(e)
    return True


def rewritten(roots: Sequence[Expr], swap: Mapping[Expr, Expr]) -> list[Expr]:
    """Expressions with some replaced (unless they are a root themselves)."""
    if not swap:
        return list(roots)
    done: dict[Expr, Expr] = dict(swap)
    stack = [(r, False) for r in roots]
    while stack:
        e, ready = stack.pop()
        if e in done:
            continue
        if ready:
            done[e] = Expr(e.op, tuple(done[s] for s in e.src), e.arg, e.shape, e.dtype) if e.src else e
            continue
        stack.append((e, True))
        stack.extend((s, False) for s in e.src)
    return [done[r] for r in roots]


def canonical(roots: Sequence[Expr], edges: Iterable[Expr]) -> tuple[tuple[Expr, ...], dict[Expr, Expr]]:
    """Expressions over their edges as numbered parameters, so that equal layers of a model look equal; and what became of each node."""
    done = {e: parameter(n, e.shape, e.dtype) for n, e in enumerate(edges)}
    for e in toposort_to(roots, done):
        src = tuple(done[s] for s in e.src)
        done[e] = e if src == e.src else Expr(e.op, src, e.arg, e.shape, e.dtype)
    return tuple(done[r] for r in roots), done


def toposort_to(roots: Sequence[Expr], stop: Mapping[Expr, Any]) -> list[Expr]:
    """Every node above those where to stop, sources first."""
    seen: dict[Expr, None] = {}
    stack = [(r, False) for r in reversed(roots)]
    while stack:
        e, ready = stack.pop()
        if e in seen or e in stop:
            continue
        if ready:
            seen[e] = None
        else:
            stack.append((e, True))
            stack += [(s, False) for s in reversed(e.src)]
    return list(seen)


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """How many elements a view reaches over, from its first."""
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * t for n, t in zip(shape, strides))
