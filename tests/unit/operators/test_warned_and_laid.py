"""What operators warn of, under whose name, and how transforms lie in memory."""

import itertools
import pickle
import warnings
from functools import partial

import pytest

from tests.agree import rand


def told(fl, run):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = run()
    return result, [str(w.message).partition(" (Triggered")[0] for w in seen]


@pytest.mark.parametrize("name", ["var", "std", "var_mean", "std_mean"])
def test_spreads_of_too_few_warn_under_their_own_name(agree, name):
    hows = (
        {"dim": 0},
        {"dim": (0, 1), "correction": 4},
        {"dim": 0, "correction": 5, "keepdim": True},
        {"dim": 1, "unbiased": False},
    )

    def run(fl, x):
        return [told(fl, partial(getattr(fl, name), y, **how)) for y in (x[:1], x) for how in hows]

    agree(run, rand(2, 2), grads=0)
    agree(lambda fl, x: told(fl, lambda: getattr(x, name.removesuffix("_mean"))()), rand(1), grads=0)
    agree(lambda fl, x: told(fl, lambda: getattr(fl, name)(x[:0])), rand(2), grads=0)


def test_uneven_padding_and_pairs_of_numbers_warn(agree):
    def once(fl, run):  # PyTorch warns once in a process
        before = fl.is_warn_always_enabled()
        fl.set_warn_always(True)
        try:
            return told(fl, run)
        finally:
            fl.set_warn_always(before)

    def run(fl, x, w):
        same = lambda n: once(fl, lambda: fl.nn.functional.conv1d(x, w[..., :n], padding="same"))
        return [
            same(3),
            same(4),
            once(fl, lambda: fl.stft(x[0, 0], 4, window=fl.ones(4).double(), return_complex=False)),
        ]

    agree(run, rand(1, 1, 9), rand(1, 1, 4, seed=1), grads=0)


def test_inversion_of_numbers_that_are_not_whole(agree):
    for dtype in ("float32", "float64", "complex64", "bfloat16"):
        agree(lambda fl, d: ~fl.ones(2, dtype=getattr(fl, d)), dtype, raises=TypeError)
    agree(lambda fl: fl.bitwise_not(fl.ones(2)), raises=NotImplementedError)
    agree(lambda fl: [~fl.tensor([1, -2]), ~fl.tensor(True), ~fl.arange(70000, dtype=fl.int32)[-2:]])


def test_the_error_of_linear_algebra_has_its_name(agree):
    agree(
        lambda fl: (
            fl.linalg.LinAlgError.__name__,
            fl.linalg.LinAlgError.__module__.partition(".")[2],
            fl._C._LinAlgError is fl.linalg.LinAlgError,
        )
    )
    agree(lambda fl: type(pickle.loads(pickle.dumps(fl.linalg.LinAlgError("a")))).__name__)
    agree(lambda fl: fl.linalg.inv(fl.zeros(2, 2)), raises=type("_LinAlgError", (RuntimeError,), {}))


def test_no_methods_beside_pytorchs(agree):
    names = (
        "threshold_",
        "selu_",
        "celu_",
        "rrelu_",
        "dropout_",
        "alpha_dropout_",
        "feature_dropout_",
        "embedding_renorm_",
        "fill_",
        "relu_",
    )
    agree(lambda fl: [(hasattr(fl.Tensor, n), hasattr(fl, n)) for n in names])

    def run(fl, x):
        x = x.detach().clone()
        fl.embedding_renorm_(x, fl.tensor([0, 2]), 0.5, 2.0)
        return fl.threshold_(x, 0.1, 7.0), fl.ops.aten.embedding_renorm(x, fl.tensor([1]), 0.1, 1.0), x

    agree(run, rand(4, 3), grads=0)


@pytest.mark.parametrize("scale", [1, 16])
def test_transforms_lie_as_their_plans_leave_them(agree, scale):
    """The dims that stay in the order of their strides, then the transformed ones."""

    def run(fl, x):
        z = fl.complex(x, x.flip(0))
        out = [getattr(fl.fft, n)(y, dim=d) for d in range(4) for n, y in
               (("fft", x), ("ifft", z), ("rfft", x), ("irfft", z), ("hfft", z), ("ihfft", x))]  # fmt: skip
        for dims in [*itertools.permutations(range(4), 2), *itertools.permutations(range(4), 3)]:
            for order in ((0, 1, 2, 3), (2, 0, 3, 1)):
                a, b = x.permute(order), z.permute(order)
                out += [
                    fl.fft.fftn(a, dim=dims),
                    fl.fft.ifftn(b, dim=dims),
                    fl.fft.rfftn(a, dim=dims),
                    fl.fft.irfftn(b, dim=dims),
                ]
        return [y.stride() for y in out], [
            fl.view_as_real(y.resolve_conj()).sum((0, 1)) if y.is_complex() else y.sum((0, 1)) for y in out[:24]
        ]

    agree(run, rand(2, 3, 4 * scale, 5), grads=0, atol=1e-8)


@pytest.mark.parametrize("scale", [1, 40])
def test_derivatives_of_transforms_along_outer_dims(agree, scale):
    agree(
        lambda fl, x: [fl.view_as_real(fl.fft.fft(x, dim=0)), fl.fft.irfft(fl.fft.rfft(x, dim=1), dim=1, n=5)],
        rand(6 * scale, 5, 3),
    )


def test_short_time_transforms_lie_frame_by_frame(agree):
    def run(fl, x):
        w = fl.ones(16, dtype=x.dtype)
        return [y.stride() for y in (fl.stft(x, 16, window=w, return_complex=True), fl.stft(x[0], 16, window=w, return_complex=True),
                                     fl.stft(x, 16, window=w, onesided=False, return_complex=True))]  # fmt: skip

    agree(run, rand(2, 100), grads=0)


def test_repeats_of_a_size_that_does_not_fit(agree):
    agree(lambda fl: fl.arange(3).repeat_interleave(fl.tensor([1, 2, 4]), output_size=6), raises=RuntimeError)
    agree(lambda fl: fl.repeat_interleave(fl.tensor([1, 2, 4]), output_size=6), raises=RuntimeError)
    agree(lambda fl: fl.arange(3).repeat_interleave(fl.tensor([1, 2, 4]), output_size=7))
