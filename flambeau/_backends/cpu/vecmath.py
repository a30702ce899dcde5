"""Vector mathematics: functions of reals as straight-line code over a builder `b`.

The same text serves every number of lanes and every machine. Each function takes float32 or float64 values and is right
at NaN, infinities, signed zeros and denormals; errors are below 2 ulp in float32 and 4 ulp in float64, measured against
mpmath by the tests. (`vecmath_special` has the error and gamma functions; of negative arguments, the latter are as
accurate only away from their zeros.)

Sources. Reductions by two- and three-part constants: W. Cody and W. Waite, "Software Manual for the Elementary Functions",
1980. The shapes of log, asin, and of the kernels of sin and cos that take a second word: Sun's fdlibm. Large arguments of
sin and cos: M. Payne and R. Hanek, "Radian reduction for trigonometric functions", 1983. Sums that keep their error:
O. Moller, D. Knuth (`two_sum`). Coefficients are our own: `coefficients.py`. Where float32 gains nothing from code of its
own, it is computed in float64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from flambeau._backends.cpu import coefficients as table
from flambeau._backends.cpu.bits import LONG_DIVISION, two_over_pi
from flambeau._backends.cpu.lanes import INT_OF, Builder, Value

MANTISSA = {"f32": 23, "f64": 52}
BIAS = {"f32": 127, "f64": 1023}
MAGIC = {"f32": 1.5 * 2**23, "f64": 1.5 * 2**52}  # x + MAGIC rounds x to an integer and holds it in its low bits
MAGIC_BITS = {"f32": 0x4B400000, "f64": 0x4338000000000000}
# log 2 in two parts: the first has trailing zeros, so that its product with an exponent is exact.
LN2_HI = {"f32": 0.693359375, "f64": 0.6931471803691238}
LN2_LO = {"f32": -0.00021219444005469057, "f64": 1.9082149292705877e-10}
LOG2E = 1.4426950408889634
LOG2E_HI, LOG2E_LO = (
    {"f32": 1.4426950216293335, "f64": LOG2E},
    {"f32": 1.9259629911266175e-08, "f64": 2.0355273740931033e-17},
)
LOG10E_HI, LOG10E_LO = (
    {"f32": 0.4342944920063019, "f64": 0.4342944819032518},
    {"f32": -1.0103050052231683e-08, "f64": 1.098319650216765e-17},
)
LOG10_2_HI, LOG10_2_LO = (
    {"f32": 0.30103000998497009, "f64": 0.3010299956639812},
    {"f32": -1.4320988897559699e-08, "f64": -2.8037281277851704e-18},
)
LN2 = math.log(2)
PI = math.pi
PIO2 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)  # pi/2 in three doubles
PIO4_LO = PIO2[1] / 2
PIO2_HI, PIO2_LO = 1.5707963705062866, -4.371139000186241e-08  # pi/2 in two floats
SQRT_HALF_BITS = {"f32": 0x3F3504F3, "f64": 0x3FE6A09E667F3BCD}
SQRT_TWO = {"f32": 1.4142135381698608, "f64": 1.4142135623730951}  # twice what those bits are
INF, NAN = math.inf, math.nan
PIO2_F32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)  # pi/2 in three floats
# 2**(j/16) as float32, and how much more it would be
SIXTEENTHS = [struct.unpack("f", struct.pack("f", 2 ** (j / 16)))[0] for j in range(16)]
SIXTEENTHS_LOST = [(2 ** (j / 16) - rounded) / rounded for j, rounded in enumerate(SIXTEENTHS)]
SHORT = 2.0**15  # up to this, float32 reduces with these
LARGE = 2.0**30  # beyond this, sin and cos reduce with all the bits of 2/pi


def through_f64(function: Callable[..., Value]) -> Callable[..., Value]:
    """The function, with float32 computed in float64."""

    def wide(b: Builder, *xs: Value) -> Value:
        if xs[0].type == "f64":
            return function(b, *xs)
        return b.narrow(function(b, *(b.widen(x) for x in xs)))

    wide.__doc__ = function.__doc__
    return wide


# ---------------------------------------------------------------- pieces


def two_sum(x: Value, y: Value) -> tuple[Value, Value]:
    """x + y and its rounding error."""
    s = x + y
    t = s - x
    return s, (x - (s - t)) + (y - t)


def two_product(b: Builder, x: Any, y: Any) -> tuple[Value, Value]:
    """x * y and its rounding error."""
    p = x * y
    if b.fma_unit:
        return p, b.fma(x, y, -p)
    xh, xl = halves(b, x)
    yh, yl = halves(b, y)
    return p, ((xh * yh - p) + xh * yl + xl * yh) + xl * yl


def halves(b: Builder, x: Any) -> tuple[Any, Any]:
    """Two numbers of half the bits whose sum is x (Dekker)."""
    if not isinstance(x, Value):
        t = x * 134217729.0
        h = t - (t - x)
        return h, x - h
    high = b.from_bits(b.bits(x) & (-(1 << 27) if x.type == "f64" else -(1 << 12)))
    return high, x - high


def nearest(b: Builder, x: Value) -> tuple[Value, Value]:
    """The nearest integer, as a float and as an integer."""
    shifted = x + MAGIC[x.type]
    return shifted - MAGIC[x.type], b.bits(shifted) - MAGIC_BITS[x.type]


def power_of_two(b: Builder, i: Value) -> Value:
    """2**i, for an i whose power is a normal number."""
    type = "f32" if i.type == "i32" else "f64"
    return b.from_bits((i + BIAS[type]) << MANTISSA[type])


def scaled(b: Builder, x: Value, i: Value) -> Value:
    """x * 2**i in two steps: the second one may overflow, or round to a denormal."""
    half = i >> 1
    return x * power_of_two(b, half) * power_of_two(b, i - half)


def exponent(b: Builder, x: Value) -> tuple[Value, Value]:
    """(k, m) with x == 2**k * m and sqrt(1/2) <= m < sqrt(2), for x > 0; k is a float."""
    type, mantissa = x.type, MANTISSA[x.type]
    if b.whole(x):
        k, m = b.split_exponent(x)
        far = m >= SQRT_TWO[type]
        return b.select(far, k + 1.0, k), b.select(far, m * 0.5, m)
    least = 2.0 ** (1 - BIAS[type])
    small = x < least
    x = b.select(small, x * 2.0 ** (mantissa + 2), x)
    i = b.bits(x) - SQRT_HALF_BITS[type]
    k = i >> mantissa
    m = b.from_bits((i & ((1 << mantissa) - 1)) + SQRT_HALF_BITS[type])
    whole = b.from_bits(k + MAGIC_BITS[type]) - MAGIC[type]
    return b.select(small, whole - (mantissa + 2.0), whole), m


# ---------------------------------------------------------------- exponentials


def reduced(b: Builder, x: Value, lo: float, hi: float, more: Value | None = None) -> tuple[Value, Value]:
    """(exp(r) - 1, i) with x == i log 2 + r; x is held between lo and hi; `more` is a second word of x."""
    e, _, i = parted(b, x, lo, hi, more)
    return e, i


def parted(b: Builder, x: Value, lo: float, hi: float, more: Value | None = None) -> tuple[Value, Value, Value]:
    """`reduced`, with i as a float too."""
    type = x.type
    x = b.larger(b.const(lo, x), x)  # a NaN stays one
    x = b.smaller(b.const(hi, x), x)
    shifted = b.fma(x, LOG2E, MAGIC[type])
    n, i = shifted - MAGIC[type], b.bits(shifted) - MAGIC_BITS[type]
    r = b.fma(-n, LN2_HI[type], x)
    r = b.fma(-n, LN2_LO[type], r if more is None else r + more)
    return b.fma(r * r, b.poly(r, table.EXP[type]), r), n, i


def exp(b: Builder, x: Value, vanishing: float | None = None, most: float | None = None) -> Value:
    """exp(x), 0 for x below `vanishing` (where it rounds to 0): to round a power to 0 costs a processor a hundred cycles.

    x is held below `most`: what it is beyond that, infinity, may be of no interest."""
    lo, hi = (-104.0, 89.0) if x.type == "f32" else (-746.0, 710.0)
    lo, hi = lo if vanishing is None else vanishing, hi if most is None else most
    if x.type == "f32" and b.scale_unit:
        return looked_up_exp(b, x, lo, hi)
    none = x < lo
    e, n, i = parted(b, b.select(none, 0.0, x), lo, hi)
    return b.select(none, 0.0, b.scaled(e + 1.0, n) if b.scale_unit else scaled(b, e + 1.0, i))


def looked_up_exp(b: Builder, x: Value, lo: float, hi: float) -> Value:
    """exp in float32 where registers are looked up in: x == n log 2 + r for a whole number n of sixteenths."""
    some, x = ~(x < lo), b.smaller(b.const(hi, x), x)
    shifted = b.fma(x, LOG2E, MAGIC["f32"] / 16)
    n = shifted - MAGIC["f32"] / 16
    r = b.fma(-n, LN2_LO["f32"], b.fma(-n, LN2_HI["f32"], x))
    return looked_up_power(b, shifted, n, r, some)


def looked_up_power(b: Builder, shifted: Value, n: Value, r: Value, some: Value) -> Value:
    """2**n exp(r): a table has the power of n's fraction, the low bits of `shifted`, and a short polynomial the rest."""
    i = b.bits(shifted)
    t, lost = b.lookup(SIXTEENTHS, i), b.lookup(SIXTEENTHS_LOST, i)
    e = b.fma(b.fma(b.poly(r, table.EXP_NEAR["f32"]), r, 1.0), r, lost)
    return b.scaled(b.fma(t, e, t), n, some)


