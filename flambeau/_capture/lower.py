"""A schedule -> the function that runs it: memory, launches, and the calls in Python between stretches of native work.

Values that nobody outside sees share one arena, each for as long as something needs it. A program without calls in Python is one
call into native code, which allocates the results too.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import flambeau
from flambeau._backends.cpu.arrays import QUIET, K as ARRAYS, loud, quiet
from flambeau._backends.cpu.compile import RELEASE, native
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, Table
from flambeau._capture import place, readings, routines
from flambeau._capture.expressions import Hole, Step, Unsupported, build, short, spread
from flambeau._capture.place import Place, Strided
from flambeau._capture.schedule import Schedule, Target, Unit
from flambeau._eager import large
from flambeau._ground import flags
from flambeau._ground.source import build as written
from flambeau._kernel.record import Expr, evaluate
from flambeau._kernel.show import show
from flambeau._tensor import Tensor, wrap
from flambeau._values.dtype import BY_NAME
from flambeau.fx import GraphModule, Interpreter

LINE = 64


def compile_program(gm: GraphModule, example_inputs: Sequence[Any]) -> Any:
    """The graph as a native function of tensors and numbers; its results come as a tuple.

    Graphs hold operators of the registry (`torch.ops.aten.add.Tensor`); what they write in place of their inputs is written.
    Inputs that are written share memory with no other input. Graphs that have no native form are refused (NotImplementedError).
    """
    if not large.available():
        raise Unsupported("no kernels can be generated here")
    if needs_history(gm):
        raise Unsupported("results that need gradients")
    return Compiled(gm, example_inputs)


def needs_history(gm: GraphModule) -> bool:
    """Whether a result of the graph takes part in a backward pass outside it."""
    if "live" in gm.meta:
        return bool(gm.meta["live"])
    results = gm.graph.output_node().all_input_nodes
    vals = [v for n in results for v in (n.meta.get("val"),) if isinstance(v, Tensor)]
    return flambeau.is_grad_enabled() and any(v.requires_grad for v in vals)


class Nodes:
    """A graph that runs node by node."""

    kernels = 0

    def __init__(self, gm: GraphModule) -> None:
        self.gm = gm

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        with flambeau.no_grad():
            out = Interpreter(self.gm).run(*inputs)
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)


@dataclass
class Segment:
    """A stretch of native work: its launches, with places for slots."""

    launches: list[tuple[int, list[tuple[Any, int]], int, int]]  # address, slots, chunks, scratch
    keep: list[Any]


@dataclass
class InPython:
    """A call between segments: `fn(*arrays)` gives a tuple of arrays, which go to `outs`."""

    fn: Callable[..., Any]
    ins: list[Any]
    outs: list[Any]
    name: str


@dataclass(frozen=True)
class Held:
    """What a value is when the program runs: a place, the array's facts, and where it begins (in elements)."""

    place: Place
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


