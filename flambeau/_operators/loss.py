"""Losses. `reduction` is 0 for none, 1 for the mean, 2 for the sum, as ATen counts them."""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.language import Index, Kernel, Size, T
from flambeau._operators.flat import laid
from flambeau._operators.norm import linalg_vector_norm
from flambeau._operators.op import Op, composite, op, pointwise
from flambeau._tensor import Tensor, has_elements
from flambeau._values.dtype import SPOKEN, can_cast, int64, uint8
from flambeau._values.shape import broadcast

NN = {"namespace": "nn", "variants": ("function", "out")}


def reduce(loss: Any, reduction: int) -> Any:
    """The losses themselves, their mean, or their sum."""
    return loss if reduction == 0 else loss.mean() if reduction == 1 else loss.sum()


# ---------------------------------------------------------------- regression


@op("mse_loss", **NN, native=True, lacks=("bic", "mse_cpu"), packed="operands", autocast="float32")
def mse_loss(k: Kernel[T], input: T, target: T, reduction: int = 1) -> T:
    """(input - target)^2."""
    d = k.rounded(input - target)
    loss = k.rounded(d * d)
    if reduction == 0:
        return loss
    total = k.reshape(k.sum(loss, tuple(range(loss.ndim))), ())
    n = 1
    for s in loss.shape:
        n *= s
    return total if reduction == 2 else total / n if n else total * math.nan


@mse_loss.arrays
def _(k, input, target, reduction=1):  # type: ignore[no-untyped-def]
    d = k.rounded(input - target)
    if reduction == 0:
        return d * d
    flat = d.reshape(-1)
    total = k.xp.dot(flat, flat) if k.narrow is None else k.xp.add.reduce(k.rounded(flat * flat))
    return total if reduction == 2 else total / d.dtype.type(d.size or math.nan)


def _mse_vjp(g: Tensor, input: Tensor, target: Tensor, reduction: int) -> Tensor:
    d = input - target
    return (d * (g * (2.0 / max(d.numel(), 1) if reduction == 1 else 2.0))).contiguous()


def _mse_arrays(k: Any, g: Any, input: Any, target: Any, reduction: int) -> Any:
    d = input - target
    factor = g * g.dtype.type(2.0 / max(d.size, 1) if reduction == 1 else 2.0)
    out = k.xp.multiply(d, factor, out=d if factor.dtype is d.dtype and d.ndim else None)
    return out if out.flags.c_contiguous else out.copy("C")


mse_loss.vjp(input=_mse_vjp, target=lambda g, input, target, reduction: -_mse_vjp(g, input, target, reduction))
mse_loss.vjp_arrays(
    input=_mse_arrays, target=lambda k, g, input, target, reduction: -_mse_arrays(k, g, input, target, reduction)
)


@composite("l1_loss", namespace="nn", variants=("function",), native=True, autocast="float32")
def l1_loss(input: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    """|input - target|."""
    return reduce((input - target).abs(), reduction)


def _distances(input: Tensor, target: Tensor) -> Tensor:
    """|input - target|, whose gradients lie in order whatever these do."""
    if not (input.is_contiguous() and target.is_contiguous()):
        input, target = laid(input), laid(target)
    return (input - target).abs()


@composite("smooth_l1_loss", **NN, native=True, lacks=("bic", "smooth_l1_cpu"), autocast="float32")
def smooth_l1_loss(input: Tensor, target: Tensor, reduction: int = 1, beta: float = 1.0) -> Tensor:
    """d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, reduction)
    d = _distances(input, target)
    return reduce((d * d * (0.5 / beta)).where(d.lt(beta), d - 0.5 * beta), reduction)


@composite("huber_loss", **NN, native=True, lacks=("bic", "huber_cpu"), autocast="float32")
def huber_loss(input: Tensor, target: Tensor, reduction: int = 1, delta: float = 1.0) -> Tensor:
    """d^2 / 2 where |d| <= delta, delta (|d| - delta / 2) elsewhere."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    d = _distances(input, target)
    return reduce((d * d * 0.5).where(d.le(delta), (d - 0.5 * delta) * delta), reduction)


@composite("poisson_nll_loss", variants=("function",), receiver="input", native=True, autocast="float32")
def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    """The negative log likelihood of counts under a Poisson law; `full` adds Stirling's approximation of log(target!)."""
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target.le(1), 0)
    return reduce(loss, reduction)


