"""Channels: the two ends of a connection between a loader and one worker, over which parcels travel.

On Linux a channel is a pair of packet sockets.  A packet is a small pickle and the descriptors of the segments that
hold everything large, so no byte of a batch is copied; the end of a process is seen at once as the end of its packets.
Elsewhere it is a pipe that carries the bytes themselves.
"""

import array
import multiprocessing
import os
import socket
import struct
import sys
import weakref
from collections import deque

import numpy as np

from . import MP_STATUS_CHECK_INTERVAL, parcel

PACKETS = sys.platform == "linux"
INLINE = 16384  # bytes of pickle that still go into the packet itself
_HEAD = struct.Struct("<HB")  # number of segments, is the pickle in the last one
_SIZE = struct.Struct("<Q")


_loaders = weakref.WeakSet()  # the loaders' ends in this process


def pair():
    """Two connected channels: the loader's and the worker's."""
    if PACKETS:
        made = [PacketChannel(s) for s in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    else:
        made = [PipeChannel(c) for c in multiprocessing.Pipe()]
    _loaders.add(made[0])
    return made


def _close_in_child():
    """A copy of a loader's end in another process would hide from the workers that the loader is gone."""
    for channel in list(_loaders):
        channel.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class _End:
    """What both kinds of ends have."""

    parent = None

    def watch_parent(self):
        """Makes this the worker's end: the end of the parent process counts as the end of the channel.

        The socket alone would not show it while some third process holds a copy of the other end.
        """
        self.parent = os.getppid()

    def _check_parent(self):
        if self.parent is not None and os.getppid() != self.parent:
            raise EOFError


class PacketChannel(_End):
    """One end of a pair of packet sockets."""

    def __init__(self, sock):
        self.socket = sock
        self.waiting = deque()  # packets that found the socket's buffer full

    def watch_parent(self):
        super().watch_parent()
        self.socket.settimeout(MP_STATUS_CHECK_INTERVAL)

    def fileno(self):
        """For `multiprocessing.connection.wait`."""
        return self.socket.fileno()

    def send(self, data, segments, block=True):
        """Sends a parcel and closes its segments; without `block`, keeps what does not fit at once (see `flush`)."""
        inline = len(data) <= INLINE
        if not inline:
            segment = parcel.Segment(np.frombuffer(data, np.uint8))
            segment.take(len(data))
            segments = [*segments, segment]
        head = _HEAD.pack(len(segments), inline) + b"".join(_SIZE.pack(s.used) for s in segments)
        packet = head + data if inline else head
        for segment in segments:
            segment.seal()
        self.waiting.append((packet, segments))
        self.flush(block)

    def flush(self, block=False):
        """Sends the packets that wait; without `block`, only as many as fit."""
        while self.waiting:
            packet, segments = self.waiting[0]
            fds = array.array("i", [segment.fd for segment in segments])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else []
            try:
                self.socket.sendmsg([packet], rights, 0 if block else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except TimeoutError:
                self._check_parent()
                continue
            self.waiting.popleft()
            for segment in segments:
                segment.close()

    def recv(self):
        """The next object; EOFError when the other end is gone."""
        room = socket.CMSG_SPACE(253 * 4)  # as many descriptors as a packet can carry
        while True:
            try:
                packet, ancillary, flags, _ = self.socket.recvmsg(INLINE + 4096, room, socket.MSG_CMSG_CLOEXEC)
                break
            except TimeoutError:
                self._check_parent()
            except ConnectionResetError:
                raise EOFError from None
        fds = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if not packet:
            raise EOFError
        count, inline = _HEAD.unpack_from(packet)
        if flags & socket.MSG_CTRUNC or count != len(fds):
            for fd in fds:
                os.close(fd)
            raise OSError(24, "Too many open files")  # EMFILE: the kernel could not hand over the descriptors
        sizes = [_SIZE.unpack_from(packet, _HEAD.size + _SIZE.size * i)[0] for i in range(count)]
        maps = [parcel.attach(fd, size) for fd, size in zip(fds, sizes)]
        if inline:
            return parcel.unpack(memoryview(packet)[_HEAD.size + _SIZE.size * count :], maps)
        return parcel.unpack(maps.pop(), maps)

    def close(self):
        """Ends the connection; what waits to be sent is dropped."""
        for _, segments in self.waiting:
            for segment in segments:
                segment.close()
        self.waiting.clear()
        self.socket.close()


class PipeChannel(_End):
    """One end of a pipe."""

    waiting = ()

    def __init__(self, connection):
        self.connection = connection

    def fileno(self):
        """For `multiprocessing.connection.wait`."""
        return self.connection.fileno()

    def send(self, data, segments, block=True):
        """Sends a parcel and closes its segments."""
        self.connection.send_bytes(_HEAD.pack(len(segments), True))
        for segment in segments:
            self.connection.send_bytes(segment.whole())
            segment.close()
        self.connection.send_bytes(data)

    def flush(self, block=False):
        """Nothing waits."""

    def recv(self):
        """The next object; EOFError when the other end is gone."""
        try:
            while self.parent is not None and not self.connection.poll(MP_STATUS_CHECK_INTERVAL):
                self._check_parent()
            count, _ = _HEAD.unpack(self.connection.recv_bytes())
            segments = [bytearray(self.connection.recv_bytes()) for _ in range(count)]
            return parcel.unpack(self.connection.recv_bytes(), segments)
        except (ConnectionResetError, BrokenPipeError):
            raise EOFError from None

    def close(self):
        """Ends the connection."""
        self.connection.close()