class Compiled:
    """A program that runs. `kernels` is the number of launches in a call, `calls` that of calls in Python."""

    def __init__(self, gm: GraphModule, example_inputs: Sequence[Any]) -> None:
        self.gm = gm
        program = build(gm, example_inputs, readings.ROUTINES, readings.OPERATORS)
        self.inputs = program.inputs
        self.schedule = Schedule(program)
        self.program = program
        self.layouts = {leaf.input: leaf.layout for leaf in program.leaves if leaf.input >= 0}
        self.written = tuple(i for i, _ in program.writes)
        self.arena_size = 0
        self.work = 0
        self.pieces = Assembly(self).pieces
        self.kernels = sum(len(p.launches) for p in self.pieces if isinstance(p, Segment))
        self.calls = sum(isinstance(p, InPython) for p in self.pieces)
        self.lock = threading.Lock()
        self.arena: Any = None
        self.run = self.driver(False)  # on arrays
        self.call = self.driver(True)  # on tensors

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        return self.call(*inputs)

    # ---- the function that runs everything ----

    def driver(self, tensors: bool) -> Callable[..., tuple[Any, ...]]:
        """Written as source: one call where all work is native, else a line for each piece."""
        names = [f"i{n}" for n in range(self.inputs)]
        scope: dict[str, Any] = {
            "empty": np.empty,
            "ndarray": np.ndarray,
            "declined": self.declined_tensors if tensors else self.declined,
            "lock": self.lock,
            "view": view,
        }
        outs = {n: (shape, strides) for n, shape, strides in self.schedule.result_views}
        order = sorted(outs)
        single = len(self.pieces) == 1 and isinstance(self.pieces[0], Segment)
        what = "tensors" if tensors else "arrays"
        text = [f"def program({', '.join(names)}):", f'    """One call of the compiled program, on {what}."""']
        if tensors:
            text += [f"    i{n} = i{n}._a" for n, layout in sorted(self.layouts.items()) if not layout.scalar]
            scope["wrap"] = wrap
        if single:
            self.single(text, scope, names, outs, order)
        else:
            self.several(text, scope, names, outs)
        if self.schedule.check is not None:
            text.append(f"    if o{self.schedule.check}: return refused({', '.join(names)})")
            scope["refused"] = self.refused
        results = [self.returned(n, r, scope) for n, r in enumerate(self.program.results)]
        if tensors:
            results = [f"wrap({x})" if self.is_array(r) else x for x, r in zip(results, self.program.results)]
        text.append(f"    return ({''.join(x + ', ' for x in results)})")
        return written("program", "\n".join(text) + "\n", scope)

    def is_array(self, r: Any) -> bool:
        """Whether a result is a tensor."""
        return r.expr is not None or (r.source >= 0 and not self.layouts[r.source].scalar)

    def returned(self, n: int, r: Any, scope: dict[str, Any]) -> str:
        part = self.schedule.parts.get(n)
        if part is not None:
            whole, s = part
            size = self.dtype(whole).itemsize
            scope["strided"], scope[f"part{n}"] = strided, (tuple(t * size for t in s.strides), s.offset, s.shape)
            return f"strided(o{whole}, *part{n})"
        if r.expr is not None:
            return f"o{n}"
        if r.source < 0:
            scope[f"c{n}"] = r.constant
            return f"c{n}"
        if not r.chain:
            return f"i{r.source}"
        scope[f"c{n}"] = r.chain
        return f"view(i{r.source}, c{n})"

    def dtype(self, n: int) -> np.dtype[Any]:
        return self.schedule.dtypes[n].np

    def refused(self, *args: Any) -> Any:
        """An index was out of range. The eager operator says so in its own words."""
        self.declined(*args)
        raise IndexError("index out of range in self")

    def single(self, text: list[str], scope: dict[str, Any], names: list[str], outs: Any, order: list[int]) -> None:
        segment = self.pieces[0]
        where = {n: k for k, n in enumerate(order)}

        def slot(what: Any, offset: int) -> tuple[int, ...]:
            if isinstance(what, int):
                return CONST, what
            match what.kind:
                case "arg":
                    return ARG, what.index, offset
                case "out":
                    return OUT, where[what.index], offset
            return TEMP, what.index + offset

        launches = tuple(
            Launch(a, tuple(slot(*s) for s in slots), chunks, scratch) for a, slots, chunks, scratch in segment.launches
        )
        results = []
        for n in order:
            shape, strides = outs[n]
            d = self.dtype(n)
            dense = strides == place.contiguous_strides(shape)
            results.append(Result(d, tuple(shape), None if dense else tuple(s * d.itemsize for s in strides)))
        plan = Plan(tuple(results), launches, self.arena_size, self.work >= RELEASE, keep=tuple(segment.keep))
        scope["run"], scope["again"] = self.table(plan), self.again(plan)
        self.main = scope["run"]
        text += [f"    r = run({', '.join(names)})", "    if r is None:", f"        r = again({', '.join(names)})",
                 "        if r is None: return declined(" + ", ".join(names) + ")"]  # fmt: skip
        if len(order) == 1:
            text.append(f"    o{order[0]} = r")
        elif order:
            text.append(f"    {', '.join(f'o{n}' for n in order)} = r")

    def table(self, plan: Plan) -> Any:
        self.tables = [*getattr(self, "tables", []), Table("program")]
        return self.tables[-1].call

    def again(self, plan: Plan, check: bool = True) -> Any:
        """For arguments of a new signature that the plan serves all the same: note it, and run."""
        table = self.tables[-1]

        def again(*args: Any) -> Any:
            if check and not self.accepts(args):
                return None
            table.add(args, plan)
            return table.call(*args)

        return again

    def accepts(self, args: Sequence[Any]) -> bool:
        """Whether the arguments lie as the program believes."""
        for i, x in enumerate(args):
            layout = self.layouts[i]
            if layout.scalar:
                if type(x) is not (float if layout.dtype == "float64" else int):
                    return False
            elif (
                type(x) is not np.ndarray
                or x.shape != layout.shape
                or x.dtype != BY_NAME[layout.dtype].np
                or not x.flags.aligned
                or any(n > 1 and s != t * x.itemsize for n, s, t in zip(x.shape, x.strides, layout.strides))
            ):
                return False
        return True

    def declined(self, *args: Any) -> tuple[Any, ...]:
        """Arguments that the native code was not made for: node by node."""
        out = Nodes(self.gm)(*(wrap(x) if isinstance(x, np.ndarray) else x for x in args))
        return tuple(x._a if isinstance(x, Tensor) else x for x in out)

    def declined_tensors(self, *args: Any) -> tuple[Any, ...]:
        """The same, with tensors for results."""
        return Nodes(self.gm)(*(wrap(x) if isinstance(x, np.ndarray) else x for x in args))

    def several(self, text: list[str], scope: dict[str, Any], names: list[str], outs: Any) -> None:
        arena = scope["arena"] = self.arena = aligned(self.arena_size) if self.arena is None else self.arena
        scope["accepts"] = self.accepts
        self.seen = scope["seen"] = set()
        text += [f"    if not lock.acquire(False): return declined({', '.join(names)})", "    try:"]
        if not all(isinstance(p, Segment) for p in self.pieces) or True:
            text += [
                f"        if not accepts(({''.join(n + ', ' for n in names)})): return declined({', '.join(names)})"
            ]
        for n, (shape, strides) in sorted(outs.items()):
            d = self.dtype(n)
            scope[f"d{n}"] = d
            if strides == place.contiguous_strides(tuple(shape)):
                text.append(f"        o{n} = empty({tuple(shape)}, d{n})")
            else:
                text.append(
                    f"        o{n} = ndarray({tuple(shape)}, d{n}, empty({math.prod(shape) * d.itemsize}, 'u1'), 0, {tuple(s * d.itemsize for s in strides)})"
                )
        held = 0
        names_of: dict[Place, str] = {}

        def named(p: Place) -> str:
            return (
                {"arg": "i", "out": "o"}.get(p.kind, "") + str(p.index)
                if p.kind in ("arg", "out")
                else "arena"
                if p.kind == "temp"
                else names_of[p]
            )

        for at, piece in enumerate(self.pieces):
            if isinstance(piece, Segment):
                places: dict[str, int] = {}

                def slot(what: Any, offset: int, places: dict[str, int] = places) -> tuple[int, ...]:
                    if isinstance(what, int):
                        return CONST, what
                    k = places.setdefault(named(what), len(places))
                    return ARG, k, offset + (what.index if what.kind == "temp" else 0)

                launches = tuple(
                    Launch(a, tuple(slot(*s) for s in slots), chunks, scratch)
                    for a, slots, chunks, scratch in piece.launches
                )
                plan = Plan((), launches, 0, self.work >= RELEASE, keep=tuple(piece.keep))
                scope[f"run{at}"], scope[f"again{at}"] = self.table(plan), self.again(plan, check=False)
                given = ", ".join(places)
                text += [f"        if run{at}({given}) is None: again{at}({given})"]
            else:
                scope[f"call{at}"] = piece.fn
                given = []
                for k, h in enumerate(piece.ins):
                    if h.place.kind == "temp":
                        scope[f"a{at}_{k}"] = in_arena(arena, h)
                        given.append(f"a{at}_{k}")
                    elif h.place.kind == "arg" and not h.shape and self.layouts[h.place.index].scalar:
                        given.append(named(h.place))
                    else:
                        scope[f"a{at}_{k}"] = tuple(s * BY_NAME[h.dtype].itemsize for s in h.strides), h.offset, h.shape
                        given.append(f"strided({named(h.place)}, *a{at}_{k})")
                        scope["strided"] = strided
                outs_ = []
                for h in piece.outs:
                    names_of[h.place] = f"h{held}"
                    outs_.append(f"h{held}")
                    held += 1
                left = f"{', '.join(outs_)}, = " if outs_ else ""
                text.append(f"        {left}call{at}({', '.join(given)})  # {piece.name}")
        text += ["    finally:", "        lock.release()"]


