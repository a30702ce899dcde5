"""Nested tensors of both layouts: construction, sizes, views, arithmetic, products, gradients, files; each program runs under PyTorch too."""

import io

import numpy as np
import pytest

from tests.agree import rand

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch calls nested tensors a prototype
LAYOUTS = ("strided", "jagged")


def nested(fl, *arrays, layout="jagged", **kwargs):
    members = [fl.tensor(a) if isinstance(a, np.ndarray) else a for a in arrays]
    return fl.nested.nested_tensor(members, layout=getattr(fl, layout), **kwargs)


def as_nested(fl, *tensors, layout="jagged", **kwargs):
    return fl.nested.as_nested_tensor(list(tensors), layout=getattr(fl, layout), **kwargs)


def parts(t):
    """What a nested tensor is made of; a dense one is itself."""
    if isinstance(t, (tuple, list)):
        return [parts(x) for x in t]
    if not getattr(t, "is_nested", False):
        return t
    if str(t.layout) == "torch.jagged":
        size = ["j" if type(n).__name__ == "SymInt" else n for n in t.shape]
        return size, t.values(), t.offsets(), t.lengths(), t.is_contiguous()
    return t._nested_tensor_size(), t._nested_tensor_strides(), t._nested_tensor_storage_offsets(), list(t.unbind())


