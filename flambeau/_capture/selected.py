"""Indices that are numbers in tensors: `x[i]` is a view in eager code, at a place that only the data tells; a program takes a copy.

The two are told apart by writing into either while the other is in use, and by whoever gets the view. A capture in which something of
that kind happens is made again, and breaks where the index is.
"""

from __future__ import annotations

from typing import Any

from flambeau._tensor import Tensor


class Selected(BaseException):
    """A view at a place that data tells was more than read."""


def single(index: Any) -> bool:
    """Whether an index has integers in tensors, and no other tensors."""
    items = index if type(index) is tuple else (index,)
    tensors = [i for i in items if isinstance(i, (Tensor, list))]
    return bool(tensors) and all(isinstance(i, Tensor) and number(i) for i in tensors)


def number(i: Tensor) -> bool:
    return i._a.ndim == 0 and i._a.dtype.kind in "iu" and i._a.dtype.name != "uint8"


def apart(index: Any, rank: int) -> tuple[tuple[Any, ...], list[Any]]:
    """(the index with all of a dim in place of each tensor, the tensors by the dims that are then left)."""
    items = list(index if type(index) is tuple else (index,))
    missing = rank - sum(i is not None and i is not Ellipsis for i in items)
    if Ellipsis not in items:
        items.append(Ellipsis)
    found: list[Any] = []
    for i in items:
        if i is Ellipsis:
            found += [None] * missing
        elif isinstance(i, Tensor):
            found.append(i)
        elif i is None or isinstance(i, slice):
            found.append(None)
    return tuple(slice(None) if isinstance(i, Tensor) else i for i in items), found


def in_order(a: Any, tensors: list[Any]) -> bool:
    """Whether the view of an array has its elements in a row, as the copy has."""
    left = [(n, t) for n, t, i in zip(a.shape, a.strides, tensors, strict=True) if i is None]
    step = a.dtype.itemsize
    for n, t in reversed(left):
        if n != 1 and t != step:
            return False
        step = step * n
    return True
