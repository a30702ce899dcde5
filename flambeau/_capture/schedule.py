"""A program -> a schedule: which expressions are computed together, and in which order. Where results lie is `lower`'s business.

Expressions that must be in memory (results, writes, operands of steps, what several kernels need) are targets. Targets over the
same points that do not wait for one another are one kernel, as far as `_kernel.fuse` can. Kernels and steps run in the order of
their dependencies.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flambeau._capture import mistakes, place
from flambeau._capture.class_losses import shorten
from flambeau._capture.expressions import Leaf, Program, Result, Step, short
from flambeau._capture.foreseen import foresee
from flambeau._capture.joined import join_gradients
from flambeau._capture.place import FREE, Place, Strided
from flambeau._capture.sums import finish
from flambeau._ground import dumps
from flambeau._kernel.body import dump as dump_body
from flambeau._kernel.fuse import fuse
from flambeau._kernel.ir import COSTLY
from flambeau._kernel.loops import Cut, Layout, lower, peeled
from flambeau._kernel.record import FOLD, SCAN, Expr, parameter, toposort

STEPS = 48  # operations below a value from which on it is kept if several others need it
FAILURES = (NotImplementedError, KeyError, AssertionError, TypeError, Cut)
MEMORY = 1 << 13  # kernels that are remembered
_lowered: dict[
    Any, Exception | None
] = {}  # roots over numbered parameters, with layouts -> what was wrong with one kernel of them
_fused: dict[Any, Any] = {}  # the same -> their kernels, or why there are none


@dataclass(eq=False)
class Target:
    """An expression that must be in memory. `place` is where, if that is decided from the start."""

    expr: Expr
    layout: Layout
    place: Place | None = None
    stand: Expr | None = None  # the parameter by which other kernels read it
    offset: Any = 0  # in elements, from where the place begins


@dataclass(eq=False)
class Unit:
    """Targets that one kernel computes, or a step."""

    targets: list[Target] = field(default_factory=list)
    step: Step | None = None
    index: float = math.inf
    after: set[Unit] = field(default_factory=set)  # what must run before
    reads: list[Expr] = field(default_factory=list)  # leaves and targets of other units
    roots: list[Expr] = field(default_factory=list)  # what its kernels compute, over parameters
    fused: Any = None  # its kernels
    made: bool = False


class Waits:
    """Which units wait, directly or not, for which: asked for each pair of many, so that it is kept as bits."""

    def __init__(self) -> None:
        self.bits: dict[Unit, int] = {}
        self.below: dict[Unit, int] = {}

    def bit(self, u: Unit) -> int:
        return self.bits.setdefault(u, 1 << len(self.bits))

    def add(self, u: Unit, units: Iterable[Unit]) -> None:
        """A unit waits for others as well, and so does all that waits for it."""
        new = 0
        for n in units:
            new |= self.bit(n) | self.below.get(n, 0)
        me, old = self.bit(u), self.below.get(u, 0)
        self.below[u] = old | new
        if new & ~old:
            for v, known in self.below.items():
                if known & me:
                    self.below[v] = known | new

    def any(self, units: Iterable[Unit], goal: Unit) -> bool:
        """Whether one of the units waits for the goal."""
        me = self.bit(goal)
        return any(self.below.get(n, 0) & me for n in units)


class Schedule:
    """Units, and what each waits for."""

    def __init__(self, program: Program) -> None:
        self.program = program
        shorten(program)
        finish(program)
        join_gradients(program)
        self.leaves = {leaf.expr: leaf for leaf in program.leaves}
        self.producer: dict[Expr, Unit] = {}
        self.want: dict[Expr, Target] = {}
        self.stands: dict[Expr, Expr] = {}  # parameters by which kernels read targets -> what these are
        self.fixed: list[Target] = []  # stores with a place of their own
        self.homes: dict[Expr, Place] = {}  # leaves of steps that lie in a result
        self.result_views: list[Any] = []
        self.whole: set[Any] = set()  # targets (over what is in memory) that need no cut
        self.steps = [Unit(step=s, index=-1 if s.kind == "gate" else i) for i, s in enumerate(program.steps)]
        self.same = {
            s.outs[0].expr: self.strided(s.ins[0]) for s in program.steps if s.kind == "again"
        }  # further names -> what they name
        self.refusing = {u for u in self.steps if u.step is not None and u.step.refuses}
        for unit in self.steps:
            for leaf in unit.step.outs:  # type: ignore[union-attr]
                self.producer[leaf.expr] = unit
        self.demand()
        self.limit()
        self.units = self.group()
        self.order = self.sorted()

    # ---- what must be in memory ----

    def strided(self, e: Expr) -> Strided:
        """Where an expression's elements lie once its core is in memory."""
        return place.strided(e, self.leaves)

    def target(self, e: Expr) -> None:
        if e not in self.leaves and e not in self.want:
            self.want[e] = Target(e, Layout.dense(e.dtype.name, e.shape))

    def demand(self) -> None:
        for s in self.program.steps:
            for e in s.ins:
                self.target(self.strided(e).core)
        self.dtypes = {n: r.expr.dtype for n, r in enumerate(self.program.results) if r.expr is not None}
        self.parts: dict[int, tuple[int, Strided]] = {}  # results that are part of a larger array: which one, and where
        taken: set[Expr] = set()
        for n, r in enumerate(self.program.results):
            if r.expr is not None:
                self.result(n, r, taken)
        for i, e in self.program.writes:
            if i in self.program.parts:
                for value, _ in self.program.parts[i]:
                    self.target(value)
                continue
            leaf = next(x for x in self.program.leaves if x.input == i)
            self.fixed.append(Target(e, leaf.layout, Place("arg", i)))

    def result(self, n: int, r: Result, taken: set[Expr]) -> None:
        """A result lies where its core does if it is the first to ask, and is a copy otherwise."""
        assert r.expr is not None
        s = self.strided(r.expr)
        owned = s.core not in self.same and (s.core not in self.leaves or self.leaves[s.core].input < 0)
        dense = place.covers(s.shape, s.strides) and s.offset == 0 and math.prod(s.shape) == math.prod(s.core.shape)
        if (
            owned
            and dense
            and s.core not in taken
            and s.core.op not in ("const", "iota")
            and (r.strides is None or place.alike(s, r.strides))
        ):
            taken.add(s.core)
            here = Place("out", n)
            if s.core in self.leaves:
                self.homes[s.core] = here
            else:
                self.target(s.core)
                self.want[s.core].place = here
            self.result_views.append((n, s.shape, s.strides))
            return
        part = not r.apart and owned and r.strides is not None and s.core.op not in ("const", "iota")
        if part and s.core not in taken and place.alike(s, r.strides or ()):
            taken.add(s.core)  # part of something larger, as in eager: that is what is kept
            whole = self.part(n, s)
            if s.core in self.leaves:
                self.homes[s.core] = Place("out", whole)
                layout = self.leaves[s.core].layout
            else:
                self.target(s.core)
                self.want[s.core].place = Place("out", whole)
                layout = self.want[s.core].layout
            self.result_views.append((whole, layout.shape, tuple(layout.strides)))
            return
        if part and r.whole is not None and place.covers(r.whole[0].shape, r.whole[1]):
            core, steps = r.whole  # the same where that lies in another order
            layout = Layout(core.dtype.name, core.shape, steps)
            s = place.strided(r.expr, {**self.leaves, core: Leaf(core, layout)})
            if s.core is core and place.alike(s, r.strides or ()):
                whole = self.part(n, s)
                self.fixed.append(Target(core, layout, Place("out", whole)))
                self.result_views.append((whole, layout.shape, steps))
                return
        strides = r.strides if r.strides is not None and place.covers(r.expr.shape, r.strides) else None
        layout = Layout.dense(r.expr.dtype.name, r.expr.shape)
        layout = layout if strides is None else replace(layout, strides=tuple(strides))
        self.fixed.append(Target(r.expr, layout, Place("out", n)))
        self.result_views.append((n, layout.shape, layout.strides))

    def part(self, n: int, s: Strided) -> int:
        """The number of the array that a result is part of."""
        whole = len(self.program.results) + 1 + len(self.parts)
        self.parts[n] = whole, s
        self.dtypes[whole] = s.core.dtype
        return whole

    def limit(self) -> None:
        """What takes very many steps to compute, and is needed in several places, is kept; the longest chains are cut."""
        roots = [*self.want, *(t.expr for t in self.fixed)]
        nodes = toposort(*roots)
        users: dict[Expr, int] = {}
        for e in nodes:
            for s in e.src:
                users[s] = users.get(s, 0) + 1
        for e in nodes:
            if e.op in FREE or e in self.leaves or e in self.want:
                continue
            size = sum(x.op not in FREE for x in self.cone(e)[0])
            if size > 4 * STEPS or (size > STEPS and users.get(e, 0) > 1):
                self.target(e)

    # ---- which targets are one kernel ----

    def group(self) -> list[Unit]:
        foresee(self)
        while True:
            self.cones: dict[Target, tuple[dict[Expr, None], dict[Expr, None]]] = {}
            units: list[Unit] = []
            for t in [*self.want.values(), *self.fixed]:
                self.cones[t] = self.cone(t.expr)
            cuts = self.cuts()
            if cuts:
                for e in cuts:
                    self.target(e)
                continue
            for unit in self.steps:
                assert unit.step is not None
                unit.reads = [self.strided(e).core for e in unit.step.ins]
                if unit.step.after is not None:
                    unit.reads += self.ready(unit.step.after)
            self.reading: dict[Expr, list[Unit]] = {}  # the steps that read an expression
            for unit in self.steps:
                for e in unit.reads:
                    self.reading.setdefault(e, []).append(unit)
            order = self.ordered()
            self.careful = False
            self.arrange(order, units)
            if not all(self.lowers(u.targets) for u in self.asked):  # seldom: then every step of the way is checked
                self.careful = True
                self.arrange(order, units)
            shared = self.shared(units)
            if not shared:
                return units
            for e in shared:
                self.target(e)

    def arrange(self, order: Sequence[Target], units: list[Unit]) -> None:
        """Put targets into units, in order."""
        units.clear()
        self.producer = {e: u for e, u in self.producer.items() if u.step is not None}
        self.touching: dict[Expr, dict[Unit, None]] = {}  # which units compute or read an expression that is in memory
        self.rank: dict[Unit, int] = {}
        self.waits = Waits()
        for u in self.steps:
            self.waits.add(u, self.before(u))
        self.asked: dict[Unit, None] = {}  # units whose loops may not hold what was put into them
        for t in order:
            self.place_target(t, units)

    def cuts(self) -> list[Expr]:
        """What the loops of single targets cannot hold: reductions inside others, and their kind."""
        found: dict[Expr, None] = {}
        for t, (_, edge) in self.cones.items():
            key = t, frozenset(edge)
            if key not in self.whole:
                self.whole.add(key)
                wrong, done = self.lowered([t], edge)
                if isinstance(wrong, Cut):
                    for cut in place.rewritten(wrong.every, {c: e for e, c in done.items()}):
                        if cut is not t.expr and cut not in self.leaves and cut not in self.want:
                            found[cut] = None
                            self.whole.discard(key)
        return list(found)

    def lowered(self, targets: Sequence[Target], edges: Iterable[Expr]) -> tuple[Exception | None, dict[Expr, Expr]]:
        """What keeps the loops of one kernel from holding these targets, if anything; and what the targets' nodes are in it."""
        edges = list(edges)
        roots, done = place.canonical([t.expr for t in targets], edges)
        known = {done[e]: (f"p{n}", self.layout(e)) for n, e in enumerate(edges)}
        key = roots, tuple(known.values()), tuple(t.layout for t in targets)
        if key not in _lowered:
            if len(_lowered) > MEMORY:
                _lowered.clear()
            _lowered[key] = None
            try:
                lower(roots, known, key[2])
            except Cut as c:
                _lowered[key] = c.with_traceback(None)
            except FAILURES as problem:
                _mistaken(problem)
                _lowered[key] = problem.with_traceback(None)
        return _lowered[key], done

    def ready(self, e: Expr) -> list[Expr]:
        """What must be in memory before an expression can be computed."""
        return [e] if e in self.leaves or e in self.want else list(self.cone(e)[1])

    def origin(self, e: Expr) -> Expr:
        """What a value is that may have several names."""
        while e in self.same:
            e = self.same[e].core
        return e

    def ordered(self) -> list[Target]:
        """Targets, each after those that it reads."""
        done: dict[Target, None] = {}

        def visit(t: Target) -> None:
            stack = [(t, False)]
            while stack:
                u, ready = stack.pop()
                if u in done:
                    continue
                if ready:
                    done[u] = None
                    continue
                stack.append((u, True))
                stack += [(self.want[e], False) for e in self.cones[u][1] if e in self.want]

        for t in [*self.want.values(), *self.fixed]:
            visit(t)
        return list(done)

    def cone(self, root: Expr) -> tuple[dict[Expr, None], dict[Expr, None]]:
        """What computes an expression, down to what is in memory: (inner, boundary)."""
        inner: dict[Expr, None] = {}
        edge: dict[Expr, None] = {}
        stack = [root]
        while stack:
            e = stack.pop()
            if e in inner:
                continue
            if e in self.leaves or (e is not root and e in self.want):
                edge[e] = None
                continue
            inner[e] = None
            stack.extend(e.src)
        return inner, edge

    def place_target(self, t: Target, units: list[Unit]) -> None:
        """Put a target into a kernel that walks the same points and reads some of the same, or into one of its own."""
        inner, edge = self.cones[t]
        needs = {self.producer[e] for e in edge if e in self.producer}
        shared = {u for e in edge if e.shape == () or math.prod(e.shape) > 1 for u in self.touching.get(e, ())}
        for unit in sorted(shared, key=lambda u: self.rank[u], reverse=True):
            if self.waits.any(needs - {unit}, unit):
                continue  # something it needs waits for that kernel
            if not self.fits(t, unit, inner, edge):
                continue
            self.join(t, unit, inner, edge, needs)
            return
        made = Unit()
        self.rank[made] = len(units)
        units.append(made)
        self.join(t, made, inner, edge, needs)

    def join(self, t: Target, unit: Unit, inner: Any, edge: Any, needs: set[Unit]) -> None:
        unit.targets.append(t)
        unit.after |= needs - {unit}
        self.waits.add(unit, needs - {unit})
        for e in (t.expr, *edge):
            self.touching.setdefault(e, {})[unit] = None
        if t.expr in self.want and self.want[t.expr] is t:
            self.producer[t.expr] = unit
            for u in self.reading.get(t.expr, ()):
                self.waits.add(u, (unit,))

    def fits(self, t: Target, unit: Unit, inner: dict[Expr, None], edge: dict[Expr, None]) -> bool:
        """Whether a kernel for the unit may compute the target as well; `lower` has the last word."""
        if len(unit.targets) >= 12:
            return False
        shapes = {peeled(u.expr).shape for u in (t, *unit.targets)}
        cones = [inner, *(self.cones[u][0] for u in unit.targets)]
        folds = [{(e.arg, e.src[0].shape) for e in cone if e.op in FOLD} for cone in cones]
        every = set().union(*folds)
        if len(every) > 1:
            return False
        plain = not every and not any(e.op in SCAN for e in inner)
        if len(shapes) > 1 or any(f != folds[0] for f in folds):  # rows, and what a reduction makes of each
            if not every:
                return False
            plain = False
            ((axes, whole),) = every
            # Where nothing is in the rows, what a reduction makes of them has elements, and the other results have none.
            if any(type(n) is int and n == 0 for n in whole):
                return False
            rows = tuple(1 if d in axes else n for d, n in enumerate(whole))
            if axes != tuple(range(len(whole) - len(axes), len(whole))) or not shapes <= {whole, rows}:
                return False
        if plain:
            return True
        self.asked[unit] = None
        return not self.careful or self.lowers([*unit.targets, t])

    def lowers(self, targets: Sequence[Target]) -> bool:
        """Whether the loops of one kernel hold these targets."""
        return len(targets) == 1 or self.lowered(targets, self.edges(targets))[0] is None

    def edges(self, targets: Sequence[Target]) -> dict[Expr, None]:
        own = {t.expr for t in targets}
        return {e: None for t in targets for e in self.cones[t][1] if e not in own or e in self.leaves}

    def layout(self, e: Expr) -> Layout:
        return self.leaves[e].layout if e in self.leaves else self.want[e].layout

    def reaches(self, unit: Unit, goal: Unit) -> bool:
        """Whether a unit waits, directly or not, for the goal."""
        stack, seen = [unit], set()
        while stack:
            u = stack.pop()
            if u is goal:
                return True
            if u in seen:
                continue
            seen.add(u)
            stack.extend(self.before(u))
        return False

    def waits_for(self, units: Iterable[Unit]) -> set[Unit]:
        """All that must run before these, and these."""
        stack, seen = list(units), set[Unit]()
        while stack:
            u = stack.pop()
            if u not in seen:
                seen.add(u)
                stack.extend(self.before(u))
        return seen

    def before(self, u: Unit) -> Iterable[Unit]:
        if u.step is None:
            return u.after
        return [*u.after, *(self.producer[e] for e in u.reads if e in self.producer)]

    # ---- what several kernels need ----

    def shared(self, units: Sequence[Unit]) -> list[Expr]:
        """Expressions that more than one kernel would compute, and that cost more than to be kept."""
        where: dict[Expr, set[int]] = {}
        small: dict[Expr, None] = {}
        for n, unit in enumerate(units):
            for t in unit.targets:
                for e in self.cones[t][0]:
                    where.setdefault(e, set()).add(n)
                    if e.op == "expand" and math.prod(e.src[0].shape) == 1 < math.prod(e.shape) and self.dear(e.src[0]):
                        small[core_of(e.src[0])] = None
        own = {t.expr for t in [*self.want.values(), *self.fixed]}
        found = []
        for e, ns in where.items():
            if len(ns) > 1 and e.op not in FREE and e not in self.want:
                before = self.before_it(e)
                small |= before
                if not before and self.worth(e, len(ns)):
                    found.append(e)
        top = set(found)
        for e in found:  # only the largest: what is below one is computed with it
            top -= set(self.cone(e)[0]) - {e}
        return [
            e
            for e in {**dict.fromkeys(e for e in found if e in top), **small}
            if e not in self.want and e not in self.leaves and (e not in own or e in top)
        ]

    def before_it(self, e: Expr) -> dict[Expr, None]:
        """What is reduced by kernels of its own, and then spread over an expression: that is kept, being small, and the rest looked at anew."""
        found: dict[Expr, None] = {}
        for x in self.cone(e)[0]:
            if (
                x.op == "expand"
                and 64 * math.prod(x.src[0].shape) <= math.prod(x.shape)
                and x.src[0] not in self.leaves
            ):
                inner, _ = self.cone(x.src[0])
                if any(y.op in FOLD and not trailing(y) for y in inner):
                    found[core_of(x.src[0])] = None
        return {x: None for x in found if x not in self.want}

    def dear(self, e: Expr) -> bool:
        """Whether one number costs so much that it is computed once, not at every point."""
        return (
            e not in self.leaves and e not in self.want and any(x.op in COSTLY or x.op in FOLD for x in self.cone(e)[0])
        )

    def worth(self, e: Expr, times: int) -> bool:
        inner, edge = self.cone(e)
        if any(x.op in FOLD or x.op in SCAN for x in inner):
            return True
        size = math.prod(e.shape) * e.dtype.itemsize
        if size <= 64:
            return False
        # Measured, on arrays beyond the caches: a costly word of an element takes less time than to read or write it.
        costly = [x for x in inner if x.op in COSTLY and math.prod(x.shape) >= math.prod(e.shape)]
        again = sum(math.prod(x.shape) * x.dtype.itemsize for x in (*edge, *costly))
        size *= 2 if e.dtype.kind == "b" else 1  # masks are spread to lanes as wide as what they choose
        return (times - 1) * again > (times + 1) * size

    # ---- order ----

    def sorted(self) -> list[Unit]:
        units = [*self.steps, *self.units]
        for u in units:
            u.reads = list(self.edges(u.targets)) if u.step is None else u.reads
        last: Unit | None = None
        for u in self.steps:
            if u.step.effect:  # type: ignore[union-attr]
                if last is not None:
                    u.after.add(last)
                last = u
        gates = [u for u in self.steps if u.step is not None and u.step.kind == "gate"]
        first = self.waits_for(gates)
        drawing = [u for u in self.steps if u.step is not None and u.step.effect]
        for u in drawing:
            if u not in first:
                u.after.update(gates)  # nothing has been drawn where a gate refuses the call
        self.draws = bool(drawing) and (len(gates) < len(self.refusing) or not first.isdisjoint(drawing))
        self.in_place(units)
        self.lend(units)
        users: dict[Unit, list[Unit]] = {u: [] for u in units}
        left: dict[Unit, int] = {}
        for u in units:
            needs = set(self.before(u)) - {u}
            left[u] = len(needs)
            for n in needs:
                users[n].append(u)
        # A kernel's turn is just before the first step that needs it; where it frees memory, at once.
        for u in reversed(self.topological(units, users, left)):
            if u.step is None:
                u.index = min((v.index - (0.5 if v.step is not None else 1e-6) for v in users[u]), default=math.inf)
        for u in units:
            if u.step is None and self.shrinks(u):
                u.index = -1
        heap = [(u.index, n, u) for n, u in enumerate(units) if not left[u]]
        place_ = {u: n for n, u in enumerate(units)}
        heapq.heapify(heap)
        order = []
        while heap:
            u = heapq.heappop(heap)[2]
            order.append(u)
            for v in users[u]:
                left[v] -= 1
                if not left[v]:
                    heapq.heappush(heap, (v.index, place_[v], v))
        assert len(order) == len(units), "units wait for one another"
        return order

    def shrinks(self, u: Unit) -> bool:
        """Whether a kernel makes little of much that need not be kept: then it runs as soon as it can."""
        made = sum(math.prod(t.expr.shape) * t.expr.dtype.itemsize for t in u.targets)
        kept = {leaf.expr for leaf in self.program.leaves if leaf.input >= 0}
        read = [math.prod(e.shape) * e.dtype.itemsize for e in u.reads if e not in kept]
        return 4 * made <= max(read, default=0)

    def topological(self, units: Sequence[Unit], users: dict[Unit, list[Unit]], left: dict[Unit, int]) -> list[Unit]:
        count = dict(left)
        ready = [u for u in units if not count[u]]
        out = []
        while ready:
            u = ready.pop()
            out.append(u)
            for v in users[u]:
                count[v] -= 1
                if not count[v]:
                    ready.append(v)
        return out

    def in_place(self, units: list[Unit]) -> None:
        """An input is overwritten when nothing needs it any more, and nothing can be refused any more: at once where that can be
        arranged, else by a copy at the end."""
        copies: list[Target] = []
        first = self.waits_for(self.refusing)
        inputs = {x.input: x for x in reversed(self.program.leaves)}
        reading: dict[Expr, dict[Unit, None]] = {}
        for v in units:
            for e in v.reads:
                reading.setdefault(self.origin(e), {})[v] = None
        for u in list(self.units):
            for t in u.targets:
                if t.place is None or t.place.kind != "arg":
                    continue
                leaf = inputs[t.place.index]
                readers = [v for v in reading.get(leaf.expr, ()) if v is not u]
                alone = self.single(u) and all(place.pointwise(r, leaf.expr) for r in u.roots)
                alone = alone and not any(e in self.same and self.origin(e) is leaf.expr for e in u.reads)
                if not alone or u in first or any(self.reaches(v, u) for v in readers):
                    copies.append(Target(t.expr, t.layout, t.place))
                    t.place, t.layout = None, Layout.dense(t.layout.dtype, t.layout.shape)
                    u.made, u.fused = False, None
                    continue
                u.after |= set(readers) | self.refusing
        for t in copies:
            source = next(x for u in self.units for x in u.targets if x.expr is t.expr and x.place is None)
            source.stand = source.stand or self.stand_for(source)
            copied = Target(source.stand, t.layout, t.place)
            self.cones[copied] = ({}, {source.stand: None})
            made = Unit([copied], index=math.inf)
            made.after = set(units)
            made.reads = [source.stand]
            self.units.append(made)
        self.store_parts([*units, *(u for u in self.units if u not in units)])
        units += [u for u in self.units if u not in units]

    def lend(self, units: Sequence[Unit]) -> None:
        """Memory that the caller gives is left alone while the call can be refused. Where that waits for the result itself, it is not used."""
        first = self.waits_for(self.refusing)
        self.lent: set[int] = set()
        for u in units:
            mine = {p.index for p in self.places(u) if p.kind == "out"} & set(self.program.lent)
            if mine and u not in first:
                self.lent |= mine
                u.after |= self.refusing

    def store_parts(self, units: Sequence[Unit]) -> None:
        """Parts of inputs are overwritten when everything else is done, in order. What reads the whole as it is by then reads them where they were made."""
        before = set(units)
        for i, parts in self.program.parts.items():
            for value, where in parts:
                source = self.want.get(value)
                if source is not None:
                    source.stand = source.stand or self.stand_for(source)
                stand = value if source is None or source.stand is None else source.stand
                layout = Layout(value.dtype.name, tuple(where.shape), tuple(where.strides))
                stored = Target(stand, layout, Place("arg", i), offset=where.offset)
                self.cones[stored] = ({}, {stand: None})
                made = Unit([stored], index=math.inf)
                made.after, made.reads = set(before), [stand]
                before.add(made)
                self.units.append(made)

    def places(self, u: Unit) -> list[Place]:
        """Where what a unit makes lies, as far as that is decided from the start."""
        if u.step is not None:
            return [self.homes[o.expr] for o in u.step.outs if o.expr in self.homes]
        return [t.place for t in u.targets if t.place is not None]

    def single(self, u: Unit) -> bool:
        made = self.fused(u)
        return made is not None and len(made.launches) <= 1

    def stand_for(self, t: Target) -> Expr:
        """The parameter by which other kernels read a target."""
        leaf = Leaf(parameter(len(self.program.leaves), t.expr.shape, t.expr.dtype), t.layout)
        self.program.leaves.append(leaf)
        self.leaves[leaf.expr] = leaf
        t.stand = leaf.expr
        if self.want.get(t.expr) is t:
            self.stands[t.stand] = t.expr
        return leaf.expr

    # ---- kernels ----

    def fused(self, u: Unit) -> Any:
        """The kernels of a unit's targets, made once; None where the loops have no form for them."""
        if u.made:
            return u.fused
        own = {t.expr for t in u.targets}
        swap = {}
        for e in self.edges(u.targets):
            if e in self.want and e not in own:
                t = self.want[e]
                swap[e] = t.stand or self.stand_for(t)
        u.roots = place.rewritten([t.expr for t in u.targets], swap)
        u.made = True
        edges = [e for e in toposort(*u.roots) if e.op == "param"]
        roots, _ = place.canonical(u.roots, edges)
        ins, outs = tuple(self.leaves[e].layout for e in edges), tuple(t.layout for t in u.targets)
        found = _fused.get((roots, ins, outs))
        if found is None:
            if len(_fused) > MEMORY:
                _fused.clear()
            dump_body("kernel", roots)
            try:
                found = fuse(roots, ins, outs)
            except FAILURES as problem:
                _mistaken(problem)
                found = problem.with_traceback(None)
            _fused[roots, ins, outs] = found
        if isinstance(found, Exception):
            dumps.dump("breaks", f"no kernel for {[short(t.expr) for t in u.targets]}", repr(found))
            return None
        numbers = [e.arg for e in edges]
        named = lambda kind, n: (kind, numbers[n] if kind == "in" else n)
        launches = (replace(w, operands=tuple(named(*o) for o in w.operands)) for w in found.launches)
        u.fused = replace(found, launches=tuple(launches))
        return u.fused


def _mistaken(problem: Exception) -> None:
    """What no kernel holds says so; any other error is the scheduler's own."""
    if not isinstance(problem, (NotImplementedError, Cut)):
        mistakes.tell(problem, "an operator runs without a kernel")


def trailing(fold: Expr) -> bool:
    """Whether a reduction is over the last dims: what is made of the rows, and of their sums, is one kernel."""
    rank = fold.src[0].ndim
    return tuple(fold.arg) == tuple(range(rank - len(fold.arg), rank))


def core_of(e: Expr) -> Expr:
    while e.op in ("reshape", "permute", "expand") and math.prod(e.shape) == math.prod(e.src[0].shape):
        e = e.src[0]
    return e
