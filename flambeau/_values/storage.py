"""Storage: the bytes that views share, found from any array that lies in them. Nothing here copies."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BYTE = np.dtype(np.uint8)


def root(array: Array) -> Array:
    """The array that owns the memory `array` lies in."""
    base = array.base
    while isinstance(base, np.ndarray):
        array, base = base, base.base
    return array


class _Span:
    """Bytes of somebody else's memory, as NumPy asks for them. The owner lives as long as the bytes."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: Any, pointer: int, size: int, readonly: bool) -> None:
        self.owner = owner
        self.__array_interface__ = {"data": (pointer, readonly), "shape": (size,), "typestr": "|u1", "version": 3}


def span(owner: Any, pointer: int, size: int, readonly: bool = False) -> Array:
    """`size` bytes from `pointer` on, an array that is its own root."""
    if size == 0:
        return np.empty(0, BYTE)
    return np.asarray(_Span(owner, pointer, size, readonly))


def bytes_of(owner: Array) -> Array:
    """All the bytes of a root, in the order of memory."""
    if owner.dtype == BYTE and owner.ndim == 1 and owner.flags.c_contiguous:
        return owner
    first = last = pointer(owner)
    if owner.size == 0:
        return np.empty(0, BYTE)
    for size, stride in zip(owner.shape, owner.strides, strict=True):
        if stride < 0:
            first += (size - 1) * stride
        else:
            last += (size - 1) * stride
    return span(owner, first, last + owner.itemsize - first, not owner.flags.writeable)


def pointer(array: Array) -> int:
    """The address of the first element."""
    return int(array.__array_interface__["data"][0])


def offset(array: Array) -> int:
    """How many elements of this dtype lie before the first element, in its storage."""
    if array.base is None or array.itemsize == 0:
        return 0
    return (pointer(array) - pointer(bytes_of(root(array)))) // array.itemsize if array.size else 0


def strides(array: Array) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(s // array.itemsize for s in array.strides)


def view(data: Array, dtype: np.dtype[Any], start: int, shape: tuple[int, ...], steps: tuple[int, ...]) -> Array:
    """The array of this dtype, shape and strides (in elements) that starts `start` elements into the bytes `data`."""
    if len(shape) != len(steps):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(steps)} and {list(shape)}")
    if any(n < 0 for n in shape) or any(n < 0 for n in steps) or start < 0:
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(steps)}, sizes: {list(shape)}, "
            f"storage offset: {start}"
        )
    item = dtype.itemsize
    needed = 0 if 0 in shape else (start + sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) + 1) * item
    if needed > data.size:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {start}, and itemsize {item} requiring a "
            f"storage size of {needed} are out of bounds for storage of size {data.size}"
        )
    if needed == 0:
        return np.ndarray(shape, dtype, np.empty(item, np.uint8), 0, tuple(s * item for s in steps))
    return np.ndarray(shape, dtype, data, start * item, tuple(s * item for s in steps))
