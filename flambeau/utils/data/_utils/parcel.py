"""Parcels: objects on their way between processes, with the bytes of their tensors and arrays in shared memory.

`pack` gives a pickle and the segments of memory that it refers to; `unpack` gives the object, whose tensors lie in
those segments.  A segment is an anonymous file: it lives as long as somebody holds its descriptor or its mapping, so
nothing is left behind whichever process dies first.  Not here: how a parcel is sent (`channel.py`).
"""

import functools
import io
import mmap
import os
import pickle
import sys
import tempfile
from multiprocessing.reduction import ForkingPickler

import numpy as np

import flambeau

ALIGNMENT = 64  # a cache line, and more than any dtype needs
SMALL = 2048  # bytes below which a copy inside the pickle costs less than a mapping
LARGE = 1 << 16  # bytes from which they are written from where they are: a call costs less than a copy
_LEAST = 1 << 20


def _anonymous_file():
    """The descriptor of a new file in memory that has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("flambeau", os.MFD_CLOEXEC)
    directory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    fd, path = tempfile.mkstemp(prefix="flambeau-", dir=directory)
    os.unlink(path)
    return fd


class Segment:
    """Memory of one parcel, filled from its beginning; `seal` makes it shared.

    It is filled in memory of this process, used again and again, and written to the file in one call: touching the pages
    of a new mapping one by one costs several times more.
    """

    def __init__(self, memory):
        self.bytes = memory
        self.size = memory.nbytes
        self.used = 0
        self.pieces = []  # (offset, bytes that lie elsewhere): written from where they are
        self.fd = -1

    def take(self, size):
        """The offset of `size` bytes not taken before, or None if there are none."""
        offset = -self.used % ALIGNMENT + self.used
        if offset + size > self.size:
            return None
        self.used = offset + size
        return offset

    def seal(self):
        """Writes what is used to an anonymous file; the memory may be used for something else."""
        self.fd = _anonymous_file()
        done = 0
        for offset, piece in self.pieces:
            self._write(self.bytes[done:offset], done)
            self._write(piece, offset)
            done = offset + piece.nbytes
        self._write(self.bytes[done : self.used], done)
        self.bytes, self.pieces = None, []

    def _write(self, data, at):
        done = 0
        while done < data.nbytes:
            done += os.pwrite(self.fd, data[done:], at + done)

    def whole(self):
        """What is used, in one piece of memory."""
        for offset, piece in self.pieces:
            self.bytes[offset : offset + piece.nbytes] = piece
        return self.bytes[: self.used]

    def close(self):
        """Gives up the descriptor; the memory lives on while it is mapped."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _lone():
    """What `getrefcount` says of an object that one name holds: `_ground/owners.py`, which this room may not see."""
    held = object()
    return sys.getrefcount(held)


_LONE = _lone()


