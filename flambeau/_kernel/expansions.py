"""Special functions in words of the kernel language, where a few sums tell them: Bessel functions, the derivative of digamma.

Clenshaw's recurrence sums Chebyshev series, as many terms as the dtype has digits for. The coefficients are our own (of
exp(-x) I(x), over x for order 1, in x/4 - 1 up to 8, and times sqrt(x) in 16/x - 1 from there on), the shape is that of S. Moshier's
Cephes library, 1989. The sum over all squares of 1/(x + j) ends, after eight terms, in the series of Euler and Maclaurin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flambeau._values.dtype import float64

I0_NEAR = (
    0.3383976372047380425,
    -0.30468267234319839868,
    0.17162090152220877535,
    -0.094901097048047644421,
    0.049305284239670708488,
    -0.023737414805899468816,
    0.010546460394594998318,
    -0.0043243099950505759443,
    0.0016394756169413357984,
    -0.00057637557453858236588,
    0.00018850288509584165573,
    -0.00005754195010082103704,
    0.000016448448070728897089,
    -4.4167383584587505636e-6,
    1.1173875391201037182e-6,
    -2.6707938539406117339e-7,
    6.0469950225419189493e-8,
    -1.3000250099862480421e-8,
    2.6598237246823866503e-9,
    -5.1897956016352629067e-10,
    9.6758090353732369122e-11,
    -1.7268262914415557072e-11,
    2.9550526631296398346e-12,
    -4.8564467831119294609e-13,
    7.6761854986049356169e-14,
    -1.1685332877993451681e-14,
    1.7153912855551330306e-15,
    -2.4312798465479546936e-16,
    3.3307945188222380978e-17,
    -4.4153416464793393795e-18,
)
I0_FAR = (
    0.4022452055070544158,
    0.0033691164782556940899,
    0.000068897583469168239843,
    2.891370520834756483e-6,
    2.0489185894690637418e-7,
    2.2666689904981780646e-8,
    3.3962320257083863452e-9,
    4.9406023882249695891e-10,
    1.1889147107846438342e-11,
    -3.1499165279632413645e-11,
    -1.3215811840447713119e-11,
    -1.7941785315068061178e-12,
    7.1801244513836662337e-13,
    3.8527783827421427011e-13,
    1.540086217521409827e-14,
    -4.1505693472872220867e-14,
    -9.554846698828307649e-15,
    3.8116806693526224245e-15,
    1.7725601330565263778e-15,
    -3.4254856196772191577e-16,
    -2.8276239805165832434e-16,
    3.4612228676974575151e-17,
    4.4656214202967580337e-17,
    -4.8305044859440215258e-18,
    -7.2331804878749699742e-18,
    9.9214754121718123118e-19,
    1.1936508908470843446e-18,
)
I1_NEAR = (
    0.12629359322181682741,
    -0.17641651835783405515,
    0.10264365868984709538,
    -0.052945981208094991427,
    0.024726449030626516828,
    -0.010564084894626198156,
    0.0041564229443128881567,
    -0.001513572450631253149,
    0.0005122859561685757729,
    -0.00016176081582589674559,
    0.000047815651075500542264,
    -0.000013273163656039435828,
    3.4702513081376784767e-6,
    -8.5687202646954547407e-7,
    2.0032947535521352623e-7,
    -4.4450591287963280807e-8,
    9.3815373864957717839e-9,
    -1.8872497517228292879e-9,
    3.625590281552117037e-10,
    -6.6634897235020277422e-11,
    1.1736186298890901631e-11,
    -1.9839743977649437152e-12,
    3.2237933659455747098e-13,
    -5.0421855047279116871e-14,
    7.6006842947354069341e-15,
    -1.105596947735386308e-15,
    1.5536319577362004689e-16,
    -2.1114212143581660782e-17,
    2.7779141127610463705e-18,
)
I1_FAR = (
    0.38928811750914006024,
    -0.0097610974913614684078,
    -0.00011058893876262371629,
    -3.8825648088776903935e-6,
    -2.5122362378702089253e-7,
    -2.6314688468895195068e-8,
    -3.835380385964237022e-9,
    -5.5897434621965838069e-10,
    -1.8974958123505412345e-11,
    3.2526035830154882386e-11,
    1.4125807436613781332e-11,
    2.0356285441470895072e-12,
    -7.1985517762459085121e-13,
    -4.0835511110921973182e-13,
    -2.1015418427726643131e-14,
    4.2724400167119513544e-14,
    1.0420276984128802764e-14,
    -3.8144030724370078086e-15,
    -1.8803547755107824426e-15,
    3.3082023109209283037e-16,
    2.9626289976459498959e-16,
    -3.2095259219934202765e-17,
    -4.6503053684893564915e-17,
    4.414348323071546047e-18,
    7.5172963108423279732e-18,
    -9.3141788673250750325e-19,
    -1.2421932751960055043e-18,
)
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
DIGITS = {4: 1e-9, 8: 1e-18}  # what is left out, by bytes of the dtype


def series(k: Any, t: Any, coefficients: Sequence[float], least: float) -> Any:
    """A Chebyshev series at t, from -1 to 1, without its last terms that are below `least`."""
    kept = coefficients[: max(i for i, c in enumerate(coefficients) if abs(c) > least) + 1]
    twice = t + t
    one, two = k.like(kept[-1], t), k.like(0, t)
    for c in kept[-2:0:-1]:
        one, two = k.fma(twice, one, k.like(c, t) - two), one
    return k.fma(t, one, k.like(kept[0], t) - two)


def _scaled(k: Any, x: Any, order: int, least: float) -> Any:
    a = k.abs(x)
    near, far = (I1_NEAR, I1_FAR) if order else (I0_NEAR, I0_FAR)
    low = series(k, k.minimum(a, k.like(8, a)) * 0.25 - 1.0, near, least)
    b = k.maximum(a, k.like(8, a))
    high = series(k, k.like(16, b) / b - 1.0, far, least) / k.sqrt(b)
    if order == 0:
        return k.where(k.le(a, k.like(8, a)), low, high)
    return k.where(k.le(a, k.like(8, a)), low * x, k.where(k.lt(x, k.like(0, x)), -high, high))


def scaled_bessel(k: Any, x: Any, order: int) -> Any:
    """exp(-|x|) I(x), for order 0 or 1; in float64."""
    return k.cast(_scaled(k, k.cast(x, float64), order, DIGITS[x.dtype.itemsize]), x.dtype)


def bessel(k: Any, x: Any, order: int) -> Any:
    """The modified Bessel function of the first kind, of order 0 or 1; in float64."""
    w = k.cast(x, float64)
    return k.cast(k.exp(k.abs(w)) * _scaled(k, w, order, DIGITS[x.dtype.itemsize]), x.dtype)


def trigamma(k: Any, x: Any) -> Any:
    """The derivative of digamma, by reflection below 1/2; in float64."""
    w = k.cast(x, float64)
    below = k.lt(w, k.like(0.5, w))
    s = k.where(below, k.sin((w - k.round(w)) * math.pi), k.like(1, w))  # what is not used may not make derivatives NaN
    y = k.where(below, 1.0 - w, w)
    total = k.like(0, y)
    for j in range(8):
        r = k.reciprocal(y + float(j))
        total = total + r * r
    r = k.reciprocal(y + 8.0)
    q = r * r
    tail = k.like(0, y)
    for b in BERNOULLI[::-1]:
        tail = k.fma(tail, q, k.like(b, q))
    total = total + (r + q * 0.5 + tail * q * r)
    return k.cast(k.where(below, math.pi**2 / (s * s) - total, total), x.dtype)
