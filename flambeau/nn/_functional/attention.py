"""Multi-head attention with its projections, biases, masks and returned weights."""

import math
import warnings

import flambeau
from flambeau import Tensor

from .activation import softmax
from .dropout import dropout
from .override import overridable

nn = flambeau._C._nn


def _assert(condition, message):
    if not condition:
        raise AssertionError(message)


def _mha_shape_check(query, key, value, key_padding_mask, attn_mask, num_heads):
    """Whether the query is batched; raises unless everything else fits it."""
    rank = query.dim()
    _assert(rank in (2, 3), f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor")
    kind = f"For {'batched' if rank == 3 else 'unbatched'} ({rank}-D) `query`, expected "
    _assert(
        key.dim() == rank and value.dim() == rank,
        f"{kind}`key` and `value` to be {rank}-D but found {key.dim()}-D and {value.dim()}-D tensors respectively",
    )
    if key_padding_mask is not None:
        _assert(
            key_padding_mask.dim() == rank - 1,
            f"{kind}`key_padding_mask` to be `None` or {rank - 1}-D but found {key_padding_mask.dim()}-D tensor "
            "instead",
        )
    if attn_mask is not None:
        _assert(
            attn_mask.dim() in (2, 3),
            f"{kind}`attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D tensor instead",
        )
        if rank == 2 and attn_mask.dim() == 3:
            expected = (num_heads, query.shape[0], key.shape[0])
            _assert(
                attn_mask.shape == expected,
                f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}",
            )
    return rank == 3


