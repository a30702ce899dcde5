"""A profile that follows a schedule of steps, and hands its traces on."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from flambeau.autograd import profiler as prof
from flambeau.autograd.profiler_util import EventList


class ProfilerActivity(Enum):
    """What is recorded. Here that is the CPU."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(Enum):
    """What happens in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3
    DEVICE_STOPPED = 4


def _default_schedule_fn(_: int) -> ProfilerAction:
    """Where there is no schedule, all steps are recorded."""
    return ProfilerAction.RECORD


def supported_activities() -> set[ProfilerActivity]:
    """What can be recorded on this machine."""
    return {ProfilerActivity.CPU}


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0) -> Callable[[int], ProfilerAction]:  # fmt: skip
    """After `skip_first` steps: `wait` steps without, `warmup` discarded, `active` recorded; `repeat` times over (0: always).

    >>> plan = schedule(wait=1, warmup=0, active=2, repeat=1)
    >>> [plan(i).name for i in range(4)]
    ['NONE', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if not (wait >= 0 and warmup >= 0 and active > 0 and repeat >= 0 and skip_first >= 0):
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} (need >= 0), active={active} (need > 0), "
            f"repeat={repeat} (need >= 0), skip_first={skip_first} (need >= 0)."
        )

    def schedule_fn(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait != 0:
            step += wait
        length = wait + warmup + active
        if repeat > 0 and step // length >= repeat:
            return ProfilerAction.NONE
        place = step % length
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if place < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return schedule_fn


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False, use_python_export: bool = False
) -> Callable[[Any], None]:
    """What writes each trace into a folder, under a name by which TensorBoard's plugin finds it."""

    def handle(p: Any) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        p.export_chrome_trace(
            os.path.join(dir_name, f"{worker}.{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else ""))
        )

    return handle


class _KinetoProfile:
    """One recording without a schedule."""

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None, record_shapes: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_flops: bool = False, with_modules: bool = False, experimental_config: Any = None,
                 execution_trace_observer: Any = None, acc_events: bool = False, custom_trace_id_callback: Any = None,
                 post_processing_timeout_s: float | None = None) -> None:  # fmt: skip
        self.activities = supported_activities() if activities is None else set(activities)
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        self.execution_trace_observer, self.custom_trace_id_callback = (
            execution_trace_observer,
            custom_trace_id_callback,
        )
        self.record_shapes, self.profile_memory, self.with_stack = record_shapes, profile_memory, with_stack
        self.with_flops, self.with_modules, self.acc_events = with_flops, with_modules, acc_events
        self.profiler: prof.profile | None = None
        self.preset_metadata: dict[str, str] = {}
        self._metadata: dict[str, Any] = {}

    def start(self) -> None:
        """Begin to record."""
        self.prepare_trace()
        self.start_trace()

    def stop(self) -> None:
        """End it."""
        self.stop_trace()

    def prepare_trace(self) -> None:
        """Get ready."""
        if self.profiler is None or self.profiler.function_events is not None:
            self.profiler = prof.profile(record_shapes=self.record_shapes, with_stack=self.with_stack, profile_memory=self.profile_memory,
                                         with_flops=self.with_flops, custom_trace_id_callback=self.custom_trace_id_callback)  # fmt: skip

    def start_trace(self) -> None:
        """Record."""
        if self.profiler is None:
            raise AssertionError("Profiler must be initialized before starting trace")
        if self.execution_trace_observer is not None:
            self.execution_trace_observer.start()
        self.profiler.__enter__()
        self._metadata.update(self.preset_metadata)

    def stop_trace(self) -> None:
        """Stop recording."""
        if self.profiler is None:
            raise AssertionError("Profiler must be initialized before stopping trace")
        self.profiler.__exit__(None, None, None)
        if self.execution_trace_observer is not None:
            self.execution_trace_observer.stop()

    def set_custom_trace_id_callback(self, callback: Callable[[], str]) -> None:
        """What names the recordings from the next on."""
        self.custom_trace_id_callback = callback

    def get_trace_id(self) -> str | None:
        """The name of the present recording."""
        return None if self.profiler is None else self.profiler.trace_id

    def _finished(self, what: str) -> Any:
        if self.profiler is None:
            raise AssertionError(f"Profiler must be initialized before {what}")
        return self.profiler

    def export_chrome_trace(self, path: str, use_python_export: bool = False) -> None:
        """Write a trace that Perfetto and chrome://tracing open; gzipped where the name ends in .gz."""
        self._finished("exporting chrome trace")._events().export_chrome_trace(path, self._metadata)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write stacks with their times, as flame graph programs read them."""
        self._finished("exporting stacks").export_stacks(path, metric)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """Times by name (and shapes; and place in the program)."""
        found: EventList = self._finished("getting key averages").key_averages(group_by_input_shape, group_by_stack_n)
        return found

    def events(self) -> EventList:
        """Every call."""
        found: EventList = self._finished("accessing events")._events()
        return found

    def add_metadata(self, key: str, value: str) -> None:
        """Put a text into the trace."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Put a value, given as JSON, into the trace."""
        self._metadata[key] = json.loads(value)

    def preset_metadata_json(self, key: str, value: str) -> None:
        """The same, for every trace from the next on."""
        self.preset_metadata[key] = json.loads(value)

    def toggle_collection_dynamic(self, enable: bool, activities: Iterable[ProfilerActivity]) -> None:
        """Pause, or go on."""
        self._finished("toggling collection").toggle_collection_dynamic(enable, activities)

    def export_memory_timeline(self, path: str, device: str | None = None) -> None:
        """Not here: what memory was for is not recorded."""
        raise NotImplementedError("torch.profiler.profile.export_memory_timeline")