# ---------------------------------------------------------------- classification


@composite("binary_cross_entropy", **NN, lacks=("bic", "binary_cross_entropy"), autocast="float32", fixed=("weight",))
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = 1) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)); logarithms are at least -100."""
    if target.dtype is not input.dtype:
        raise RuntimeError(f"Found dtype {SPOKEN[target.dtype]} but expected {SPOKEN[input.dtype]}")
    loss = _bce(input, target)
    return reduce(loss if weight is None else loss * weight, reduction)


@op("_binary_cross_entropy", variants=(), native=True, packed="operands", lacks=("8", "binary_cross_entropy"))
def _bce(k: Kernel[T], input: T, target: T) -> T:
    low = k.like(-100.0, input)
    return (target - 1.0) * k.maximum(k.log1p(-input), low) - target * k.maximum(k.log(input), low)


@_bce.errors
def _(input: Any, target: Any) -> None:
    if input._a.size and not ((input._a >= 0) & (input._a <= 1)).all():
        raise RuntimeError("all elements of input should be between 0 and 1")


_bce.vjp(
    input=lambda g, input, target: g * (input - target) / ((1 - input) * input).clamp(min=1e-12),
    target=lambda g, input: g * ((1 - input).log().clamp(min=-100) - input.log().clamp(min=-100)),
)


@composite(
    "binary_cross_entropy_with_logits",
    variants=("function",),
    native=True,
    lacks=("bic", "log_sigmoid_cpu"),
    autocast="float32",
    fixed=("weight", "pos_weight"),
)
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without overflow."""
    from flambeau._operators.activation import log_sigmoid

    log_p = log_sigmoid(input)
    if pos_weight is None:
        loss = (1 - target) * input - log_p
    else:
        loss = (1 - target) * input - ((pos_weight - 1) * target + 1) * log_p
    if loss.dtype is not target.dtype:  # PyTorch writes over 1 - target
        if not can_cast(loss.dtype, target.dtype):
            raise RuntimeError(
                f"result type {SPOKEN[loss.dtype]} can't be cast to the desired output type {SPOKEN[target.dtype]}"
            )
        loss = loss.to(target.dtype)
    for factor in (pos_weight, weight):  # which are written into what is of the input's sizes
        if factor is not None and (shape := broadcast(tuple(input.shape), tuple(factor.shape))) != tuple(input.shape):
            raise RuntimeError(f"output with shape {list(input.shape)} doesn't match the broadcast shape {list(shape)}")
    return reduce(loss if weight is None else loss * weight, reduction)


@op(
    "nll_loss_forward",
    namespace="nn",
    variants=(),
    outputs=("output", "total_weight"),
    fixed=("weight",),
)
def nll_loss_forward(k: Kernel[T], input: T, target: Index, weight: T | None, reduction: int, ignore_index: Size) -> T:
    """-weight[t] * input[i, t] over the classes in dim 1 (or 0 of a vector), and the sum of the weights."""
    return k.library("nll", input, target, weight, reduction=reduction, ignore_index=ignore_index)


def _nll_back(
    g: Tensor, shape: Any, target: Tensor, weight: Any, total: Tensor, reduction: int, ignore_index: int
) -> Tensor:
    dim = 1 if len(shape) > 1 else 0
    keep = target.ne(ignore_index)
    at = target.where(keep, target * 0).long()
    value = -(g / total if reduction == 1 else g)
    if weight is not None:
        value = value * weight.index_select(0, at.reshape(-1)).reshape(target.shape)
    return _placed(value.expand(target.shape).masked_fill(keep.logical_not(), 0).to(g.dtype), at, shape[dim], dim)


@op("_placed", variants=(), promote="none")
def _placed(k: Kernel[T], value: T, at: Index, size: int, dim: int) -> T:
    """A new dim of this size: `value` at the places `at`, 0 elsewhere."""
    shape = (*value.shape[:dim], size, *value.shape[dim:])
    return k.where(_hit(k, at, shape, dim), k.expand(_with(k, value, dim), shape), k.like(0, value))


