"""torch.testing, and small modules that others import."""

import numpy as np
import pytest

import flambeau
from tests.agree import rand

PAIRS = [
    lambda T: (T([1.0, 2.0]), T([1.0, 2.1])),
    lambda T: (T([1, 2]), T([1, 3])),
    lambda T: (T([1.0, 2.0]), T([1.0, 2.0, 3.0])),
    lambda T: (1.0, 1.1),
    lambda T: (1, 2),
    lambda T: ([1.0, 2.0], [1.0, 3.0]),
    lambda T: ({"a": T(1.0)}, {"b": T(1.0)}),
    lambda T: ({"a": T(1.0)}, {"a": T(2.0)}),
    lambda T: ([T(1.0)], [T(1.0), T(2.0)]),
    lambda T: (T(float("nan")), T(float("nan"))),
    lambda T: (T([True]), T([False])),
    lambda T: (T([1 + 1j]), T([1 + 2j])),
    lambda T: (T([[1.0, 2.0], [3.0, 4.0]]), T([[1.0, 2.0], [3.0, 5.0]])),
    lambda T: ([1, [2, 3]], [1, [2, 4]]),
    lambda T: (True, False),
    lambda T: (1j, 2j),
    lambda T: (T([1.0]), T([1.0]).double()),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_what_differs_is_said(agree, pair):
    agree(lambda fl: fl.testing.assert_close(*pair(fl.tensor)), raises=AssertionError)


def test_what_is_close(agree):
    def program(fl):
        fl.testing.assert_close(fl.tensor([1.0]), fl.tensor([1.0 + 1e-7]))
        fl.testing.assert_close(fl.tensor(float("nan")), fl.tensor(float("nan")), equal_nan=True)
        fl.testing.assert_close({"a": [1, fl.ones(2)]}, {"a": [1, fl.ones(2)]})
        fl.testing.assert_close(None, None)
        fl.testing.assert_close(fl.tensor([1]), fl.tensor([1.0]), check_dtype=False)

    agree(program)
    agree(lambda fl: fl.testing.assert_close(1.0, 2.0, msg=lambda text: "X" + text), raises=AssertionError)
    agree(lambda fl: fl.testing.assert_close(1.0, 2.0, rtol=0.1), raises=ValueError)
    agree(lambda fl: fl.testing.assert_close("a", "b"), raises=TypeError)


def test_made_tensors():
    make = flambeau.testing.make_tensor
    for d in (
        flambeau.float32,
        flambeau.float64,
        flambeau.bfloat16,
        flambeau.complex64,
        flambeau.int8,
        flambeau.uint8,
        flambeau.bool,
    ):
        t = make((3, 4), dtype=d, device="cpu")
        assert t.shape == (3, 4)
        assert t.dtype is d
    assert not make(3, 4, dtype=flambeau.float32, device="cpu", noncontiguous=True).is_contiguous()
    assert (make(50, dtype=flambeau.int64, device="cpu", low=0, high=2, exclude_zero=True) == 1).all()
    assert make(2, dtype=flambeau.float32, device="cpu", requires_grad=True).requires_grad
    with pytest.raises(ValueError, match="requires_grad=True"):
        make(2, dtype=flambeau.int64, device="cpu", requires_grad=True)


def test_futures(agree):
    def program(fl):
        a, b = fl.futures.Future(), fl.futures.Future()
        doubled = a.then(lambda f: f.value() * 2)
        both = fl.futures.collect_all([a, b])
        before = both.done(), a.done()
        a.set_result(3)
        b.set_result(4)
        return before, doubled.wait(), [f.value() for f in both.wait()], fl.futures.wait_all([a, b])

    agree(program)


def test_result_types(agree):
    agree(lambda fl: fl.return_types.max((1, 2)).indices)
    agree(lambda fl: isinstance(fl.ones(2).max(0), fl.return_types.max))
    agree(lambda fl: type(fl.ones(2).sort()).__name__)


def test_other_devices(agree):
    agree(lambda fl: (fl.xpu.is_available(), fl.xpu.device_count(), fl.cpu.device_count(), fl.cpu.current_device()))
    agree(
        lambda fl: (fl.accelerator.is_available(), fl.accelerator.device_count(), fl.accelerator.current_accelerator())
    )


def test_sparse_tensors_and_arrays(agree):
    close = lambda fl, a, b: fl.testing.assert_close(a, b)
    e = lambda fl: fl.eye(2).to_sparse()
    agree(lambda fl: close(fl, e(fl), e(fl)))
    agree(lambda fl: close(fl, e(fl), e(fl) * 2), raises=AssertionError)
    agree(lambda fl: close(fl, e(fl), fl.tensor([[0.0, 1], [1, 0]]).to_sparse()), raises=AssertionError)
    agree(lambda fl: close(fl, e(fl), fl.ones(2, 2).to_sparse()), raises=AssertionError)
    agree(lambda fl: close(fl, np.ones(2), np.ones(2)))
    agree(lambda fl: close(fl, np.ones(2), np.zeros(2)), raises=AssertionError)
    agree(lambda fl: close(fl, np.ones(2, dtype="f4"), np.ones(2)), raises=AssertionError)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_older_tolerances(agree):
    """`assert_allclose` allows more than `assert_close`."""

    def program(fl, x):
        out = []
        for dtype in (fl.float32, fl.float64):
            for by in (5e-5, 5e-6, 5e-4):
                y = x.detach().to(dtype) + 1
                try:
                    fl.testing.assert_allclose(y * (1 + by), y)
                    out.append("close")
                except AssertionError as e:
                    out.append(str(e).splitlines()[-1].partition("(")[2])
        return out

    agree(program, rand(3), grads=0)
