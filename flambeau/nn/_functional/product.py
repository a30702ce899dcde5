"""Products with scales or groups, and the cross entropy of a linear layer's output."""

import math
import warnings
from enum import Enum

import flambeau

from .loss import cross_entropy
from .override import overridable

nn = flambeau._C._nn


class ScalingType(Enum):
    """How the scales of a matrix lie on it."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(Enum):
    """How the scales of a matrix lie in memory."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


@overridable
def grouped_mm(mat_a, mat_b, *, offs=None, bias=None, out_dtype=None):
    """Matrix products of groups of rows or columns, which ``offs`` separates."""
    return flambeau._grouped_mm(mat_a, mat_b, offs=offs, bias=bias, out_dtype=out_dtype)


def _as_list(x):
    return [] if x is None else x if isinstance(x, list) else [x]


def _as_ints(x):
    return [item.value for item in _as_list(x)]


@overridable
def scaled_mm(
    mat_a,
    mat_b,
    scale_a,
    scale_recipe_a,
    scale_b,
    scale_recipe_b,
    swizzle_a=None,
    swizzle_b=None,
    bias=None,
    output_dtype=flambeau.bfloat16,
    contraction_dim=(),
    use_fast_accum=False,
):
    """A product of matrices of narrow floats, each with its scales."""
    return flambeau._scaled_mm_v2(
        mat_a,
        mat_b,
        _as_list(scale_a),
        _as_ints(scale_recipe_a),
        _as_ints(swizzle_a),
        _as_list(scale_b),
        _as_ints(scale_recipe_b),
        _as_ints(swizzle_b),
        bias,
        output_dtype,
        contraction_dim,
        use_fast_accum,
    )


@overridable
def scaled_grouped_mm(
    mat_a,
    mat_b,
    scale_a,
    scale_recipe_a,
    scale_b,
    scale_recipe_b,
    swizzle_a=None,
    swizzle_b=None,
    bias=None,
    offs=None,
    output_dtype=flambeau.bfloat16,
    contraction_dim=(),
    use_fast_accum=False,
):
    """:func:`grouped_mm` of matrices of narrow floats, each with its scales."""
    return flambeau._scaled_grouped_mm_v2(
        mat_a,
        mat_b,
        _as_list(scale_a),
        _as_ints(scale_recipe_a),
        _as_ints(swizzle_a),
        _as_list(scale_b),
        _as_ints(scale_recipe_b),
        _as_ints(swizzle_b),
        offs,
        bias,
        output_dtype,
        contraction_dim,
        use_fast_accum,
    )


@overridable
def linear_cross_entropy(
    input,
    linear_weight,
    target,
    *,
    linear_bias=None,
    weight=None,
    reduction="mean",
    ignore_index=None,
    label_smoothing=0.0,
    options=None,
):
    """Cross entropy of ``linear(input, linear_weight, linear_bias)``; ``options`` asks for it in chunks."""
    if not 1 <= input.dim() <= 2:
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}")
    *batch, features = input.shape
    classes, *extra, weight_features = linear_weight.shape
    if features != weight_features:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{features} and {weight_features}, respectively"
        )
    if linear_bias is not None and tuple(linear_bias.shape) != (classes, *extra):
        raise RuntimeError(f"expected linear_bias shape {(classes, *extra)}, got {tuple(linear_bias.shape)}")
    if extra and not batch:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {features}), got unbatched input with shape {tuple(input.shape)}"
        )
    shape = (*batch, classes, *extra)
    if target.shape == shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    if options is not None:
        warn_of_options(extra, reduction, label_smoothing, target, linear_bias)
    rows = math.prod(extra, start=classes)
    if extra:
        linear_weight = linear_weight.reshape(rows, features)
        linear_bias = None if linear_bias is None else linear_bias.reshape(rows)
    logits = nn.linear(input, linear_weight, linear_bias).reshape(shape)
    return cross_entropy(
        logits,
        target,
        weight=weight,
        reduction=reduction,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )


def warn_of_options(extra, reduction, label_smoothing, target, linear_bias):
    """Chunking saves memory and changes no result; says where PyTorch would not chunk either."""
    possible = reduction in ("mean", "sum", "none") and label_smoothing == 0.0 and not extra
    if possible and target.dtype == flambeau.int64:
        return
    warnings.warn(
        "linear_cross_entropy: ``options`` ignored; chunked path needs reduction in {'mean','sum','none'}, "
        "label_smoothing == 0, target.dtype == int64, out_features == (). "
        f"Got reduction={reduction!r}, label_smoothing={label_smoothing}, target.dtype={target.dtype}, "
        f"out_features={tuple(extra)}, tracing=False, "
        f"linear_bias.shape={None if linear_bias is None else tuple(linear_bias.shape)}.",
        stacklevel=4,
    )
