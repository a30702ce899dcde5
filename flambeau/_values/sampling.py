"""The distributions of PyTorch's CPU kernels on arrays: which words they take from the generator, and what they make of them.

Each function returns a flat array of `n` values in the order in which PyTorch fills memory; `arrange` gives them the shape and
order of a strided array. Arguments have been checked by the operators. Rejection samplers are in `rejection.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from flambeau._values import rounding
from flambeau._values.mt19937 import LARGE
from flambeau._values.normal import PART, normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambeau._values.generator import Generator

    Array = np.ndarray[Any, Any]
    Type = np.dtype[Any]

__all__ = ("arrange", "bernoulli", "bernoulli_each", "cauchy", "exponential", "full_range", "geometric", "integers", "log_normal",
           "memory_order", "multinomial", "normal", "randperm", "uniform", "whole_range")  # fmt: skip

DIGITS = {np.dtype(np.float16): 11, np.dtype(ml_dtypes.bfloat16): 8, np.dtype(np.float32): 24, np.dtype(np.float64): 53}
BOOL = np.dtype(np.bool_)
SMALL = 1 << 10  # numbers that are drawn at once, into words of their own
WIDE_RANGE = 1 << 28  # integers from a range this wide take 64 bits each, to keep `%` fair
LARGE_PERMUTATION = 0xFFFFFFFF // 20


def memory_order(a: Array) -> tuple[int, ...]:
    """The dims of an array in the order in which PyTorch's iterators walk it: forwards through memory."""
    return tuple(sorted(range(a.ndim), key=lambda d: -abs(a.strides[d]) if a.shape[d] > 1 else -math.inf))


def arrange(values: Array, like: Array) -> Array:
    """Flat values in the shape of `like`, each where PyTorch would have stored it."""
    if like.flags.c_contiguous or like.ndim < 2:
        return values.reshape(like.shape)
    order = memory_order(like)
    back = sorted(range(like.ndim), key=order.__getitem__)
    return values.reshape([like.shape[d] for d in order]).transpose(back)


def _narrow(values: Array, dtype: Type) -> Array:
    """Doubles as `dtype`; half precision is reached by way of float32."""
    if dtype.itemsize == 2 and dtype in DIGITS:
        values = values.astype(np.float32)
    return values.astype(dtype, copy=False)


def doubles(gen: Generator, n: int) -> Array:
    """Uniform doubles of 53 bits in [0, 1)."""
    out = (gen.engine.take64(n) & np.uint64(0x1FFFFFFFFFFFFF)).astype(np.float64)
    out *= 2.0**-53
    return out


def uniform(gen: Generator, n: int, dtype: Type, low: float = 0.0, high: float = 1.0, native: Any = None) -> Array:
    """Uniform in [low, high): 53 random bits for doubles, 24 for the rest."""
    if native is not None:
        narrow = dtype.char not in "fd"
        real = np.empty(n, np.float32 if narrow else dtype)
        with gen.lock:
            for start in range(0, n, PART):
                part = real if n <= PART else real[start : start + PART]
                native.uniform(gen.engine.over(part), part, low, high, math.inf if narrow else high)
        return _open(real, dtype, low, high) if narrow else real
    out = np.empty(n, dtype)
    with gen.lock:
        for start in range(0, n, LARGE):  # in parts that stay in cache
            part = out[start : start + LARGE]
            _uniform(gen, part, low, high)
    return out


def _uniform(gen: Generator, out: Array, low: float, high: float) -> None:
    dtype = out.dtype
    if dtype == np.float64:
        x = doubles(gen, out.size)
        out[:] = x if low == 0 and high == 1 else _open(rounding.fma(x, high - low, low), dtype, low, high)
        return
    bits = gen.engine.take(out.size) & np.uint32(0xFFFFFF)
    if low == 0 and high == 1:
        if dtype == np.float32:
            np.multiply(bits, np.float32(2.0**-24), dtype=np.float32, out=out)
        else:
            out[:] = _open(np.multiply(bits, np.float32(2.0**-24), dtype=np.float32), dtype, 0, 1)
        return
    first, last = np.float32(low), np.float32(high)
    # The product is exact, so the sum below rounds as a fused multiply-add does.
    wide = np.multiply(bits, 2.0**-24 * float(last - first), dtype=np.float64)
    wide += float(first)
    out[:] = _open(wide.astype(np.float32), dtype, low, high)


