"""Scaled dot-product attention, as PyTorch has it: masks, layouts, dtypes, shared heads, rows that see nothing."""

import math

import pytest

from tests.agree import rand

Q, K, V = (rand(2, 3, n, 4, seed=i, dtype="float32") for i, n in enumerate((7, 9, 9)))


def attend(t, *tensors, **how):
    return t.nn.functional.scaled_dot_product_attention(*tensors, **how)


def boolean(t, q, k, v):
    mask = t.arange(63).reshape(7, 9) % 5 < 3
    mask[3] = False
    return attend(t, q, k, v, mask)


def additive(t, q, k, v):
    mask = t.linspace(-1, 1, 126, dtype=q.dtype).reshape(2, 1, 7, 9).clone()
    mask[:, :, 3], mask[:, :, :, 5] = -math.inf, -math.inf
    return attend(t, q, k, v, mask)


def special(t, q, k, v):
    q = q.clone()
    q.data[0, 0, 3, 3], q.data[0, 1, 3, 3] = math.nan, math.inf
    return attend(t, q, t.cat([k] * 4, 2), t.cat([v] * 4, 2))  # in PyTorch a few keys lose a NaN


FORMS = {
    "plain": attend,
    "causal": lambda t, q, k, v: attend(t, q, k, v, is_causal=True),
    "few queries": lambda t, q, k, v: attend(t, q[:, :, :1], k, v),
    "more queries than keys": lambda t, q, k, v: attend(t, k, q, q, is_causal=True),
    "negative scale": lambda t, q, k, v: attend(t, q, k, v, scale=-0.5),
    "boolean mask": boolean,
    "added mask": additive,
    "mask of keys": lambda t, q, k, v: attend(t, q, k, v, (t.arange(18) % 5 < 3).reshape(2, 1, 1, 9)),
    "heads inside": lambda t, q, k, v: attend(t, *(x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))),
    "not a number": special,
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("form", FORMS)
def test_forms(agree, form, dtype):
    def program(t, q, k, v):
        return FORMS[form](t, *(x.to(getattr(t, dtype)) for x in (q, k, v)))

    wide = {} if dtype[:5] == "float" and dtype != "float16" else {"rtol": 2e-2, "atol": 2e-2}
    agree(program, Q, K, V, strides=True, **wide)


def test_layouts_where_pytorch_computes_the_weights(agree):
    agree(lambda t, q, k, v: attend(t, q, k, v[..., :3]), Q, K, V)
    agree(lambda t, q, k, v: attend(t, q[0], k[0], v[0], is_causal=True), Q, K, V)
    agree(lambda t, q, k, v: attend(t, q[0, 0], k[0, 0], v[0, 0]), Q, K, V)
    agree(lambda t, q, k, v: attend(t, q[:1], k, v[:, :1]), Q, K, V)
    agree(lambda t, q, k, v: attend(t, q[..., ::2], k[..., ::2], v[..., ::2]), Q, K, V)
    agree(lambda t, q, k, v: attend(t, q[:, :, :0], k, v), Q, K, V)
    agree(lambda t, q, k, v: attend(t, q, k[:, :, :0], v[:, :, :0]), Q, K, V)
    agree(lambda t, q, k, v, m: attend(t, q, k, v, m), Q, K, V, rand(7, 9, dtype="float32"))
    agree(lambda t, q, k, v: attend(t, q, k, v, dropout_p=0.4), Q, K, V)


def test_heads_that_share_keys(agree):
    q = rand(2, 6, 5, 4, dtype="float32")
    agree(lambda t, q, k, v: attend(t, q, k, v, enable_gqa=True, is_causal=True), q, K, V, strides=True)
    agree(lambda t, q, k, v: attend(t, q[:, :4], k, v, enable_gqa=True), q, K, V, raises=RuntimeError)


def test_transformer_layer(agree):
    def program(t, x):
        layer = t.nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
        mask = t.nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        hidden = t.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2]) % 4 == 3
        return layer(x), layer(x, mask, is_causal=True), layer(x, mask), layer(x, src_key_padding_mask=hidden)

    agree(program, rand(3, 5, 16, dtype="float32"), rtol=1e-4, atol=1e-5)


def test_derivatives_of_every_order():
    import flambeau as torch

    q, k, v = (torch.randn(1, h, n, 3, dtype=torch.float64, requires_grad=True) for h, n in ((4, 5), (2, 6), (2, 6)))
    mask = torch.arange(30).reshape(5, 6) % 4 < 3
    for how in ({}, {"is_causal": True}, {"attn_mask": mask}, {"scale": -0.3}):
        f = lambda *x, how=how: attend(torch, *x, enable_gqa=True, **how)
        assert torch.autograd.gradcheck(f, (q, k, v))
        assert torch.autograd.gradgradcheck(f, (q, k, v))


def test_the_graph_names_what_ran():
    import flambeau as torch

    q = torch.randn(1, 2, 4, 8, requires_grad=True)
    assert attend(torch, q, q, q).grad_fn.name() == "ScaledDotProductFlashAttentionForCpuBackward0"
