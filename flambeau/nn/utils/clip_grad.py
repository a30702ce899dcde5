"""Clipping of gradients, by their common norm or element by element."""

import types
import warnings

import flambeau
from flambeau import Tensor

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_"]


def _grads(parameters):
    """The gradients of a tensor or of an iterable of them."""
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def _grouped(tensors):
    """Lists of tensors of one device and dtype, in order of appearance."""
    groups = {}
    for tensor in tensors:
        groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return list(groups.values())


@flambeau.no_grad()
def _get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The norm of all tensors as if they were one vector."""
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return flambeau.tensor(0.0)
    norms = [norm for group in _grouped(tensors) for norm in flambeau._foreach_norm(group, norm_type)]
    device = tensors[0].device
    total = flambeau.linalg.vector_norm(flambeau.stack([norm.to(device) for norm in norms]), norm_type)
    if error_if_nonfinite and flambeau.logical_or(total.isnan(), total.isinf()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


@flambeau.no_grad()
def _clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """Scales the gradients in place by ``max_norm / total_norm``, if that is below 1."""
    grads = _grads(parameters)
    if not grads:
        return
    factor = flambeau.clamp(float(max_norm) / (total_norm + 1e-6), max=1.0)
    for group in _grouped(grads):
        flambeau._foreach_mul_(group, factor.to(group[0].device))


@flambeau.no_grad()
def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scales the gradients in place so that their common norm is at most ``max_norm``; returns what it was.

    >>> p = flambeau.zeros(2, requires_grad=True)
    >>> p.grad = flambeau.tensor([3.0, 4.0])
    >>> clip_grad_norm_(p, 1.0).item()
    5.0
    """
    if not isinstance(parameters, Tensor):
        generator = isinstance(parameters, types.GeneratorType)
        parameters = list(parameters)
        if generator and not parameters:
            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    total = _get_total_norm(_grads(parameters), norm_type, error_if_nonfinite, foreach)
    _clip_grads_with_norm_(parameters, max_norm, total, foreach)
    return total


def clip_grad_norm(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The old name of :func:`clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@flambeau.no_grad()
def clip_grad_value_(parameters, clip_value, foreach=None):
    """Clips each element of the gradients to [-clip_value, clip_value], in place."""
    clip_value = float(clip_value)
    for group in _grouped(_grads(parameters)):
        flambeau._foreach_clamp_min_(group, -clip_value)
        flambeau._foreach_clamp_max_(group, clip_value)
