"""Calls that none of PyTorch's overloads takes, though each of their arguments is one of some overload; and histories without a derivative."""

import numpy as np
import pytest

import flambeau as fl
from tests.agree import rand

NO_OVERLOAD = {
    "sum": lambda fl, x: fl.sum(x, keepdim=False),
    "sum as a method": lambda fl, x: x.sum(keepdim=False),
    "sum by NumPy's name": lambda fl, x: x.sum(keepdims=False),
    "mean": lambda fl, x: fl.mean(x, keepdim=False),
    "step without an end": lambda fl, x: fl.arange(3, step=2),
    "step and end alone": lambda fl, x: fl.arange(end=3, step=2),
    "nothing": lambda fl, x: fl.arange(),
    "places and their distance": lambda fl, x: fl.trapezoid(x, x, dx=1),
    "places that are None": lambda fl, x: fl.trapezoid(x, None),
    "places and their distance, summed up": lambda fl, x: fl.cumulative_trapezoid(x, x, dx=2.0),
    "two relative tolerances": lambda fl, x: fl.linalg.pinv(x, 0.1, rtol=0.1),
    "two tolerances": lambda fl, x: fl.linalg.pinv(x, 0.1, atol=0.1),
    "two tolerances of a rank": lambda fl, x: fl.linalg.matrix_rank(x, 0.1, rtol=0.1),
}


@pytest.mark.parametrize("name", NO_OVERLOAD)
def test_arguments_of_two_overloads_make_none(agree, name):
    def refused(fl, x):
        with pytest.raises(TypeError) as told:
            NO_OVERLOAD[name](fl, x)
        return str(told.value).partition(", but expected")[0]

    agree(refused, rand(3, 3), grads=0)


def test_the_same_arguments_beside_what_they_belong_to(agree):
    agree(lambda fl, x: (x.sum(None, keepdim=False), fl.mean(x, 0, False), x.sum(axis=None, keepdims=True)), rand(3, 3))
    agree(lambda fl: (fl.arange(end=3), fl.arange(0, end=3, step=2), fl.arange(step=2, end=3, start=0)))
    agree(lambda fl, x: (fl.trapezoid(x, dx=2), fl.trapezoid(x, x, dim=0), fl.trapezoid(y=x, x=x)), rand(3, 3))
    agree(lambda fl, x: (fl.linalg.pinv(x, 0.1), fl.linalg.pinv(x, atol=0.1, rtol=0.1)), rand(3, 3))


MEAN_LEARNS = {
    "training": lambda fl, x, m: fl.nn.functional.batch_norm(x, m, fl.ones(3, dtype=x.dtype), training=True),
    "evaluation": lambda fl, x, m: fl.nn.functional.batch_norm(x, m, fl.ones(3, dtype=x.dtype)),
    "variance": lambda fl, x, m: fl.nn.functional.batch_norm(x, m.detach(), m * m, training=True),
    "of samples": lambda fl, x, m: fl.nn.functional.instance_norm(x, m, fl.ones(3, dtype=x.dtype)),
    "with statistics": lambda fl, x, m: fl.native_batch_norm(
        x, None, None, m, fl.ones(3, dtype=x.dtype), True, 0.1, 0.1
    ),
}


@pytest.mark.parametrize("name", MEAN_LEARNS)
def test_running_statistics_require_no_gradient(agree, name):
    agree(MEAN_LEARNS[name], rand(2, 3, 4), rand(3), raises=RuntimeError)


def test_running_statistics_that_require_one_are_taken_where_none_is_recorded(agree):
    def program(fl, x, m):
        with fl.no_grad():
            return fl.nn.functional.batch_norm(x, m, m * m)

    agree(program, rand(2, 3, 4), rand(3))


NOT_OF_COMPLEX = {
    "embedding": lambda fl, x: fl.nn.functional.embedding(fl.tensor([0, 2]), x),
    "sparse gradients": lambda fl, x: fl.nn.functional.embedding(fl.tensor([0, 2]), x, sparse=True),
    "silu": lambda fl, x: fl.nn.functional.silu(x),
    "geqrf": lambda fl, x: fl.geqrf(x),
}


