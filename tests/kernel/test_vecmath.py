"""Vector mathematics: errors in ulps against mpmath, and the edges of every function against NumPy and SciPy."""

from __future__ import annotations

import ctypes
import timeit
from typing import Any

import numpy as np
import pytest

from flambeau._backends.cpu import engine
from flambeau._backends.cpu.compile import compile, layout, recorded
from flambeau._backends.cpu.llvm import Machine, generate
from flambeau._kernel.fuse import fuse
from flambeau._kernel.record import Record

pytestmark = pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
mp = pytest.importorskip("mpmath")
special = pytest.importorskip("scipy.special")
k = Record()
LIMIT = {"f": 2.0, "d": 4.0}


def log_gamma(x: Any) -> Any:
    return mp.re(mp.loggamma(x))


# word: (reference, where float32 and float64 are tested densely)
FUNCTIONS: dict[str, tuple[Any, tuple[float, float], tuple[float, float]]] = {
    "exp": (mp.exp, (-106, 89), (-750, 710)),
    "exp2": (lambda x: mp.mpf(2) ** x, (-152, 129), (-1080, 1025)),
    "expm1": (mp.expm1, (-20, 89), (-40, 710)),
    "log": (mp.log, (0, 10), (0, 10)),
    "log2": (lambda x: mp.log(x) / mp.log(2), (0, 10), (0, 10)),
    "log10": (mp.log10, (0, 10), (0, 10)),
    "log1p": (mp.log1p, (-1, 5), (-1, 5)),
    "sin": (mp.sin, (-100, 100), (-100, 100)),
    "cos": (mp.cos, (-100, 100), (-100, 100)),
    "tan": (mp.tan, (-100, 100), (-100, 100)),
    "asin": (mp.asin, (-1, 1), (-1, 1)),
    "acos": (mp.acos, (-1, 1), (-1, 1)),
    "atan": (mp.atan, (-10, 10), (-10, 10)),
    "sinh": (mp.sinh, (-89, 89), (-710, 710)),
    "cosh": (mp.cosh, (-89, 89), (-710, 710)),
    "tanh": (mp.tanh, (-10, 10), (-20, 20)),
    "asinh": (mp.asinh, (-10, 10), (-10, 10)),
    "acosh": (mp.acosh, (1, 20), (1, 20)),
    "atanh": (mp.atanh, (-1, 1), (-1, 1)),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), (-100, 90), (-740, 700)),
    "erf": (mp.erf, (-4, 4), (-6, 6)),
    "erfc": (mp.erfc, (-4, 10), (-6, 27)),
    "erfinv": (mp.erfinv, (-1, 1), (-1, 1)),
    "lgamma": (log_gamma, (0, 100), (0, 100)),
    "digamma": (mp.digamma, (0, 30), (0, 30)),
    "rsqrt": (lambda x: 1 / mp.sqrt(x), (0, 10), (0, 10)),
}
ADVERSARIAL = {  # the doubles nearest to a multiple of pi/2, from J.-M. Muller's tables, and their neighbours
    "sin": [6381956970095103 * 2.0**797, 5.319372648326541e255, 1.2e22, 11.0, 710.0],
    "cos": [6381956970095103 * 2.0**797, 5.319372648326541e255, 3.2e15, 1.5707963267948966],
    "tan": [6381956970095103 * 2.0**797, 1.5707963267948966, 4.71238898038469],
}


