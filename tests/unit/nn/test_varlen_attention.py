"""Attention over sequences that lie one after another: PyTorch refuses the CPU, so that dense attention is the measure."""

import pytest

import flambeau as torch
from flambeau.nn.attention.varlen import AuxRequest, varlen_attn, varlen_attn_out
from tests.agree import rand

Q, K = torch.tensor([0, 2, 7, 8], dtype=torch.int32), torch.tensor([0, 3, 9, 9], dtype=torch.int32)


def _dense(q, k, v, mask=None):
    groups = q.size(1) // k.size(1)
    q, k, v = (x.transpose(0, 1) for x in (q, k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1)


def _given(heads=2, kv_heads=2):
    torch.manual_seed(0)
    return [torch.randn(n, h, 4, requires_grad=True) for n, h in ((8, heads), (9, kv_heads), (9, kv_heads))]


@pytest.mark.parametrize("kv_heads", [2, 1])
@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (1, 0), (2, 1)])
def test_each_sequence_is_attended_to_by_itself(window, kv_heads):
    q, k, v = _given(2, kv_heads)
    out, lse = varlen_attn(
        q, k, v, Q, K, 5, 6, window_size=window, enable_gqa=kv_heads == 1, return_aux=AuxRequest(lse=True)
    )
    parts = []
    for a, b, c, d in ((0, 2, 0, 3), (2, 7, 3, 9)):
        away = torch.arange(d - c) - (torch.arange(b - a) + (d - c) - (b - a))[:, None]
        left, right = (99 if w < 0 else w for w in window)
        parts.append(_dense(q[a:b], k[c:d], v[c:d], (away >= -left) & (away <= right)))
    parts.append(torch.zeros(1, 2, 4))  # no keys
    torch.testing.assert_close(out, torch.cat(parts))
    assert lse.shape == (2, 8)
    assert lse[:, 7].isinf().all()
    weight = torch.randn_like(out)
    ours = torch.autograd.grad((out * weight).sum(), (q, k, v))
    theirs = torch.autograd.grad((torch.cat(parts) * weight).sum(), (q, k, v))
    torch.testing.assert_close(ours, theirs)


def test_pages_and_what_is_used_of_them():
    q, k, v = (x.detach() for x in _given())
    pool_k, pool_v = torch.randn(4, 2, 2, 4), torch.randn(4, 2, 2, 4)
    table, used = torch.tensor([[3, 1], [0, 2], [1, 0]], dtype=torch.int32), torch.tensor([3, 4, 1], dtype=torch.int32)
    out = torch.empty_like(q)
    given = varlen_attn_out(out, q, pool_k, pool_v, Q, None, 5, 4, seqused_k=used, block_table=table)
    parts = [
        _dense(q[Q[i] : Q[i + 1]], *(x[table[i]].flatten(0, 1)[: used[i]] for x in (pool_k, pool_v))) for i in range(3)
    ]
    torch.testing.assert_close(out, torch.cat(parts))
    assert given is out
    with pytest.raises(RuntimeError, match="seqused_k is an inference-only parameter"):
        varlen_attn(q.requires_grad_(), k, v, Q, K, 5, 6, seqused_k=used)


def test_compiled_and_without_elements():
    q, k, v = _given()
    run = lambda q, k, v: varlen_attn(q, k, v, Q, K, 5, 6, window_size=(-1, 0)) * 2
    torch.testing.assert_close(torch.compile(run)(q, k, v), run(q, k, v))
    assert varlen_attn(*(x.to("meta") for x in (q, k, v, Q, K)), 5, 6).shape == q.shape


def test_heads_are_checked(agree):
    def call(fl, q, k, **kwargs):
        import importlib

        of = importlib.import_module(f"{fl.__name__}.nn.attention.varlen").varlen_attn
        begins = fl.tensor([0, 3], dtype=fl.int32)
        return of(q, k, k, begins, begins, 3, 3, **kwargs)

    agree(lambda fl, q, k: call(fl, q, k), rand(3, 4, 2), rand(3, 2, 2), raises=ValueError)
    agree(lambda fl, q, k: call(fl, q, k, enable_gqa=True), rand(3, 3, 2), rand(3, 2, 2), raises=ValueError)
    agree(lambda fl, q, k: call(fl, q, k, window_size=(1, 2, 3)), rand(3, 2, 2), rand(3, 2, 2), raises=ValueError)
