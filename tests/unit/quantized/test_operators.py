"""`torch.ops.quantized` against PyTorch: codes must be equal, since the steps of its kernels are taken one by one."""

import copy
import pickle

import numpy as np
import pytest

import flambeau
from tests.agree import rand
from tests.unit.quantized.test_tensors import told

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions"),
    pytest.mark.filterwarnings("ignore:All inputs of this cat"),
    pytest.mark.filterwarnings("ignore:fbgemm_"),
    pytest.mark.filterwarnings("ignore:.*will be deprecated in a future release"),
    pytest.mark.filterwarnings("ignore:.*is deprecated"),
]


def numbers(*shape, seed=0, low=-4.0, high=4.0):
    return rand(*shape, seed=seed, dtype="float32", low=low, high=high)


def coded(fl, x, scale, zero, kind="quint8"):
    return fl.quantize_per_tensor(fl.from_numpy(x), scale, zero, getattr(fl, kind))


def weights(fl, w):
    """One weight in three ways: a scale, a scale and a zero point, scales for each channel."""
    n = w.shape[0]
    scales = fl.linspace(0.01, 0.03, n)
    return [coded(fl, w, 0.02, 0, "qint8"), coded(fl, w, 0.02, 3, "qint8"),
            fl.quantize_per_channel(fl.from_numpy(w), scales, fl.zeros(n).long(), 0, fl.qint8)]  # fmt: skip


@pytest.mark.parametrize("width", [1, 12, 64, 700])  # sums of the last do not fit single precision
@pytest.mark.parametrize("how", [0, 1, 2])
def test_linear(agree, width, how):
    x, w, b = numbers(2, 9, width), numbers(7, width, seed=1, low=-2, high=2), numbers(7, seed=2)

    def program(fl):
        ops, q = fl.ops.quantized, coded(fl, x, 0.03, 120)
        for bias in (fl.from_numpy(b), None):
            p = ops.linear_prepack(weights(fl, w)[how], bias)
            yield from (
                ops.linear(q, p, 0.02 * width**0.5, 100),
                ops.linear_relu(q, p, 0.02 * width**0.5, 100),
                *p.unpack()[:1],
            )

    agree(lambda fl: told(list(program(fl))))


@pytest.mark.parametrize("reduce_range", [False, True])
def test_dynamic(agree, reduce_range):
    x, w, b = numbers(9, 64), numbers(7, 64, seed=1, low=-2, high=2), numbers(7, seed=2)

    def program(fl):
        ops = fl.ops.quantized
        for weight in weights(fl, w):
            p = ops.linear_prepack(weight, fl.from_numpy(b))
            yield from (
                ops.linear_dynamic(fl.from_numpy(x), p, reduce_range),
                ops.linear_relu_dynamic(fl.from_numpy(x), p, reduce_range),
            )

    agree(lambda fl: list(program(fl)))
    agree(lambda fl: fl.ops.quantized.linear_prepack_fp16(fl.from_numpy(w), fl.from_numpy(b)).unpack()[0].shape)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [((1, 1), (0, 0), (1, 1)), ((2, 1), (1, 2), (1, 2))])
