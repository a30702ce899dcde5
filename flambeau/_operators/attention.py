"""Scaled dot-product attention: softmax(q k^T * scale + mask) v.

`scaled_dot_product_attention` runs as one fused operator with a fused derivative; where the weights themselves are needed
(dropout, a mask with a gradient, a backward pass that is recorded), in tensor operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau._kernel.language import Dim, DType, Kernel, T
from flambeau._operators._factors import same_dtypes
from flambeau._operators.op import composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import C_NAMES, SPOKEN, dtype, float32, int64, of
from flambeau._values.shape import broadcast


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> None:
    if not (query.dtype is key.dtype is value.dtype):
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{C_NAMES[query.dtype]} key.dtype: {C_NAMES[key.dtype]} and value.dtype: {C_NAMES[value.dtype]} instead."
        )
    if query.ndim < 2 or key.ndim < 2 or value.ndim < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{query.ndim} key.dim: {key.ndim} and value.dim: {value.ndim} instead."
        )
    if mask is not None:
        if (
            mask.dtype is not query.dtype
            and mask.dtype.kind != "b"
            and not (mask.dtype.name == "float32" and query.dtype.is_floating_point)
        ):
            raise RuntimeError(
                f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: {C_NAMES[mask.dtype]} and  "
                f"query.dtype: {C_NAMES[query.dtype]} instead."
            )
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )


# ---------------------------------------------------------------- in tensor operations


@op("_safe_softmax", promote="default", variants=("function",), packed=True, lacks=("bic", "softmax_kernel_impl"))
def _safe_softmax(k: Kernel[T], input: T, dim: Dim, dtype: DType | None = None) -> T:
    """`softmax`, but zeros for a row of -inf alone."""
    x = input if dtype is None else k.cast(input, dtype)
    if x.ndim and not x.shape[dim]:
        return x * 1.0
    e, _, total = _exponentials(k, x, dim)
    return e / total


_safe_softmax.vjp(input=lambda g, out, dim: out * (g - (out * g).sum(dim, keepdim=True)))


def _exponentials(k: Any, x: Any, dim: int) -> tuple[Any, Any, Any]:
    """Exponentials of x less its maximum, that maximum, and their sums; 0, -inf and 1 where all of x is -inf."""
    top = k.max(x, [dim])
    e = k.exp(x - k.where(k.eq(top, k.like(-math.inf, x)), k.like(0.0, x), top))
    total = k.sum(e, [dim])
    return e, top, k.where(k.eq(total, k.like(0.0, x)), k.like(1.0, x), total)


def _grouped(query: Tensor, x: Tensor) -> Tensor:
    """Each head of keys or values as often as queries share it."""
    return x if x.shape[-3] == query.shape[-3] else x.repeat_interleave(query.shape[-3] // x.shape[-3], -3)


def _factor(width: int, scale: float | None) -> float:
    return scale if scale is not None else 1 / math.sqrt(width) if width else 1.0


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, factor: float) -> Tensor:
    """softmax(q k^T * factor + mask)."""
    scores = (query * factor) @ key.mT
    if is_causal:
        allowed = query.new_ones((query.shape[-2], key.shape[-2])).bool().tril()
        scores = scores.masked_fill(allowed.logical_not(), -math.inf)
    elif mask is not None:
        hidden = mask.dtype.kind == "b"
        scores = scores.masked_fill(mask.logical_not(), -math.inf) if hidden else scores + mask.to(scores.dtype)
    return _safe_softmax(scores, -1)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool, scale: float | None,
            enable_gqa: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    if enable_gqa:
        key, value = _grouped(query, key), _grouped(query, value)
    weights = _weights(query, key, mask, is_causal, _factor(query.shape[-1], scale))
    if dropout_p > 0:
        weights = weights * weights.new_empty(weights.shape).bernoulli_(1 - dropout_p).div_(1 - dropout_p)
    return weights @ value, weights


# ---------------------------------------------------------------- fused: (batch, heads, length, width)


@op(
    "_scaled_dot_product_flash_attention_for_cpu",
    promote="none",
    variants=("function",),
    outputs=("output", "logsumexp"),
)
def flash_attention(k: Kernel[T], query: T, key: T, value: T, dropout_p: float = 0.0, is_causal: bool = False, *, attn_mask: T | None = None,
           scale: float | None = None) -> tuple[T, T]:  # fmt: skip
    """Attention, and the logarithms of the sums of exponentials. A head of key and value may serve several of query."""
    e, top, total = _exponentials(k, _scores(k, query, key, is_causal, attn_mask, _factor(query.shape[-1], scale)), -1)
    lse = k.log(total) + top
    return _narrow(k, k.matmul(e / total, _heads(k, query, value)), query), k.reshape(lse, lse.shape[:-1])


@flash_attention.arrays
def _(k: Any, query: Any, key: Any, value: Any, dropout_p: float = 0.0, is_causal: bool = False, *, attn_mask: Any = None,
      scale: float | None = None) -> Any:  # fmt: skip
    found = k.library(
        "attention", query, key, value, attn_mask, causal=is_causal, scale=_factor(query.shape[-1], scale)
    )
    if found:
        return found
    out, lse = flash_attention.body(k, query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)
    return k.library("laid_like", out, query), lse


@flash_attention.errors
def _(query: Any, key: Any, value: Any, dropout_p: float, is_causal: bool, attn_mask: Any, scale: float | None) -> None:
    _check_flash(query, key, value, dropout_p, attn_mask)


def _check_flash(query: Any, key: Any, value: Any, dropout_p: float, mask: Any) -> None:
    """Sizes and dtypes that the kernels rely on: they look at nothing themselves."""
    ours = "scaled_dot_product_attention_flash_attention: "
    shapes = [t._a.shape for t in (query, key, value)]
    if [s for s in shapes if len(s) != 4]:
        raise RuntimeError(f"{ours}Accept only 4 dims inputs shape of {{B, H, T, K}}")
    if not query.dtype.is_floating_point or query.dtype.itemsize == 1:
        raise RuntimeError(
            f"{ours}Expected data type in FP32, FP64, BF16, FP16, but got {SPOKEN[query.dtype]} instead."
        )
    for t in (key, value):
        same_dtypes(query, t)
    if dropout_p > 0:
        raise RuntimeError(f"{ours}Currently do not support dropout > 0")
    (b, h, t, d), (kb, kh, kt, kd), (vb, vh, vt, _) = shapes
    if d != kd:
        raise RuntimeError(f"{ours}Q/K/V should have the same head size")
    if not (b == kb == vb and kh == vh and kt == vt) or (h % kh if kh else h):
        raise RuntimeError(
            f"{ours}sizes do not fit: {list(query.shape)}, {list(key.shape)} and {list(value.shape)}"
        )  # PyTorch reads what lies beyond
    if mask is None:
        return
    if mask.dtype.kind != "b" and mask.dtype is not query.dtype and mask.dtype is not float32:
        raise RuntimeError(f"{ours}Attention mask is the same data type as query")
    if mask.ndim > 4 or any(m not in (1, n) for m, n in zip(reversed(mask.shape), (kt, t, h, b), strict=False)):
        raise RuntimeError(f"{ours}a mask of size {list(mask.shape)} does not expand to {[b, h, t, kt]}")


@op("_scaled_dot_product_flash_attention_for_cpu_backward", promote="none", variants=("function",), differentiable=False,
    outputs=("grad_query", "grad_key", "grad_value"))  # fmt: skip
def flash_attention_backward(k: Kernel[T], grad_out: T, query: T, key: T, value: T, out: T, logsumexp: T, dropout_p: float, is_causal: bool, *,
                    attn_mask: T | None = None, scale: float | None = None) -> tuple[T, T, T]:  # fmt: skip
    """The gradients of query, key and value; the weights are computed again."""
    factor = _factor(query.shape[-1], scale)
    scores = _scores(k, query, key, is_causal, attn_mask, factor)
    lse = k.reshape(logsumexp, (*logsumexp.shape, 1))
    p = k.exp(scores - k.where(k.eq(lse, k.like(-math.inf, lse)), k.like(0.0, lse), lse))
    g, q = _wide(k, grad_out), _wide(k, query)
    ds = p * (k.matmul(g, _turned(k, _heads(k, query, value))) - k.sum(g * _wide(k, out), [-1]))
    shared: Callable[[T, T], T] = lambda x, like: k.reshape(
        k.sum(k.reshape(x, (*like.shape[:2], -1, *x.shape[2:])), [2]), like.shape
    )
    return (
        _narrow(k, k.matmul(ds, _heads(k, query, key)) * factor, query),
        _narrow(k, shared(k.matmul(_turned(k, ds), q) * factor, key), query),
        _narrow(k, shared(k.matmul(_turned(k, p), g), value), query),
    )


@flash_attention_backward.errors
def _(
    grad_out: Any, query: Any, key: Any, value: Any, out: Any, logsumexp: Any, dropout_p: float, is_causal: bool,
    attn_mask: Any, scale: float | None,
) -> None:  # fmt: skip
    _check_flash(query, key, value, dropout_p, attn_mask)
    wanted = (*query.shape[:3], value.shape[3])
    for name, x, shape in (("grad_out", grad_out, wanted), ("out", out, wanted), ("logsumexp", logsumexp, wanted[:3])):
        if tuple(x.shape) != shape:
            raise RuntimeError(
                "_scaled_dot_product_flash_attention_for_cpu_backward: expected "
                f"{name} of size {list(shape)}, but got {list(x.shape)}"
            )
        narrow = name == "logsumexp" and query.dtype.itemsize < 4
        if x.dtype is not (float32 if narrow else query.dtype):
            raise RuntimeError(
                "_scaled_dot_product_flash_attention_for_cpu_backward: expected "
                f"{name} of {SPOKEN[float32 if narrow else query.dtype]}, but got {SPOKEN[x.dtype]}"
            )


@flash_attention_backward.arrays
def _(k: Any, grad_out: Any, query: Any, key: Any, value: Any, out: Any, logsumexp: Any, dropout_p: float, is_causal: bool, *,
      attn_mask: Any = None, scale: float | None = None) -> Any:  # fmt: skip
    found = k.library("attention_backward", grad_out, query, key, value, out, logsumexp, attn_mask, causal=is_causal,
                      scale=_factor(query.shape[-1], scale))  # fmt: skip
    if found:
        return found
    grads = flash_attention_backward.body(
        k, grad_out, query, key, value, out, logsumexp, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )
    return tuple(k.library("laid_like", g, k.permute(g, (0, 2, 1, 3))) for g in grads)


def _wide(k: Any, x: Any) -> Any:
    return k.cast(x, float32) if x.dtype.itemsize < 4 else x


def _narrow(k: Any, x: Any, like: Any) -> Any:
    return k.cast(x, like.dtype if isinstance(like.dtype, dtype) else of(like.dtype))


def _turned(k: Any, x: Any) -> Any:
    return k.permute(x, (0, 1, 3, 2))


def _heads(k: Any, query: Any, x: Any) -> Any:
    """Keys or values of every head of the query, widened."""
    x = _wide(k, x)
    b, h, t, d = x.shape
    if h == query.shape[1]:
        return x
    return k.reshape(
        k.expand(k.reshape(x, (b, h, 1, t, d)), (b, h, query.shape[1] // h, t, d)), (b, query.shape[1], t, d)
    )


def _scores(k: Any, query: Any, key: Any, is_causal: bool, mask: Any, factor: float) -> Any:
    x = k.matmul(_wide(k, query) * factor, _turned(k, _heads(k, query, key)))
    if is_causal:
        seen = k.ge(k.reshape(k.iota(x.shape[2], int64), (-1, 1)), k.iota(x.shape[3], int64))
        return k.where(seen, x, k.like(-math.inf, x))
    if mask is None:
        return x
    return k.where(mask, x, k.like(-math.inf, x)) if mask.dtype.kind == "b" else x + _wide(k, mask)


def _flash_vjp(g_output: Any, query: Any, key: Any, value: Any, attn_mask: Any, is_causal: Any, scale: Any, output: Any, logsumexp: Any,
               needs: Any, recorded: Any) -> Any:  # fmt: skip
    if not recorded:
        return flash_attention_backward(
            g_output, query, key, value, output, logsumexp, 0.0, is_causal, attn_mask=attn_mask, scale=scale
        )
    factor = _factor(query.shape[-1], scale)
    whole, values = _grouped(query, key), _grouped(query, value)
    p = _weights(query, whole, attn_mask, is_causal, factor)
    dp = p * (g_output @ values.mT)
    ds = (dp - p * dp.sum(-1, keepdim=True)) * factor
    shared: Callable[[Tensor, Tensor], Tensor] = lambda x, like: (
        x if x.shape == like.shape else x.unflatten(1, (like.shape[1], -1)).sum(2)
    )
    return ds @ whole, shared(ds.mT @ query, key), shared(p.mT @ g_output, value)


flash_attention.vjp(_=_flash_vjp)


# ---------------------------------------------------------------- the public operators


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None,
           enable_gqa: bool) -> Tensor | None:  # fmt: skip
    """The fused operator's result, or None where the arguments are not its kind."""
    arrays = [t._a for t in ((query, key, value) if mask is None else (query, key, value, mask))]
    if [a for a in arrays if type(a).__module__ != "numpy" or not a.size or a.ndim > 4]:
        return None
    kind, n = query.dtype, arrays[0].itemsize
    if not kind.is_floating_point or n == 1:
        return None
    if mask is not None and mask.requires_grad:
        return None
    (tq, d), (tk, e) = arrays[0].shape[-2:], arrays[2].shape[-2:]
    if arrays[1].shape[-2:] != (tk, d):
        return None  # says what is wrong with them
    theirs = arrays[0].ndim == 4 and d == e and not [a for a in arrays[:3] if a.strides[-1] != n]  # PyTorch fuses these
    q, k, v = (t if t.ndim == 4 else t.reshape(*(1,) * (4 - t.ndim), *t.shape) for t in (query, key, value))
    heads = [t._a.shape[:2] for t in (q, k, v)]
    if enable_gqa:
        if len({b for b, _ in heads}) != 1 or heads[1] != heads[2]:
            return None
    elif not heads[0] == heads[1] == heads[2]:
        theirs = False
        lead = broadcast(*heads)
        q, k, v = (t.expand(*lead, *t.shape[2:]) for t in (q, k, v))
    if mask is not None:
        if mask.dtype.kind != "b" and mask.dtype is not kind and n == 8:
            mask = mask.to(kind)
        mask = mask.expand(*q.shape[:2], tq, tk)
    out = flash_attention(q, k, v, 0.0, is_causal, attn_mask=mask, scale=scale).output
    out = out if query.ndim == 4 else out.reshape(out.shape[4 - max(query.ndim, key.ndim, value.ndim) :])
    return out if theirs else out.contiguous()


