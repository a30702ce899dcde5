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
from flambeau._capture.control import BREAKS
from flambeau._capture.ending import Assumed, Entry, finish, undo
from flambeau._capture.frame import Frame, Pending, Stop
from flambeau._capture.geometry import Geometry, Wanted
from flambeau._capture.mistakes import Expected
from flambeau._capture.native import Native, step
from flambeau._capture.selected import Selected
from flambeau._capture.sources import evaluate
from flambeau._capture.stance import stance
from flambeau._capture.tracer import Tracer
from flambeau._capture.waiting import Partial, Place
from flambeau._dynamo import config
from flambeau._eager import autocast, large
from flambeau._eager.modes import MODES, STATE
from flambeau._ground import dumps
from flambeau._ground.source import shelf
from flambeau._tensor import Tensor
from flambeau._values import default_device, dtype as dtypes
from flambeau._values.device import CPU
from flambeau.fx.experimental.symbolic_shapes import ConstraintViolationError

_installed: list[bool] = []
_told: list[str] = []  # that nothing can be captured with this Python, once
_lock = threading.RLock()


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
            if self.fullgraph or b.refused:
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
                    return finish(self, tr, (frame.run_all(tr, frames),), [], None)
                except Stop as stop:
                    return finish(self, tr, None, places[0].reached(stop.frame), stopped)
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
                    b.meant, b.refused = waiting.chooses(b), self.fullgraph or BREAKS.errors
                    stopped, places = b, waiting.places(b) if b.meant or not b.refused else []
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


_EAGER: Any = object()


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
        undo(tr)


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
