"""Elementary functions of one number: exponentials, logarithms, circular and hyperbolic functions, rounding.

All but rounding are the same few lines around a word of the kernel language, so a table makes them.
"""

from __future__ import annotations

import math
from typing import Any

from flambeau._kernel.expansions import trigamma
from flambeau._kernel.language import Kernel, N, T
from flambeau._operators.op import ALL_FORMS, Op, composite, pointwise, underived
from flambeau._operators.pointwise import pow
from flambeau._tensor import Tensor

# What PyTorch computes by routines of its own; the others' are those of a vector library, and so named.
UNVECTORED = ("acosh", "asinh", "atanh", "cosh", "sinh", "rsqrt", "sigmoid")


def _one(word: str, what: str, lacks: Any = (), names: tuple[str, ...] = ()) -> Op:
    """An operator that is one word of the language, on floating numbers."""

    def body(k: Kernel[T], input: T) -> T:
        return getattr(k, word)(input)

    body.__name__ = word
    body.__doc__ = what
    if not lacks:
        lacks = ("C", word if word == "exp2" else f"{word}_cpu" if word in UNVECTORED else f"{word}_vml_cpu")
    return pointwise(word, variants=ALL_FORMS, promote="float", names=names, lacks=lacks)(body)


exp = _one("exp", "The exponential e^x of each element.")
exp2 = _one("exp2", "2^x for each element.")
expm1 = _one("expm1", "e^x - 1, accurate near 0.")
log = _one("log", "The natural logarithm of each element.")
log2 = _one("log2", "The logarithm to base 2.")
log10 = _one("log10", "The logarithm to base 10.")
log1p = _one("log1p", "log(1 + x), accurate near 0.")
sqrt = _one("sqrt", "The square root of each element.")
rsqrt = _one("rsqrt", "1 / sqrt(x).")
sin = _one("sin", "The sine of each element, in radians.")
cos = _one("cos", "The cosine of each element, in radians.")
tan = _one("tan", "The tangent of each element, in radians.")
asin = _one("asin", "The angle between -pi/2 and pi/2 whose sine is x.", names=("arcsin",))
acos = _one("acos", "The angle between 0 and pi whose cosine is x.", names=("arccos",))
atan = _one("atan", "The angle between -pi/2 and pi/2 whose tangent is x.", names=("arctan",))
sinh = _one("sinh", "The hyperbolic sine of each element.")
cosh = _one("cosh", "The hyperbolic cosine of each element.")
tanh = _one("tanh", "The hyperbolic tangent of each element.")
asinh = _one("asinh", "The number whose hyperbolic sine is x.", names=("arcsinh",))
acosh = _one("acosh", "The number, not negative, whose hyperbolic cosine is x.", names=("arccosh",))
atanh = _one("atanh", "The number whose hyperbolic tangent is x.", names=("arctanh",))
sigmoid = _one("sigmoid", "1 / (1 + exp(-x)).", (("C", "sigmoid_cpu"), ("8", "sigmoid_cpu_reduced_float")))
erf = _one("erf", "The error function: 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x.", ("c", "erf_vml_cpu"))
erfc = _one("erfc", "1 - erf(x), accurate for large x.", ("c", "erfc_vml_cpu"))
erfinv = _one("erfinv", "The number whose error function is x.", ("c", "erfinv_vml_cpu"))
lgamma = _one("lgamma", "log(|gamma(x)|).", ("c", "lgamma_vml_cpu"))
digamma = _one("digamma", "The derivative of lgamma.", ("c", "digamma"))


digamma.derivative(input=lambda k, g, input: g * trigamma(k, input))
digamma.vjp_arrays(input=lambda k, g, input: g * k.polygamma(k.like(1, input), input))


@exp2.arrays
def _(k: Any, input: Any) -> Any:
    return k.exp(input * math.log(2)) if input.dtype.kind == "c" else k.exp2(input)


@digamma.arrays
def _(k: Any, input: Any) -> Any:
    """The pole at zero has the sign that the zero does not have; the other poles have no value."""
    out = k.digamma(input)
    out = k.where(k.logical_and(k.lt(input, 0), k.eq(input, k.trunc(input))), k.like(math.nan, out), out)
    return k.where(k.eq(input, 0), k.copysign(k.like(math.inf, out), -input), out)


# ---------------------------------------------------------------- rounding: integers stay what they are


