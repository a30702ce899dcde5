"""Batch normalisation in evaluation, folded into the layer before it."""

import copy

import flambeau

from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def _check(layer, bn):
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")


def _check_moments(bn):
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    return bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias


def _fuse(weight, bias, scale, mean, shift, shape, dtypes):
    """Both parameters after scaling the layer's output and shifting it."""
    fused = (weight * scale.reshape(shape)).to(dtype=dtypes[0])
    moved = ((bias - mean) * scale + shift).to(dtype=dtypes[1])
    return Parameter(fused, weight.requires_grad), Parameter(moved, bias.requires_grad)


def fuse_conv_bn_eval(conv, bn, transpose=False):
    """A convolution that computes ``bn(conv(x))``."""
    _check(conv, bn)
    fused = copy.deepcopy(conv)
    moments = _check_moments(bn)
    fused.weight, fused.bias = fuse_conv_bn_weights(fused.weight, fused.bias, *moments, transpose)
    return fused


def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose=False):
    """Weight and bias of a convolution followed by batch normalisation."""
    dtypes = conv_w.dtype, conv_w.dtype if conv_b is None else conv_b.dtype
    conv_b = flambeau.zeros_like(bn_rm) if conv_b is None else conv_b
    bn_w = flambeau.ones_like(bn_rm) if bn_w is None else bn_w
    bn_b = flambeau.zeros_like(bn_rm) if bn_b is None else bn_b
    shape = [1, -1] if transpose else [-1, 1]
    scale = bn_w * flambeau.rsqrt(bn_rv + bn_eps)
    return _fuse(conv_w, conv_b, scale, bn_rm, bn_b, shape + [1] * (conv_w.ndim - 2), dtypes)


def fuse_linear_bn_eval(linear, bn):
    """A linear layer that computes ``bn(linear(x))``."""
    _check(linear, bn)
    fused = copy.deepcopy(linear)
    if bn.num_features not in (linear.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    fused.weight, fused.bias = fuse_linear_bn_weights(fused.weight, fused.bias, *_check_moments(bn))
    return fused


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """Weight and bias of a linear layer followed by batch normalisation."""
    dtypes = linear_w.dtype, linear_w.dtype if linear_b is None else linear_b.dtype
    linear_b = flambeau.zeros_like(bn_rm) if linear_b is None else linear_b
    return _fuse(linear_w, linear_b, bn_w * flambeau.rsqrt(bn_rv + bn_eps), bn_rm, bn_b, [-1, 1], dtypes)
