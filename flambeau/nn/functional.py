"""nn.functional: functions of tensors, for those who do without modules.

Functions written in Python are in `_functional/`, by subject; those that are an operator as it stands are looked up
in the table below when they are first asked for.
"""

# ruff: noqa: F401 (this file gathers names)

import operator

import flambeau
from flambeau import Tensor
from flambeau.overrides import (
    handle_torch_function,
    has_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
)

from . import _reduction as _Reduction
from ._functional.activation import (
    _get_softmax_dim,
    celu,
    elu,
    glu,
    gumbel_softmax,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    mish,
    relu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from ._functional.attention import (
    _canonical_mask,
    _in_projection,
    _in_projection_packed,
    _mha_shape_check,
    _none_or_dtype,
    multi_head_attention_forward,
)
from ._functional.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from ._functional.embedding import _no_grad_embedding_renorm_, embedding, embedding_bag
from ._functional.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cross_entropy,
    ctc_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ._functional.normalization import (
    _verify_batch_size,
    _verify_spatial_size,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    normalize,
    rms_norm,
)
from ._functional.pooling import (
    _unpool_output_size,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from ._functional.product import (
    ScalingType,
    SwizzleType,
    grouped_mm,
    linear_cross_entropy,
    scaled_grouped_mm,
    scaled_mm,
)
from ._functional.resample import (
    GRID_SAMPLE_INTERPOLATION_MODES,
    GRID_SAMPLE_PADDING_MODES,
    affine_grid,
    assert_int_or_pair,
    fold,
    grid_sample,
    interpolate,
    pad,
    unfold,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from .modules.utils import _list_with_default, _pair, _single, _triple

# name here -> operator
_OPERATORS = {
    name: name
    for name in (
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "conv_tbc"),
        *("avg_pool1d", "adaptive_avg_pool1d", "bilinear", "prelu", "hardshrink"),
        *("threshold_", "relu_", "selu_", "celu_", "rrelu_"),
        *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle"),
        *("pairwise_distance", "pdist", "cosine_similarity"),
    )
} | {
    name: f"_C._nn.{name}"
    for name in (
        *("linear", "avg_pool2d", "avg_pool3d", "gelu", "softplus", "softshrink", "one_hot"),
        *("hardtanh_", "elu_", "leaky_relu_", "scaled_dot_product_attention"),
    )
}
_OPERATORS["logsigmoid"] = "_C._nn.log_sigmoid"
_IMPORTED = {
    "Tensor",
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
}


def __getattr__(name):
    path = _OPERATORS.get(name)
    if path is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = operator.attrgetter(path)(flambeau)
    return value


def __dir__():
    return sorted({*globals(), *_OPERATORS})


__all__ = sorted(
    {name for name, value in globals().items() if callable(value) and not name.startswith("_")} - _IMPORTED
    | set(_OPERATORS)
)
