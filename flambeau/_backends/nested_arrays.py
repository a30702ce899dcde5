"""Nested arrays: a batch whose members differ in size. What a Tensor holds that `torch.nested` made.

A jagged one is its values, along one dimension of which the members follow each other, and where each begins; a strided one is a
buffer with the sizes, strides and place of every member. To the code above they look like the null backend's arrays, as sparse
ones do.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau._backends.meta import marked
from flambeau._values.device import CPU, jagged, strided
from flambeau._values.shape import contiguous_strides

NO_SIZES = "Internal error: NestedTensorImpl doesn't support {}. Please file an issue."


class NestedArray:
    """What the nested layouts have in common."""

    base = None
    has_elements = False
    values: Any
    __slots__ = ()

    @property
    def dtype(self) -> Any:
        return marked(self.values.dtype)

    @property
    def torch_device(self) -> Any:
        return getattr(self.values, "torch_device", CPU)

    @property
    def nbytes(self) -> int:
        return self.size * self.values.dtype.itemsize  # type: ignore[attr-defined]

    def with_values(self, values: Any) -> Any:
        """Other elements, in the same structure."""
        raise NotImplementedError

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return self.with_values(self.values.astype(dtype, copy=copy))

    def copy(self, order: str = "K") -> Any:
        return self.with_values(self.values.copy())


class Ragged:
    """The structure of a jagged array: where members begin (and how long they are, where there are holes between them), which
    dimension is ragged, and the least and the greatest length, where they are known."""

    __slots__ = ("at", "lengths", "offsets", "seqlens", "size")

    def __init__(self, offsets: Any, lengths: Any, at: int, size: Any, seqlens: dict[str, Any]) -> None:
        self.offsets, self.lengths, self.at, self.size, self.seqlens = offsets, lengths, at, size, seqlens

    @property
    def counts(self) -> Any:
        """How long each member is."""
        return np.diff(self.offsets._a) if self.lengths is None else self.lengths._a

    def moved(self, at: int) -> Ragged:
        """The same structure, its ragged dimension elsewhere."""
        return self if at == self.at else Ragged(self.offsets, self.lengths, at, self.size, self.seqlens)


class JaggedArray(NestedArray):
    """Values, one dimension of which is that of all members joined."""

    __slots__ = ("ragged", "values")
    layout = jagged

    def __init__(self, values: Any, ragged: Ragged) -> None:
        self.values, self.ragged = values, ragged

    @property
    def shape(self) -> tuple[Any, ...]:
        r = self.ragged.at - 1
        v = self.values.shape
        return (self.ragged.offsets.shape[0] - 1, *v[:r], self.ragged.size, *v[r + 1 :])

    @property
    def strides(self) -> tuple[Any, ...]:
        s = self.values.strides
        return (self.ragged.size * s[self.ragged.at - 1], *s)

    ndim = property(lambda self: self.values.ndim + 1)

    @property
    def size(self) -> int:
        if self.ragged.lengths is None:
            return self.values.size
        v = self.values.shape
        return int(self.ragged.counts.sum()) * prod(v[: self.ragged.at - 1]) * prod(v[self.ragged.at :])

    @property
    def flags(self) -> Any:
        return _Flags(self.ragged.lengths is None and self.values.flags.c_contiguous)

    def with_values(self, values: Any) -> JaggedArray:
        return JaggedArray(values, self.ragged)


class StridedArray(NestedArray):
    """A buffer (one dimension) and for every member its sizes, strides and offset in it, in elements."""

    __slots__ = ("offsets", "places", "sizes", "values")
    layout = strided

    def __init__(self, values: Any, sizes: Any, places: Any = None, offsets: Any = None) -> None:
        self.values, self.sizes = values, sizes
        if places is None:
            places, offsets = packed(sizes)
        self.places, self.offsets = places, offsets

    @property
    def shape(self) -> Any:
        raise RuntimeError(NO_SIZES.format("sizes"))

    @property
    def strides(self) -> Any:
        raise RuntimeError(NO_SIZES.format("strides"))

    ndim = property(lambda self: self.sizes.shape[1] + 1 if self.sizes.ndim == 2 else 1)
    count = property(lambda self: self.sizes.shape[0] if self.sizes.ndim == 2 else 0)

    @property
    def size(self) -> int:
        return int(self.sizes.prod(1).sum()) if self.sizes.ndim == 2 else 0

    @property
    def packed(self) -> bool:
        """Whether members follow each other in the buffer, each contiguous."""
        places, offsets = packed(self.sizes)
        return np.array_equal(places, self.places) and np.array_equal(offsets, self.offsets)

    @property
    def flags(self) -> Any:
        return _Flags(self.packed)

    def with_values(self, values: Any) -> StridedArray:
        return StridedArray(values, self.sizes, self.places, self.offsets)

    def members(self) -> list[Any]:
        """Every member, as an array over the buffer."""
        item = self.values.dtype.itemsize
        return [
            np.ndarray(tuple(n), self.values.dtype, self.values, int(o) * item, tuple(int(s) * item for s in p))
            for n, p, o in zip(self.sizes.tolist(), self.places.tolist(), self.offsets.tolist(), strict=True)
        ]


class _Flags:
    writeable = True
    f_contiguous = False

    def __init__(self, c_contiguous: bool) -> None:
        self.c_contiguous = c_contiguous


def begins(counts: Any) -> Any:
    """Where each of some members that follow each other begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def packed(sizes: Any) -> tuple[Any, Any]:
    """Strides and offsets of members of these sizes that follow each other."""
    if sizes.ndim != 2:
        return sizes, np.zeros(0, np.int64)
    strides = np.array([contiguous_strides(n) for n in sizes.tolist()], np.int64).reshape(sizes.shape)
    return strides, begins(sizes.prod(1))[:-1]