def _open(values: Array, dtype: Type, low: float, high: float) -> Array:
    """Values as `dtype`; what was rounded up to `high`, which does not belong, becomes `low`."""
    out = values.astype(dtype, copy=False)
    np.copyto(out, dtype.type(low), where=out >= dtype.type(high))
    return out


def integers(gen: Generator, n: int, dtype: Type, low: int, span: int, native: Any = None) -> Array:
    """Integers in [low, low + span), 0 < span < 2**64."""
    if native is not None:
        whole = np.empty(n, np.int64)
        each = 2 if span >= WIDE_RANGE else 1
        words = np.empty(each * min(n, PART), np.uint32)
        with gen.lock:
            for start in range(0, n, PART):
                part = whole if n <= PART else whole[start : start + PART]
                native.remainder(gen.engine.over(words[: each * part.size]), part, low, span)
        return _narrow(whole, dtype)
    with gen.lock:
        if span >= WIDE_RANGE:
            draws = gen.engine.take64(n) % np.uint64(span)
        else:
            draws = gen.engine.take(n) % np.uint32(span)
    out = draws.astype(np.int64, copy=False)
    if low:
        out = out + np.int64(low)  # wraps, as in C
    return _narrow(out, dtype)


def full_range(gen: Generator, n: int, dtype: Type) -> Array:
    """All of int64's range."""
    with gen.lock:
        return _narrow(gen.engine.take64(n).view(np.int64), dtype)


def whole_range(gen: Generator, n: int, dtype: Type) -> Array:
    """What `random_()` gives: [0, largest] for integers, [0, 2**digits] for floats."""
    wide = dtype.itemsize == 8
    if dtype == np.bool_:
        top = 1
    else:
        top = (1 << DIGITS[dtype]) if dtype in DIGITS else int(np.iinfo(dtype).max)
    out = np.empty(n, dtype)
    with gen.lock:
        for start in range(0, n, LARGE):  # in parts that stay in cache
            part = out[start : start + LARGE]
            words = gen.engine.take64(part.size) if wide else gen.engine.take(part.size)
            if not top & (top + 1):
                words = words & words.dtype.type(top)
            elif top < (1 << 64 if wide else 1 << 32) - 1:
                words = words % words.dtype.type(top + 1)
            part[...] = _narrow(words, dtype)
    return out


def bernoulli(gen: Generator, n: int, p: float, dtype: Type = BOOL, native: Any = None) -> Array:
    """True with probability `p`: booleans; native code may write them as another dtype."""
    if native is not None:
        found = np.empty(n, dtype if dtype in native.ones else np.bool_)
        if n <= SMALL:  # hot: dropout of small tensors
            with gen.lock:
                native.less(gen.engine.take(2 * n), found, p)
            return found
        words = np.empty(2 * min(n, PART), np.uint32)
        with gen.lock:
            for start in range(0, n, PART):
                part = found if n <= PART else found[start : start + PART]
                native.less(gen.engine.over(words[: 2 * part.size]), part, p)
        return found
    out = np.empty(n, np.bool_)
    with gen.lock:
        for start in range(0, n, LARGE):
            part = out[start : start + LARGE]
            np.less(doubles(gen, part.size), p, out=part)
    return out


def bernoulli_each(gen: Generator, p: Array) -> Array:
    """True with the probability that stands in `p` (flat): booleans. Only double probabilities take double draws."""
    with gen.lock:
        if p.dtype == np.float64:
            return np.asarray(doubles(gen, p.size) < p)
        words = gen.engine.take(p.size)
    return np.asarray(
        np.multiply(words & np.uint32(0xFFFFFF), np.float32(2.0**-24), dtype=np.float32) < p.astype(np.float32)
    )


def _apply(function: Any, fast: Any, x: Array, dtype: Type) -> Array:
    """libm where the result keeps all of a double's bits; NumPy's where it is rounded to far fewer."""
    return rounding.libm(function, x) if dtype == np.float64 or x.size < 16 else np.asarray(fast(x))


def exponential(gen: Generator, n: int, dtype: Type, rate: float) -> Array:
    """Exponential with the given rate."""
    with gen.lock:
        u = doubles(gen, n)
    if rate == math.inf:
        return np.zeros(n, dtype)
    scale = -1.0 / rate if rate else -math.inf
    return _narrow(scale * _apply(math.log1p, np.log1p, -u, dtype), dtype)


