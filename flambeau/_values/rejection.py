"""Poisson, gamma, Dirichlet and binomial numbers, one at a time: how many draws each takes depends on the draws.

Scalar loops, as in PyTorch, with its constants and its precision at every step, so that the stream stays PyTorch's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._values.normal import one as one_normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from flambeau._values.generator import Generator

    Array = np.ndarray[Any, Any]

LEAST = 2.0**63  # less it is the least of 64 bits with a sign
THIRD, PRESS = float(np.float32(1) / np.float32(3)), float(np.float32(0.0331))  # PyTorch writes them as floats


def _rounder(dtype: np.dtype[Any]) -> Callable[[float], float]:
    """What storing a double in a variable of this dtype leaves of it."""
    return (lambda x: x) if dtype == np.float64 else (lambda x: float(np.float32(x)))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _power(x: float, y: float) -> float:
    try:
        return float(x**y)
    except OverflowError:
        return math.inf


def _floor(x: float) -> float:
    return math.floor(x) if math.isfinite(x) else x


def _counted(k: float) -> float:
    """A count, as 64 bits with a sign hold it; what has no place there is the least of them."""
    return k if abs(k) < LEAST else -LEAST


def poisson(gen: Generator, rates: Array, native: Any = None) -> Array:
    """A Poisson number for each rate (flat)."""
    if native is not None and (rates >= 0).all():
        with gen.lock:
            return native.draw("poisson", gen, rates)
    uniform = gen.engine.uniform
    out = []
    with gen.lock:
        for rate in rates.tolist():
            if not rate >= 0:
                raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
            out.append(_poisson(float(rate), uniform))
    return np.array(out, np.float64).astype(rates.dtype)


def _poisson(rate: float, uniform: Callable[[], float]) -> float:
    if rate == 0:
        return 0
    if rate < 10:  # multiply uniforms until their product falls below exp(-rate)
        bound, product, count = math.exp(-rate), 1.0, 0
        while True:
            product *= uniform()
            if product <= bound:
                return count
            count += 1
    # Transformed rejection: W. Hoermann, Insurance: Mathematics and Economics 12 (1993).
    root, log_rate = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    log_inverse = math.log(1.1239 + 1.1328 / (b - 3.4))
    corner = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = uniform() - 0.5
        v = uniform()
        us = 0.5 - abs(u)
        k = _floor((2 * a / us + b) * u + rate + 0.43) if us else -1
        if us >= 0.07 and v <= corner:
            return _counted(k)
        if k < 0 or (us < 0.013 and v > us):
            continue
        if _log(v) + log_inverse - math.log(a / (us * us) + b) <= -rate + k * log_rate - math.lgamma(k + 1.0):
            return _counted(k)


def gamma(gen: Generator, shapes: Array, native: Any = None) -> Array:
    """A standard gamma number for each shape parameter (flat), never zero."""
    narrow = _rounder(shapes.dtype)
    with gen.lock:
        if native is not None:
            out = native.draw("gamma", gen, shapes)
        else:
            out = np.array([_gamma(gen, alpha, narrow) for alpha in shapes.tolist()], np.float64).astype(shapes.dtype)
    return np.asarray(np.fmax(out, np.finfo(shapes.dtype).tiny))


def _gamma(gen: Generator, alpha: float, narrow: Callable[[float], float]) -> float:
    """The method of G. Marsaglia and W. Tsang, ACM TOMS 26 (2000)."""
    uniform = gen.engine.uniform
    scale = 1.0
    if alpha < 1:
        if alpha == 0:
            return 0.0
        scale = _power(1 - uniform(), narrow(1 / alpha))
        alpha = narrow(alpha + 1)
    d = narrow(alpha - THIRD)
    c = (
        1 / math.sqrt(9 * d) if d > 0 else math.nan
    )  # of a shape that is not positive nothing comes but the smallest number
    while True:
        x = one_normal(gen)
        y = 1 + c * x
        while y <= 0:
            x = one_normal(gen)
            y = 1 + c * x
        v = y * y * y
        u = 1 - uniform()
        xx = x * x
        if u < 1 - PRESS * xx * xx or math.log(u) < 0.5 * xx + d * (1 - v + math.log(v)):
            return narrow(scale * d * v)


def dirichlet(gen: Generator, shapes: Array, native: Any = None) -> Array:
    """A point of the simplex for each row of concentrations (last axis)."""
    doubles = shapes.astype(np.float64)
    gammas = gamma(gen, doubles.reshape(-1), native).reshape(shapes.shape)
    out = (gammas / gammas.sum(-1, keepdims=True)).astype(shapes.dtype)
    one = shapes.dtype.type(1)
    return np.asarray(np.clip(out, np.finfo(shapes.dtype).tiny, np.nextafter(one, shapes.dtype.type(0))))


def binomial(gen: Generator, counts: Array, probs: Array, native: Any = None) -> Array:
    """A binomial number for each count and probability (flat, alike)."""
    if native is not None:
        with gen.lock:
            return native.draw("binomial", gen, counts, probs)
    narrow = _rounder(counts.dtype)
    uniform = gen.engine.uniform
    with gen.lock:
        pairs = zip(counts.tolist(), probs.tolist(), strict=True)
        out = [_binomial(n, p, uniform, narrow) for n, p in pairs]
    return np.array(out, np.float64).astype(counts.dtype)


def _binomial(n: float, p: float, uniform: Callable[[], float], narrow: Callable[[float], float]) -> float:
    if n <= 0 or p <= 0:
        return 0
    if p >= 1:
        return n
    if p <= 0.5:
        return _few(n, p, uniform, narrow)
    if p > 0.5:
        return n - _few(n, narrow(1 - p), uniform, narrow)
    return math.nan


def _few(n: float, p: float, uniform: Callable[[], float], narrow: Callable[[float], float]) -> float:
    """Binomial with p <= 1/2: by waiting times if few successes are expected, else by rejection."""
    if narrow(n * p) >= 10:
        return _transformed(n, p, uniform, narrow)
    log_failure = narrow(math.log1p(-p))
    waited, successes = 0.0, 0
    while True:
        u = uniform()
        waited += math.ceil(math.log(u) / log_failure) if u else math.inf
        if waited > n:
            return successes
        successes += 1


def _transformed(n: float, p: float, uniform: Callable[[], float], narrow: Callable[[float], float]) -> float:
    """BTRS: W. Hoermann, Journal of Statistical Computation and Simulation 46 (1993)."""
    deviation = narrow(math.sqrt(narrow(narrow(n * p) * narrow(1 - p))))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = narrow(n * p) + 0.5
    corner = 0.92 - 4.2 / b
    r = narrow(p / narrow(1 - p))
    alpha = (2.83 + 5.1 / b) * deviation
    m = math.floor(narrow(narrow(n + 1) * p))
    while True:
        u = uniform() - 0.5
        v = uniform()
        us = 0.5 - abs(u)
        k = narrow(math.floor((2 * a / us + b) * u + c)) if us else -1
        if k < 0 or k > n:
            continue
        if us >= 0.07 and v <= corner:
            return k
        bound = (
            (m + 0.5) * math.log((m + 1) / (r * (n - m + 1)))
            + narrow(n + 1) * math.log((n - m + 1) / narrow(n - k + 1))
            + (k + 0.5) * math.log(r * narrow(n - k + 1) / narrow(k + 1))
            + _stirling_tail(m)
            + _stirling_tail(n - m)
            - _stirling_tail(k)
            - _stirling_tail(n - k)
        )
        if _log(v * alpha / (a / (us * us) + b)) <= bound:
            return k


TAILS = (0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
          0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287)  # fmt: skip


def _stirling_tail(k: float) -> float:
    """log k! less Stirling's formula for it."""
    if k <= 9:
        return TAILS[int(k)]
    square = (k + 1) * (k + 1)
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)