A, B, C = rand(2, 3), rand(4, 3, seed=1), rand(1, 3, seed=2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_construction(agree, layout):
    def program(fl, a, b):
        t = as_nested(fl, a, b, layout=layout)
        u = nested(fl, [[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], layout=layout)
        v = fl.nested.as_nested_tensor(fl.stack([a, a]), layout=getattr(fl, layout))
        return (parts(t), parts(u), parts(v), t.is_nested, str(t.layout), t.dim(), t.ndim, t.size(0), t.size(-1), t.numel(), t.dtype,
                t.nbytes, t.element_size(), t.device.type, t.is_leaf, t.requires_grad, t.storage_offset())  # fmt: skip

    agree(program, A, B, grads=0)
    agree(
        lambda fl, a, b: as_nested(fl, a, b, layout=layout, dtype=fl.float64).unbind(),
        A.astype("float32"),
        B.astype("float32"),
    )
    agree(lambda fl, a: fl.nested.as_nested_tensor(fl.arange(3.0)), A, raises=RuntimeError)
    agree(lambda fl, a: fl.nested.as_nested_tensor(3), A, raises=TypeError)
    agree(lambda fl, a: nested(fl, [1.0], layout="sparse_coo"), A, raises=RuntimeError)


def test_what_cannot_be_made(agree):
    agree(lambda fl: nested(fl), raises=RuntimeError)
    agree(lambda fl: nested(fl, 1.0), raises=RuntimeError)
    agree(lambda fl: nested(fl, np.ones((2, 3)), np.ones((3, 2))), raises=RuntimeError)
    agree(lambda fl: nested(fl, np.ones(2), np.ones((3, 2))), raises=RuntimeError)
    agree(lambda fl: nested(fl, np.ones(2), np.ones(3, "int32")), raises=RuntimeError)
    agree(lambda fl: nested(fl, np.ones(2), np.ones((3, 2)), layout="strided"), raises=RuntimeError)
    agree(lambda fl: fl.nested.nested_tensor(3), raises=TypeError)
    agree(lambda fl: fl.nested.nested_tensor_from_jagged(fl.ones(3)), raises=RuntimeError)
    agree(
        lambda fl: fl.nested.nested_tensor_from_jagged(fl.ones(3), fl.tensor([0, 3]), jagged_dim=0), raises=ValueError
    )


def test_from_parts(agree):
    def program(fl, v):
        offsets, lengths = fl.tensor([0, 2, 3, 6]), fl.tensor([1, 1, 2])
        f = fl.nested.nested_tensor_from_jagged
        made = f(v, offsets), f(v, lengths=fl.tensor([2, 4])), f(v, offsets, lengths), f(v.t(), offsets, jagged_dim=2)
        return (
            [parts(t) for t in made],
            [list(t.unbind()) for t in made],
            [t.numel() for t in made],
            made[0].offsets() is offsets,
        )

    agree(program, rand(6, 2), grads=0)

    def narrowed(fl, x):
        n = fl.nested.narrow
        t = n(x, 1, fl.tensor([0, 1, 1]), fl.tensor([2, 2, 1]), layout=fl.jagged)
        u = n(x, 1, 1, 2, layout=fl.jagged)
        w = n(x, 1, 0, 4, layout=fl.jagged)
        return parts(t), parts(u), parts(w), list(t.unbind()), parts(n(x, 0, 1, 2))

    agree(narrowed, rand(3, 4, 2), grads=0)
    agree(lambda fl, x: fl.nested.narrow(x, 0, 0, 2, layout=fl.jagged), rand(3, 4), raises=RuntimeError)
    agree(lambda fl, x: fl.nested.narrow(x, 1, fl.tensor([0]), 2), rand(3, 4), raises=RuntimeError)
    agree(lambda fl, x: parts(fl.nested.masked_select(x, x > 0)), rand(3, 4))


def test_ragged_sizes(agree):
    def program(fl):
        t, u = nested(fl, A, B), nested(fl, A, B)
        j, k = t.shape[1], u.size(1)
        return (j == j, j == k, j != k, j == 2, j >= 2, j < 2, j > 1, 2 * j == j * 2, isinstance(j, int), isinstance(j, fl.SymInt), bool(j),
                t.shape == (t + 1).shape, t.shape == u.shape, t.is_same_size(u), str(2 * j) == "2*" + str(j), t.stride()[0] == 3 * j,
                f"{t.shape}" == f"torch.Size([2, {j}, 3])", hash(j) == hash(t.shape[1]), len(t))  # fmt: skip

    agree(program)
    agree(lambda fl: nested(fl, A, B).shape[1] > 2, raises=ValueError)
    agree(lambda fl: nested(fl, A, B).shape[1] * nested(fl, A).shape[1], raises=ValueError)
    agree(lambda fl: nested(fl, A, B).shape[1] + 1, raises=AttributeError)
    agree(lambda fl: int(nested(fl, A, B).shape[1]), raises=AttributeError)
    agree(lambda fl: nested(fl, A, B, layout="strided").shape, raises=RuntimeError)
    agree(lambda fl: nested(fl, A, B, layout="strided").size(1), raises=RuntimeError)
    agree(lambda fl: nested(fl, A, B, layout="strided").size(5), raises=IndexError)
    agree(lambda fl: len(nested(fl, A, B, layout="strided")), raises=RuntimeError)


def test_repr(agree):
    def program(fl):
        t = nested(fl, A, B, layout="strided")
        u = fl.nested.nested_tensor([fl.ones(1, 2, 2), fl.zeros(2, 1, 2)], requires_grad=True)
        j = nested(fl, A, B)
        size = str(tuple(j.shape))
        return (
            repr(t),
            str(u),
            repr(fl.nested.nested_tensor([])),
            repr(t > 0),
            repr(j).replace(size, "") if size in repr(j) else "",
        )

    agree(program)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name", ["sin", "relu", "neg", "abs", "tanh", "cos", "sgn", "isnan", "logical_not", "clone", "double", "int"]
)
def test_unary(agree, layout, name):
    lacking = name == "sgn" or (name == "tanh" and layout == "strided")  # PyTorch has no derivative of these
    grads = 0 if lacking or name in ("isnan", "logical_not", "int") else 1
    agree(lambda fl, a, b: getattr(as_nested(fl, a, b, layout=layout), name)().unbind(), A, B, grads=grads)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arithmetic(agree, layout):
    def program(fl, a, b):
        t = as_nested(fl, a, b, layout=layout)
        u = t * 2 - 1
        return [
            x.unbind()
            for x in (
                u,
                t + u,
                t * u,
                u - t,
                3 + t,
                t / 2,
                t / u,
                -t,
                fl.nn.functional.gelu(t),
                fl.nn.functional.silu(t),
            )
        ]

    agree(program, A, B, grads=1)

    def in_place(fl, a, b):
        t = nested(fl, A, B, layout=layout)
        t.add_(1).mul_(2)
        u = t.clone().fill_(3)
        t.copy_(t * 2)
        return [
            x.unbind() for x in (t, u, fl.zeros_like(t), fl.ones_like(t), t.masked_fill(t > 1, 0.0), t.eq(1), t.ge(0))
        ]

    agree(in_place, A, B)


def test_jagged_broadcasting(agree):
    def program(fl, a, b, row, rows, one):
        t = as_nested(fl, a, b)
        return [
            x.unbind()
            for x in (t + row, row - t, t * rows, rows / t, t * one, t.clamp(0, 1), t**2, fl.where(t > 0, t, row))
        ]

    agree(program, np.abs(A) + 1, np.abs(B) + 1, rand(3), rand(2, 1, 3, seed=5), rand(1, 1, 1), grads=1)
    agree(lambda fl, x: nested(fl, A, B) + fl.ones(1, 1, 1, 1), A, raises=NotImplementedError)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views(agree, layout):
    def program(fl, a, b):
        t = as_nested(fl, a, b, layout=layout)
        made = [t.transpose(1, 2), t.mT, t.unsqueeze(-1), t.unsqueeze(2).squeeze(2), t.view(2, -1, 3), t.reshape(2, -1, 1, 3), t.contiguous(),
                t.transpose(1, 2).contiguous(), *t.chunk(3, -1), t[..., 1]]  # fmt: skip
        return [parts(x) for x in made], t[0], t[1, 1], t[-1], t.select(0, 1)

    agree(program, A, B, grads=0)
    agree(
        lambda fl, a, b: (as_nested(fl, a, b, layout=layout)[1] * 2, as_nested(fl, a, b, layout=layout).mT.unbind()),
        A,
        B,
        grads=1,
    )


@pytest.mark.parametrize("program", [
    lambda t: t.unbind(1), lambda t: t.transpose(0, 1), lambda t: t.chunk(2, 1), lambda t: t[0:1], lambda t: t.permute(1, 0, 2),
    lambda t: t.view(2, -1), lambda t: t.view(3, -1, 3), lambda t: t.squeeze(0), lambda t: t.flatten(), lambda t: t.sum(0), lambda t: t.sort(),
    lambda t: t.softmax(0), lambda t: t @ t, lambda t: t.expand(3, 2, 3), lambda t: t.cumsum(-1), lambda t: t.tolist(), lambda t: t.numpy(),
    lambda t: t.item(), lambda t: bool(t), lambda t: t.index_select(0, t), lambda t: t.repeat(1, 1, 2),
])  # fmt: skip
@pytest.mark.parametrize("layout", LAYOUTS)
def test_refusals(agree, layout, program):
    def run(fl):
        try:
            program(nested(fl, A, B, layout=layout))
        except (RuntimeError, IndexError, ValueError, AttributeError, TypeError) as error:
            said = str(error).partition("This could be because")[0]
            return type(error).__name__, "".join(c for c in said if not c.isdigit()).partition("linalg_vector_norm")[
                0
            ].partition("norm.")[0]
        return "nothing was refused"

    agree(run)


def test_reductions(agree):
    def program(fl, a, b):
        t = as_nested(fl, a, b)
        return t.sum(), t.mean(), t.amax(1)

    agree(program, A, B, grads=1)

    def forward(fl):
        t = nested(fl, A, B)
        made = (t.sum(1), t.mean(1), t.sum((0, 1)), t.sum((0, 1, 2)), t.max(), t.amin(1, keepdim=True), t.prod(1), t.max(1), t.argmin(1), t.sum(-1), t.mean(-1, keepdim=True),
                t.amax(-1), t.max(-1).values, (t > 0).any(), (t > 0).all(-1))  # fmt: skip
        return [parts(x) for x in made]

    agree(forward)
    agree(lambda fl, a, b: as_nested(fl, a, b, layout="strided").sum(-1, keepdim=True).unbind(), A, B, grads=1)
    agree(lambda fl, a, b: as_nested(fl, a, b, layout="strided").sum(-1), A, B, raises=RuntimeError)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding(agree, layout):
    agree(lambda fl, a, b: as_nested(fl, a, b, layout=layout).to_padded_tensor(-1.5), A, B, grads=1)
    agree(
        lambda fl, a, b: fl.nested.to_padded_tensor(as_nested(fl, a, b, layout=layout), 0.0, (2, 5, 3)), A, B, grads=1
    )
    agree(lambda fl: nested(fl, np.array([1, 2]), np.array([3]), layout=layout).to_padded_tensor(0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_network(agree, layout):
    def program(fl, a, b, w, bias, table):
        f = fl.nn.functional
        t = as_nested(fl, a, b, layout=layout)
        h = f.relu(f.linear(t, w, bias))
        if layout == "strided":  # PyTorch has no derivatives of the rest
            return h.unbind()
        h = f.layer_norm(h, (4,), fl.ones(4, dtype=h.dtype), fl.zeros(4, dtype=h.dtype))
        i = nested(fl, np.array([0, 2]), np.array([1]), layout=layout)
        return h.unbind(), h.softmax(-1).unbind(), f.embedding(i, table).unbind(), f.dropout(h, 0.0).unbind()

    agree(program, A, B, rand(4, 3), rand(4), rand(5, 2), grads=1)

    def forward(fl):
        f, t, i = (
            fl.nn.functional,
            nested(fl, A, B, layout=layout),
            nested(fl, np.array([0, 2]), np.array([1]), layout=layout),
        )
        h = f.layer_norm(t, (3,), fl.ones(3, dtype=t.dtype), fl.zeros(3, dtype=t.dtype))
        return [x.unbind() for x in (h, t.softmax(1), t.softmax(-1), f.dropout(t, 0.0), f.embedding(i, fl.eye(3)))]

    agree(forward)


def test_products(agree):
    def program(fl, a, b, w, rows):
        t = as_nested(fl, a, b)
        return (t @ w).unbind(), (t @ rows).unbind(), t.transpose(1, 2) @ t, (w.mT @ t.transpose(1, 2)).unbind()

    agree(program, A, B, rand(3, 4), rand(2, 3, 5), grads=1)
    agree(
        lambda fl, a, b: as_nested(fl, a, b, layout="strided").bmm(as_nested(fl, a, b, layout="strided").mT).unbind(),
        A,
        B,
        grads=1,
    )


def test_attention(agree):
    def program(fl, q1, q2, k1, k2):
        q, k = (as_nested(fl, *x).unflatten(-1, (2, 4)).transpose(1, 2) for x in ((q1, q2), (k1, k2)))
        return fl.nn.functional.scaled_dot_product_attention(q, k, k * 0.5).transpose(1, 2).unbind()

    agree(program, rand(2, 8), rand(3, 8, seed=1), rand(4, 8, seed=2), rand(1, 8, seed=3), grads=1)
    agree(
        lambda fl, q: fl.nn.functional.scaled_dot_product_attention(as_nested(fl, q), q, q),
        rand(2, 8),
        raises=ValueError,
    )


def test_gradients_are_nested(agree):
    def program(fl):
        out = []
        for layout in LAYOUTS:
            t = nested(fl, A, B, layout=layout, requires_grad=True)
            seen = []
            t.register_hook(lambda g: seen.append(g.is_nested))  # noqa: B023
            (t.sin() * t).values().sum().backward()
            (g,) = fl.autograd.grad((t * t).values().sum(), t)
            out.append((t.grad.unbind(), g.unbind(), seen[0], str(t.grad.layout)))
        return out

    agree(program)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_joined(agree, layout):
    if layout == "jagged":
        agree(
            lambda fl, a, b: [
                parts(x(fl)(2 * [as_nested(fl, a, b)], -1)) for x in (lambda fl: fl.cat, lambda fl: fl.stack)
            ],
            A,
            B,
        )
    agree(lambda fl, a, b: fl.cat([t * 2 for t in as_nested(fl, a, b, layout=layout).unbind()]), A, B, grads=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies_and_files(agree, layout):
    import copy

    def program(fl):
        t = nested(fl, A, B, layout=layout, requires_grad=layout == "jagged")
        file = io.BytesIO()
        fl.save(t, file)
        file.seek(0)
        back = fl.load(file, weights_only=layout == "jagged")
        deep = copy.deepcopy(t) if layout == "jagged" else t.clone()  # PyTorch cannot
        return (
            parts(back),
            parts(deep),
            deep.requires_grad,
            parts(t.detach()),
            parts(t.data),
            t.to("cpu") is t,
            t.type(),
        )

    agree(program, grads=0)


@pytest.mark.parity
@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_both_ways(torch, layout):
    import flambeau

    for writer, reader in ((torch, flambeau), (flambeau, torch)):
        file = io.BytesIO()
        t = nested(writer, A, B, layout=layout)
        writer.save({"x": t}, file)
        back = reader.load(io.BytesIO(file.getvalue()), weights_only=True)["x"]
        assert back.is_nested
        assert [m.tolist() for m in back.unbind()] == [m.tolist() for m in t.unbind()]


def test_encoder(agree):
    def program(fl, x):
        fl.manual_seed(0)
        layer = fl.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        encoder = fl.nn.TransformerEncoder(layer, 2)
        encoder.eval()
        padding = fl.tensor([[False, False, False], [False, True, True]])
        with fl.no_grad():
            return encoder(x, src_key_padding_mask=padding)

    agree(program, rand(2, 3, 8).astype("float32"), rtol=1e-5, atol=1e-5)