class profile(_KinetoProfile):
    """Records what runs inside; with a `schedule`, some steps of a loop that calls `step()`.

    Args:
        activities: what to record; only the CPU is there.
        schedule: step number -> action, see `schedule`.
        on_trace_ready: called with the profile after each recording.
        record_shapes, with_stack: whether events know shapes, and lines of the program.
        profile_memory: whether they know the memory that their results took, and gave back.
        execution_trace_observer: also writes what was called with what, see `ExecutionTraceObserver`.

    >>> import flambeau as torch
    >>> with profile() as p:
    ...     y = torch.ones(2) + 1
    >>> [e.key for e in p.key_averages()]
    ['aten::ones', 'aten::add']
    """

    def __init__(self, *, activities: Iterable[ProfilerActivity] | None = None, schedule: Callable[[int], ProfilerAction] | None = None,
                 on_trace_ready: Callable[..., Any] | None = None, record_shapes: bool = False, profile_memory: bool = False,
                 with_stack: bool = False, with_flops: bool = False, with_modules: bool = False, experimental_config: Any = None,
                 execution_trace_observer: Any = None, acc_events: bool = False, use_cuda: bool | None = None,
                 custom_trace_id_callback: Any = None, post_processing_timeout_s: float | None = None) -> None:  # fmt: skip
        super().__init__(
            activities=activities, record_shapes=record_shapes, profile_memory=profile_memory, with_stack=with_stack, with_flops=with_flops,
            with_modules=with_modules, execution_trace_observer=execution_trace_observer, acc_events=acc_events,
            custom_trace_id_callback=custom_trace_id_callback,
        )  # fmt: skip
        self.schedule = schedule or _default_schedule_fn
        self.record_steps = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.step_num = 0
        self.current_action = self.schedule(0)
        self.step_rec_fn: Any = None

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()

    def _records(self, action: ProfilerAction | None) -> bool:
        return action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def _mark(self) -> None:
        if self.record_steps:
            self.step_rec_fn = prof.record_function(f"ProfilerStep#{self.step_num}")
            self.step_rec_fn.__enter__()

    def _unmark(self) -> None:
        if self.step_rec_fn is not None:
            self.step_rec_fn.__exit__(None, None, None)
            self.step_rec_fn = None

    def start(self) -> None:
        """Begin the first step."""
        if self._records(self.current_action):
            self.prepare_trace()
            self.start_trace()
        self._mark()

    def stop(self) -> None:
        """End the last step; a recording that was under way is handed on."""
        self._unmark()
        if self._records(self.current_action):
            self.stop_trace()
            self._ready()

    def step(self) -> None:
        """Tell that a step has ended and the next begins."""
        self._unmark()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        after = self.current_action
        if before is ProfilerAction.RECORD_AND_SAVE or (self._records(before) and not self._records(after)):
            self.stop_trace()
            self._ready()
        if self._records(after) and (before is ProfilerAction.RECORD_AND_SAVE or not self._records(before)):
            self.prepare_trace()
            self.start_trace()
        self._mark()

    def _ready(self) -> None:
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)
