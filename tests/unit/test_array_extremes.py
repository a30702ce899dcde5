"""The array API at the ends of its dtypes: largest, smallest, denormal and special numbers, arrays without elements, drawn shapes and indices.

What the standard's own suite draws by Hypothesis, beside NumPy, which follows the same text.
"""

import math
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra.array_api import make_strategies_namespace

import flambeau
from flambeau import array_api as xp
from tests.unit.test_array_api import BINARY, COMPLEX, EVERY, FLOATING, INTEGER, NUMERIC, REAL, UNARY, values

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    xps = make_strategies_namespace(xp, api_version="2024.12")
drawn = settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def array(x):
    return xp.asarray(np.array(x))


def extremes(dtype):
    d = np.dtype(dtype)
    if d.kind == "b":
        return np.array([True, False])
    if d.kind in "iu":
        i = np.iinfo(d)
        own = {0, 1, 2, 3, 7, 63, i.max, i.max - 1, i.max // 2, i.min, i.min + 1}
        return np.array(sorted(own | ({-1, -2, -7} if d.kind == "i" else set())), d)
    f = np.finfo(d)
    own = [
        0,
        1,
        2,
        3,
        0.5,
        2.5,
        1e-3,
        1e20,
        f.max,
        f.tiny,
        f.smallest_subnormal,
        f.eps,
        math.pi,
        math.inf,
        1 / 3,
        2.0**63,
    ]
    own = [float(x) for x in own]
    if d.kind == "f":
        return np.array([*own, *(-x for x in own), math.nan], d)
    own = [*own[:5], own[6], own[11], math.inf]
    parts = [*own, *(-x for x in own), math.nan]
    return np.array([complex(a, b) for a in parts for b in parts], d)


def alike(got, expected, what):
    """Equal numbers, infinities, NaN and signs of zeros."""
    assert got.dtype == expected.dtype, what
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(got, expected, what)
        return
    tolerance = 1e-4 if expected.dtype in (np.float32, np.complex64) else 1e-9
    scale = np.where(np.isfinite(expected), np.abs(expected), 0)
    parts = ((got.real, expected.real), (got.imag, expected.imag)) if expected.dtype.kind == "c" else ((got, expected),)
    for g, e in parts:
        with np.errstate(all="ignore"):
            near = np.isfinite(g) & np.isfinite(e) & (np.abs(g - e) <= tolerance * scale + 1e-40)
        wrong = ~((np.isnan(g) & np.isnan(e)) | (g == e) | near)
        assert not wrong.any(), (what, got[wrong][:3], expected[wrong][:3])
        if expected.dtype.kind == "f" and what[0] not in ("maximum", "minimum"):
            assert (np.signbit(g) == np.signbit(e))[(g == 0) & (e == 0)].all(), what


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_extremes(name):
    for dtype in UNARY[name]:
        x = extremes(dtype)
        if (
            name == "reciprocal" and dtype in COMPLEX
        ):  # of zeros and denormals: which part is not a number is nobody's word
            x = x[np.abs(x) > 1e-30]
        if name == "expm1" and dtype in COMPLEX:  # NumPy's are NaN at infinity, and on the real line beyond it
            x = x[np.isfinite(x)]
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x)
        if name in ("ceil", "floor", "trunc", "round") and dtype in INTEGER:
            expected = x
        alike(getattr(xp, name)(array(x)).resolve_conj().numpy(), expected, (name, dtype))


@pytest.mark.parametrize("name", [n for n in BINARY if n != "floor_divide" and "shift" not in n])
def test_functions_of_pairs_of_extremes(name):
    for dtype in BINARY[name]:
        x, y = (a.reshape(-1) for a in np.meshgrid(extremes(dtype)[:48], extremes(dtype)[:48]))
        if dtype in INTEGER and name in ("remainder", "pow"):
            kept = y > 0 if name == "pow" else y != 0
            x, y = x[kept], y[kept]
        with np.errstate(all="ignore"):
            alike(getattr(xp, name)(array(x), array(y)).numpy(), getattr(np, name)(x, y), (name, dtype))


