"""The captures of one function: choosing among them, making new ones, and going on after a break.

A segment is a place where capturing starts: the function's beginning, or an instruction after one that could not be captured. Each has
entries, the most recent first; an entry checks its guards, runs its program and replays its effects, in one generated function.
"""

from __future__ import annotations

import gc
import sys
import threading
import types
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flambeau._backends.cpu import memory
from flambeau._backends.cpu.engine import engine
from flambeau._capture import (  # noqa: F401  (flow: fills the table of instructions; attributes: what they mean)
    again,
    attributes,
    backends,
    bytecode,
    calls,
    flow,
    frame,
    library_calls,
    logs,
    mistakes,
    recalled,
    remembered,
    settings,
    shared,
    stored,
    waiting,
    warned,
)
from flambeau._capture.breaks import (
    REFUSED,
    BackendCompilerFailed,
    Break,
    Failed,
    FailOnRecompileLimitHit,
    Raises,
    RecompileError,
    Unsupported,
)
from flambeau._capture.effects import Replay, put_state
from flambeau._capture.frame import Frame, Pending, Stop
from flambeau._capture.geometry import Geometry, Wanted
from flambeau._capture.leaks import leaks
from flambeau._capture.lent import Lend, lendable
from flambeau._capture.mistakes import Expected
from flambeau._capture.native import Native, step
from flambeau._capture.program import Program
from flambeau._capture.refusals import may_refuse
from flambeau._capture.selected import Selected
from flambeau._capture.sources import evaluate
from flambeau._capture.stance import stance
from flambeau._capture.tracer import Tracer
from flambeau._capture.waiting import Partial, Place
from flambeau._dynamo import config
from flambeau._dynamo.utils import count_graph, counters
from flambeau._eager import autocast, large
from flambeau._eager.modes import MODES, STATE
from flambeau._ground import dumps
from flambeau._ground.source import build, shelf
from flambeau._tensor import Tensor
from flambeau._values import default_device, dtype as dtypes
from flambeau._values.device import CPU
from flambeau._values.generator import default_generator
from flambeau.fx.experimental.symbolic_shapes import ConstraintViolationError

_installed: list[bool] = []
_told: list[str] = []  # that nothing can be captured with this Python, once
_lock = threading.RLock()


class Entry:
    """One capture of one segment."""

    def __init__(self, run: Any, text: str, tr: Tracer, program: Program | None, stop: Break | None) -> None:
        self.run, self.text, self.program, self.stop = run, text, program, stop
        self.made: Any = None  # what `remembered` may keep of it
        self.guards, self.numbers, self.parameters = tr.guards.source_text(), tr.guards.numbers, tr.guards.parameters
        self.tensors = tr.guards.tensors


