"""Quantized tensors against PyTorch: codes, scales and zero points must be equal."""

import copy
import io

import numpy as np
import pytest

import flambeau
from tests.agree import rand

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
    pytest.mark.filterwarnings("ignore:All inputs of this cat"),
]
KINDS = [("quint8", 100), ("qint8", -3), ("qint32", 5)]


def told(q, strides=False):
    """All that a tensor says, in plain values."""
    if isinstance(q, (tuple, list)):
        return [told(x, strides) for x in q]
    if not getattr(q, "is_quantized", False):
        return q
    parts = [q.int_repr().contiguous(), str(q.dtype), str(q.qscheme()), tuple(q.shape), q.stride() if strides else ()]
    if "tensor" in str(q.qscheme()):
        return [*parts, q.q_scale(), q.q_zero_point()]
    return [*parts, q.q_per_channel_scales(), q.q_per_channel_zero_points(), q.q_per_channel_axis()]


def made(fl, x, kind="quint8", zero=100, scale=0.05):
    return fl.quantize_per_tensor(x.detach(), scale, zero, getattr(fl, kind))


X = rand(2, 4, 8, 8, dtype="float32", low=-4, high=4)
HALVES = (np.arange(800, dtype="float32") - 400) * np.float32(0.025)  # many lie halfway between codes


@pytest.mark.parametrize(("kind", "zero"), KINDS)
def test_to_and_from(agree, kind, zero):
    for scale in (0.05, 0.013, 1.7e-3):
        agree(lambda fl, x, scale=scale: told(made(fl, x, kind, zero, scale)), HALVES, grads=0)
        agree(lambda fl, x, scale=scale: made(fl, x, kind, zero, scale).dequantize(), HALVES, grads=0, exact=True)
    agree(lambda fl, x: told(made(fl, x, kind, zero)), np.array([np.inf, -np.inf, np.nan, 1e30, -0.0], "f4"), grads=0)
    agree(lambda fl, x: told(made(fl, x.detach().reshape(())[()], kind, zero)), np.ones(1, "f4"), grads=0)


def test_per_channel(agree):
    def channels(fl, x, zeros, kind):
        return fl.quantize_per_channel(x.detach(), fl.tensor([0.1, 0.2, 0.03]), fl.tensor(zeros), 1, getattr(fl, kind))

    x = rand(2, 3, 5, dtype="float32", low=-4, high=4)
    for zeros, kind in (
        ([0, 1, 2], "qint8"),
        ([3, 250, 0], "quint8"),
        ([0.5, 1.0, 2.0], "quint8"),
        ([0, 0, 7], "qint32"),
    ):
        agree(lambda fl, x, z=zeros, k=kind: told(channels(fl, x, z, k)), x, grads=0)
        agree(lambda fl, x, z=zeros, k=kind: channels(fl, x, z, k).dequantize(), x, grads=0, exact=True)
    agree(
        lambda fl, x: told(
            [q := channels(fl, x, [0, 1, 2], "qint8"), q[:, 1], q[0], q[:, 1:], q.unsqueeze(0), q.clone()]
        ),
        x,
        grads=0,
    )
    agree(lambda fl, x: repr(channels(fl, x, [0, 1, 2], "qint8")), x, grads=0)
    agree(lambda fl, x: channels(fl, x, [0, 1, 2], "qint8").transpose(0, 1), x, grads=0, raises=RuntimeError)
    agree(lambda fl, x: channels(fl, x, [0, 1, 2], "qint8").q_scale(), x, grads=0, raises=RuntimeError)
    agree(lambda fl, x: channels(fl, x, [0, 1], "qint8"), x, grads=0, raises=RuntimeError)


def test_ranges(agree):
    for factor in (1.0, 1e-6, 0.0):
        for reduce in (False, True):
            agree(lambda fl, x, f=factor, r=reduce: fl._choose_qparams_per_tensor(x.detach() * f, r), X, grads=0)
            agree(lambda fl, x, f=factor, r=reduce: fl._choose_qparams_per_tensor(x.detach().abs() * f, r), X, grads=0)
    for kind in ("quint8", "qint8"):
        agree(lambda fl, x, k=kind: told(fl.quantize_per_tensor_dynamic(x.detach(), getattr(fl, k), False)), X, grads=0)


