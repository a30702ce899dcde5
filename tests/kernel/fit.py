"""The polynomials of `flambeau/_backends/cpu/coefficients.py`, computed: `python tests/kernel/fit.py` prints that file.

Each is the polynomial of least relative error on an interval, found by Remez's exchange algorithm in 130 digits (E. Remes,
1934; as told in J.-M. Muller, "Elementary Functions", ch. 3). Needs mpmath.
"""

from __future__ import annotations

import struct
import sys

import mpmath as mp

mp.mp.dps = 130


def nodes(a, b, n):
    return [(a + b) / 2 + (b - a) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)][::-1]


def remez(f, a, b, degree, weight=None):
    """Coefficients, lowest power first, and the largest error of p - f divided by weight (default: f)."""
    a, b = mp.mpf(a), mp.mpf(b)
    weight = weight or f
    points = nodes(a, b, degree + 2)
    grid = [a + (b - a) * (1 - mp.cos(mp.pi * k / (24 * (degree + 2)))) / 2 for k in range(24 * (degree + 2) + 1)]
    fg, wg = [f(x) for x in grid], [weight(x) for x in grid]
    for _ in range(6):
        m = mp.matrix(degree + 2)
        r = mp.matrix(degree + 2, 1)
        for i, x in enumerate(points):
            for j in range(degree + 1):
                m[i, j] = x**j
            m[i, degree + 1] = (-1) ** i * abs(weight(x))
            r[i] = f(x)
        c = mp.lu_solve(m, r)
        p = [c[j] for j in range(degree + 1)]
        e = [(mp.polyval(p[::-1], x) - y) / abs(w) for x, y, w in zip(grid, fg, wg)]
        best = []
        for i, v in enumerate(e):  # one extreme per run of one sign
            if best and (e[best[-1]] > 0) == (v > 0):
                if abs(v) > abs(e[best[-1]]):
                    best[-1] = i
            else:
                best.append(i)
        while len(best) > degree + 2:
            best.pop(0 if abs(e[best[0]]) < abs(e[best[-1]]) else -1)
        if len(best) < degree + 2:
            break
        points = [grid[i] for i in best]
    return p, max(abs(v) for v in e)


def root(g, eps="1e-36"):
    """g(sqrt z), safe at 0."""
    return lambda z: g(mp.sqrt(z)) if z > mp.mpf(eps) else g(mp.sqrt(mp.mpf(eps)))


def erfcx(x):
    return mp.exp(x * x) * mp.erfc(x)


def erfinv_over_x(w):
    """erfinv(x)/x as a function of w = -log(1 - x^2)."""
    if w < mp.mpf("1e-12"):
        return mp.sqrt(mp.pi) / 2
    x = mp.sqrt(-mp.expm1(-w))
    y = mp.erfinv(x) if w < 30 else tail(w)
    return y / x


def tail(w):
    c = 1 - mp.sqrt(-mp.expm1(-w))
    y = mp.sqrt(w)
    for _ in range(40):
        y = y - (mp.erfc(y) - c) / (-2 / mp.sqrt(mp.pi) * mp.exp(-y * y))
    return y


half = mp.log(2) / 2
quarter = mp.pi / 4
E = mp.mpf("1e-9")


def near(g, at=0):
    """g, but at a removable singularity by its value a hair away."""
    return lambda x: g(x) if abs(x - at) > mp.mpf("1e-30") else g(at + mp.mpf("1e-30"))