def half_exp(b: Builder, x: Value) -> Value:
    """exp(x) / 2, which does not overflow before cosh(x) does."""
    e, i = reduced(b, x, -746.0, 711.0)
    return scaled(b, e + 1.0, i - 1)


def exp2(b: Builder, x: Value) -> Value:
    type = x.type
    lo, hi = (-151.0, 129.0) if type == "f32" else (-1076.0, 1025.0)
    if type == "f32" and b.scale_unit:
        some, x = ~(x < lo), b.smaller(b.const(hi, x), x)
        shifted = x + MAGIC[type] / 16
        n = shifted - MAGIC[type] / 16
        return looked_up_power(b, shifted, n, (x - n) * LN2, some)
    none = x < lo  # as in exp
    x = b.smaller(b.const(hi, x), b.select(none, 0.0, x))
    n, i = nearest(b, x)
    r = (x - n) * LN2
    return b.select(none, 0.0, scaled(b, b.fma(r * r, b.poly(r, table.EXP[type]), r) + 1.0, i))


def expm1(b: Builder, x: Value) -> Value:
    e, i = reduced(b, x, *((-20.0, 89.0) if x.type == "f32" else (-40.0, 710.0)))
    half = power_of_two(b, i - 1)
    far = 2.0 * (b.fma(half, e, half - 0.5))
    return b.copysign(b.select(i == 0, e, far), x)


