"""Messages over sockets: a header of fixed size, and bytes."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

HEADER = struct.Struct("<BIqQ")  # kind, group, tag, length


def read_exactly(sock: socket.socket, into: memoryview) -> None:
    """Fill a buffer from a socket.

    Raises:
        ConnectionError: the other side has gone.
    """
    at = 0
    while at < len(into):
        n = sock.recv_into(into[at:])
        if n == 0:
            raise ConnectionError("Connection closed by peer")
        at += n


def receive(sock: socket.socket) -> tuple[int, int, int, bytearray]:
    """The next message: kind, group, tag and bytes."""
    head = bytearray(HEADER.size)
    read_exactly(sock, memoryview(head))
    kind, group, tag, length = HEADER.unpack(head)
    payload = bytearray(length)
    read_exactly(sock, memoryview(payload))
    return kind, group, tag, payload


def introduced(sock: socket.socket) -> int | None:
    """The rank that a first message, without bytes, has as its tag; None if something else comes."""
    head = bytearray(HEADER.size)
    try:
        sock.settimeout(1)
        read_exactly(sock, memoryview(head))
        sock.settimeout(None)
    except OSError:
        return None
    _, _, rank, length = HEADER.unpack(head)
    return None if length else int(rank)


def send(sock: socket.socket, kind: int, group: int, tag: int, data: Any) -> None:
    """Send one message; `data` has a buffer of bytes."""
    view = memoryview(data)
    view = view.cast("B") if view.format != "B" or view.ndim != 1 else view
    head = HEADER.pack(kind, group, tag, len(view))
    if len(view) < 65536:
        sock.sendall(head + bytes(view))
    else:
        sock.sendall(head)
        sock.sendall(view)


def quick(sock: socket.socket) -> socket.socket:
    """The socket without waiting for more to send."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
