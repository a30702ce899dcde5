"""Activations: each an operator, in place if asked."""

import warnings

import flambeau

from .override import overridable

nn = flambeau._C._nn


@overridable
def threshold(input, threshold, value, inplace=False):
    """Where ``input`` is at most ``threshold``, ``value``."""
    return (flambeau.threshold_ if inplace else flambeau.threshold)(input, threshold, value)


@overridable
def relu(input, inplace=False):
    r""":math:`\max(0, x)`.

    >>> relu(flambeau.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return flambeau.relu_(input) if inplace else flambeau.relu(input)


@overridable
def glu(input, dim=-1):
    r"""Half of ``input`` times the sigmoid of its other half: :math:`a \sigma(b)`, split along ``dim``.

    >>> glu(flambeau.tensor([3.0, 0.0]))
    tensor([1.5000])
    """
    if input.dim() == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    return nn.glu(input, dim)


@overridable
def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """``input`` clipped to [``min_val``, ``max_val``].

    >>> hardtanh(flambeau.tensor([-3.0, 0.5, 2.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return (nn.hardtanh_ if inplace else nn.hardtanh)(input, min_val, max_val)


@overridable
def relu6(input, inplace=False):
    r""":math:`\min(\max(0, x), 6)`."""
    return nn.relu6_(input) if inplace else nn.relu6(input)


@overridable
def elu(input, alpha=1.0, inplace=False):
    r""":math:`x` above 0, :math:`\alpha (e^x - 1)` below.

    >>> elu(flambeau.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return (nn.elu_ if inplace else nn.elu)(input, alpha)


@overridable
def selu(input, inplace=False):
    """ELU with the scale and slope that keep mean 0 and variance 1."""
    return flambeau.selu_(input) if inplace else flambeau.selu(input)


@overridable
def celu(input, alpha=1.0, inplace=False):
    r""":math:`x` above 0, :math:`\alpha (e^{x/\alpha} - 1)` below."""
    return (flambeau.celu_ if inplace else flambeau.celu)(input, alpha)


@overridable
def leaky_relu(input, negative_slope=0.01, inplace=False):
    """:math:`x` above 0, ``negative_slope`` times it below.

    >>> leaky_relu(flambeau.tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1000,  2.0000])
    """
    return (nn.leaky_relu_ if inplace else nn.leaky_relu)(input, negative_slope)


@overridable
def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """Leaky ReLU whose slope is drawn per element in training and is the middle of the interval otherwise."""
    return (flambeau.rrelu_ if inplace else flambeau.rrelu)(input, lower, upper, training)


@overridable
def tanhshrink(input):
    r""":math:`x - \tanh(x)`.

    >>> tanhshrink(flambeau.tensor([0.0, 1.0]))
    tensor([0.0000, 0.2384])
    """
    return input - input.tanh()


@overridable
def softsign(input):
    """:math:`x / (1 + |x|)`."""
    return input / (input.abs() + 1)


def tanh(input):
    r""":math:`\tanh(x)`."""
    return input.tanh()


def sigmoid(input):
    r""":math:`1 / (1 + e^{-x})`."""
    return input.sigmoid()


@overridable
def hardsigmoid(input, inplace=False):
    r""":math:`\min(\max(0, x + 3), 6) / 6`."""
    return nn.hardsigmoid_(input) if inplace else nn.hardsigmoid(input)


@overridable
def silu(input, inplace=False):
    r""":math:`x \sigma(x)`.

    >>> silu(flambeau.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """
    return nn.silu_(input) if inplace else nn.silu(input)


@overridable
def mish(input, inplace=False):
    r""":math:`x \tanh(\ln(1 + e^x))`."""
    return nn.mish_(input) if inplace else nn.mish(input)


@overridable
def hardswish(input, inplace=False):
    r""":math:`x \min(\max(0, x + 3), 6) / 6`."""
    return nn.hardswish_(input) if inplace else nn.hardswish(input)


def _get_softmax_dim(name, ndim, stacklevel):
    """The dimension meant by a call without one."""
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


@overridable
def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """Softmax of ``-input``."""
    if dim is None:
        dim = _get_softmax_dim("softmin", input.dim(), _stacklevel + 1)
    return (-input).softmax(dim) if dtype is None else (-input).softmax(dim, dtype=dtype)


@overridable
def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """Exponentials along ``dim``, rescaled so that they sum to 1.

    >>> softmax(flambeau.zeros(4), dim=0)
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if dim is None:
        dim = _get_softmax_dim("softmax", input.dim(), _stacklevel + 1)
    return input.softmax(dim) if dtype is None else input.softmax(dim, dtype=dtype)


@overridable
def log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """Logarithm of softmax, computed steadily.

    >>> log_softmax(flambeau.zeros(2), dim=0)
    tensor([-0.6931, -0.6931])
    """
    if dim is None:
        dim = _get_softmax_dim("log_softmax", input.dim(), _stacklevel + 1)
    return input.log_softmax(dim) if dtype is None else input.log_softmax(dim, dtype=dtype)


@overridable
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """A sample of the Gumbel-softmax distribution; ``hard`` makes it one-hot, with the soft sample's gradient."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=3)
    like = {"memory_format": flambeau.legacy_contiguous_format}
    gumbels = -flambeau.empty_like(logits, **like).exponential_().log()
    soft = ((logits + gumbels) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    return flambeau.zeros_like(logits, **like).scatter_(dim, index, 1.0) - soft.detach() + soft
