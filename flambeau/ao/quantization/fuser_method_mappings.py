"""How sequences of modules become one: a convolution or linear layer, its normalization, its activation."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from flambeau import nn
from flambeau.ao.nn import intrinsic as nni
from flambeau.ao.quantization.utils import MatchAllNode, get_combined_dict

__all__ = [
    "fuse_conv_bn",
    "fuse_conv_bn_relu",
    "fuse_convtranspose_bn",
    "fuse_linear_bn",
    "get_fuser_method",
    "get_fuser_method_new",
]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _named(kind: str) -> dict[Any, Any]:
    """The fused class of each convolution: `kind` with its number of dimensions."""
    return {conv: getattr(nni, f"{kind}{n}d") for n, conv in enumerate(_CONVOLUTIONS, 1)}


def _trainable(bn: Any, channels: int, what: str, norm: str, end: str = "") -> None:
    if bn.num_features != channels:
        raise AssertionError(f"Output {what} must match num_features of {norm}{end}")
    if not bn.affine:
        raise AssertionError(f"Only support fusing {norm} with affine set to True")
    if not bn.track_running_stats:
        raise AssertionError(f"Only support fusing {norm} with tracking_running_stats set to True")


def fuse_conv_bn(is_qat: bool, conv: Any, bn: Any) -> Any:
    """A convolution with the normalization that follows it: folded into its weights, or, for training, beside them."""
    if conv.training != bn.training:
        raise AssertionError("Conv and BN both must be in the same mode (train or eval).")
    if not is_qat:
        return nn.utils.fuse_conv_bn_eval(conv, bn)
    _trainable(bn, conv.out_channels, "channel of Conv2d", "BatchNorm2d", ".")
    fused = _named("ConvBn").get(type(conv))
    if fused is None:
        raise NotImplementedError(f"Cannot fuse train modules: {(conv, bn)}")
    return fused(conv, bn)


def fuse_conv_bn_relu(is_qat: bool, conv: Any, bn: Any, relu: Any) -> Any:
    """The same with the activation that follows."""
    if not conv.training == bn.training == relu.training:
        raise AssertionError("Conv and BN both must be in the same mode (train or eval).")
    if is_qat:
        _trainable(bn, conv.out_channels, "channel of Conv2d", "BatchNorm2d")
    fused = _named("ConvBnReLU" if is_qat else "ConvReLU").get(type(conv))
    if fused is None:
        raise NotImplementedError(f"Cannot fuse {'train' if is_qat else 'eval'} modules: {(conv, bn, relu)}")
    return fused(conv, bn, relu) if is_qat else fused(nn.utils.fuse_conv_bn_eval(conv, bn), relu)


def fuse_linear_bn(is_qat: bool, linear: Any, bn: Any) -> Any:
    """A linear layer with the normalization that follows it."""
    if linear.training != bn.training:
        raise AssertionError("Linear and BN both must be in the same mode (train or eval).")
    if not is_qat:
        return nn.utils.fusion.fuse_linear_bn_eval(linear, bn)
    _trainable(bn, linear.out_features, "features of Linear", "BatchNorm1d")
    return nni.LinearBn1d(linear, bn)


def fuse_convtranspose_bn(is_qat: bool, convt: Any, bn: Any) -> Any:
    """A transposed convolution with the normalization that follows it."""
    if convt.training != bn.training:
        raise AssertionError("ConvTranspose and BN both must be in the same mode (train or eval).")
    if is_qat:
        raise Exception("Fusing ConvTranspose+BatchNorm not yet supported in QAT.")
    return nn.utils.fusion.fuse_conv_bn_eval(convt, bn, transpose=True)


def _sequential_wrapper2(sequential: Any) -> Callable[..., Any]:
    """A class of two modules as a way to fuse them."""

    def fuser_method(is_qat: bool, m1: Any, m2: Any) -> Any:
        return sequential(m1, m2)

    return fuser_method


_DEFAULT_OP_LIST_TO_FUSER_METHOD: dict[Any, Any] = {
    **{(conv, bn): fuse_conv_bn for conv, bn in zip(_CONVOLUTIONS, _NORMALIZATIONS, strict=True)},
    **{(conv, bn, nn.ReLU): fuse_conv_bn_relu for conv, bn in zip(_CONVOLUTIONS, _NORMALIZATIONS, strict=True)},
    **{(conv, nn.ReLU): _sequential_wrapper2(fused) for conv, fused in _named("ConvReLU").items()},
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn,
    (nn.Linear, nn.ReLU): _sequential_wrapper2(nni.LinearReLU),
    (nn.BatchNorm2d, nn.ReLU): _sequential_wrapper2(nni.BNReLU2d),
    (nn.BatchNorm3d, nn.ReLU): _sequential_wrapper2(nni.BNReLU3d),
    (nn.ConvTranspose1d, nn.BatchNorm1d): fuse_convtranspose_bn,
    (nn.ConvTranspose2d, nn.BatchNorm2d): fuse_convtranspose_bn,
    (nn.ConvTranspose3d, nn.BatchNorm3d): fuse_convtranspose_bn,
}


def get_fuser_method(op_list: Any, additional_fuser_method_mapping: Any = None) -> Any:
    """What fuses modules of these types, in this order."""
    found = get_combined_dict(_DEFAULT_OP_LIST_TO_FUSER_METHOD, additional_fuser_method_mapping or {}).get(op_list)
    if found is None:
        raise AssertionError(f"did not find fuser method for: {op_list} ")
    return found


def _reverse2(f: Any) -> Callable[..., Any]:
    return lambda is_qat, x, y: f(is_qat, y, x)


def _reverse3(f: Any) -> Callable[..., Any]:
    return lambda is_qat, x, w: f(is_qat, w[1], w[0], x)


def _get_valid_patterns(op_pattern: Any) -> list[Any]:
    """A pattern, and the wider ones that it is a case of."""
    if isinstance(op_pattern, (tuple, list)):
        return list(itertools.product(*map(_get_valid_patterns, op_pattern)))
    return [op_pattern, MatchAllNode]


def get_fuser_method_new(op_pattern: Any, fuser_method_mapping: dict[Any, Any]) -> Any:
    """What fuses the nodes of a pattern."""
    for pattern in _get_valid_patterns(op_pattern):
        found = fuser_method_mapping.get(pattern)
        if found is not None:
            return found
    raise AssertionError(f"did not find fuser method for: {op_pattern} ")
