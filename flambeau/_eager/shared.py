"""Tensors in memory that processes share: moving them there, and how they travel from process to process.

The memory is an anonymous file that several processes map.  It has no name, so nothing is left behind whichever process
dies first: the kernel frees it with its last descriptor or mapping.  Public paths: `Tensor.share_memory_`,
`flambeau.multiprocessing`.
"""

from __future__ import annotations

import gc
import mmap
import os
import sys
import tempfile
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau import storage as storages
from flambeau._backends.pending_arrays import alike
from flambeau._ground.owners import LONE
from flambeau._tensor import PLAIN, Tensor, space, wrap
from flambeau._values import dtype as dtypes, storage as memory

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_QUIET: dict[str, Any] = (
    {"trackfd": False} if sys.version_info >= (3, 13) else {}
)  # else each mapping keeps a descriptor


class Memory(mmap.mmap):
    """A mapping of an anonymous file that remembers the file's descriptor, to hand it to other processes."""

    fd: int

    def __del__(self) -> None:
        fd, self.fd = getattr(self, "fd", -1), -1
        if fd >= 0:
            os.close(fd)


_roots: weakref.WeakValueDictionary[tuple[int, int], Any] = weakref.WeakValueDictionary()  # file -> its bytes, here
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))


def create(size: int) -> Array:
    """Zeroed bytes that can be shared."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("flambeau", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="flambeau-")
        os.unlink(path)
    os.ftruncate(fd, size)
    return attach(fd, size)


def attach(fd: int, size: int) -> Array:
    """The bytes of a shared file; takes the descriptor. The same file is the same array, however often it arrives."""
    stat = os.fstat(fd)
    key = (stat.st_dev, stat.st_ino)
    with _lock:
        root = _roots.get(key)
        if root is not None:
            os.close(fd)
            return root
        held = Memory(fd, size, **_QUIET)
        held.fd = fd
        root = np.frombuffer(held, np.uint8)
        _roots[key] = root
        return root


def held_by(root: Array) -> Memory | None:
    """The shared mapping that an array's root lies in, if it does."""
    base = root.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, Memory) else None


def is_shared(array: Any) -> bool:
    """Do other processes see what is written here?"""
    if not isinstance(array, np.ndarray):
        return False
    root = memory.root(array)
    return held_by(root) is not None or storages.of(array)._shared


def share(tensor: Any) -> Any:
    """Moves the memory of a tensor, and with it every tensor that lies in it, to where processes can share it."""
    array = tensor._a
    if not isinstance(array, np.ndarray) or array.nbytes == 0 or is_shared(array):
        return tensor
    root = memory.root(array)
    alone = array is root and sys.getrefcount(root) <= LONE + 2  # held by the tensor, `array` and `root`
    _move(memory.bytes_of(root), [tensor] if alone else None)
    return tensor


def share_storage(storage: Any) -> Any:
    """Moves the memory of a storage likewise."""
    if storage.nbytes() and not is_shared(storage._data):
        storages._alive[memory.pointer(storage._data), storage.nbytes()] = storage
        _move(storage._data, None)
    return storage


def _move(old: Array, tensors: list[Any] | None) -> None:
    """Bytes to shared memory; the tensors that lie in them are searched for if they are not given."""
    start, size = memory.pointer(old), old.size
    new = create(size)
    new[:] = old
    if tensors is None:
        tensors = [t for t in gc.get_objects() if issubclass(type(t), Tensor) and _lies_in(t, start, size)]
    for t in tensors:
        a = t._a
        t._a = alike(np.ndarray(a.shape, a.dtype, new, memory.pointer(a) - start, a.strides), a)
    handle = storages._alive.pop((start, size), None)
    if handle is not None:
        handle._data = new
        storages._alive[memory.pointer(new), size] = handle


def _lies_in(tensor: Tensor, start: int, size: int) -> bool:
    array = space(tensor).get("_a")
    return isinstance(array, np.ndarray) and array.nbytes > 0 and start <= memory.pointer(array) < start + size


# ---- from process to process -------------------------------------------------------------------------------------
def reduce_tensor(tensor: Any) -> tuple[Any, ...]:
    """How multiprocessing's pickler takes a tensor apart: its memory goes as a descriptor, not as bytes."""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    _warn_of_hooks(tensor)
    grad = tensor.requires_grad
    if tensor.is_sparse or type(tensor._a) is not np.ndarray:
        return tensor.__reduce_ex__(4)
    if tensor._a.nbytes == 0:
        return rebuild_empty, (type(tensor), str(tensor.dtype), tensor._a.shape, grad)
    share(tensor)  # the array has no name here: `share` counts who holds it
    root = memory.root(tensor._a)
    held = held_by(root)
    if held is None:  # a mapped file of the user's: it has no descriptor to send
        return tensor.__reduce_ex__(4)
    from multiprocessing.reduction import DupFd

    where = memory.pointer(tensor._a) - memory.pointer(root)
    parts = (DupFd(held.fd), root.size, where, tensor._a.shape, tensor._a.strides)
    return rebuild_tensor, (type(tensor), str(tensor.dtype), *parts, grad)


def _warn_of_hooks(tensor: Any) -> None:
    if tensor._hooks and any(tensor._hooks.values()):
        import warnings

        warnings.warn(
            f"backward hook {tensor._hooks} on tensor will not be serialized.  If this is expected, you can decorate the "
            "function with @torch.utils.hooks.unserializable_hook to suppress this warning",
            stacklevel=2,
        )


def rebuild_tensor(
    cls: type, dtype: str, fd: Any, size: int, start: int, shape: tuple[int, ...], strides: tuple[int, ...], grad: bool
) -> Any:
    """The tensor that `reduce_tensor` took apart, over the same memory."""
    root = attach(fd.detach(), size)
    return _finish(cls, np.ndarray(shape, _numpy(dtype), root, start, strides), grad)


def rebuild_empty(cls: type, dtype: str, shape: tuple[int, ...], grad: bool) -> Any:
    """A tensor without elements."""
    return _finish(cls, np.empty(shape, _numpy(dtype)), grad)


def _numpy(name: str) -> np.dtype[Any]:
    found: np.dtype[Any] = getattr(dtypes, name.removeprefix("torch.").replace("bool", "bool_")).np
    return found


def _finish(cls: type, array: Array, grad: bool) -> Any:
    tensor: Any = wrap(array)
    if cls is not Tensor:
        tensor = tensor.as_subclass(cls)
    tensor.requires_grad = grad
    return tensor


def reduce_storage(storage: Any) -> tuple[Any, ...]:
    """How multiprocessing's pickler takes a storage apart."""
    if storage.device.type != "cpu":
        kind = storage.device.type
        raise RuntimeError(f"Cannot pickle {kind} storage; try pickling a {kind} tensor instead")
    if storage.nbytes() == 0:
        return type(storage), (0,)
    return rebuild_storage, (wrap(share_storage(storage)._data),)


def rebuild_storage(data: Any) -> Any:
    """The storage under a tensor."""
    return storages.of(data._a)


def init_reductions() -> None:
    """Makes multiprocessing send tensors and storages by reference."""
    from multiprocessing.reduction import register

    for cls in PLAIN:
        register(cls, reduce_tensor)
    register(storages.UntypedStorage, reduce_storage)
