"""A schedule -> pieces: places for all values, and what runs in which order. Native work in a row is one segment.

A piece says, in plain data, what it was made of (`Segment.items`, `InPython.item`), so that it can be made again elsewhere (`stored`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import flambeau
from flambeau._backends.cpu.arrays import QUIET, K as ARRAYS, loud, quiet
from flambeau._backends.cpu.compile import RELEASE, native
from flambeau._backends.cpu.launch import ARG, CONST, TEMP, Plan
from flambeau._capture import place, routines
from flambeau._capture.arena import MUCH, Block, Found, Tape, replay
from flambeau._capture.expressions import Hole, Leaf, Step, short, spread
from flambeau._capture.place import Place, Strided
from flambeau._capture.schedule import Schedule, Target, Unit
from flambeau._kernel.loops import Layout
from flambeau._kernel.record import Expr, evaluate, parameter, toposort
from flambeau._kernel.show import show
from flambeau._tensor import Tensor, wrap
from flambeau._values.dtype import BY_NAME
from flambeau._values.shape import symbolic


@dataclass
class Segment:
    """A stretch of native work: its launches, with places for slots."""

    launches: list[tuple[int, list[tuple[Any, int]], int, int]] = field(
        default_factory=list
    )  # address, slots, chunks, scratch
    keep: list[Any] = field(default_factory=list)
    items: list[KernelItem | StepItem] = field(default_factory=list)

    def kernel(self, item: KernelItem) -> None:
        """Launch a kernel."""
        code = native(item.text)
        self.keep.append(code)
        self.items.append(item)
        self.launches.append((code["k"], list(item.slots), item.chunks, item.scratch))

    def step(self, item: StepItem, plan: Plan) -> None:
        """Launch what a step's plan says."""
        self.keep.append(plan)
        self.items.append(item)
        for launch in plan.launches:
            slots: list[tuple[Any, int]] = []
            for source, value, *offset in launch.slots:
                extra = sum(offset)
                if source == CONST:
                    slots.append((value + extra, 0))
                elif source == TEMP:
                    slots.append((item.temp, item.start + value + extra))
                else:
                    h = item.ins[value] if source == ARG else item.outs[value]
                    slots.append((h.place, h.offset * BY_NAME[h.dtype].itemsize + extra))
            self.launches.append((launch.address, slots, launch.chunks, launch.scratch))


@dataclass
class InPython:
    """A call between segments: `fn(*arrays)` gives a tuple of arrays, which go to `outs`."""

    fn: Callable[..., Any]
    ins: list[Any]
    outs: list[Any]
    name: str
    item: CallItem | ArraysItem | None = None  # None: a copy
    refuses: bool = False  # whether it may raise for what arrays hold


@dataclass(frozen=True)
class Held:
    """What a value is when the program runs: a place, the array's facts, and where it begins (in elements)."""

    place: Place
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class KernelItem:
    """A kernel by its text, and what its slots hold: a place and an offset in bytes, or a number."""

    text: str
    slots: tuple[tuple[Any, int], ...]
    chunks: int
    scratch: int


@dataclass(frozen=True)
class StepFacts:
    """What a step's plan is made from: `ins` and `outs` are (dtype, shape, strides)."""

    kind: str
    target: Any
    params: dict[str, Any]
    ins: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    outs: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @staticmethod
    def of(step: Step, operands: Sequence[Strided]) -> StepFacts:
        ins = tuple((s.core.dtype.name, tuple(s.shape), tuple(s.strides)) for s in operands)
        outs = tuple((o.layout.dtype, tuple(o.layout.shape), tuple(o.layout.strides)) for o in step.outs)
        return StepFacts(step.kind, step.target, step.params, ins, outs)

    def step(self) -> Step:
        """A step like it, of no graph."""
        outs = [
            Leaf(parameter(n, shape, BY_NAME[d]), Layout(d, shape, strides))
            for n, (d, shape, strides) in enumerate(self.outs)
        ]
        return Step(self.kind, [], outs, self.target, self.params)

    def operands(self) -> list[Strided]:
        return [Strided(parameter(0, shape, BY_NAME[d]), shape, strides) for d, shape, strides in self.ins]


