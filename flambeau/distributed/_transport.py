"""Messages between ranks: every pair of processes has one connection, and one thread reads each.

A message has a channel (which group and what for) and a sender; who waits for it takes it from the mailbox. Reading threads never wait for those
who use the messages, so that all ranks may send before they receive. A rank that is gone, or breaks off, is noticed by everybody at once.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
import weakref
from collections import deque
from datetime import timedelta
from typing import Any

from flambeau.distributed import _wire
from flambeau.distributed._errors import DistBackendError
from flambeau.distributed._store import Store, _connected

DATA, ABORT, GOODBYE = 0, 1, 2
_open: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _forget() -> None:
    """In forked children connections are closed: held open there, they would hide from the others that this process has ended."""
    for sock in list(_open):
        with contextlib.suppress(OSError):
            os.close(sock.detach())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
Channel = tuple[int, int]  # group, tag


class Transport:
    """This process's connections to all others."""

    def __init__(self, store: Store, rank: int, size: int, timeout: timedelta, host: str) -> None:
        self.rank, self.size = rank, size
        self.socks: dict[int, socket.socket] = {}
        self.sending = [threading.Lock() for _ in range(size)]
        self.mail: dict[tuple[Channel, int], deque[Any]] = {}
        self.arrived = threading.Condition()
        self.gone: dict[int, str] = {}  # rank -> why nothing more comes from it
        self.broken: dict[int, str] = {}  # group -> why its collectives are over
        self.closing = False
        if size > 1:
            self._connect(store, timeout, host)

    def _connect(self, store: Store, timeout: timedelta, host: str) -> None:
        with socket.create_server((host, 0), backlog=max(self.size, 128)) as listener:
            store.set(f"address/{self.rank}", f"{host} {listener.getsockname()[1]}")
            try:
                for peer in range(self.rank):  # to those before, from those after
                    there, _, port = store.get(f"address/{peer}").decode().rpartition(" ")
                    self.socks[peer] = _connected(there, int(port), timeout)
                    _wire.send(self.socks[peer], DATA, 0, self.rank, b"")
                self._await(set(range(self.rank + 1, self.size)), listener, timeout)
            except BaseException:
                for sock in self.socks.values():
                    sock.close()
                raise
        for peer, sock in self.socks.items():
            _open.add(sock)
            threading.Thread(target=self._read, args=(peer, sock), name=f"flambeau-rank-{peer}", daemon=True).start()

    def _await(self, missing: set[int], listener: socket.socket, timeout: timedelta) -> None:
        """Connections from ranks, which say who they are. Whoever else finds the port is not waited for."""
        deadline = time.monotonic() + timeout.total_seconds()
        with contextlib.ExitStack() as unknown, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while missing:
                ready = selector.select(max(deadline - time.monotonic(), 0))
                if not ready:
                    raise DistBackendError(f"Timed out after {int(timeout.total_seconds() * 1000)}ms: ranks {sorted(missing)} did not connect")  # fmt: skip
                for key, _ in ready:
                    if key.fileobj is listener:
                        selector.register(unknown.enter_context(listener.accept()[0]), selectors.EVENT_READ)
                        continue
                    sock: Any = key.fileobj
                    selector.unregister(sock)
                    if (peer := _wire.introduced(sock)) in missing:
                        missing.remove(peer)
                        self.socks[peer] = _wire.quick(sock.dup())

    def _read(self, peer: int, sock: socket.socket) -> None:
        why = "Connection closed by peer"
        try:
            while True:
                kind, group, tag, data = _wire.receive(sock)
                if kind == GOODBYE:
                    why = "it has left the process group"
                    break
                with self.arrived:
                    if kind == ABORT:
                        self.broken.setdefault(group, f"rank {peer} failed: {data.decode()}")
                    else:
                        self.mail.setdefault(((group, tag), peer), deque()).append(data)
                    self.arrived.notify_all()
        except OSError as error:
            if not isinstance(error, ConnectionError) or "closed by peer" not in str(error):
                why = f"Connection closed by peer: {error}"
        with self.arrived:
            self.gone[peer] = why
            self.arrived.notify_all()
        sock.close()

    def send(self, peer: int, channel: Channel, data: Any) -> None:
        """Give a message on its way."""
        try:
            with self.sending[peer]:
                _wire.send(self.socks[peer], DATA, *channel, data)
        except OSError as error:
            raise DistBackendError(f"[rank {self.rank}] sending to rank {peer} failed: {self.gone.get(peer, error)}") from None  # fmt: skip

    def ready(self, channel: Channel, peers: list[int]) -> bool:
        """Whether a message from one of the peers has come."""
        with self.arrived:
            return any(self.mail.get((channel, p)) for p in peers)

    def receive(self, peers: list[int], channel: Channel, timeout: float) -> tuple[int, bytearray]:
        """The next message on a channel from one of the peers, and from whom.

        Raises:
            DistBackendError: a peer is gone, the group is broken, or nothing comes in time.
        """
        deadline = time.monotonic() + timeout
        with self.arrived:
            while True:
                for p in peers:
                    box = self.mail.get((channel, p))
                    if box:
                        data = box.popleft()
                        if not box:
                            del self.mail[channel, p]
                        return p, data
                if channel[0] in self.broken:
                    raise DistBackendError(f"[rank {self.rank}] {self.broken[channel[0]]}")
                lost = [p for p in peers if p in self.gone]
                if lost and len(lost) == len(peers):
                    raise DistBackendError(f"[rank {self.rank}] rank {lost[0]}: {self.gone[lost[0]]}")
                if self.closing:
                    raise DistBackendError(f"[rank {self.rank}] the process group was destroyed")
                left = deadline - time.monotonic()
                if left <= 0 or not self.arrived.wait(left):
                    raise DistBackendError(f"[rank {self.rank}] Timed out waiting {int(timeout * 1000)}ms for recv operation to complete (from rank {', '.join(map(str, peers))})")  # fmt: skip

    def abort(self, group: int, ranks: list[int], why: str) -> None:
        """Tell the others that a group's collective failed here: none of them waits in vain."""
        with self.arrived:
            self.broken.setdefault(group, why)
            self.arrived.notify_all()
        for peer in ranks:
            if peer != self.rank and peer not in self.gone:
                with contextlib.suppress(OSError), self.sending[peer]:
                    _wire.send(self.socks[peer], ABORT, group, 0, why.encode())

    def close(self) -> None:
        """Leave. What is on its way to the others still reaches them: a connection ends when both sides have left."""
        with self.arrived:
            self.closing = True
            self.arrived.notify_all()
        for peer, sock in self.socks.items():
            with contextlib.suppress(OSError):
                with self.sending[peer]:
                    _wire.send(sock, GOODBYE, 0, 0, b"")
                sock.shutdown(socket.SHUT_WR)
