"""Fake quantization against PyTorch: values, masks and gradients."""

import numpy as np
import pytest

import flambeau
from tests.agree import rand

SCALES, ZEROS = np.array([0.1, 0.02, 0.3, 0.05], "f4"), np.array([0, 10, 100, 3], "i4")


def awkward():
    """NaN, infinities, what fits no int64, and elements halfway between codes."""
    x = rand(3, 4, 5, dtype="float32", low=-4, high=4)
    x[0, 0, :4] = np.nan, np.inf, -np.inf, 1e20
    x[1] = (np.arange(20, dtype="f4").reshape(4, 5) - 10) * np.float32(0.05)
    return x


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_values(agree, kind):
    def program(fl, x):
        x = x.detach().to(getattr(fl, kind))
        s, z, aten = fl.from_numpy(SCALES), fl.from_numpy(ZEROS), fl.ops.aten
        return [fl.fake_quantize_per_tensor_affine(x, 0.1, 3, 0, 255), *aten.fake_quantize_per_tensor_affine_cachemask(x, 0.1, 3, -128, 127),
                fl.fake_quantize_per_tensor_affine(x, s[:1], z[3:], 0, 255), fl.fake_quantize_per_channel_affine(x, s, z, 1, 0, 255),
                *aten.fake_quantize_per_channel_affine_cachemask(x, s, z, 1, 0, 127),
                fl.fake_quantize_per_channel_affine(x, s, z.float() + 0.3, 1, 0, 15)]  # fmt: skip

    agree(program, awkward(), grads=0)


def test_gradients(agree):
    x = rand(3, 4, 5, dtype="float32", low=-4, high=4)
    agree(lambda fl, x: fl.fake_quantize_per_tensor_affine(x, 0.01, 3, 0, 255), x)
    agree(
        lambda fl, x: fl.fake_quantize_per_channel_affine(x, fl.from_numpy(SCALES), fl.from_numpy(ZEROS), 1, 0, 255), x
    )
    zeros = np.array([0, 10.4, 100, 3.6], "f4")
    one = (np.array([0.013], "f4"), np.array([3.3], "f4"))
    agree(lambda fl, x, s, z: fl._fake_quantize_learnable_per_tensor_affine(x, s, z, 0, 255, 0.5), x, *one)
    agree(
        lambda fl, x, s, z: fl._fake_quantize_learnable_per_channel_affine(x, s, z, 1, 0, 255, 0.5),
        x,
        SCALES * 0.1,
        zeros,
    )


def test_refusals(agree):
    def channels(fl, x, axis=1, scales=SCALES, zeros=ZEROS):
        return fl.fake_quantize_per_channel_affine(x, fl.from_numpy(scales), fl.from_numpy(zeros), axis, 0, 255)

    x = rand(3, 4, 5, dtype="float32")
    agree(lambda fl: fl.fake_quantize_per_tensor_affine(fl.arange(3), 0.1, 3, 0, 255), raises=NotImplementedError)
    agree(lambda fl, x: fl.fake_quantize_per_tensor_affine(x, 0.1, 300, 0, 255), x, raises=RuntimeError)
    agree(lambda fl, x: fl.fake_quantize_per_tensor_affine(x, 0.1, 3, 255, 0), x, raises=RuntimeError)
    agree(lambda fl, x: channels(fl, x, 4), x, raises=IndexError)
    agree(lambda fl, x: channels(fl, x, 0), x, raises=RuntimeError)
    agree(lambda fl, x: channels(fl, x, zeros=ZEROS.astype("i8")), x, raises=RuntimeError)
    agree(lambda fl, x: channels(fl, x, scales=SCALES.astype("f8")), x, raises=RuntimeError)


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("observe", "quantize"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_moving_averages(agree, rows, symmetric, observe, quantize):
    def program(fl):
        n = 3 if rows else 1
        least = fl.empty(0) if rows else fl.full((1,), float("inf"))
        most, s, z = -least, fl.ones(n), fl.zeros(n, dtype=fl.int32)
        bounds = (-128, 127) if symmetric else (0, 255)
        for i in range(3):
            x = fl.from_numpy(rand(3, 4, 5, seed=i, dtype="float32", low=-2, high=3))
            yield fl.fused_moving_avg_obs_fake_quant(
                x, fl.tensor([observe]), fl.tensor([quantize]), least, most, s, z, 0.01, *bounds, 0, rows, symmetric
            )
            yield from (t.clone() for t in (least, most, s, z))

    agree(lambda fl: list(program(fl)))


def test_moving_average_gradient(agree):
    def program(fl, x):
        ends = fl.full((1,), float("inf")), fl.full((1,), -float("inf"))
        on = fl.tensor([1])
        return fl.fused_moving_avg_obs_fake_quant(
            x, on, on, *ends, fl.ones(1), fl.zeros(1, dtype=fl.int32), 0.01, 0, 100, 0, False, False
        )

    agree(program, rand(3, 4, 5, dtype="float32", low=-2, high=3))


def test_a_compiled_function_has_the_same_numbers():
    def program(x):
        return flambeau.fake_quantize_per_tensor_affine(x * 2, 0.1, 3, 0, 255).sin()

    x = flambeau.from_numpy(rand(64, 64, dtype="float32", low=-4, high=4))
    assert np.allclose(flambeau.compile(program)(x).numpy(), program(x).numpy(), atol=1e-6)
