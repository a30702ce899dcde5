"""Pointwise and scanning routines that NumPy has under another name, or SciPy has."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu.library_indexing import gather, within
from flambeau._backends.cpu.library_memory import write
from flambeau._values.dtype import NARROW


def gcd(x: Any, y: Any) -> Any:
    return np.gcd(x, y)


def lcm(x: Any, y: Any) -> Any:
    return np.lcm(x, y)


def polygamma(x: Any, *, n: int) -> Any:
    import scipy.special

    return np.asarray(scipy.special.polygamma(n, x)).astype(x.dtype)


def angle(x: Any) -> Any:
    if x.dtype.kind == "c":
        return np.arctan2(x.imag, x.real)
    out = np.where(x < 0, x.dtype.type(np.pi), x.dtype.type(0))
    return np.where(np.isnan(x), x, out)


def logcumsumexp(x: Any, *, dim: int) -> Any:
    if not x.ndim:
        return x.copy()
    if x.dtype.kind != "c":
        return np.logaddexp.accumulate(x, axis=dim)
    out = np.moveaxis(x.copy(), dim, 0)
    for i in range(1, len(out)):  # the larger real part leaves the exponential
        a, b = out[i - 1], out[i]
        first = a.real >= b.real
        big, small = np.where(first, a, b), np.where(first, b, a)
        both = np.isneginf(big.real)
        out[i] = np.where(both, big, big + np.log1p(np.exp(small - np.where(both, 0, big))))
    return np.moveaxis(out, 0, dim)


def cumulative_extreme(x: Any, *, dim: int, word: str) -> tuple[Any, Any]:
    """The extreme so far, and the index of the last element that equalled it."""
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    values = (np.maximum if word == "max" else np.minimum).accumulate(x, axis=dim)
    at = np.arange(x.shape[dim]).reshape([-1 if d == dim % x.ndim else 1 for d in range(x.ndim)])
    hit = (x == values) | (x != x)
    return values, np.maximum.accumulate(np.where(hit, at, 0), axis=dim)


def filled(x: Any, *, shape: Any) -> Any:
    """An array of one value throughout."""
    out = np.empty(shape, x.dtype)
    write(out, x.reshape(())) if x.dtype.kind == "V" else out.fill(x.item())
    return out


FEW = 1024  # rows for which one subscript is quicker than `gather`


def nll(x: Any, target: Any, weight: Any, *, reduction: int, ignore_index: int) -> tuple[Any, Any]:
    """(loss, total weight) of class indices `target`, for log-probabilities x with classes in dim 1 (or 0)."""
    if x.dtype in NARROW:  # sums need more bits
        wide = None if weight is None else weight.astype(NARROW[x.dtype])
        loss, total = nll(x.astype(NARROW[x.dtype]), target, wide, reduction=reduction, ignore_index=ignore_index)
        return loss.astype(x.dtype), total.astype(x.dtype)
    dim = 1 if x.ndim > 1 else 0
    classes = x.shape[dim]
    at = target.astype(np.int64, copy=False)
    whole = not 0 <= ignore_index < classes and at.size > 0 and within(at, classes)
    keep: Any = None if whole else target != ignore_index
    if not whole:
        whole = bool(keep.all())
        at = at if whole else np.where(keep, at, 0)
        if at.size and not within(at, classes):
            bad = at[(at < 0) | (at >= classes)].reshape(-1)[0]
            raise IndexError(f"Target {int(bad)} is out of bounds.")
    if x.ndim == 2 and at.size < FEW:
        picked = x[np.arange(at.size), at]
    else:
        picked = gather(x, np.expand_dims(at, dim), dim=dim).squeeze(dim) if x.ndim > 1 else x[at]
    if weight is None:
        loss = -picked
        total = np.asarray(target.size if whole else np.count_nonzero(keep), x.dtype)
    else:
        w = weight[at] if whole else weight[at] * keep
        loss = -(picked * w)
        total = np.asarray(w.sum(dtype=x.dtype))
    if not whole:
        loss = np.where(keep, loss, x.dtype.type(0))
    if reduction == 0:
        return loss, np.zeros((), x.dtype)
    s = np.add.reduce(loss, None)
    return (np.asarray(s / total) if reduction == 1 else np.asarray(s)), total


def nll_back(g: Any, target: Any, weight: Any, *, shape: Any, reduction: int, ignore_index: int) -> Any:
    """What of a gradient of `nll` reaches x: one number per row, written where the target is."""
    keep = target != ignore_index
    whole = keep.all()
    at = target if whole else np.where(keep, target, 0)
    w = None if weight is None else weight[at] if whole else np.where(keep, weight[at], 0)
    if reduction == 1:
        total = keep.sum() if w is None else w.sum()
        with np.errstate(all="ignore"):
            g = g / g.dtype.type(total)
    value = np.broadcast_to(-g if w is None else -g * w, target.shape)
    if not whole:
        value = np.where(keep, value, 0)
    out = np.zeros(tuple(shape), g.dtype)
    if len(shape) == 2:
        out[np.arange(len(at)), at] = value
    else:
        dim = min(len(shape) - 1, 1)
        np.put_along_axis(out, np.expand_dims(at, dim).astype("int64"), np.expand_dims(value, dim), dim)
    return out


_ones: dict[Any, Any] = {}


def ones(n: int, dtype: Any) -> Any:
    """A vector of n ones, kept for the next call; not to be written."""
    found = _ones.get(dtype)
    if found is None or found.size < n:
        found = _ones[dtype] = np.ones(max(n, 1024), dtype)
        found.flags.writeable = False
    return found[:n]


def hash_bits(x: Any, *, dim: Any, keepdim: bool) -> Any:
    """The exclusive or of elements along dims (all where there are none), as bits of doubles or 64-bit integers."""
    wide = x if x.dtype.itemsize == 8 else x.astype(np.int64 if x.dtype.kind in "biu" else np.float64)
    bits = np.ascontiguousarray(wide).view(np.uint64).reshape(x.shape)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    axes = tuple(range(x.ndim)) if not dims or not x.ndim else tuple(d % x.ndim for d in dims)
    return np.bitwise_xor.reduce(bits, axis=axes, keepdims=keepdim)  # type: ignore[call-overload]  # several axes
