"""A schedule -> the function that runs it: memory, launches, and the calls in Python between stretches of native work.

Values that nobody outside sees share one arena, each for as long as something needs it. A program without calls in Python is one
call into native code, which allocates the results too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from types import FunctionType
from typing import Any

import numpy as np

import flambeau
from flambeau._backends.cpu.arrays import K as ARRAYS
from flambeau._backends.cpu.compile import RELEASE
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, Table
from flambeau._capture import mistakes, readings, stored
from flambeau._capture.arena import Tape
from flambeau._capture.assembly import Assembly, Blueprint, InPython, Returned, Segment
from flambeau._capture.breaks import REFUSED
from flambeau._capture.expressions import Unsupported, build
from flambeau._capture.lent import Facts, empty as fresh
from flambeau._capture.pieces import Pieces, strided
from flambeau._capture.planner import Planner, Template
from flambeau._capture.retreat import guarded
from flambeau._capture.schedule import Schedule
from flambeau._eager import large
from flambeau._ground.source import build as written
from flambeau._tensor import Tensor, new, wrap
from flambeau._values.dtype import BY_NAME
from flambeau._values.generator import default_generator
from flambeau._values.shape import contiguous_strides
from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.interpreter import Interpreter


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
            steps = Interpreter(self.gm)
            steps.extra_traceback = False  # errors are the program's, told as without the graph
            out = steps.run(*inputs)
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)


def drawn(gm: GraphModule, example_inputs: Sequence[Any]) -> Blueprint:
    """The blueprint of a graph, made now."""
    laid = Assembly(Schedule(build(gm, example_inputs, readings.ROUTINES, readings.OPERATORS)))
    return blueprint(laid, max(laid.work, default=0))


def planned(gm: GraphModule, graph: Graph, example_inputs: Sequence[Any], planner: Planner) -> Template:
    """The template of a graph whose sizes are a planner's. `gm` has its constants."""
    tape = Tape()
    laid = Assembly(Schedule(build(gm, example_inputs, readings.ROUTINES, readings.OPERATORS, graph)), tape)
    return Template.of(planner, blueprint(laid, laid.work), tape)


def blueprint(laid: Assembly, work: Any) -> Blueprint:
    """What was decided."""
    schedule = laid.s
    program = schedule.program
    return Blueprint(
        program.inputs,
        {leaf.input: leaf.layout for leaf in program.leaves if leaf.input >= 0},
        tuple(i for i, _ in program.writes),
        [Returned(r.expr is not None, r.source, r.chain, r.constant) for r in program.results],
        [(n, tuple(shape), tuple(strides)) for n, shape, strides in schedule.result_views],
        {n: (whole, tuple(s.strides), s.offset, tuple(s.shape)) for n, (whole, s) in schedule.parts.items()},
        {n: d.name for n, d in schedule.dtypes.items()},
        bool(schedule.refusing),
        schedule.draws,
        laid.arena_size,
        work,
        program.constants,
        laid.pieces,
        tuple(sorted(schedule.lent)),
        laid.most,
        laid.own,
    )


write: Any = None


def _unwritten(*args: Any) -> Any:
    """What stands for a program until it is called; `write` is another one in the namespace of each."""
    return write(*args)