@pytest.mark.parametrize("name", NOT_OF_COMPLEX)
def test_what_has_no_derivative_of_complex_numbers(agree, name):
    x = rand(3, 3) + 1j * rand(3, 3, seed=1)
    agree(NOT_OF_COMPLEX[name], x, raises=RuntimeError)
    agree(lambda fl, x: NOT_OF_COMPLEX[name](fl, x.detach()), x, grads=0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_remainder_that_is_zero_has_the_sign_of_what_is_divided(agree, dtype):
    def program(fl, x):
        x = x.to(getattr(fl, dtype)).repeat(40)
        found = [fl.remainder(x, b) for b in (1.0, -1.0, -2.0, float("-inf"))]
        found += [x % fl.full_like(x, -1.0), x.clone().remainder_(-1.0), fl.remainder(-0.0, x + 1)]
        return [(r.float(), r.signbit()) for r in found]

    agree(program, np.array([0.0, -0.0, 3.0, -3.0, 2.5, 1e-3]), grads=0)


def test_large_and_compiled_remainders_have_the_same_zeros():
    x = fl.tensor([0.0, -0.0, 3.0, -3.0]).repeat(20_000)
    assert (fl.remainder(x, -1.0).signbit() == x.signbit()).all()
    assert (fl.compile(lambda x: fl.remainder(x * 1, -1.0))(x[:8]).signbit() == x[:8].signbit()).all()


SPOKEN = {
    "sections": lambda fl, x: (fl.hsplit(x, sections=2), x.vsplit(sections=2), fl.dsplit(input=x, sections=1)),
    "indices": lambda fl, x: (fl.hsplit(x, indices=(1,)), x.vsplit(indices=[1]), x.dsplit((1,))),
    "bytes": lambda fl, x: (fl.UntypedStorage(size=3).nbytes(), fl.UntypedStorage(3, device="cpu").nbytes()),
    "a matrix": lambda fl, x: [t.shape for t in fl.lu(A=x[0, :2, :2])],
    "products of what has no elements": lambda fl, x: [
        (t.dtype, t.shape)
        for m in [fl.ones(2, 2, dtype=fl.float16, device="meta")]
        for t in (
            fl.mm(m, m, fl.float32),
            fl.addmm(m, m, m, alpha=2, out_dtype=fl.float32),
            fl.bmm(m[None], m[None], out_dtype=fl.float32),
        )
    ],
}


@pytest.mark.filterwarnings("ignore:torch.lu is deprecated")
@pytest.mark.parametrize("name", SPOKEN)
def test_names_that_overloads_have(agree, name):
    agree(lambda fl, x: SPOKEN[name](fl, x), rand(2, 4, 2), grads=0)


WIDENED = {
    "mm": lambda fl, x: fl.mm(x, x, out_dtype=fl.float64),
    "mm in order": lambda fl, x: fl.mm(x, x, fl.float64),
    "mm into": lambda fl, x: fl.mm(x, x, out_dtype=fl.float64, out=x),
    "bmm": lambda fl, x: fl.bmm(x[None], x[None], out_dtype=fl.float64),
    "addmm": lambda fl, x: fl.addmm(x, x, x, out_dtype=fl.float64),
    "baddbmm": lambda fl, x: fl.baddbmm(x[None], x[None], x[None], out_dtype=fl.float64),
}


@pytest.mark.parametrize("name", WIDENED)
def test_products_in_wider_dtypes_are_not_for_the_cpu(agree, name):
    def refused(fl, x):
        with pytest.raises(NotImplementedError) as told:
            WIDENED[name](fl, x)
        return str(told.value).partition(" backend.")[0]

    agree(refused, rand(2, 2, dtype="float32"), grads=0)
    agree(lambda fl, x: fl.mm(x, x, out_dtype=3), rand(2, 2), raises=TypeError)