class Assembly:
    """Places for all values, and the pieces that run."""

    def __init__(self, compiled: Compiled) -> None:
        self.c, self.s = compiled, compiled.schedule
        self.homes: dict[Expr, Held] = {}
        self.pieces: list[Any] = []
        self.held = 0
        self.memory = Memory()
        self.lives()
        for n, unit in enumerate(self.s.order):
            self.now = n
            self.unit(unit)
            for e in self.ends.get(n, ()):
                self.memory.free(self.homes[e].place.index)
        compiled.arena_size = self.memory.top

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
        return self.stands.get(e, e)

    @property
    def stands(self) -> dict[Expr, Expr]:
        return {t.stand: t.expr for t in self.s.want.values() if t.stand is not None}

    def wanted(self, t: Target) -> bool:
        return self.s.want.get(t.expr) is t

    def name(self, t: Target) -> Expr:
        """What a target's value is known by: its expression, or where others hold that too, the parameter that stands for it."""
        return t.expr if self.wanted(t) or t.stand is None else t.stand

    def home(self, e: Expr) -> Held:
        return self.homes[self.key(e)]

    def view(self, e: Expr) -> Held:
        """Where an operand of a step lies."""
        s = self.s.strided(e)
        h = self.home(s.core)
        return Held(h.place, h.dtype, s.shape, s.strides, s.offset)

    def out(self, t: Target) -> Held:
        """Where a target goes."""
        facts = t.layout.dtype, t.layout.shape, t.layout.strides
        if t.place is not None and not self.wanted(t):
            return Held(t.place, *facts)
        return self.settle(self.name(t), *facts, t.place)

    def settle(
        self, e: Expr, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], given: Place | None
    ) -> Held:
        """Choose a place for a value that is about to be made."""
        if given is None:
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
            self.pieces.append(Segment([], []))
        return self.pieces[-1]

    def unit(self, u: Unit) -> None:
        if u.step is not None:
            self.step(u.step)
            return
        fused = self.s.fused(u)
        if fused is None:
            self.in_python(u)
            return
        outs = [self.out(t) for t in u.targets]
        temps = [self.memory.take(size * BY_NAME[d].itemsize) for d, size in fused.temps]
        segment = self.segment()
        leaves = self.s.program.leaves
        for launch in fused.launches:
            code = native(launch.kernel)
            if "loops" in flags.get("logs"):
                print(show(launch.kernel))
            segment.keep.append(code)
            slots: list[tuple[Any, int]] = []
            for kind, n in launch.operands:
                if kind == "temp":
                    slots.append((Place("temp", temps[n]), 0))
                    continue
                h = outs[n] if kind == "out" else self.home(leaves[n].expr)
                slots.append((h.place, h.offset * BY_NAME[h.dtype].itemsize))
            slots += [(n, 0) for n in (*launch.sizes, *launch.grain)]
            segment.launches.append((code["k"], slots, launch.chunks, launch.scratch))
        self.c.work = max(
            self.c.work, *(math.prod(r.shape) for r in u.roots), *(math.prod(e.shape) for e in u.reads), 0
        )
        for t in temps:
            self.memory.free(t)

    def step(self, step: Step) -> None:
        operands = [self.s.strided(e) for e in step.ins]
        plan = routines.plan(step, operands)
        if plan is None:
            self.call(step)
            return
        ins = [self.view(e) for e in step.ins]
        outs = [
            self.settle(o.expr, o.layout.dtype, o.layout.shape, o.layout.strides, self.s.homes.get(o.expr))
            for o in step.outs
        ]
        temp = self.memory.take(plan.temp) if plan.temp else 0
        segment = self.segment()
        segment.keep.append(plan)
        for launch in plan.launches:
            slots: list[tuple[Any, int]] = []
            for source, value, *offset in launch.slots:
                extra = sum(offset)
                if source == CONST:
                    slots.append((value + extra, 0))
                elif source == TEMP:
                    slots.append((Place("temp", temp + value), extra))
                else:
                    h = ins[value] if source == ARG else outs[value]
                    slots.append((h.place, h.offset * BY_NAME[h.dtype].itemsize + extra))
            segment.launches.append((launch.address, slots, launch.chunks, launch.scratch))
        self.c.work = max(self.c.work, RELEASE if plan.release else 0)
        if plan.temp:
            self.memory.free(temp)

    def call(self, step: Step) -> None:
        """A step that runs in Python. Its results are arrays of their own."""
        fn = eager(step) if step.kind == "call" else by_arrays(routines.by_library(step))
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
        self.pieces.append(InPython(settled(fn, outs), ins, outs, repr(step)))
        for o, h in zip(step.outs, outs):
            given = self.s.homes.get(o.expr)
            if given is not None:  # a result: hand the array itself out
                self.copy(h, Held(given, h.dtype, h.shape, h.strides))

    def copy(self, source: Held, to: Held) -> None:
        self.pieces.append(InPython(lambda x, y: (np.copyto(y, x), ())[1], [source, to], [], "copy"))

    def in_python(self, u: Unit) -> None:
        """Expressions that the loops have no form for, on the array library."""
        reads = [e for e in u.reads]
        leaves = self.s.program.leaves
        numbers = [self.home(e) for e in reads]
        stand = {e: (self.s.want[e].stand if e in self.s.want else e) for e in reads}
        places = {stand[e].arg: n for n, e in enumerate(reads)}  # type: ignore[union-attr]
        outs = [self.out(t) for t in u.targets]
        roots = u.roots

        def fn(*arrays: Any) -> tuple[Any, ...]:
            xs, into = arrays[: len(reads)], arrays[len(reads) :]
            token = quiet(QUIET)
            try:
                args = {n: xs[k] for n, k in places.items()}
                made = evaluate(ARRAYS, roots, args)  # type: ignore[arg-type]
            finally:
                loud(token)
            for y, x in zip(into, made, strict=True):
                np.copyto(y, x, casting="unsafe")
            return ()

        del leaves
        self.pieces.append(InPython(fn, [*numbers, *outs], [], ", ".join(short(t.expr) for t in u.targets)))


