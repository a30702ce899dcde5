"""Activations and softmax. Their derivatives are PyTorch's, also where a formula has a kink."""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.language import Dim, DType, Kernel, Scalar, T
from flambeau._operators.flat import still
from flambeau._operators.op import FUNCTION, Definition, composite, op, pointwise
from flambeau._tensor import Tensor
from flambeau._values.dtype import FLOAT8, SPOKEN, check_fits, float64
from flambeau._values.limits import finfo
from flambeau._values.shape import wrap_dim

FORMS = ("function", "inplace", "out")


def _in_nn(name: str, **kwargs: Any) -> Definition:
    return pointwise(name, namespace="nn", variants=FORMS, promote=kwargs.pop("promote", "default"), **kwargs)


# ---------------------------------------------------------------- softmax


@op("softmax.int", promote="default", variants=("function", "method", "out"), native=True, packed=True)
def softmax(k: Kernel[T], input: T, dim: Dim, dtype: DType | None = None) -> T:
    """Exponentials along `dim`, rescaled so that they sum to 1."""
    if not input.ndim or not input.shape[dim]:
        return k.exp(input - input)
    e = k.exp(input - k.max(input, [dim]))  # shifted by the maximum, which cancels: no overflow
    return e / k.sum(e, [dim])


@op("log_softmax.int", promote="default", variants=("function", "method", "out"), native=True, packed=True)
def log_softmax(k: Kernel[T], input: T, dim: Dim, dtype: DType | None = None) -> T:
    """log(softmax(x)), computed without taking the logarithm of a small number."""
    if not input.ndim or not input.shape[dim]:
        return input - input
    x = input - k.max(input, [dim])
    return x - k.log(k.sum(k.exp(x), [dim]))


def _floating(name: str, input: Any, dim: int, dtype: Any) -> None:
    wrap_dim(dim, input.ndim)
    d = dtype or input.dtype
    if (d.kind in "bic" or d in FLOAT8) and input.numel():
        last = not input.ndim or dim in (-1, input.ndim - 1)
        raise NotImplementedError(
            f"\"{name}{'_lastdim' if last else ''}_kernel_impl\" not implemented for '{SPOKEN[d]}'"
        )


softmax.errors(lambda input, dim, dtype: _floating("softmax", input, dim, dtype))
log_softmax.errors(lambda input, dim, dtype: _floating("log_softmax", input, dim, dtype))
softmax.vjp(input=lambda g, out, dim: out * (g - (out * g).sum(dim, keepdim=True)))
softmax.vjp_arrays(
    input=lambda k, g, out, dim: out * (g - k.xp.add.reduce(out * g, dim if out.ndim else (), None, None, True))
)
log_softmax.vjp(input=lambda g, out, dim: g - out.exp() * g.sum(dim, keepdim=True))
log_softmax.vjp_arrays(
    input=lambda k, g, out, dim: g - k.exp(out) * k.xp.add.reduce(g, dim if out.ndim else (), None, None, True)
)


@composite("_softmax_backward_data", variants=FUNCTION, lacks=("bic", "softmax_backward_lastdim_kernel_impl"))
def _softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: DType) -> Tensor:
    """What reaches the input of a softmax."""
    return (output * (grad_output - (output * grad_output).sum(dim, keepdim=True))).to(input_dtype)


@composite("_log_softmax_backward_data", variants=FUNCTION)
def _log_softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: DType) -> Tensor:
    """What reaches the input of a log_softmax."""
    return (grad_output - output.exp() * grad_output.sum(dim, keepdim=True)).to(input_dtype)


# ---------------------------------------------------------------- smooth


@pointwise("gelu", namespace="nn", variants=FORMS, lacks=("bic", "GeluKernelImpl"))
def gelu(k: Kernel[T], input: T, *, approximate: str = "none") -> T:
    """Gaussian error linear unit: x * Phi(x)."""
    if approximate == "tanh":
        return input * 0.5 * (k.tanh((input + input * input * input * 0.044715) * 0.7978845608028654) + 1.0)
    return input * 0.5 * (k.erf(input * 0.7071067811865476) + 1.0)


