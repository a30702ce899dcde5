"""Process groups: the collectives of a set of ranks, over a `Transport`.

Ranks exchange parts directly: to reduce, rank r gets every rank's r-th part and adds them up in the order of ranks, so that all ranks get the same
bits, and the same in every run. Collectives of one group run in the order in which they were called, on a thread of the group where something still
runs or `async_op` asks for it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from flambeau._eager.graph import bump
from flambeau._tensor import Tensor
from flambeau.distributed._errors import DistBackendError
from flambeau.distributed._reduce_op import ReduceOp, combine
from flambeau.distributed._transport import Transport
from flambeau.futures import Future

Array = Any


class Work:
    """An operation between ranks that goes on: `wait` for its end."""

    def __init__(self, result: Any = None) -> None:
        self._result, self._error = result, None  # type: ignore[var-annotated]
        self._ended = threading.Event()
        self._future: Any = None
        self._lock = threading.Lock()

    def _finish(self, error: BaseException | None = None) -> None:
        with self._lock:
            self._error = error
            self._ended.set()
            future = self._future
        if future is None:
            return
        if future._inner._done_callbacks:
            # Callbacks may wait for further collectives (communication hooks do), for which this thread is needed.
            threading.Thread(target=self._settle, args=(future,), name="flambeau-callbacks", daemon=True).start()
        else:
            self._settle(future)

    def _settle(self, future: Any) -> None:
        if self._error is not None:
            future.set_exception(self._error)
        else:
            future.set_result(self.result())

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Wait for the end; raises what went wrong."""
        if not self._ended.wait(timeout.total_seconds() if timeout else None):
            raise DistBackendError(f"Operation timed out after {timeout}")
        if self._error is not None:
            raise self._error
        return True

    synchronize = wait

    def is_completed(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def is_success(self) -> bool:
        """Whether it has ended well."""
        return self._ended.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """What went wrong."""
        return self._error

    def result(self) -> list[Any]:
        """The tensors that it filled."""
        return list(self._result) if isinstance(self._result, (list, tuple)) else [] if self._result is None else [self._result]  # fmt: skip

    def source_rank(self) -> int:
        """Whom a message came from."""
        raise RuntimeError("sourceRank() may only be called on work objects that correspond to a recv or recv-from-any call.")  # fmt: skip

    def get_future(self) -> Any:
        """A future of the tensors."""
        with self._lock:
            if self._future is None:
                self._future = Future()
                ended = self._ended.is_set()
            else:
                ended = False
            future = self._future
        if ended:
            self._settle(future)
        return future

    def block_current_stream(self) -> None:
        """Wait: there are no streams here."""
        self.wait()


class _Receipt(Work):
    """A message that is waited for: taken from the mailbox by whoever asks first."""

    def __init__(self, group: ProcessGroup, tensor: Tensor, peers: list[int], tag: int) -> None:
        super().__init__([tensor])
        self._group, self._tensor, self._from = group, tensor, -1
        self._peers, self._channel = [group.ranks[p] for p in peers], group.channel(tag)
        self._taking = threading.Lock()

    def _take(self, seconds: float) -> None:
        with self._taking:
            if self._ended.is_set():
                return
            try:
                peer, data = self._group.transport.receive(self._peers, self._channel, seconds)
                self._from = self._group.ranks.index(peer)
                fill(self._tensor, data)
            except BaseException as error:
                self._finish(error)
            else:
                self._finish()

    def wait(self, timeout: timedelta | None = None) -> bool:
        self._take((timeout or self._group.timeout).total_seconds())
        return super().wait()

    def is_completed(self) -> bool:
        if not self._ended.is_set() and self._group.transport.ready(self._channel, self._peers):
            self._take(1.0)
        return self._ended.is_set()

    def source_rank(self) -> int:
        return self._from

    def get_future(self) -> Any:
        threading.Thread(target=self._take, args=(self._group.timeout.total_seconds(),), daemon=True).start()
        return super().get_future()


def array_of(t: Tensor) -> Array:
    """A tensor's elements, in order; a copy where they do not lie so."""
    return np.ascontiguousarray(t._a)


def bytes_of(a: Array) -> Any:
    """An array's bytes, in order."""
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8).data


def arrays_of(parts: Sequence[Any], dtype: Any) -> list[Array]:
    """Received bytes as arrays."""
    return [np.frombuffer(p, dtype) for p in parts]


def fill(t: Tensor, data: Any) -> None:
    """Put received bytes into a tensor."""
    if len(data) != t._a.nbytes:
        raise DistBackendError(f"{len(data)} bytes came for a tensor of {t._a.nbytes} bytes: ranks do not agree on sizes")  # fmt: skip
    store(t, np.frombuffer(data, t._a.dtype))


def store(t: Tensor, values: Array) -> None:
    """Put elements into a tensor."""
    np.copyto(t._a, values.reshape(t._a.shape), casting="no")
    bump(t)