def sigmoid(b: Builder, x: Value) -> Value:
    e = exp(b, x, most=18.0 if x.type == "f32" else 38.0)  # from where on e / (e + 1) is 1
    return share(b, e)


def tanh(b: Builder, x: Value) -> Value:
    """e / (e + 1) with e = (exp(2a) - 1) / 2, of a = |x| == n log(2)/2 + r."""
    type = x.type
    a = b.smaller(b.const(10.0 if type == "f32" else 22.0, x), b.abs(x))
    shifted = b.fma(a, 2 * LOG2E, MAGIC[type])
    n = shifted - MAGIC[type]
    if b.fma_unit:  # where n is so large that its product's error is seen, no longer in the quotient
        r = b.fma(-n, LN2 / 2, a)
    else:
        r = a - n * (LN2_HI[type] / 2) - n * (LN2_LO[type] / 2)
    half = b.from_bits((b.bits(shifted) << MANTISSA[type]) + (BIAS[type] - 1 << MANTISSA[type]))  # of the power
    coefficients = [c * 2.0**k for k, c in zip(range(len(table.EXP[type]) + 1, 1, -1), table.EXP[type], strict=True)]
    e = b.fma(half, b.fma(r * r, b.poly(r, coefficients), r + r), half - 0.5)
    return b.copysign(share(b, e), x)


def share(b: Builder, e: Value) -> Value:
    """e / (e + 1). In float32 a small share is e - e q once more: rounding the sum costs it a last place."""
    q = e / (e + 1.0)
    return q if e.type != "f32" else b.select(e < 0.4, b.fma(-e, q, e), q)


@through_f64
def sinh(b: Builder, x: Value) -> Value:
    a = b.abs(x)
    e = expm1(b, a)
    near = 0.5 * (e + e / (e + 1.0))
    return b.copysign(b.select(a > 20.0, half_exp(b, a), near), x)


@through_f64
def cosh(b: Builder, x: Value) -> Value:
    h = half_exp(b, b.abs(x))
    return h + 0.25 / h


# ---------------------------------------------------------------- logarithms


def log_parts(b: Builder, m: Value) -> Value:
    """log(m) for sqrt(1/2) <= m < sqrt(2)."""
    f = m - 1.0
    if m.type == "f32":
        square = f * f
        y = f * square * b.poly(f, table.LOG["f32"])
        return f + b.fma(square, -0.5, y)
    s = f / (f + 2.0)
    z = s * s
    half = 0.5 * f * f
    return f - (half - s * (half + z * b.poly(z, table.LOG["f64"])))


def log_edges(b: Builder, x: Value, y: Value) -> Value:
    """y, but at 0, below it, at infinity and NaN what a logarithm is there."""
    if b.whole(x):
        return b.repaired(y, x, 0x03530422)
    y = b.select(x > 0.0, y, b.select(x == 0.0, b.const(-INF, x), NAN))
    return b.select(x == INF, x, y)