psi0 = mp.findroot(mp.digamma, 1.4616)
FITS = {
    "EXP": {
        "f32": (near(lambda r: (mp.expm1(r) - r) / r**2), -half, half, 4),
        "f64": (near(lambda r: (mp.expm1(r) - r) / r**2), -half, half, 10),
    },
    "EXP_NEAR": {  # the same for the sixteenth part of the arguments, of small absolute error
        "f32": (near(lambda r: (mp.expm1(r) - r) / r**2), -half / 16, half / 16, 1, near(lambda r: 1 / r**2))
    },
    "LOG": {  # log(1+f) = f - f^2/2 + f^3 P(f)
        "f32": (near(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3), mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 8),
        # s = f/(2+f), z = s^2: log(1+f) = 2s + s z R(z)
        "f64": (root(lambda s: (2 * mp.atanh(s) - 2 * s) / s**3), 0, "0.0295", 6),
    },
    "LOG_LONG": {  # 2 atanh(s) = 2s + 2/3 s^3 + s^5 R(s^2): for pow
        "f64": (root(lambda s: (2 * mp.atanh(s) - 2 * s - 2 * s**3 / 3) / s**5), 0, "0.0295", 7),
    },
    "SIN": {  # sin r = r + r^3 S(r^2)
        "f32": (root(lambda r: (mp.sin(r) - r) / r**3), 0, quarter**2, 2),
        "f64": (root(lambda r: (mp.sin(r) - r) / r**3), 0, quarter**2, 5),
    },
    "COS": {  # cos r = 1 - r^2/2 + r^4 C(r^2)
        "f32": (root(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4), 0, quarter**2, 2),
        "f64": (root(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4), 0, quarter**2, 5),
    },
    "TAN": {"f32": (root(lambda r: (mp.tan(r) - r) / r**3), 0, quarter**2, 7)},  # tan r = r + r^3 T(r^2)
    "ATAN": {
        "f32": (root(lambda x: (mp.atan(x) - x) / x**3), 0, 1, 9),
        "f64": (root(lambda x: (mp.atan(x) - x) / x**3), 0, "0.1716", 11),
    },
    "ASIN": {
        "f32": (root(lambda x: (mp.asin(x) - x) / x**3), 0, "0.5", 8),
        "f64": (root(lambda x: (mp.asin(x) - x) / x**3), 0, "0.25", 12),
    },
    "ERF": {
        "f32": (root(lambda x: mp.erf(x) / x), 0, 1, 6),
        "f64": (root(lambda x: mp.erf(x) / x), 0, 1, 11),
    },
    # log2 erfc of x - 2.46, of small absolute error in erfc; and the power that undoes it
    "ERFC_LOG2": {
        "f32": (
            lambda v: mp.log(mp.erfc(v + mp.mpf("2.46")), 2),
            "-1.48",
            "1.46",
            6,
            lambda v: 1 / mp.erfc(v + mp.mpf("2.46")),
        )
    },
    "EXP2": {
        "f32": (lambda r: mp.mpf(2) ** r, "-0.5", "0.5", 5),
        "f64": (lambda r: mp.mpf(2) ** r, "-0.5", "0.5", 7),  # for powers of float32
    },
    "LOG2": {  # log2(1+f) = f P(f), for powers of float32
        "f64": (near(lambda f: mp.log1p(f) / f / mp.log(2)), mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 11),
    },
    # erfc(x) exp(x^2) (1 + 2x), a function of t = (x - 2)/(x + 2)
    "ERFCX": {
        "f32": (lambda t: erfcx(2 * (1 + t) / (1 - t)) * (1 + 4 * (1 + t) / (1 - t)), "-1", "0.68", 11),
        "f64": (lambda t: erfcx(2 * (1 + t) / (1 - t)) * (1 + 4 * (1 + t) / (1 - t)), "-0.5", "0.87", 21),
    },
    "ERFINV": {"f64": (lambda v: erfinv_over_x(v + mp.mpf("2.5")), "-2.5", "2.5", 9)},
    "ERFINV_TAIL": {
        "f32": (lambda v: erfinv_over_x((v + 4) ** 2), mp.sqrt(5) - 4, "0.08", 9),
        "f64": (lambda v: erfinv_over_x((v + 4) ** 2), mp.sqrt(5) - 4, "2.2", 10),
    },
    "LGAMMA": {"f64": (near(lambda v: mp.loggamma(v + 2) / ((v + 1) * v), 0), "-0.999999999999", 1, 25)},
    "STIRLING": {  # lgamma(x) - (x - 1/2) log x + x - log(2 pi)/2 = P(1/x^2)/x
        "f64": (
            root(
                lambda u: (
                    (mp.loggamma(1 / u) - (1 / u - mp.mpf(1) / 2) * mp.log(1 / u) + 1 / u - mp.log(2 * mp.pi) / 2) / u
                ),
                "1e-12",
            ),
            0,
            mp.mpf(1) / 64,
            6,
        )
    },
    "DIGAMMA": {
        "f64": (
            near(lambda v: mp.digamma(v + mp.mpf(1.5)) / (v + mp.mpf(1.5) - psi0), psi0 - mp.mpf(1.5)),
            "-0.5",
            "0.5",
            20,
        )
    },
    "DIGAMMA_TAIL": {  # log x - 1/(2x) - psi(x) = z P(z), z = 1/x^2
        "f64": (root(lambda u: (mp.log(1 / u) - u / 2 - mp.digamma(1 / u)) / u**2, "1e-12"), 0, mp.mpf(1) / 100, 6)
    },
}

# Odd functions in pieces of one width, the n-th around n * width, for x >= 0: (f, width, number of pieces, degree).
PIECES = {"ERF_PIECES": (mp.erf, mp.mpf(1) / 8, 32, 4)}


def pieces(name):
    """`coefficients_pieces.py`: for each power, highest first, its coefficient in every piece, in float32; of the first power
    less 1, so that near 0, where f(x) is about x, it is rounded less; the constant in two words, the second one first."""
    f, width, count, degree = PIECES[name]
    first, e = remez(near(lambda u: f(u) / u), 0, width / 2, degree - 1)  # exactly 0 at 0
    found = [([mp.mpf(0), *first], e)]
    found += [remez(lambda u, c=n * width: f(c + u), -width / 2, width / 2, degree) for n in range(1, count)]
    print(f"{name} = (  # {mp.nstr(max(e for _, e in found), 2)}")
    rows = [[p[power] - (power == 1) for p, _ in found] for power in reversed(range(1, degree + 1))]
    constant = [single(p[0]) for p, _ in found]
    for row in [*rows, [p[0] - c for (p, _), c in zip(found, constant)], constant]:
        print("    (")
        for c in row:
            print(f"        {single(c)!r},")
        print("    ),")
    print(")")


def single(x):
    """The nearest float32."""
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def main():
    if sys.argv[1:] == ["pieces"]:
        print(
            '"""Functions of `vecmath` in pieces, for table look-ups in registers. Printed by `tests/kernel/fit.py pieces`."""\n'
        )
        for name in PIECES:
            pieces(name)
        return
    print(
        '"""Coefficients of `vecmath`, highest power first. Printed by `tests/kernel/fit.py`, with the relative error of each."""\n'
    )
    for name, fits in FITS.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        print(f"{name} = {{")
        for type, (f, a, b, n, *weight) in fits.items():
            p, e = remez(f, a, b, n, *weight)
            print(f'    "{type}": (  # {mp.nstr(e, 2)}')
            for c in reversed(p):
                print(f"        {float(c)!r},")
            print("    ),")
        print("}")


if __name__ == "__main__":
    main()