class Segment:
    """A place where capturing starts."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.changing: set[str] = set()
        self.captures = 0
        self.symbolic = False  # whether a size, or an integer, was seen to change
        self.skip: str = ""  # why nothing is captured here any more
        self.waited = False  # whether a call ran eagerly because the stance puts capturing off


class Function:
    """A function and all its captures."""

    def __init__(
        self,
        fn: types.FunctionType,
        backend: Callable[..., Any],
        fullgraph: bool = False,
        dynamic: bool | None = None,
        limit: int | None = None,
    ) -> None:
        self.fn, self.backend, self.fullgraph, self.dynamic, self.limit = fn, backend, fullgraph, dynamic, limit
        self.code = fn.__code__
        self.breaks: list[Break] = []
        self.remembered: set[bytes] = set()  # captures on disk that are among the entries
        self.computes = False  # whether a capture needs the elements of tensors
        self.segments: dict[Any, Segment] = {}
        self.first = self.segments[None] = Segment()
        code = self.code
        n = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        self.parameters = list(code.co_varnames[:n])
        self.first.skip = self.never = _never(code)

    def reset(self) -> None:
        """Forget all captures. The first segment's list stays: the compiled function itself holds it."""
        first = self.first
        first.entries.clear()
        first.changing.clear()
        first.captures, first.symbolic, first.skip = 0, False, self.never
        self.segments.clear()
        self.segments[None] = first
        self.breaks.clear()
        self.remembered.clear()

    # ---- calls ----

    def __call__(self, values: tuple[Any, ...], eager: Callable[[], Any]) -> Any:
        """The function's result for the values of its parameters; `eager` runs the function itself."""
        if (MODES and not _known_modes()) or STATE.recorder is not None:
            return eager()
        result = self._enter(self.first, values, self._begin(values))
        if result is _EAGER:
            return eager()
        if type(result) is Expected:
            return result.met(eager)
        return self.finish(result)

    def finish(self, result: Any) -> Any:
        """Go on after breaks until the function has returned."""
        native = Native()
        while type(result) is Partial:
            frames = result.frames()
            left = step(native, frames)
            if left is not None:
                return left[0]
            result = self._continue(native, frames)
        return result

    def _continue(self, native: Native, frames: list[Frame]) -> Any:
        if (not MODES or _known_modes()) and all(f.exc is None for f in frames):
            key = waiting.key(frames)
            segment = self.segments.get(key)
            if segment is None:
                segment = self.segments[key] = Segment()
            result = self._enter(segment, waiting.values(frames), self._resumed(frames))
            if type(result) is Expected:
                return result.met(lambda: frame.run_all(native, frames))
            if result is not _EAGER:
                return result
        return frame.run_all(native, frames)

    def _enter(self, segment: Segment, values: tuple[Any, ...], start: Callable[[], Any]) -> Any:
        failed: list[Failed] = []
        for at, entry in enumerate(segment.entries):
            result = entry.run(*values)
            if result is REFUSED:
                return _EAGER
            if type(result) is not Failed:
                if at:
                    segment.entries.insert(0, segment.entries.pop(at))
                return result
            failed.append(result)
        if segment.skip or (stance()[0] != "default" and self._stands(segment, failed)):
            return _EAGER
        with _lock, self._texts():
            return self._capture(segment, values, start, failed)

    def _texts(self) -> AbstractContextManager[None]:
        """Where the code of what a capture writes is kept: that of operators, derivatives and entries."""
        parts = stored.about(self.code) if large.available() else None
        return nullcontext() if parts is None else shelf(engine().store, parts)

    def _stands(self, segment: Segment, failed: list[Failed]) -> bool:
        """Whether the stance in force has this call run eagerly, though it could be captured."""
        name = stance()[0]
        if name == "fail_on_recompile":
            reasons = "".join(f"\n    - {text}" for text in sorted({f.text for f in failed}))
            raise RuntimeError(
                f"Detected recompile when torch.compile stance is 'fail_on_recompile'. filename: '{self.code.co_filename}', "
                f"function name: '{self.code.co_name}', line number: {self.code.co_firstlineno}"
                + (f"\n    triggered by the following guard failure(s):{reasons}" if reasons else "")
            )
        if name == "eager_on_recompile":
            return True
        first, segment.waited = not segment.waited, True
        return first and not segment.captures

    # ---- capturing ----

    def _capture(
        self, segment: Segment, values: tuple[Any, ...], start: Callable[[], Any], failed: list[Failed]
    ) -> Any:
        if failed:
            logs.recompiling(self.fn, failed)
            for f in failed:
                if f.source is not None:
                    segment.changing.add(f.source.spoken())
            for entry in segment.entries[:1]:
                changed, sizes = _changed(entry, values)
                segment.changing |= changed
                segment.symbolic |= sizes
        limit = self.limit or min(config.recompile_limit, config.cache_size_limit)
        if segment.captures >= limit:
            if self.fullgraph or config.fail_on_recompile_limit_hit:
                why = "fullgraph=True" if self.fullgraph else "fail_on_recompile_limit_hit"
                raise FailOnRecompileLimitHit(f"Hard failure due to {why}")
            segment.skip = f"more than {limit} captures"
            warnings.warn(
                f"compile: '{self.fn.__qualname__}' was captured {limit} times (torch._dynamo.config.recompile_limit) and runs eagerly for new "
                f"inputs from now on; the last guards that failed: {'; '.join(sorted({f.text for f in failed}))}", stacklevel=4)  # fmt: skip
            return _EAGER
        if failed and config.error_on_recompile:
            raise RecompileError(
                f"'{self.fn.__qualname__}' is captured again: {'; '.join(sorted({f.text for f in failed}))}"
            )
        segment.captures += 1
        asked = None if _marked(values) else remembered.ask(self, segment, values)
        found = asked and asked.find(values)
        if found:
            segment.entries.insert(0, found[0])
            return found[1] if found[1] is not REFUSED else _EAGER
        idle = memory.idle()
        collecting = gc.isenabled()
        gc.disable()  # almost all that a capture makes is held until it ends: looking for cycles meanwhile takes as long as the capture
        try:
            entry = self._trace(segment, start, values)
        except Break as b:
            logs.broken(self.fn, b)
            self.breaks.append(b.settle())
            if self.fullgraph:
                raise Unsupported(b.spoken()) from None
            segment.skip = b.spoken()
            return _EAGER
        except UserError as problem:
            return Expected(self.fn.__qualname__, problem.__cause__)
        finally:
            if collecting:
                gc.enable()
        logs.captured(self.fn, entry)
        segment.entries.insert(0, entry)
        if memory.idle() > idle:
            memory.trim()  # what the capture has computed on the way lies there, and will not be wanted again
        if asked is not None:
            asked.keep(entry, values)
        entry.made = None
        result = entry.run(*values)
        if asked is not None:
            asked.settle()
        if result is REFUSED:
            return _EAGER
        if type(result) is Failed:  # an assumption does not hold even for the call that made it
            segment.entries.remove(entry)
            segment.skip = f"the guard '{result.text}' fails at once"
            logs.broken(self.fn, Break(segment.skip))
            return _EAGER
        return result

    def _begin(self, values: tuple[Any, ...]) -> Callable[[], Any]:
        def start() -> Any:
            def frames_of(tr: Tracer) -> list[Frame]:
                s = tr.sources
                tr.register(self.fn, s.const(self.fn))
                tr.guards.identity(s.attr(s.const(self.fn), "__code__"), self.code)
                tr.codes[id(self.code)] = self.code
                names = {n: Pending(v, s.local(n)) for n, v in zip(self.parameters, values, strict=True)}
                return [Frame(self.code, self.fn.__globals__, names, calls.closure(tr, self.fn))]

            return self.parameters, frames_of

        return start

    def _resumed(self, frames: list[Frame]) -> Callable[[], Any]:
        def start() -> Any:
            def frames_of(tr: Tracer) -> list[Frame]:
                tr.register(self.fn, tr.sources.const(self.fn))
                if frames[0].code is self.code:
                    calls.closure(tr, self.fn)
                return waiting.reached(tr, frames)

            return waiting.parameters(len(frames)), frames_of

        return start

    def _trace(self, segment: Segment, start: Callable[[], Any], values: tuple[Any, ...]) -> Entry:
        """A capture; with sizes as expressions where some change. What cannot be captured so has one for each size."""
        met: list[BaseException] = []  # by a capture of another kind, which this one should meet, too
        entry = self._found(segment, start, values, met)
        for error in met[:1]:
            mistakes.tell(error, f"'{self.fn.__qualname__}' is captured in another way")
        return entry

    def _found(self, segment: Segment, start: Callable[[], Any], values: tuple[Any, ...], met: list[BaseException]) -> Entry:  # fmt: skip
        if not _installed:
            library_calls.install()
            _installed.append(True)
        marked = _marked(values) or bool(settings.dynamic_sources())
        automatic = self.dynamic is None and config.automatic_dynamic_shapes
        if (
            marked
            or (self.dynamic is None and segment.symbolic and automatic)
            or (self.dynamic and config.dynamic_shapes)
        ):
            try:
                return self._attempt(segment, start, True)
            except (Break, UserError) as problem:
                if isinstance(problem.__cause__, ConstraintViolationError):
                    raise problem.__cause__ from None
                met += _error(problem)
                if dumps.wanted("breaks") or dumps.wanted("dynamic"):
                    dumps.say(f"# {self.fn.__qualname__} is captured for one size: {problem!r} {problem.__cause__!r}")
        if not self.computes:
            try:
                return self._attempt(segment, start, False, True)
            except (Wanted, UserError) as problem:
                met += _error(problem)
                self.computes = True
        return self._attempt(segment, start, False)

    def _attempt(self, segment: Segment, start: Callable[[], Any], symbolic: bool, remembers: bool = False) -> Entry:
        """`remembers`: what is known to lie somehow is not computed."""
        parameters, frames_of = start()
        places: list[Place] = []
        stopped: Break | None = None
        assumes: Any = True
        selects = tells = True
        while True:
            tr = Tracer(parameters, segment.changing, symbolic, symbolic and self.dynamic is True)
            tr.assumes, tr.selects, tr.tells = assumes, selects, tells
            tr.stop_at = places[0].at if places else -1
            if remembers:
                tr.recorder.geometry = Geometry(self.code, tr.recorder.hold)
                tr.recorder.geometry.load()
            _assume_state(tr)
            tr.casts = autocast.remember({})
            tr.recorder.start()
            try:
                frames = frames_of(tr)
                try:
                    return self._finish(tr, (frame.run_all(tr, frames),), [], None)
                except Stop as stop:
                    return self._finish(tr, None, places[0].reached(stop.frame), stopped)
            except Wanted:
                raise
            except Raises:
                if not tr.told:
                    raise UserError from None
                tells, stopped, places = False, None, []
            except Assumed:
                assumes, stopped, places = "gate" if assumes is True else "", None, []
            except Selected:
                selects, stopped, places = False, None, []
            except Break as b:
                if tr.told:
                    tells, stopped, places = False, None, []
                elif stopped is None:
                    stopped, places = b, [] if self.fullgraph else waiting.places(b)
                else:  # what waits there cannot be built again: the call as a whole
                    failed, places = places[0], places[1:]
                    what = f"the call of {failed.function}" if places else "the function"
                    stopped.note = f"; {what} runs eagerly: {b.reason}"
                if stopped is not None and not places:
                    raise stopped from b.__cause__
            except (KeyboardInterrupt, SystemExit, MemoryError, BackendCompilerFailed):
                raise
            except Exception as error:
                if not tr.told:
                    logs.raised(self.fn, error)
                    raise UserError from error
                tells, stopped, places = False, None, []
            finally:
                _stop(tr)
                tr.forget()

    def _finish(self, tr: Tracer, result: tuple[Any] | None, frames: list[Frame], stopped: Break | None) -> Entry:
        """The entry of a capture that came to its end (or to the break where it stops, with the frames that wait there)."""
        if any(g.unfinished for g in tr.generators):
            raise Break("a generator is left half way, in a try or a with")
        if any(line.startswith("warn_") for line in tr.said) and warned.kept(tr):
            raise Break("a warning that the function itself looks at")
        if tr.recorder.packing:
            raise Break("a block of hooks of saved tensors is left half way")
        if tr.assumed and (tr.recorder.mutated or tr.recorder.history_changed()):
            raise Assumed  # what the program writes could not be taken back
        replay = Replay(tr)
        failures = [f"bool({replay.expression(t)}) is not {value}" for t, value in tr.assumed]
        looked_at = list(replay.build)
        if result is not None:
            leave = f"return {replay.expression(result[0])}"
        else:
            leave = waiting.leave(tr, frames, replay)
            assert stopped is not None
            self.breaks.append(stopped.settle())
            logs.broken(self.fn, stopped)
            counters["graph_break"][stopped.reason] += 1
        replay.collect()
        chosen = tr.recorder.chosen
        if chosen and leaks(tr.recorder.lines, replay.outputs, chosen):
            raise Selected
        tr.apart()
        if tr.recorder.inside_leaf and replay.live:
            raise Break("a tensor made inside needs a gradient, and results have a history")
        live = replay.live or tr.recorder.history_changed()
        if live and tr.recorder.expects:
            raise Assumed  # a backward pass outside would be traced without it
        if live and tr.recorder.custom:
            raise Break(
                f"{tr.recorder.custom} is part of the history of a result", "call backward() in the same function"
            )
        _undo(tr)
        if tr.recorder.geometry is not None:
            tr.recorder.geometry.keep()
        program: Program | None = None
        inputs: list[str] | None = None
        counted: list[str] = []  # versions of what the program writes
        if not live:
            tr.recorder.lines = again.repeated(tr.recorder.lines)
        lent = {} if live or tr.symbols is not None else lendable(tr, replay, [leave, *replay.build, *replay.effects])
        made = Program(tr.recorder, replay.outputs, live, tuple(lent))
        if tr.symbols is not None:
            tr.symbols.closed = True
        if made.count or replay.outputs:
            program = made
            forced = stance()[1]
            backend = self.backend if forced is None else backends.find(forced)
            known = recalled.find(program) if backend is backends.native else None
            if known is not None:
                written = known[0]
            else:
                written = shared.written(program.module) if backend is backends.native or chosen else {}
            if written and _overlap(tr, program, written):
                if chosen:
                    raise Selected
                backend, written, known = backends.eager, {}, None
            with autocast.off():  # the casts are part of the graph
                program.compile(backend, [x for _, _, x in program.inputs], known and known[1])
            if backend is backends.native and known is None:
                recalled.note(program, written)
            count_graph(program.count)
            if getattr(program.run, "writes", False):
                counted = [f"{tr.guards.counter(program.inputs[i][0])}[0] += {n}" for i, n in written.items()]
            tr.guards.scope["program"] = program.call(bool(STATE.autocast))
            if failures:
                run, draws = tr.guards.scope["program"], tr.recorder.random
                tr.guards.scope["program"], tr.guards.scope["redraw"] = _perhaps(run, draws)
            elif getattr(program.run, "native", False) and hasattr(program.run, "arrays"):
                tr.guards.scope["program_arrays"] = program.run.arrays
            inputs = [tr.guards.ref(s) for s, _, _ in program.inputs]
        if tr.symbols is not None:
            tr.symbols.check_marks()
        if failures:
            tr.guards.scope["bool"] = bool
            wrong = tr.guards.constant(Failed("no error is raised for what the tensors hold"))
            left = f"redraw(); return {wrong}"
            counted = [f"if out is None: {left}", *looked_at, f"if {' or '.join(failures)}: {left}", *counted]
            replay.build = replay.build[len(looked_at) :]
        after = [*counted, *replay.build, *replay.effects, leave]
        asked = program is not None and may_refuse(program.lines)
        if asked:
            tr.guards.scope["REFUSED"] = REFUSED
            after = [f"if out is REFUSED: {'redraw(); ' if failures else ''}return REFUSED", *after]
        native: Any = getattr(program and program.run, "compiled", None)
        given = [n for n in native.plan.lent if n in lent] if native is not None else []
        if given:
            tr.guards.scope["lend"] = Lend([native.facts(n) for n in given])
        text, names = tr.guards.entry(
            inputs,
            "out = " if replay.outputs or asked else "",
            after,
            [lent[n] for n in given],
        )
        tr.guards.scope.update(names)
        run = build("entry", text, tr.guards.scope, kept=True)
        counters["frames"].update(total=1, ok=1)
        entry = Entry(run, text, tr, program, stopped)
        if native is not None and program is not None and program.atoms is None and not (live or failures or stopped):
            entry.made = tr, program
        return entry