def points(name: str, kind: str, n: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    low, high = FUNCTIONS[name][1 if kind == "f" else 2]
    parts = [
        rng.uniform(low, high, n),
        2.0 ** rng.uniform(-60, 4, n // 2) * rng.choice([-1, 1], n // 2),
        1 + 2.0 ** rng.uniform(-30, -1, n // 4) * rng.choice([-1, 1], n // 4),
        np.arange(1, n // 4) * np.pi / 2 if name in ADVERSARIAL else [],
        10.0 ** rng.uniform(2, 30, n // 4) if name in ADVERSARIAL else [],
        ADVERSARIAL.get(name, []) if kind == "d" else [],
    ]
    bits = rng.integers(0, 2**63, n).view(np.uint64)
    anything = bits.view("d") if kind == "d" else (bits >> 31).astype(np.uint32).view("f")
    with np.errstate(over="ignore"):
        x = np.concatenate([np.concatenate(parts).astype(kind), anything])
    x = x[np.isfinite(x)]
    return x[(x > 0) & (x < 1e15)] if name in ("lgamma", "digamma") else x


def worst(name: str, kind: str, xs: Any, got: Any) -> tuple[float, Any]:
    """The largest error in units of the last place, and where."""
    out: tuple[float, Any] = (0.0, None)
    largest, least = float(np.finfo(kind).max), float(np.finfo(kind).smallest_subnormal)
    for x, g in zip(xs, got, strict=True):
        try:
            want = FUNCTIONS[name][0](mp.mpf(float(x)))
        except (ValueError, ZeroDivisionError, OverflowError):
            continue
        if isinstance(want, mp.mpc) or not mp.isfinite(want) or abs(want) > largest:
            continue
        unit = max(float(np.spacing(np.dtype(kind).type(abs(float(want))))), least)
        error = float(abs(mp.mpf(float(g)) - want) / unit) if np.isfinite(g) else np.inf
        out = max(out, (error, (x, g, float(want))), key=lambda t: t[0])
    return out


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ulps(name: str, kind: str) -> None:
    x = points(name, kind, 300)
    with mp.workprec(140):
        error, where = worst(name, kind, x, compile(lambda a: getattr(k, name)(a))(x))
    assert error <= LIMIT[kind], where


DOUBLES = {
    "sigmoid": special.expit,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "lgamma": special.gammaln,
    "digamma": special.digamma,
    **{name: getattr(special, name) for name in ("erf", "erfc", "erfinv")},
    **{name: getattr(np, "arc" + name[1:]) for name in ("asin", "acos", "atan", "asinh", "acosh", "atanh")},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_ulps_of_many(name: str) -> None:
    """Float32 against what NumPy and SciPy compute in float64: more points than mpmath has time for."""
    x = points(name, "f", 1 << 19)
    with np.errstate(all="ignore"):
        want = (DOUBLES.get(name) or getattr(np, name))(x.astype("d"))
        got = compile(lambda a: getattr(k, name)(a))(x)
        error = np.abs(got - want) / np.spacing(np.abs(want).astype("f"))
    held = (np.abs(want) > np.finfo("f").tiny) & (np.abs(want) < np.finfo("f").max)
    at = int(np.where(held, error, 0).argmax())
    assert error[at] <= LIMIT["f"], (x[at], got[at], want[at])


@pytest.mark.parametrize("machine", [Machine(32, True), Machine(16, False), Machine(64, True, True, 32)], ids=str)
@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "sigmoid", "tanh", "sin", "erf"])
def test_other_processors_are_as_accurate(name: str, machine: Machine) -> None:
    """Without fused products, or with instructions that this processor may lack, other code is written."""
    if machine.scale and not engine.engine().target.scales:
        pytest.skip("no such instructions here")
    x = points(name, "f", 300)
    step = fuse([getattr(k, name)(recorded(x, 0))], [layout(x)], [layout(x)]).launches[0]
    code = engine.engine().load(generate(step.kernel, machine), ["k"])
    got = np.empty_like(x)
    addresses = {"in": x.ctypes.data, "out": got.ctypes.data}
    words = np.array([*(addresses[kind] for kind, _ in step.operands), *step.sizes, *step.grain], np.int64)
    run = code.function("k", None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    run(words.ctypes.data, 0, step.chunks, 0)
    with mp.workprec(140):
        error, where = worst(name, "f", x, got)
    assert error <= LIMIT["f"], where


POWERS = {"pow": lambda x, y: x**y, "atan2": mp.atan2, "hypot": mp.hypot}


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("name", POWERS)
def test_ulps_of_two_operands(name: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal(600) * 10.0 ** rng.uniform(-3, 3, 600)).astype(kind)
    y = (rng.standard_normal(600) * 10.0 ** rng.uniform(-3, 2, 600)).astype(kind)
    x[:200] = (1 + rng.standard_normal(200) * 1e-4).astype(kind)  # powers near 1 magnify the error of a logarithm
    y[:200] *= 1000
    got = compile(lambda a, b: getattr(k, name)(a, b))(x, y)
    with mp.workprec(140):
        for u, v, g in zip(x, y, got, strict=True):
            want = POWERS[name](mp.mpf(float(u)), mp.mpf(float(v)))
            if abs(want) < np.finfo(kind).max and abs(want) > np.finfo(kind).tiny:
                assert abs(mp.mpf(float(g)) - want) <= LIMIT[kind] * float(
                    np.spacing(np.dtype(kind).type(abs(float(want))))
                ), (u, v)


def edges(kind: str) -> np.ndarray[Any, Any]:
    i = np.finfo(kind)
    positive = [np.inf, 0.0, i.smallest_subnormal, i.tiny / 8, i.tiny, 1e-30, 0.5, 1, 1.5, 2, 2.5, 3, 7.5, i.max]
    return np.array([np.nan, *positive, *(-x for x in positive)], kind)


def alike(got: Any, want: Any, x: Any) -> None:
    """Equal within a few ulps, NaN with NaN, signs of zeros too."""
    with np.errstate(all="ignore"):
        near = np.abs(got - want) <= 8 * np.spacing(np.abs(want))
    ok = (got == want) | near | (np.isnan(got) & np.isnan(want))
    ok &= (np.signbit(got) == np.signbit(want)) | (want != 0) | (got != 0)
    assert ok.all(), [(a, g, w) for a, g, w in zip(x, got[~ok], want[~ok], strict=False)]


UFUNC = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "round": "rint",
}


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize(
    "name",
    [n for n in FUNCTIONS if n not in ("sigmoid", "erfinv", "lgamma", "digamma", "rsqrt")]
    + ["sqrt", "floor", "ceil", "round", "trunc"],
)
def test_edges(name: str, kind: str) -> None:
    special = pytest.importorskip("scipy.special")
    x = edges(kind)
    with np.errstate(all="ignore"):
        want = (getattr(special, name) if name in ("erf", "erfc") else getattr(np, UFUNC.get(name, name)))(x)
    alike(compile(lambda a: getattr(k, name)(a))(x), want, x)


def test_edges_of_the_rest() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.0, -2.0])
    nan, inf = np.nan, np.inf
    expected = {
        "sigmoid": [
            nan,
            1,
            0,
            0.5,
            0.5,
            0.7310585786300049,
            0.2689414213699951,
            0.8807970779778824,
            0.11920292202211757,
        ],
        "erfinv": [nan, nan, nan, 0, -0.0, inf, -inf, nan, nan],
        "lgamma": [nan, inf, inf, inf, inf, 0, inf, 0, inf],
        "digamma": [nan, inf, nan, -inf, inf, -0.5772156649015329, nan, 0.42278433509846713, nan],
        "rsqrt": [nan, 0, nan, inf, -inf, 1, nan, 0.7071067811865475, nan],
    }
    for name, want in expected.items():
        alike(compile(lambda a, name=name: getattr(k, name)(a))(x), np.array(want, "d"), x)


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize(
    "name", ["pow", "atan2", "fmod", "remainder", "hypot", "maximum", "minimum", "fmax", "fmin", "copysign"]
)
def test_edges_of_two_operands(name: str, kind: str) -> None:
    v = np.array(
        [np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1e-30, 1e30, -1e30, 4.5, -4.5, 7], kind
    )
    x, y = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(v, v))
    with np.errstate(all="ignore"):
        want = getattr(np, {"pow": "power", "atan2": "arctan2"}.get(name, name))(x, y)
    got = compile(lambda a, b: getattr(k, name)(a, b))(x, y)
    if name in ("remainder", "maximum", "minimum", "fmax", "fmin"):  # NumPy's signs of zeros differ from PyTorch's
        got, want = got + 0.0, want + 0.0
        if name == "remainder":
            keep = ~np.isinf(y)
            got, want, x = got[keep], want[keep], x[keep]
    alike(got, want, x)


def test_long_division() -> None:
    """fmod of numbers hundreds of binary orders apart is exact."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(500) * 10.0 ** rng.uniform(-300, 300, 500)
    y = rng.standard_normal(500) * 10.0 ** rng.uniform(-300, 300, 500)
    got = compile(lambda a, b: k.fmod(a, b))(x, y)
    np.testing.assert_array_equal(got, np.fmod(x, y))


@pytest.mark.parametrize("name", ["exp", "exp2", "sigmoid"])
def test_what_vanishes_takes_no_longer(name: str) -> None:
    """A processor that rounds to 0 or to a denormal stops for a hundred cycles: masked scores are infinitely small."""
    run = compile(lambda a: getattr(k, name)(a))
    gone, near = np.full(1 << 16, -1e4, "f"), np.full(1 << 16, -1.0, "f")

    def seconds(x: Any) -> float:
        return min(timeit.repeat(lambda: run(x), number=3, repeat=7))

    assert seconds(gone) < 4 * seconds(near)  # twenty times, before
