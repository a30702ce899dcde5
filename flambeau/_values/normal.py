"""Normal numbers by Box and Muller, as PyTorch's CPU kernels draw them: sixteen at a time, or in pairs.

The float32 blocks follow PyTorch's AVX2 kernel: Cephes polynomials (S. Moshier), each step a fused multiply-add. A double
holds the product of two floats exactly, so a step in double, rounded to float, is that instruction (but for a double
rounding in about one of 2**29 steps).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._values import rounding

if TYPE_CHECKING:
    from flambeau._values.generator import Generator

    Array = np.ndarray[Any, Any]

f4, f8, i4 = np.float32, np.float64, np.int32
PART = 1 << 18  # words drawn at a time
FEW = 16  # numbers that are drawn one by one sooner than as arrays
CHUNK = 8192  # pairs computed at a time: their scratch stays in cache

LOG = tuple(f8(f4(c)) for c in (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
))  # fmt: skip
LN2_LOW, LN2_HIGH = f4(-2.12194440e-4), f8(0.693359375)
SQRT_HALF = f4(0.707106781186547524)
TWO_PI, FOUR_OVER_PI = f4(2 * math.pi), f4(1.27323954473516)
PI_4 = tuple(f8(f4(c)) for c in (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8))  # its three parts
SIN = tuple(f8(f4(c)) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
COS = tuple(f8(f4(c)) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))


def normal(gen: Generator, n: int, dtype: np.dtype[Any], mean: float, std: float, contiguous: bool = True,
           native: Any = None) -> Array:  # fmt: skip
    """`n` normal numbers, in the order of memory; targets that are not contiguous get theirs in pairs.

    `native`, if given, computes blocks in place of the NumPy text.
    """
    with gen.lock:
        if n >= 16 and contiguous:
            if dtype.char == "d":
                return _doubles(gen, n, mean, std, native)
            return _floats(gen, n, dtype, mean, std, native)
        out = pairs(gen, n)
    out = rounding.fma(out, std, mean) if std != 1 else out + mean
    return out.astype(np.float32).astype(dtype, copy=False) if dtype.itemsize < 8 else out


def pairs(gen: Generator, n: int) -> Array:
    """`n` standard normal doubles; the second of a pair may wait in the generator for the next call."""
    if n < FEW:
        return np.array([one(gen) for _ in range(n)], f8)
    out = np.empty(n, f8)
    first = 0
    if gen.next_double is not None and n:
        out[0], gen.next_double, first = gen.next_double, None, 1
    words = gen.engine.take64((n - first + 1) // 2 * 2)
    uniforms = (words & np.uint64(0x1FFFFFFFFFFFFF)).astype(f8) * 2.0**-53
    radius = np.sqrt(-2.0 * rounding.libm(math.log1p, -uniforms[1::2]))
    theta = 2.0 * math.pi * uniforms[0::2]
    values = np.empty(words.size)
    values[0::2] = radius * rounding.libm(math.cos, theta)
    values[1::2] = radius * rounding.libm(math.sin, theta)
    if len(values) > n - first:
        gen.next_double = float(values[-1])
    out[first:] = values[: n - first]
    return out


def one(gen: Generator) -> float:
    """One standard normal double."""
    if gen.next_double is not None:
        value, gen.next_double = gen.next_double, None
        return value
    u1, u2 = gen.engine.uniform(), gen.engine.uniform()
    radius = math.sqrt(-2.0 * math.log1p(-u2))
    gen.next_double = radius * math.sin(2.0 * math.pi * u1)
    return radius * math.cos(2.0 * math.pi * u1)


def _doubles(gen: Generator, n: int, mean: float, std: float, native: Any) -> Array:
    """Blocks of sixteen by libm; a last, partial block is overlapped by a fresh one."""
    if native is not None:
        whole = n - n % 16
        out = np.empty(n, f8)
        drawn = np.empty(min(2 * n, PART) + 32, np.uint32)
        for start in range(0, whole, PART // 2):
            part = out[start : min(start + PART // 2, whole)]
            gen.engine.fill(drawn[: 2 * part.size])
            native.normal64(drawn, part, mean, std)
        if whole != n:
            gen.engine.take(2 * (n - whole))
            gen.engine.fill(drawn[:32])
            native.normal64(drawn, out[-16:], mean, std)
        return out
    words = gen.engine.take64(n)
    whole = n - n % 16
    if whole != n:
        words = np.concatenate((words[:whole], gen.engine.take64(16)))
    u = ((words & np.uint64(0x1FFFFFFFFFFFFF)).astype(f8) * 2.0**-53).reshape(-1, 2, 8)
    radius = np.sqrt(-2.0 * rounding.libm(math.log, 1.0 - u[:, 0].ravel())).reshape(-1, 8)
    theta = (2.0 * math.pi) * u[:, 1].ravel()
    u[:, 0] = radius * rounding.libm(math.cos, theta).reshape(-1, 8)
    u[:, 1] = radius * rounding.libm(math.sin, theta).reshape(-1, 8)
    flat = u.reshape(-1)
    flat = rounding.fma(flat, std, mean) if std != 1 else flat + mean
    return _overlap(flat, n)


def _floats(gen: Generator, n: int, dtype: np.dtype[Any], mean: float, std: float, native: Any) -> Array:
    """Blocks of sixteen in float32, rounded to `dtype` at the end; a last, partial block is overlapped by a fresh one."""
    fill, take = _fill if native is None else native.normal, gen.engine.take
    out = np.empty(n, f4)
    whole = n - n % 16
    m, s = (float(f4(mean)), float(f4(std))) if native is None else (float(mean), float(std))  # kernels narrow them
    if whole != n and n < CHUNK:  # the fresh block goes along with the others
        words = take(whole + (n - whole if dtype == np.float32 else 0) + 16)
        words = np.concatenate((words[:whole], words[-16:]))
        fill(words, part := np.empty(words.size, f4), m, s)
        out = _overlap(part, n)
        return out if dtype == np.float32 else out.astype(dtype)
    for start in range(0, whole, PART):  # in parts that stay in cache
        part = out if n <= PART and whole == n else out[start : min(start + PART, whole)]
        fill(gen.engine.over(part), part, m, s)
    if whole != n:
        if dtype == np.float32:
            take(n - whole)  # NOTE: narrower types do not draw numbers that they will not use
        fill(take(16), out[-16:], m, s)
    return out if dtype.char == "f" else out.astype(dtype)


def _fill(words: Array, out: Array, mean: float, std: float) -> None:
    blocks, results = words.reshape(-1, 2, 8), out.reshape(-1, 2, 8)
    rows = CHUNK // 8
    for start in range(0, len(blocks), rows):
        part = blocks[start : start + rows]
        box_muller(part[:, 0].reshape(-1), part[:, 1].reshape(-1), results[start : start + rows], mean, std)


def _overlap(values: Array, n: int) -> Array:
    if values.size == n:
        return values
    out = np.empty(n, values.dtype)
    whole = n - n % 16
    out[:whole] = values[:whole]
    out[-16:] = values[whole:]
    return out


def box_muller(words1: Array, words2: Array, out: Array, mean: float, std: float) -> None:
    """Write sqrt(-2 log u1) times cos and sin of 2 pi u2 to `out[:, 0]` and `out[:, 1]`, scaled and shifted."""
    mask = np.uint32(0xFFFFFF)
    wide, product = np.empty(words1.size, f8), np.empty(words1.size, f8)
    result, spare = np.empty(words1.size, f4), np.empty(words1.size, f4)

    def fma(x: Array, y: Array, z: Array | np.floating[Any], out: Array = result) -> Array:
        """x * y + z rounded once, for float32 x and double y."""
        wide[:] = x
        np.multiply(wide, y, out=product)
        np.add(product, z, out=product)
        out[:] = product
        return out

    u1 = np.subtract(f4(1), np.multiply(words1 & mask, f4(2.0**-24), dtype=f4), dtype=f4)  # (0, 1]
    bits = u1.view(i4)
    e = ((bits >> i4(23)) - i4(126)).astype(f4)  # u1 == x * 2**e, 1/2 <= x < 1
    x = ((bits & i4(0x807FFFFF - (1 << 32))) | i4(0x3F000000)).view(f4)
    below = x < SQRT_HALF
    e -= below
    x -= f4(1)
    np.add(x, x + f4(1), out=x, where=below)  # exact: so log1p's argument lies around 0
    x8 = x.astype(f8)
    square = x * x
    y = fma(np.full(x.size, LOG[0], f4), x8, LOG[1])
    for c in LOG[2:]:
        y = fma(y, x8, c)
    np.multiply(x, y, out=y)
    y = fma(y, square.astype(f8), e * LN2_LOW)
    np.multiply(square, f4(0.5), out=square)
    np.subtract(y, square, out=y)
    np.add(x, y, out=x)
    y = fma(e, np.broadcast_to(LN2_HIGH, e.shape), x)
    radius = np.sqrt(np.multiply(y, f4(-2), out=y))

    theta = np.multiply(words2 & mask, f4(2.0**-24), dtype=f4) * TWO_PI
    octant = (theta * FOUR_OVER_PI).astype(i4)
    octant += i4(1)
    octant &= i4(~1)
    turns = octant.astype(f4)
    turns8 = turns.astype(f8)
    x8 = turns8 * PI_4[0]
    np.add(x8, theta, out=x8)
    for c in PI_4[1:]:
        spare[:] = x8
        np.multiply(turns8, c, out=product)
        np.add(product, spare, out=x8)
    x = x8.astype(f4)
    x8[:] = x
    square = x * x
    square8 = square.astype(f8)
    sine = fma(np.full(x.size, SIN[0], f4), square8, SIN[1], spare)
    sine = fma(sine, square8, SIN[2], spare)
    np.multiply(square, sine, out=sine)
    sine = fma(sine, x8, x, spare)
    cosine = fma(np.full(x.size, COS[0], f4), square8, COS[1])
    cosine = fma(cosine, square8, COS[2])
    np.multiply(square, cosine, out=cosine)
    np.multiply(square, f4(0.5), out=square)
    cosine = fma(cosine, square8, -square.astype(f8))
    np.add(cosine, f4(1), out=cosine)

    odd = (octant & i4(2)) != 0
    sines, cosines = np.where(odd, cosine, sine), np.where(odd, sine, cosine)
    sines.view(i4)[:] ^= (octant & i4(4)) << i4(29)
    cosines.view(i4)[:] ^= (~(octant - i4(2)) & i4(4)) << i4(29)
    for column, values in ((0, cosines), (1, sines)):
        np.multiply(radius, values, out=values)
        if std == 1 and mean == 0:
            np.add(values, f4(0), out=values)  # -0 becomes 0
        else:
            fma(values, np.broadcast_to(f8(std), values.shape), f8(mean), values)
        out[:, column] = values.reshape(-1, 8)
