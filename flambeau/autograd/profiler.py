"""Records which operators run and for how long.

While a profile runs, every call goes through the general lane, whose first hook notes its start and end; calls within calls nest.
The backward engine notes its nodes, optimizers and data loaders their steps. When none runs, nothing is asked.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import sys
import threading
import time
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau import overrides
from flambeau._backends.cpu.arrays import K
from flambeau._eager import call, create, fused, graph, modes, traced
from flambeau._operators.op import Op
from flambeau._tensor import Tensor
from flambeau._torch_dispatch import dispatched
from flambeau.autograd import profiler_flops
from flambeau.autograd.profiler_memory import Ledger
from flambeau.autograd.profiler_util import EventList, FunctionEvent, FunctionEventAvg

__all__ = [
    "EnforceUnique", "EventList", "FunctionEvent", "FunctionEventAvg", "KinetoStepTracker", "MemRecordsAcc", "emit_itt", "emit_nvtx",
    "load_nvprof", "profile", "record_function",
]  # fmt: skip

FUNCTION, BACKWARD, USER = 0, 1, 7  # scopes, by PyTorch's numbers


class _Thread(threading.local):
    """What runs in one thread, innermost last; the thread's number; and the operator whose call was just noted."""

    def __init__(self) -> None:
        self.number = 0
        self.open: list[FunctionEvent] = []
        self.noted: Any = None


