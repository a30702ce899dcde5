"""Activations: values and derivatives at their kinks and far out, of small arrays, of large ones, and in half precision."""

import numpy as np
import pytest

import flambeau as fl

ACTIVATIONS = {
    "relu": {}, "leaky_relu": {}, "leaky_relu slope": {"negative_slope": 0.3}, "elu": {}, "elu alpha": {"alpha": 0.5}, "selu": {}, "celu": {},
    "hardtanh": {}, "hardtanh bounds": {"min_val": -2.0, "max_val": 0.5}, "relu6": {}, "hardsigmoid": {}, "hardswish": {}, "hardshrink": {},
    "softshrink": {}, "softplus": {}, "softplus beta": {"beta": 2, "threshold": 3}, "logsigmoid": {}, "mish": {}, "silu": {}, "gelu": {},
    "threshold": {"threshold": 0.3, "value": 2},
}  # fmt: skip
POINTS = np.concatenate([np.linspace(-6, 6, 25), [0.0, -0.0, 3, -3, 0.5, -0.5, 0.3, 1.5, 6, 20, 25, -30]])


def run(t, x, name):
    return getattr(t.nn.functional, name.split()[0])(x, **ACTIVATIONS[name])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_against_pytorch(agree, name):
    agree(lambda t, x: run(t, x, name), POINTS.astype(np.float32))
    if name == "hardsigmoid":  # PyTorch has 1/6 as a float32 there, and no second derivative
        agree(lambda t, x: run(t, x, name), POINTS + 0.01, rtol=1e-7)
    else:
        agree(lambda t, x: run(t, x, name), POINTS + 0.01, grads=2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_large_arrays_as_small_ones(name):
    out = []
    for repeats in (1, 300):
        x = fl.tensor(np.tile(POINTS, repeats)[None].astype(np.float32), requires_grad=True)
        y = run(fl, x, name)
        y.backward(fl.full(y.shape, 1.5))
        out.append((y.detach().numpy(), x.grad.numpy()))
    for small, large in zip(*out, strict=True):
        np.testing.assert_allclose(np.tile(small, 300), large, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["relu", "hardtanh", "hardshrink", "threshold"])
@pytest.mark.parametrize("n", [8, 1 << 14])
def test_an_infinite_gradient_does_not_pass_where_it_is_shut(name, n):
    x = fl.linspace(-1, 1, n).requires_grad_()
    kwargs = ACTIVATIONS[name]
    y = getattr(fl.nn.functional, name)(x, **kwargs)
    y.backward(fl.full((n,), float("inf")))
    shut = {"relu": x <= 0, "hardtanh": x.abs() >= 1, "hardshrink": x.abs() <= 0.5, "threshold": x <= 0.3}[name]
    assert (x.grad[shut] == 0).all() and x.grad[~shut].isinf().all()


@pytest.mark.parametrize("n", [8, 1 << 14])
def test_relu_passes_nan(n):
    x = fl.full((n,), float("nan"), requires_grad=True)
    y = x.relu()
    y.sum().backward()
    assert y.isnan().all() and (x.grad == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("n", [1, 3, 40, 1 << 14])
def test_of_two_zeros_the_operand_is_kept(agree, n, dtype):
    def program(t, x):
        y = x.to(getattr(t, dtype))
        return [t.signbit(f(y)) for f in (t.relu, t.nn.functional.relu6, lambda y: t.nn.functional.hardtanh(y, 0, 1))]

    agree(program, np.full(n, -0.0, np.float32))
    agree(program, np.zeros(n, np.float32))
