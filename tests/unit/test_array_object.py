"""The array API's own array: operators, indices and attributes by the standard's rules, beside plain tensors, which keep PyTorch's."""

import math
import operator
import pickle

import numpy as np
import pytest

import flambeau
from flambeau import array_api as xp

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
OPERATORS = ("add", "sub", "mul", "floordiv", "mod", "pow", "and_", "or_", "xor", "lshift", "rshift")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 0.5, math.inf, -math.inf, math.nan)


def number(x):
    return x.item() if isinstance(x, flambeau.Tensor) else x


@pytest.mark.parametrize("a", INTEGERS)
@pytest.mark.parametrize("b", INTEGERS)
def test_operators_widen_whatever_the_dims(a, b):
    met = np.result_type(np.dtype(a), np.dtype(b))
    if met.kind == "f":
        return
    x, y = xp.asarray([7, 100, 3], dtype=getattr(xp, a)), xp.asarray(2, dtype=getattr(xp, b))
    for name in (*OPERATORS, *COMPARISONS):
        f = getattr(operator, name)
        for got, expected in ((f(x, y), f(np.array([7, 100, 3], met), np.array(2, met))),
                              (f(y, x % 5), f(np.array(2, met), np.array([2, 0, 3], met)))) if name not in ("floordiv", "mod") else (
                              (f(x, y), f(np.array([7, 100, 3], met), np.array(2, met))),):  # fmt: skip
            assert type(got) is xp.Array
            assert str(got.dtype) == f"torch.{np.asarray(expected).dtype}"
            assert got.tolist() == expected.tolist()


def test_numbers_and_refusals():
    x = xp.asarray([1, 2], dtype=xp.uint16)
    assert (10 - x).tolist() == [9, 8]
    assert (2**x).dtype == xp.uint16
    assert (x == "a") is False
    for wrong in (
        lambda: x + 0.5,
        lambda: x + "a",
        lambda: x + [1, 2],
        lambda: x + None,
        lambda: xp.asarray([True]) + 1.0,
    ):
        with pytest.raises(TypeError):
            wrong()


def test_in_place_keeps_dtype_and_identity():
    x = xp.asarray([1, 2], dtype=xp.int16)
    same = x
    x += xp.asarray(1, dtype=xp.int8)
    x <<= 2
    assert x is same
    assert x.tolist() == [8, 12]
    for wrong in (
        lambda: operator.iadd(x, xp.asarray(1, dtype=xp.int32)),
        lambda: operator.iadd(x, xp.ones((2, 2), dtype=xp.int16)),
    ):
        with pytest.raises(TypeError, match="in place"):
            wrong()


def test_an_array_among_operands_decides():
    t, x = flambeau.ones(2, dtype=flambeau.float32), xp.asarray(1.0, dtype=xp.float64)
    for got in (t + x, x + t, t * x, xp.add(t, x)):
        assert type(got) is xp.Array
        assert got.dtype == xp.float64
    for plain in (t + x.as_subclass(flambeau.Tensor), xp.add(t, t), xp.sum(t), *xp.unstack(t), xp.asarray(t)):
        assert type(plain) is flambeau.Tensor
    for array in (
        xp.ones(2),
        xp.asarray([1]),
        xp.linalg.svd(xp.ones((2, 2))).S,
        xp.fft.fftfreq(3),
        xp.concat([xp.ones(1), xp.ones(1)]),
    ):
        assert type(array) is xp.Array
    assert xp.asarray(x) is x
    assert type(flambeau.add(x, x)) is flambeau.Tensor


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "uint64", "float32", "complex64"])
@pytest.mark.parametrize("key", [
    np.s_[::-1], np.s_[::-2, 1], np.s_[..., ::-1], np.s_[2::-1, None, ::-2], np.s_[1:0:-1], np.s_[0:2:-1], np.s_[-1], np.s_[()], np.s_[:, ::3],
    np.s_[3:0:-2, ..., 2:0:-1],
])  # fmt: skip
def test_indices(dtype, key):
    a = np.arange(24).reshape(4, 3, 2) % 5
    a = a.astype(dtype)
    x = xp.asarray(a)
    if key == np.s_[()]:
        x, a = xp.asarray(a[0, 0, 1]), np.array(a[0, 0, 1])
    x = x + xp.zeros((), dtype=x.dtype) if dtype != "bool" else xp.asarray([x])[0]
    assert type(x) is xp.Array
    got = x[key]
    assert type(got) is xp.Array
    assert got.tolist() == a[key].tolist()
    for value in (1, np.array(1, dtype), np.ones(np.shape(a[key]), dtype)):
        y, b = xp.asarray(x, copy=True), a.copy()
        y[key] = xp.asarray(value) if isinstance(value, np.ndarray) else value
        b[key] = value
        assert y.tolist() == b.tolist()