def _with(k: Any, x: Any, dim: int) -> Any:
    """One more dim, of size 1."""
    return k.reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


def _hit(k: Any, at: Any, shape: Any, dim: int) -> Any:
    """Whether a place along dim is the one that `at` says."""
    along = k.reshape(k.iota(shape[dim], int64), tuple(n if d == dim else 1 for d, n in enumerate(shape)))
    return k.eq(k.expand(along, shape), k.expand(_with(k, at, dim), shape))


@_placed.arrays
def _(k: Any, value: Any, at: Any, size: int, dim: int) -> Any:
    out = k.xp.zeros((*value.shape[:dim], size, *value.shape[dim:]), value.dtype)
    k.xp.put_along_axis(out, k.xp.expand_dims(at, dim), k.xp.expand_dims(value, dim), dim)
    return out


_placed.vjp(value=lambda g, at, dim: g.gather(dim, at.unsqueeze(dim)).squeeze(dim))


nll_loss_forward.vjp(
    input=lambda g_output, input_shape, target, weight, total_weight, reduction, ignore_index: _nll_back(
        g_output, input_shape, target, weight, total_weight, reduction, ignore_index
    )
).flat()


@op("_nll", variants=(), promote="none", lacks=("8", "nll_loss_out_frame"), fixed=("weight",))
def _nll(k: Kernel[T], input: T, target: Index, weight: T | None, reduction: int, ignore_index: int) -> T:
    """The first result of `nll_loss_forward`; recorded, for targets that are known to be in bounds."""
    dim = 1 if input.ndim > 1 else 0
    target = k.cast(target, int64)
    keep = k.ne(target, k.like(ignore_index, target))
    at = k.where(keep, target, k.like(0, target))
    picked = k.reshape(k.sum(k.where(_hit(k, at, input.shape, dim), input, k.like(0, input)), [dim]), target.shape)
    w = k.cast(keep, input.dtype)
    if weight is not None:
        w = k.where(keep, k.reshape(k.take(weight, 0, k.reshape(at, (-1,))), at.shape), k.like(0, weight))
    loss = k.where(keep, -(picked * w), k.like(0, picked))
    if reduction == 0:
        return loss
    total = k.reshape(k.sum(loss, tuple(range(loss.ndim))), ())
    return total / k.reshape(k.sum(w, tuple(range(w.ndim))), ()) if reduction == 1 else total


@_nll.arrays
def _(k: Any, input: Any, target: Any, weight: Any, reduction: int, ignore_index: int) -> Any:
    return k.library("nll", input, target, weight, reduction=reduction, ignore_index=ignore_index)[0]


def _nll_total(g: Tensor, target: Tensor, weight: Any, reduction: int, ignore_index: int) -> Any:
    """The sum of the weights that a mean is divided by."""
    if reduction != 1:
        return g
    keep = target.ne(ignore_index)
    if weight is None:
        return keep.sum().to(g.dtype)
    at = target.where(keep, target * 0).long()
    return weight.index_select(0, at.reshape(-1)).masked_fill(keep.reshape(-1).logical_not(), 0).sum()


_nll.known_as("NllLossBackward0", event="nll_loss_forward").vjp(
    input=lambda g, input_shape, target, weight, reduction, ignore_index: _nll_back(
        g, input_shape, target, weight, _nll_total(g, target, weight, reduction, ignore_index), reduction, ignore_index
    )
).flat()


_nll.vjp_arrays(
    input=lambda k, g, input_shape, target, weight, reduction, ignore_index: k.library(
        "nll_back", g, target, weight, shape=input_shape, reduction=reduction, ignore_index=ignore_index
    )
)