class Memory:
    """Offsets in the arena: the smallest free block that fits, or the end."""

    def __init__(self) -> None:
        self.top = 0
        self.used: dict[int, int] = {}
        self.free_: list[tuple[int, int]] = []  # offset, size

    def take(self, size: int) -> int:
        size = max(LINE, (size + LINE - 1) & -LINE)
        fits = [(n, at) for at, n in self.free_ if n >= size]
        if fits:
            n, at = min(fits)
            self.free_.remove((at, n))
            if n > size:
                self.free_.append((at + size, n - size))
        else:
            at = self.top
            last = next(((a, n) for a, n in self.free_ if a + n == self.top), None)
            if last is not None:
                self.free_.remove(last)
                at = last[0]
            self.top = at + size
        self.used[at] = size
        return at

    def free(self, at: int) -> None:
        size = self.used.pop(at)
        for a, n in sorted(self.free_):
            if a + n == at:
                self.free_.remove((a, n))
                at, size = a, size + n
            elif at + size == a:
                self.free_.remove((a, n))
                size += n
        self.free_.append((at, size))


def aligned(size: int) -> Any:
    """Memory that begins at a cache line."""
    raw = np.empty(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size]


def in_arena(arena: Any, h: Held) -> Any:
    d = BY_NAME[h.dtype].np
    return np.ndarray(
        h.shape, d, arena, h.place.index + h.offset * d.itemsize, tuple(s * d.itemsize for s in h.strides)
    )


