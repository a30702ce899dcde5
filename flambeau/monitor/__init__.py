"""Events that a program reports, handlers that receive them, and statistics that become events."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

STAT_EVENT = "torch.monitor.Stat"

data_value_t = str | float | int | bool


class Aggregation(enum.Enum):
    """What a `Stat` keeps of its numbers: the last, their mean, how many, their sum, the largest, the smallest."""

    VALUE = 0
    MEAN = 2
    COUNT = 3
    SUM = 4
    MAX = 5
    MIN = 6

    def __int__(self) -> int:
        return self.value

    __index__ = __int__


VALUE, MEAN, COUNT = Aggregation.VALUE, Aggregation.MEAN, Aggregation.COUNT
SUM, MAX, MIN = Aggregation.SUM, Aggregation.MAX, Aggregation.MIN

_COMPUTE: dict[Aggregation, Callable[[list[float]], float]] = {
    VALUE: lambda x: x[-1], MEAN: lambda x: sum(x) / len(x), COUNT: lambda x: float(len(x)), SUM: sum, MAX: max, MIN: min,
}  # fmt: skip


class Event:
    """Something that happened: a name, a time, and data (strings and numbers by name)."""

    def __init__(self, name: str, timestamp: datetime, data: dict[str, data_value_t]) -> None:
        if not isinstance(name, str) or not isinstance(timestamp, datetime) or not isinstance(data, dict):
            raise TypeError("Event(name: str, timestamp: datetime.datetime, data: dict[str, str | float | int | bool])")
        for value in data.values():
            if not isinstance(value, (str, float, int)):
                raise TypeError(f"Event: data must be str, float, int or bool, but got {type(value).__name__}")
        self.name, self.timestamp, self.data = name, timestamp, dict(data)


class EventHandlerHandle:
    """What `register_event_handler` gives, and `unregister_event_handler` takes."""

    def __init__(self) -> None:
        raise TypeError("torch._C._monitor.EventHandlerHandle: No constructor defined!")


_handlers: dict[EventHandlerHandle, Callable[[Event], None]] = {}


def register_event_handler(callback: Callable[[Event], None]) -> EventHandlerHandle:
    """Calls a function with each event from now on.

    >>> from datetime import datetime
    >>> handle = register_event_handler(lambda event: print(event.name, event.data))
    >>> log_event(Event("epoch", datetime.now(), {"loss": 0.5}))
    epoch {'loss': 0.5}
    >>> unregister_event_handler(handle)
    """
    handle = object.__new__(EventHandlerHandle)
    _handlers[handle] = callback
    return handle


def unregister_event_handler(handler: EventHandlerHandle) -> None:
    """Calls it no longer."""
    _handlers.pop(handler, None)


def log_event(event: Event) -> None:
    """Gives an event to all handlers."""
    for handle, callback in list(_handlers.items()):
        if handle in _handlers:  # a handler may take others away
            callback(event)


class Stat:
    """Numbers, summed up over windows of time; the sum of each window is an event named `torch.monitor.Stat`.

    Args:
        name: before the names of its data
        aggregations: what is kept
        window_size: how long a window is
        max_samples: a window ends when it has so many numbers; further ones are dropped until its time is over
    """

    def __init__(self, name: str, aggregations: Any, window_size: timedelta, max_samples: int | None = None) -> None:
        self._name, self._kept = name, list(dict.fromkeys(aggregations))
        self._window, self._most = max(window_size.total_seconds(), 1e-3), max_samples
        self._lock = threading.RLock()
        self._values: list[float] = []
        self._closed = False  # this window has had all that it may have
        self._last = dict.fromkeys(self._kept, 0.0)
        self._at = self._now()

    def _now(self) -> int:
        return int(time.monotonic() / self._window)

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    @property
    def count(self) -> int:
        """How many numbers the current window has."""
        return len(self._values)

    def add(self, v: float) -> None:
        """Adds a number."""
        with self._lock:
            now = self._now()
            if now != self._at:
                self._at, self._closed = now, False
                self._log()
            if self._closed:
                return
            self._values.append(float(v))
            if self._most is not None and len(self._values) >= self._most:
                self._closed = True
                self._log()

    def get(self) -> dict[Aggregation, float]:
        """What was kept of the last window that ended."""
        with self._lock:
            return dict(self._last)

    def _log(self) -> None:
        if not self._values:
            return
        self._last = {kind: float(_COMPUTE[kind](self._values)) for kind in self._kept}
        self._values = []
        log_event(
            Event(STAT_EVENT, datetime.now(), {f"{self._name}.{k.name.lower()}": v for k, v in self._last.items()})
        )

    def __del__(self) -> None:
        if self.__dict__.get("_values"):
            self._log()


class _WaitCounterTracker:
    """One wait that is counted."""

    def __init__(self, counter: _WaitCounter) -> None:
        self._counter = counter

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._counter.count += 1
        self._counter.seconds += time.perf_counter() - self._start


class _WaitCounter:
    """How often, and how long, something was waited for: `with _WaitCounter("name").guard(): ...`."""

    def __init__(self, name: str) -> None:
        self.name, self.count, self.seconds = name, 0, 0.0

    def guard(self) -> _WaitCounterTracker:
        """The context that waits."""
        return _WaitCounterTracker(self)


class TensorboardEventHandler:
    """Writes the events of `Stat` to a `SummaryWriter`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __call__(self, event: Event) -> None:
        if event.name == STAT_EVENT:
            for tag, value in event.data.items():
                self._writer.add_scalar(tag, value, walltime=event.timestamp.timestamp())