@_nll.errors
def _(input: Tensor, target: Tensor, weight: Any, reduction: int, ignore_index: int) -> None:
    if input.ndim == 0 or (input.ndim > 2 and target.ndim != input.ndim - 1):
        raise RuntimeError(
            "input tensor should be 1D or 2D"
            if input.ndim == 0
            else f"Expected target size {[input.shape[0], *input.shape[2:]]}, got {list(target.shape)}"
        )
    classes = input.shape[1] if input.ndim > 1 else input.shape[0]
    if input.ndim > 1 and target.shape[0] != input.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    if weight is not None and (weight.ndim != 1 or weight.numel() != classes):
        raise RuntimeError(
            "weight tensor should be defined either for all "
            f"{classes} classes or no classes but got weight tensor of shape: {list(weight.shape)}"
        )
    if target.dtype not in (int64, uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {SPOKEN[target.dtype]}")
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(f"expected scalar type {SPOKEN[input.dtype]} but found {SPOKEN[weight.dtype]}")


@composite("nll_loss", **NN, lacks=("bic", "nll_loss_out_frame"), autocast="float32")
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = 1, ignore_index: Size = -100
) -> Tensor:
    """The negative log likelihood of class indices, given log-probabilities (n, c) or (c,)."""
    if input.ndim == 2 and target.ndim == 1 and input._a.shape[0] == target._a.shape[0]:  # hot: most calls
        return _nll(input, target, weight, reduction, ignore_index)
    if input.ndim not in (1, 2):
        raise RuntimeError("input tensor should be 1D or 2D")
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input.ndim == 1 and target.ndim == 1 and target._a.shape[0] != 1:
        raise RuntimeError(f"For 1D input, 1D target must have size 1, but got target size: {target.shape[0]}")
    if input.ndim > 1 and target.ndim and target._a.shape[0] != input._a.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        )
    if input.ndim == 1 and target.ndim == 1:
        out = _nll(input, target.reshape(()), weight, reduction, ignore_index)
        return out.reshape(1) if reduction == 0 else out
    return _nll(input, target, weight, reduction, ignore_index)


@composite("nll_loss2d", **NN, lacks=("bic", "nll_loss2d_forward_out_frame"), autocast="float32")
def nll_loss2d(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = 1, ignore_index: Size = -100
) -> Tensor:
    """`nll_loss` of images (n, c, h, w) against (n, h, w)."""
    if target.ndim != 3:
        raise RuntimeError(
            f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {target.ndim}"
        )
    if input.ndim != 4:
        raise RuntimeError(
            f"only batches of spatial inputs supported (4D tensors), but got input of dimension: {input.ndim}"
        )
    if tuple(target.shape) != (input.shape[0], *input.shape[2:]):
        raise RuntimeError(f"size mismatch (got input: {list(input.shape)} , target: {list(target.shape)}")
    return _nll(input, target, weight, reduction, ignore_index)


@composite("nll_loss_nd", namespace="nn", variants=("function",), autocast="float32")
def nll_loss_nd(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: int = 1, ignore_index: Size = -100
) -> Tensor:
    """`nll_loss` with any number of dims after the classes."""
    rank = input.ndim
    if rank < 1:
        raise ValueError(f"Expected 1 or more dimensions (got {input.ndim})")
    if rank != 1 and (target.ndim == 0 or input._a.shape[0] != target._a.shape[0]):
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0] if target.ndim else 0})."
        )
    if rank <= 2:
        return nll_loss(input, target, weight, reduction, ignore_index)
    if tuple(target.shape)[1:] != tuple(input.shape)[2:]:
        raise RuntimeError(f"Expected target size {[input.shape[0], *input.shape[2:]]}, got {list(target.shape)}")
    if input.ndim == 4:
        return nll_loss2d(input, target, weight, reduction, ignore_index)
    return _nll(input, target, weight, reduction, ignore_index)