@composite("scaled_dot_product_attention", namespace="nn", variants=("function",), autocast="lower")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False, *,
                                 scale: float | None = None, enable_gqa: bool = False) -> Tensor:  # fmt: skip
    """softmax(query key^T * scale + mask) value over the last two dims; scale is 1/sqrt(width) by default.

    With `enable_gqa`, each head of key and value serves as many heads of query as there are for it.

    >>> torch.nn.functional.scaled_dot_product_attention(torch.zeros(1, 1, 2), torch.ones(1, 2, 2), torch.ones(1, 2, 2))
    tensor([[[1., 1.]]])
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        _check_heads(query, key, value)
    if dropout_p == 0:
        out = _fused(query, key, value, attn_mask, is_causal, scale, enable_gqa)
        if out is not None:
            return out
    return _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)[0]


def _check_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    if query.ndim < 4:
        raise RuntimeError("Expected query to have at least 4 dimensions for grouped attention")
    if query.shape[-3] % key.shape[-3] or query.shape[-3] % value.shape[-3]:
        raise RuntimeError("Number of heads in key and value must divide the number of heads in ")


@composite(
    "_scaled_dot_product_attention_math(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, Tensor? dropout_mask=None, *, float? scale=None, bool enable_gqa=False) -> (Tensor, Tensor)",
    variants=("function",),
)
def _scaled_dot_product_attention_math(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
                                       dropout_mask: Tensor | None = None, *, scale: float | None = None, enable_gqa: bool = False) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`scaled_dot_product_attention`, and the weights."""
    if enable_gqa:
        _check_heads(query, key, value)
    return _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
