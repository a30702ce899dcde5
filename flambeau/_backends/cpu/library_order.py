"""Routines that order and search: sorting, selection, uniqueness, binary search. NaN counts as the largest value."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu import ties
from flambeau._backends.cpu.library_indexing import masked_select, nonzero
from flambeau._backends.cpu.library_memory import order_of
from flambeau._backends.cpu.library_product import native
from flambeau._backends.cpu.often import often
from flambeau._values.dtype import HALVES

FEW = 1 << 6  # entries up to which Python puts equal elements in their places
SELDOM = 1 << 6  # integers from a range so many times as wide as a row is long are seldom equal
LAST = 2  # in the mark of a row: the last of its first few has an equal one
LONGEST = 1 << 16  # of longer rows, equal elements stay in their order
NATIVE = 1 << 10  # elements from which a generated kernel orders them


def _native(x: Any, routine: str = "") -> bool:
    """Whether a kernel orders x; small arrays, too, where a routine is named and called often."""
    worth = x.size >= NATIVE or (routine != "" and often(routine))
    return worth and x.ndim > 0 and x.dtype.kind != "c" and type(x) is np.ndarray and native()


def plain(x: Any) -> Any:
    """Narrow floats as float32: NumPy orders those."""
    return x.astype(np.float32) if x.dtype.kind == "V" else x


def sort(x: Any, *, dim: int, descending: bool, stable: bool = True) -> Any:
    """Returns (values, indices); equal elements in their order, or equal integers in the one that PyTorch leaves."""
    if x.ndim == 0:
        return x.copy(), np.zeros((), np.int64)
    order = list(range(x.ndim)) if x.flags.c_contiguous else order_of(x)
    if order != sorted(order):  # the results lie as x does
        found = sort(x.transpose(order), dim=order.index(dim), descending=descending, stable=stable)
        return tuple(r.transpose(np.argsort(order)) for r in found)
    if not stable and ties.SMALL < x.shape[dim] <= LONGEST and x.dtype.kind in "iub":
        order = _as_left(x, x.shape[dim], dim, descending, ties.SORT)
        return np.take_along_axis(x, order, dim), order
    if _native(x, "sort"):
        from flambeau._backends.cpu.sort import sort as kernel

        found = kernel(x, dim, descending, x.size < NATIVE)
        if found is not None:
            return found
    source = plain(np.flip(x, dim) if descending else x)
    order = np.argsort(source, axis=dim, kind="stable")
    if descending:  # ties keep their order: sort the reversed array, then count from its end
        order = np.flip(x.shape[dim] - 1 - order, dim).copy()
    return np.take_along_axis(x, order, dim), order


def _as_left(x: Any, count: int, dim: int, descending: bool, routine: int) -> Any:
    """The first positions of each row as a routine of PyTorch leaves them."""
    entries = _entries(x, dim, descending)
    run = ties.native if entries.size >= FEW and native() else ties.plain
    order = run(entries.reshape(-1, entries.shape[-1]), count, routine).reshape(*entries.shape[:-1], count)
    return np.ascontiguousarray(np.moveaxis(order, -1, dim))


def _entries(x: Any, dim: int, descending: bool) -> Any:
    """Rank and position of each element in the halves of a word, the rows of a dim as the last one."""
    moved = np.moveaxis(x, dim, -1)
    if x.size >= NATIVE and type(x) is np.ndarray and native():
        if x.dtype in INFINITY:
            found = _packed(True)(moved.view(f"i{x.itemsize}"), 1 - 2 * descending, INFINITY[x.dtype])
        else:
            limits = _limits(x)
            at = None if limits is None else (-limits[0], limits[1])[descending]
            found = None if at is None else _packed(False)(moved, 1 - 2 * descending, at)
        if found is not None:
            return found
    rank = np.moveaxis(_rank(x, dim, descending), dim, -1)
    return np.ascontiguousarray(rank << 32 | np.arange(rank.shape[-1]))


def _limits(x: Any) -> tuple[int, int] | None:
    """The least and the greatest of integers that lie within half of 32 bits."""
    if x.dtype.kind not in "iu":
        return None
    low, high = int(x.min()), int(x.max())
    return (low, high) if high - low < 1 << 31 and high < 1 << 63 else None


@cache
def _packed(floating: bool) -> Any:
    """`_entries` as a kernel: of integers and what makes their ranks begin at 0, or of the bits of floats and those of infinity."""
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record, cast
    from flambeau._values.dtype import int64

    k = Record()

    def body(x: Any, sign: Any, at: Any) -> Any:
        rank = cast(x, int64)
        if floating:  # what `keys` says
            negative = k.lt(rank, k.like(0, rank))
            size = k.minimum(k.where(negative, rank + (1 << 8 * x.dtype.itemsize - 1), rank), at + 1)
            rank = k.where(negative, k.where(k.le(size, at), k.like(0, size) - size, size), size)
            at = at + 1  # of float32 the ranks take all 32 bits: an entry has no sign
        return (rank * sign + at) * (1 << 32) + k.iota(x.shape[-1], int64)

    return compile(body, "entries")


# The bits of infinity in the dtypes whose bits are ranks: no more than a half of an entry.
INFINITY = {d: 0x7C00 if d == np.float16 else 0x7F80 for d in HALVES} | {np.dtype("f"): 0x7F800000}


def sort_as_left(x: Any) -> Any:
    """Positions of the elements of the last dim in order, equal ones as PyTorch leaves them in rows that are not too long."""
    n = x.shape[-1]
    if not x.size or not ties.SMALL < n <= LONGEST:
        return sort(x, dim=x.ndim - 1, descending=False)[1]
    return _as_left(x, n, x.ndim - 1, False, ties.SORT)


def _rank(x: Any, dim: int, descending: bool) -> Any:
    """Small integers that compare as the elements do; every NaN is alike, and the largest."""
    if x.dtype.kind == "b":
        return (~x if descending else x).astype(np.int64)
    if x.dtype in INFINITY:
        return keys(x, descending)
    limits = _limits(x)
    if limits is not None:
        wide = x.astype(np.int64, copy=False)
        return limits[1] - wide if descending else wide - limits[0]
    ordered, order = sort(x, dim=dim, descending=descending)
    s = np.moveaxis(plain(ordered), dim, -1)
    new = np.zeros(s.shape, bool)
    np.not_equal(s[..., 1:], s[..., :-1], out=new[..., 1:])
    if s.dtype.kind == "f":
        nan = np.isnan(s)
        new[..., 1:] &= ~(nan[..., 1:] & nan[..., :-1])
    rank = np.empty(s.shape, np.int64)
    np.put_along_axis(rank, np.moveaxis(order, dim, -1), np.cumsum(new, -1), -1)
    return np.moveaxis(rank, -1, dim)


def keys(x: Any, descending: bool = False) -> Any:
    """The bits of floats as integers from 0 on that compare as the numbers do: both zeros alike, and every NaN."""
    infinity, sign = INFINITY[x.dtype], 1 << 8 * x.itemsize - 1
    bits = x.view(f"u{x.itemsize}").astype(np.int64)
    size = np.minimum(bits & sign - 1, infinity + 1)
    signed = np.where((bits >= sign) & (size <= infinity), -size, size)
    return infinity + 1 - signed if descending else infinity + 1 + signed


def _often_tied(x: Any, dim: int) -> bool:
    """Whether rows have equal elements as a rule, so that it pays to order them as PyTorch leaves them at once.

    Integers that are far apart seldom have, and their ranks are known only when they are sorted.
    """
    few = x.dtype.kind in "iub" or x.dtype in HALVES
    if not few or x.size < FEW or not ties.SMALL < x.shape[dim] <= LONGEST or not native():
        return False
    if x.itemsize < 4:
        return True
    limits = _limits(x)
    return limits is not None and limits[1] - limits[0] < SELDOM * x.shape[dim]


def _tied(x: Any, values: Any, dim: int) -> bool:
    """Whether some selected element equals another one of its row."""
    x, values = plain(x), plain(values)
    last = values[(slice(None),) * dim + (slice(-1, None),)]
    return bool(
        (values[(slice(None),) * dim + (slice(1, None),)] == values[(slice(None),) * dim + (slice(None, -1),)]).any()
        or ((x == last).sum(dim) > (values == last).sum(dim)).any()
        or (values.dtype.kind == "f" and np.isnan(values).any())
    )


def topk(x: Any, *, count: int, dim: int, largest: bool, ordered: bool = True) -> Any:
    """The first `count`, equal elements (and where no order is asked for, all) as PyTorch leaves them in rows that are not too long."""
    if not x.ndim or not count or not x.size or x.shape[dim] > LONGEST:
        return _first(x, count=count, dim=dim, largest=largest)[:2]
    few = count * 64 <= x.shape[dim]
    routine = ties.PARTIAL if few else ties.NTH if ordered else ties.LOOSE
    if routine != ties.LOOSE and not _often_tied(x, dim):
        values, index, marks = _first(x, count=count, dim=dim, largest=largest)
        if marks is not None:
            _amend(x, marks, (values, index), count, dim, largest, routine)
        if marks is not None or not _tied(x, values, dim):
            return values, index
    index = _as_left(x, count, dim, largest, routine)
    return np.take_along_axis(x, index, dim), index


def _first(x: Any, *, count: int, dim: int, largest: bool) -> Any:
    """The first `count`, and where a kernel found them, of each row whether they have equals; else None."""
    if _native(x, "topk"):
        from flambeau._backends.cpu.topk import topk as kernel

        found = kernel(x, count, dim, largest, x.size < NATIVE)
        if found is not None:
            return found
    return *_plainly(x, count, dim, largest), None


def _amend(
    x: Any, marked: Any, found: tuple[Any, Any], count: int, dim: int, largest: bool, routine: int, first: int = 0
) -> None:
    """Puts into values and positions, those from the `first` on, what a routine of PyTorch leaves of the rows that are marked."""
    if not marked.any():
        return
    moved = np.moveaxis(x, dim, -1)
    where = np.nonzero(marked.reshape(moved.shape[:-1]))
    rows = moved[where]
    left = _as_left(rows, count, 1, largest, routine)[:, first:]
    for a, own in zip(found, (np.take_along_axis(rows, left, 1), left), strict=True):
        np.moveaxis(a, dim, -1)[where] = own


def _plainly(x: Any, count: int, dim: int, largest: bool) -> tuple[Any, Any]:
    """The first `count` in NumPy."""
    if x.ndim == 0:
        return (x.copy(), np.zeros((), np.int64)) if count else (x.reshape(1)[:0], np.zeros(0, np.int64))
    n = x.shape[dim]
    cut = (slice(None),) * dim + (slice(0, count),)
    if largest or count * 8 > n or x.dtype.kind == "V" or n < 256:
        if largest and 0 < count * 8 <= n and n >= 256 and x.dtype.kind in "iuf":
            source = np.flip(x, dim)
            part = np.argpartition(source, n - count, axis=dim)[(slice(None),) * dim + (slice(n - count, n),)]
            found = np.take_along_axis(source, part, dim)
            order = np.flip(np.argsort(found, axis=dim, kind="stable"), dim)
            index = n - 1 - np.take_along_axis(part, order, dim)
            return np.take_along_axis(x, index, dim), np.ascontiguousarray(index)
        values, order = sort(x, dim=dim, descending=largest)
        return np.ascontiguousarray(values[cut]), np.ascontiguousarray(order[cut])
    part = np.argpartition(x, count - 1 if count else 0, axis=dim)[cut]
    found = np.take_along_axis(x, part, dim)
    order = np.argsort(found, axis=dim, kind="stable")
    return np.take_along_axis(found, order, dim), np.take_along_axis(part, order, dim)


def kthvalue(x: Any, *, place: int, dim: int, keepdim: bool) -> Any:
    if x.ndim == 0:
        return x.copy(), np.zeros((), np.int64)
    chosen = (slice(None),) * dim + (slice(place - 1, place),)
    left = _often_tied(x, dim)
    if not left:
        marks = None
        if _native(x, "kthvalue"):
            _, order, marks = _first(x, count=place, dim=dim, largest=False)
        else:
            _, order = sort(x, dim=dim, descending=False)
        index = order[chosen]
        values = np.take_along_axis(x, index, dim)
        if marks is not None and x.shape[dim] <= LONGEST:
            _amend(x, marks & LAST, (values, index), place, dim, False, ties.SELECT, place - 1)
        left = marks is None and x.size and x.shape[dim] <= LONGEST and _tied(x, values, dim)
    if left:
        index = _as_left(x, place, dim, False, ties.SELECT)[chosen]
        values = np.take_along_axis(x, index, dim)
    return (values, np.ascontiguousarray(index)) if keepdim else (values.squeeze(dim), index.squeeze(dim).copy())


def unique(x: Any, *, dim: int | None, inverse: bool = True, counts: bool = True) -> Any:
    """(values, inverse, counts), of which the last two may be left empty where there is no `dim`; every NaN is distinct."""
    if dim is None:
        source = plain(x)
        if x.dtype.kind in "iu" and x.size > 256:
            least, greatest = int(x.min()), int(x.max())
            if greatest - least < 4 * x.size:  # counting beats sorting
                shifted = (x.reshape(-1) - least).astype(np.int64, copy=False)
                often = np.bincount(shifted)
                found = np.flatnonzero(often)
                back = (np.cumsum(often > 0) - 1)[shifted].reshape(x.shape) if inverse else _NONE
                return (found + least).astype(x.dtype), back, often[found] if counts else _NONE
        if _native(x):
            return _distinct(source.reshape(-1), x, inverse, counts)
        values, back, often = np.unique(source, return_inverse=True, return_counts=True, equal_nan=False)
        back = back.reshape(x.shape).astype(np.int64, copy=False) if inverse else _NONE
        return values.astype(x.dtype, copy=False), back, often if counts else _NONE
    n = x.shape[dim]
    rows = np.moveaxis(plain(x), dim, 0).reshape(n, x.size // n if n else 0)
    if rows.shape[1] == 0:
        one = np.zeros(n, np.int64)
        return np.take(x, [0] if n else [], dim), one, np.array([n] if n else [], np.int64)
    _, first, back, often = np.unique(rows, axis=0, return_index=True, return_inverse=True, return_counts=True)
    return np.take(x, first, dim), back.reshape(-1), often


_NONE = np.zeros(0, np.int64)  # what nobody asked for


def _distinct(flat: Any, x: Any, inverse: bool, counts: bool) -> Any:
    """`unique` by the kernel that sorts."""
    ordered, order = sort(flat, dim=0, descending=False)
    values, runs, often = _runs(ordered, inverse, counts)
    back = _NONE
    if inverse:
        back = np.empty(flat.size, np.int64)
        back[order] = runs
        back = back.reshape(x.shape)
    return values.astype(x.dtype, copy=False), back, often


def _runs(flat: Any, inverse: bool, counts: bool) -> Any:
    """(the first of each run of equal elements, which run each is in, how long runs are) of a vector."""
    new = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=new[1:])
    back = np.cumsum(new) - 1 if inverse else _NONE
    often = np.diff(np.append(nonzero(new)[:, 0], flat.size)) if counts else _NONE
    return masked_select(flat, new), back, often


def unique_runs(x: Any, *, dim: int | None, inverse: bool = True, counts: bool = True) -> Any:
    if dim is None:
        values, back, often = _runs(x.reshape(-1), inverse, counts)
        return values, back.reshape(x.shape) if inverse else back, often
    n = x.shape[dim]
    rows = np.moveaxis(x, dim, 0).reshape(n, x.size // n if n else 0)
    new = np.ones(n, bool)
    if n > 1:
        new[1:] = (rows[1:] != rows[:-1]).any(1)
    at = np.flatnonzero(new)
    return np.take(x, at, dim), np.cumsum(new) - 1, np.diff(np.append(at, n))


def searchsorted(boundaries: Any, values: Any, sorter: Any, *, right: bool, dtype: Any) -> Any:
    side: Any = "right" if right else "left"
    b, v = plain(boundaries), plain(np.asarray(values))
    if sorter is not None:
        b = np.take_along_axis(b, sorter, -1)
    if native() and v.size and b.size:
        from flambeau._backends.cpu.search import places

        found = places(b, v, right=right, out=dtype.np)
        if found is not None:
            return found
    if b.ndim == 1:
        return np.asarray(np.searchsorted(b, v, side)).astype(dtype.np)
    out = np.empty(v.shape, dtype.np)
    for i in np.ndindex(b.shape[:-1]):
        out[i] = np.searchsorted(b[i], v[i], side)
    return out


def isin(elements: Any, tests: Any, *, invert: bool) -> Any:
    return np.asarray(np.isin(elements, tests, invert=invert))