@composite("cross_entropy_loss", namespace="nn", variants=("function",), autocast="float32")
def cross_entropy_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = 1,
    ignore_index: Size = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input) at the target class, or averaged over target probabilities."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    dim = 0 if input.ndim == 1 else 1
    alike = tuple(input._a.shape) == tuple(target._a.shape)
    if alike and target.dtype.kind not in "bi":
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _probabilities(input, target, weight, reduction, label_smoothing, dim)
    if alike and input.ndim > 1:
        raise RuntimeError(
            "Expected floating point type for target with class probabilities, got " + SPOKEN[target.dtype]
        )
    if label_smoothing == 0:
        return _class_loss(input, target, weight, reduction, ignore_index)
    log_p = input.log_softmax(dim)
    nll = nll_loss_nd(log_p, target, weight, reduction, ignore_index)
    classes = input.shape[dim]
    ignored = target.eq(ignore_index)
    smooth = -(
        log_p
        if weight is None
        else log_p * weight.reshape(1, -1, *(1,) * (input.ndim - 2))
        if input.ndim > 1
        else log_p * weight
    ).sum(dim)
    smooth = smooth.masked_fill(ignored, 0.0)
    if reduction == 2:
        smooth = smooth.sum()
    elif reduction == 1:
        if weight is None:
            smooth = smooth.sum() / ignored.logical_not().sum()
        else:
            kept = target.masked_fill(ignored, 0)
            smooth = (
                smooth.sum()
                / weight.index_select(0, kept.reshape(-1)).reshape(target.shape).masked_fill(ignored, 0.0).sum()
            )
    return (1 - label_smoothing) * nll + (label_smoothing / classes) * smooth


@composite("_class_loss", variants=(), native=True)
def _class_loss(input: Tensor, target: Tensor, weight: Tensor | None, reduction: int, ignore_index: int) -> Tensor:
    """-log softmax(input) at the target class."""
    return nll_loss_nd(input.log_softmax(0 if input.ndim == 1 else 1), target, weight, reduction, ignore_index)


@_class_loss.errors
def _(input: Any, target: Any, weight: Any, reduction: int, ignore_index: int) -> None:
    """What the recorded body takes for granted."""
    at, classes = target._a, input.shape[min(1, input.ndim - 1)]
    if at.dtype.kind in "iu" and at.size and has_elements(target) and (at.min() < 0 or at.max() >= classes):
        bad = at[((at < 0) | (at >= classes)) & (at != ignore_index)].reshape(-1)
        if bad.size:
            raise IndexError(f"Target {int(bad[0])} is out of bounds.")


