"""One number out of many: along axes, several or all of them; and running totals."""

from __future__ import annotations

import math

import numpy as np

import flambeau
from flambeau import Tensor, dtype as DType
from flambeau.array_api._types import WIDE, axes_of, by_numpy, portable, whole

Axes = int | tuple[int, ...] | None


def _total_dtype(x: Tensor, dtype: DType | None) -> DType:
    """The dtype of sums and products: integers in the widest of their sign, all else as it is."""
    if dtype is not None:
        return dtype
    if x.dtype == flambeau.uint8 or x.dtype in WIDE:
        return flambeau.uint64
    return flambeau.int64 if whole(x.dtype) or x.dtype == flambeau.bool else x.dtype


def _total(name: str, x: Tensor, axis: Axes, dtype: DType | None, keepdims: bool) -> Tensor:
    axes, into = axes_of(axis, x.ndim), _total_dtype(x, dtype)
    if x.dtype in WIDE or into in WIDE:
        return by_numpy(getattr(np, name), x, axis=axes, dtype=into, keepdims=keepdims)
    if not axes:
        return x.to(into, copy=True)
    if name == "sum":
        return flambeau.sum(x, axes, keepdims, dtype=into)
    for a in sorted(axes, reverse=True):
        x = flambeau.prod(x, a, keepdims, dtype=into)
    return x


def sum(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The sum over axes; of integers in 64 bits of their sign."""
    return _total("sum", x, axis, dtype, keepdims)


def prod(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The product over axes; of integers in 64 bits of their sign."""
    return _total("prod", x, axis, dtype, keepdims)


def _extreme(name: str, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    axes = axes_of(axis, x.ndim)
    if math.prod(x.shape[a] for a in axes) == 0:
        raise ValueError(f"{name} of no elements")
    if not axes:
        return x.clone()
    if x.dtype in WIDE:
        return by_numpy(getattr(np, name), x, axis=axes, keepdims=keepdims)
    return getattr(flambeau, "a" + name)(x, axes, keepdims)


def max(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest over axes; NaN where there is one."""
    return _extreme("max", x, axis, keepdims)


def min(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest over axes; NaN where there is one."""
    return _extreme("min", x, axis, keepdims)


def mean(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over axes."""
    axes = axes_of(axis, x.ndim)
    return flambeau.mean(x, axes, keepdims) if axes else x.clone()


def _spread(name: str, x: Tensor, axis: Axes, correction: float, keepdims: bool) -> Tensor:
    axes = axes_of(axis, x.ndim)
    if not axes:
        return x - x if correction < 1 else flambeau.full_like(x, math.nan)
    n = math.prod(x.shape[a] for a in axes)
    if float(correction).is_integer():
        out: Tensor = flambeau.var(x, axes, correction=int(correction), keepdim=keepdims)
    else:
        out = flambeau.var(x, axes, correction=0, keepdim=keepdims) * (
            n / (n - correction) if n > correction else math.inf
        )
    return out.sqrt() if name == "std" else out


def std(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The root of `var`."""
    return _spread("std", x, axis, correction, keepdims)


def var(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """sum((x - mean)^2) / (n - correction) over axes."""
    return _spread("var", x, axis, correction, keepdims)


def _truth(name: str, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    axes = axes_of(axis, x.ndim)
    x = x if x.dtype == flambeau.bool else by_numpy(np.astype, x, np.bool_) if x.dtype in WIDE else x != 0
    return getattr(flambeau, name)(x, axes, keepdims) if axes else x.clone()


def all(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether every element over axes is not zero."""
    return _truth("all", x, axis, keepdims)


def any(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether some element over axes is not zero."""
    return _truth("any", x, axis, keepdims)


def _place(name: str, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    if axis is not None:
        axes_of(axis, x.ndim)
    if x.dtype in WIDE:
        return by_numpy(getattr(np, name), x, axis=axis, keepdims=keepdims)
    out = getattr(flambeau, name)(x, axis, keepdims and axis is not None)
    return out.reshape((1,) * x.ndim) if keepdims and axis is None else out


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the first of the largest lies along an axis; in x flattened where it is None."""
    return _place("argmax", x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the first of the smallest lies along an axis; in x flattened where it is None."""
    return _place("argmin", x, axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """How many elements over axes are not zero."""
    x = by_numpy(np.astype, x, np.bool_) if x.dtype in WIDE else x != 0
    return _total("sum", x, axis, flambeau.int64, keepdims)


def _running(x: Tensor, axis: int | None, dtype: DType | None, include_initial: bool, product: bool) -> Tensor:
    if axis is None:
        if x.ndim != 1:
            raise ValueError("axis must be given where x has not one dimension")
        axis = 0
    (axis,) = axes_of(axis, x.ndim)
    into = _total_dtype(x, dtype)
    if x.dtype in WIDE or into in WIDE:
        out = by_numpy(np.cumprod if product else np.cumsum, x, axis=axis, dtype=into)
    else:
        out = (flambeau.cumprod if product else flambeau.cumsum)(x, axis, dtype=into)
    if include_initial:
        first = flambeau.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), int(product), dtype=into, device=x.device)
        out = flambeau.cat([first, out], axis)
    return out


def cumulative_prod(x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None,
                    include_initial: bool = False) -> Tensor:  # fmt: skip
    """Products of all elements up to each along an axis, after a 1 if `include_initial`."""
    return _running(x, axis, dtype, include_initial, True)


def cumulative_sum(x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None,
                   include_initial: bool = False) -> Tensor:  # fmt: skip
    """Sums of all elements up to each along an axis, after a 0 if `include_initial`."""
    return _running(x, axis, dtype, include_initial, False)


@portable
def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along an axis, n times over, of x with what is put before and after it."""
    axes_of(axis, x.ndim)
    return flambeau.diff(x, n, axis, prepend, append)