def test_masks_and_index_arrays():
    x = xp.asarray([[1, 2], [3, 4]], dtype=xp.uint32)
    assert x[x > 2].tolist() == [3, 4]
    assert x[xp.asarray(True)].shape == (1, 2, 2)
    assert x[xp.asarray([], dtype=xp.bool)].shape == (0, 2)
    assert x[xp.asarray([1, -2]), xp.asarray([0, 1], dtype=xp.int8)].tolist() == [3, 2]
    with pytest.raises(IndexError):
        xp.asarray(1)[xp.asarray([], dtype=xp.bool)]
    with pytest.raises(IndexError):
        x[xp.asarray([True])]
    x[x > 2] = 9
    assert [r.tolist() for r in x] == [[1, 2], [9, 9]]
    assert 9 in x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quotients_of_special_numbers(dtype):
    """The standard's tables for `//` and `%`, which C's and Python's functions leave in places."""
    for a in SPECIAL:
        for b in SPECIAL:
            x, y = xp.asarray([a], dtype=getattr(xp, dtype)), xp.asarray([b], dtype=getattr(xp, dtype))
            sign = math.copysign(1, a) * math.copysign(1, b)
            q = operator.ifloordiv(xp.asarray(x, copy=True), y)
            for got in ((x // y)[0], xp.floor_divide(x, y[0])[0], q[0]):
                if math.isnan(a) or math.isnan(b) or (math.isinf(a) and math.isinf(b)) or a == b == 0:
                    assert math.isnan(got)
                else:
                    expected = (
                        0.0
                        if a == 0 or math.isinf(b)
                        else math.inf
                        if b == 0 or math.isinf(a)
                        else abs(math.floor(a / b))
                    )
                    assert float(got) == math.copysign(expected, sign)
                    assert math.copysign(1, got) == sign
            r = float((x % y)[0])
            if math.isnan(a) or math.isnan(b) or math.isinf(a) or b == 0:
                assert math.isnan(r)
            else:
                assert math.copysign(1, r) == math.copysign(
                    1, b if a == 0 or (math.isinf(b) and (a > 0) != (b > 0)) else r
                )
                assert r == ((a if (a > 0) == (b > 0) or a == 0 else b) if math.isinf(b) else np.remainder(a, b))


def test_powers_of_special_numbers():
    for base, expected in ((-0.0, 0.0), (-math.inf, math.inf), (4.0, 2.0)):
        for shape in ((), (3,)):
            got = xp.full(shape, base) ** xp.asarray(0.5)
            assert got.shape == shape
            assert all(g == expected and math.copysign(1, g) == 1 for g in np.ravel(got.tolist()))


def test_attributes():
    x = xp.ones((2, 3), dtype=xp.uint8)
    assert (x.ndim, x.size, x.T.shape, x.mT.shape) == (2, 6, (3, 2), (3, 2))
    assert type(x.T) is type(x.to_device("cpu")) is xp.Array
    with pytest.raises(ValueError, match="dimensions"):
        _ = xp.ones((2, 3, 4)).T
    assert xp.finfo(xp.complex64).dtype == xp.float32
    assert xp.iinfo(x).dtype == xp.uint8
    assert type(xp.finfo(xp.float64).eps) is float
    assert pickle.loads(pickle.dumps(x)).tolist() == x.tolist()
    assert repr(x[0]) == "Array([1, 1, 1], dtype=torch.uint8)"


def test_gradients_flow():
    x = xp.asarray([1.0, 2.0, 3.0]).requires_grad_()
    y = xp.sum(xp.asarray(x)[::-1] ** 2 / xp.asarray(2.0))
    y.backward()
    assert x.grad.tolist() == [1.0, 2.0, 3.0]


def test_wide_integers_are_exact():
    values = [2**63 + 1, 1, 2**64 - 1]
    x = xp.asarray(values, dtype=xp.uint64)
    assert [int(v) for v in x] == values
    x[1] = 2**63 + 3
    assert int(x[1]) == 2**63 + 3
    assert flambeau.tensor(values, dtype=flambeau.uint64).tolist() == values


def test_distinct_complex_numbers():
    found = xp.unique_all(xp.asarray([2 + 1j, 1j, 2 - 1j, 2 + 1j, complex(math.nan, 1)]))
    assert found.counts.tolist() == [1, 1, 2, 1]
    assert found.indices.tolist() == [1, 2, 0, 4]
    assert found.inverse_indices.tolist() == [2, 0, 1, 2, 3]


def test_buffers():
    import array

    assert xp.asarray(array.array("d", [1, 2])).dtype == xp.float64


def test_one_exponent_in_an_array_is_no_root(agree):
    agree(lambda fl, n: fl.pow(fl.full((n,), -0.0), fl.full((1,), 0.5)), 3)
    agree(lambda fl: fl.pow(fl.tensor([-0.0, -math.inf, 4.0]), fl.full((1, 1), 0.5)))


def test_buffers_are_bytes(agree):
    import array

    agree(lambda fl: fl.asarray(array.array("f", [1, 2])))
    agree(lambda fl: fl.asarray(array.array("d", [1, 2]), dtype=fl.float64))
    agree(lambda fl: fl.ones(2).__dlpack__(stream="a"), raises=TypeError)


def test_copies_of_buffers(agree):
    import array

    def run(fl, copy):
        found = []
        for a in (array.array("f", [1, 2]), bytearray(b"\0\0\x80?" * 2), np.array([1, 2], np.float32)):
            t = fl.asarray(a, dtype=fl.float32, copy=copy)
            a[-1] = 7
            found.append(t.tolist())
        x = fl.ones(2)
        t = fl.asarray(x, copy=copy)
        x[0] = 5
        return found, t.tolist()

    for copy in (None, True, False):
        agree(run, copy)
    for given in ("tensor", "numpy"):
        agree(
            lambda fl, n: fl.asarray(
                fl.ones(2) if n == "tensor" else np.ones(2, np.float32), dtype=fl.int32, copy=False
            ),
            given,
            raises=ValueError,
        )
        agree(
            lambda fl, n: fl.asarray(
                fl.ones(2) if n == "tensor" else np.ones(2, np.float32), dtype=fl.int32, copy=True
            ),
            given,
        )