def log_from(b: Builder, k: Value, m: Value, more: Value | None = None) -> Value:
    """k log 2 + log(m) (+ more), summed from the small to the large."""
    type, f = m.type, m - 1.0
    if type == "f32":
        square = f * f
        y = b.fma(k, LN2_LO[type], f * square * b.poly(f, table.LOG["f32"]))
        y = y if more is None else y + more
        return b.fma(k, LN2_HI[type], f + b.fma(square, -0.5, y))
    s = f / (f + 2.0)
    z = s * s
    half = 0.5 * f * f
    low = b.fma(k, LN2_LO[type], s * (half + z * b.poly(z, table.LOG["f64"])))
    low = low if more is None else low + more
    return b.fma(k, LN2_HI[type], f - (half - low))


def log(b: Builder, x: Value) -> Value:
    return log_edges(b, x, log_from(b, *exponent(b, x)))


def log2(b: Builder, x: Value) -> Value:
    k, m = exponent(b, x)
    y = log_parts(b, m)
    return log_edges(b, x, b.fma(y, LOG2E_HI[x.type], b.fma(y, LOG2E_LO[x.type], k)))


def log10(b: Builder, x: Value) -> Value:
    k, m = exponent(b, x)
    y, type = log_parts(b, m), x.type
    low = b.fma(k, LOG10_2_LO[type], y * LOG10E_LO[type])
    return log_edges(b, x, b.fma(k, LOG10_2_HI[type], b.fma(y, LOG10E_HI[type], low)))


def log1p(b: Builder, x: Value) -> Value:
    """log of 1 + x, and of what the sum lost."""
    one = b.const(1.0, x)
    u, lost = two_sum(one, x)
    k, m = exponent(b, u)
    y = log_from(b, k, m, lost / u)
    y = b.select(x > -1.0, y, b.select(x == -1.0, b.const(-INF, x), NAN))
    return b.select((x == 0.0) | (x == INF), x, y)


@through_f64
def asinh(b: Builder, x: Value) -> Value:
    a = b.abs(x)
    far = a > 2.0**28
    square = b.select(far, b.const(0.0, a), a * a)
    near = b.select(far, a - 1.0, a + square / (1.0 + b.sqrt(1.0 + square)))
    return b.copysign(log1p(b, near) + b.select(far, b.const(LN2, a), 0.0), x)


@through_f64
def acosh(b: Builder, x: Value) -> Value:
    far = x > 2.0**28
    t = x - 1.0
    near = t + b.sqrt(2.0 * t + t * t)
    y = log1p(b, b.select(far, t, near)) + b.select(far, b.const(LN2, x), 0.0)
    return b.select(x < 1.0, b.const(NAN, x), y)


@through_f64
def atanh(b: Builder, x: Value) -> Value:
    a = b.abs(x)
    return b.copysign(0.5 * log1p(b, (a + a) / (1.0 - a)), x)


# ---------------------------------------------------------------- powers


def sqrt(b: Builder, x: Value) -> Value:
    return b.sqrt(x)


def rsqrt(b: Builder, x: Value) -> Value:
    return 1.0 / b.sqrt(x)


def reciprocal(b: Builder, x: Value) -> Value:
    return 1.0 / x


def long_log(b: Builder, x: Value) -> tuple[Value, Value]:
    """log(x) in two words, to some 68 bits: atanh's series of s = (m - 1)/(m + 1), its first two terms in two words."""
    k, m = exponent(b, x)
    f, d = m - 1.0, m + 1.0
    d_lost = m - (d - 1.0)
    s = f / d
    p, e = two_product(b, s, d)
    s_low = ((f - p) - e - s * d_lost) / d
    z, z_low = two_product(b, s, s)
    z_low = z_low + 2.0 * s * s_low
    cube, cube_low = two_product(b, s, z)
    cube_low = cube_low + s * z_low + s_low * z
    third, third_low = two_product(b, cube, 2 / 3)
    third_low = third_low + cube * 3.700743415417188e-17 + cube_low * (2 / 3)
    tail = cube * z * b.poly(z, table.LOG_LONG["f64"])
    high = k * LN2_HI["f64"]  # exact
    h1, l1 = two_sum(high, 2.0 * s)
    h2, l2 = two_sum(h1, third)
    low = b.fma(k, LN2_LO["f64"], l1 + l2 + 2.0 * s_low + third_low + tail)
    return two_sum(h2, low)


