"""Readings for the jagged layout: products, normalizations, softmax, dropout, embedding, attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._eager.names import public
from flambeau._eager.nested import dense, is_jagged, jagged_reading
from flambeau._eager.nested.jagged import (
    again,
    contiguous_only,
    like,
    listed,
    longest,
    packed,
    padded,
    same_structure,
    values_of,
)
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import wrap
from flambeau._values.shape import wrap_dim


@jagged_reading("linear")
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    contiguous_only("linear_default", "input: jt, weight: t, bias: t?", input, "input")
    return like(input, REGISTRY["linear"](values_of(input), weight, bias))


@jagged_reading("matmul")
def matmul(input: Any, other: Any) -> Any:
    n, m = input.dim(), other.dim()
    a, b = is_jagged(input), is_jagged(other)
    if a and not b:
        at = input._a.ragged.at
        if n >= 3 and n == m and at < n - 1:
            return _by_rows(input, lambda x: x @ other)
        if m == 2 and n > 2 and at < n - 1:
            return like(input, values_of(input) @ other)
    elif b and not a:
        at = other._a.ragged.at
        if m >= 3 and n == m and at >= 2:
            return _by_rows(other, lambda x: input @ x)
        if n == 2 and m > 2 and at >= 2:
            return like(other, input @ values_of(other))
    elif a and b:
        if n > 3 and m > 3 and same_structure(input, other._a.shape):
            return like(input, values_of(input) @ values_of(other))
        r, s = input._a.ragged, other._a.ragged
        if n == 3 and m == 3 and r.at == 2 and s.at == 1 and r.size == s.size:
            return public("stack")([x @ y for x, y in zip(input.unbind(), other.unbind(), strict=True)])
    shape = listed(input._a.shape) if a else input.shape
    raise RuntimeError(f"matmul(): not supported between inputs of shapes {shape} and {other.shape}")


def _by_rows(t: Any, fn: Any) -> Any:
    """What a function of dense rows makes of a jagged tensor's, with the same structure."""
    return like(t, packed(fn(padded(t, 0.0, longest(t))), t._a.ragged))


@jagged_reading("bmm")
def bmm(input: Any, mat2: Any) -> Any:
    if input.dim() != 3:
        raise ValueError("bmm(): input must be 3D")
    if mat2.dim() != 3:
        raise ValueError("bmm(): mat2 must be 3D")
    return matmul(input, mat2)


@jagged_reading("convolution", "conv1d", "conv2d", "conv3d", needs_op=True)
def convolution(op: Op, input: Any, **rest: Any) -> Any:
    contiguous_only("convolution_default", "input: jt, weight: t, bias: t?, stride: any, padding: any, dilation: any, transposed: any, "
                    "output_padding: any, groups: any", input, "input")  # fmt: skip
    return like(input, dense(op, tuple({"input": values_of(input), **rest}[p.name] for p in op.params)))


# ---------------------------------------------------------------- normalizations, softmax, dropout, embedding


@jagged_reading("layer_norm")
def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
               cudnn_enable: bool = True) -> Any:  # fmt: skip
    n = input.dim()
    if n <= 2:
        raise RuntimeError("layer_norm(): not supported for NestedTensor objects with 2 or fewer dimensions")
    if n == len(normalized_shape):
        raise RuntimeError("layer_norm(): not supported when normalizing over the batch dimension for NestedTensor")
    r = input._a.ragged
    if not any(r.size == s for s in normalized_shape):
        out = REGISTRY["layer_norm"](values_of(input), tuple(normalized_shape), weight, bias, eps)
        return like(input, out)
    if r.lengths is not None:
        raise RuntimeError(
            "layer_norm(): not supported where lengths is not None if operating on the ragged dimension for NestedTensor"
        )
    v = values_of(input)
    lengths = r.counts
    flat = again(v.flatten(r.at), r)
    rows = padded(flat, 0.0, input._get_max_seqlen())
    there = wrap((np.arange(rows.shape[1])[None] < lengths[:, None])[..., None]).expand(rows.shape)
    counts = wrap(lengths[:, None, None] * rows.shape[2])
    centred = (rows - rows.sum((1, 2), keepdim=True) / counts) * there
    spread = (centred.square().sum((1, 2), keepdim=True) / counts + eps).sqrt()
    return like(input, packed(centred / spread, r).unflatten(-1, v.shape[r.at :]))


@jagged_reading("rms_norm")
def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Any:
    if len(normalized_shape) > input.dim() - input._a.ragged.at - 1:
        raise ValueError("rms_norm(): Normalization over the ragged dim not supported for nested tensors")
    return like(input, REGISTRY["rms_norm"](values_of(input), tuple(normalized_shape), weight, eps))