@dataclass(frozen=True)
class StepItem:
    """A step that has kernels of its own, where its operands lie, and which memory is its own: the place, where in it, and how many bytes."""

    facts: StepFacts
    ins: tuple[Held, ...]
    outs: tuple[Held, ...]
    temp: Place
    start: int
    size: int


@dataclass(frozen=True)
class CallItem:
    """A step that runs in Python."""

    facts: StepFacts


@dataclass(frozen=True)
class ArraysItem:
    """Expressions on the array library: the parameter of each number is an argument, the last arguments are written."""

    roots: tuple[Expr, ...]
    places: tuple[tuple[int, int], ...]
    reads: int


@dataclass(frozen=True)
class Returned:
    """One result: an array that was `made`, a view of an input (`source`, `chain`), or a `constant`."""

    made: bool
    source: int = -1
    chain: tuple[Any, ...] = ()
    constant: Any = None


@dataclass
class Blueprint:
    """All that was decided on a program. `views`: (result, shape, strides); `parts`: results that are part of one of those."""

    inputs: int
    layouts: dict[int, Layout]
    written: tuple[int, ...]
    results: list[Returned]
    views: list[tuple[int, tuple[int, ...], tuple[int, ...]]]
    parts: dict[int, tuple[int, tuple[int, ...], int, tuple[int, ...]]]  # of which, strides, offset, shape
    dtypes: dict[int, str]
    refuses: bool  # whether a call may be refused
    draws: bool  # and numbers may have been drawn by then
    arena: int
    work: int
    constants: list[tuple[str, tuple[int, ...], bytes]]  # inputs after those that are given
    pieces: list[Segment | InPython]
    lent: tuple[int, ...] = ()  # results whose memory the caller may give
    most: int = 0  # bytes that a call holds at one time beside what is lent to it, without what calls in Python give
    own: dict[int, int] = field(
        default_factory=dict
    )  # values that are arrays of their own while the program runs -> bytes


