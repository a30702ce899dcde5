"""Large calls run as kernels, forward and backward, in place and into `out=`: the same numbers as the array library's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau._backends.cpu import engine
from flambeau._eager import large
from flambeau.nn import functional as F

pytestmark = pytest.mark.skipif(not engine.available(), reason="llvmlite is not installed")
TOLERANCE = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 1e-4, "float64": 1e-9}
SHAPE = (132, 131)


class Watch:
    """Counts the kernels that ran, or lets none run."""

    def __init__(self, monkeypatch: Any) -> None:
        self.allowed, self.ran = True, 0
        call = large.Native.__call__

        def watched(native: Any, *arrays: Any) -> Any:
            r = call(native, *arrays) if self.allowed else None
            self.ran += r is not None
            return r

        monkeypatch.setattr(large.Native, "__call__", watched)


@pytest.fixture
def watch(monkeypatch: Any) -> Watch:
    return Watch(monkeypatch)


def tensor(dtype: Any, *shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if dtype is fl.bool:
        return fl.tensor(rng.standard_normal(shape) > 0)
    if not dtype.is_floating_point:
        return fl.tensor(rng.integers(1, 50, shape)).to(dtype)
    return fl.tensor(rng.standard_normal(shape)).to(dtype)


def numbers(x: Any) -> Any:
    return x.detach().to(fl.float64).numpy()


def alike(found: Any, expected: Any) -> None:
    assert found.dtype is expected.dtype and found.shape == expected.shape and found.stride() == expected.stride()
    t = TOLERANCE.get(found.dtype.name, 0)
    scale = np.abs(numbers(expected)).max(initial=1.0, where=np.isfinite(numbers(expected)))
    np.testing.assert_allclose(numbers(found), numbers(expected), rtol=t, atol=t * scale)


def both(watch: Watch, f: Callable[..., Any], *xs: Any, kernels: int) -> None:
    """f with kernels and without; at least so many must run."""
    results = []
    for allowed in (True, False):
        watch.allowed = allowed
        args = [x.detach().clone().requires_grad_(x.requires_grad) for x in xs]
        out = f(*args)
        outs = list(out) if isinstance(out, tuple) else [out]
        leaves = [x for x in args if x.requires_grad]
        if leaves:
            g = tensor(outs[0].dtype, *outs[0].shape, seed=9)
            outs[0].backward(g)
            outs += [x.grad for x in leaves]
        results.append(outs)
    assert watch.ran >= kernels
    for found, expected in zip(*results, strict=True):
        alike(found, expected)


def rows(*shape: int, dtype: Any = fl.float32, grad: bool = True, seed: int = 0) -> Any:
    return tensor(dtype, *shape, seed=seed).requires_grad_(grad)


RULES: dict[str, Callable[..., Any]] = {
    "softmax": lambda x: x.softmax(-1),
    "softmax outer": lambda x: x.softmax(0),
    "log_softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(1),
    "var": lambda x: x.var(0),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[1:]),
    "group_norm": lambda x: F.group_norm(x.reshape(2, 6, 11, 131), 3).reshape(x.shape),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "instance_norm": lambda x: F.instance_norm(x.reshape(2, 6, 11, 131)).reshape(x.shape),
    "relu": F.relu,
    "elu": F.elu,
    "hardswish": F.hardswish,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "amax": lambda x: x.amax(1),
    "norm": lambda x: x.norm(),
    "cosine": lambda x: F.cosine_similarity(x, x.flip(0), dim=1),
    "mse": lambda x: F.mse_loss(x, x.detach().flip(0)),
    "smooth_l1": lambda x: F.smooth_l1_loss(x, x.detach().flip(0)),
    "kl_div": lambda x: F.kl_div(x.log_softmax(1), x.detach().flip(0).softmax(1), reduction="batchmean"),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, x.detach().flip(0).sigmoid()),
    "cross_entropy": lambda x: F.cross_entropy(x, fl.arange(132) % 131),
    "cross_entropy ignoring": lambda x: F.cross_entropy(x, fl.arange(132) % 5, ignore_index=3, reduction="sum"),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [fl.float32, fl.bfloat16])
def test_forward_and_backward(watch: Watch, name: str, dtype: Any) -> None:
    both(watch, RULES[name], rows(*SHAPE, dtype=dtype), kernels=2)


def test_weights_and_biases(watch: Watch) -> None:
    x, w, b = rows(*SHAPE, dtype=fl.float64), rows(131, dtype=fl.float64, seed=1), rows(131, dtype=fl.float64, seed=2)
    both(watch, lambda x, w, b: F.layer_norm(x, (131,), w, b), x, w, b, kernels=2)
    both(watch, lambda x, w: F.rms_norm(x, (131,), w), x, w, kernels=2)
    c = rows(6, dtype=fl.float64, seed=3)
    both(watch, lambda x, c: F.group_norm(x.reshape(2, 6, 11, 131), 3, c, c), x, c, kernels=2)
    both(watch, lambda x, c: F.prelu(x.reshape(22, 6, 131), c), x, c, kernels=2)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.0, float("inf")])
def test_distances(watch: Watch, p: float) -> None:
    """Of rows, some of which are equal: no array of all differences is made."""
    x, y = rows(2, 70, 131, dtype=fl.float64), rows(70, 131, dtype=fl.float64, seed=1)
    y.data[3] = x.data[0, 5]
    mode = "donot_use_mm_for_euclid_dist"
    both(watch, lambda x, y: fl.cdist(x, y, p, mode), x, y, kernels=1 if p == 0 else 2)
    both(watch, lambda x: F.pdist(x[0], p), x, kernels=2)
    expected = np.linalg.norm(numbers(x)[:, :, None] - numbers(y)[None, None], p, axis=-1) if p != 0.5 else None
    if expected is not None:
        np.testing.assert_allclose(numbers(fl.cdist(x, y, p, mode)), expected, rtol=1e-9)
        np.testing.assert_allclose(numbers(fl.cdist(x, y, p)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [fl.float32, fl.bfloat16, fl.int64])
def test_medians_among_equals(dtype: Any) -> None:
    """The place of a median is that which a stable sort gives, whichever way it is found."""
    for n in (1, 2, 5, 100, 10007):
        x = (tensor(fl.float64, n, seed=n) * 3).to(dtype)
        order = np.argsort(x.double().numpy(), kind="stable")[(n - 1) // 2]
        value, at = x.median(0)
        assert at.item() == order and value.item() == x[order].item() == x.median().item()
        if dtype.is_floating_point:
            assert x.nanmedian().item() == value.item()
            x[n // 2] = float("nan")
            for y in (x.median(), x.expand(2, n).median(1).values[1]):
                assert np.isnan(y.item())
            for y in (x.nanmedian(), x.expand(2, n).nanmedian(1).values[1]):
                assert np.isnan(y.item()) == (n == 1)


@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "softmax", "smooth_l1", "cross_entropy"])
def test_second_derivatives(watch: Watch, name: str) -> None:
    """A composite that ran as one kernel has derivatives of every order."""
    results = []
    for allowed in (True, False):
        watch.allowed = allowed
        x = rows(*SHAPE, dtype=fl.float64)
        y = RULES[name](x)
        (g,) = fl.autograd.grad(y, x, y.detach().cos(), create_graph=True)
        (h,) = fl.autograd.grad((g * g).sum(), x)
        results.append([g, h])
    for found, expected in zip(*results, strict=True):
        alike(found, expected)


FORMATS: dict[str, Callable[..., Any]] = {
    "batch_norm": lambda x, w: F.batch_norm(x, None, None, w, w, training=True),
    "batch_norm, fixed": lambda x, w: F.batch_norm(x, w.detach(), w.detach() ** 2, w, w),
    "group_norm": lambda x, w: F.group_norm(x, 3, w, w),
    "prelu": lambda x, w: F.prelu(x, w),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(5, 6, 11, 37), (2, 6, 5, 11, 17)], ids=str)
def test_channels_stay_last(watch: Watch, name: str, shape: tuple[int, ...]) -> None:
    """Results and gradients lie as the images do, with the numbers that those of plain ones have."""
    form, results = fl.channels_last if len(shape) == 4 else fl.channels_last_3d, []
    for last in (True, False):
        x, w, g = tensor(fl.float64, *shape), tensor(fl.float64, 6, seed=1), tensor(fl.float64, *shape, seed=2)
        x, g = (t.contiguous(memory_format=form) if last else t for t in (x, g))
        x, w = x.detach().requires_grad_(), w.requires_grad_()
        y = FORMATS[name](x, w)
        (dx, dw) = fl.autograd.grad(y, (x, w), g)
        assert y.is_contiguous(memory_format=form) is last and dx.is_contiguous(memory_format=form) is last
        results.append([y, dx, dw])
    assert watch.ran >= 4
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-9, atol=1e-12)


DERIVED: dict[str, Callable[..., Any]] = {
    "exp": lambda x, y: x.exp() - y,
    "silu": lambda x, y: F.silu(x) - y,
    "tanh": lambda x, y: x.tanh() - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / (y.abs() + 1),
    "add": lambda x, y: x + y,
    "where": lambda x, y: fl.where(x > y, x, y),
    "by a row": lambda x, y: x * y[:1] + y[1:2],
}


@pytest.mark.parametrize("name", DERIVED)
@pytest.mark.parametrize("dtype", [fl.float16, fl.bfloat16])
def test_halves_derive_in_float32(watch: Watch, name: str, dtype: Any) -> None:
    """The derivative of numbers in half precision is that of the same numbers in float32, rounded; of small arrays as of large."""
    for shape in (SHAPE, (3, 5)):
        grads = []
        for d in (dtype, fl.float32):
            x, y = (tensor(dtype, *shape, seed=n).to(d).requires_grad_() for n in (0, 1))
            out = DERIVED[name](x, y)
            out.backward(tensor(dtype, *out.shape, seed=2).to(d))
            grads += [x.grad, y.grad]
        for found, expected in zip(grads[:2], grads[2:], strict=True):
            assert found.dtype is dtype
            np.testing.assert_allclose(numbers(found), numbers(expected), rtol=2 * TOLERANCE[dtype.name], atol=1e-2)
    both(watch, DERIVED[name], rows(*SHAPE, dtype=dtype), rows(*SHAPE, dtype=dtype, seed=1), kernels=1)


def test_saved_operands_are_watched() -> None:
    x = rows(*SHAPE)
    y = x * 1.0
    loss = F.smooth_l1_loss(y, y.detach().flip(0))
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


KINDS = [fl.float16, fl.bfloat16, fl.float64, fl.int64, fl.int32, fl.uint8, fl.bool]
WORDS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "maximum": lambda x, y: x.maximum(y),
    "lt": lambda x, y: x < y,
    "where": lambda x, y: fl.where(x > 1, x, y),
    "div": lambda x, y: x / y,
    "exp": lambda x, y: (x / 32).exp(),
    "sum": lambda x, y: x.sum(1),
    "max": lambda x, y: x.max(1),
    "any": lambda x, y: x.any(0),
    "argmin": lambda x, y: x.argmin(1),
    "by a row": lambda x, y: x + y[0],
    "by a number": lambda x, y: x * 3,
    "transposed": lambda x, y: x.T * y.T,
}


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("dtype", KINDS)
def test_dtypes(watch: Watch, name: str, dtype: Any) -> None:
    if name == "argmin" and dtype is fl.bool:
        pytest.skip("refused, as by PyTorch")
    both(watch, WORDS[name], tensor(dtype, *SHAPE), tensor(dtype, *SHAPE, seed=1), kernels=0 if name == "sum" else 1)


@pytest.mark.parametrize("dtype", KINDS[:-1])
def test_in_place(watch: Watch, dtype: Any) -> None:
    def program(x: Any, y: Any) -> Any:
        where = x.data_ptr()
        x.add_(y).mul_(2).sub_(y[0])
        x.T.add_(y.T)
        x[1:].add_(x[:-1].clone())
        x[:, ::2].mul_(y[:, ::2])
        assert x.data_ptr() == where
        return x

    both(watch, program, tensor(dtype, *SHAPE), tensor(dtype, *SHAPE, seed=1), kernels=4)


def test_in_place_keeps_history(watch: Watch) -> None:
    both(watch, lambda x, y: (x * 1.0).mul_(y).add_(x).exp_(), rows(*SHAPE), rows(*SHAPE, seed=1), kernels=4)


def test_out(watch: Watch) -> None:
    def program(x: Any, y: Any) -> Any:
        wide, turned, flags = fl.empty(SHAPE, dtype=fl.float64), fl.empty(131, 132).T, fl.empty(SHAPE, dtype=fl.bool)
        fl.add(x, y, out=wide)
        fl.exp(x, out=turned)
        fl.gt(x, y, out=flags)
        fl.softmax(x, 1, out=x)
        fl.mul(x, y, out=y)
        return wide, turned, flags, x, y

    both(watch, program, tensor(fl.float32, *SHAPE), tensor(fl.float32, *SHAPE, seed=1), kernels=4)


def test_out_versions() -> None:
    x, out = rows(*SHAPE), fl.empty(SHAPE)
    y = (out.requires_grad_() * 1.0) * x
    with fl.no_grad():
        fl.exp(x, out=out)
    y.sum().backward()
    before = out._version
    with fl.no_grad():
        fl.exp(x, out=out)
    assert out._version == before + 1


@pytest.mark.parametrize("size", [10, 100, 30_000])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_scans_carry_double(name, size):
    """Schedules of diffusion models hang on the last bits."""
    x = np.random.default_rng(0).uniform(0.9, 1.1, size).astype(np.float32)
    for a, wide in ((x, np.float64), (np.exp(1j * x).astype(np.complex64), np.complex128))[: 1 if size > 100 else 2]:
        exact = getattr(np, name)(a, dtype=wide).astype(a.dtype)
        assert getattr(fl, name)(fl.tensor(a), 0).numpy().tobytes() == exact.tobytes()


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"])
@pytest.mark.parametrize("dtype", [fl.float32, fl.float64, fl.int64])
def test_scans(watch: Watch, name: str, dim: int, dtype: Any) -> None:
    x = tensor(dtype, *SHAPE)
    if name == "logcumsumexp" and dtype is fl.int64:
        pytest.skip("of floating numbers")
    if name == "cumprod":
        x = x * (0 if dtype is fl.int64 else 0.1) + 1
    both(watch, lambda x: getattr(fl, name)(x, dim), x, kernels=1)


def test_scans_at_the_edges(watch: Watch) -> None:
    x = tensor(fl.float32, *SHAPE)
    x[3, 5], x[4, 7], x[5, :] = float("nan"), float("inf"), -float("inf")
    x[6, :3] = -float("inf")
    x[7, 9:12] = 4.0  # equal ones: the last counts
    both(watch, lambda x: (*x.cummax(1), *x.cummin(1), x.logcumsumexp(1)), x, kernels=3)


@pytest.mark.parametrize("dtype", [fl.float32, fl.int64], ids=str)
@pytest.mark.parametrize("shape", [(70001,), (3, 70001), (300, 301)], ids=str)
def test_where_the_extreme_of_long_rows_is(watch: Watch, shape: tuple[int, ...], dtype: Any) -> None:
    x = tensor(dtype, *shape)
    for dim in (None, -1):
        assert x.argmax(dim).tolist() == x.numpy().argmax(dim).tolist()
        assert x.argmin(dim).tolist() == x.numpy().argmin(dim).tolist()
    assert watch.ran == 4


def test_empty_and_small_are_the_librarys(watch: Watch) -> None:
    for shape in ((0, 20000), (0,), (), (3, 4)):
        x = fl.ones(shape)
        (x + 1, x.exp(), x.sum(), x.cumsum(0), x.add_(1))
    assert watch.ran == 0


@pytest.mark.parametrize(
    "shapes", [((150, 1), (1, 170)), ((7, 40, 1, 2), (7, 1, 35, 2)), ((3000, 1), (3,)), ((5, 1), (2000,))], ids=str
)
def test_small_operands_of_large_results(shapes):
    x, y = (fl.randn(s, dtype=fl.float64).requires_grad_() for s in shapes)
    for f in (fl.mul, fl.sub, fl.atan2, fl.maximum, fl.gt, lambda a, b: fl.where(a > 0, a, b)):
        a, b = fl.broadcast_tensors(x, y)
        found, want = f(x, y), f(a.contiguous(), b.contiguous())
        assert found.dtype is want.dtype and found.shape == want.shape and fl.allclose(found.double(), want.double())
        if found.requires_grad:
            each = [fl.autograd.grad(v, (x, y), fl.ones_like(v)) for v in (found, want)]
            assert all(fl.allclose(g, h) for g, h in zip(*each, strict=True))
    i, j = (fl.arange(t.numel()).reshape(t.shape) for t in (x, y))
    assert fl.equal(i * j, (i + 0 * j) * (j + 0 * i)) and (i.int() + j.int()).dtype is fl.int32
    into = fl.empty(fl.broadcast_shapes(*shapes), dtype=fl.int64)
    assert fl.equal(fl.add(i, j, out=into), i + j)
    with pytest.raises(RuntimeError, match="must match the size"):
        fl.randn(150, 1, 3) + fl.randn(170, 2)


@pytest.mark.parametrize("width", [63, 64, 128, 129, 192, 256, 300, 391])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_columns_add_row_by_row_in_strips_of_any_width(watch: Watch, width: int, dtype: str) -> None:
    x = (fl.randn(5, 60, width) * 100).to(getattr(fl, dtype))
    rows = x.numpy().transpose(1, 0, 2)
    want = np.zeros_like(rows[0])
    for row in rows:
        want += row
    before = watch.ran
    assert (x.sum(1, dtype=x.dtype).numpy() == want).all() and (x.amax(1).numpy() == rows.max(0)).all()
    assert watch.ran > before


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -0.5, 1, -1, -2, 2.5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_short_powers_are_the_same_bits_large_and_small(exponent, dtype):
    x = fl.linspace(-3, 3, 20011).to(getattr(fl, dtype))
    x[:5] = fl.tensor([0.0, -0.0, np.inf, -np.inf, np.nan])
    found, parts = x**exponent, fl.cat([p**exponent for p in x.split(100)])
    if exponent != 2.5:
        assert found.numpy().tobytes() == parts.numpy().tobytes()
        assert fl.pow(x, exponent, out=fl.empty_like(x)).numpy().tobytes() == parts.numpy().tobytes()
        assert x.clone().pow_(exponent).numpy().tobytes() == parts.numpy().tobytes()
        assert (x ** fl.tensor(exponent)).numpy().tobytes() == parts.numpy().tobytes()
    y = x[5:].abs().requires_grad_()
    (y**exponent).sum().backward()
    assert fl.allclose(y.grad, exponent * y.detach() ** (exponent - 1))


def test_numbers_beside_a_dtype_that_is_equal_but_another_object_do_not_slow_the_others_down() -> None:
    other = np.dtype(">f8").newbyteorder()
    assert other == np.dtype("f8") and other is not np.dtype("f8")
    assert (fl.from_numpy(np.ones(3).astype(other)) + 1234.5).tolist() == [1235.5] * 3
    x = fl.linspace(0, 1, 20011, dtype=fl.float64)
    general = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "call", lambda *a: general.append(a))
        x + 1234.5
    assert not general
