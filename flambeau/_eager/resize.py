"""Methods that give a tensor other sizes or other memory in place: resize_, set_, as_strided_."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.pending_arrays import alike, memory
from flambeau._eager import call
from flambeau._eager.graph import bump, check_inferred, node_of
from flambeau._eager.writes import sized
from flambeau._operators.op import REGISTRY
from flambeau._tensor import LAYOUTS, Tensor
from flambeau._values.shape import contiguous_strides


def resize_(self: Any, *size: Any, memory_format: Any = None) -> Any:
    """Other sizes over the same storage, which is made longer where it must be; new elements are whatever was in memory.

    >>> torch.arange(4).resize_(2, 2)
    tensor([[0, 1],
            [2, 3]])
    """
    shape = tuple(int(n) for n in (size[0] if len(size) == 1 and not isinstance(size[0], int) else size))
    if node_of(self) is not None:
        raise RuntimeError("cannot resize variables that require grad")
    for n in shape:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    check_inferred(self)
    before, a = self._a, memory(self._a)
    if type(a) in LAYOUTS:
        from flambeau._eager.sparse import refused

        raise refused("resize_", (self,), "")
    if a.shape == shape:
        return self
    self._a = sized(a, shape)
    if memory_format is not None and memory_format.name.startswith("channels_last"):
        order = (0, 2, 3, 1) if memory_format.name == "channels_last" else (0, 2, 3, 4, 1)
        packed = self._a.reshape([shape[i] for i in order])
        self._a = packed.transpose(np.argsort(order))
    self._a = alike(self._a, before)
    bump(self)
    return self


def resize_as_(self: Any, the_template: Any, *, memory_format: Any = None) -> Any:
    """The sizes of another tensor."""
    if LAYOUTS.get(type(self._a)):
        return self.resize_as_sparse_(the_template)
    return resize_(self, tuple(the_template.shape), memory_format=memory_format)


def set_(self: Any, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Any:
    """The memory, sizes and strides of another tensor or storage."""
    from flambeau._backends.cpu.library_memory import as_strided

    check_inferred(self)
    before = self._a
    if source is None:
        self._a = np.empty(0, self._a.dtype)
    elif isinstance(source, Tensor):
        if source._a.dtype != self._a.dtype:
            raise RuntimeError(
                f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}".replace("torch.", "")
            )
        self._a = (
            source._a
            if size is None
            else as_strided(
                source._a,
                shape=tuple(size),
                strides=tuple(stride) if stride is not None else contiguous_strides(size),
                offset=storage_offset,
            )
        )
        if source._vc is None:
            source._vc = [0]
        self._vc = source._vc
    else:
        from flambeau._values import storage as storages

        untyped = source._untyped_storage if hasattr(source, "_untyped_storage") else source
        data = untyped._data
        if size is None:
            size = (len(data) // self._a.dtype.itemsize,)
        self._a = storages.view(
            data,
            self._a.dtype,
            storage_offset,
            tuple(size),
            tuple(contiguous_strides(size) if stride is None else stride),
        )
    self._a = alike(self._a, before)
    bump(self)
    return self


def as_strided_(self: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """The same tensor, over its storage with other sizes, strides and offset."""
    offset = self.storage_offset() if storage_offset is None else storage_offset
    op = REGISTRY["_as_strided"]
    return call.general(
        op, (self, tuple(size), tuple(stride), offset, self.stride(), self.storage_offset()), None, True
    )


for _fn in (resize_, resize_as_, set_, as_strided_):
    setattr(Tensor, _fn.__name__, _fn)
__all__ = ["as_strided_", "resize_", "resize_as_", "set_"]