class Assembly:
    """Places for all values, and the pieces that run. `work` are the numbers of elements of kernels.

    With a tape for memory, sizes may be expressions: places are then blocks, and steps are not planned yet. `whole`: it stays one piece, if it is one.
    """

    def __init__(self, schedule: Schedule, tape: Tape | None = None, whole: bool = False) -> None:
        self.s = schedule
        self.work: list[int] = []
        self.homes: dict[Expr, Held] = {}
        self.pieces: list[Any] = []
        self.held = 0
        self.later = tape is not None
        self.memory = Tape() if tape is None else tape
        self.plans: list[Plan] = []  # of steps that have kernels of their own, in order
        self.heirs: dict[Expr, Place] = {}  # values that are about to be made -> the place that they take over
        self.lives()
        last = max((n for n, u in enumerate(self.s.order) if u in self.s.refusing), default=-1)
        self.open(False)
        for n, unit in enumerate(self.s.order):
            self.now = n
            if n == last + 1:  # nothing can be refused any more
                self.open(True)
            for p in self.s.places(unit):
                if p.kind == "out":
                    self.memory.close(p.index)
            self.unit(unit)
            for e in self.ends.get(n, ()):
                self.memory.free(self.homes[e].place.index)
        self.arena_size: Any = Block(-1)
        self.own: dict[int, int] = {}
        self.most = 0
        if not self.later:
            self.pieces, found = settled(self.pieces, self.plans, self.memory.events, whole)
            self.arena_size, self.own, self.most = found.arena, found.own, found.most

    def open(self, lent: bool) -> None:
        """Results' memory, new or lent, may be used until they are made."""
        for r, shape, strides in self.s.result_views:
            if (r in self.s.lent) is lent:
                self.memory.open(r, place.span(shape, strides) * self.s.dtypes[r].itemsize, lent)

    def lives(self) -> None:
        """When each value that lies in the arena is needed for the last time."""
        last: dict[Expr, int] = {}
        for n, u in enumerate(self.s.order):
            made = [self.name(t) for t in u.targets if t.place is None or self.wanted(t)]
            for e in [*u.reads, *made, *(o.expr for o in (u.step.outs if u.step else ()))]:
                last[self.key(e)] = n
        self.ends: dict[int, list[Expr]] = {}
        for e, n in last.items():
            self.ends.setdefault(n, []).append(e)
        for leaf in self.s.program.leaves:
            if leaf.input >= 0:
                self.homes[leaf.expr] = Held(
                    Place("arg", leaf.input), leaf.layout.dtype, leaf.layout.shape, leaf.layout.strides
                )
        for key in list(self.ends):
            self.ends[key] = [e for e in self.ends[key] if e not in self.homes]

    def key(self, e: Expr) -> Expr:
        """The expression by which a value is known: a target's own, where it is read through a parameter."""
        e = self.s.origin(self.s.stands.get(e, e))
        return self.s.stands.get(e, e)

    def wanted(self, t: Target) -> bool:
        return self.s.want.get(t.expr) is t

    def name(self, t: Target) -> Expr:
        """What a target's value is known by: its expression, or where others hold that too, the parameter that stands for it."""
        return t.expr if self.wanted(t) or t.stand is None else t.stand

    def home(self, e: Expr) -> Held:
        """Where a value lies."""
        return self.view(e) if e in self.s.same else self.homes[self.key(e)]

    def view(self, e: Expr) -> Held:
        """Where an operand of a step lies."""
        s = self.s.same.get(e) or self.s.strided(e)
        h = self.home(s.core)
        return Held(h.place, h.dtype, s.shape, s.strides, h.offset + s.offset)

    def out(self, t: Target) -> Held:
        """Where a target goes."""
        facts = t.layout.dtype, t.layout.shape, t.layout.strides
        if t.place is not None and not self.wanted(t):
            return Held(t.place, *facts, t.offset)
        return self.settle(self.name(t), *facts, t.place)

    def settle(
        self, e: Expr, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], given: Place | None
    ) -> Held:
        """Choose a place for a value that is about to be made."""
        if given is None and e in self.heirs:
            given = self.heirs.pop(e)
        elif given is None:
            size = place.span(shape, strides) * BY_NAME[dtype].itemsize
            given = Place("temp", self.memory.take(size))
        else:
            ends = next((n for n, es in self.ends.items() if e in es), None)
            if ends is not None:
                self.ends[ends].remove(e)
        self.homes[e] = Held(given, dtype, shape, strides)
        return self.homes[e]

    # ---- pieces ----

    def segment(self) -> Segment:
        if not self.pieces or not isinstance(self.pieces[-1], Segment):
            self.pieces.append(Segment())
        return self.pieces[-1]

    def unit(self, u: Unit) -> None:
        if u.step is not None:
            self.step(u.step)
            return
        fused = self.s.fused(u)
        if fused is None:
            self.in_python(u)
            return
        if len(fused.launches) == 1:
            self.take_over(u)
        outs = [self.out(t) for t in u.targets]
        temps = [self.memory.take(size * BY_NAME[d].itemsize) for d, size in fused.temps]
        segment = self.segment()
        leaves = self.s.program.leaves
        for launch in fused.launches:
            text = show(launch.kernel)
            if "«" in text:
                raise NotImplementedError(f"a kernel whose text holds a size: {text}")
            slots: list[tuple[Any, int]] = []
            for kind, n in launch.operands:
                if kind == "temp":
                    slots.append((Place("temp", temps[n]), 0))
                    continue
                h = outs[n] if kind == "out" else self.home(leaves[n].expr)
                slots.append((h.place, h.offset * BY_NAME[h.dtype].itemsize))
            slots += [(n, 0) for n in (*launch.sizes, *launch.grain)]
            segment.items.append(KernelItem(text, tuple(slots), launch.chunks, launch.scratch))
        self.work += [*(math.prod(r.shape) for r in u.roots), *(math.prod(e.shape) for e in u.reads)]
        for t in temps:
            self.memory.free(t)

    def take_over(self, u: Unit) -> None:
        """A value that is needed for the last time is overwritten by one that lies as it does, where each point reads only itself.

        Only by one that is made of it: then it is read before it is overwritten, whatever else the kernel makes of it.
        """
        ends = self.ends.get(self.now, [])
        self.heirs = {}
        for t, own in zip(u.targets, u.roots, strict=True):
            if t.place is not None:
                continue
            for e in ends:
                h = self.homes.get(e)
                if h is None or h.place.kind != "temp" or h.offset or e not in u.reads:
                    continue
                if any(x in self.s.same and self.key(x) is e for x in u.reads):
                    continue  # it is read under another name, too
                stand = e if e in self.s.leaves else self.s.want[e].stand
                same = (h.dtype, h.shape, h.strides) == (t.layout.dtype, t.layout.shape, t.layout.strides)
                if (
                    same
                    and stand is not None
                    and stand in toposort(own)
                    and all(place.pointwise(r, stand) for r in u.roots)
                ):
                    self.heirs[self.name(t)] = h.place
                    ends.remove(e)
                    break

    def step(self, step: Step) -> None:
        if step.kind == "again":
            return
        operands = [self.s.strided(e) for e in step.ins]
        facts = StepFacts.of(step, operands)
        now = plain(facts) if self.later else facts
        plan = routines.plan(now.step(), now.operands()) if self.later else routines.plan(step, operands)
        if plan is None:
            self.call(step)
            return
        ins = [self.view(e) for e in step.ins]
        outs = [
            self.settle(o.expr, o.layout.dtype, o.layout.shape, o.layout.strides, self.s.homes.get(o.expr))
            for o in step.outs
        ]
        temp = self.memory.step()
        self.segment().items.append(StepItem(facts, tuple(ins), tuple(outs), Place("temp", temp), 0, 0))
        self.memory.free(temp)
        if not self.later:
            self.plans.append(plan)
            self.work += [RELEASE] * plan.release

    def call(self, step: Step) -> None:
        """A step that runs in Python. Its results are arrays of their own."""
        ins = [self.view(e) for e in step.ins]
        outs = []
        for o in step.outs:
            self.held += 1
            h = Held(Place("held", self.held), o.layout.dtype, o.layout.shape, o.layout.strides)
            self.homes[o.expr] = h
            for es in self.ends.values():
                if o.expr in es:
                    es.remove(o.expr)
            outs.append(h)
        item = CallItem(StepFacts.of(step, [self.s.strided(e) for e in step.ins]))
        self.pieces.append(InPython(kept(called(step), outs), ins, outs, repr(step), item, step.refuses))
        for o, h in zip(step.outs, outs):
            given = self.s.homes.get(o.expr)
            if given is not None:  # a result: hand the array itself out
                self.copy(h, Held(given, h.dtype, h.shape, h.strides))

    def copy(self, source: Held, to: Held) -> None:
        self.pieces.append(InPython(copied, [source, to], [], "copy"))

    def in_python(self, u: Unit) -> None:
        """Expressions that the loops have no form for, on the array library."""
        reads = [e for e in u.reads]
        numbers = [self.home(e) for e in reads]
        stand = {e: (self.s.want[e].stand if e in self.s.want else e) for e in reads}
        places = {stand[e].arg: n for n, e in enumerate(reads)}  # type: ignore[union-attr]
        outs = [self.out(t) for t in u.targets]
        item = ArraysItem(tuple(u.roots), tuple(places.items()), len(reads))
        name = ", ".join(short(t.expr) for t in u.targets)
        self.pieces.append(InPython(on_arrays(item), [*numbers, *outs], [], name, item))