class Arena:
    """The segments of the parcel that is being made."""

    def __init__(self):
        self.segments = []
        self.expected = _LEAST
        self.spare = []  # memory of parcels before

    def _memory(self, size):
        """Bytes that nobody looks at: those of a parcel before, if it has been written, or new ones."""
        while self.spare:
            memory = self.spare.pop()
            if memory.nbytes >= size and sys.getrefcount(memory) == _LONE:
                return memory
        return np.empty(size, np.uint8)

    def take(self, size):
        """(number of a segment, offset in it) of fresh bytes."""
        for i, segment in enumerate(self.segments):
            offset = segment.take(size)
            if offset is not None:
                return i, offset
        # Memory that is not touched costs nothing, so there may be room for what is still to come.
        room = max(self.expected, size, sum(segment.size for segment in self.segments))
        self.segments.append(Segment(self._memory(room)))
        return len(self.segments) - 1, self.segments[-1].take(size)

    def release(self):
        """The segments, which are the caller's to close; the arena is empty again."""
        segments, self.segments = self.segments, []
        self.spare = [segment.bytes for segment in segments]
        # The next parcel is probably like this one.
        self.expected = max(_LEAST, sum(segment.used for segment in segments) * 9 // 8)
        return segments


def _tensor(data, dtype, shape):
    return flambeau.from_numpy(data).view(dtype).view(shape)


def _bytes(tensor):
    """The bytes of a contiguous tensor, as an array on the same memory."""
    return tensor.detach().reshape(-1).view(flambeau.uint8).numpy()


def _order(tensor):
    """The dimensions from the slowest to the fastest, if the tensor is dense in that order; else None."""
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return order if tensor.permute(order).is_contiguous() else None


def _rebuild(data, dtype, shape, order, requires_grad, parameter):
    tensor = _tensor(data, dtype, shape)
    if order is not None:
        tensor = tensor.permute([order.index(i) for i in range(len(order))])
    if parameter:
        return flambeau.nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_empty(dtype, shape, requires_grad, parameter):
    tensor = flambeau.empty(shape, dtype=dtype)
    return flambeau.nn.Parameter(tensor, requires_grad) if parameter else tensor.requires_grad_(requires_grad)


def _rebuild_sparse(indices, values, shape, coalesced):
    return flambeau.sparse_coo_tensor(indices, values, shape, is_coalesced=coalesced)


class _Pickler(ForkingPickler):
    """Pickles tensors by their bytes, which become out-of-band buffers."""

    def reducer_override(self, obj):
        cls = type(obj)
        if cls is not flambeau.Tensor and cls is not flambeau.nn.Parameter:
            return NotImplemented
        return _reduce(obj, cls is flambeau.nn.Parameter)


def _reduce(tensor, parameter):
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    if tensor.layout is flambeau.sparse_coo:
        return _rebuild_sparse, (tensor._indices(), tensor._values(), tensor.shape, tensor.is_coalesced())
    if tensor.layout is not flambeau.strided or tensor.device.type != "cpu":
        return NotImplemented
    grad = tensor.requires_grad
    if tensor.numel() == 0:
        return _rebuild_empty, (tensor.dtype, tuple(tensor.shape), grad, parameter)
    order = None
    plain = tensor.detach()
    if plain.is_complex():
        plain = plain.resolve_conj().resolve_neg()
    if not plain.is_contiguous():
        order = _order(plain)
        plain = plain.contiguous() if order is None else plain.permute(order)
    return _rebuild, (_bytes(plain), tensor.dtype, tuple(plain.shape), order, grad, parameter)


def pack(obj, arena):
    """A pickle of `obj`, and the segments that hold its buffers (and the pickle's own list of where they are)."""
    places = []

    def place(buffer):
        data = np.frombuffer(buffer.raw(), np.uint8)
        if data.nbytes < SMALL:
            return True  # inside the pickle
        i, offset = arena.take(data.nbytes)
        if data.nbytes < LARGE:
            arena.segments[i].bytes[offset : offset + data.nbytes] = data
        else:
            arena.segments[i].pieces.append((offset, data))
        places.append((i, offset, data.nbytes))
        return False

    stream = io.BytesIO()
    try:
        _Pickler(stream, pickle.HIGHEST_PROTOCOL, True, place).dump(obj)
    except BaseException:
        for segment in arena.release():
            segment.close()
        raise
    return pickle.dumps(places) + stream.getvalue(), arena.release()


def unpack(data, maps):
    """The object of a pickle by `pack`, on the given mappings of its segments."""
    stream = io.BytesIO(data)
    views = [memoryview(m) for m in maps]
    buffers = [views[i][offset : offset + size] for i, offset, size in pickle.load(stream)]
    return pickle.load(stream, buffers=buffers)


@functools.cache
def warm():
    """Does once what workers do for each batch, so that what is made at first use is there before they are forked."""
    arena, x = Arena(), flambeau.zeros(SMALL)
    batch = flambeau.stack([x, x], 0)
    pack((0, [batch, flambeau.tensor([0, 1]), x]), arena)


def attach(fd, size):
    """The mapping of a segment that arrived as a descriptor, which is closed."""
    try:
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        return mmap.mmap(fd, size, flags=flags) if sys.platform != "win32" else mmap.mmap(fd, size)
    finally:
        os.close(fd)
