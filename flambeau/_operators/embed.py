"""Lookups of rows: embedding and its gradient, renormalization, bags of rows, one-hot rows."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Index, Kernel, Size, T
from flambeau._operators.index import InPlace, changed, on_zeros, writes
from flambeau._operators.op import composite, op
from flambeau._operators.pad import constant_pad_nd
from flambeau._operators.sparse import embedding_sparse_backward
from flambeau._tensor import Tensor, has_elements
from flambeau._values.dtype import SPOKEN, class_name, int32, int64


@op("embedding", promote="none", variants=("function", "out"), receiver="indices", real=True)
def embedding(
    k: Kernel[T],
    weight: T,
    input: Index,
    padding_idx: Size = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> T:
    """The rows of `weight` that `input` names."""
    return k.library("rows", weight, input)


def _check_indices(indices: Tensor, place: int, owner: str) -> None:
    """Rows are numbered in int32 and int64."""
    d = indices.dtype
    if d not in (int32, int64):
        raise RuntimeError(
            f"Expected tensor for argument #{place} 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{class_name(d)} instead (while checking arguments for {owner})"
        )


@embedding.errors
def _(weight: Any, input: Any, padding_idx: int, scale_grad_by_freq: bool, sparse: bool) -> None:
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    _check_indices(input, 1, "embedding")
    if input.numel() and not weight.shape[0]:
        raise RuntimeError("index_select(): self indexing axis dim should be positive")


embedding.vjp(
    weight=lambda g, weight_shape, input, padding_idx, scale_grad_by_freq, sparse: (
        embedding_sparse_backward if sparse else embedding_dense_backward
    )(g, input, weight_shape[0], padding_idx, scale_grad_by_freq)
)


@op("embedding_dense_backward", promote="none", variants=())
def embedding_dense_backward(
    k: Kernel[T], grad_output: T, indices: Index, num_weights: Size, padding_idx: Size, scale_grad_by_freq: bool
) -> T:
    """Zeros of the weight's sizes to which each row of the gradient is added in its place."""
    return k.library(
        "rows_backward", grad_output, indices, count=num_weights, padding=padding_idx, scale=scale_grad_by_freq
    )


embedding_dense_backward.vjp(
    grad_output=lambda g, indices, padding_idx: _without(
        g.index_select(0, indices.reshape(-1)), indices, padding_idx
    ).reshape((*indices.shape, g.shape[1]))
)


def _without(rows: Any, indices: Any, padding: int) -> Any:
    return rows if padding < 0 else rows.masked_fill((indices.reshape(-1) == padding).unsqueeze(1), 0)


@op("embedding_renorm", promote="none", variants=("function_", "inplace"), differentiable=False)
def embedding_renorm(k: Kernel[T], input: T, indices: Index, max_norm: float, norm_type: float) -> T:
    """`input` with the rows that `indices` names shortened to at most `max_norm`."""
    return changed(k, "renorm_rows", input, indices, limit=max_norm, p=norm_type)


@embedding_renorm.errors
def _(input: Any, indices: Any, max_norm: float, norm_type: float) -> None:
    _check_indices(indices, 2, "embedding_renorm_")
    if input._a.dtype.kind in "biu":
        raise RuntimeError(
            f"norm(): input dtype should be either floating point or complex. Got {SPOKEN[input.dtype]} instead."
        )


writes(embedding_renorm)
MODES = {0: "sum", 1: "mean", 2: "max"}


@op("_bag_bounds", promote="none", variants=(), differentiable=False)
def _bag_bounds(k: Kernel[T], input: Index, offsets: Index, include_last_offset: bool) -> T:
    """Where each bag of indices begins, and where the last one ends."""
    return k.library("bag_bounds", input, offsets, last=include_last_offset)


@op("_segments", promote="none", variants=(), differentiable=False)
def _segments(k: Kernel[T], input: Index, bounds: Index) -> tuple[T, T]:
    """The bag that each index is in, and how many indices each bag has."""
    return k.library("segments", input, bounds)


@op("_bag_sums", promote="none", variants=())
def _bag_sums(k: Kernel[T], weight: T, indices: Index, bounds: Index, scale: T | None, bag: Index, padding: int, scale_grad_by_freq: bool,
              sparse: bool) -> T:  # fmt: skip
    """Of each bag, the sum of the rows that its indices name, each times a number; `bag` is that of each index."""
    return k.library("bag_sums", weight, indices, bounds, scale, padding=padding)


def _bag_rows(g: Any, weight_shape: Any, indices: Any, bounds: Any, scale: Any, bag: Any, padding: int, scale_grad_by_freq: bool, sparse: bool) -> Any:  # fmt: skip
    rows = g.index_select(0, bag)
    rows = rows if scale is None else rows * scale[: bag.shape[0]].unsqueeze(1)
    add = embedding_sparse_backward if sparse else embedding_dense_backward
    return add(rows, indices[: bag.shape[0]], weight_shape[0], padding, scale_grad_by_freq)


