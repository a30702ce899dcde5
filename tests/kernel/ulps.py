"""Prints `docs/vecmath.md`: the largest errors of the vector mathematics. `python -m tests.kernel.ulps [POINTS]`. Not a test."""

from __future__ import annotations

import sys

import mpmath as mp
import numpy as np

from flambeau._backends.cpu.compile import compile
from tests.kernel.test_vecmath import FUNCTIONS, LIMIT, POWERS, k, points, worst

CODY = "Cody and Waite, 1980"
FDLIBM = "Sun's fdlibm"
PAYNE = "Cody and Waite; Payne and Hanek, 1983, from 2^30 on"
SOURCES = {
    **dict.fromkeys(("exp", "exp2", "expm1", "sigmoid", "tanh", "sinh", "cosh"), CODY),
    **dict.fromkeys(
        ("log", "log2", "log10", "log1p", "asinh", "acosh", "atanh", "pow"), FDLIBM + "; Moller and Knuth's sums"
    ),
    **dict.fromkeys(("sin", "cos", "tan"), PAYNE),
    **dict.fromkeys(("asin", "acos", "atan", "atan2"), FDLIBM),
    **dict.fromkeys(("erf", "erfc"), "minimax polynomials, Remes, 1934"),
    "erfinv": "minimax polynomials and one step of Halley's iteration",
    "lgamma": "minimax polynomial, Stirling's series, reflection",
    "digamma": "minimax polynomial, asymptotic series, reflection",
    "rsqrt": "a root and a quotient",
    "hypot": "a fused sum of squares, scaled",
}
HEAD = """# Vector mathematics

The functions of generated kernels, in units of the last place against mpmath, over dense and adversarial arguments: near zeros of
the function, near multiples of pi/2, at denormals, and at random bits. Printed by `python -m tests.kernel.ulps`; the tests hold
every function to 2 ulp in float32 and 4 in float64. Coefficients are computed by `tests/kernel/fit.py`.

| function | float32 | float64 | after |
|---|---|---|---|"""
TAIL = """
`lgamma` and `digamma` of negative arguments are computed by reflection. Near their zeros there, no short algorithm keeps the
relative error small: the error is then a few units in the last place of the largest term, as in SciPy and PyTorch."""


def unary(name: str, kind: str, n: int) -> float:
    x = points(name, kind, n)
    return worst(name, kind, x, compile(lambda a: getattr(k, name)(a))(x))[0]


def binary(name: str, kind: str, n: int) -> float:
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 3, n)).astype(kind)
    y = (rng.standard_normal(n) * 10.0 ** rng.uniform(-3, 2, n)).astype(kind)
    got = compile(lambda a, b: getattr(k, name)(a, b))(x, y)
    most = 0.0
    for u, v, g in zip(x, y, got, strict=True):
        want = POWERS[name](mp.mpf(float(u)), mp.mpf(float(v)))
        if np.finfo(kind).tiny < abs(want) < np.finfo(kind).max:
            unit = float(np.spacing(np.dtype(kind).type(abs(float(want)))))
            most = max(most, float(abs(mp.mpf(float(g)) - want) / unit))
    return most


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(HEAD)
    with mp.workprec(140):
        for name in (*FUNCTIONS, *POWERS):
            measure = unary if name in FUNCTIONS else binary
            errors = [measure(name, kind, n) for kind in LIMIT]
            print(f"| {name} | {errors[0]:.2f} | {errors[1]:.2f} | {SOURCES[name]} |")
    print("| sqrt, floor, ceil, round, trunc, fmod, remainder | 0.50 | 0.50 | exact or correctly rounded |")
    print(TAIL)


if __name__ == "__main__":
    main()