class Session:
    """The events of one recording."""

    def __init__(
        self, record_shapes: bool, with_stack: bool, profile_memory: bool = False, with_flops: bool = False
    ) -> None:
        self.shapes, self.stacks, self.flops = record_shapes, with_stack, with_flops
        self.memory = Ledger(self) if profile_memory else None
        self.events: list[FunctionEvent] = []
        self.numbers, self.thread_numbers = itertools.count(1), itertools.count(1)
        self.local = _Thread()
        self.recording = True

    def event(self, name: str, at: float = 0.0, **facts: Any) -> FunctionEvent:
        """A new event of this thread."""
        local = self.local
        local.number = local.number or next(self.thread_numbers)
        made = FunctionEvent(next(self.numbers), name, local.number, at, at, **facts)
        self.events.append(made)
        return made

    def begin(self, name: str, values: Any = (), scope: int = FUNCTION, sequence: int = -1) -> FunctionEvent | None:
        if not self.recording:
            return None
        event = self.event(name, scope=scope, sequence_nr=sequence, is_user_annotation=scope == USER)
        if self.shapes and scope != USER:
            event.input_shapes = [_shape(v) for v in values]
        if self.flops:
            event.flops = profiler_flops.count(name, values)
        if self.stacks:
            event.stack = _stack()
        if self.local.open:
            self.local.open[-1].append_cpu_child(event)
        self.local.open.append(event)
        event.time_range.start = time.perf_counter_ns() / 1000
        return event

    def end(self, event: FunctionEvent | None) -> None:
        if event is None:
            return
        event.time_range.end = time.perf_counter_ns() / 1000
        opened = self.local.open
        while opened and opened.pop() is not event:
            pass

    def _ran(self, event: FunctionEvent | None, run: Callable[[], Any], values: Any) -> Any:
        """What a call gives; its event has the memory of that, and ends."""
        try:
            result = run()
            if self.memory is not None:
                self.memory.took(event, result, values)
            return result
        finally:
            self.end(event)

    # ---- hooks ----

    def called(self, op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
        """Asked by the general lane before it runs an operator."""
        name = op.event_name or op.aten + "_" * (into and not op.aten.endswith("_"))
        return self.note(op, name, values, lambda: self._within(op, values, lambda: _run(op, values, out, into)))

    def _within(self, op: Op, values: tuple[Any, ...], run: Callable[[], Any]) -> Any:
        """One operator here that is two in PyTorch, the inner one of which does the work."""
        if op.inside is None or overrides.has_torch_function([v for v in values if isinstance(v, Tensor)]):
            return run()
        event = self.begin(f"aten::{op.inside(*values)}", values)
        return self._ran(event, run, values)

    def created(self, op: Op, values: tuple[Any, ...], out: Any, extra: dict[str, Any]) -> Any:
        """Asked before a tensor is made from sizes."""
        rest = (extra[n] for n in ("layout", "device", "pin_memory", "requires_grad"))
        return self.note(op, op.aten, values, lambda: create.create(op, values, out, *rest))

    def note(self, op: Op, name: str, values: tuple[Any, ...], run: Callable[[], Any]) -> Any:
        """Run a call between its start and end; running it asks again, which is left unanswered."""
        local = self.local
        if local.noted is op or not self.recording:
            local.noted = None
            return NotImplemented
        event = self.begin(f"aten::{name}", values)
        local.noted = op
        try:
            return self._ran(event, run, values)
        finally:
            local.noted = None

    def node(self, node: Any, g: Any, run: Any) -> Any:
        """One node of a backward pass."""
        name = node.name() if hasattr(node, "name") else type(node).__name__
        sequence, given = node.seq, g if isinstance(g, (list, tuple)) else (g,)
        if node.leaf:
            sequence = -1
        outer = self.begin(f"autograd::engine::evaluate_function: {name}", scope=FUNCTION, sequence=sequence)
        # A leaf's gradient is one of those that wait; it must not be held here, or it would be copied.
        inner = self.begin(name, (g[node],) if node.leaf else given, BACKWARD, sequence)
        try:
            result = run(g)
            if self.memory is not None:
                new = node.ref()._grad if node.leaf else result
                self.memory.took(inner, new, given)
            return result
        finally:
            self.end(inner)
            self.end(outer)

    def word(self, name: str, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One word of the kernel language: noted directly within a backward node, where no operator is called."""
        opened = self.local.open
        if not opened or opened[-1].scope != BACKWARD:
            return run(*args, **kwargs)
        what = args[0] if name == "library" else name
        if what in _UNSEEN:
            return run(*args, **kwargs)
        event = self.begin(f"aten::{_AS_OPERATORS.get(what, what)}", args)
        return self._ran(event, lambda: run(*args, **kwargs), args)

    def stepped(self, step: Any, lists: Any, numbers: Any) -> bool:
        """Asked before an optimizer steps over lists of parameters."""
        if self.local.noted is step or not self.recording:
            self.local.noted = None
            return False
        event = self.begin(f"aten::{step.name}", lists)
        self.local.noted = step
        try:
            step.run(lists, numbers)
        finally:
            self.local.noted = None
            self.end(event)
        return True

    def start(self) -> None:
        overrides.EXTRA.insert(0, self.called)
        create.HOOKS.insert(0, self.created)
        graph.WATCHERS.append(self.node)
        fused.WATCHERS.append(self.stepped)
        _LISTENERS.append(self)
        K.__class__ = _Heard
        modes.enter("profile")

    def stop(self) -> None:
        modes.leave("profile")
        overrides.EXTRA.remove(self.called)
        create.HOOKS.remove(self.created)
        graph.WATCHERS.remove(self.node)
        fused.WATCHERS.remove(self.stepped)
        _LISTENERS.remove(self)
        if not _LISTENERS:
            K.__class__ = _Heard.__base__
        now = time.perf_counter_ns() / 1000
        for e in self.events:  # still running
            if e.time_range.end == 0.0:
                e.time_range.end = now
        if self.memory is not None:
            self.memory.close()


# Words of the kernel language that operators are called otherwise, and those that cost nothing.
_AS_OPERATORS = {
    "product": "mm",
    "take": "index_select",
    "iota": "arange",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
}
_UNSEEN = frozenset(
    ("reshape", "permute", "expand", "slice", "flip", "windows", "cast", "like", "full", "real", "imag", "ones")
)
_LISTENERS: list[Session] = []


class _Heard(type(K)):  # type: ignore[misc]
    """The array reading of operators' bodies while a profile runs: its words are told to the session."""

    def __getattribute__(self, word: str) -> Any:
        found = super().__getattribute__(word)
        if word.startswith("_") or word == "xp" or not callable(found):
            return found
        return lambda *args, **kwargs: (
            _LISTENERS[-1].word(word, found, args, kwargs) if _LISTENERS else found(*args, **kwargs)
        )


def _run(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """The call as it would run without a profile: a large composite as one kernel."""
    alone = all(mode == "profile" for mode in modes.MODES)
    if op.kind == "composite" and op.native and alone and out is None and not into and call.is_plain(op, values):
        made = traced.composite(op, values)
        if made is not None:
            return made
    return call.general(op, values, out, into)


SESSIONS: list[Session] = []


def kineto_available() -> bool:
    """Whether traces can be recorded: they always can."""
    return True


def _profiler_enabled() -> bool:
    """Whether a profile is being recorded."""
    return bool(SESSIONS)


flambeau.autograd._profiler_enabled = _profiler_enabled


def _shape(v: Any) -> list[Any]:
    if isinstance(v, Tensor):
        return list(v.shape)
    if isinstance(v, (list, tuple)) and v and isinstance(v[0], Tensor):
        return [list(t.shape) for t in v]
    shape = getattr(v, "shape", None)
    return list(shape) if isinstance(shape, tuple) else []


def _stack() -> list[str]:
    """Lines of the program itself, innermost first."""
    lines, frame = [], sys._getframe(2)
    here = flambeau.__path__[0]
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith((here, "<")):
            lines.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return lines


class record_function:
    """A name for what runs inside, in profiles; a context or a decorator.

    >>> import flambeau as torch
    >>> with torch.autograd.profiler.profile() as p:
    ...     with record_function("double"):
    ...         y = torch.ones(2) * 2
    >>> [e.name for e in p.function_events]
    ['double', 'aten::ones', 'aten::mul']
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self.run_callbacks_on_exit = True
        self._open: list[tuple[Session, Any]] = []
        self._seen: Any = None  # the range that a dispatch mode gave

    def __enter__(self) -> record_function:
        if modes.STATE.dispatch_modes:  # which see where ranges begin and end, as they see operators
            given = (self.name,) if self.args is None else (self.name, self.args)
            self._seen = dispatched(flambeau.ops.profiler._record_function_enter_new.default, given)
            return self
        return self.begin()

    def __exit__(self, *error: Any) -> None:
        if self._seen is not None:
            record, self._seen = self._seen, None
            dispatched(flambeau.ops.profiler._record_function_exit._RecordFunction, (record,))
        else:
            self.end()

    def begin(self) -> record_function:
        """Begin the range in every profile that is being made."""
        self._open = [(s, s.begin(self.name, scope=USER)) for s in SESSIONS]
        return self

    def end(self) -> None:
        """End it."""
        for session, event in reversed(self._open):
            session.end(event)
        self._open = []

    def __call__(self, fn: Any) -> Any:
        @functools.wraps(fn)
        def named(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.name, self.args):
                return fn(*args, **kwargs)

        return named


class profile:
    """Records operators while it is entered; afterwards `function_events`, `table()`, `key_averages()`, `export_chrome_trace()`."""

    def __init__(self, enabled: bool = True, *, use_cuda: bool = False, use_device: str | None = None, record_shapes: bool = False,
                 with_flops: bool = False, profile_memory: bool = False, with_stack: bool = False, with_modules: bool = False,
                 use_kineto: bool = False, use_cpu: bool = True, experimental_config: Any = None, acc_events: bool = False,
                 custom_trace_id_callback: Any = None, post_processing_timeout_s: float | None = None,
                 activity_filters: Any = None) -> None:  # fmt: skip
        self.enabled, self.record_shapes, self.with_stack = enabled, record_shapes or with_flops, with_stack
        self.profile_memory, self.custom_trace_id_callback = profile_memory, custom_trace_id_callback
        self.with_flops = with_flops
        self.trace_id: str | None = None
        self.function_events: EventList | None = None
        self.entered = False
        self._session: Session | None = None

    def __enter__(self) -> profile | None:
        if not self.enabled:
            return None
        if self.entered:
            raise RuntimeError("Profiler context manager is not reentrant")
        self.entered = True
        given = self.custom_trace_id_callback
        self.trace_id = uuid.uuid4().hex.upper() if given is None else given()
        self._session = Session(self.record_shapes, self.with_stack, self.profile_memory, self.with_flops)
        self._session.start()
        SESSIONS.append(self._session)
        return self

    def __exit__(self, *error: Any) -> None:
        if not self.enabled or self._session is None:
            return
        SESSIONS.remove(self._session)
        self._session.stop()
        self.function_events = EventList(
            self._session.events,
            self.record_shapes,
            self.with_stack,
            profile_memory=self.profile_memory,
            with_flops=self.with_flops,
        )

    def _events(self) -> EventList:
        if self.function_events is None:
            raise RuntimeError("Profiler didn't finish running")
        return self.function_events

    def __repr__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self.function_events is None else repr(self.function_events)

    def __str__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self.function_events is None else str(self.function_events)

    def table(self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75, max_name_column_width: int = 55,
              max_shapes_column_width: int = 80, header: str | None = None, top_level_events_only: bool = False,
              time_unit: str | None = None) -> str:  # fmt: skip
        """See `EventList.table`."""
        return self._events().table(sort_by, row_limit, max_src_column_width, max_name_column_width, max_shapes_column_width, header,
                                    top_level_events_only, time_unit)  # fmt: skip

    def export_chrome_trace(self, path: str) -> None:
        """See `EventList.export_chrome_trace`."""
        self._events().export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """See `EventList.export_stacks`."""
        if not self.with_stack:
            raise AssertionError("export_stacks() requires with_stack=True")
        self._events().export_stacks(path, metric)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """See `EventList.key_averages`."""
        return self._events().key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def total_average(self) -> FunctionEventAvg:
        """See `EventList.total_average`."""
        return self._events().total_average()

    def toggle_collection_dynamic(self, enabled: bool, activities: Any) -> None:
        """Pause, or go on."""
        if self._session is not None:
            self._session.recording = enabled

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events, in microseconds."""
        return self._events().self_cpu_time_total


class EnforceUnique:
    """Refuses what it has seen."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def see(self, *key: Any) -> None:
        """Raises the second time."""
        if key in self.seen:
            raise RuntimeError(f"duplicate key: {key}")
        self.seen.add(key)


class KinetoStepTracker:
    """How many steps a program has made, as the one that counts furthest among those who count says."""

    _current_step = 0
    _step_dict: defaultdict[str, int] = defaultdict(int)

    @classmethod
    def init_step_count(cls, requester: str) -> None:
        """Somebody counts from here on."""
        cls._step_dict[requester] = cls._current_step

    @classmethod
    def erase_step_count(cls, requester: str) -> bool:
        """Somebody counts no longer; whether they did."""
        return cls._step_dict.pop(requester, None) is not None

    @classmethod
    def increment_step(cls, requester: str) -> int:
        """Somebody has made a step; the number of steps now."""
        if requester not in cls._step_dict:
            cls.init_step_count(requester)
        cls._step_dict[requester] += 1
        most = max(cls._step_dict.values())
        if most > cls._current_step + 1:
            warnings.warn(
                f"Profiler step count has increased more than 1 - current_step = {cls._current_step} step dict =  {cls._step_dict}",
                stacklevel=2,
            )
        cls._current_step = max(most, cls._current_step)
        return cls._current_step

    @classmethod
    def current_step(cls) -> int:
        """The number of steps now."""
        return cls._current_step


class MemRecordsAcc:
    """Records of memory, found by time."""

    def __init__(self, mem_records: Any) -> None:
        self._records = sorted(mem_records, key=lambda r: r[0].start_ns())
        self._starts = [r[0].start_ns() for r in self._records]

    def in_interval(self, start_ns: int, end_ns: int) -> Any:
        """Those between two times."""
        yield from self._records[bisect.bisect_left(self._starts, start_ns) : bisect.bisect_right(self._starts, end_ns)]


def load_nvprof(path: str) -> EventList:
    """The annotated calls in a file of nvprof's, with the kernels that they started."""
    from flambeau.autograd.nvprof import read

    return EventList(read(path))


def _needs_cuda(name: str) -> Any:
    class Emit:
        def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
            self.enabled = enabled

        def __enter__(self) -> None:
            if not self.enabled:
                return None
            raise RuntimeError("NVTX functions not installed. Are you sure you have a CUDA build?" if name == "emit_nvtx"
                               else "ITT functions not installed. Are you sure you have an ITT build?")  # fmt: skip

        def __exit__(self, *error: Any) -> None:
            return None

    Emit.__name__ = Emit.__qualname__ = name
    Emit.__doc__ = "Marks for another profiler: there is none without its libraries."
    return Emit


emit_nvtx, emit_itt = _needs_cuda("emit_nvtx"), _needs_cuda("emit_itt")