@composite("_probability_loss", variants=(), native=True)
def _probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: int, smoothing: float, dim: int
) -> Tensor:
    """-log softmax(input), averaged over target probabilities."""
    classes = input.shape[dim]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    log_p = input.log_softmax(dim)
    terms = log_p * target
    if weight is not None:
        terms = terms * weight.reshape(tuple(-1 if d == dim else 1 for d in range(input.ndim)))
    if reduction == 0:
        return -terms.sum(dim)
    if reduction == 1:
        return -terms.sum() / max(1, input.numel() // max(1, classes)) if input.numel() else -terms.sum() / 0.0
    return -terms.sum()


@composite("kl_div", variants=("function",), native=True, autocast="float32")
def kl_div(input: Tensor, target: Tensor, reduction: int = 1, *, log_target: bool = False) -> Tensor:
    """target * (log target - input); `log_target` says that target holds logarithms."""
    if not input.is_floating_point():
        raise RuntimeError(f"kl_div: {'Complex' if input.is_complex() else 'Integral'} inputs not supported.")
    if log_target:
        return reduce(target.exp() * (target - input), reduction)
    return reduce(target.xlogy(target) - target * input, reduction)


@composite("soft_margin_loss", **NN, native=True, autocast="float32", fixed=("target",))
def soft_margin_loss(input: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    """log(1 + exp(-target * input))."""
    if input.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
            "`logical_not()` operator instead."
        )
    if input.dtype.kind in "iu":
        raise RuntimeError(f"result type Float can't be cast to the desired output type {SPOKEN[input.dtype]}")
    if target.is_complex() and not input.is_complex():
        raise RuntimeError(
            f"result type {SPOKEN[target.dtype]} can't be cast to the desired output type {SPOKEN[input.dtype]}"
        )
    target = target.to(input.dtype)  # PyTorch computes in the result, which is of the input's dtype
    return reduce(_soft_margin(input, target), reduction)


@pointwise("_soft_margin", variants=())
def _soft_margin(k: Kernel[T], input: T, target: T) -> T:
    """log(1 + exp(-target * input)), elementwise."""
    return k.log1p(k.exp(-target * input))


@pointwise("_soft_margin_slope", variants=())
def _soft_margin_slope(k: Kernel[T], input: T, target: T) -> T:
    """z / (1 + z) for z = exp(-target * input)."""
    z = k.exp(-target * input)
    return z / (z + 1)


_soft_margin_slope.derivative(
    input=lambda k, g, input, target: -g * target * _bell(k, input, target),
    target=lambda k, g, input, target: -g * input * _bell(k, input, target),
)


def _bell(k: Any, input: Any, target: Any) -> Any:
    """z / (1 + z)^2: without the difference of two near ones."""
    z = k.exp(-target * input)
    return z / ((z + 1) * (z + 1))


_soft_margin.vjp(
    input=lambda g, input, target: g * -target * _soft_margin_slope(input, target),
    target=lambda g, input, target: g * -input * _soft_margin_slope(input, target),
)


def _positive(z: Tensor) -> Tensor:
    """What is above zero, and zeros: also where it is not a number."""
    return z.masked_fill(z.gt(0).logical_not(), 0)


@composite(
    "multi_margin_loss(Tensor self, Tensor target, Scalar p=1, Scalar margin=1, Tensor? weight=None, int reduction=1)",
    **NN,
    lacks=("bihc", "multi_margin_loss_cpu_kernel"),
    autocast="float32",
    fixed=("weight",),
)
def multi_margin_loss(
    input: Tensor, target: Tensor, p: Any = 1, margin: Any = 1, weight: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """mean over the other classes of max(0, margin - input[t] + input[i])^p."""
    if p not in (1, 2):
        raise RuntimeError("only p == 1 and p == 2 supported")
    if (
        input.ndim not in (0, 1, 2)
        or (input.ndim == 2 and input.shape[1] == 0)
        or (input.ndim == 1 and input.shape[0] == 0)
    ):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    x = input.reshape(1, -1) if input.ndim < 2 else input
    t = target.reshape(-1)
    if t.shape[0] != x.shape[0]:
        raise RuntimeError(f"inconsistent target size, expected {x.shape[0]} but got {list(target.shape)}")
    if t._a.size and has_elements(t) and (t._a.min() < 0 or t._a.max() >= x.shape[1]):
        raise RuntimeError("target out of range")
    if weight is not None and (weight.ndim != 1 or weight.numel() != x.shape[1]):
        raise RuntimeError(f"inconsistent weight size, expected {x.shape[1]} but got {list(weight.shape)}")
    at = t.unsqueeze(1)
    z = _positive(margin - x.gather(1, at) + x)
    z = z if p == 1 else z * z
    if weight is not None:
        z = z * weight.index_select(0, t).unsqueeze(1)
    z = z * z.new_ones(z.shape).scatter(1, at, 0.0)
    loss = z.sum(1) / x.shape[1]
    return reduce(loss.reshape(target.shape) if reduction == 0 else loss, reduction)


@composite(
    "multilabel_margin_loss", **NN, lacks=("bihc", "multilabel_margin_loss_forward_out_frame"), autocast="float32"
)
def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: int = 1) -> Tensor:
    """Margins between each target class (up to the first -1) and every class that is none."""
    if tuple(input.shape) != tuple(target.shape) or input.ndim > 2:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    if not input.numel() and (input.ndim < 2 or not input.shape[1]):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    single = input.ndim < 2
    x, t = (input.reshape(1, -1), target.reshape(1, -1)) if single else (input, target)
    n, c = x.shape
    if t._a.size and (t._a.min() < -1 or t._a.max() >= c):
        raise RuntimeError("target out of range")
    valid = t.ge(0).long().cumprod(1).bool()
    if n:
        valid = valid[:, : max(1, int(valid.sum(1).amax()))]  # no row has more targets
    at = t[:, : valid.shape[1]].masked_fill(valid.logical_not(), 0)
    is_target = x.new_zeros((n, c)).scatter_add(1, at, valid.to(x.dtype)).gt(0)
    loss = _margins(x, x.gather(1, at), valid, is_target) / c
    return reduce(loss.reshape(()) if single else loss, reduction)


@composite("_margins", variants=(), native=True)
def _margins(x: Tensor, target: Tensor, valid: Tensor, is_target: Tensor) -> Tensor:
    """The sums of what classes that are no target (n, c) come too near to the targets (n, m) that are valid."""
    margins = _positive(1 - target.unsqueeze(2) + x.unsqueeze(1))
    counts = valid.unsqueeze(2).logical_and(is_target.logical_not().unsqueeze(1))
    return (margins * counts.to(x.dtype)).sum((1, 2))


@composite(
    "multilabel_margin_loss_forward(Tensor self, Tensor target, int reduction) -> (Tensor output, Tensor is_target)",
    namespace="nn",
    variants=("function",),
    autocast="float32",
)
def multilabel_margin_loss_forward(input: Tensor, target: Tensor, reduction: int) -> tuple[Tensor, Tensor]:
    """`multilabel_margin_loss`, and which classes are targets."""
    return multilabel_margin_loss(input, target, reduction), input.new_zeros(input.shape)


# ---------------------------------------------------------------- embeddings


@composite("cosine_similarity", variants=("function",), native=True)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-08) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along dim.

    >>> torch.nn.functional.cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), dim=0)
    tensor(0.7071)
    """
    common = Op.meeting([x1, x2])
    if common.kind != "f":
        raise RuntimeError("expected common dtype to be floating point, yet common dtype is " + SPOKEN[common])
    x1, x2 = x1.to(common), x2.to(common)
    shape = broadcast(tuple(x1.shape), tuple(x2.shape))
    x1, x2 = x1.expand(shape), x2.expand(shape)
    n1, n2 = (_at_least(linalg_vector_norm(x, 2, dim, True), eps) for x in (x1, x2))
    return ((x1 / n1) * (x2 / n2)).sum(dim)


def _at_least(norms: Tensor, eps: float) -> Tensor:
    """Norms, limited without a trace: gradients reach what is below the limit, too."""
    return norms.where(norms >= eps, norms - norms.detach() + eps)


@composite("pairwise_distance", variants=("function",), native=True)
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2, eps: float = 1e-06, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dim.

    >>> torch.nn.functional.pairwise_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
    tensor(5.)
    """
    return (x1 - x2 + eps).norm(p, -1, keepdim)