def _canonical_mask(mask, mask_name, other_type, other_name, target_type, check_other=True):
    """The mask as a float one to be added: minus infinity where a boolean one is true."""
    if mask is None:
        return None
    is_float = flambeau.is_floating_point(mask)
    _assert(is_float or mask.dtype == flambeau.bool, f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype != other_type:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    return mask if is_float else flambeau.zeros_like(mask, dtype=target_type).masked_fill_(mask, -math.inf)


def _none_or_dtype(input):
    if input is None or isinstance(input, Tensor):
        return None if input is None else input.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


def _check_key_padding_mask(mask, src_len, batch):
    for dim, size in enumerate((batch, src_len)):
        _assert(
            mask.shape[dim] == size,
            f"Expected key_padded_mask.shape[{dim}] to be {size}, but got {mask.shape[dim]}",
        )


def _in_projection_packed(q, k, v, w, b=None):
    """Projects query, key and value by one stacked weight, in as few products as their identity allows."""
    size = q.size(-1)
    if k is not v:
        biases = (None, None, None) if b is None else b.chunk(3)
        return [nn.linear(x, w_x, b_x) for x, w_x, b_x in zip((q, k, v), w.chunk(3), biases, strict=True)]
    if q is k:
        return _unstack(nn.linear(q, w, b), 3, size)
    w_q, w_kv = w.split([size, size * 2])
    b_q, b_kv = (None, None) if b is None else b.split([size, size * 2])
    return [nn.linear(q, w_q, b_q), *_unstack(nn.linear(k, w_kv, b_kv), 2, size)]


def _unstack(x, n, size):
    """Splits the last dimension into ``n`` contiguous tensors."""
    x = x.unflatten(-1, (n, size)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous()
    return [x[i] for i in range(n)]


def _in_projection(q, k, v, w_q, w_k, w_v, b_q=None, b_k=None, b_v=None):
    """Projects query, key and value by a weight each, all to the query's size."""
    size = q.size(-1)
    named = (("query", q, w_q, b_q), ("key", k, w_k, b_k), ("value", v, w_v, b_v))
    for name, x, w, _ in named:
        shape = (size, x.size(-1))
        _assert(w.shape == shape, f"expecting {name} weights shape of {shape}, but got {w.shape}")
    for name, _, _, b in named:
        if b is not None:
            _assert(b.shape == (size,), f"expecting {name} bias shape of {(size,)}, but got {b.shape}")
    return tuple(nn.linear(x, w, b) for _, x, w, b in named)


def _heads(x, static, name, count, head_dim):
    """(length, batch, heads * head_dim) as (batch * heads, length, head_dim), or the static tensor given instead."""
    if static is None:
        return x.view(x.shape[0], count, head_dim).transpose(0, 1)
    _assert(static.size(0) == count, f"expecting {name}.size(0) of {count}, but got {static.size(0)}")
    _assert(static.size(2) == head_dim, f"expecting {name}.size(2) of {head_dim}, but got {static.size(2)}")
    return static


def _check_attn_mask(mask, tgt_len, src_len, count):
    """The mask with a leading dimension of 1 or batch * heads."""
    if mask.dim() not in (2, 3):
        raise RuntimeError(f"attn_mask's dimension {mask.dim()} is not supported")
    size = (tgt_len, src_len) if mask.dim() == 2 else (count, tgt_len, src_len)
    if mask.shape != size:
        raise RuntimeError(f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {size}.")
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _one_longer(*masks):
    """Masks with room for one more key, which nothing hides."""
    return [None if mask is None else nn.pad(mask, (0, 1), "constant", None) for mask in masks]


@overridable
def multi_head_attention_forward(
    query,
    key,
    value,
    embed_dim_to_check,
    num_heads,
    in_proj_weight,
    in_proj_bias,
    bias_k,
    bias_v,
    add_zero_attn,
    dropout_p,
    out_proj_weight,
    out_proj_bias,
    training=True,
    key_padding_mask=None,
    need_weights=True,
    attn_mask=None,
    use_separate_proj_weight=False,
    q_proj_weight=None,
    k_proj_weight=None,
    v_proj_weight=None,
    static_k=None,
    static_v=None,
    average_attn_weights=True,
    is_causal=False,
):
    r""":math:`\mathrm{softmax}(q k^T / \sqrt d + mask)\, v` per head, between projections; and its weights if needed.

    Query (L, N, E), key and value (S, N, E), or without N; the weights are (N, L, S), or (N, heads, L, S) unaveraged.
    """
    batched = _mha_shape_check(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    tgt_len, batch, embed_dim = query.shape
    src_len, count = key.shape[0], batch * num_heads
    attn_mask, key_padding_mask, is_causal = _canonical_masks(
        attn_mask, key_padding_mask, is_causal, need_weights, query.dtype
    )
    _assert(
        embed_dim == embed_dim_to_check,
        f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}",
    )
    head_dim = embed_dim // num_heads
    _assert(head_dim * num_heads == embed_dim, f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")

    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = _separately_projected(query, key, value, weights, in_proj_bias)
    else:
        _assert(key.shape == value.shape, f"key shape {key.shape} does not match value shape {value.shape}")
        _assert(in_proj_weight is not None, "use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _in_projection_packed(query, key, value, in_proj_weight, in_proj_bias)

    if attn_mask is not None:
        attn_mask = _check_attn_mask(attn_mask, tgt_len, src_len, count)
    if bias_k is not None and bias_v is not None:
        _assert(static_k is None, "bias cannot be added to static key.")
        _assert(static_v is None, "bias cannot be added to static value.")
        k = flambeau.cat([k, bias_k.repeat(1, batch, 1)])
        v = flambeau.cat([v, bias_v.repeat(1, batch, 1)])
        attn_mask, key_padding_mask = _one_longer(attn_mask, key_padding_mask)
    else:
        _assert(bias_k is None, "bias_k is set but bias_v is None")
        _assert(bias_v is None, "bias_v is set but bias_k is None")
    q = q.view(tgt_len, count, head_dim).transpose(0, 1)
    k = _heads(k, static_k, "static_k", count, head_dim)
    v = _heads(v, static_v, "static_v", count, head_dim)
    if add_zero_attn:
        k, v = (
            flambeau.cat([x, flambeau.zeros((count, 1, head_dim), dtype=x.dtype, device=x.device)], dim=1)
            for x in (k, v)
        )
        attn_mask, key_padding_mask = _one_longer(attn_mask, key_padding_mask)
    attn_mask = _joined_masks(attn_mask, key_padding_mask, k.size(1), batch, num_heads)

    attend = _attend_weighing if need_weights else _attend
    out, weights = attend(q, k, v, attn_mask, dropout_p if training else 0.0, is_causal, (batch, num_heads))
    out = nn.linear(out.reshape(tgt_len * batch, embed_dim), out_proj_weight, out_proj_bias)
    out = out.view(tgt_len, batch, out.size(1))
    if weights is not None and average_attn_weights:
        weights = weights.mean(dim=1)
    if not batched:
        out = out.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return out, weights


def _canonical_masks(attn_mask, key_padding_mask, is_causal, need_weights, dtype):
    """Both masks as floats to add, and whether the hint that the first one is causal remains."""
    key_padding_mask = _canonical_mask(
        key_padding_mask, "key_padding_mask", _none_or_dtype(attn_mask), "attn_mask", dtype
    )
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        return None, None, True  # the hint says all that the mask says
    attn_mask = _canonical_mask(attn_mask, "attn_mask", None, "", dtype, check_other=False)
    return attn_mask, key_padding_mask, is_causal and key_padding_mask is None


def _separately_projected(query, key, value, weights, bias):
    """The three projections, each with a weight of its own."""
    _assert(
        key.shape[:2] == value.shape[:2],
        f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}",
    )
    for name, weight in zip("qkv", weights, strict=True):
        _assert(weight is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return _in_projection(query, key, value, *weights, *biases)


def _joined_masks(attn_mask, key_padding_mask, src_len, batch, num_heads):
    """One mask to add to the scores of all heads."""
    if key_padding_mask is None:
        return attn_mask
    _check_key_padding_mask(key_padding_mask, src_len, batch)
    hidden = key_padding_mask.view(batch, 1, 1, src_len).expand(-1, num_heads, -1, -1)
    hidden = hidden.reshape(batch * num_heads, 1, src_len)
    return hidden if attn_mask is None else attn_mask + hidden


def _attend_weighing(q, k, v, mask, dropout_p, is_causal, batches):
    """(L, batch * heads, d), and the weights as (batch, heads, L, S). `batches` is (batch, heads)."""
    _assert(not (is_causal and mask is None), "FIXME: is_causal not implemented for need_weights")
    q = q * math.sqrt(1.0 / float(q.size(-1)))
    k = k.transpose(-2, -1)
    weights = flambeau.bmm(q, k) if mask is None else flambeau.baddbmm(mask, q, k)
    weights = softmax(weights, dim=-1)
    if dropout_p > 0.0:
        weights = dropout(weights, p=dropout_p)
    out = flambeau.bmm(weights, v).transpose(0, 1)
    return out, weights.view(*batches, *weights.shape[1:])


def _attend(q, k, v, mask, dropout_p, is_causal, batches):
    """(L, batch, heads, d), by the operator that keeps no weights."""
    if mask is not None:
        mask = mask.unsqueeze(0) if mask.size(0) == 1 else mask.view(*batches, *mask.shape[1:])
    q, k, v = (x.view(*batches, *x.shape[1:]) for x in (q, k, v))
    out = nn.scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    return out.permute(2, 0, 1, 3), None
