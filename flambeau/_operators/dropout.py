"""Dropout and its kin: elements, or whole features, are zeroed at random and the rest scaled up."""

from __future__ import annotations

from flambeau._operators.create import empty_like, ones_like
from flambeau._operators.op import composite
from flambeau._tensor import Tensor
from flambeau._values.dtype import bool_


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")


def _noise(input: Tensor, p: float, feature: bool) -> Tensor:
    """1/(1-p) where an element (or a whole feature map) is kept, 0 elsewhere."""
    if not feature:
        return empty_like(input.detach()).bernoulli_(1 - p)  # laid out like the input: random numbers follow memory
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return input.new_empty((*shape[:2], *(1,) * (len(shape) - 2))).bernoulli_(1 - p)


def _drop(input: Tensor, p: float, train: bool, feature: bool) -> Tensor:
    _check(p)
    if p == 0 or not train or not input.numel():
        return input
    if p == 1:
        return input * 0.0 if input.dtype.is_floating_point or input.dtype.is_complex else input * 0
    return input * _noise(input, p, feature).div_(1 - p)


def _alpha(input: Tensor, p: float, train: bool, feature: bool) -> Tensor:
    """Dropped elements take SELU's negative limit, and the result keeps mean and variance (Klambauer et al., 2017)."""
    _check(p)
    if p == 0 or not train or not input.numel():
        return input
    if p == 1:
        return input * 0
    alpha = 1.7580993408473766  # scale * alpha of SELU
    noise = _noise(input, p, feature)
    a = 1.0 / ((alpha * alpha * p + 1) * (1 - p)) ** 0.5
    b = (noise - 1).mul_(alpha * a).add_(alpha * a * p)
    return input * noise.mul_(a) + b


@composite("dropout", variants=("function", "inplace"), receiver="input")
def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Zeroes each element with probability p and scales the others by 1/(1-p); nothing when not training."""
    return _drop(input, p, train, False)


@composite("feature_dropout", variants=("function", "inplace"), receiver="input")
def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """`dropout` of whole feature maps: all of input[i, j]."""
    return _drop(input, p, train, True)


@composite("alpha_dropout", variants=("function", "inplace"), receiver="input")
def alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Dropout that keeps the mean and variance of self-normalising networks."""
    return _alpha(input, p, train, False)


@composite("feature_alpha_dropout", variants=("function", "inplace"), receiver="input")
def feature_alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """`alpha_dropout` of whole feature maps."""
    return _alpha(input, p, train, True)


@composite(
    "native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)", variants=("function",), receiver="input"
)
def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """`dropout`, and the mask of what was kept."""
    if train is False or not input.numel():
        return input.clone(), ones_like(input.detach(), dtype=bool_)
    mask = empty_like(input.detach(), dtype=bool_).bernoulli_(1 - p)
    return input * mask * (0.0 if p == 1 else 1.0 / (1 - p)), mask


@composite("native_dropout_backward", variants=())
def native_dropout_backward(grad_output: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The gradient of `native_dropout`."""
    return grad_output * mask * scale
