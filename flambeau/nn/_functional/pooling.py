"""Pools that choose an operator by argument: with or without indices, by ratio, by norm."""

import math

import flambeau

from ..modules.utils import _list_with_default, _pair, _single, _triple
from .activation import relu
from .override import overridable

nn = flambeau._C._nn


@overridable
def max_pool1d_with_indices(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """Maxima of windows of (N, C, L), and where they were."""
    stride = [] if stride is None else stride
    return flambeau.max_pool1d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)


@overridable
def max_pool2d_with_indices(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """Maxima of windows of (N, C, H, W), and where they were."""
    stride = [] if stride is None else stride
    return nn.max_pool2d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)


@overridable
def max_pool3d_with_indices(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    """Maxima of windows of (N, C, D, H, W), and where they were."""
    stride = [] if stride is None else stride
    return nn.max_pool3d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)


@overridable
def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maxima of windows of (N, C, L) or (C, L)."""
    if return_indices:
        return max_pool1d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return flambeau.max_pool1d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


@overridable
def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maxima of windows of (N, C, H, W) or (C, H, W).

    >>> max_pool2d(flambeau.tensor([[[0.0, 1.0], [2.0, 3.0]]]), 2)
    tensor([[[3.]]])
    """
    if return_indices:
        return max_pool2d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return flambeau.max_pool2d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


@overridable
def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maxima of windows of (N, C, D, H, W) or (C, D, H, W)."""
    if return_indices:
        return max_pool3d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return flambeau.max_pool3d(input, kernel_size, [] if stride is None else stride, padding, dilation, ceil_mode)


def _fractional(n, input, kernel_size, output_size, output_ratio, samples):
    """Pools windows whose places are drawn at random, in ``n`` dimensions."""
    if output_size is None and output_ratio is None:
        raise ValueError(f"fractional_max_pool{n}d requires specifying either an output_size or an output_ratio")
    if output_size is None:
        if n == 2 and len(output_ratio) > 2:
            raise ValueError("fractional_max_pool2d requires output_ratio to either be a single Int or tuple of Ints.")
        ratio = (_pair if n == 2 else _triple)(output_ratio)
        output_size = [int(size * r) for size, r in zip(input.shape[-n:], ratio, strict=False)]
    if samples is None:
        batch = 1 if input.dim() == n + 1 else input.size(0)
        samples = flambeau.rand(batch, input.size(-n - 1), n, dtype=input.dtype, device=input.device)
    pool = nn.fractional_max_pool2d if n == 2 else nn.fractional_max_pool3d
    return pool(input, kernel_size, output_size, samples)


@overridable
def fractional_max_pool2d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Maxima of randomly placed windows of (N, C, H, W), and where they were."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


@overridable
def fractional_max_pool3d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Maxima of randomly placed windows of (N, C, D, H, W), and where they were."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)


@overridable
def fractional_max_pool2d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Maxima of randomly placed windows of (N, C, H, W)."""
    both = _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]


@overridable
def fractional_max_pool3d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Maxima of randomly placed windows of (N, C, D, H, W)."""
    both = _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]


def _unpool_output_size(input, kernel_size, stride, padding, output_size):
    """The size before pooling: the default one, or the one asked for if it could have been."""
    n = len(kernel_size)
    default = [
        (size - 1) * s + k - 2 * p for size, s, k, p in zip(input.shape[-n:], stride, kernel_size, padding, strict=True)
    ]
    if output_size is None:
        output_size = default
    else:
        if len(output_size) == n + 2:
            output_size = output_size[2:]
        if len(output_size) != n:
            raise ValueError(
                f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
                f"'{len(output_size)}'"
            )
        for d, (size, middle, s) in enumerate(zip(output_size, default, stride, strict=True)):
            if not middle - s < size < middle + s:
                raise ValueError(
                    f'invalid output_size "{output_size}" (dim {d} must be between {middle - s} and {middle + s})'
                )
    for d, size in enumerate(output_size):
        if size < 0:
            raise ValueError(
                "max_unpooling: output_size must contain non-negative spatial dimensions, but got "
                f"output_size[{d}]={size}"
            )
    return output_size


@overridable
def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Puts maxima back where ``indices`` says, with zeros elsewhere, in one dimension."""
    kernel_size = _single(kernel_size)
    stride = kernel_size if stride is None else _single(stride)
    size = _unpool_output_size(input, kernel_size, stride, _single(padding), output_size)
    return nn.max_unpool2d(input.unsqueeze(-1), indices.unsqueeze(-1), [*size, 1]).squeeze(-1)


