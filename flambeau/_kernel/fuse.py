"""A graph of expressions -> a program: which kernels compute it, in which order, through which temporaries.

Everything goes into one kernel that can (see `loops`); what cannot is cut out and computed before, into a temporary.
A long reduction over few rows becomes partial results and their combination. All decisions are by shapes, dtypes and
strides alone, so the same call always runs the same program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flambeau._kernel.ir import Buffer, Kernel
from flambeau._kernel.loops import Cut, Layout, arg_extreme, lower
from flambeau._kernel.record import FOLD, Expr, toposort
from flambeau._kernel.schedule import Bound, bind, cut, scheduled, widen

ROWS = 8  # fewer rows than this, and longer than LONG: each stage of the row is its own kernel
LONG = 65536


@dataclass(frozen=True)
class Launch:
    """One kernel, its sizes and how it is cut; `operands` are what its arguments are: ("in" | "out" | "temp", number)."""

    kernel: Kernel
    operands: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]
    grain: tuple[int, int]
    chunks: int
    scratch: int


@dataclass(frozen=True)
class Program:
    """Launches in order; `temps` are the dtypes and numbers of elements of what lives between them."""

    launches: tuple[Launch, ...]
    temps: tuple[tuple[str, int], ...]


Check = Callable[[Kernel, str], object]


def fuse(
    roots: Sequence[Expr], inputs: Sequence[Layout], outs: Sequence[Layout], check: Check | None = None
) -> Program:
    """The program that computes `roots` from `inputs` (the recorded parameters) into `outs`.

    `check(kernel, after)` is called after every pass: tests pass `verify`.
    """
    return Fuser(inputs, check or (lambda kernel, after: None)).program(roots, outs)


def groups(roots: Sequence[Expr]) -> list[list[int]]:
    """Roots that do not fit into one kernel, by shape: those of one shape may. Where all have one, each alone."""
    found: dict[tuple[int, ...], list[int]] = {}
    for n, r in enumerate(roots):
        found.setdefault(r.shape, []).append(n)
    return list(found.values()) if len(found) > 1 else [[n] for n in range(len(roots))]


class Fuser:
    def __init__(self, inputs: Sequence[Layout], check: Check) -> None:
        self.inputs, self.check = inputs, check
        self.launches: list[Launch] = []
        self.temps: list[tuple[str, int]] = []
        self.known: dict[Expr, tuple[str, Layout]] = {}
        self.places: dict[str, tuple[str, int]] = {}

    def program(self, roots: Sequence[Expr], outs: Sequence[Layout]) -> Program:
        for e in toposort(*roots):
            if e.op == "param":
                name = f"p{e.arg}"
                self.known[e] = name, self.inputs[e.arg]
                self.places[name] = "in", e.arg
        self.compute(list(roots), list(outs), [("out", n) for n in range(len(outs))])
        return Program(tuple(self.launches), tuple(self.temps))

    def compute(self, roots: list[Expr], outs: list[Layout], places: list[tuple[str, int]]) -> None:
        """One kernel for all roots; where they do not fit together, as few as do."""
        if all(math.prod(o.shape) == 0 for o in outs):
            return
        while True:
            try:
                kernel = lower(roots, self.known, outs)
                break
            except Cut as c:
                if len(roots) > 1 and (c.expr in roots or len({r.shape for r in roots}) > 1):
                    for group in groups(roots):
                        self.compute(*([every[n] for n in group] for every in (roots, outs, places)))  # type: ignore[arg-type]
                    return
                if c.expr in roots:
                    raise
                self.materialise(*self.companions(c.expr, roots))
        self.check(kernel, "lower")
        kernel = scheduled(kernel)
        self.check(kernel, "schedule")
        if self.apart(kernel):
            roots = [arg_extreme(r) if r.op in ("argmax", "argmin") else r for r in roots]
            inside = self.reductions(roots)
            for e in inside:
                self.materialise(e)
            if inside:
                self.compute(roots, outs, places)
                return
            if len(roots) > 1:  # all of them are reductions themselves
                for one in zip(roots, outs, places, strict=True):
                    self.compute(*([x] for x in one))  # type: ignore[arg-type]
                return
        where = {f"out{n}": p for n, p in enumerate(places)}
        self.emit(kernel, where)

    def emit(self, kernel: Kernel, where: dict[str, tuple[str, int]]) -> None:
        """Launches a scheduled kernel, in pieces where that is better."""
        wide = widen(kernel)
        pieces = wide or cut(kernel)
        if pieces is None:
            self.launch(kernel, where)
            return
        where = where | {p.name: self.temp(p.dtype, pieces.size) for p in pieces.parts}
        self.check(pieces.first, "cut, first")
        self.check(pieces.second, "cut, second")
        if wide:
            self.emit(scheduled(wide.first), where)
        else:
            self.launch(pieces.first, where)
        self.launch(pieces.second, where)

    def apart(self, kernel: Kernel) -> bool:
        """Whether rows are too few and too long to be walked by one thread each, stage after stage."""
        walked = [s for s in kernel.stages if s.axes]
        if len(walked) < 2:
            return False
        rows = math.prod(a.extent for a in kernel.outer)  # type: ignore[misc]
        longest = max(math.prod(a.extent for a in s.axes) for s in walked)  # type: ignore[misc]
        return rows < ROWS and longest > LONG

    def reductions(self, roots: list[Expr]) -> list[Expr]:
        """The reductions below the roots that are not in memory yet, sources first."""
        return [
            e
            for e in toposort(*roots)
            if e.op in (*FOLD, "argmax", "argmin") and e not in self.known and e not in roots
        ]

    def temp(self, dtype: str, size: int) -> tuple[str, int]:
        self.temps.append((dtype, size))
        return "temp", len(self.temps) - 1

    def companions(self, e: Expr, roots: list[Expr]) -> list[Expr]:
        """The reductions below the roots that walk the same rows as e does: one kernel computes them all."""
        if e.op not in FOLD:
            return [e]
        found = [
            r
            for r in self.reductions(roots)
            if r.op in FOLD and (r.arg, r.shape, r.src[0].shape) == (e.arg, e.shape, e.src[0].shape)
        ]
        if e not in found:
            return [e]
        try:
            lower(found, self.known, [Layout.dense(r.dtype.name, r.shape) for r in found])
        except Cut:
            return [e]
        return found

    def materialise(self, *es: Expr) -> None:
        """Computes expressions into temporaries, in one kernel if they fit."""
        es = tuple(e for e in es if e not in self.known)
        layouts = [Layout.dense(e.dtype.name, e.shape) for e in es]
        places = [self.temp(layout.dtype, math.prod(layout.shape)) for layout in layouts]
        if es:
            self.compute(list(es), layouts, places)
        for e, layout, place in zip(es, layouts, places, strict=True):
            name = f"t{place[1]}"
            self.known[e] = name, layout
            self.places[name] = place

    def launch(self, kernel: Kernel, where: dict[str, tuple[str, int]]) -> None:
        bound: Bound = bind(kernel)
        self.check(bound.kernel, "bind")
        operands = tuple(self.place(b, where) for b in bound.kernel.arguments)
        self.launches.append(Launch(bound.kernel, operands, bound.sizes, bound.grain, bound.chunks, bound.scratch))

    def place(self, b: Buffer, where: dict[str, tuple[str, int]]) -> tuple[str, int]:
        return where[b.name] if b.name in where else self.places[b.name]
