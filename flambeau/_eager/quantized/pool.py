"""Readings: windows of quantized tensors, pooled, and their neighbours when sizes change."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.quantized_arrays import bounds, codes
from flambeau._eager.quantized import codes_of, like, reading
from flambeau._eager.quantized.pointwise import uniform
from flambeau._operators.op import REGISTRY
from flambeau._tensor import wrap


@reading("_max_pool")
def _max_pool(input: Any, *args: Any, **kwargs: Any) -> Any:
    values, indices = REGISTRY["_max_pool"](codes_of(input), *args, **kwargs)
    return like(input, values), indices


def _pooled(n: int) -> None:
    def pool(
        input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        args = (codes_of(input), kernel_size, stride or kernel_size, padding, dilation, ceil_mode)
        return like(input, REGISTRY[f"max_pool{n}d_with_indices"](*args)[0])  # which takes integers

    reading(f"quantized_max_pool{n}d")(pool)


for _n in (1, 2, 3):
    _pooled(_n)


def _rescaled(t: Any, total: Any, factor: Any) -> Any:
    """Sums of distances from the zero point, times a factor, as codes of t."""
    q = uniform(t, "avg_pool")
    y = np.rint(total.astype(np.float32) * np.asarray(factor, np.float32) + np.float32(q.zero_point))
    low, high = bounds(t.dtype)
    integers = np.clip(y.astype(np.int64), low, high).astype(codes(t._a).dtype)
    return like(t, wrap(np.ascontiguousarray(integers)))


def _distances(t: Any) -> Any:
    return wrap((codes(t._a).astype(np.float64)) - uniform(t, "avg_pool").zero_point)


@reading("_avg_pool")
def _avg_pool(input: Any, size: Any, stride: Any, padding: Any, out: Any, divisor: Any) -> Any:
    total = REGISTRY["_avg_pool"](_distances(input), size, stride, padding, out, 1)._a
    by = divisor._a if hasattr(divisor, "_a") else np.asarray(divisor)
    return _rescaled(input, total, np.float32(1) / by.astype(np.float32))


def _adaptive(n: int) -> None:
    @reading(f"adaptive_avg_pool{n}d")
    def pool(input: Any, output_size: Any) -> Any:
        sizes = (output_size,) * n if isinstance(output_size, int) else tuple(output_size)
        a = _distances(input)._a
        counts: Any = np.ones((1,) * n)
        for i, o in enumerate(sizes):
            axis = a.ndim - n + i
            e = a.shape[axis]
            o = e if o is None else o
            spans = [(j * e // o, -(-(j + 1) * e // o)) for j in range(o)]
            a = np.stack([a.take(range(b, c), axis).sum(axis) for b, c in spans], axis) if o else a.take([], axis)
            shape = [1] * n
            shape[i] = o
            counts = counts * np.array([c - b for b, c in spans], np.float64).reshape(shape)
        return _rescaled(input, a, np.float32(1) / counts.astype(np.float32))


for _n in (1, 2, 3):
    _adaptive(_n)


def _interpolated(overload: str) -> None:
    op = REGISTRY[overload]

    @reading(overload)
    def between(input: Any, *args: Any, **kwargs: Any) -> Any:
        """Between the codes themselves, which lie as their meanings do."""
        r = op(wrap(codes(input._a).astype(np.float32)), *args, **kwargs)._a
        return _rescaled(input, r - np.float32(uniform(input, overload).zero_point), 1.0)


_interpolated("upsample_bilinear2d")
_interpolated("upsample_bilinear2d.vec")