class ProcessGroup:
    """Ranks that work together: `rank` and `size` in the group, `ranks` as the whole program counts them."""

    BackendType = type("BackendType", (), {"UNDEFINED": 0, "GLOO": 1, "NCCL": 2, "UCC": 3, "MPI": 4, "CUSTOM": 6})

    def __init__(self, transport: Transport, number: int, ranks: Sequence[int], timeout: timedelta, name: str, backend: str, description: str = "") -> None:  # fmt: skip
        self.transport, self.number, self.ranks, self.timeout = transport, number, list(ranks), timeout
        self._rank = self.ranks.index(transport.rank) if transport.rank in self.ranks else -1
        self.name_, self.backend_, self.description_ = name, backend, description
        self._turn = 0  # collectives are counted: messages of one are never taken for those of another
        self._lock = threading.RLock()
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pending = 0
        self._thread: threading.Thread | None = None

    # ---- who ----

    def rank(self) -> int:
        """This process's rank in the group; -1 if it is not in it."""
        return self._rank

    def size(self) -> int:
        """How many ranks there are."""
        return len(self.ranks)

    def name(self) -> str:
        """The backend's name."""
        return self.backend_

    @property
    def group_name(self) -> str:
        """The group's name."""
        return self.name_

    @property
    def group_desc(self) -> str:
        """What the group is for."""
        return self.description_ or "undefined"

    def __repr__(self) -> str:
        return f"<torch.distributed.distributed_c10d.ProcessGroup {self.name_} rank {self._rank} of {len(self.ranks)}>"

    def channel(self, tag: int) -> tuple[int, int]:
        """Where messages of this group with a tag go."""
        return self.number, tag

    # ---- running ----

    def run(self, step: Callable[[int], Any], result: Any, background: bool) -> Work:
        """Do a collective: `step` gets its number. In the background, or here if nothing goes on before it."""
        work = Work(result)
        with self._lock:
            self._turn += 1
            turn = self._turn
            if background or self._pending:
                self._pending += 1
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._serve, name=f"flambeau-group-{self.number}", daemon=True)  # fmt: skip
                    self._thread.start()
                self._tasks.put((step, turn, work))
                return work
            self._do(step, turn, work)
        return work

    def _serve(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            self._do(*task)
            with self._lock:
                self._pending -= 1

    def _do(self, step: Callable[[int], Any], turn: int, work: Work) -> None:
        try:
            step(turn)
        except BaseException as error:
            if not isinstance(error, DistBackendError) or self.number not in self.transport.broken:
                self.transport.abort(self.number, self.ranks, str(error) or type(error).__name__)
            work._finish(error)
        else:
            work._finish()

    def shutdown(self) -> None:
        """Stop the group's thread, when it has done what it was given."""
        if self._thread is not None:
            self._tasks.put(None)
            if self._thread is not threading.current_thread():
                self._thread.join()

    # ---- messages within a collective ----

    def put(self, to: int, turn: int, data: Any) -> None:
        """Give a rank bytes."""
        self.transport.send(self.ranks[to], (self.number, -turn), data)

    def get(self, source: int, turn: int, timeout: timedelta | None = None) -> bytearray:
        """What a rank gave."""
        seconds = (timeout or self.timeout).total_seconds()
        return self.transport.receive([self.ranks[source]], (self.number, -turn), seconds)[1]

    def _others(self) -> list[int]:
        """The other ranks, from the next one on: not all begin with the same."""
        n = len(self.ranks)
        return [(self._rank + i) % n for i in range(1, n)]

    def exchange(self, turn: int, outgoing: Sequence[Any]) -> list[Any]:
        """Give each rank its bytes; what each gave to this one."""
        for to in self._others():
            self.put(to, turn, outgoing[to])
        return [outgoing[r] if r == self._rank else self.get(r, turn) for r in range(len(self.ranks))]

    # ---- collectives over arrays ----

    def broadcast_bytes(self, turn: int, data: Any, root: int) -> Any:
        """The root's bytes, along a tree."""
        n = len(self.ranks)
        me = (self._rank - root) % n
        mask = 1
        while mask < n:
            if me & mask:
                data = self.get((me - mask + root) % n, turn)
                break
            mask <<= 1
        mask >>= 1
        while mask:
            if me + mask < n:
                self.put((me + mask + root) % n, turn, data)
            mask >>= 1
        return data

    def reduced(self, turn: int, a: Array, op: ReduceOp) -> Array:
        """All ranks' arrays combined, on all ranks."""
        n, flat = len(self.ranks), a.reshape(-1)
        if n == 1:
            return combine([flat], op).reshape(a.shape)
        if flat.nbytes <= 16384:  # everyone gets everything
            return combine(arrays_of(self.gathered(turn, bytes_of(flat)), a.dtype), op).reshape(a.shape)
        cuts = [len(flat) * r // n for r in range(n + 1)]
        mine = self.scatter_reduced(turn, [flat[cuts[r] : cuts[r + 1]] for r in range(n)], op)
        return np.concatenate(arrays_of(self.gathered(turn, bytes_of(mine)), a.dtype)).reshape(a.shape)

    def gathered(self, turn: int, data: Any) -> list[Any]:
        """Every rank's bytes, on all ranks."""
        return self.exchange(turn, [data] * len(self.ranks))

    def gathered_to(self, turn: int, data: Any, root: int) -> list[Any] | None:
        """Every rank's bytes, on the root."""
        if self._rank != root:
            self.put(root, turn, data)
            return None
        return [data if r == root else self.get(r, turn) for r in range(len(self.ranks))]

    def scattered(self, turn: int, parts: Sequence[Any] | None, root: int) -> Any:
        """The root's bytes for this rank."""
        if self._rank != root:
            return self.get(root, turn)
        assert parts is not None
        for to in self._others():
            self.put(to, turn, parts[to])
        return parts[root]

    def scatter_reduced(self, turn: int, parts: Sequence[Array], op: ReduceOp) -> Array:
        """This rank's part of all ranks' arrays, combined."""
        got = self.exchange(turn, [bytes_of(p) for p in parts])
        mine = parts[self._rank]
        return combine(arrays_of(got, mine.dtype), op).reshape(mine.shape)


ProcessGroup.__module__ = Work.__module__ = "torch.distributed"