class Compiled:
    """A program that runs. `kernels` is the number of launches in a call, `calls` that of calls in Python."""

    def __init__(self, gm: GraphModule | Callable[[], GraphModule], example_inputs: Sequence[Any], made: Blueprint | None = None) -> None:  # fmt: skip
        self.gm = gm  # a function gives it where it is seldom wanted: a blueprint is given then
        if made is None:
            assert isinstance(gm, GraphModule)
            key = stored.key(gm, example_inputs)
            made = None if key is None else stored.find(key)
            if made is None:
                made = drawn(gm, example_inputs)
                if key is not None:
                    stored.keep(key, made)
        self.plan = made
        self.inputs, self.layouts, self.written, self.results = made.inputs, made.layouts, made.written, made.results
        self.pieces, self.arena_size, self.work = made.pieces, made.arena, made.work
        self.kernels = sum(len(p.launches) for p in self.pieces if isinstance(p, Segment))
        self.calls = sum(isinstance(p, InPython) for p in self.pieces)
        whole = any(
            layout.scalar for layout in self.layouts.values()
        )  # numbers among the inputs: it is called on tensors only
        self.call = self.driver(True) if whole or isinstance(gm, GraphModule) else self.later()  # on tensors
        self.call.native = not self.calls  # reads no switch of eager code
        self.call.writes = True  # without eager operators, which count versions
        self.call.compiled = self
        if not whole:
            self.call.arrays = self.driver(
                True, True
            )  # on tensors' arrays, and memory that is lent for results; gives tensors

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        """Results as tensors. What is refused the eager operator refuses in its own words."""
        made = self.call(*inputs)
        return self.nodes(*inputs) if made is REFUSED else made

    @cached_property
    def run(self) -> Any:
        """The program on arrays, which a backward pass outside wants, and few others."""
        return self.driver(False)

    # ---- the function that runs everything ----

    def later(self) -> Any:
        """The function on tensors, which is written when it is first called: as a rule a program that was found is called on arrays."""
        scope: dict[str, Any] = {}
        call: Any = FunctionType(_unwritten.__code__, scope, "program")

        def write(*args: Any) -> Any:
            made = self.driver(True, scope=scope)
            call.__code__, call.__source__ = made.__code__, made.__source__
            return call(*args)

        scope["write"] = write
        return call

    def driver(self, tensors: bool, from_arrays: bool = False, scope: dict[str, Any] | None = None) -> Any:
        """Written as source: one call where all work is native, else a line for each piece."""
        given = [f"i{n}" for n in range(self.inputs)]
        own = [f"i{self.inputs + n}" for n in range(len(self.plan.constants))]
        names = [*given, *own]
        scope = {} if scope is None else scope
        scope |= {
            "declined": self.declined_tensors if tensors else self.declined,
            "REFUSED": REFUSED,
            "refused": refused,
            "get_state": default_generator.get_state,
            "set_state": default_generator.set_state,
            "view": view,
        }
        outs = {n: (shape, strides) for n, shape, strides in self.plan.views}
        single = len(self.pieces) == 1 and isinstance(self.pieces[0], Segment)
        what = "tensors" if tensors else "arrays"
        for name, (d, shape, data) in zip(own, self.plan.constants, strict=True):
            scope[name] = np.frombuffer(data, BY_NAME[d].np).reshape(shape).copy()
        lent = [f"{'o' if single else 'd'}{n}" for n in self.plan.lent]
        asked, names = ", ".join(given), [*names, *lent]
        if from_arrays:
            given += lent
        rows = from_arrays and single and not own and all(r.source < 0 for r in self.results)
        if rows:
            given = names = ["*args"]
            asked = f"*args[:{self.inputs}]"
        text = [f"def program({', '.join(given)}):", f'    """One call of the compiled program, on {what}."""']
        if lent and rows:
            text.append(f"    {', '.join(lent)}, = args[{self.inputs}:]")
        elif single and not from_arrays:
            scope["fresh"] = fresh
            for n in self.plan.lent:
                scope[f"f{n}"] = self.facts(n)
                text.append(f"    o{n} = fresh(*f{n})")
        if tensors:
            scope["new"], scope["Tensor"] = new, Tensor
        if tensors and not from_arrays:
            text += [
                f"    i{n} = i{n}._a"
                for n, layout in sorted(self.layouts.items())
                if not layout.scalar and n < self.inputs
            ]
        if single:
            self.single(text, scope, names, asked, outs)
        else:
            text += Pieces(self, scope, lent if from_arrays else []).lines(
                names[: len(names) - len(lent)], asked, sorted(outs)
            )
        results = [self.returned(n, r, scope) for n, r in enumerate(self.results)]
        for n, r in enumerate(self.results if tensors else ()):  # as `wrap` does, without its call
            if self.is_array(r):
                text += [f"    t{n} = new(Tensor)", f"    t{n}._a = {results[n]}"]
                results[n] = f"t{n}"
        text.append(f"    return ({''.join(x + ', ' for x in results)})")
        return written("program", "\n".join(text) + "\n", scope, kept=True)

    def is_array(self, r: Any) -> bool:
        """Whether a result is a tensor."""
        return r.made or (r.source >= 0 and not self.layouts[r.source].scalar)

    def returned(self, n: int, r: Any, scope: dict[str, Any]) -> str:
        part = self.plan.parts.get(n)
        if part is not None:
            whole, strides, offset, shape = part
            size = self.dtype(whole).itemsize
            scope["strided"], scope[f"part{n}"] = strided, (tuple(t * size for t in strides), offset, shape)
            return f"strided(o{whole}, *part{n})"
        if r.made:
            return f"o{n}"
        if r.source < 0:
            scope[f"c{n}"] = r.constant
            return f"c{n}"
        if not r.chain:
            return f"i{r.source}"
        scope[f"c{n}"] = r.chain
        return f"view(i{r.source}, c{n})"

    def facts(self, n: int) -> Facts:
        """How a result lies."""
        shape, strides = next((tuple(shape), strides) for m, shape, strides in self.plan.views if m == n)
        d = self.dtype(n)
        return shape, d, tuple(t * d.itemsize for t in strides)

    def dtype(self, n: int) -> np.dtype[Any]:
        return BY_NAME[self.plan.dtypes[n]].np

    def single(self, text: list[str], scope: dict[str, Any], names: list[str], asked: str, outs: Any) -> None:
        segment = self.pieces[0]
        assert isinstance(segment, Segment)
        lent = {n: self.inputs + len(self.plan.constants) + k for k, n in enumerate(self.plan.lent)}
        order = [n for n in sorted(outs) if n not in lent]
        where = {n: k for k, n in enumerate(order)}

        def slot(what: Any, offset: int) -> tuple[int, ...]:
            if isinstance(what, int):
                return CONST, what
            match what.kind:
                case "arg":
                    return ARG, what.index, offset
                case "out" if what.index in lent:
                    return ARG, lent[what.index], offset
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
            dense = strides == contiguous_strides(shape)
            results.append(Result(d, tuple(shape), None if dense else tuple(s * d.itemsize for s in strides)))
        plan = Plan(tuple(results), launches, self.arena_size, self.work >= RELEASE, keep=tuple(segment.keep))
        scope["run"], scope["again"] = self.table(plan), self.again(plan)
        text += [f"    r = run({', '.join(names)})", "    if r is None:", f"        r = again({', '.join(names)})",
                 "        if r is None: return declined(" + asked + ")"]  # fmt: skip
        if self.plan.refuses:
            text.append("    if r is False: return REFUSED")
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
        for i, x in enumerate(args[: self.inputs + len(self.plan.constants)]):
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

    @property
    def nodes(self) -> Nodes:
        """The graph, to be run node by node."""
        return Nodes(self.gm if isinstance(self.gm, GraphModule) else self.gm())

    def declined(self, *args: Any) -> Any:
        """Arguments that the native code was not made for: node by node."""
        out = self.declined_tensors(*args)
        return out if out is REFUSED else tuple(x._a if isinstance(x, Tensor) else x for x in out)

    def declined_tensors(self, *args: Any) -> Any:
        """The same, with tensors for results."""
        nodes = self.nodes
        return guarded(nodes.gm, nodes)(*(wrap(x) if isinstance(x, np.ndarray) else x for x in args))


def refused(error: Exception | None, state: Any) -> Any:
    """What a program gives that was refused. `state`: of the generator, where numbers may have been drawn."""
    if error is not None and mistakes.ours(error):
        mistakes.tell(error, "a program ends")
    if state is not None:
        default_generator.set_state(state)
    return REFUSED


def view(a: Any, chain: Any) -> Any:
    """The view of an input that a result is."""
    for op, args in chain:
        a = getattr(ARRAYS, op)(a, *args)
    return a


__all__ = ["Compiled", "Nodes", "compile_program"]