def _round(word: str, what: str, names: tuple[str, ...] = ()) -> Op:
    def body(k: Kernel[T], input: T) -> T:
        return getattr(k, word)(input)

    body.__name__ = word
    body.__doc__ = what
    made = pointwise(
        word, variants=ALL_FORMS, names=names, lacks=("bc" if word == "round" else "b", f"{word}_vml_cpu")
    )(body)

    @made.errors
    def _(input: Tensor) -> None:
        if input.dtype.kind == "c" and word != "round":
            raise NotImplementedError(f"{word} is not supported for complex inputs")

    @made.arrays
    def _(k: Any, input: Any) -> Any:
        return input.copy() if input.dtype.kind in "iu" else getattr(k, word)(input)

    return made


floor = _round("floor", "The largest integer not above each element.")
ceil = _round("ceil", "The smallest integer not below each element.")
round = _round("round", "The nearest integer; a half goes to the even one.")
trunc = _round("trunc", "Each element without its fraction.", ("fix",))


@pointwise(
    "round.decimals",
    variants=ALL_FORMS,
    lacks=("bic", lambda input, decimals: "round_cpu" if decimals else "round_vml_cpu"),
)
def round_decimals(k: Kernel[T], input: T, *, decimals: int) -> T:
    """Rounds to a number of decimal places (to tens, hundreds, ... where it is negative)."""
    if decimals == 0:
        return k.round(input)
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    return k.round(input * scale) / scale if decimals > 0 else k.round(input / scale) * scale


round_decimals.vjp(input=lambda g: g.new_zeros(g.shape))


@pointwise("frac", variants=ALL_FORMS, lacks=("bic", "frac_cpu"))
def frac(k: Kernel[T], input: T) -> T:
    """The fraction of each element, with its sign: x - trunc(x)."""
    return input - k.trunc(input)


frac.vjp(input=lambda g: g)
frac.vjp_arrays(input=lambda k, g: g)


# ---------------------------------------------------------------- angles


@pointwise("atan2", variants=ALL_FORMS, promote="float", names=("arctan2",), lacks=("c", "atan2_cpu"))
def atan2(k: Kernel[T], input: T, other: T) -> T:
    """The angle of the point (other, input) seen from the origin, between -pi and pi."""
    return k.atan2(input, other)


atan2.vjp(
    input=lambda g, input, other: (
        g * (other / (input * input + other * other)).masked_fill((input == 0) & (other == 0), 0)
    ),
    other=lambda g, input, other: (
        g * (-input / (input * input + other * other)).masked_fill((input == 0) & (other == 0), 0)
    ),
)


@pointwise("deg2rad", variants=ALL_FORMS, promote="float", lacks=("8", "mul_cpu_reduced_float"))
def deg2rad(k: Kernel[T], input: T) -> T:
    """Degrees to radians."""
    return input * (math.pi / 180)


@pointwise("rad2deg", variants=ALL_FORMS, promote="float", lacks=("8", "mul_cpu_reduced_float"))
def rad2deg(k: Kernel[T], input: T) -> T:
    """Radians to degrees."""
    return input * (180 / math.pi)


def _real_only(name: str, made: Op) -> None:
    @made.errors
    def _(input: Tensor) -> None:
        if input.dtype.kind == "c":
            raise RuntimeError(f"{name} is not supported for complex tensors.")


_real_only("deg2rad", deg2rad)
_real_only("rad2deg", rad2deg)


@pointwise("sinc", variants=ALL_FORMS, promote="float", lacks=("C", "sinc_cpu"))
def sinc(k: Kernel[T], input: T) -> T:
    """sin(pi x) / (pi x), and 1 at 0.

    >>> torch.special.sinc(torch.tensor([0.0, 0.5, 1.0]))
    tensor([ 1.0000e+00,  6.3662e-01, -2.7828e-08])
    """
    y = input * math.pi
    zero = k.eq(input, 0.0)
    return k.where(zero, k.like(1.0, input), k.sin(y) / k.where(zero, k.like(1.0, input), y))


def sinc_derivative(g: Tensor, input: Tensor) -> Tensor:
    x = input * math.pi
    return g * ((x.cos() * x - x.sin()) / (x * input)).conj().masked_fill(input == 0, 0)


sinc.vjp(input=sinc_derivative)


