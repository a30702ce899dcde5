"""Stores: keys and values that all processes see, by which they find each other.

`HashStore` is a dict of one process; `TCPStore` one that the process of rank 0 keeps for all, over sockets; `FileStore` a file of changes, read
again where it grew; `PrefixStore` a part of another store. Values are bytes.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import io
import os
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from flambeau.distributed import _wire
from flambeau.distributed._errors import DistNetworkError, DistStoreError, QueueEmptyError

DEFAULT = timedelta(seconds=300)


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


class Store(abc.ABC):
    """Keys and values that several processes share."""

    def __init__(self) -> None:
        self._timeout = DEFAULT

    @property
    def timeout(self) -> timedelta:
        """How long `get` and `wait` wait."""
        return self._timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """Change how long `get` and `wait` wait."""
        self._timeout = timeout

    @abc.abstractmethod
    def _ask(self, what: str, *args: Any) -> Any:
        """Do one operation of `_Table`."""

    def set(self, key: str, value: str | bytes) -> None:
        """Set a key."""
        self._ask("set", key, _bytes(value))

    def get(self, key: str) -> bytes:
        """A key's value; waits until there is one."""
        return self._ask("get", key, self._timeout.total_seconds())

    def add(self, key: str, amount: int) -> int:
        """Count a key up; what it is now."""
        return self._ask("add", key, int(amount))

    def append(self, key: str, value: str | bytes) -> None:
        """Put bytes at the end of a key's value."""
        self._ask("append", key, _bytes(value))

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        """Set a key if its value is the expected one (or if there is none and the expected one is empty); what it is then."""
        return self._ask("compare_set", key, _bytes(expected_value), _bytes(desired_value))

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys are there."""
        return self._ask("check", list(keys))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there.

        Raises:
            DistStoreError: they are not in time.
        """
        self._ask("wait", list(keys), (timeout or self._timeout).total_seconds())

    def delete_key(self, key: str) -> bool:
        """Forget a key; whether there was one."""
        return self._ask("delete_key", key)

    def num_keys(self) -> int:
        """How many keys there are."""
        return self._ask("num_keys")

    def list_keys(self) -> list[str]:
        """All keys."""
        return self._ask("list_keys")

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Several keys' values."""
        return [self.get(k) for k in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        """Set several keys."""
        for k, v in zip(keys, values, strict=True):
            self.set(k, v)

    def queue_push(self, key: str, value: str | bytes) -> None:
        """Put a value at the end of a queue."""
        self._ask("queue_push", key, _bytes(value))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """Take the first value of a queue; waits for one, or raises QueueEmptyError."""
        return self._ask("queue_pop", key, self._timeout.total_seconds() if block else -1.0)

    def queue_len(self, key: str) -> int:
        """How many values wait in a queue."""
        return self._ask("queue_len", key)

    def barrier(self, key: str, world_size: int, timeout: timedelta | None = None) -> None:
        """Wait until as many processes have called this."""
        if self.add(key, 1) >= world_size:
            self.set(f"{key}/all", b"1")
        self.wait([f"{key}/all"], timeout)

    def has_extended_api(self) -> bool:
        """Whether `append`, `multi_get` and `multi_set` are there."""
        return True

    def clone(self) -> Store:
        """The same store for another thread."""
        return self


class _Table:
    """The keys of a store, and what waits for them. Keys that begin with a zero byte are the stores' own: they are not told."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.queues: dict[str, list[bytes]] = {}
        self.changed = threading.Condition()

    def do(self, what: str, args: Sequence[Any]) -> Any:
        with self.changed:
            result = getattr(self, "_" + what)(*args)
            self.changed.notify_all()
            return result

    def _until(self, there: Callable[[], bool], seconds: float, what: str) -> None:
        if not self.changed.wait_for(there, None if seconds < 0 else seconds):
            raise DistStoreError(f"wait timeout after {int(seconds * 1000)}ms, keys: {what}")

    def _set(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def _get(self, key: str, seconds: float) -> bytes:
        self._until(lambda: key in self.values, seconds, f"/{key}")
        return self.values[key]

    def _add(self, key: str, amount: int) -> int:
        total = int(self.values.get(key, b"0")) + amount
        self.values[key] = str(total).encode()
        return total

    def _append(self, key: str, value: bytes) -> None:
        self.values[key] = self.values.get(key, b"") + value

    def _compare_set(self, key: str, expected: bytes, desired: bytes) -> bytes:
        if key not in self.values:
            if expected:
                return expected
            self.values[key] = desired
        elif self.values[key] == expected:
            self.values[key] = desired
        return self.values[key]

    def _check(self, keys: list[str]) -> bool:
        return all(k in self.values for k in keys)

    def _wait(self, keys: list[str], seconds: float) -> None:
        self._until(lambda: self._check(keys), seconds, ", ".join(f"/{k}" for k in keys))

    def _delete_key(self, key: str) -> bool:
        return self.values.pop(key, None) is not None

    def _num_keys(self) -> int:
        return len(self._list_keys())

    def _list_keys(self) -> list[str]:
        return [key for key in self.values if key[:1] != "\0"]

    def _queue_push(self, key: str, value: bytes) -> None:
        self.queues.setdefault(key, []).append(value)

    def _queue_pop(self, key: str, seconds: float) -> bytes:
        if seconds < 0 and not self.queues.get(key):
            raise QueueEmptyError(f"queue {key} is empty")
        self._until(lambda: bool(self.queues.get(key)), seconds, f"/{key}")
        return self.queues[key].pop(0)

    def _queue_len(self, key: str) -> int:
        return len(self.queues.get(key, ()))


class HashStore(Store):
    """A store of one process, for its threads.

    >>> store = HashStore()
    >>> store.set("first", "1")
    >>> store.get("first")
    b'1'
    """

    def __init__(self) -> None:
        super().__init__()
        self._table = _Table()

    def _ask(self, what: str, *args: Any) -> Any:
        return self._table.do(what, args)


class PrefixStore(Store):
    """A part of another store: every key has a prefix there."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__()
        self.prefix, self._store = prefix, store
        self._timeout = store.timeout

    @property
    def underlying_store(self) -> Store:
        """The store that this is a part of."""
        return self._store

    def _ask(self, what: str, *args: Any) -> Any:
        start = f"{self.prefix}/"
        if what == "num_keys":
            return self._store._ask(what)
        if what == "list_keys":
            return [k.removeprefix(start) for k in self._store._ask(what) if k.startswith(start)]
        first = args[0]
        keys = [start + k for k in first] if isinstance(first, list) else start + first
        return self._store._ask(what, keys, *args[1:])


class FileStore(Store):
    """A store in a file that all processes can write: each change is a line at its end, made under a lock.

    Args:
        file_name: its path.
        world_size: how many processes share it; the last to go deletes it. None, if they are not counted.
    """

    def __init__(self, file_name: str, world_size: int | None = -1) -> None:
        super().__init__()
        self.path, self._world = file_name, world_size
        self._table, self._read, self._lock = _Table(), 0, threading.Lock()
        self._ask("add", "\0users", 1)

    def _ask(self, what: str, *args: Any) -> Any:
        waits = what in ("get", "wait", "queue_pop") and args[-1] >= 0
        deadline = time.monotonic() + (args[-1] if waits else 0)
        while True:
            with self._lock, _locked(self.path) as file:
                file.seek(self._read)
                while True:
                    head = file.read(4)
                    if len(head) < 4:
                        break
                    record = file.read(struct.unpack("<I", head)[0])
                    self._read = file.tell()
                    known, values = _plain(record)
                    self._table.do(known, values)
                try:
                    result = self._table.do(what, (*args[:-1], 0.0) if waits else args)
                except QueueEmptyError:
                    raise
                except DistStoreError:
                    if time.monotonic() > deadline:
                        raise
                else:
                    if what not in ("get", "check", "wait", "num_keys", "list_keys", "queue_len"):
                        record = pickle.dumps((what, (*args[:-1], 0.0) if waits else args))
                        file.write(struct.pack("<I", len(record)) + record)
                        self._read = file.tell()
                    return result
            time.sleep(0.01)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self._world and self._world > 0 and self._ask("add", "\0gone", 1) >= self._world:
                os.unlink(self.path)


@contextlib.contextmanager
def _locked(path: str) -> Any:
    """The file, open for reading and writing, while no other process has it."""
    with open(path, "a+b") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
        yield file
        file.flush()


class TCPStore(Store):
    """A store that one process keeps for all, over sockets.

    Args:
        host_name, port: where it is; port 0 takes a free one (`port` says which).
        world_size: how many processes use it; None, if that is not known.
        is_master: whether this process keeps it.
        timeout: how long to wait for it, and for keys.
        wait_for_workers: whether the one who keeps it waits for all others.

    Raises:
        DistNetworkError: it cannot be reached in time.
    """

    def __init__(self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False, timeout: timedelta = DEFAULT,
                 wait_for_workers: bool = True, multi_tenant: bool = False, master_listen_fd: int | None = None, use_libuv: bool = True) -> None:  # fmt: skip
        super().__init__()
        self._timeout, self.host = timeout, host_name
        self._sock: Any = None
        self._server: Any = _Server(port, master_listen_fd) if is_master else None
        self.port = self._server.port if self._server else port
        self._lock = threading.Lock()
        self._sock = _connected(host_name, self.port, timeout)
        if wait_for_workers and world_size:
            self.add("\0workers", 1)
            if is_master:
                deadline = time.monotonic() + timeout.total_seconds()
                while (here := self.add("\0workers", 0)) < world_size:
                    if time.monotonic() > deadline:
                        raise DistStoreError(f"Timed out after {int(timeout.total_seconds()) + 1} seconds waiting for clients. {here}/{world_size} clients joined.")  # fmt: skip
                    time.sleep(0.005)

    def _ask(self, what: str, *args: Any) -> Any:
        if self._sock is None:
            raise DistNetworkError("the store is closed")
        with self._lock:
            try:
                _wire.send(self._sock, 0, 0, 0, pickle.dumps((what, args)))
                failed, _, _, data = _wire.receive(self._sock)
            except OSError as error:
                raise DistNetworkError(f"the store at {self.host}:{self.port} is gone: {error}") from None
            except BaseException:  # interrupted: the answer that is still to come must not be taken for another one's
                self._sock.close()
                self._sock = _connected(self.host, self.port, self._timeout)
                raise
        value = _plain(data)
        if failed:
            raise (QueueEmptyError if failed == 2 else DistStoreError)(value)
        return value

    def close(self) -> None:
        """Leave; who keeps the store ends it for all."""
        for part in (self._sock, self._server):
            if part is not None:
                part.close()
        self._sock = self._server = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def clone(self) -> Store:
        return TCPStore(self.host, self.port, timeout=self._timeout, wait_for_workers=False)


class _Plain(pickle.Unpickler):
    """Reads plain values only, so that nothing runs when they are read."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a store's message names {module}.{name}")


def _plain(data: Any) -> Any:
    """What was sent, or written."""
    return _Plain(io.BytesIO(data)).load()


def _connected(host: str, port: int, timeout: timedelta) -> socket.socket:
    deadline, pause = time.monotonic() + timeout.total_seconds(), 0.01
    while True:
        try:
            sock = socket.create_connection((host, port), timeout=max(deadline - time.monotonic(), 0.01))
            sock.settimeout(None)
            return _wire.quick(sock)
        except OSError as error:
            if time.monotonic() + pause > deadline:
                raise DistNetworkError(
                    f"The client socket has timed out after {int(timeout.total_seconds() * 1000)}ms while trying to connect to ({host}, {port}): {error}"
                ) from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)


class _Server:
    """Keeps a table for others; one thread for each of them."""

    def __init__(self, port: int, fd: int | None) -> None:
        self.table = _Table()
        self.sock = _listening(port) if fd is None else socket.socket(fileno=fd)
        self.port: int = self.sock.getsockname()[1]
        self.clients: list[socket.socket] = []
        threading.Thread(target=self._accept, name="flambeau-store", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            self.clients = [c for c in self.clients if c.fileno() >= 0] + [client]
            threading.Thread(target=self._serve, args=(_wire.quick(client),), name="flambeau-store", daemon=True).start()  # fmt: skip

    def close(self) -> None:
        """End it: who still asks gets an error."""
        for sock in (self.sock, *self.clients):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, pickle.UnpicklingError):
            while True:
                what, args = _plain(_wire.receive(client)[3])
                failed, value = 0, None
                try:
                    value = self.table.do(what, args)
                except QueueEmptyError as error:
                    failed, value = 2, str(error)
                except DistStoreError as error:
                    failed, value = 1, str(error)
                _wire.send(client, failed, 0, 0, pickle.dumps(value))


def _listening(port: int) -> socket.socket:
    """A socket that listens, for IPv6 and IPv4 where the machine has both."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _in_use(port, error) from None
    try:
        return socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise _in_use(port, error) from None


def _in_use(port: int, error: OSError) -> DistNetworkError:
    return DistNetworkError(
        f"The server socket has failed to listen on any local network address. port: {port}, {error}"
    )


for _store in (Store, HashStore, PrefixStore, FileStore, TCPStore):
    _store.__module__ = "torch.distributed"
