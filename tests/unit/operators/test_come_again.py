"""Calls on small tensors give the same bits, errors and warnings when they come again, and a builtin does them."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import flambeau
from flambeau._backends.cpu import small
from flambeau._eager import replayed
from flambeau.nn import functional as F


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(small, "worth", lambda: True)


def tensors(dtype):
    flambeau.manual_seed(3)
    x = flambeau.randn(12, 10, dtype=dtype)
    x[3, 4], x[5, 5], x[7, 1] = float("nan"), float("inf"), -float("inf")
    x[9] = -0.0
    return {
        "x": x,
        "y": flambeau.randn(12, 10, dtype=dtype),
        "p": flambeau.rand(12, 10, dtype=dtype),
        "w": flambeau.randn(10, dtype=dtype),
        "im": flambeau.randn(3, 8, 4, 2, dtype=dtype),
        "c": flambeau.rand(8, dtype=dtype) + 0.5,
        "m": flambeau.randn(8, dtype=dtype),
    }


T = flambeau.tensor([3, 0, 9, 9, 1, -100, 2, 5, 5, 7, 8, 4])
CALLS = {
    "softmax": lambda x, y, p, w, im, c, m: (x.softmax(1), y.softmax(0), im.softmax(2)),
    "log_softmax": lambda x, y, p, w, im, c, m: (x.log_softmax(1), y.log_softmax(-2)),
    "sums": lambda x, y, p, w, im, c, m: (x.sum(1), y.sum(), y.sum(0, keepdim=True), im.sum([0, 2, 3]), im.mean([2, 3])),
    "extremes": lambda x, y, p, w, im, c, m: (x.amax(1), y.amin(0), y.max(), im.amax([2, 3])),
    "logsumexp": lambda x, y, p, w, im, c, m: (x.logsumexp(1), y.logsumexp([0, 1])),
    "spread": lambda x, y, p, w, im, c, m: (x.var(1), y.std(), y.std(0), im.var([0, 2, 3], unbiased=False)),
    "layer_norm": lambda x, y, p, w, im, c, m: (F.layer_norm(x, (10,), w, w), F.layer_norm(y, [10]), F.layer_norm(y, (12, 10))),
    "rms_norm": lambda x, y, p, w, im, c, m: (F.rms_norm(x, (10,), w), F.rms_norm(y, (10,), eps=0.1)),
    "group_norm": lambda x, y, p, w, im, c, m: (F.group_norm(im, 2, c, m), F.group_norm(im, 8)),
    "batch_norm": lambda x, y, p, w, im, c, m: (F.batch_norm(im, m.detach(), c.detach(), c, m), F.batch_norm(im, None, None, c, m, True)),
    "cross_entropy": lambda x, y, p, w, im, c, m: (
        *(F.cross_entropy(x, T, reduction=r) for r in ("none", "mean", "sum")),
        F.cross_entropy(y, T, w.detach().abs()),
        F.cross_entropy(y, T, label_smoothing=0.1),
        F.cross_entropy(y, p),
    ),
    "regression": lambda x, y, p, w, im, c, m: (F.mse_loss(x, y), F.l1_loss(y, p), F.smooth_l1_loss(y, p), F.huber_loss(y, p, "sum", 0.3)),
    "logits": lambda x, y, p, w, im, c, m: (F.binary_cross_entropy_with_logits(x, p), F.binary_cross_entropy_with_logits(y, p, w.detach())),
    "kl_div": lambda x, y, p, w, im, c, m: (F.kl_div(y, p, reduction="batchmean"), F.kl_div(y, p, reduction="sum")),
    "norms": lambda x, y, p, w, im, c, m: (y.norm(), y.norm(dim=1), F.normalize(y), F.cosine_similarity(y, p)),
}  # fmt: skip


def bits(ts):
    """Shapes, dtypes and bits; which NaN of several remains is up to the processor."""
    arrays = [t.detach()._a for t in ts]
    return [(a.shape, a.dtype, np.where(np.isnan(a), a.dtype.type(np.nan), a).tobytes()) for a in arrays]


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.float64])
@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_without_history(name, dtype):
    given = tensors(dtype)
    expected = bits(CALLS[name](**given))
    for _ in range(2 * replayed.AFTER):
        assert bits(CALLS[name](**given)) == expected


@pytest.mark.parametrize("dtype", [flambeau.float32, flambeau.float64])
@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_with_history_and_of_gradients(name, dtype):
    given = {n: t.requires_grad_() for n, t in tensors(dtype).items()}

    def step():
        outs = CALLS[name](**given)
        found = flambeau.autograd.grad(
            sum((o * o.detach().sin()).sum() for o in outs), given.values(), allow_unused=True
        )
        return bits(outs), bits([g for g in found if g is not None]), [type(o.grad_fn).__name__ for o in outs]

    expected = step()
    for _ in range(2 * replayed.AFTER):
        assert step() == expected


def test_other_layouts_dtypes_and_shapes_between():
    x = flambeau.randn(6, 6)
    expected = {}
    for n in range(3 * replayed.AFTER):
        for name, t in {"": x, "turned": x.t(), "wide": x.double(), "part": x[:, ::2], "one": x[:1], "half": x.half()}.items():  # fmt: skip
            found = bits([t.softmax(1), F.layer_norm(t, t.shape[1:])])
            assert found == expected.setdefault(name, found), (n, name)


def test_refusals_stay(agree):
    def program(fl, x, y):
        F = fl.nn.functional
        told = []
        for _ in range(12):
            F.cross_entropy(x, fl.tensor([1, 2, 0]))
            F.layer_norm(x, (4,))
            x.softmax(1)
        for bad in (
            lambda: F.cross_entropy(x, fl.tensor([1, 4, 0])),
            lambda: F.cross_entropy(x, fl.tensor([1, 0])),
            lambda: F.layer_norm(x, (3,)),
            lambda: x.softmax(2),
            lambda: F.nll_loss(x, fl.tensor([1, 4, 0])),
        ):
            try:
                bad()
            except (IndexError, RuntimeError, ValueError) as problem:
                told.append((type(problem).__name__, str(problem).partition("\n")[0]))
        return told and F.mse_loss(x, y)

    agree(program, np.arange(12.0).reshape(3, 4) / 7, np.ones((3, 4)), grads=0)


def test_few_elements_are_warned_of_each_time():
    x = flambeau.ones(1, 1)
    for _ in range(2 * replayed.AFTER):
        with pytest.warns(UserWarning, match="degrees of freedom"):
            x.std()
        with pytest.warns(UserWarning, match="degrees of freedom"):
            x.var(1)


def test_results_are_new_each_time():
    x = flambeau.randn(4, 5)
    for _ in range(replayed.AFTER):
        F.rms_norm(x, (5,))
    a, b = F.rms_norm(x, (5,)), F.rms_norm(x, (5,))
    a.zero_()
    assert b.abs().sum() > 0
    assert a._version == 1
    assert b._version == 0


def test_what_is_saved_and_overwritten_is_noticed():
    x = flambeau.randn(4, 5, requires_grad=True)
    for _ in range(2 * replayed.AFTER):
        out = x.softmax(1)
        out.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def test_hooks_and_modes_see_what_they_saw():
    packed = []

    def keep(t):
        packed.append(t.shape)
        return t

    x, w = flambeau.randn(4, 5, requires_grad=True), flambeau.randn(5, requires_grad=True)
    calls = [lambda: F.layer_norm(x, (5,), w), lambda: x.log_softmax(1), lambda: x.logsumexp(1)]
    for call in calls:
        for _ in range(2 * replayed.AFTER):
            expected = call()
        packed.clear()
        with flambeau.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            out = call()
        assert packed
        assert type(out.grad_fn) is type(expected.grad_fn)
        with flambeau.autograd.profiler.profile() as p:
            call()
        assert len(p.function_events) > 0
        with flambeau.inference_mode():
            assert call().is_inference()
        with flambeau.no_grad():
            assert call().grad_fn is None
        with flambeau.autocast("cpu", dtype=flambeau.bfloat16):
            assert call().dtype in (flambeau.float32, flambeau.bfloat16)
        batched = flambeau.vmap(lambda t: t.log_softmax(0))(x)
        assert batched.shape == x.shape


def test_gradients_of_gradients_stay():
    x = flambeau.randn(3, 4, dtype=flambeau.float64, requires_grad=True)
    w = flambeau.randn(4, dtype=flambeau.float64, requires_grad=True)

    def second():
        out = F.layer_norm(x, (4,), w).softmax(1).logsumexp(0)
        (g,) = flambeau.autograd.grad((out * out).sum(), x, create_graph=True)
        return bits(flambeau.autograd.grad((g * g).sum(), (x, w)))

    expected = second()
    for _ in range(2 * replayed.AFTER):
        assert second() == expected


def test_results_are_known_by_their_fields():
    x = flambeau.randn(3, 4, requires_grad=True)
    for _ in range(2 * replayed.AFTER):
        out, mean, rstd = flambeau.native_layer_norm(x, (4,), None, None, 1e-5)
        assert out.requires_grad
        assert not mean.requires_grad
        assert rstd.shape == (3, 1)
        assert out._version == 0


def test_sizes_may_be_lists():
    x, w = flambeau.randn(4, 3, requires_grad=True), flambeau.randn(3)
    expected = None
    for n in range(3 * replayed.AFTER):
        out = flambeau.native_layer_norm(x, [3] if n % 2 else (3,), w, None, 1e-5)[0].sum([0, 1])
        found = bits(flambeau.autograd.grad(out, [x]))
        expected = expected or found
        assert found == expected
