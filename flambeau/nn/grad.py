"""Gradients of convolutions as functions of their own."""

import flambeau

from .modules.utils import _pair, _single, _triple


def _backward(each, input, weight, grad_output, stride, padding, dilation, groups, size):
    """The gradient of the one of input and weight that is None; ``size`` is its size, which is all of it we need."""
    unknown = grad_output.new_empty(1).expand(size)
    wanted = (input is None, weight is None, False)
    grads = flambeau.ops.aten.convolution_backward(
        grad_output,
        unknown if input is None else input,
        unknown if weight is None else weight,
        None,
        each(stride),
        each(padding),
        each(dilation),
        False,
        [0],
        groups,
        wanted,
    )
    return grads[wanted.index(True)]


def conv1d_input(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of a 1D convolution with respect to its input."""
    return _backward(_single, None, weight, grad_output, stride, padding, dilation, groups, input_size)


def conv1d_weight(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of a 1D convolution with respect to its weight."""
    return _backward(_single, input, None, grad_output, stride, padding, dilation, groups, weight_size)


def conv2d_input(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of a 2D convolution with respect to its input."""
    return _backward(_pair, None, weight, grad_output, stride, padding, dilation, groups, input_size)


def conv2d_weight(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of a 2D convolution with respect to its weight."""
    return _backward(_pair, input, None, grad_output, stride, padding, dilation, groups, weight_size)


def conv3d_input(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of a 3D convolution with respect to its input."""
    return _backward(_triple, None, weight, grad_output, stride, padding, dilation, groups, input_size)


def conv3d_weight(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
    """The gradient of a 3D convolution with respect to its weight."""
    return _backward(_triple, input, None, grad_output, stride, padding, dilation, groups, weight_size)
