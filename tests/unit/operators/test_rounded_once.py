"""Sums of a product that PyTorch rounds once (a fused multiply-add): the same bits here, by kernels and by NumPy, hence in optimizers."""

from fractions import Fraction

import numpy as np
import pytest

from flambeau._kernel.arrays import Arrays
from tests.agree import rand

FORMS = {
    "add": lambda fl, x, y, z: (fl.add(x, y, alpha=0.3), x.clone().add_(y, alpha=-1.7)),
    "sub": lambda fl, x, y, z: (fl.sub(x, y, alpha=0.3), fl.rsub(x, y, alpha=0.7)),
    "addcmul": lambda fl, x, y, z: (fl.addcmul(x, y, z), fl.addcmul(x, y, z, value=0.3)),
    "addcdiv": lambda fl, x, y, z: (fl.addcdiv(x, y, z), fl.addcdiv(x, y, z, value=0.3)),
    "lerp": lambda fl, x, y, z: (fl.lerp(x, y, 0.3), fl.lerp(x, y, 0.7), fl.lerp(x, y, z)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [5, 1000, 40_000])
@pytest.mark.parametrize("name", FORMS)
def test_bits(agree, name, size, dtype):
    def program(fl, *xs):
        return [r.view(fl.int32 if dtype == "float32" else fl.int64).sum() for r in FORMS[name](fl, *xs)]

    agree(program, *(rand(size, seed=i, dtype=dtype) for i in range(3)), grads=0, exact=True)


def test_edges(agree):
    """Infinities, NaN, numbers that overflow, vanish, or cancel."""
    values = [0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 1e-300, 5e-324, float("inf"), float("nan"), 1.0 + 2**-52, 2.0**-53]

    def program(fl, a):
        x, y, z = (t.reshape(-1) for t in fl.meshgrid(a, a, a, indexing="ij"))
        return fl.addcmul(z, x, y), fl.addcmul(z.float(), x.float(), y.float())

    agree(program, np.array(values), grads=0, exact=True)


def test_as_fractions_have_it():
    """Sums that almost cancel, and sums that end half-way between two numbers but for a little."""
    x, y, z = (np.random.default_rng(i).standard_normal(2000) for i in range(3))
    some, tie = -x * y + 1e-17 * z, np.full(2000, 2.0**-53)
    for a, b, c in (
        (x, y, z),
        (x, y, some),
        (1 + 0 * x, 1 + 0 * x, tie * (1 + z.round() * 2**-50)),
        (tie, 1 + 2**-52 * y.round(), x),
    ):
        right = [float(Fraction(i) * Fraction(j) + Fraction(k)) for i, j, k in zip(a, b, c, strict=True)]
        assert Arrays(np, None, None).fma(a, b, c).tolist() == right


@pytest.mark.parametrize("size", [1, 2000])
def test_floats_that_a_double_rounds_to_half_way(agree, size):
    """The product ends half-way between two floats, and what a double does not hold of the sum says where to."""
    x = np.full(size, 1 + 2.0**-12, np.float32)
    z = (2.0**-70 * (1 - 2 * (np.arange(size) % 2))).astype(np.float32)
    up = np.float32(1 + 2.0**-11 + 2.0**-23)
    assert (Arrays(np, None, None).fma(x, x, z) == np.where(z > 0, up, np.nextafter(up, np.float32(1)))).all()
    agree(lambda fl, x, z: fl.addcmul(z, x, x), x, z, grads=0, exact=True)


STEPS = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"momentum": 0.5, "dampening": 0.1},
    ],
    "Adam": [{}, {"betas": (0.3, 0.9)}, {"weight_decay": 0.1}],
    "AdamW": [{}],
    "NAdam": [{}],
    "RAdam": [{}],
    "Adamax": [{}],
    "Adagrad": [{}],
    "ASGD": [{}],
}


@pytest.mark.last_places
@pytest.mark.parametrize("name", STEPS)
def test_steps_of_optimizers(agree, name):
    """Parameters after five steps: few, as PyTorch's square root is off by one place here and there."""

    def program(fl, options):
        made = [fl.nn.Parameter(fl.tensor(np.asarray(rand(7, 3, seed=1)))) for _ in range(2)]
        optimizer = getattr(fl.optim, name)(made, lr=0.1, **options)
        for i in range(5):
            for p in made:
                p.grad = fl.tensor(np.asarray(rand(7, 3, seed=10 + i)))
            optimizer.step()
        return [p.detach() for p in made]

    for options in STEPS[name]:
        agree(lambda fl, options=options: program(fl, options), exact=True)
