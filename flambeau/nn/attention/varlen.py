"""Attention over sequences of different lengths that lie one after another in one tensor, without padding.

PyTorch calls flash attention, which the CPU does not have, and refuses; here the sequences are attended to one by one, on every device.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import flambeau as torch

__all__ = ["varlen_attn", "varlen_attn_out", "AuxRequest"]


class AuxRequest(NamedTuple):
    """What else `varlen_attn` is to give."""

    lse: bool = False


def _window(window_size: Any) -> tuple[int, int]:
    if window_size is None:
        return -1, -1
    if len(window_size) != 2:
        raise ValueError(f"window_size must have length 2, got {len(window_size)}")
    return tuple(window_size)


def _seen(q_len: int, k_len: int, causal: bool, window: tuple[int, int], device: Any) -> Any:
    """Which keys a query sees; their ends are aligned. None: all."""
    left, right = window[0], 0 if causal else window[1]
    if left < 0 and right < 0:
        return None
    away = torch.arange(k_len, device=device) - (torch.arange(q_len, device=device) + k_len - q_len)[:, None]
    mask = torch.ones(q_len, k_len, dtype=torch.bool, device=device)
    if left >= 0:
        mask &= away >= -left
    if right >= 0:
        mask &= away <= right
    return mask


def _one(q: Any, k: Any, v: Any, mask: Any, scale: float | None) -> tuple[Any, Any]:
    """Attention of one sequence and the logarithms of its sums; what sees no key gives zeros."""
    groups = q.size(1) // k.size(1)
    q, k, v = (x.transpose(0, 1).to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v))  # h t d
    k, v = (x.repeat_interleave(groups, 0) for x in (k, v))
    scores = q @ k.mT * (1 / math.sqrt(q.size(-1)) if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    lse = scores.logsumexp(-1)
    blind = lse == -math.inf
    weights = (scores - lse.masked_fill(blind, 0)[..., None]).exp()
    return (weights @ v).transpose(0, 1), lse.masked_fill(blind, math.inf)


def _all(query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, is_causal: bool, scale: float | None, window_size: Any,
         seqused_k: Any = None, block_table: Any = None) -> tuple[Any, Any]:  # fmt: skip
    window = _window(window_size)
    starts_q = cu_seq_q.tolist()
    starts_k = None if cu_seq_k is None else cu_seq_k.tolist()
    used = None if seqused_k is None else seqused_k.tolist()
    outs, sums = [], []
    for i, (begin, end) in enumerate(itertools.pairwise(starts_q)):
        if block_table is not None:
            k, v = (x[block_table[i].clamp(min=0)].flatten(0, 1) for x in (key, value))
        else:
            k, v = (x[starts_k[i] : starts_k[i + 1]] for x in (key, value))
        if used is not None:
            k, v = k[: used[i]], v[: used[i]]
        mask = _seen(end - begin, k.size(0), is_causal, window, query.device)
        out, lse = _one(query[begin:end], k, v, mask, scale)
        outs.append(out.to(query.dtype))
        sums.append(lse.to(torch.float32))
    return torch.cat(outs), torch.cat(sums, 1)


@torch.library.custom_op("torch_attn::_varlen_attn", mutates_args={})
def _varlen_attn(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor, cu_seq_k: torch.Tensor | None,
                 max_q: int, max_k: int, is_causal: bool = False, scale: float | None = None, window_size: list[int] | None = None,
                 enable_gqa: bool = False, seqused_k: torch.Tensor | None = None, block_table: torch.Tensor | None = None,
                 num_splits: int | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    out, lse = _all(query, key, value, cu_seq_q, cu_seq_k, is_causal, scale, window_size, seqused_k, block_table)
    return out, lse, torch.zeros((2,), dtype=torch.uint64, device=query.device)


@_varlen_attn.register_fake
def _(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, scale=None, window_size=None, *_):
    _window(window_size)
    lse = torch.empty((query.size(1), query.size(0)), dtype=torch.float, device=query.device)
    return torch.empty_like(query), lse, torch.empty((2,), dtype=torch.uint64, device=query.device)


@torch.library.custom_op("torch_attn::_varlen_attn_out", mutates_args={"out"})
def _varlen_attn_out(out: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor,
                     cu_seq_k: torch.Tensor | None, max_q: int, max_k: int, is_causal: bool = False, scale: float | None = None,
                     window_size: list[int] | None = None, enable_gqa: bool = False, seqused_k: torch.Tensor | None = None,
                     block_table: torch.Tensor | None = None, num_splits: int | None = None) -> torch.Tensor:  # fmt: skip
    found, lse = _all(query, key, value, cu_seq_q, cu_seq_k, is_causal, scale, window_size, seqused_k, block_table)
    out.copy_(found)
    return lse


@_varlen_attn_out.register_fake
def _(out, query, *_):
    return torch.empty((query.size(1), query.size(0)), dtype=torch.float, device=query.device)


@torch.library.custom_op("torch_attn::_varlen_attn_backward", mutates_args={})
def _varlen_attn_backward(grad_out: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, out: torch.Tensor,
                          lse: torch.Tensor, cu_seq_q: torch.Tensor, cu_seq_k: torch.Tensor, max_q: int, max_k: int, is_causal: bool,
                          rng_state: torch.Tensor, scale: float | None = None, window_size: list[int] | None = None
                          ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    with torch.enable_grad():  # the weights are computed again, as flash attention does
        q, k, v = (x.detach().requires_grad_() for x in (query, key, value))
        again, _ = _all(q, k, v, cu_seq_q, cu_seq_k, is_causal, scale, window_size)
    return torch.autograd.grad(again, (q, k, v), grad_out)


@_varlen_attn_backward.register_fake
def _(grad_out, query, key, value, *_):
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    query, key, value, cu_seq_q, cu_seq_k, ctx.max_q, ctx.max_k, ctx.is_causal, ctx.scale, ctx.window_size, _, seqused_k, block_table, _ = inputs  # fmt: skip
    for name, given in (("seqused_k", seqused_k), ("block_table", block_table)):
        if given is not None:
            raise RuntimeError(f"{name} is an inference-only parameter.")
    ctx.save_for_backward(query, key, value, cu_seq_q, cu_seq_k, *output)


def _backward(ctx: Any, grad_out: Any, grad_lse: Any, grad_rng: Any) -> Any:
    query, key, value, cu_seq_q, cu_seq_k, out, lse, rng_state = ctx.saved_tensors
    grads = torch.ops.torch_attn._varlen_attn_backward(
        grad_out, query, key, value, out, lse, cu_seq_q, cu_seq_k, ctx.max_q, ctx.max_k, ctx.is_causal, rng_state, ctx.scale, ctx.window_size,
    )  # fmt: skip
    return (*grads, *[None] * 11)


_varlen_attn.register_autograd(_backward, setup_context=_setup_context)


def _check_heads(query: Any, key: Any, enable_gqa: bool, paged: bool) -> None:
    of_q, of_k = query.size(1), key.size(2 if paged else 1)
    if not enable_gqa and of_q != of_k:
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={of_q} and Hkv={of_k}. Try setting enable_gqa=True for GQA."
        )
    if enable_gqa and of_q % of_k:
        raise ValueError(
            f"Expect number of query heads to be a multiple of kv heads for GQA but got Hq={of_q} and Hkv={of_k}."
        )


def varlen_attn(query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *, return_aux: AuxRequest | None = None,
                scale: float | None = None, window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False, seqused_k: Any = None,
                block_table: Any = None, num_splits: int | None = None) -> Any:  # fmt: skip
    """Attention within each of the sequences that `query`, `key` and `value` hold one after another.

    Args:
        query: of shape (tokens of all sequences, heads, features); `key` and `value` likewise.
        cu_seq_q, cu_seq_k: where each sequence begins, and where the last one ends.
        max_q, max_k: the longest sequence.
        return_aux: `AuxRequest(lse=True)` asks for the logarithms of the sums of the weights, too.
        scale: what scores are multiplied by; one over the root of the features where it is not given.
        window_size: how many keys to the left and right of its own place a query sees; -1 stands for all, (-1, 0) is causal.
        enable_gqa: keys and values may have fewer heads, each for a group of queries' heads.
        seqused_k: how many keys of each sequence count; without derivatives.
        block_table: the pages of each sequence, where keys and values are a pool of pages; without derivatives.
        num_splits: how flash attention splits its work; nothing here depends on it.

    >>> import flambeau as torch
    >>> x, begins = torch.ones(5, 1, 2), torch.tensor([0, 2, 5], dtype=torch.int32)
    >>> varlen_attn(x, x, x, begins, begins, 3, 3).shape
    torch.Size([5, 1, 2])
    """
    _check_heads(query, key, enable_gqa, block_table is not None)
    out, lse, _ = torch.ops.torch_attn._varlen_attn(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size == (-1, 0), scale, list(window_size), enable_gqa, seqused_k,
        block_table, num_splits,
    )  # fmt: skip
    return (out, lse) if return_aux is not None and return_aux.lse else out


def varlen_attn_out(out: Any, query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *,
                    return_aux: AuxRequest | None = None, scale: float | None = None, window_size: tuple[int, int] = (-1, -1),
                    enable_gqa: bool = False, seqused_k: Any = None, block_table: Any = None, num_splits: int | None = None) -> Any:  # fmt: skip
    """The same, written to `out`; without derivatives."""
    _check_heads(query, key, enable_gqa, block_table is not None)
    lse = torch.ops.torch_attn._varlen_attn_out(
        out, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size == (-1, 0), scale, list(window_size), enable_gqa, seqused_k,
        block_table, num_splits,
    )  # fmt: skip
    return (out, lse) if return_aux is not None and return_aux.lse else out