def geometric(gen: Generator, n: int, dtype: Type, p: float) -> Array:
    """The number of trials up to the first success."""
    with gen.lock:
        u = doubles(gen, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = rounding.libm(rounding.log, u)  # ceil makes the last place matter
        return _narrow(np.ceil(logs / math.log1p(-p)), dtype)


def cauchy(gen: Generator, n: int, dtype: Type, median: float, sigma: float) -> Array:
    """Cauchy: the ratio of two normals, shifted and scaled."""
    with gen.lock:
        u = doubles(gen, n)
    tangents = _apply(math.tan, np.tan, math.pi * (u - 0.5), dtype)
    return _narrow(rounding.fma(tangents, sigma, median), dtype)


def log_normal(gen: Generator, n: int, dtype: Type, mean: float, std: float) -> Array:
    """exp of a normal."""
    x = normal(gen, n, np.dtype(np.float64), mean, std, contiguous=False)
    return _narrow(_apply(math.exp, np.exp, x, dtype), dtype)


def randperm(gen: Generator, n: int, dtype: Type, native: Any = None) -> Array:
    """0 .. n - 1, shuffled (Fisher and Yates)."""
    with gen.lock:
        if native is not None and 1 < n < LARGE_PERMUTATION:
            places = np.empty(n, np.int32)
            words = np.empty(n - 1, np.uint32)
            gen.engine.fill(words)
            native.permutation(words, places)
            return places.astype(dtype)
        if n >= LARGE_PERMUTATION:
            return _large_permutation(gen, n, dtype)
        steps = gen.engine.take(n - 1) if n > 1 else np.empty(0, np.uint32)
    partners = (np.arange(n - 1) + steps % np.arange(n, 1, -1, dtype=np.uint32)).tolist() if n > 1 else []
    out = list(range(n))
    for i, j in enumerate(partners):
        out[i], out[j] = out[j], out[i]
    return np.array(out, dtype=np.int64).astype(dtype, copy=False)


def _large_permutation(gen: Generator, n: int, dtype: Type) -> Array:
    """From 2**32 / 20 on, each step takes 64 bits, and the shuffle needs no initialisation."""
    out = np.empty(n, dtype)
    block = 1 << 16
    for start in range(0, n, block):
        stop = min(start + block, n)
        partners = gen.engine.take64(stop - start) % np.arange(start + 1, stop + 1, dtype=np.uint64)
        for i, j in enumerate(partners.tolist(), start):
            out[i] = out[j] if j != i else i
            out[j] = i
    return out


def multinomial(gen: Generator, weights: Array, count: int, places: Callable[[Array, Array], Array | None]) -> Array:
    """`count` draws with replacement from each row of weights (rows, categories); `places` is `_first_not_below`, or answers None."""
    out = np.empty((weights.shape[0], count), np.int64)
    wide = weights if weights.dtype.itemsize > 2 else weights.astype(np.float32)
    with gen.lock:
        if len(wide) > 1 and (wide >= 0).all() and np.isfinite(wide).all():
            sums = np.cumsum(wide, 1, dtype=wide.dtype)
            if (sums[:, -1] > 0).all():
                sums /= sums[:, -1:]
                sums[:, -1] = 1
                drawn = doubles(gen, out.size).reshape(out.shape)
                found = places(sums, drawn)
                return _first_not_below(sums, drawn) if found is None else found
        for row, values in enumerate(wide):
            if (values < 0).any():
                raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
            if not np.isfinite(values).all():
                raise RuntimeError(
                    "invalid multinomial distribution (encountering probability entry = infinity or NaN)"
                )
            sums = np.cumsum(values, dtype=wide.dtype)
            if not sums[-1] > 0:
                raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
            sums /= sums[-1]
            sums[-1] = 1
            drawn = doubles(gen, count)
            found = places(sums, drawn)
            out[row] = np.searchsorted(sums, drawn, side="left") if found is None else found
    return out


def _first_not_below(rows: Array, values: Array) -> Array:
    """For each value the first place in its row (rising) whose element is not below it; the last element is above all."""
    low, high = np.zeros(values.shape, np.int64), np.full(values.shape, rows.shape[1] - 1, np.int64)
    for _ in range(rows.shape[1].bit_length()):
        middle = (low + high) >> 1
        below = np.take_along_axis(rows, middle, 1) < values
        low = np.where(below, middle + 1, low)
        high = np.where(below, high, middle)
    return np.minimum(low, rows.shape[1] - 1)
