"""Losses: the old flags of a reduction made its number, sizes checked, then one operator."""

import math
import warnings

import flambeau

from .. import _reduction
from .override import overridable

nn = flambeau._C._nn


def _number(size_average, reduce, reduction):
    """The operators' number of the reduction; the flags, where given, win."""
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    return _reduction.get_enum(reduction)


def _reduce(loss, number):
    return loss if number == 0 else loss.mean() if number == 1 else loss.sum()


# ---- classification ----
@overridable
def cross_entropy(
    input,
    target,
    weight=None,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
):
    r""":math:`-\log \mathrm{softmax}(x)_y`, for class numbers or class probabilities ``target``.

    >>> cross_entropy(flambeau.zeros(1, 2), flambeau.tensor([0])).item()  # doctest: +ELLIPSIS
    0.6931...
    """
    number = _number(size_average, reduce, reduction)
    return nn.cross_entropy_loss(input, target, weight, number, ignore_index, label_smoothing)


@overridable
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """Minus the log-probability ``input`` of the class ``target``.

    >>> nll_loss(flambeau.tensor([[-0.5, -2.0]]), flambeau.tensor([1]))
    tensor(2.)
    """
    return nn.nll_loss_nd(input, target, weight, _number(size_average, reduce, reduction), ignore_index)


@overridable
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """Minus the log-probability of all alignments of ``targets`` with ``log_probs`` (T, N, C) or (T, C)."""
    number = _reduction.get_enum(reduction)
    return flambeau.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, number, zero_infinity)


@overridable
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    r""":math:`-y \log x - (1 - y) \log(1 - x)`."""
    number = _number(size_average, reduce, reduction)
    if target.size() != input.size():
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
            "deprecated. Please ensure they have the same size."
        )
    if weight is not None:
        weight = weight.expand(flambeau.broadcast_shapes(target.size(), weight.size()))
    return nn.binary_cross_entropy(input, target, weight, number)


@overridable
def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """Binary cross entropy of the sigmoid of ``input``, computed steadily.

    >>> binary_cross_entropy_with_logits(flambeau.tensor([0.0]), flambeau.tensor([1.0]))
    tensor(0.6931)
    """
    number = _number(size_average, reduce, reduction)
    if target.size() != input.size():
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    return flambeau.binary_cross_entropy_with_logits(input, target, weight, pos_weight, number)


@overridable
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """Hinge between the scores of the labels in ``target`` (up to the first -1) and all others."""
    return nn.multilabel_margin_loss(input, target, _number(size_average, reduce, reduction))


@overridable
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    r""":math:`\log(1 + e^{-yx})` for signs ``target``."""
    return nn.soft_margin_loss(input, target, _number(size_average, reduce, reduction))


@overridable
def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Mean over classes of the binary cross entropy of ``sigmoid(input)``."""
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    loss = -(target * nn.log_sigmoid(input) + (1 - target) * nn.log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    last = input.dim() - 1
    loss = loss.sum(dim=last) / input.size(last)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    return _reduce(loss, _reduction.get_enum(reduction))


@overridable
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
    r""":math:`\frac{1}{C} \sum_{i \ne y} \max(0, margin - x_y + x_i)^p`."""
    number = _number(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    return nn.multi_margin_loss(input, target, p, margin, weight, number)


# ---- regression ----
def _broadcast(input, target):
    """Both broadcast to one shape, with a warning if that changes anything."""
    if target.size() != input.size():
        warnings.warn(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=4,
        )
        input, target = flambeau.broadcast_tensors(input, target)
    return input, target


def _check_weight(weight, input):
    if weight.size() != input.size():
        raise ValueError("Weights and input must have the same size.")


def _reduce_weighted(errors, weight, reduction, by_weight):
    """Reduces weighted errors; their mean divides by the sum of the weights or by their number."""
    weighted = errors * weight
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return flambeau.sum(weighted)
    if reduction == "mean":
        return flambeau.sum(weighted) / flambeau.sum(weight) if by_weight else weighted.mean()
    raise ValueError(f"Invalid reduction mode: {reduction}. Expected one of 'none', 'mean', 'sum'.")


@overridable
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    r""":math:`(x - y)^2`, averaged by default.

    >>> mse_loss(flambeau.zeros(2), flambeau.full((2,), 3.0)).item()
    9.0
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    x, y = _broadcast(input, target)
    if weight is None:
        return nn.mse_loss(x, y, _reduction.get_enum(reduction))
    _check_weight(weight, input)
    return _reduce_weighted(flambeau.pow(x - y, 2), weight, reduction, by_weight=True)