@pytest.mark.parametrize("dtype", INTEGER)
def test_shifts_by_any_number(dtype):
    bits = np.dtype(dtype).itemsize * 8
    x, y = (a.reshape(-1) for a in np.meshgrid(extremes(dtype), [0, 1, bits - 1, bits, 100]))
    y = y.astype(dtype)
    left = [(int(a) << min(int(b), bits)) & (2**bits - 1) for a, b in zip(x, y, strict=True)]
    right = [int(a) >> int(b) for a, b in zip(x, y, strict=True)]
    assert (array(x) << array(y)).tolist() == np.array(left, f"uint{bits}").astype(dtype).tolist()
    assert (array(x) >> array(y)).tolist() == right


@pytest.mark.parametrize("dtype", [d for d in NUMERIC if d not in COMPLEX])
def test_numbers_at_the_ends_of_a_dtype(dtype):
    limits = np.iinfo(dtype) if dtype in INTEGER else np.finfo(dtype)
    low, high = (float(v) if dtype in REAL else int(v) for v in (limits.min, limits.max))
    d = getattr(xp, dtype)
    x = xp.asarray([low, 0, high], dtype=d)
    assert x.tolist() == [low, 0, high]
    for v in (low, high):
        assert xp.full((2,), v, dtype=d).tolist() == xp.full_like(x[:2], v).tolist() == [v, v]
        assert (x == v).tolist() == (v == x).tolist() == [e == v for e in (low, 0, high)]
        assert xp.where(x == v, x, v).tolist() == [v, v, v]
        y = xp.asarray(x, copy=True)
        y[1] = v
        assert y.tolist() == [low, v, high]
    for bounds in ((low, high), (None, high), (low, None), (0, high), (low, 0)):
        assert xp.clip(x, *bounds).tolist() == np.clip(np.array([low, 0, high], dtype), *bounds).tolist()
    if dtype in INTEGER:
        for start, stop, step in (
            (low, high, high // 3),
            (high, low, -(high // 3)),
            (high - 3, high, 1),
            (low, low + 3, 2),
        ):
            if step > 0 or low < 0:
                assert xp.arange(start, stop, step, dtype=d).tolist() == list(range(start, stop, step))


@pytest.mark.parametrize("dtype", EVERY)
def test_drawn_arrays_and_indices(dtype):
    @drawn
    @given(x=xps.arrays(getattr(xp, dtype), xps.array_shapes(min_dims=0, min_side=0)), data=st.data())
    def run(x, data):
        assert type(x) is xp.Array and x.dtype == getattr(xp, dtype)
        key = data.draw(xps.indices(x.shape, allow_newaxis=True))
        a = x.numpy()
        np.testing.assert_array_equal(x[key].numpy(), a[key])
        value = data.draw(xps.from_dtype(getattr(xp, dtype)))
        y, b = xp.asarray(x, copy=True), a.copy()
        y[key], b[key] = value, value
        np.testing.assert_array_equal(y.numpy(), b)

    run()


@pytest.mark.parametrize("dtype", FLOATING)
def test_algebra_of_nothing(dtype):
    """Matrices without rows or columns, norms over no axes."""
    L, N = xp.linalg, np.linalg
    for shape in ((0, 0), (2, 0, 0)):
        x = values(dtype, shape)
        for name in ("det", "inv", "cholesky", "eigvalsh"):
            alike(getattr(L, name)(array(x)).numpy(), getattr(N, name)(x), (name, shape))
        alike(L.solve(array(x), array(x)).numpy(), x, ("solve", shape))
        for n in (-2, 0, 3):
            alike(L.matrix_power(array(x), n).numpy(), x, ("power", n))
    for shape in ((0, 3), (3, 0), (2, 0, 3)):
        x = values(dtype, shape)
        assert [tuple(a.shape) for a in L.svd(array(x))] == [a.shape for a in N.svd(x)]
        assert [tuple(a.shape) for a in L.qr(array(x), mode="complete")] == [a.shape for a in N.qr(x, mode="complete")]
        alike(L.pinv(array(x)).numpy(), N.pinv(x), ("pinv", shape))
    for order in (0, 1, 2, -1, math.inf):
        for shape, axis in (((), None), ((3,), ()), ((), ())):
            x = values(dtype, shape, 4)
            got = L.vector_norm(array(x), axis=axis, ord=order)
            alike(got.numpy(), np.asarray((x != 0) if order == 0 else np.abs(x)).astype(x.real.dtype), (order, shape))


@pytest.mark.parametrize("dtype", REAL)
def test_spreads_of_too_few(dtype):
    x = values(dtype, (2, 3))
    for correction in (0.5, 1.5, 2, 2.5, 3, 7.25):
        for axis in (0, 1, None, (0, 1)):
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = np.var(x, axis=axis, ddof=correction)
                got = (
                    xp.var(array(x), axis=axis, correction=correction),
                    xp.std(array(x), axis=axis, correction=correction),
                )
                alike(got[0].numpy(), np.asarray(expected), (correction, axis))
                alike(got[1].numpy(), np.asarray(np.sqrt(expected)), (correction, axis))


# The standard's text for complex numbers: (real part, imaginary part) -> result. Where it leaves a sign open, that of C is here.
CORNERS = {
    "expm1": [
        ((0.0, 0.0), (0.0, 0.0)), ((-0.0, 0.0), (0.0, 0.0)), ((2.0, 0.0), (math.expm1(2), 0.0)), ((1e-20, -0.0), (1e-20, -0.0)),
        ((1.0, math.inf), (math.nan, math.nan)), ((1.0, math.nan), (math.nan, math.nan)), ((math.inf, 0.0), (math.inf, 0.0)),
        ((-math.inf, 0.0), (-1.0, 0.0)), ((-math.inf, 2.0), (-1.0, 0.0)), ((math.inf, 2.0), (-math.inf, math.inf)),
        ((-math.inf, math.inf), (-1.0, 0.0)), ((math.inf, math.inf), (math.inf, math.nan)), ((-math.inf, math.nan), (-1.0, 0.0)),
        ((math.inf, math.nan), (math.inf, math.nan)), ((math.nan, 0.0), (math.nan, 0.0)), ((math.nan, 1.0), (math.nan, math.nan)),
        ((math.nan, math.nan), (math.nan, math.nan)),
    ],
    "tanh": [
        ((math.inf, 2.0), (1.0, 0.0)), ((math.inf, -2.0), (1.0, -0.0)), ((-math.inf, 2.0), (-1.0, 0.0)), ((math.inf, 0.5), (1.0, 0.0)),
        ((0.0, math.inf), (0.0, math.nan)), ((math.nan, 0.0), (math.nan, 0.0)), ((1.0, math.inf), (math.nan, math.nan)),
    ],
    "tan": [((2.0, math.inf), (0.0, 1.0)), ((-2.0, math.inf), (-0.0, 1.0)), ((2.0, -math.inf), (0.0, -1.0))],
}  # fmt: skip


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", CORNERS)
def test_complex_corners(name, dtype):
    for (a, b), (c, d) in CORNERS[name]:
        for copies in (1, 9):
            out = complex(getattr(xp, name)(xp.asarray([complex(a, b)] * copies, dtype=getattr(xp, dtype)))[-1])
            for part, expected in ((out.real, c), (out.imag, d)):
                close = math.isnan(part) if math.isnan(expected) else math.isclose(part, expected, rel_tol=1e-6)
                assert close, (a, b, out)
                assert expected != 0 or math.copysign(1, part) == math.copysign(1, expected), (a, b, out)


@pytest.mark.parametrize("name", CORNERS)
def test_gradients_beside_corners(name):
    """What is chosen for an infinite element leaves the gradients of the others as they are."""
    x = flambeau.tensor([0.5 + 0.25j, complex("inf+2j"), complex("nan+0j"), 0.5], dtype=flambeau.complex128)
    x.requires_grad_()
    getattr(xp, name)(x)[flambeau.tensor([0, 3])].abs().sum().backward()
    y = x.detach()[[0, 3]].requires_grad_()
    getattr(flambeau, name)(y).abs().sum().backward()
    flambeau.testing.assert_close(x.grad[[0, 3]], y.grad)


def test_diagonals_beyond_any_integer():
    x = xp.ones((2, 3))
    for far in (10**30, 2**63, 3):
        assert xp.tril(x, k=far).tolist() == x.tolist() == xp.triu(x, k=-far).tolist()
        assert not xp.any(xp.triu(x, k=far)) and not xp.any(xp.tril(x, k=-far)) and not xp.any(xp.eye(3, k=far))
        assert xp.linalg.diagonal(x, offset=far).shape == xp.linalg.diagonal(x, offset=-far).shape == (0,)