@gelu.errors
def _(input: Any, approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")


@_in_nn("silu", lacks=("biC", "silu_cpu"), real=True)
def silu(k: Kernel[T], input: T) -> T:
    """x * sigmoid(x)."""
    return input * k.sigmoid(input)


def _softplus(k: Any, x: Any) -> Any:
    return k.maximum(x, k.like(0, x)) + k.log1p(k.exp(-k.abs(x)))


@_in_nn("mish", lacks=("bic", "mish_cpu"))
def mish(k: Kernel[T], input: T) -> T:
    """x * tanh(log(1 + exp(x)))."""
    return input * k.tanh(_softplus(k, input))


def _mish_derivative(k: Any, g: Any, input: Any) -> Any:
    t = k.tanh(_softplus(k, input))
    return g * (t + input * k.sigmoid(input) * (1.0 - t * t))


mish.derivative(input=_mish_derivative)


@_in_nn("softplus", lacks=("bic", "softplus_cpu"))
def softplus(k: Kernel[T], input: T, beta: Scalar = 1, threshold: Scalar = 20) -> T:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold.

    >>> torch.nn.functional.softplus(torch.tensor([0.0, 30.0]))
    tensor([ 0.6931, 30.0000])
    """
    x = input * beta
    return k.where(k.gt(x, k.like(threshold, x)), input, k.log1p(k.exp(x)) / k.like(beta, x))


softplus.derivative(
    input=lambda k, g, input, beta, threshold: k.where(
        k.gt(input * beta, k.like(threshold, input)), g, g * k.sigmoid(input * beta)
    )
)


@pointwise("log_sigmoid", namespace="nn", variants=("function", "out"), lacks=("bic", "log_sigmoid_cpu"))
def log_sigmoid(k: Kernel[T], input: T) -> T:
    """log(1 / (1 + exp(-x)))."""
    return k.minimum(input, k.like(0, input)) - k.log1p(k.exp(-k.abs(input)))


@pointwise("_log_sigmoid_slope", variants=())
def _log_sigmoid_slope(k: Kernel[T], input: T) -> T:
    """1 / (1 + exp(x))."""
    return k.sigmoid(-input)


_log_sigmoid_slope.derivative(input=lambda k, g, input: -g * k.sigmoid(input) * k.sigmoid(-input))
log_sigmoid.vjp(input=lambda g, input: g * _log_sigmoid_slope(input))


@pointwise("elu", namespace="nn", variants=FORMS, lacks=("bic", "elu_cpu"))
def elu(k: Kernel[T], input: T, alpha: Scalar = 1, scale: Scalar = 1, input_scale: Scalar = 1) -> T:
    """x where positive, alpha * (exp(x) - 1) elsewhere; both scaled."""
    zero = k.like(0, input)
    return k.where(k.gt(input, zero), input * scale, k.expm1(input * input_scale) * (alpha * scale))


elu.derivative(
    input=lambda k, g, input, alpha, scale, input_scale: k.where(
        k.le(input, k.like(0, input)), g * k.exp(input * input_scale) * (alpha * scale * input_scale), g * scale
    )
)


@composite("selu", variants=("function", "inplace"), lacks=("bic", "elu_cpu"))
def selu(input: Tensor) -> Tensor:
    """The self-normalising exponential linear unit (Klambauer et al., 2017)."""
    return elu(input, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@composite("celu", variants=("function", "inplace"), lacks=("bic", "elu_cpu"))
def celu(input: Tensor, alpha: Scalar = 1.0) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return elu(input, alpha, 1.0, 1.0 / alpha)


# ---------------------------------------------------------------- piecewise linear


def _unless(k: Any, condition: Any, g: Any) -> Any:
    """g, and 0 where a condition holds, whatever g is there."""
    return k.where(condition, k.like(0, g), g)


@pointwise("relu", variants=("function", "method", "inplace"), lacks=("u", "clamp_min_scalar_cpu"))
def relu(k: Kernel[T], input: T) -> T:
    """max(x, 0)."""
    return k.maximum(k.like(0, input), input)  # which keeps -0.0, as the second of two equals


@relu.errors
def _(input: Any) -> None:
    if input._a.dtype.kind == "b":
        raise RuntimeError("Boolean inputs not supported for relu")
    if input.is_complex():
        raise NotImplementedError("clamp is not supported for complex types")


relu.derivative(input=lambda k, g, out: _unless(k, k.le(out, k.like(0, out)), g))


@composite("relu6", namespace="nn", variants=("function", "inplace"), lacks=("u", "clamp_scalar_cpu"))
def relu6(input: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0, 6)


@_in_nn("leaky_relu", lacks=("bic", "leaky_relu_cpu"))
def leaky_relu(k: Kernel[T], input: T, negative_slope: Scalar = 0.01) -> T:
    """x where positive, negative_slope * x elsewhere."""
    return k.where(k.gt(input, k.like(0, input)), input, input * negative_slope)


leaky_relu.derivative(
    input=lambda k, g, input, negative_slope: k.where(k.gt(input, k.like(0, input)), g, g * negative_slope)
)


@pointwise("threshold", variants=("function", "inplace", "out"), lacks=("ubc", "threshold_cpu"))
def threshold(k: Kernel[T], input: T, threshold: Scalar, value: Scalar) -> T:
    """x where above the threshold, value elsewhere."""
    return k.where(k.le(input, k.like(threshold, input)), k.like(value, input), input)


@threshold.errors
def _(input: Any, threshold: Any, value: Any) -> None:
    check_fits(threshold, input.dtype, True)
    check_fits(value, input.dtype, True)


threshold.derivative(input=lambda k, g, input, threshold: _unless(k, k.le(input, k.like(threshold, input)), g))


@_in_nn("hardtanh", lacks=("u", "clamp_scalar_cpu"))
def hardtanh(k: Kernel[T], input: T, min_val: Scalar = -1, max_val: Scalar = 1) -> T:
    """x limited to [min_val, max_val]."""
    return k.minimum(
        k.like(max_val, input), k.maximum(k.like(min_val, input), input)
    )  # of two equals the second, as in `relu`


@hardtanh.errors
def _(input: Any, min_val: Any, max_val: Any) -> None:
    if input._a.dtype.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if input._a.dtype.kind == "u" and (int(min_val) < 0 or int(max_val) < 0):
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    if input.is_complex():
        raise NotImplementedError("clamp is not supported for complex types")
    for limit in (min_val, max_val):
        check_fits(limit, input.dtype)


hardtanh.derivative(
    input=lambda k, g, input, min_val, max_val: _unless(
        k, k.logical_or(k.le(input, k.like(min_val, input)), k.ge(input, k.like(max_val, input))), g
    )
)


@_in_nn("hardsigmoid", lacks=("bic", "hardsigmoid_cpu"))
def hardsigmoid(k: Kernel[T], input: T) -> T:
    """min(max(x + 3, 0), 6) / 6."""
    return k.minimum(k.maximum(input + 3.0, k.like(0.0, input)), k.like(6.0, input)) / 6.0


hardsigmoid.derivative(input=lambda k, g, input: k.where(k.lt(k.abs(input), k.like(3.0, input)), g / 6.0, k.like(0, g)))


@_in_nn("hardswish", lacks=("bic", "hardswish_cpu"))
def hardswish(k: Kernel[T], input: T) -> T:
    """x * min(max(x + 3, 0), 6) / 6."""
    return input * k.minimum(k.maximum(input + 3.0, k.like(0.0, input)), k.like(6.0, input)) / 6.0


hardswish.derivative(
    input=lambda k, g, input: k.where(
        k.lt(input, k.like(3.0, input)), _unless(k, k.le(input, k.like(-3.0, input)), g * (input / 3.0 + 0.5)), g
    )
)


@pointwise("hardshrink", variants=("function", "method", "out"), lacks=("bic", "hardshrink_cpu"))
def hardshrink(k: Kernel[T], input: T, lambd: Scalar = 0.5) -> T:
    """x where |x| > lambd, 0 elsewhere.

    >>> torch.nn.functional.hardshrink(torch.tensor([-1.0, 0.2]))
    tensor([-1.,  0.])
    """
    keep = k.logical_or(k.gt(k.abs(input), k.like(lambd, input)), k.ne(input, input))
    return k.where(keep, input, k.like(0, input))


hardshrink.errors(lambda input, lambd: check_fits(lambd, input.dtype))
hardshrink.derivative(input=lambda k, g, input, lambd: _unless(k, k.le(k.abs(input), k.like(lambd, input)), g))


@pointwise("softshrink", namespace="nn", variants=("function", "out"), lacks=("bic", "softshrink_check"))
def softshrink(k: Kernel[T], input: T, lambd: Scalar = 0.5) -> T:
    """x moved by lambd towards 0, and 0 where it would cross.

    >>> torch.nn.functional.softshrink(torch.tensor([-1.0, 0.2]))
    tensor([-0.5000,  0.0000])
    """
    zero, limit = k.like(0, input), k.like(lambd, input)
    return k.where(k.gt(input, limit), input - limit, k.where(k.lt(input, -limit), input + limit, input * zero))


softshrink.derivative(input=lambda k, g, input, lambd: _unless(k, k.le(k.abs(input), k.like(lambd, input)), g))


@softshrink.errors
def _(input: Any, lambd: Any) -> None:
    most = finfo(input.dtype).max if input.dtype.is_floating_point else math.inf
    if not 0 <= lambd <= most:
        raise RuntimeError(
            f"lambda must be in range [0, {most:g}] for input dtype {SPOKEN[input.dtype]}, but found {lambd:g}"
        )


@composite("prelu", "_prelu_kernel", native=True, formats=True, lacks=("bic", "prelu_cpu"), autocast="lower")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, weight * x elsewhere; one weight for all, or one for each channel (dim 1).

    >>> torch.nn.functional.prelu(torch.tensor([-2.0, 2.0]), torch.tensor([0.25]))
    tensor([-0.5000,  2.0000])
    """
    if weight.numel() != 1:
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if weight.numel() != channels:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.numel()} and channel size = {channels}."
            )
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.dtype is not input.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {SPOKEN[input.dtype]} and {SPOKEN[weight.dtype]}")
    if weight.ndim == 1 and input.ndim > 1:
        weight = weight.reshape(-1, *(1,) * (input.ndim - 2))
    elif weight.ndim == 1 and input.ndim <= 1:
        weight = weight.reshape(()) if input.ndim == 0 else weight
    input, weight = still(input), still(weight)
    return input.where(input.gt(0), input * weight)