def _bag_scale(g: Any, weight: Any, indices: Any, bag: Any, scale: Any, padding: int) -> Any:
    named = indices[: bag.shape[0]]
    found = (g.index_select(0, bag) * weight.index_select(0, named)).sum(1)
    found = found if padding < 0 else found.masked_fill(named == padding, 0)
    return found if bag.shape[0] == scale.shape[0] else constant_pad_nd(found, (0, scale.shape[0] - bag.shape[0]))


_bag_sums.vjp(weight=_bag_rows, scale=_bag_scale)


@op("_bag_maxima", promote="none", variants=(), outputs=("values", "rows"))
def _bag_maxima(k: Kernel[T], weight: T, indices: Index, bounds: Index, padding: int) -> tuple[T, T]:
    """Of each bag and column, the largest element of the rows that its indices name, and the row that it is in; 0 of empty bags."""
    return k.library("bag_maxima", weight, indices, bounds, padding=padding)


def _bag_picks(g_values: Any, weight_shape: Any, indices: Any, bounds: Any, rows: Any, padding: int) -> Any:
    count = bounds.diff()
    if padding >= 0:
        bag = _segments(indices, bounds)[0]
        count = count.new_zeros(count.shape).index_add(0, bag, indices[: bag.shape[0]].ne(padding).to(count.dtype))
    shares = g_values.masked_fill(count.eq(0).unsqueeze(1), 0)
    return on_zeros(g_values, weight_shape, "scatter_add", 0, rows, shares)


_bag_maxima.vjp(weight=_bag_picks)


@composite(
    "embedding_bag.padding_idx(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq, int mode, bool sparse, Tensor? per_sample_weights, bool include_last_offset, int? padding_idx) -> (Tensor, Tensor, Tensor, Tensor)",
    "embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False) -> (Tensor, Tensor, Tensor, Tensor)",
    variants=("function",),
    names=("_embedding_bag",),
)
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Sums, means or maxima of the rows of `weight` that the indices of each bag name; a bag begins at each offset.

    Returns (result, bag of each index, number of indices in each bag, index of each maximum).
    """
    if not weight.dtype.is_floating_point:
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types: Half, BFloat16, Float, Double; but got "
            f"{class_name(weight.dtype)} instead (while checking arguments for embedding_bag)"
        )
    if indices.ndim != 1:
        raise RuntimeError(
            "input has to be a 1D Tensor" if indices.ndim != 2 else "if input is 2D, then offsets has to be None"
        )
    if per_sample_weights is not None and mode != 0:
        raise RuntimeError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            "for mode='sum' (got mode='"
            f"{MODES[mode]}'). Please open a feature request on GitHub."
        )
    if indices.is_meta:  # how many indices a bag has is not known
        bags = offsets.shape[0] - (1 if include_last_offset else 0)
        out, count = weight.new_empty((bags, weight.shape[1])), offsets.new_empty((bags,))
        return out, indices.new_empty(indices.shape), count, offsets.new_empty(out.shape) if mode == 2 else count
    bounds = _bag_bounds(indices, offsets, include_last_offset)
    bag, count = _segments(indices, bounds)
    padding = -1 if padding_idx is None else padding_idx % weight.shape[0]
    if padding >= 0:
        kept = indices[: bag.shape[0]].ne(padding)
        count = count.new_zeros(count.shape).index_add(0, bag, kept.to(count.dtype))
    if mode == 2:
        out, rows = _bag_maxima(weight, indices, bounds, padding)
        return out, bag, count, rows
    out = _bag_sums(weight, indices, bounds, per_sample_weights, bag, padding, scale_grad_by_freq, sparse)
    if mode == 1:
        out = out / count.clamp(min=1).unsqueeze(1).to(out.dtype)
    return out, bag, count, count


@op(
    "one_hot",
    namespace="nn",
    promote="none",
    variants=("function",),
    differentiable=False,
)
def one_hot(k: Kernel[T], input: T, num_classes: int = -1) -> T:
    """For each class number, a row with 1 in its place and 0 elsewhere.

    >>> torch.nn.functional.one_hot(torch.tensor([2, 0]), 3)
    tensor([[0, 0, 1],
            [1, 0, 0]])
    """
    return k.library("one_hot", input, classes=num_classes)


@one_hot.errors
def _(input: Any, num_classes: int) -> None:
    a = input._a
    if SPOKEN[input.dtype] != "Long":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not a.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return
    if has_elements(input) and a.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes != -1:
        if num_classes < 1:
            raise RuntimeError("num_classes should be positive")
        if has_elements(input) and a.max() >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")


__all__ = ["InPlace"]