@overridable
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    r""":math:`|x - y|`, averaged by default.

    >>> l1_loss(flambeau.tensor([0.0, 2.0]), flambeau.tensor([1.0, 1.0]))
    tensor(1.)
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    x, y = _broadcast(input, target)
    if weight is None:
        return nn.l1_loss(x, y, _reduction.get_enum(reduction))
    _check_weight(weight, input)
    return _reduce_weighted(flambeau.abs(x - y), weight, reduction, by_weight=True)


@overridable
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """Squared error divided by ``beta`` where the error is below ``beta``, absolute error beyond.

    >>> smooth_l1_loss(flambeau.tensor([0.0, 3.0]), flambeau.zeros(2))
    tensor(1.2500)
    """
    x, y = _broadcast(input, target)
    number = _number(size_average, reduce, reduction)
    return nn.l1_loss(x, y, number) if beta == 0.0 else nn.smooth_l1_loss(x, y, number, beta)


@overridable
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Squared error below ``delta``, ``delta`` times the absolute error beyond.

    >>> huber_loss(flambeau.tensor([0.0, 3.0]), flambeau.zeros(2))
    tensor(1.2500)
    """
    x, y = _broadcast(input, target)
    if weight is None:
        return nn.huber_loss(x, y, _reduction.get_enum(reduction), delta)
    _check_weight(weight, input)
    return _reduce_weighted(nn.huber_loss(x, y, 0, delta), weight, reduction, by_weight=False)


@overridable
def poisson_nll_loss(
    input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
):
    r"""Minus the Poisson log-likelihood: :math:`e^x - yx`; ``full`` adds Stirling's term."""
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not a valid value for reduction")
    return flambeau.poisson_nll_loss(input, target, log_input, full, eps, _reduction.get_enum(reduction))


@overridable
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    r"""Minus the normal log-likelihood: :math:`\frac12 (\log \sigma^2 + (x - y)^2 / \sigma^2)`."""
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * flambeau.ones_like(input)
    elif flambeau.any(var < 0):
        raise ValueError("var has negative entry/entries")
    if var.size() != input.size():
        if input.size()[:-1] == var.size():  # one variance for all of the last dimension
            var = flambeau.unsqueeze(var, -1)
        elif input.ndim != var.ndim or sum(v for x, v in zip(input.size(), var.size(), strict=True) if x != v) != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    var = var.clone()
    with flambeau.no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (flambeau.log(var) + (input - target) ** 2 / var)
    if full:
        loss += 0.5 * math.log(2 * math.pi)
    return _reduce(loss, _reduction.get_enum(reduction))


@overridable
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    r""":math:`y (\log y - x)` for log-probabilities ``input``; "batchmean" divides by the batch size.

    >>> kl_div(flambeau.tensor([0.5, 0.5]).log(), flambeau.tensor([1.0, 0.0]), reduction="sum")
    tensor(0.6931)
    """
    if size_average is not None or reduce is not None:
        number = _reduction.legacy_get_enum(size_average, reduce)
    else:
        if reduction == "mean":
            warnings.warn(
                "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' "
                "divides only by the batch size, and aligns with the KL div math definition.'mean' will be changed to "
                "behave the same as 'batchmean' in the next major release.",
                stacklevel=3,
            )
        number = _reduction.get_enum("sum" if reduction == "batchmean" else reduction)
    loss = flambeau.kl_div(input, target, number, log_target=log_target)
    return loss / input.size()[0] if reduction == "batchmean" and input.dim() != 0 else loss


# ---- distances ----
@overridable
def margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    r""":math:`\max(0, -y (x_1 - x_2) + margin)`.

    >>> margin_ranking_loss(flambeau.tensor([1.0]), flambeau.tensor([2.0]), flambeau.tensor([1.0]))
    tensor(1.)
    """
    number = _number(size_average, reduce, reduction)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return flambeau.margin_ranking_loss(input1, input2, target, margin, number)


@overridable
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    r""":math:`x` where the sign ``target`` is 1, :math:`\max(0, margin - x)` where it is -1."""
    return flambeau.hinge_embedding_loss(input, target, margin, _number(size_average, reduce, reduction))


@overridable
def cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    r""":math:`1 - \cos` where the sign ``target`` is 1, :math:`\max(0, \cos - margin)` where it is -1."""
    return flambeau.cosine_embedding_loss(input1, input2, target, margin, _number(size_average, reduce, reduction))


@overridable
def triplet_margin_loss(
    anchor,
    positive,
    negative,
    margin=1.0,
    p=2,
    eps=1e-6,
    swap=False,
    size_average=None,
    reduce=None,
    reduction="mean",
):
    r""":math:`\max(0, d(a, p) - d(a, n) + margin)`; ``swap`` takes the smaller of d(a, n) and d(p, n).

    >>> triplet_margin_loss(flambeau.zeros(1, 1), flambeau.zeros(1, 1), flambeau.ones(1, 1))
    tensor(1.9670e-06)
    """
    number = _number(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return flambeau.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, number)


@overridable
def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """Triplet margin loss with any distance; the default is :func:`pairwise_distance`."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    distance = flambeau.pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = flambeau.minimum(far, distance(positive, negative))
    return _reduce(flambeau.clamp_min(margin + near - far, 0), _reduction.get_enum(reduction))
