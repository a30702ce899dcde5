"""Order, places and sets."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

import flambeau
from flambeau import Tensor
from flambeau.array_api._types import WIDE, axes_of, by_numpy, meet


def _ordered(x: Tensor) -> Tensor:
    """Integers in x's order, of a dtype that can be sorted."""
    if x.dtype == flambeau.uint64:
        return x.view(flambeau.int64) ^ flambeau.iinfo(flambeau.int64).min
    return x.to(flambeau.int64) if x.dtype in WIDE else x


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort x along an axis; equal elements keep their order."""
    axes_of(axis, x.ndim)
    return flambeau.argsort(_ordered(x), dim=axis, descending=descending, stable=stable)


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along an axis."""
    if x.dtype in WIDE:
        order = argsort(x, axis=axis, descending=descending, stable=stable)
        return by_numpy(np.take_along_axis, x, order, axis)
    axes_of(axis, x.ndim)
    return flambeau.sort(x, dim=axis, descending=descending, stable=stable).values


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """For each axis, where the elements lie that are not zero."""
    if x.ndim == 0:
        raise ValueError("an array of no dimensions has no places")
    if x.dtype in WIDE:
        return by_numpy(np.nonzero, x)
    return tuple(flambeau.nonzero(x, as_tuple=True))


def searchsorted(
    x1: Tensor, x2: Any, /, *, side: Literal["left", "right"] = "left", sorter: Tensor | None = None
) -> Tensor:
    """Where x2's elements go in the sorted 1-d x1: before (left) or after (right) those equal to them."""
    a, b = meet(x1, x2)
    if a.dtype in WIDE:
        return by_numpy(np.searchsorted, a, b, side=side, sorter=sorter)
    if sorter is not None:
        a = a[sorter.to(flambeau.int64)]
    return flambeau.searchsorted(a, b.contiguous(), side=side)


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """x1 where the condition holds, x2 elsewhere."""
    if isinstance(x1, Tensor) or isinstance(x2, Tensor):
        x1, x2 = meet(x1, x2)
        if x1.dtype in WIDE:
            return by_numpy(np.where, condition, x1, x2)
    return flambeau.where(condition, x1, x2)


class UniqueAll(NamedTuple):
    """What `unique_all` answers."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` answers."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` answers."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> UniqueAll:
    """Distinct elements in order (every NaN its own), where each first lies in x flattened, which of them each element is, how often."""
    flat = x.detach().reshape(-1)
    order = argsort(flat.imag) if flat.is_complex() else argsort(flat)
    if flat.is_complex():  # by real parts, where those are equal by imaginary ones
        order = order[argsort(flat.real[order])]
    ranked = flat[order]
    if flat.numel() == 0:
        none = flambeau.empty(0, dtype=flambeau.int64, device=x.device)
        return UniqueAll(flat, none, none.reshape(x.shape), none)
    raw = ranked.numpy() if ranked.dtype in WIDE else None
    apart = flambeau.from_numpy(raw[1:] != raw[:-1]) if raw is not None else ranked[1:] != ranked[:-1]
    first = flambeau.cat([flambeau.ones(1, dtype=flambeau.bool, device=x.device), apart])
    starts = flambeau.nonzero(first).squeeze(1)
    inverse = flambeau.empty_like(order)
    inverse[order] = flambeau.cumsum(first, 0) - 1
    ends = flambeau.cat([starts[1:], flambeau.tensor([flat.numel()], device=x.device)])
    return UniqueAll(ranked[starts], order[starts], inverse.reshape(x.shape), ends - starts)


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """Distinct elements and how often each comes up."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """Distinct elements, and which of them each element of x is."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Tensor, /) -> Tensor:
    """Distinct elements, in order; every NaN is its own."""
    return unique_all(x).values
