"""Vector mathematics: error functions and gamma functions. The conventions and sources are those of `vecmath`."""

from __future__ import annotations

import math

from flambeau._backends.cpu import coefficients as table
from flambeau._backends.cpu.coefficients_pieces import ERF_PIECES
from flambeau._backends.cpu.lanes import Builder, Value
from flambeau._backends.cpu.vecmath import (
    INF,
    LN2,
    LOG2E,
    MAGIC,
    NAN,
    PI,
    circular,
    exp,
    log,
    nearest,
    power_of_two,
    reduce_f64,
    through_f64,
    two_product,
)

# ---------------------------------------------------------------- error functions


def erf(b: Builder, x: Value) -> Value:
    if x.type == "f32" and b.scale_unit:  # in pieces of 1/8, the nearest of which the sum with a large number finds
        a = b.abs(x)
        near = b.smaller(b.const(3.92, a), a)
        shifted = near + MAGIC["f32"] / 8
        u = near - (shifted - MAGIC["f32"] / 8)
        which = b.bits(shifted)
        first, *rest, low, high = (b.lookup(row, which) for row in ERF_PIECES)
        y = first
        for c in rest:
            y = b.fma(y, u, c)
        y = high + b.fma(y, u, low + u)
        return b.copysign(b.select(a >= 3.92, b.const(1.0, x), y), x)
    if x.type == "f32":
        a, z = b.abs(x), x * x
        q = b.poly(b.smaller(b.const(3.92, a), a) - 2.46, table.ERFC_LOG2["f32"])
        if b.scale_unit:
            whole = b.rint(q)
            tail = b.scaled(b.poly(q - whole, table.EXP2["f32"]), whole)
        else:
            shifted = q + MAGIC["f32"]
            power = b.poly(q - (shifted - MAGIC["f32"]), table.EXP2["f32"])
            tail = b.from_bits(b.bits(power) + (b.bits(shifted) << 23))  # the integer goes straight to the exponent
        far = b.copysign(1.0 - tail, x)
        *high, last = table.ERF["f32"]
        return b.select(a >= 1.0, far, b.fma(x, b.poly(z, (*high, last - 1.0)), x))
    a = b.abs(x)
    z = x * x
    far = 1.0 - erfc_tail(b, b.smaller(b.const(7.0, a), a))
    return b.select(a < 1.0, x * b.poly(b.smaller(b.const(1.0, z), z), table.ERF["f64"]), b.copysign(far, x))


def erfc_tail(b: Builder, a: Value) -> Value:
    """erfc(a) for a >= 2/3, as exp(-a^2) times a polynomial in (a - 2)/(a + 2) over 1 + 2a."""
    t = (a - 2.0) / (a + 2.0)
    h, low = two_product(b, a, a)
    e = exp(b, -h)
    e = b.fma(-low, e, e)
    return e * (b.poly(t, table.ERFCX["f64"]) / b.fma(a, 2.0, 1.0))


def erfc_f32(b: Builder, x: Value) -> Value:
    """`erfc_tail` from 0 on, in float64 of as many digits as float32 has: a^2 is exact, and one step makes the quotient so."""
    a = b.abs(x)
    a = b.widen(b.smaller(b.const(10.5, a), a))
    up, scale = a + 2.0, b.fma(a, 2.0, 1.0)
    d = up * scale
    q = b.widen(1.0 / b.narrow(d))
    q = b.fma(q, b.fma(-q, d, 1.0), q)
    p = b.poly((a - 2.0) * (scale * q), table.ERFCX["f32"]) * (up * q)
    h = a * a
    n, i = nearest(b, h * -LOG2E)
    r = b.fma(n, -LN2, -h)
    tail = p * (b.fma(r * r, b.poly(r, table.EXP["f32"]), r) + 1.0) * power_of_two(b, i)
    return b.narrow(b.select(x < 0.0, 2.0 - tail, tail))


def erfc(b: Builder, x: Value) -> Value:
    if x.type == "f32":
        return erfc_f32(b, x)
    a = b.abs(x)
    z = b.smaller(b.const(1.0, x), x * x)
    near = 1.0 - x * b.poly(z, table.ERF["f64"])
    tail = erfc_tail(b, b.smaller(b.const(28.5, a), b.larger(b.const(0.67, a), a)))
    far = b.select(x < 0.0, 2.0 - tail, tail)
    return b.select(b.isnan(x), x, b.select(a < 0.67, near, far))