def _never(code: types.CodeType) -> str:
    """Why a function cannot be captured at all, if so."""
    if sys.version_info[:2] not in bytecode.TABLES:
        why = f"the bytecode of Python {sys.version_info[0]}.{sys.version_info[1]} is not understood yet"
        if not _told:
            _told.append(why)
            warnings.warn(f"torch.compile: compiled functions run eagerly, as {why}", stacklevel=6)
        return why
    return "generators and coroutines run eagerly" if code.co_flags & (0x20 | 0x80 | 0x200) else ""


def _changed(entry: Entry, values: tuple[Any, ...]) -> tuple[set[str], bool]:
    """The numbers of an entry, and the sizes of its tensors, that are other ones now; and whether sizes, or what may be one, are among them."""
    found = dict(zip(entry.parameters, values, strict=True))
    out, sizes = set(), False
    for source, shape, dtype in entry.tensors:
        try:
            t = evaluate(source, found)
        except (LookupError, AttributeError, TypeError):
            continue
        if isinstance(t, Tensor) and t._a.dtype == dtype and t._a.ndim == len(shape):
            other = {
                f"{source.spoken()}.shape[{d}]"
                for d, (n, m) in enumerate(zip(shape, t._a.shape, strict=True))
                if n != m
            }
            out |= other
            sizes |= bool(other)
    for source, value in entry.numbers:
        try:
            now = evaluate(source, found)
        except (LookupError, AttributeError, TypeError):
            continue
        if type(now) is type(value) and now != value:
            out.add(source.spoken())
            sizes |= type(now) is int
    return out, sizes