# ---------------------------------------------------------------- places, once all is laid out


def settled(
    pieces: Sequence[Segment | InPython], plans: Sequence[Plan], events: Sequence[Any], whole: bool = False
) -> tuple[list[Segment | InPython], Found]:
    """Pieces whose blocks have places. `plans` are those of their steps.

    A program that is one stretch of native work stays one call, whose memory is taken at once, while that is little. Else it is cut where large
    blocks and results are first wanted, and where they are not wanted any more: they are there for as long as that, as in eager code.
    """
    sizes = [p.temp for p in plans]
    found = replay(events, sizes, True)
    alone = len(pieces) == 1 and isinstance(pieces[0], Segment)
    if not (alone and (whole or found.arena < MUCH)):
        found = replay(events, sizes, False)
    order = iter(plans)
    made: list[Segment | InPython] = []
    for piece in pieces:
        if isinstance(piece, InPython):
            ins, outs = ([_lying(h, found) for h in held] for held in (piece.ins, piece.outs))
            made.append(replace(piece, ins=ins, outs=outs))
            continue
        items = [_placed(item, found) for item in piece.items]
        for stretch in [items] if alone and (whole or found.own == {}) else _cut(items, found):
            segment = Segment()
            for item in stretch:
                if isinstance(item, KernelItem):
                    segment.kernel(item)
                else:
                    plan = next(order)
                    segment.step(replace(item, size=plan.temp), plan)
            made.append(segment)
    if alone and found.own and len(made) == 1:  # no cut: there is no other call to take memory between
        return settled(pieces, plans, events, True)
    return made, found