def test_refusals(agree):
    agree(lambda fl, x: fl.quantize_per_tensor(x.detach().double(), 0.1, 0, fl.quint8), X, grads=0, raises=RuntimeError)
    agree(lambda fl, x: fl.quantize_per_tensor(x.detach(), 0.1, 0, fl.int8), X, grads=0, raises=RuntimeError)
    agree(lambda fl, x: fl.quantize_per_tensor(x.detach(), 0.1, 300, fl.quint8), X, grads=0, raises=RuntimeError)
    agree(lambda fl, x: fl.quantize_per_tensor(x.detach(), 0.1, -1, fl.quint8), X, grads=0, raises=RuntimeError)
    agree(lambda fl, x: made(fl, x).numpy(), X, grads=0, raises=TypeError)
    agree(lambda fl, x: x.detach().copy_(made(fl, x)), X, grads=0, raises=RuntimeError)
    for op in ("add", "abs", "argmax", "q_scale"):
        with pytest.raises(NotImplementedError, match="Could not run 'aten::" + op):
            q = made(flambeau, flambeau.from_numpy(X))
            q + q if op == "add" else flambeau.ones(2).q_scale() if op == "q_scale" else getattr(q, op)()


@pytest.mark.parametrize(("kind", "zero"), KINDS)
def test_moves(agree, kind, zero):
    def program(fl, x):
        q = made(fl, x, kind, zero)
        i = fl.tensor([2, 0])
        return told([q.reshape(8, -1), q.view(-1), q.transpose(0, 1), q.permute(3, 1, 0, 2), q[0], q[:, ::2], q[..., None], q.flip(1),
                     q.index_select(1, i), q[:, i].contiguous(), q.unbind(0)[1], q.split(3, 1)[1], q.expand(3, 2, 4, 8, 8), q.repeat(1, 2, 1, 1),
                     q.transpose(1, 2).contiguous(), q.contiguous(memory_format=fl.channels_last), q.unfold(3, 2, 2), q.squeeze(), q.flatten(),
                     fl.cat([q, q], 1), fl.stack([q, q]), fl.channel_shuffle(q, 2) if kind == "quint8" else q, q.detach(), q.clone(),
                     fl.masked_select(q.int_repr(), q.int_repr() > 3), fl.empty_like(q).stride(), fl.ones_like(q)], strides=True)  # fmt: skip

    agree(program, X, grads=0)
    agree(lambda fl, x: told(fl.cat([made(fl, x, kind, zero), made(fl, x, kind, zero, 0.1)])), X, grads=0)


def test_writes(agree):
    def program(fl, x):
        q, p = made(fl, x), made(fl, x, scale=0.1)
        q[0, 1] = 1.5
        q[1, 0] = q[0, 0]
        q[1, 2].fill_(-0.7)
        q.view(-1)[3:5] = fl.tensor([0.11, -0.22])
        return told(
            [
                q,
                q.masked_fill(x.detach() > 1, 0.3),
                p.copy_(x.detach()),
                made(fl, x, zero=3).copy_(p),
                p[0, 0, 0, 0].item(),
            ]
        )

    agree(program, X, grads=0)


@pytest.mark.parametrize(("kind", "zero"), KINDS)
def test_functions(agree, kind, zero):
    def program(fl, x):
        q, f = made(fl, x, kind, zero), fl.nn.functional
        inplace = q.clone()
        f.relu(inplace, inplace=True)
        return told([f.relu(q), f.relu6(q), f.hardtanh(q, -0.3, 0.7), fl.clamp(q, -0.2, 0.3), f.leaky_relu(q, 0.2), f.threshold(q, 0.1, 0.5),
                     q == 0.5, q < 0.2, q >= q, q != q.flip(0), fl.equal(q, q), q.max(), q.min(), q.max(1), q.sort(2), q.topk(2), q.mean(),
                     q.mean((2, 3)), q.std((2, 3)), inplace, f.dropout(q, 0.5, False)])  # fmt: skip

    agree(program, X, grads=0)
    if kind != "qint32":
        agree(lambda fl, x: told([made(fl, x, kind, zero).sigmoid(), made(fl, x, kind, zero).tanh()]), X, grads=0)
        agree(lambda fl, x: told(fl.nn.functional.hardsigmoid(made(fl, x, kind, zero))), X, grads=0)


