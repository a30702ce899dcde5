"""The null backend: arrays that have a shape, strides and a dtype, and no elements. Behind `device="meta"`.

An operation on such arrays runs on stand-ins whose elements all lie in one cell (stride 0); only the shape and dtype of its
result are kept.
"""

from __future__ import annotations

from collections.abc import Container
from math import prod
from typing import Any

import numpy as np

from flambeau._values.device import META
from flambeau._values.shape import contiguous_strides, elementwise_strides

_marked: dict[Any, Any] = {}


def marked(d: Any) -> Any:
    """A dtype that equals d without being it: so the flat functions, which ask for identity, pass meta arrays on."""
    found = _marked.get(d)
    if found is None:
        found = _marked[d] = np.dtype(d, metadata={"meta": True})
    return found


class MetaArray:
    """Shape, strides (in bytes) and dtype of an array that is not there; `start` is where it begins in its memory, in bytes."""

    has_elements = False  # what may look at elements only where there are some asks getattr(a, "has_elements", True)
    __slots__ = ("__weakref__", "base", "dtype", "shape", "signs", "start", "strides", "torch_device")

    def __init__(self, shape: Any, dtype: Any, strides: Any = None) -> None:
        self.shape, self.dtype = tuple(shape), marked(dtype)
        self.torch_device, self.signs = META, (False, False)
        self.base: MetaArray | None = None
        self.start = 0
        self.strides = (
            tuple(strides)
            if strides is not None
            else tuple(s * self.dtype.itemsize for s in contiguous_strides(self.shape))
        )

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: prod(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    @property
    def flags(self) -> Any:
        return _Flags(self)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"data": (self.start, False)}

    def copy(self, order: str = "K") -> MetaArray:
        return self.astype(self.dtype, order)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> MetaArray:
        size, to = self.dtype.itemsize, np.dtype(dtype).itemsize
        kept = order == "K" and elementwise_strides(self.shape, [(self.shape, tuple(s // size for s in self.strides))])
        made = MetaArray(self.shape, dtype, tuple(s * to for s in kept) if kept else None)
        made.torch_device = self.torch_device
        return made

    def transpose(self, *order: int) -> MetaArray:
        return self._seen(tuple(self.shape[d] for d in order), tuple(self.strides[d] for d in order))

    def __getitem__(self, index: Any) -> MetaArray:
        if index is Ellipsis:
            return self._seen(self.shape, self.strides)
        return lifted(stand_in(self)[index])

    def _seen(self, shape: Any, strides: Any) -> MetaArray:
        """A view that begins where the array does."""
        made = MetaArray(shape, self.dtype, strides)
        made.torch_device, made.base, made.start = self.torch_device, self, self.start
        return made

    def __setitem__(self, index: Any, value: Any) -> None:
        pass

    def item(self) -> Any:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")

    def tolist(self) -> Any:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")


class _Flags:
    def __init__(self, a: MetaArray) -> None:
        self.c_contiguous = _in_order(a)
        self.writeable = True


def _in_order(a: MetaArray) -> bool:
    """Whether elements lie in order; where there is one along a dim, its stride does not matter."""
    step = a.dtype.itemsize
    for n, s in zip(reversed(a.shape), reversed(a.strides), strict=True):
        if s != step and n != 1:
            return bool(a.size == 0)
        step = step * n
    return True


def stand_in(a: Any, element: int = 1) -> Any:
    """An array of a's shape whose elements are one; indices, which must be in range, are zero."""
    return np.broadcast_to(
        np.full((), element, np.dtype(a.dtype.str) if a.dtype.metadata and a.dtype.kind != "V" else bare(a.dtype)),
        a.shape,
    )


def bare(d: Any) -> Any:
    """A dtype without the mark."""
    return next((plain for plain, m in _marked.items() if m is d), d)


def lifted(r: Any) -> Any:
    """The meta array (or arrays) that a result on stand-ins describes."""
    if isinstance(r, (tuple, list)):
        return type(r)(lifted(x) for x in r)
    if isinstance(r, np.ndarray):
        return MetaArray(r.shape, r.dtype, r.strides if 0 not in r.strides or r.size == 0 else None)
    return MetaArray((), r.dtype) if isinstance(r, np.generic) else r


def has_meta(arrays: Any) -> bool:
    """Whether some array is a meta array."""
    return any(type(a) is MetaArray or (type(a) is list and any(type(x) is MetaArray for x in a)) for a in arrays)


def lowered(arrays: Any, indices: Container[int] = ()) -> Any:
    """The arrays with stand-ins for meta arrays. `indices`: the positions of those that are indices."""
    found = []
    for i, a in enumerate(arrays):
        stand = lambda x, element=int(i not in indices): stand_in(x, element) if type(x) is MetaArray else x
        found.append(list(map(stand, a)) if type(a) is list else stand(a))
    return tuple(found)