def strided(a: Any, strides: tuple[int, ...], offset: int, shape: tuple[int, ...]) -> Any:
    """A view of an array's memory; offset in elements."""
    if not offset and a.shape == shape and a.strides == strides:
        return a
    if offset:
        flat = np.lib.stride_tricks.as_strided(a, (offset + 1,), (a.itemsize,))[offset:]
        return np.lib.stride_tricks.as_strided(flat, shape, strides)
    return np.lib.stride_tricks.as_strided(a, shape, strides)


def view(a: Any, chain: Any) -> Any:
    """The view of an input that a result is."""
    for op, args in chain:
        a = getattr(ARRAYS, op)(a, *args)
    return a


def eager(step: Step) -> Callable[..., tuple[Any, ...]]:
    """An operator on arrays, as eager code runs it."""
    target, held, into, absent = step.target, step.params["values"], step.params["written"], step.params["absent"]

    def fill(v: Any, xs: Sequence[Any]) -> Any:
        if isinstance(v, Hole):
            x = xs[v.at]
            return wrap(x) if isinstance(x, np.ndarray) else x
        return [fill(x, xs) for x in v] if isinstance(v, list) else v

    def run(*xs: Any) -> tuple[Any, ...]:
        values = [fill(v, xs) for v in held]
        if into >= 0:
            values[into] = values[into].clone()
        args, kwargs = spread(target.op, values)
        with flambeau.no_grad():
            out = target(*args, **kwargs)
        outs = out if isinstance(out, (tuple, list)) else (out,)
        return tuple(x._a for x, no in zip(outs, absent, strict=True) if not no)

    return run


def by_arrays(fn: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    def run(*xs: Any) -> tuple[Any, ...]:
        out = fn(*xs)
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)

    return run


def settled(fn: Callable[..., tuple[Any, ...]], outs: Sequence[Held]) -> Callable[..., tuple[Any, ...]]:
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


__all__ = ["Compiled", "Nodes", "Strided", "Target", "compile_program"]