def _cut(items: Sequence[KernelItem | StepItem], found: Found) -> list[list[KernelItem | StepItem]]:
    """Stretches between which memory is taken, or given back."""
    first: dict[Place, int] = {}
    last: dict[Place, int] = {}
    for n, item in enumerate(items):
        for p in _touched(item):
            if p in found.large:
                first.setdefault(p, n)
                last[p] = n
    cuts = sorted({*first.values(), *(n + 1 for p, n in last.items() if p.kind == "own")} - {0, len(items)})
    return [list(items[a:b]) for a, b in itertools.pairwise([0, *cuts, len(items)])]


def _touched(item: KernelItem | StepItem) -> list[Place]:
    """Where an item reads and writes."""
    if isinstance(item, KernelItem):
        return [what for what, _ in item.slots if isinstance(what, Place)]
    return [*(h.place for h in (*item.ins, *item.outs)), item.temp]


def _placed(item: KernelItem | StepItem, at: Found) -> KernelItem | StepItem:
    if isinstance(item, KernelItem):
        slots: list[tuple[Any, int]] = []
        for what, offset in item.slots:
            p, start = _found(what, at) if isinstance(what, Place) else (what, 0)
            slots.append((p, offset + start))
        return replace(item, slots=tuple(slots))
    ins, outs = (tuple(_lying(h, at) for h in held) for held in (item.ins, item.outs))
    temp, start = _found(item.temp, at)
    return replace(item, ins=ins, outs=outs, temp=temp, start=start)


def _found(p: Place, at: Found) -> tuple[Place, int]:
    """Where a place lies that may be a block, and how many bytes from there."""
    if not isinstance(p.index, Block):
        return p, 0
    if p.index.n in at.own:
        return Place("own", p.index.n), 0
    result, start = at.at.get(p.index.n, (-1, 0))  # one that takes nothing may lie anywhere
    return (Place("temp", start), 0) if result < 0 else (Place("out", result), start)


