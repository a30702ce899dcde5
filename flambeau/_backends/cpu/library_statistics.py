"""Routines of statistics: medians, modes, counts in bins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_order import keys, sort, sort_as_left
from flambeau._backends.cpu.library_product import native, product
from flambeau._values.dtype import HALVES


def median(x: Any, *, dim: int, ignore_nan: bool) -> tuple[Any, Any]:
    """The lower median along dim, and where it is. A NaN wins unless NaNs are ignored."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    n = x.shape[dim]
    nan = None if x.dtype.kind in "biu" else np.isnan(x)
    if nan is not None and not nan.any():
        nan = None
    if x.ndim == 1 and n > 1 and nan is None:
        given = x
        if x.dtype in HALVES:  # NumPy orders integers faster
            x = keys(x).astype(np.uint16)
        value = np.partition(x, (n - 1) // 2)[(n - 1) // 2]  # and which of its equals a stable sort would put there
        at = np.flatnonzero(x == value)[(n - 1) // 2 - np.count_nonzero(x < value)]
        return given[at].reshape(()), np.asarray(at)
    _, order = sort(x, dim=dim, descending=False)  # NaN is last
    if nan is None:
        at = np.take(order, [(n - 1) // 2], dim)
    else:
        bad = nan.sum(dim, keepdims=True)
        place = np.maximum(n - bad - 1, 0) // 2 if ignore_nan else np.where(bad > 0, n - bad, (n - 1) // 2)
        at = np.take_along_axis(order, place, dim)
    return np.take_along_axis(x, at, dim).squeeze(dim), at.squeeze(dim)


def mode(x: Any, *, dim: int) -> tuple[Any, Any]:
    """The smallest of the most frequent values along dim, and where it last is."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    moved = np.moveaxis(x, dim, -1)
    order = sort_as_left(moved)
    s = np.take_along_axis(moved, order, -1)
    places = np.arange(s.shape[-1])
    fresh = np.ones(s.shape, bool)
    fresh[..., 1:] = s[..., 1:] != s[..., :-1]
    seen = places - np.maximum.accumulate(np.where(fresh, places, 0), axis=-1)  # how often before, within its run
    best = np.argmax(seen, axis=-1, keepdims=True)
    at = np.take_along_axis(order, best, -1)
    return np.take_along_axis(moved, at, -1)[..., 0], at[..., 0]


def bincount(x: Any, weights: Any, *, minlength: int) -> Any:
    if weights is None:
        return np.bincount(x, minlength=minlength)
    out = np.bincount(x, weights.astype(np.float64), minlength)
    return out.astype(weights.dtype) if weights.dtype == np.float32 else out


def euclidean(x: Any, y: Any) -> Any:
    """The distances between the rows of x and those of y, by one matrix product."""
    ours, theirs = (x * x).sum(-1, keepdims=True, dtype=x.dtype), (y * y).sum(-1, dtype=y.dtype)[..., None, :]
    meet = product(x, np.swapaxes(y, -1, -2))
    found = _apart()(ours, theirs, meet) if meet.size >= DISTANCES and meet.dtype.kind == "f" and native() else None
    return np.sqrt(np.maximum(ours + theirs - 2 * meet, 0)) if found is None else found


DISTANCES = 1 << 13  # from which what follows the product is one kernel


@cache
def _apart() -> Any:
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record

    k = Record()
    return compile(lambda x, y, meet: k.sqrt(k.maximum(x + y - meet * 2.0, k.like(0, meet))), "distances")


def histc(x: Any, *, bins: int, low: float, high: float) -> Any:
    """How many elements lie in each of `bins` equal parts of [low, high]; the last part is closed."""
    x = x.reshape(-1)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low}, {high}] is not finite")
    if low == high:
        low, high = low - 1, high + 1
    one = x.dtype.type
    if _counted(x):
        given = [np.asarray(v, x.dtype) for v in (low, high, bins, high - low)]
        found = _parts()(x, *given, bins)
        if found is not None:
            return np.bincount(found, minlength=bins + 1)[:bins].astype(x.dtype)
    x = x[(x >= low) & (x <= high)]
    at = ((x - one(low)) * one(bins) / one(high - low)).astype(np.int64)
    return np.bincount(np.minimum(at, bins - 1), minlength=bins).astype(x.dtype)


def _counted(x: Any) -> bool:
    """Whether a kernel finds the parts that elements are counted in."""
    return x.size >= DISTANCES and x.dtype.char in "fd" and native()


@cache
def _parts() -> Any:
    """Which of equal parts each element is in, or, outside, one more than there are."""
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record, cast
    from flambeau._values.dtype import int64

    k = Record()

    def body(x: Any, low: Any, high: Any, bins: Any, span: Any, count: Any) -> Any:
        inside = k.logical_and(k.ge(x, low), k.le(x, high))
        at = cast(k.where(inside, (x - low) * bins / span, k.like(0, x)), int64)
        return k.where(inside, k.minimum(at, count - 1), count)

    return compile(body, "parts")


@cache
def _between() -> Any:
    """The same from how many edges are not above each element."""
    from flambeau._backends.cpu.compile import compile
    from flambeau._kernel.record import Record

    k = Record()

    def body(x: Any, after: Any, low: Any, high: Any, count: Any) -> Any:
        inside = k.logical_and(k.ge(x, low), k.le(x, high))
        return k.where(inside, k.maximum(k.minimum(after - 1, count - 1), k.like(0, after)), count)

    return compile(body, "between")


def _line(x: Any, edges: Any) -> Any:
    """How many numbers lie between each two edges, or None where there is no kernel."""
    from flambeau._backends.cpu.search import places

    x, edges, n = np.ascontiguousarray(x), np.asarray(edges), len(edges) - 1
    if edges.dtype != x.dtype or n < 1 or np.isnan(edges).any():
        return None
    after = places(edges, x, right=True, out=np.dtype(np.int64))
    at = None if after is None else _between()(x, after, edges[:1].reshape(()), edges[-1:].reshape(()), n)
    return None if at is None else np.bincount(at, minlength=n + 1)[:n]


def histogram(
    x: Any, weight: Any, *, bins: Sequence[Any], bounds: Sequence[float] | None, density: bool
) -> tuple[Any, list[Any]]:
    """Counts of the rows of x in a grid; `bins` has the number of parts, or their edges, for each column."""
    columns = x.shape[1]
    edges = []
    for d, b in enumerate(bins):
        if not isinstance(b, int):
            edges.append(b)
            continue
        low, high = (
            (bounds[2 * d], bounds[2 * d + 1])
            if bounds is not None
            else (x[:, d].min(), x[:, d].max())
            if x.size
            else (0.0, 1.0)
        )
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges.append(np.linspace(low, high, b + 1, dtype=x.dtype))
    shape = tuple(len(e) - 1 for e in edges)
    counts = _line(x[:, 0], edges[0]) if columns == 1 and weight is None and _counted(x) else None
    if counts is None:
        keep = np.ones(x.shape[0], bool)
        at = np.zeros(x.shape[0], np.int64)
        for d in range(columns):
            column, e = x[:, d], edges[d]
            keep &= (column >= e[0]) & (column <= e[-1])
            at = at * shape[d] + np.clip(np.searchsorted(e, column, "right") - 1, 0, shape[d] - 1)
        w = None if weight is None else weight.reshape(-1)[keep].astype(np.float64)
        counts = np.bincount(at[keep], w, int(np.prod(shape))).reshape(shape)
    counts = counts.astype(x.dtype)
    if density:
        counts = counts / counts.sum()
        for d, e in enumerate(edges):
            counts = counts / np.diff(e).reshape([-1 if i == d else 1 for i in range(columns)])
    return counts.astype(x.dtype, copy=False), edges
