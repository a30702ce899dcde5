"""Memory in profiles: which call made the arrays that are there, and when they went."""

from __future__ import annotations

import time
import weakref
from typing import Any

import numpy as np

from flambeau._tensor import Tensor
from flambeau.autograd.profiler_util import FunctionEvent


class Ledger:
    """Notes the memory of results that is new, for the call that gave them; and of arrays that go, for the call that runs then.

    What a call makes and drops before it ends is not seen.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self.owned: dict[int, Any] = {}  # id of an array -> a weak reference that tells when it goes
        self.own: dict[int, int] = {}  # id of an event -> bytes
        self.open = True

    def took(self, event: FunctionEvent | None, result: Any, given: Any) -> None:
        """Note what of a result is new memory."""
        if event is None:
            return
        known = {id(a) for a in _owners(given)}
        for a in _owners(result):
            if id(a) not in known and id(a) not in self.owned and a.nbytes:
                self.own[event.id] = self.own.get(event.id, 0) + a.nbytes
                self.owned[id(a)] = weakref.ref(a, lambda _, i=id(a), n=a.nbytes: self._gone(i, n))  # type: ignore[misc]

    def _gone(self, key: int, nbytes: int) -> None:
        self.owned.pop(key, None)
        session = self.session
        if not self.open or not session.recording:
            return
        opened = session.local.open
        if opened:
            self.own[opened[-1].id] = self.own.get(opened[-1].id, 0) - nbytes
            return
        self.own[session.event("[memory]", time.perf_counter_ns() / 1000).id] = -nbytes

    def close(self) -> None:
        """No more; each event has the memory of those that it called."""
        self.open = False
        for e in reversed(self.session.events):
            e.cpu_memory_usage = self.own.get(e.id, 0) + sum(c.cpu_memory_usage for c in e.cpu_children)


def _owners(x: Any) -> Any:
    """The arrays that own the memory of tensors and arrays, in lists and tuples, too."""
    if isinstance(x, Tensor):
        x = x._a
    if isinstance(x, np.ndarray):
        while isinstance(x.base, np.ndarray):
            x = x.base
        yield x
    elif isinstance(x, (list, tuple)):
        for part in x:
            yield from _owners(part)