@pytest.mark.parametrize(("kind", "zero"), KINDS)
def test_windows(agree, kind, zero):
    def program(fl, x):
        q, f = made(fl, x, kind, zero), fl.nn.functional
        return told([f.max_pool2d(q, 3, 2, 1), f.max_pool1d(q[0], 2), f.avg_pool2d(q, 3, 2, 1), f.avg_pool2d(q, 2, divisor_override=3),
                     f.avg_pool2d(q, 3, 2, 1, count_include_pad=False), f.avg_pool1d(q[0], 2), f.avg_pool3d(q.unsqueeze(0), (1, 3, 3)),
                     f.adaptive_avg_pool2d(q, (3, 2)), f.adaptive_avg_pool2d(q, 1), f.adaptive_avg_pool3d(q.unsqueeze(0), (1, 2, 2)),
                     f.interpolate(q, scale_factor=2), f.interpolate(q, size=(9, 11), mode="nearest-exact"),
                     f.interpolate(q, size=(15, 15), mode="bilinear", align_corners=True), f.pad(q, (1, 1, 1, 1), mode="reflect"),
                     f.pad(q, (1, 2)), fl.quantized_max_pool2d(q, 2)])  # fmt: skip

    agree(program, X, grads=0)


def test_printed(agree):
    agree(
        lambda fl, x: [
            repr(made(fl, x)),
            repr(made(fl, x)[0, 0, 0, 0]),
            made(fl, x).type(),
            repr(fl.per_tensor_affine),
        ],
        X,
        grads=0,
    )


def test_made_of_parts(agree):
    def program(fl, x):
        c = made(fl, x).int_repr()
        scales, zeros = fl.linspace(0.1, 0.4, 4).double(), fl.arange(4)
        return told([fl._make_per_tensor_quantized_tensor(c, 0.5, 3), fl._make_per_channel_quantized_tensor(c, scales, zeros, 1),
                     *fl.quantize_per_tensor([x.detach(), x.detach()], fl.tensor([0.5, 0.25]), fl.tensor([1, 2]), fl.quint8),
                     fl.quantize_per_tensor(x.detach(), fl.tensor(0.1), fl.tensor(2), fl.qint8)])  # fmt: skip

    agree(program, X, grads=0)
    agree(
        lambda fl: [
            (e := fl._empty_affine_quantized([2, 3], scale=0.5, zero_point=1, dtype=fl.quint8)).q_scale(),
            tuple(e.shape),
        ]
    )
    agree(
        lambda fl: fl.empty_quantized(
            [2], fl._empty_affine_quantized([2, 3], scale=0.5, zero_point=1, dtype=fl.qint8)
        ).q_zero_point()
    )


def test_copies_share_no_memory():
    q = made(flambeau, flambeau.from_numpy(X.copy()))
    c = copy.deepcopy(q)
    assert c.is_quantized and c.q_scale() == q.q_scale() and flambeau.equal(c, q)
    c.fill_(0.0)
    assert not flambeau.equal(c, q)
    view = q.view(-1)
    view[0] = 3.0
    assert q[0, 0, 0, 0].item() == pytest.approx(3.0)


def both_ways(torch, theirs, ours):
    """What a file of each library says to the other."""
    for writer, reader, value in ((torch, flambeau, theirs), (flambeau, torch, ours)):
        for weights_only in (True, False):
            file = io.BytesIO()
            writer.save(value, file)
            file.seek(0)
            yield reader.load(file, weights_only=weights_only)


@pytest.mark.parity
def test_files(torch):
    def build(lib):
        x = lib.from_numpy(X)
        channels = lib.quantize_per_channel(x, lib.linspace(0.1, 0.4, 4), lib.arange(4), 1, lib.qint8)
        floats = lib.quantize_per_channel(x, lib.linspace(0.1, 0.4, 4), lib.linspace(0, 3, 4), 1, lib.quint8)
        return {
            "q": made(lib, x),
            "part": made(lib, x)[:, 1],
            "c": channels,
            "f": floats,
            "scheme": lib.per_channel_affine,
            "d": lib.quint8,
        }

    theirs, ours = build(torch), build(flambeau)
    wanted = {k: str(v) for k, v in theirs.items()}
    for read in both_ways(torch, theirs, ours):
        assert {k: str(v) for k, v in read.items()} == wanted