@composite("cosine_embedding_loss", variants=("function",), native=True, autocast="float32")
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1."""
    if target.ndim not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.ndim == 1 and (input1.ndim != 2 or input2.ndim != 2):
        raise RuntimeError(
            f"1D target tensor expects 2D input tensors, but found inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    if target.ndim == 0 and (input1.ndim != 1 or input2.ndim != 1):
        raise RuntimeError(
            f"0D target tensor expects 1D input tensors, but found inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    dim = target.ndim
    eps = 1e-12
    dot = (input1 * input2).sum(dim)
    cos = dot / (((input1 * input1).sum(dim) + eps) * ((input2 * input2).sum(dim) + eps)).sqrt()
    zero = cos * 0
    loss = (1 - cos).where(target.eq(1), zero) + (cos - margin).clamp(min=0).where(target.eq(-1), zero)
    return reduce(loss, reduction)


@composite("hinge_embedding_loss", variants=("function",), native=True, autocast="float32")
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 1) -> Tensor:
    """x where target is 1, max(0, margin - x) where it is -1."""
    zero = input * 0
    if input.dtype.kind in "iu":
        margin = int(margin)  # as a number that is stored among them
    return reduce((margin - input).clamp(min=0).where(target.ne(1), zero) + input.where(target.ne(-1), zero), reduction)


@composite("margin_ranking_loss", variants=("function",), native=True, autocast="float32")
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin)."""
    if not (input1.ndim == input2.ndim == target.ndim):
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{list(input1.shape)}, input2: {list(input2.shape)}, target: {list(target.shape)} "
        )
    losses = (-target * (input1 - input2) + margin).clamp(min=0)
    return reduce(losses, reduction) if reduction else losses


@composite("triplet_margin_loss", variants=("function",), native=True, autocast="float32")
def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-06, swap: bool = False,
                        reduction: int = 1) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""
    if not (anchor.ndim == positive.ndim == negative.ndim):
        raise RuntimeError(
            f"The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: anchor {anchor.ndim}D, "
            f"positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return reduce((margin + near - far).clamp(min=0), reduction)