def test_convolutions(agree, groups, stride, padding, dilation):
    x, w, b = numbers(2, 4, 9, 8), numbers(6, 4 // groups, 3, 3, seed=1, low=-2, high=2), numbers(6, seed=2)
    w3 = numbers(6, 4 // groups, 2, 3, 3, seed=3, low=-2, high=2)

    def program(fl):
        ops, q, bias = fl.ops.quantized, coded(fl, x, 0.03, 110), fl.from_numpy(b)
        for weight in weights(fl, w)[::2]:
            p = ops.conv2d_prepack(weight, bias, stride, padding, dilation, groups)
            yield ops.conv2d(q, p, 0.12, 100)
            yield ops.conv2d_relu(q, ops.conv2d_prepack(weight, None, stride, padding, dilation, groups), 0.12, 100)
            yield (p.stride(), p.padding(), p.dilation(), p.groups(), p.transpose(), p.unpack()[1])
        narrow = coded(fl, w[:, :, 0].copy(), 0.02, 0, "qint8")
        p = ops.conv1d_prepack(narrow, bias, stride[:1], padding[:1], dilation[:1], groups)
        yield (ops.conv1d(q[:, :, 0], p, 0.12, 100), *ops.conv1d_unpack(p))
        q3 = q.unsqueeze(2).repeat(1, 1, 3, 1, 1)
        p = ops.conv3d_prepack(
            coded(fl, w3, 0.02, 0, "qint8"), bias, (1, *stride), (0, *padding), (1, *dilation), groups
        )
        yield ops.conv3d(q3, p, 0.2, 100)

    agree(lambda fl: told(list(program(fl))))


@pytest.mark.parity
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(torch, groups):
    """By PyTorch's fbgemm: the engine that it would choose computes these wrongly with zero points."""
    torch.backends.quantized.engine = "fbgemm"
    x, w, b = numbers(2, 4, 9, 8), numbers(4, 3, 3, 3, seed=1, low=-2, high=2), numbers(3 * groups, seed=2)

    def program(fl):
        ops = fl.ops.quantized
        p = ops.conv_transpose2d_prepack(
            coded(fl, w, 0.02, 0, "qint8"), fl.from_numpy(b), (2, 1), (1, 2), (1, 0), (1, 2), groups
        )
        return ops.conv_transpose2d(coded(fl, x, 0.03, 110), p, 0.12, 100).int_repr()

    try:
        wanted = program(torch)
    finally:
        torch.backends.quantized.engine = "x86"
    assert np.array_equal(program(flambeau).numpy(), wanted.numpy())


@pytest.mark.parametrize("name", ["add", "add_relu", "mul", "mul_relu"])
def test_arithmetic(agree, name):
    x, y = numbers(4, 64), numbers(4, 64, seed=1)

    def program(fl):
        a, b, f = coded(fl, x, 0.05, 100), coded(fl, y, 0.03, 20), getattr(fl.ops.quantized, name)
        out = fl._empty_affine_quantized([4, 64], scale=0.07, zero_point=3, dtype=fl.quint8)
        return [f(a, b, 0.1, 90), f(a, a, 0.01, 90), getattr(fl.ops.quantized, name + "_out")(a, b, out),
                *(f(a, c) for c in (0.3, -0.7, 10.0, -10.0, 0.0, 2))]  # fmt: skip

    agree(lambda fl: told(program(fl)))


def test_joined(agree):
    def program(fl):
        a, b = coded(fl, numbers(4, 64), 0.05, 100), coded(fl, numbers(4, 64, seed=1), 0.03, 20)
        return [fl.ops.quantized.cat([a, b], 1, 0.04, 50), fl.ops.quantized.cat_relu([a, b], 0, None, None)]

    agree(lambda fl: told(program(fl)))


def test_activations(agree):
    def program(fl):
        ops, a = fl.ops.quantized, coded(fl, numbers(4, 64), 0.05, 100)
        return [ops.relu6(a), ops.leaky_relu(a, 0.1, False, 0.04, 60), ops.hardswish(a, 0.04, 60), ops.elu(a, 0.04, 60), ops.elu(a, 0.04, 60, 0.5),
                ops.celu(a, 0.04, 60, 2.0), ops.sigmoid(a, 0.01, 5), ops.softmax(a, 1, 0.01, 5), ops.clamp(a, -0.3, 0.4), ops.dropout(a, 0.1, 3),
                ops.threshold(a, 0.1, 0.4), ops.max_pool1d(a, [2], [2], [0], [1], False)]  # fmt: skip

    agree(lambda fl: told(program(fl)))


def test_normalizations(agree):
    def program(fl):
        ops, x = fl.ops.quantized, coded(fl, numbers(3, 4, 8, 8), 0.04, 110)
        m, v, w, b = (fl.from_numpy(numbers(4, seed=i)) for i in range(4))
        v = v.abs()
        rows = [fl.from_numpy(numbers(8, 8, seed=i)) for i in (5, 6)]
        return [ops.batch_norm2d(x, w, b, m, v, 1e-5, 0.07, 60), ops.batch_norm2d_relu(x, w, b, m, v, 1e-5, 0.07, 60),
                fl.quantized_batch_norm(x, w, b, m, v, 1e-5, 0.07, 60), ops.layer_norm(x, [8, 8], *rows, 1e-5, 0.03, 100),
                ops.layer_norm(x, [8], None, None, 1e-5, 0.03, 100), ops.group_norm(x, 2, w, b, 1e-5, 0.03, 100),
                ops.instance_norm(x, w, b, 1e-5, 0.03, 100)]  # fmt: skip

    agree(lambda fl: told(program(fl)))


def tables(fl):
    """A float table, and packed ones of eight and of four bits."""
    w = fl.from_numpy(numbers(10, 12, low=-2, high=2))
    scales, zeros = fl.linspace(0.01, 0.02, 10), fl.linspace(0, 99.5, 10)
    packed = [
        fl.quantize_per_channel(w, scales, zeros, 0, fl.quint8),
        fl.quantize_per_channel(w, scales * 10, zeros / 10, 0, fl.quint4x2),
    ]
    return w, [fl.ops.quantized.embedding_bag_prepack(p) for p in packed]


def test_embeddings(agree):
    def program(fl):
        ops, (_, (p8, p4)) = fl.ops.quantized, tables(fl)
        i, starts, w = fl.tensor([1, 3, 3, 0, 9]), fl.tensor([0, 2, 2]), fl.from_numpy(numbers(5))
        return [ops.embedding_byte(p8, i), ops.embedding_4bit(p4, i), ops.embedding_bag_byte(p8, i, starts), ops.embedding_bag_4bit(p4, i, starts),
                ops.embedding_bag_4bit(p4, i, starts, False, 0, False, w), ops.embedding_bag_byte(p8, i[:4].reshape(2, 2)),
                ops.embedding_bag_byte(p8, i, fl.tensor([0, 2, 5]), False, 0, False, None, None, True),
                p8.unpack().int_repr(), p4.unpack().int_repr()]  # fmt: skip

    agree(program)


@pytest.mark.parametrize("name", ["byte", "4bit", "2bit"])
def test_tables_in_bytes(agree, name):
    def program(fl):
        w, _ = tables(fl)
        ops, i, starts = fl.ops.quantized, fl.tensor([1, 3, 3, 0, 9]), fl.tensor([0, 2, 2])
        ranges = fl.stack([w.min(1)[0] - 1, w.max(1)[0] + 1], 1)
        b = getattr(ops, f"embedding_bag_{name}_prepack")(w)
        best = [] if name == "byte" else [getattr(ops, f"embedding_bag_{name}_prepack")(w, True)]
        return [b, getattr(ops, f"embedding_bag_{name}_unpack")(b), getattr(ops, f"embedding_bag_{name}_rowwise_offsets")(b, i, starts), *best,
                getattr(ops, f"embedding_bag_{name}_prepack_with_rowwise_min_max")(w, ranges)]  # fmt: skip

    agree(program)
    agree(lambda fl: fl.choose_qparams_optimized(tables(fl)[0][0], 12, 200, 0.16, 4))


def cell(fl, out, width, seed):
    """Packed weights of a cell, by input and by state."""
    return [fl.ops.quantized.linear_prepack(coded(fl, numbers(out, n, seed=seed + n, low=-2, high=2), 0.02, 0, "qint8"), fl.from_numpy(numbers(out, seed=n)))
            for n in (width, 8)]  # fmt: skip


def test_cells(agree):
    def program(fl):
        ops, x, h = fl.ops.quantized, fl.from_numpy(numbers(3, 12)), fl.from_numpy(numbers(3, 8, low=-1, high=1))

        def parts(out):
            i, s = cell(fl, out, 12, 0)
            return i, s, i.unpack()[1], s.unpack()[1]

        return [*ops.quantized_lstm_cell_dynamic(x, [h, h * 0.5], *parts(32)), ops.quantized_gru_cell_dynamic(x, h, *parts(24)),
                ops.quantized_rnn_tanh_cell_dynamic(x, h, *parts(8)), ops.quantized_rnn_relu_cell_dynamic(x, h, *parts(8))]  # fmt: skip

    agree(program, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_recurrent_networks(agree, packed):
    def program(fl):
        x = fl.from_numpy(numbers(5, 3, 12))
        p = fl.nn.utils.rnn.pack_padded_sequence(x, fl.tensor([5, 3, 2]))
        first, last = ((p.data, p.batch_sizes), ()) if packed else ((x,), (False,))

        def cells(out):
            made = [cell(fl, out, w, i) for i, w in enumerate((12, 12, 16, 16))]
            return [
                fl.ops.quantized.make_quantized_cell_params_dynamic(i, s, i.unpack()[1], s.unpack()[1], True)
                for i, s in made
            ]

        h = fl.from_numpy(numbers(4, 3, 8, low=-1, high=1))
        return [*fl.quantized_lstm(*first, [h, h * 0.5], cells(32), True, 2, 0.0, False, True, *last, dtype=fl.qint8, use_dynamic=True),
                *fl.quantized_gru(*first, h, cells(24), True, 2, 0.0, False, True, *last)]  # fmt: skip

    agree(program, atol=1e-4)


def test_older_operators(agree):
    def weight(fl, out, width, seed):
        q, sums, scale, zero = fl.fbgemm_linear_quantize_weight(fl.from_numpy(numbers(out, width, seed=seed)))
        return q, sums, scale, zero, fl.fbgemm_pack_quantized_matrix(q)

    def program(fl):
        x, h = fl.from_numpy(numbers(3, 12)), fl.from_numpy(numbers(3, 8, seed=1, low=-1, high=1))
        q, sums, scale, zero, packed = weight(fl, 4, 12, 2)
        b, half = (
            fl.from_numpy(numbers(32, seed=3)),
            fl.fbgemm_pack_gemm_matrix_fp16(fl.from_numpy(numbers(4, 12, seed=4))),
        )
        yield from (q, sums, scale, zero, fl.fbgemm_linear_int8_weight(x, q, packed, sums, scale, zero, b[:4]))
        yield from (
            fl.fbgemm_linear_fp16_weight(x, half, b[:4]),
            fl.fbgemm_linear_fp16_weight_fp32_activation(x, half, None),
        )
        for name, out in (("lstm", 32), ("gru", 24), ("rnn_relu", 8), ("rnn_tanh", 8)):
            (q, c, s, z, p), (q2, c2, s2, z2, p2) = weight(fl, out, 12, 5), weight(fl, out, 8, 6)
            state = [h, h * 0.5] if name == "lstm" else h
            yield getattr(fl, f"quantized_{name}_cell")(
                x, state, q, q2, b[:out], b[:out] * 0.5, p, p2, c, c2, s, s2, z, z2
            )

    agree(lambda fl: list(program(fl)), atol=1e-5)


def test_packed_weights_are_copied_and_kept():
    w, b = numbers(7, 12), flambeau.from_numpy(numbers(7))
    for p in (flambeau.ops.quantized.linear_prepack(weights(flambeau, w)[2], b),
              flambeau.ops.quantized.conv2d_prepack(coded(flambeau, numbers(4, 3, 3, 3), 0.1, 0, "qint8"), b[:4], [2, 1], [0, 1], [1, 1], 1)):  # fmt: skip
        for other in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
            assert flambeau.equal(other.unpack()[0], p.unpack()[0]) and flambeau.equal(other.unpack()[1], p.unpack()[1])
            assert repr(other) == repr(p) and "ScriptObject <__torch__.torch.classes.quantized." in repr(p)


def test_refusals(agree):
    w = numbers(7, 12)
    with pytest.raises(NotImplementedError, match="arguments from the 'CPU' backend"):
        flambeau.ops.quantized.linear_prepack(flambeau.from_numpy(w))
    agree(lambda fl: fl.ops.quantized.nothing, raises=AttributeError)


@pytest.mark.parity
def test_schemas(torch):
    """Every schema here is PyTorch's."""
    assert flambeau.ops.quantized.linear  # loads them
    from flambeau.library import DEFINED

    known = {str(s) for s in torch._C._jit_get_all_schemas() if s.name.startswith(("quantized::", "_quantized::"))}
    ours = {
        d.schema
        for space in ("quantized", "_quantized")
        for overloads in DEFINED[space].values()
        for d in overloads.values()
    }
    plain = {s.replace(" ", "") for s in known}
    assert not [s for s in ours if s.replace(" ", "") not in plain]
