"""What becomes of a capture that came to its end, or to the break where it stops: the program, and the entry that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flambeau._capture import again, backends, logs, recalled, shared, waiting, warned
from flambeau._capture.applied import as_nodes
from flambeau._capture.breaks import REFUSED, Break, Failed
from flambeau._capture.effects import Replay, put_state
from flambeau._capture.frame import Frame
from flambeau._capture.leaks import leaks
from flambeau._capture.lent import Lend, lendable
from flambeau._capture.program import Program
from flambeau._capture.refusals import may_refuse
from flambeau._capture.selected import Selected
from flambeau._capture.stance import stance
from flambeau._capture.tracer import Tracer
from flambeau._dynamo.utils import count_graph, counters
from flambeau._eager import autocast
from flambeau._eager.modes import STATE
from flambeau._ground.source import build
from flambeau._tensor import Tensor
from flambeau._values.generator import default_generator

if TYPE_CHECKING:
    from flambeau._capture.entries import Function


class Entry:
    """One capture of one segment."""

    def __init__(self, run: Any, text: str, tr: Tracer, program: Program | None, stop: Break | None) -> None:
        self.run, self.text, self.program, self.stop = run, text, program, stop
        self.made: Any = None  # what `remembered` may keep of it
        self.guards, self.numbers, self.parameters = tr.guards.source_text(), tr.guards.numbers, tr.guards.parameters
        self.tensors = tr.guards.tensors


def finish(
    function: Function, tr: Tracer, result: tuple[Any] | None, frames: list[Frame], stopped: Break | None
) -> Entry:
    """The entry of a capture: of all the function, with its result, or of what comes before the break, with the frames that wait there."""
    _complete(tr)
    replay = Replay(tr)
    failures = [f"bool({replay.expression(t)}) is not {value}" for t, value in tr.assumed]
    looked_at = list(replay.build)
    if result is not None:
        leave = f"return {replay.expression(result[0])}"
    else:
        assert stopped is not None
        leave = waiting.leave(tr, frames, replay)
        stopped.settle()
        if not stopped.meant:
            function.breaks.append(stopped)
            logs.broken(function.fn, stopped)
            counters["graph_break"][stopped.reason] += 1
    replay.collect()
    live = _history(tr, replay)
    undo(tr)
    if tr.recorder.geometry is not None:
        tr.recorder.geometry.keep()
    if not live:
        tr.recorder.lines = again.repeated(tr.recorder.lines)
    lent = {} if live or tr.symbols is not None else lendable(tr, replay, [leave, *replay.build, *replay.effects])
    program = Program(tr.recorder, replay.outputs, live, tuple(lent))
    if tr.symbols is not None:
        tr.symbols.closed = True
    computes = bool(program.count or replay.outputs)
    counted = _compiled(function, tr, program, bool(failures)) if computes else []
    inputs = [tr.guards.ref(s) for s, _, _ in program.inputs] if computes else None
    if tr.symbols is not None:
        tr.symbols.check_marks()
    after = [*replay.build, *replay.effects, leave]
    if failures:
        tr.guards.scope["bool"] = bool
        wrong = tr.guards.constant(Failed("no error is raised for what the tensors hold"))
        left = f"redraw(); return {wrong}"
        after = [f"if out is None: {left}", *looked_at, f"if {' or '.join(failures)}: {left}", *counted, *after[len(looked_at) :]]  # fmt: skip
    else:
        after = [*counted, *after]
    asked = computes and may_refuse(program.lines)
    if asked:
        tr.guards.scope["REFUSED"] = REFUSED
        after = [f"if out is REFUSED: {'redraw(); ' if failures else ''}return REFUSED", *after]
    native: Any = getattr(computes and program.run, "compiled", None)
    given = [n for n in native.plan.lent if n in lent] if native is not None else []
    if given:
        tr.guards.scope["lend"] = Lend([native.facts(n) for n in given])
    out = "out = " if replay.outputs or asked else ""
    text, names = tr.guards.entry(inputs, out, after, [lent[n] for n in given])
    tr.guards.scope.update(names)
    run = build("entry", text, tr.guards.scope, kept=True)
    counters["frames"].update(total=1, ok=1)
    entry = Entry(run, text, tr, program if computes else None, stopped)
    if native is not None and program.atoms is None and not (live or failures or stopped):
        entry.made = tr, program
    return entry


def _complete(tr: Tracer) -> None:
    """Refuse what cannot be left where the capture ends."""
    if any(g.unfinished for g in tr.generators):
        raise Break("a generator is left half way, in a try or a with")
    if any(line.startswith("warn_") for line in tr.said) and warned.kept(tr):
        raise Break("a warning that the function itself looks at")
    if tr.recorder.packing:
        raise Break("a block of hooks of saved tensors is left half way")
    if tr.assumed and (tr.recorder.mutated or tr.recorder.history_changed()):
        raise Assumed  # what the program writes could not be taken back


def _history(tr: Tracer, replay: Replay) -> bool:
    """Whether something that the program leaves takes part in a backward pass outside it."""
    recorder = tr.recorder
    if recorder.chosen and leaks(recorder.lines, replay.outputs, recorder.chosen):
        raise Selected
    tr.apart()
    if recorder.inside_leaf and replay.live:
        raise Break("a tensor made inside needs a gradient, and results have a history")
    live = replay.live or recorder.history_changed()
    if live and recorder.expects:
        raise Assumed  # a backward pass outside would be traced without it
    if live and recorder.custom:
        raise Break(f"{recorder.custom} is part of the history of a result", "call backward() in the same function")
    if live and recorder.applied:
        recorder.lines = as_nodes(recorder.applied, recorder.lines, replay.outputs)
    return live


def _compiled(function: Function, tr: Tracer, program: Program, assumes: bool) -> list[str]:
    """Compile the program, and put it where the entry finds it. The lines that count versions of what it writes."""
    forced = stance()[1]
    backend = function.backend if forced is None else backends.find(forced)
    known = recalled.find(program) if backend is backends.native else None
    if known is not None:
        written = known[0]
    else:
        written = shared.written(program.module) if backend is backends.native or tr.recorder.chosen else {}
    if written and _overlap(tr, program, written):
        if tr.recorder.chosen:
            raise Selected
        backend, written, known = backends.eager, {}, None
    with autocast.off():  # the casts are part of the graph
        program.compile(backend, [x for _, _, x in program.inputs], known and known[1])
    if backend is backends.native and known is None:
        recalled.note(program, written)
    count_graph(program.count)
    counted: list[str] = []
    if getattr(program.run, "writes", False):
        counted = [f"{tr.guards.counter(program.inputs[i][0])}[0] += {n}" for i, n in written.items()]
    run = program.call(bool(STATE.autocast))
    if assumes:
        tr.guards.scope["program"], tr.guards.scope["redraw"] = _perhaps(run, tr.recorder.random)
        return counted
    tr.guards.scope["program"] = run
    if getattr(program.run, "native", False) and hasattr(program.run, "arrays"):
        tr.guards.scope["program_arrays"] = program.run.arrays
    return counted


def _overlap(tr: Tracer, program: Program, written: dict[int, int]) -> bool:
    """Whether an input that is written shares memory with another; that this stays so is assumed."""
    tensors = [(i, source, x._a) for i, (source, _, x) in enumerate(program.inputs) if isinstance(x, Tensor)]
    if len(tensors) < 2:
        return False
    into, others = [t for t in tensors if t[0] in written], [t for t in tensors if t[0] not in written]
    now = shared.overlapping([a for _, _, a in into], [a for _, _, a in others])
    tr.guards.overlap([source for _, source, _ in into], [source for _, source, _ in others], now)
    return now


def _perhaps(run: Callable[..., Any], draws: bool) -> tuple[Callable[..., Any], Callable[[], None]]:
    """A program that runs before it is known whether the function comes to its end: None where it fails, and what takes its draws back."""
    held: list[Any] = []

    def perhaps(*inputs: Any) -> Any:
        if draws:
            held[:] = [default_generator.get_state()]
        try:
            return run(*inputs)
        except Exception:  # eager code raises what is to be raised
            return None

    return perhaps, lambda: default_generator.set_state(held.pop()) if draws else None


def undo(tr: Tracer) -> None:
    """End the capture: everything outside is as it was."""
    tr.recorder.stop()
    for name, held in tr.state_before.items():
        if getattr(STATE, name) is not held:
            put_state(name, held)
    autocast.nest(-tr.nested)
    autocast.remember(tr.casts)
    tr.nested = 0
    tr.journal.undo()
    tr.recorder.undo()


class Assumed(BaseException):
    """Branches that raise cannot be left to be looked at when the program has run."""
