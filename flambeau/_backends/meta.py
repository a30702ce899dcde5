"""The null backend: arrays that have a shape, strides and a dtype, and no elements. Behind `device="meta"`.

An operation on such arrays runs on stand-ins whose elements all lie in one cell (stride 0); only the shape and dtype of its
result are kept.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau._values.device import META
from flambeau._values.shape import contiguous_strides

_marked: dict[Any, Any] = {}


def marked(d: Any) -> Any:
    """A dtype that equals d without being it: so the flat functions, which ask for identity, pass meta arrays on."""
    found = _marked.get(d)
    if found is None:
        found = _marked[d] = np.dtype(d, metadata={"meta": True})
    return found


class MetaArray:
    """Shape, strides (in bytes) and dtype of an array that is not there."""

    has_elements = False  # what may look at elements only where there are some asks getattr(a, "has_elements", True)
    __slots__ = ("__weakref__", "base", "dtype", "shape", "signs", "strides", "torch_device")

    def __init__(self, shape: Any, dtype: Any, strides: Any = None) -> None:
        self.shape, self.dtype = tuple(shape), marked(dtype)
        self.torch_device, self.signs = META, (False, False)
        self.base: MetaArray | None = None
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
        return {"data": (0, False)}

    def copy(self, order: str = "K") -> MetaArray:
        return self.astype(self.dtype)

    def astype(self, dtype: Any, copy: bool = True) -> MetaArray:
        made = MetaArray(self.shape, dtype)
        made.torch_device = self.torch_device
        return made

    def __getitem__(self, index: Any) -> MetaArray:
        if index is Ellipsis:
            made = MetaArray(self.shape, self.dtype, self.strides)
            made.torch_device, made.base = self.torch_device, self
            return made
        return lifted(stand_in(self)[index])

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
        self.c_contiguous = a.strides == tuple(s * a.dtype.itemsize for s in contiguous_strides(a.shape)) or a.size == 0
        self.writeable = True


def stand_in(a: Any) -> Any:
    """An array of a's shape whose elements are one."""
    return np.broadcast_to(
        np.ones((), np.dtype(a.dtype.str) if a.dtype.metadata and a.dtype.kind != "V" else _bare(a.dtype)), a.shape
    )


def _bare(d: Any) -> Any:
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


def lowered(arrays: Any) -> Any:
    """The arrays with stand-ins for meta arrays."""
    return tuple(stand_in(a) if type(a) is MetaArray else [stand_in(x) if type(x) is MetaArray else x for x in a] if type(a) is list else a
                 for a in arrays)  # fmt: skip
