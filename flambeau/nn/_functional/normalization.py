"""Normalisations: checks of sizes, then one operator."""

import math

import flambeau

from .override import overridable

nn = flambeau._C._nn


def _verify_batch_size(size):
    if size[0] * math.prod(size[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")


def _verify_spatial_size(size):
    if math.prod(size[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {size}")


@overridable
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05):
    r""":math:`(x - \mu) / \sqrt{\sigma^2 + \epsilon}` per channel, then scaled and shifted.

    In training the moments are the batch's, and the running ones move towards them by ``momentum``.

    >>> batch_norm(flambeau.tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    if training:
        _verify_batch_size(input.size())
        if eps <= 0.0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    return flambeau.batch_norm(
        input, weight, bias, running_mean, running_var, training, momentum, eps, flambeau.backends.cudnn.enabled
    )


@overridable
def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-05,
):
    """Normalises each channel of each sample by its own moments (or by the running ones)."""
    if use_input_stats:
        _verify_spatial_size(input.size())
    return flambeau.instance_norm(
        input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, flambeau.backends.cudnn.enabled
    )


@overridable
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05):
    """Normalises over the last dimensions, those of ``normalized_shape``.

    >>> layer_norm(flambeau.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    return flambeau.layer_norm(input, normalized_shape, weight, bias, eps, flambeau.backends.cudnn.enabled)


@overridable
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """Divides by the root mean square over the last dimensions."""
    return flambeau.rms_norm(input, normalized_shape, weight, eps)


@overridable
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-05):
    """Normalises each of ``num_groups`` groups of channels of each sample."""
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    n, c, *rest = input.size()
    _verify_batch_size([n * c // num_groups, num_groups, *rest])
    return flambeau.group_norm(input, num_groups, weight, bias, eps, flambeau.backends.cudnn.enabled)


@overridable
def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    r""":math:`x / (k + \alpha \, \overline{x^2})^\beta`, the mean over ``size`` neighbouring channels."""
    rank = input.dim()
    if rank < 3:
        raise ValueError(f"Expected 3D or higher dimensionality                          input (got {rank} dimensions)")
    if input.numel() == 0:
        return input
    squares, around = input.mul(input), (size // 2, (size - 1) // 2)
    if rank == 3:
        padded = nn.pad(squares.unsqueeze(1), (0, 0, *around))
        mean = nn.avg_pool2d(padded, (size, 1), stride=1).squeeze(1)
    else:
        n, c, first, *_ = input.size()
        padded = nn.pad(squares.view(n, 1, c, first, -1), (0, 0, 0, 0, *around))
        mean = nn.avg_pool3d(padded, (size, 1, 1), stride=1).squeeze(1).view(input.size())
    return input / mean.mul(alpha).add(k).pow(beta)


@overridable
def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    r""":math:`x / \max(\lVert x \rVert_p, \epsilon)` along ``dim``.

    >>> normalize(flambeau.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    norm = input.norm(p, dim, keepdim=True)
    if out is None:
        return input / norm.clamp_min(eps).expand_as(input)
    return flambeau.div(input, norm.clamp_min_(eps).expand_as(input), out=out)
