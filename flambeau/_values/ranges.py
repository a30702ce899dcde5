"""Scales and zero points for ranges, and ranges for elements."""

from __future__ import annotations

from typing import Any

import numpy as np

F32 = np.float32
HALF = np.float16


def qparams_of_range(
    low: float, high: float, qmin: int, qmax: int, symmetric: bool = False, force_power_of_two: bool = False
) -> tuple[float, int]:
    """The scale and zero point by which codes from qmin to qmax cover a range, and zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric and low < 0 < high:
        steps = -((qmax - qmin) // 2 + 1), (qmax - qmin) // 2
        widest = max(abs(F32(low) / F32(steps[0])), abs(F32(high) / F32(steps[1])))
        low, high = float(widest * F32(steps[0])), float(widest * F32(steps[1]))
    scale = (float(high) - float(low)) / (qmax - qmin)
    if float(F32(scale)) == 0.0 or np.isinf(F32(1.0) / F32(scale)):
        scale = 0.1
    if scale < 6.1e-5:  # smaller ones lose all accuracy in integer arithmetic
        before, scale = scale, float(F32(6.1e-5))
        if low == 0.0:
            high = 6.1e-5 * (qmax - qmin)
        elif high == 0.0:
            low = -6.1e-5 * (qmax - qmin)
        else:
            low, high = low * 6.1e-5 / before, high * 6.1e-5 / before
    from_low, from_high = qmin - low / scale, qmax - high / scale
    error_low = abs(qmin) - abs(low / scale)
    error_high = abs(qmax) - abs(high / scale)
    initial = from_low if error_low < error_high else from_high
    if symmetric and low < 0 < high:
        initial = qmin + (qmax - qmin) // 2 + (1 if (qmax - qmin) % 2 else 0) if qmin >= 0 else (qmin + qmax) / 2
    zero = qmin if initial < qmin else qmax if initial > qmax else round(initial)
    return scale, int(zero)


def range_of(a: Any) -> tuple[float, float]:
    """The least and the greatest element; none: zero."""
    return (float(a.min()), float(a.max())) if a.size else (0.0, 0.0)


def _loss(x: Any, low: Any, high: Any, bits: int) -> Any:
    top = F32((1 << bits) - 1)
    low = F32(HALF(low))
    scale = F32(HALF(1.0 if high == low else (high - low) / top))
    inverse = F32(1) if scale == 0 else F32(1) / scale
    back = np.clip(np.rint((x - low) * inverse), 0, top).astype(F32) * scale + low
    return np.sqrt(F32(np.sum((x - back) ** 2, dtype=F32)))


def best_range(x: Any, n_bins: int, ratio: float, bits: int) -> tuple[Any, Any]:
    """The range that codes of few bits cover best: narrowed step by step from the side that loses less."""
    low, high = F32(x.min()), F32(x.max())
    step = F32((high - low) / F32(n_bins))
    least = F32(int(n_bins * (1.0 - ratio))) * step
    loss = best = _loss(x, low, high, bits)
    at_low, at_high = low, high
    while at_low + least < at_high:
        left, right = _loss(x, at_low + step, at_high, bits), _loss(x, at_low, at_high - step, bits)
        if loss < left and loss < right and loss < best:
            best, low, high = loss, at_low, at_high
        if left < right:
            at_low, loss = at_low + step, left
        else:
            at_high, loss = at_high - step, right
    return low, high
