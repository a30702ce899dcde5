"""Scaled dot-product attention: softmax(q k^T * scale + mask) v."""

from __future__ import annotations

import math

from flambeau._kernel.language import T
from flambeau._operators.op import composite
from flambeau._tensor import Tensor


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool) -> None:
    if not (query.dtype is key.dtype is value.dtype):
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{_name(query)} key.dtype: {_name(key)} and value.dtype: {_name(value)} instead."
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
                f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: {_name(mask)} and  "
                f"query.dtype: {_name(query)} instead."
            )
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )


def _name(t: Tensor) -> str:
    names = {
        "float32": "float",
        "float64": "double",
        "int64": "long int",
        "int32": "int",
        "float16": "c10::Half",
        "bfloat16": "c10::BFloat16",
    }
    return names.get(t.dtype.name, t.dtype.name)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool, scale: float | None,
            enable_gqa: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    if enable_gqa:
        if query.ndim < 4:
            raise RuntimeError("Expected query to have at least 4 dimensions for grouped attention")
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None and query.shape[-1] else 1.0 if scale is None else scale
    scores = (query * factor) @ key.mT
    if is_causal:
        allowed = query.new_ones((query.shape[-2], key.shape[-2])).bool().tril()
        scores = scores.masked_fill(allowed.logical_not(), -math.inf)
    elif mask is not None:
        scores = (
            scores.masked_fill(mask.logical_not(), -math.inf)
            if mask.dtype.kind == "b"
            else scores + mask.to(scores.dtype)
        )
    weights = scores.softmax(-1)
    if mask is not None and mask.dtype.kind == "b":  # a row without any allowed key attends to nothing
        weights = weights.masked_fill(mask.any(-1, keepdim=True).logical_not(), 0.0)
    if dropout_p > 0:
        weights = weights * weights.new_empty(weights.shape).bernoulli_(1 - dropout_p).div_(1 - dropout_p)
    return weights @ value, weights


@composite("scaled_dot_product_attention", namespace="nn", variants=("function",))
def scaled_dot_product_attention(query: T, key: T, value: T, attn_mask: T | None = None, dropout_p: float = 0.0, is_causal: bool = False, *,
                                 scale: float | None = None, enable_gqa: bool = False) -> T:  # fmt: skip
    """softmax(query key^T * scale + mask) value over the last two dims; scale is 1/sqrt(width) by default."""
    _check(query, key, value, attn_mask, is_causal)
    return _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)[0]


@composite("_scaled_dot_product_attention_math", variants=("function",))
def _scaled_dot_product_attention_math(query: T, key: T, value: T, attn_mask: T | None = None, dropout_p: float = 0.0, is_causal: bool = False,
                                       dropout_mask: T | None = None, *, scale: float | None = None, enable_gqa: bool = False) -> T:  # fmt: skip
    """`scaled_dot_product_attention`, and the weights."""
    return _attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