@overridable
def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Puts maxima back where ``indices`` says, with zeros elsewhere, in two dimensions."""
    kernel_size = _pair(kernel_size)
    stride = kernel_size if stride is None else _pair(stride)
    size = _unpool_output_size(input, kernel_size, stride, _pair(padding), output_size)
    return nn.max_unpool2d(input, indices, size)


@overridable
def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Puts maxima back where ``indices`` says, with zeros elsewhere, in three dimensions."""
    kernel_size = _triple(kernel_size)
    stride = kernel_size if stride is None else _triple(stride)
    padding = _triple(padding)
    size = _unpool_output_size(input, kernel_size, stride, padding, output_size)
    return nn.max_unpool3d(input, indices, size, stride, padding)


def _lp_pool(max_pool, avg_pool, volume, input, norm_type, kernel_size, stride, ceil_mode):
    r""":math:`(\sum x^p)^{1/p}` over windows, by way of a mean; the infinite norms by way of a maximum."""
    if isinstance(norm_type, (int, float)) and math.isinf(norm_type):
        sign = 1 if norm_type > 0 else -1
        out = max_pool(input.abs() if sign > 0 else -input.abs(), kernel_size, stride, 0, 1, ceil_mode)
        return out if sign > 0 else -out
    how = () if stride is None else (stride,)
    out = avg_pool(input.pow(norm_type), kernel_size, *how, padding=0, ceil_mode=ceil_mode)
    return (flambeau.sign(out) * relu(flambeau.abs(out))).mul(volume).pow(1.0 / norm_type)


@overridable
def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """p-norms of windows of (N, C, L)."""
    return _lp_pool(max_pool1d, flambeau.avg_pool1d, kernel_size, input, norm_type, kernel_size, stride, ceil_mode)


@overridable
def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """p-norms of windows of (N, C, H, W)."""
    h, w = _pair(kernel_size)
    return _lp_pool(max_pool2d, nn.avg_pool2d, h * w, input, norm_type, kernel_size, stride, ceil_mode)


@overridable
def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """p-norms of windows of (N, C, D, H, W)."""
    d, h, w = _triple(kernel_size)
    return _lp_pool(max_pool3d, nn.avg_pool3d, d * h * w, input, norm_type, kernel_size, stride, ceil_mode)


@overridable
def adaptive_max_pool1d_with_indices(input, output_size, return_indices=False):
    """Maxima of as many windows as ``output_size`` says, and where they were."""
    return flambeau.adaptive_max_pool1d(input, output_size)


@overridable
def adaptive_max_pool2d_with_indices(input, output_size, return_indices=False):
    """Maxima of as many windows as ``output_size`` says, and where they were."""
    return nn.adaptive_max_pool2d(input, _list_with_default(output_size, input.size()))


@overridable
def adaptive_max_pool3d_with_indices(input, output_size, return_indices=False):
    """Maxima of as many windows as ``output_size`` says, and where they were."""
    return nn.adaptive_max_pool3d(input, _list_with_default(output_size, input.size()))


@overridable
def adaptive_max_pool1d(input, output_size, return_indices=False):
    """Maxima of as many windows as ``output_size`` says."""
    both = adaptive_max_pool1d_with_indices(input, output_size)
    return both if return_indices else both[0]


@overridable
def adaptive_max_pool2d(input, output_size, return_indices=False):
    """Maxima of as many windows as ``output_size`` says; None keeps a dimension's size."""
    both = adaptive_max_pool2d_with_indices(input, output_size)
    return both if return_indices else both[0]


@overridable
def adaptive_max_pool3d(input, output_size, return_indices=False):
    """Maxima of as many windows as ``output_size`` says; None keeps a dimension's size."""
    both = adaptive_max_pool3d_with_indices(input, output_size)
    return both if return_indices else both[0]


@overridable
def adaptive_avg_pool2d(input, output_size):
    """Means of as many windows as ``output_size`` says; None keeps a dimension's size.

    >>> adaptive_avg_pool2d(flambeau.ones(1, 4, 6), (2, 3)).shape
    torch.Size([1, 2, 3])
    """
    return nn.adaptive_avg_pool2d(input, _list_with_default(output_size, input.size()))


@overridable
def adaptive_avg_pool3d(input, output_size):
    """Means of as many windows as ``output_size`` says; None keeps a dimension's size."""
    return nn.adaptive_avg_pool3d(input, _list_with_default(output_size, input.size()))