def power_edges(b: Builder, x: Value, y: Value, r: Value) -> Value:
    """|x|**y, made the power of x: signs, zeros, infinities, NaN as IEEE 754 has them."""
    a = b.abs(x)
    whole = b.rint(y) == y
    half = y * 0.5
    odd = whole & (b.rint(half) != half) & (b.abs(y) < 2.0 ** (MANTISSA[x.type] + 1))
    nothing = (a == 0.0) ^ (y < 0.0)
    r = b.select((a == 0.0) | (a == INF), b.select(nothing, b.const(0.0, x), INF), r)
    up = (a > 1.0) ^ (y < 0.0)
    r = b.select(b.abs(y) == INF, b.select(up, b.const(INF, x), 0.0), r)
    r = b.select((b.bits(x) < 0) & odd, -r, r)
    r = b.select((x < 0.0) & ~whole & (a != INF), b.const(NAN, x), r)
    r = b.select(b.isnan(x) | b.isnan(y), b.const(NAN, x), r)
    return b.select((y == 0.0) | (x == 1.0) | ((a == 1.0) & (b.abs(y) == INF)), b.const(1.0, x), r)


def single_power(b: Builder, x: Value, y: Value) -> Value:
    """x**y of float32, x > 0, as 2**(y log2 x) in float64, of which float32 wants ten digits."""
    k, m = exponent(b, x)
    f = b.widen(m - 1.0)  # exact
    p = b.fma(f, b.poly(f, table.LOG2["f64"]), b.widen(k)) * b.widen(y)
    none = p < -151.0  # as in exp
    p = b.smaller(b.const(129.0, p), b.select(none, 0.0, p))
    n, i = nearest(b, p)
    return b.narrow(b.select(none, 0.0, b.poly(p - n, table.EXP2["f64"]) * power_of_two(b, i)))


def pow(b: Builder, x: Value, y: Value) -> Value:
    a = b.abs(x)
    if x.type == "f32":
        return power_edges(b, x, y, single_power(b, a, y))
    h, low = long_log(b, a)
    p, e = two_product(b, h, y)
    none = p < -746.0  # as in exp
    e = b.select(b.abs(p) < 746.0, b.fma(low, y, e), 0.0)
    r, i = reduced(b, b.select(none, 0.0, p), -746.0, 710.0, e)
    return power_edges(b, x, y, b.select(none, 0.0, scaled(b, r + 1.0, i)))


def hypot(b: Builder, x: Value, y: Value) -> Value:
    if x.type == "f32":
        u, v = b.widen(x), b.widen(y)
        r = b.narrow(b.sqrt(b.fma(u, u, v * v)))
    else:
        u, v = b.abs(x), b.abs(y)
        m, n = b.larger(u, v), b.smaller(u, v)
        big, small = m > 1e150, m < 1e-140
        scale = b.select(big, b.const(2.0**-600, m), b.select(small, b.const(2.0**600, m), 1.0))
        back = b.select(big, b.const(2.0**600, m), b.select(small, b.const(2.0**-600, m), 1.0))
        m, n = m * scale, n * scale
        r = b.sqrt(b.fma(m, m, n * n)) * back
        r = b.select(b.isnan(x) | b.isnan(y), b.const(NAN, r), r)
    return b.select((b.abs(x) == INF) | (b.abs(y) == INF), b.const(INF, x), r)


# ---------------------------------------------------------------- trigonometry


def sin_kernel(b: Builder, r: Value, low: Value | None = None) -> Value:
    """sin(r + low) for |r| <= pi/4."""
    z = r * r
    p = b.poly(z, table.SIN[r.type])
    if low is None:
        return b.fma(r * z, p, r)
    return r + b.fma(r * z, p, b.fma(-0.5 * z, low, low))


def cos_kernel(b: Builder, r: Value, low: Value | None = None) -> Value:
    """cos(r + low) for |r| <= pi/4."""
    z = r * r
    half = 0.5 * z
    w = 1.0 - half
    p = z * z * b.poly(z, table.COS[r.type])
    if low is not None:
        p = p - r * low
    return w + (((1.0 - w) - half) + p)


def reduce_f32(b: Builder, x: Value) -> tuple[Value, Value]:
    """(r, quadrant) for |x| <= LARGE; r is a float64."""
    wide = b.widen(x)
    n, i = nearest(b, wide * (2 / PI))
    r = b.fma(-n, PIO2[0], wide)
    return b.fma(-n, PIO2[1], r), b.convert("trunc", i, "i32")


def reduce_short(b: Builder, x: Value) -> tuple[Value, Value]:
    """The same in float32 for |x| <= SHORT, where a machine has fused products; of the quadrant the last two bits are right."""
    shifted = b.fma(x, 2 / PI, MAGIC["f32"])
    n = shifted - MAGIC["f32"]
    r = x
    for part in PIO2_F32:
        r = b.fma(-n, part, r)
    return r, b.bits(shifted)


