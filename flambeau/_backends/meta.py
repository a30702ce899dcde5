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
from flambeau._values.shape import contiguous_strides, elementwise_strides, infer, view_strides

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

    T = property(lambda self: self.transpose(*reversed(range(self.ndim))))

    def swapaxes(self, i: int, j: int) -> MetaArray:
        order = list(range(self.ndim))
        order[i], order[j] = order[j], order[i]
        return self.transpose(*order)

    def transpose(self, *order: Any) -> MetaArray:
        order = tuple(order[0]) if len(order) == 1 and not isinstance(order[0], int) else order
        return self._seen(tuple(self.shape[d] for d in order), tuple(self.strides[d] for d in order))

    def __getitem__(self, index: Any) -> Any:
        if index is Ellipsis:
            return self._seen(self.shape, self.strides)
        parts = index if isinstance(index, tuple) else (index,)
        if not all(p is None or p is Ellipsis or isinstance(p, (slice, int, np.integer)) for p in parts):
            return lifted(stand_in(self)[index])
        # NumPy walks memory that is not there: what is taken is a view, whose elements nobody reads
        whole = np.lib.stride_tricks.as_strided(np.empty((), bare(self.dtype)), self.shape, self.strides)
        part = whole[parts if Ellipsis in parts else (*parts, ...)]
        there = part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        steps = list(part.strides)
        if None in parts:  # NumPy's new dims have no stride, PyTorch's that of all that follows
            for d in reversed(range(part.ndim)):
                if part.shape[d] == 1 and not steps[d]:
                    steps[d] = part.shape[d + 1] * steps[d + 1] if d + 1 < part.ndim else self.dtype.itemsize
        return self._seen(part.shape, steps, there if part.size else 0)

    def view(self, dtype: Any) -> MetaArray:
        """The same bytes as numbers of another size: along the last dim there are more of them, or fewer."""
        d = np.dtype(dtype)
        if d.itemsize == self.dtype.itemsize:
            made = self._seen(self.shape, self.strides)
        else:
            last = self.shape[-1] * self.dtype.itemsize // d.itemsize
            made = self._seen((*self.shape[:-1], last), (*self.strides[:-1], d.itemsize))
        made.dtype = marked(d)
        return made

    def reshape(self, *shape: Any) -> MetaArray:
        sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        sizes = tuple(infer(sizes, self.size))
        steps = view_strides(self.shape, tuple(s // self.dtype.itemsize for s in self.strides), sizes)
        if steps is None:
            return MetaArray(sizes, self.dtype)
        return self._seen(sizes, tuple(s * self.dtype.itemsize for s in steps))

    def _seen(self, shape: Any, strides: Any, further: int = 0) -> MetaArray:
        """A view that begins where the array does, or some bytes further on."""
        made = MetaArray(shape, self.dtype, strides)
        made.torch_device, made.base, made.start = self.torch_device, self, self.start + further
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


class NoMoveError(Exception):
    """A body does more than move."""


class _Moves:
    """The kernel language for the bodies of views: where the elements of a result would lie."""

    def reshape(self, x: Any, shape: Any) -> Any:
        return x.reshape(tuple(shape))

    def permute(self, x: Any, dims: Any) -> Any:
        return x.transpose(*dims)

    def expand(self, x: Any, shape: Any) -> Any:
        new = len(shape) - x.ndim
        own = [0 if n == 1 and m != 1 else s for n, m, s in zip(x.shape, shape[new:], x.strides, strict=True)]
        return x if x.shape == tuple(shape) else x._seen(tuple(shape), (0,) * new + tuple(own))

    def slice(self, x: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
        return x[(slice(None),) * (dim % x.ndim) + (slice(start, stop, step),)]

    def library(self, name: str, x: Any = None, **given: Any) -> Any:
        if name not in ("strided", "as_strided"):
            raise NoMoveError(name)
        d = x.dtype if given.get("dtype") is None else np.dtype(given["dtype"])
        made = x._seen(tuple(given["shape"]), tuple(s * d.itemsize for s in given["strides"]))
        made.dtype = marked(d)
        if given.get("offset") is not None:
            made.start = given["offset"] * d.itemsize
        return made

    def __getattr__(self, name: str) -> Any:
        raise NoMoveError(name)


MOVES = _Moves()


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