@jagged_reading("softmax.int")
def softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    r, d = input._a.ragged, wrap_dim(dim, input.dim())
    if d == 0:
        raise RuntimeError("softmax(): not supported when reducing across the batch dimension for NestedTensor")
    if d == r.at and r.at > 1:
        raise RuntimeError(
            "softmax(): not supported when reducing along the ragged dimension for ragged_idx > 1 for NestedTensor"
        )
    if d == r.at and r.lengths is not None:
        raise RuntimeError(
            "softmax(): not supported where lengths is not None if reducing across the ragged dimension for NestedTensor"
        )
    v = values_of(input)
    if d != r.at:
        return like(input, v.softmax(d - 1, dtype))
    flat = again(v.reshape(v.shape[0], -1), r)
    rows = padded(flat if dtype is None else flat.to(dtype), float("-inf"), input._get_max_seqlen()).softmax(1)
    return like(input, packed(rows, r).reshape(-1, *v.shape[1:]))


@jagged_reading("log_softmax.int")
def log_softmax(input: Any, dim: int, dtype: Any = None) -> Any:
    d = wrap_dim(dim, input.dim())
    if d == 0:
        raise RuntimeError("log_softmax(): not supported when reducing across the batch dimension for NestedTensor")
    if d == input._a.ragged.at:
        raise RuntimeError("log_softmax(): not supported when reducing along the ragged dimension for NestedTensor")
    return like(input, values_of(input).log_softmax(d - 1, dtype))


@jagged_reading("dropout", "alpha_dropout", "feature_dropout", needs_op=True)
def dropout(op: Op, input: Any, p: float, train: bool) -> Any:
    return like(input, dense(op, (values_of(input), p, train)))


@jagged_reading("native_dropout")
def native_dropout(input: Any, p: float, train: Any = None) -> Any:
    contiguous_only("native_dropout_default", "self: jt, float: any, train: any?", input)
    return tuple(like(input, x) for x in REGISTRY["native_dropout"](values_of(input), p, train))


@jagged_reading("embedding")
def embedding(
    weight: Any, input: Any, padding_idx: Any = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    contiguous_only("embedding_default", "weight: t, indices: jt, padding_idx: any?, scale_grad_by_freq: any?, sparse: any?", input, "indices")  # fmt: skip
    return like(input, REGISTRY["embedding"](weight, values_of(input), padding_idx, scale_grad_by_freq, sparse))


# ---------------------------------------------------------------- attention


@jagged_reading("scaled_dot_product_attention")
def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
              scale: Any = None, enable_gqa: bool = False) -> Any:  # fmt: skip
    _check_attention(query, key, value, attn_mask)
    op = REGISTRY["scaled_dot_product_attention"]
    r = query._a.ragged
    if min(t.dim() for t in (query, key, value)) > 3 and r.at == 1:
        out = op(values_of(query), values_of(key), values_of(value), attn_mask, dropout_p, is_causal, scale=scale)
        return like(query, out)
    if is_causal or not all(t.transpose(1, 2).is_contiguous() for t in (query, key, value)):
        raise RuntimeError("No viable backend for scaled_dot_product_attention was found.")
    each = [
        op(q, k, v, None, dropout_p, False, scale=scale).transpose(0, 1)
        for q, k, v in zip(query.unbind(), key.unbind(), value.unbind(), strict=True)
    ]
    return again(public("cat")(each), r.moved(1)).transpose(1, 2)


def _check_attention(query: Any, key: Any, value: Any, mask: Any) -> None:
    if not (is_jagged(query) and is_jagged(key) and is_jagged(value)):
        raise ValueError(
            f"Expected query, key, and value to be nested tensors, but got query.is_nested: {query.is_nested}, key.is_nested: "
            f"{key.is_nested}, and value.is_nested: {value.is_nested} instead."
        )
    if query.dtype != key.dtype or query.dtype != value.dtype:
        raise ValueError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {query.dtype}, key.dtype: {key.dtype}, and "
            f"value.dtype: {value.dtype} instead."
        )
    if min(t.dim() for t in (query, key, value)) < 3:
        raise ValueError(
            f"Expected query, key, and value to all be at least 3 dimensional, but got query.dim: {query.dim()}, key.dim: {key.dim()} and "
            f"value.dim: {value.dim()} instead."
        )
    places = [t._a.ragged.at for t in (query, key, value)]
    if len(set(places)) > 1:
        raise ValueError(
            f"Expected query, key, and value to all be ragged on the same dimension, but got ragged dims {places[0]}, {places[1]}, and "
            f"{places[2]}, respectively."
        )
    if mask is not None:
        raise ValueError("Masks are not yet supported!")