@composite(
    "rrelu_with_noise(Tensor self, Tensor(b!) noise, Scalar lower=0.125, Scalar upper=0.33333333333333331, bool training=False, Generator? generator=None)",
    namespace="nn",
    variants=("function", "inplace"),
    fixed=("noise",),
)
def rrelu_with_noise(
    input: Tensor,
    noise: Tensor,
    lower: Scalar = 0.125,
    upper: Scalar = 0.3333333333333333,
    training: bool = False,
    generator: Any = None,
) -> Tensor:
    """`rrelu`, with the slopes left in `noise`."""
    if lower > upper:  # type: ignore[operator]
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if noise.shape != input.shape:
        raise RuntimeError(
            f"noise tensor shape must match self tensor shape. Got self.shape = {list(input.shape)} noise.shape = {list(noise.shape)}"
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    falling = input.detach().le(0)  # only these take random numbers: doubles, one after another
    first, last = noise.new_full((), lower).item(), noise.new_full((), upper).item()  # bounds of input's dtype
    slopes = noise.new_empty(int(falling.sum()), dtype=float64).uniform_(first, last, generator=generator)
    noise.copy_(noise.new_ones(input.shape).masked_scatter(falling, slopes.to(noise.dtype)))
    return still(input) * noise


@composite(
    "rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.33333333333333331, bool training=False, Generator? generator=None)",
    variants=("function", "inplace"),
    lacks=("bic", "rrelu_with_noise_out_cpu"),
)
def rrelu(
    input: Tensor,
    lower: Scalar = 0.125,
    upper: Scalar = 0.3333333333333333,
    training: bool = False,
    generator: Any = None,
) -> Tensor:
    """x where positive, x times a random slope from [lower, upper] elsewhere (their mean when not training)."""
    return rrelu_with_noise(input, input.detach().new_empty(input.shape), lower, upper, training, generator)


@composite("glu", namespace="nn", variants=("function", "out"), native=True, lacks=("bic", "glu_cpu"))
def glu(input: Tensor, dim: Dim = -1) -> Tensor:
    """The first half along dim times the sigmoid of the second."""
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    d = wrap_dim(dim, input.ndim)
    if input.shape[d] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {d} is size {input.shape[d]}")
    a, b = input.chunk(2, d)
    if input.itemsize == 2:  # no step is rounded
        return (a.float() * b.float().sigmoid()).to(input.dtype)
    return a * b.sigmoid()