@pointwise("logit", variants=ALL_FORMS, promote="float", lacks=("c", "logit_cpu"))
def logit(k: Kernel[T], input: T, eps: float | None = None) -> T:
    """log(x / (1 - x)), with x kept between eps and 1 - eps where eps is given.

    >>> torch.special.logit(torch.tensor([0.5, 0.9]))
    tensor([0.0000, 2.1972])
    """
    if eps is not None:
        low = k.rounded(eps)
        input = k.minimum(k.maximum(input, k.like(low, input)), k.like(k.rounded(1 - low), input))
    return k.log(k.rounded(input / k.rounded(1.0 - input)))


def logit_derivative(g: Tensor, input: Tensor, eps: float | None) -> Tensor:
    out = g / (input * (1 - input))
    if eps is None:
        return out.masked_fill((input < 0) | (input > 1), math.nan)
    return out.masked_fill((input < eps) | (input > 1 - eps), 0)


logit.vjp(input=logit_derivative)


# ---------------------------------------------------------------- two numbers


@pointwise("logaddexp", variants=("function", "method", "out"), lacks=("biC", "logaddexp_cpu"))
def logaddexp(k: Kernel[T], input: T, other: T) -> T:
    """log(exp(input) + exp(other)), without overflow."""
    big, small = k.maximum(input, other), k.minimum(input, other)
    return k.where(k.eq(big, small), big + math.log(2), big + k.log1p(k.exp(small - big)))


logaddexp.vjp(
    input=lambda g, input, other: g / (1 + (other - input).exp()).conj(),
    other=lambda g, input, other: g / (1 + (input - other).exp()).conj(),
)


@logaddexp.arrays
def _(k: Any, input: Any, other: Any) -> Any:
    if input.dtype.kind == "c":
        big = k.where(k.real(input) >= k.real(other), input, other)
        small = k.where(k.real(input) >= k.real(other), other, input)
        return big + k.log1p(k.exp(small - big))
    return k.xp.logaddexp(input, other)


@pointwise("logaddexp2", variants=("function", "method", "out"), lacks=("bic", "logaddexp2_cpu"))
def logaddexp2(k: Kernel[T], input: T, other: T) -> T:
    """log2(2^input + 2^other), without overflow."""
    big, small = k.maximum(input, other), k.minimum(input, other)
    return k.where(k.eq(big, small), big + 1.0, big + k.log1p(k.exp2(small - big)) * (1 / math.log(2)))


logaddexp2.vjp(
    input=lambda g, input, other: g / (1 + (other - input).exp2()),
    other=lambda g, input, other: g / (1 + (input - other).exp2()),
)


@logaddexp2.arrays
def _(k: Any, input: Any, other: Any) -> Any:
    return k.xp.logaddexp2(input, other)


@pointwise(
    "xlogy.Tensor",
    "xlogy.Scalar_Self",
    "xlogy.Scalar_Other",
    variants=ALL_FORMS,
    promote="float",
    lacks=("c", "xlogy_cpu"),
)
def xlogy(k: Kernel[T], input: N, other: N) -> T:
    """input * log(other); 0 where input is 0, NaN where other is.

    >>> torch.special.xlogy(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0]))
    tensor([0., 0.])
    """
    y = k.where(k.eq(input, 0.0), k.like(0.0, input), input * k.rounded(k.log(other)))
    return k.where(k.isnan(other), other, y)


def _tensor(x: Any, g: Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else g.new_tensor(x)


xlogy.vjp(
    input=lambda g, input, other: g * _tensor(other, g).log().masked_fill((input == 0) & (_tensor(other, g) <= 0), 0),
    other=lambda g, input, other: g * input / other,
)


@composite("ldexp.Tensor", variants=ALL_FORMS)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2^other."""
    return input * pow(2.0, other)


@pointwise("heaviside", variants=ALL_FORMS, lacks=("u", "heaviside_cpu"))
def heaviside(k: Kernel[T], input: T, values: T) -> T:
    """0 below zero, 1 above it, and `values` at zero."""
    return k.where(k.eq(input, k.like(0, input)), values, k.cast(k.gt(input, k.like(0, input)), input.dtype))


heaviside.vjp(input=lambda g: underived("heaviside"), values=lambda g: underived("heaviside"))


@heaviside.errors
def _(input: Tensor, values: Tensor) -> None:
    if input.dtype.kind == "c" or values.dtype.kind == "c":
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if input._a.dtype != values._a.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


@heaviside.arrays
def _(k: Any, input: Any, values: Any) -> Any:
    return k.where(k.eq(input, 0), values, k.gt(input, 0).astype(input.dtype))