def _marked(values: Any, depth: int = 3) -> bool:
    """Whether a tensor among the values was given to `mark_dynamic`."""
    if isinstance(values, Tensor):
        facts = vars(values)
        return bool(facts.get("_dynamo_dynamic_indices") or facts.get("_dynamo_weak_dynamic_indices"))
    if depth and type(values) in (tuple, list, dict):
        return any(_marked(v, depth - 1) for v in (values.values() if type(values) is dict else values))
    return False


def _overlap(tr: Tracer, program: Program, written: dict[int, int]) -> bool:
    """Whether an input that is written shares memory with another; that this stays so is assumed."""
    tensors = [(i, source, x._a) for i, (source, _, x) in enumerate(program.inputs) if isinstance(x, Tensor)]
    if len(tensors) < 2:
        return False
    into, others = [t for t in tensors if t[0] in written], [t for t in tensors if t[0] not in written]
    now = shared.overlapping([a for _, _, a in into], [a for _, _, a in others])
    tr.guards.overlap([source for _, source, _ in into], [source for _, source, _ in others], now)
    return now


_EAGER: Any = object()


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


class Assumed(BaseException):
    """Branches that raise cannot be left to be looked at when the program has run."""


class UserError(Exception):
    """The function itself raised."""


def _error(problem: BaseException) -> list[BaseException]:
    """What was raised in a capture, where it was that which ended it."""
    return [problem.__cause__] if isinstance(problem, UserError) and problem.__cause__ is not None else []