def erfinv_f32(b: Builder, x: Value) -> Value:
    a = b.abs(x)
    w = -log(b, (1.0 - a) * (1.0 + a))
    y = b.poly(b.widen(b.smaller(b.const(5.0, w), w)) - 2.5, table.ERFINV["f64"])
    slot, far = b.keep(y), w >= 5.0
    with b.when(b.any(far)):  # seldom
        tail = b.poly(b.widen(b.sqrt(b.smaller(b.const(16.6, w), w))) - 4.0, table.ERFINV_TAIL["f32"])
        b.keep(b.select(far, tail, y), slot)
    y = b.narrow(b.widen(a) * b.kept(y, slot))
    y = b.select(a < 1.0, y, b.select(a == 1.0, b.const(INF, x), NAN))
    return b.copysign(y, x)


def erfinv(b: Builder, x: Value) -> Value:
    """A polynomial's seven digits, and for float64 one step of Halley's iteration on erf, or beyond 1/2 on erfc."""
    if x.type == "f32":
        return erfinv_f32(b, x)
    a = b.abs(x)
    w = -log(b, (1.0 - a) * (1.0 + a))
    near = b.poly(b.smaller(b.const(5.0, w), w) - 2.5, table.ERFINV["f64"])
    far = b.poly(b.sqrt(b.smaller(b.const(38.0, w), b.larger(b.const(5.0, w), w))) - 4.0, table.ERFINV_TAIL["f64"])
    y = a * b.select(w < 5.0, near, far)
    residue = b.select(a < 0.5, erf(b, y) - a, (1.0 - a) - erfc(b, y))
    slope = exp(b, -(y * y)) * (2 / math.sqrt(PI))
    u = residue / slope
    y = y - u / b.fma(y, u, 1.0)
    y = b.select(a < 1.0, y, b.select(a == 1.0, b.const(INF, x), NAN))
    return b.copysign(y, x)


# ---------------------------------------------------------------- gamma functions


@through_f64
def lgamma(b: Builder, x: Value) -> Value:
    """By reflection below 0; (a-1)(a-2) P on [1, 3]; products bring (3, 9) there; Stirling's series above."""
    a = b.abs(x)
    one = b.const(1.0, x)
    t, product = a, one
    for _ in range(6):
        over = t > 3.0
        t = b.select(over, t - 1.0, t)
        product = b.select(over, product * t, product)
    small, big = a < 1.0, a >= 9.0
    v = b.select(small, a - 1.0, t - 2.0)
    v = b.smaller(one, v)
    series = v * (v + 1.0) * b.poly(v, table.LGAMMA["f64"])
    logarithm = log(b, b.select(big | small, a, product))
    inverse = 1.0 / b.larger(b.const(9.0, a), a)
    stirling = (a - 0.5) * (logarithm - 1.0) + (
        0.4189385332046727 + inverse * b.poly(inverse * inverse, table.STIRLING["f64"])
    )
    y = b.select(big, stirling, b.select(small, series - logarithm, series + logarithm))
    f = a - b.rint(a)
    turned = log(b, PI / (a * b.abs(circular("sin", b, *reduce_f64(b, f * PI))))) - y
    turned = b.select(a < 1e-17, y, turned)
    y = b.select((x < 0.0) & (a != INF), turned, y)
    y = b.select((x < 0.0) & (f == 0.0), b.const(INF, x), y)
    return b.select(a == INF, a, y)


@through_f64
def digamma(b: Builder, x: Value) -> Value:
    """By reflection below 0; (t - root) P on [1, 2]; recurrence brings (0, 1) and (2, 10) there; its series above."""
    one = b.const(1.0, x)
    minus = x < 0.0
    a = b.select(minus, 1.0 - x, x)
    low = a < 1.0
    t, n, d = b.select(low, a + 1.0, a), b.const(0.0, x), one
    for _ in range(8):  # n/d = sum of 1/t
        over = t > 2.0
        t = b.select(over, t - 1.0, t)
        n = b.select(over, b.fma(n, t, d), n)
        d = b.select(over, d * t, d)
    n, d = b.select(low, b.const(-1.0, x), n), b.select(low, a, d)
    t = b.smaller(b.const(2.0, t), t)
    near = (t - 1.4616321449683622) - 9.549995429965697e-17
    series = near * b.poly(t - 1.5, table.DIGAMMA["f64"]) + n / d
    big = b.larger(b.const(10.0, a), a)
    inverse = 1.0 / big
    z = inverse * inverse
    tail = log(b, big) - (0.5 * inverse + z * b.poly(z, table.DIGAMMA_TAIL["f64"]))
    y = b.select(a > 10.0, tail, series)
    f = x - b.rint(x)
    r, r_low, i = reduce_f64(b, f * PI)
    y = b.select(minus, y - PI / circular("tan", b, r, r_low, i), y)
    y = b.select(minus & (f == 0.0), b.const(NAN, x), y)
    y = b.select(x == 0.0, -b.copysign(b.const(INF, x), x), y)
    return b.select(b.isnan(x), x, b.select(x == INF, x, y))