def _lying(h: Held, at: Found) -> Held:
    p, start = _found(h.place, at)
    return replace(h, place=p, offset=h.offset + start // BY_NAME[h.dtype].itemsize)


def plain(facts: StepFacts) -> StepFacts:
    """A step's facts for the sizes at hand."""
    return replace(facts, params=_hinted(facts.params), ins=_hinted(facts.ins), outs=_hinted(facts.outs))


def _hinted(v: Any) -> Any:
    if symbolic(v):
        return v.hint
    if isinstance(v, dict):
        return {k: _hinted(x) for k, x in v.items()}
    return type(v)(map(_hinted, v)) if type(v) in (tuple, list) else v


def eager(step: Step) -> Callable[..., tuple[Any, ...]]:
    """An operator on arrays, as eager code runs it."""
    target, held, into, absent = step.target, step.params["values"], step.params["written"], step.params["absent"]
    order = step.params["order"]
    if order is not None and step.params["apart"]:  # normal numbers in memory without gaps are drawn by another rule
        order = tuple(2 * t for t in order)

    def fill(v: Any, xs: Sequence[Any]) -> Any:
        if isinstance(v, Hole):
            x = xs[v.at]
            return wrap(x) if isinstance(x, np.ndarray) else x
        return [fill(x, xs) for x in v] if isinstance(v, list) else v

    def run(*xs: Any) -> tuple[Any, ...]:
        values = [fill(v, xs) for v in held]
        if order is not None:
            values[max(into, 0)] = laid(values[max(into, 0)], order)
        elif into >= 0:
            values[into] = values[into].clone()
        args, kwargs = spread(target.op, values)
        with flambeau.no_grad():
            out = target.in_order(*args, **kwargs)
        outs = out if isinstance(out, (tuple, list)) else (out,)
        return tuple(x._a for x, no in zip(outs, absent, strict=True) if not no)

    return run


def laid(t: Tensor, strides: tuple[int, ...]) -> Tensor:
    """A copy that lies so."""
    a = t._a
    bytes = sum((n - 1) * t for n, t in zip(a.shape, strides)) + a.itemsize if a.size else 1
    made = np.ndarray(a.shape, a.dtype, np.empty(bytes, np.uint8), 0, strides)
    np.copyto(made, a)
    return wrap(made)


def called(step: Step) -> Callable[..., tuple[Any, ...]]:
    """A step as a function of arrays."""
    return eager(step) if step.kind == "call" else by_arrays(routines.by_library(step))


def copied(x: Any, to: Any) -> tuple[Any, ...]:
    """Write an array over another."""
    np.copyto(to, x)
    return ()


def on_arrays(item: ArraysItem) -> Callable[..., tuple[Any, ...]]:
    """Expressions as a function of arrays."""
    reads, roots, places = item.reads, item.roots, dict(item.places)

    def run(*arrays: Any) -> tuple[Any, ...]:
        xs, into = arrays[:reads], arrays[reads:]
        token = quiet(QUIET)
        try:
            args = {n: xs[k] for n, k in places.items()}
            made = evaluate(ARRAYS, roots, args)  # type: ignore[arg-type]
            for y, x in zip(into, made, strict=True):
                np.copyto(y, x, casting="unsafe")
        finally:
            loud(token)
        return ()

    return run


def by_arrays(fn: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    def run(*xs: Any) -> tuple[Any, ...]:
        out = fn(*xs)
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)

    return run


def kept(fn: Callable[..., tuple[Any, ...]], outs: Sequence[Held]) -> Callable[..., tuple[Any, ...]]:
    """fn, whose results lie as the program believes and share no memory with what goes in."""
    facts = [(h.shape, tuple(s * BY_NAME[h.dtype].itemsize for s in h.strides), BY_NAME[h.dtype].np) for h in outs]

    def run(*xs: Any) -> tuple[Any, ...]:
        made = []
        for a, (shape, strides, d) in zip(fn(*xs), facts, strict=True):
            a = np.asarray(a)
            lies = all(n == 1 or s == t for n, s, t in zip(shape, a.strides, strides)) and a.flags.aligned
            if a.dtype != d or not lies or a.base is not None:
                fresh = np.ndarray(
                    shape, d, np.empty(max(1, place.span(shape, strides)) * d.itemsize, np.uint8), 0, strides
                )
                np.copyto(fresh, a, casting="unsafe")
                a = fresh
            made.append(a)
        return tuple(made)

    return run