def _known_modes() -> bool:
    """Whether all modes that are on are such as captures know: their switches are assumed."""
    return all(m in ("inference", "autocast") for m in MODES)


def _stop(tr: Tracer) -> None:
    if STATE.recorder is tr.recorder:
        _undo(tr)


def _undo(tr: Tracer) -> None:
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


def _assume_state(tr: Tracer) -> None:
    """The switches that operators look at."""
    g = tr.guards
    g.scope.update(MODES=MODES, STATE=STATE, default_dtype=dtypes.get_default_dtype, default_device=default_device.get)
    g.check(f"STATE.grad is not {STATE.grad}", f"grad mode is {'on' if STATE.grad else 'off'}")
    if MODES:
        g.check(f"MODES != {list(MODES)!r}", "the modes that are on")
    else:
        g.check("MODES", "no mode is on")
    g.check(
        f"default_dtype() is not {g.constant(dtypes.get_default_dtype())}",
        f"the default dtype is {dtypes.get_default_dtype()}",
    )
    if MODES:
        g.check(f"STATE.autocast != {g.constant(STATE.autocast)}", f"autocast is {STATE.autocast or 'off'}")
    if STATE.anomaly or STATE.saved_hooks or STATE.function_modes or STATE.no_function or STATE.partial:
        raise Break("anomaly mode, hooks of saved tensors, or a function mode is on")
    g.check("STATE.anomaly or STATE.saved_hooks", "no anomaly mode, no hooks of saved tensors")
    if default_device.get().type != "cpu":
        raise Break("the default device is not the CPU")
    cpu = g.constant(CPU)  # as a rule it is this very object
    g.check(f'default_device() is not {cpu} and default_device().type != "cpu"', "the default device is the CPU")
