"""Routines that make arrays from sizes and numbers: fills, ranges, triangles, windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu.library_memory import empty_as, format_order, laid_out, write
from flambeau._backends.cpu.ranges import ranged, triangle_of
from flambeau._values.dtype import SPOKEN, complex32, element
from flambeau._values.rounding import fma

Shape = tuple[int, ...]


def empty(*, shape: Shape, dtype: Any, format: str) -> Any:
    if format == "contiguous_format":
        return np.empty(shape, dtype.np)
    return laid_out(shape, dtype.np, format_order(len(shape), format))


def full_as(x: Any, *, value: Any, dtype: Any, format: str) -> Any:
    """An array like x, filled with a value (None: not filled)."""
    if x.flags.c_contiguous and format == "preserve_format":
        d = x.dtype if dtype is None else dtype.np
        if value is None:
            return np.empty(x.shape, d)
        if value == 0:
            return np.zeros(x.shape, d)
        if value == 1 and d.kind in "fiub":
            out = np.empty(x.shape, d)
            out.fill(1)
            return out
    out = empty_as(x, dtype=dtype, format=format)
    if value is not None:
        write(out, np.asarray(element(value, out.dtype)).astype(out.dtype))
    return out


def arange(*, start: Any, end: Any, step: Any, count: int, dtype: Any) -> Any:
    if isinstance(start, int) and isinstance(step, int) and isinstance(end, int):
        return np.arange(start, start + step * count, step, dtype=np.int64)[:count].astype(dtype.np, copy=False)
    if dtype.kind in "bi":
        return (int(start) + int(step) * np.arange(count)).astype(dtype.np)
    found = ranged("arange", count, dtype, float(start), float(step))
    return (start + np.arange(count) * step).astype(dtype.np) if found is None else found


def linspace(*, start: Any, end: Any, steps: int, dtype: Any) -> Any:
    """From both ends towards the middle, as PyTorch counts, so that both ends are exact."""
    if steps < 2:
        return np.full(steps, start).astype(dtype.np)
    if dtype is complex32 or dtype.kind == "b":
        raise NotImplementedError(f"\"linspace_cpu\" not implemented for '{SPOKEN[dtype]}'")
    if dtype.is_complex:  # part by part
        out = np.empty(steps, dtype.np)
        one, other, real = complex(start), complex(end), dtype.to_real()
        out.real = linspace(start=one.real, end=other.real, steps=steps, dtype=real)
        out.imag = linspace(start=one.imag, end=other.imag, steps=steps, dtype=real)
        return out
    half, wide = steps // 2, np.float64
    up, down = np.arange(half, dtype=wide), np.arange(steps - half - 1, -1, -1, dtype=wide)
    if dtype.kind == "i":
        start, end = float(int(start)), float(int(end))
        step: Any = (end - start) / (steps - 1)
        found = ranged("linspace", steps, dtype, start, end, step, float(half), float(steps - 1))
        if found is not None:
            return found
        return np.concatenate((fma(up, step, start), fma(down, -step, end))).astype(dtype.np)
    d = dtype.np
    a, b = d.type(start), d.type(end)
    if dtype.is_floating_point and d.itemsize < 4:  # every operation rounds to the narrow type
        single = np.float32
        step = d.type(single(d.type(single(b) - single(a))) / single(d.type(steps - 1)))
        a, b, step = single(a), single(b), single(step)
        rise, fall = ((step * n.astype(d).astype(single)).astype(d).astype(single) for n in (up, down))
        return np.concatenate((a + rise, b - fall)).astype(d)
    step = (b - a) / d.type(steps - 1)
    found = ranged("linspace", steps, dtype, float(a), float(b), float(step), float(half), float(steps - 1))
    if found is not None:
        return found
    if d == np.float64:  # PyTorch's loop is one fused step per number
        low, high = fma(up, float(step), float(a)), fma(down, -float(step), float(b))
    elif d == np.float32:  # exact products: rounded once
        up *= float(step)
        up += float(a)
        down *= -float(step)
        down += float(b)
        low, high = up, down
    else:
        low, high = a + step * up, b - step * down
    out = np.empty(steps, d)
    out[:half], out[half:] = low, high
    return out


def logspace(*, start: Any, end: Any, steps: int, base: float, dtype: Any) -> Any:
    if dtype.is_floating_point and steps > 1:
        found = ranged("logspace", steps, dtype, float(start), (end - start) / (steps - 1), float(base))
        if found is not None:
            return found
    exponents = np.linspace(start, end, steps) if steps > 1 else np.full(steps, start)
    if dtype.kind == "i" and steps > 1:
        start, end = int(start), int(end)
        step = (end - start) / (steps - 1)
        n = np.arange(steps)
        exponents = np.where(n < steps // 2, start + step * n, end - step * (steps - n - 1))
    return np.power(base, exponents.astype(np.complex128 if dtype.is_complex else np.float64)).astype(dtype.np)


def eye(*, n: int, m: int, dtype: Any) -> Any:
    return np.eye(n, m, dtype=dtype.np) if dtype is not complex32 else np.eye(n, m).astype(dtype.np)


def triangle(*, row: int, col: int, offset: int, lower: bool, dtype: Any) -> Any:
    rows, d = np.arange(row), dtype.np
    first = np.zeros(row, np.int64) if lower else np.clip(rows + offset, 0, col)
    widths = np.clip(rows + offset + 1, 0, col) if lower else col - first
    out = np.empty((2, int(widths.sum())), d)
    out[0] = np.repeat(rows.astype(d), widths)
    starts = np.cumsum(widths) - widths  # a row's columns count up from where it starts
    out[1] = np.arange(out.shape[1])
    out[1] -= np.repeat((starts - first).astype(d), widths)
    return out


def window(*, kind: str, length: int, periodic: bool, dtype: Any, alpha: float = 0.54, beta: float = 0.46) -> Any:
    if length < 2:
        return np.ones(length, dtype.np)
    span = length if periodic else length - 1
    more = (alpha, beta) if kind == "hamming" else (beta, float(np.i0(beta))) if kind == "kaiser" else ()
    found = ranged(kind, length, dtype, float(span), *more)
    if found is not None:
        return found
    n = np.arange(length)
    turn = 2 * np.pi * n / span
    if kind == "hann":
        w = 0.5 - 0.5 * np.cos(turn)
    elif kind == "hamming":
        w = alpha - beta * np.cos(turn)
    elif kind == "blackman":
        w = 0.42 - 0.5 * np.cos(turn) + 0.08 * np.cos(2 * turn)
    elif kind == "bartlett":
        w = 1 - np.abs(2 * n / span - 1)
    else:
        w = np.i0(beta * np.sqrt(np.maximum(1 - (2 * n / span - 1) ** 2, 0))) / np.i0(beta)
    return w.astype(dtype.np)


def triangular(x: Any, *, diagonal: int, lower: bool) -> Any:
    """x with zeros on one side of a diagonal."""
    found = triangle_of(x, diagonal, lower)
    if found is not None:
        return found
    mask = np.tri(x.shape[-2], x.shape[-1], diagonal if lower else diagonal - 1, bool)
    return np.where(mask if lower else ~mask, x, np.zeros((), x.dtype))