def reduce_f64(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """(r, its second word, quadrant) for |x| <= LARGE."""
    n, i = nearest(b, x * (2 / PI))
    p, e = two_product(b, n, PIO2[0])
    q, f = two_product(b, n, PIO2[1])
    r = x - p  # exact
    s, s_lost = two_sum(-e, -q)
    h, lost = two_sum(r, s)
    low = lost + (s_lost - f - n * PIO2[2])
    return (*two_sum(h, low), i)


def circular(kind: str, b: Builder, r: Value, low: Value | None, i: Value) -> Value:
    """sin, cos or tan from a reduced argument and its quadrant."""
    s, c = sin_kernel(b, r, low), cos_kernel(b, r, low)
    odd = (i & 1) != 0
    if kind == "tan":
        return b.select(odd, -c, s) / b.select(odd, s, c)
    if kind == "cos":
        y, minus = b.select(odd, s, c), ((i + 1) & 2) != 0
    else:
        y, minus = b.select(odd, c, s), (i & 2) != 0
    return b.select(minus, -y, y)


def turning(kind: str) -> Callable[[Builder, Value], Value]:
    def function(b: Builder, x: Value) -> Value:
        if x.type == "f32" and kind != "tan" and b.fma_unit:
            return short(kind, b, x)
        if x.type == "f32":
            r, i = reduce_f32(b, x)
            y = tangent(b, r, i) if kind == "tan" else circular(kind, b, b.narrow(r), None, i)
        else:
            r, low, i = reduce_f64(b, x)
            y = circular(kind, b, r, low, i)
        if kind != "cos":
            y = b.select(x == 0.0, x, y)
        a = b.abs(x)
        far = (a > LARGE) & (a < INF)  # of infinity and NaN nothing is left above
        return b.rarely(far, [x], y, b.outline(f"{kind}.large.{x.type}", x.type, 1, lambda b, x: large(kind, b, x)))

    function.__name__ = kind
    return function


def short(kind: str, b: Builder, x: Value) -> Value:
    """sin or cos in float32; where some lanes are beyond SHORT, these are reduced in float64, or by all the bits of 2/pi."""
    r, i = reduce_short(b, x)
    y = circular(kind, b, r, None, i)
    if kind == "sin":
        y = b.select(x == 0.0, x, y)
    a = b.abs(x)
    beyond = a > SHORT
    slot = b.keep(y)
    with b.when(b.any(beyond)):
        r, i = reduce_f32(b, x)
        z = circular(kind, b, b.narrow(r), None, i)
        far = (a > LARGE) & (a < INF)  # of infinity and NaN nothing is left above
        z = b.rarely(far, [x], z, b.outline(f"{kind}.large.f32", "f32", 1, lambda b, x: large(kind, b, x)))
        b.keep(b.select(beyond, z, y), slot)
    return b.kept(y, slot)


def tangent(b: Builder, r: Value, i: Value) -> Value:
    """tan as a float32, from a reduced argument in float64 and its quadrant."""
    z = r * r
    t = b.narrow(b.fma(r * z, b.poly(z, table.TAN["f32"]), r))
    return b.select((i & 1) != 0, -1.0 / t, t)


sin, cos, tan = turning("sin"), turning("cos"), turning("tan")


def large(kind: str, b: Builder, x: Value) -> Value:
    """Payne and Hanek: the bits of 2/pi that matter, times the 53 bits of x, modulo 4. Scalar, in 32-bit limbs."""
    wide = b.widen(x)
    bits = b.bits(b.abs(wide))
    e = b.lshr(bits, 52) - 1075
    e = b.select(e > 971, 0, e)  # infinity and NaN: answered below
    m = (bits & ((1 << 52) - 1)) | (1 << 52)
    start = e + 62
    limb, shift = b.lshr(start, 5), start & 31
    b.declared.setdefault(".two_over_pi", two_over_pi())
    base = b.emit("ptr", 1, f"getelementptr i32, ptr @two_over_pi, {limb}")
    words = []
    for j in range(7):
        p = b.emit("ptr", 1, f"getelementptr i32, {_ptr(base)}, i64 {j}")
        words.append(b.convert("zext", b.emit("i32", 1, f"load i32, {_ptr(p)}, align 4"), "i64"))
    mask = 0xFFFFFFFF
    w = [b.lshr(((words[j] << 32) | words[j + 1]) << shift, 32) & mask for j in range(6)][::-1]  # least limb first
    m_limbs = [m & mask, b.lshr(m, 32)]
    product, carry = [], b.number(0, "i64")
    for k in range(6):
        low, high = carry & mask, b.lshr(carry, 32)
        for j in range(2):
            if 0 <= k - j < 6:
                t = m_limbs[j] * w[k - j]
                low, high = low + (t & mask), high + b.lshr(t, 32)
        product.append(low & mask)
        carry = high + b.lshr(low, 32)
    hi, lo = (product[5] << 32) | product[4], (product[3] << 32) | product[2]
    lo2 = (product[1] << 32) | product[0]
    quadrant = b.lshr(hi, 62)
    hi, lo = (hi << 2) | b.lshr(lo, 62), (lo << 2) | b.lshr(lo2, 62)
    quadrant = quadrant + b.lshr(hi, 63)  # a fraction over one half counts down from the next quarter
    top = b.to_float(hi & -2048) * 2.0**-64
    middle = b.to_float(hi & 2047) * 2.0**-64
    bottom = b.to_float(b.lshr(lo, 11)) * 2.0**-117
    s, s_lost = two_sum(middle, bottom)
    h, low = two_sum(top, s)
    low = low + s_lost
    r, r_lost = two_product(b, h, PIO2[0])
    r, low = two_sum(r, r_lost + h * PIO2[1] + low * PIO2[0])
    minus = wide < 0.0
    quadrant = b.select(minus, 0 - quadrant, quadrant)
    r, low = b.select(minus, -r, r), b.select(minus, -low, low)
    y = circular(kind, b, r, low, quadrant)
    y = b.select(b.abs(wide) < INF, y, NAN)
    return y if x.type == "f64" else b.narrow(y)


def _ptr(p: Value) -> str:
    return f"ptr {p.name}"


# ---------------------------------------------------------------- inverse trigonometry


def atan_of(b: Builder, y: Value, x: Value) -> Value:
    """atan(y/x) for y, x >= 0: by y/x, by (y - x)/(y + x) from pi/4 or by -x/y from pi/2, whichever is small."""
    far, middle = y > x * 2.414213562373095, y > x * 0.41421356237309503
    n = b.select(far, -x, b.select(middle, y - x, y))
    d = b.select(far, y, b.select(middle, y + x, x))
    z = n / d
    base = b.select(far, b.const(PIO2[0], x), b.select(middle, b.const(PI / 4, x), 0.0))
    low = b.select(far, b.const(PIO2[1], x), b.select(middle, b.const(PIO4_LO, x), 0.0))
    square = z * z
    return base + (z + b.fma(z * square, b.poly(square, table.ATAN["f64"]), low))


def atan(b: Builder, x: Value) -> Value:
    if x.type == "f32":  # of 1/x, from pi/2, where that is smaller
        a = b.abs(x)
        far = a > 1.0
        t = b.select(far, 1.0 / a, a)
        z = t * t
        r = b.fma(t * z, b.poly(z, table.ATAN["f32"]), t)
        return b.copysign(b.select(far, PIO2_HI - (r - PIO2_LO), r), x)
    return b.copysign(atan_of(b, b.abs(x), b.const(1.0, x)), x)


@through_f64
def atan2(b: Builder, y: Value, x: Value) -> Value:
    v, u = b.abs(y), b.abs(x)
    scale = b.select(
        b.larger(v, u) > 1e307, b.const(0.125, x), b.select(b.larger(v, u) < 1e-290, b.const(2.0**200, x), 1.0)
    )
    v, u = v * scale, u * scale
    both = (u == INF) & (v == INF)
    r = atan_of(b, b.select(both, b.const(1.0, x), v), b.select(both, b.const(1.0, x), u))
    r = b.select(v == 0.0, b.const(0.0, x), r)
    r = b.select((u == INF) & (v < INF), b.const(0.0, x), r)
    r = b.select(b.bits(x) < 0, PI - (r - 2 * PIO2[1]), r)
    r = b.select(b.isnan(x) | b.isnan(y), b.const(NAN, x), r)
    return b.copysign(r, y)


def arc_f32(b: Builder, x: Value) -> tuple[Value, Value]:
    """(asin(s), whether s is sqrt((1 - |x|)/2) rather than |x|): the smaller of the two, by one polynomial."""
    a = b.abs(x)
    far = a > math.sqrt(0.5)
    t = (1.0 - a) * 0.5
    z, s = b.select(far, t, a * a), b.select(far, b.sqrt(t), a)
    return b.fma(s * z, b.poly(z, table.ASIN["f32"]), s), far


def arc_parts(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """(s, asin(s) - s, |x| >= 1/2) with s = |x|, or sqrt((1 - |x|)/2) where that is smaller; a root's error goes to the second."""
    a = b.abs(x)
    far = a >= 0.5
    t = (1.0 - a) * 0.5
    root = b.sqrt(t)
    z = b.select(far, t, a * a)
    s = b.select(far, root, a)
    p, e = two_product(b, root, root)
    lost = b.select(far & (t > 0.0), ((t - p) - e) / (root + root), 0.0)
    return s, b.fma(s * z, b.poly(z, table.ASIN["f64"]), lost), far


def asin(b: Builder, x: Value) -> Value:
    if x.type == "f32":
        r, far = arc_f32(b, x)
        return b.copysign(b.select(far, PIO2_HI - (2.0 * r - PIO2_LO), r), x)
    s, more, far = arc_parts(b, x)
    y = b.select(far, (PIO2[0] - (s + s)) + (PIO2[1] - (more + more)), s + more)
    return b.copysign(y, x)


def acos(b: Builder, x: Value) -> Value:
    if x.type == "f32":
        r, far = arc_f32(b, x)
        outer = b.select(x > 0.0, 2.0 * r, 2.0 * PIO2_HI - (2.0 * r - 2.0 * PIO2_LO))
        return b.select(far, outer, PIO2_HI - (b.copysign(r, x) - PIO2_LO))
    s, more, far = arc_parts(b, x)
    twice = 2.0 * (s + more)
    outer = b.select(x > 0.0, twice, (PI - (s + s)) + (2 * PIO2[1] - (more + more)))
    signed, more = b.copysign(s, x), b.select(x < 0.0, -more, more)
    inner = PIO2[0] - (signed - (PIO2[1] - more))
    return b.select(far, outer, inner)


# ---------------------------------------------------------------- rounding and remainders


def floor(b: Builder, x: Value) -> Value:
    return b.floor(x)


def ceil(b: Builder, x: Value) -> Value:
    return b.ceil(x)


def round(b: Builder, x: Value) -> Value:
    return b.rint(x)


def trunc(b: Builder, x: Value) -> Value:
    return b.trunc(x)


def copysign(b: Builder, x: Value, y: Value) -> Value:
    return b.copysign(x, y)


def nextafter(b: Builder, x: Value, y: Value) -> Value:
    """The number next to x in the direction of y: its bits, as an integer, one more or less."""
    least = b.from_bits(b.number(1, INT_OF[x.type], x.lanes))
    away = (y > x) ^ (x < 0.0)
    r = b.from_bits(b.select(away, b.bits(x) + 1, b.bits(x) - 1))
    r = b.select(x == 0.0, b.copysign(least, y), r)
    r = b.select(x == y, y, r)
    return b.select(b.isnan(x) | b.isnan(y), b.const(NAN, x), r)


def fmod(b: Builder, x: Value, y: Value) -> Value:
    """The exact remainder, with the sign of x: one division where the quotient fits, long division where it does not."""
    u, v = b.abs(x), b.abs(y)
    q = u / v
    r = b.fma(-b.trunc(q), v, u)
    r = b.select(r < 0.0, r + v, r)
    r = b.select(r >= v, r - v, r)
    r = b.select((v == INF) & (u < INF), u, r)
    hard = (q >= 2.0 ** (MANTISSA[x.type] - 2)) & (v > 0.0) & (u < INF)
    if not b.fma_unit:
        hard = (q >= 1.0) & (v > 0.0) & (u < INF)
    b.functions.setdefault("fmod.long", LONG_DIVISION)
    name = "fmod.long"
    if x.type == "f32":
        name = b.outline(
            "fmod.long.f32", "f32", 2, lambda b, u, v: b.narrow(b.call("f64", 1, "fmod.long", b.widen(u), b.widen(v)))
        )
    return b.copysign(b.rarely(hard, [u, v], r, name), x)


def remainder(b: Builder, x: Value, y: Value) -> Value:
    """The remainder with the sign of y."""
    r = fmod(b, x, y)
    return b.select((r != 0.0) & ((r < 0.0) ^ (y < 0.0)), r + y, r)


def floordiv(b: Builder, x: Value, y: Value) -> Value:
    """floor(x / y), exactly rounded: through the remainder, as Python and PyTorch do it."""
    r = fmod(b, x, y)
    q = (x - r) / y
    q = b.select((r != 0.0) & ((r < 0.0) ^ (y < 0.0)), q - 1.0, q)
    down = b.floor(q)
    down = b.select(q - down > 0.5, down + 1.0, down)
    down = b.select(q == 0.0, b.copysign(b.const(0.0, x), x / y), down)
    return b.select(y == 0.0, x / y, down)
