"""Pointwise arithmetic of two or three operands: one scalar expression each. Derivatives follow from the expression."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Kernel, Scalar, T
from flambeau._operators.op import ALL_FORMS, composite, pointwise
from flambeau._tensor import Tensor

N = T  # a tensor or a number
OUT = ("function", "method", "out")


def _no_bool(input: Any, other: Any, alpha: Any = 1) -> None:
    kinds = [t.dtype.kind if isinstance(t, Tensor) else "b" if isinstance(t, bool) else "n" for t in (input, other)]
    if kinds == ["b", "b"]:
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead.")
    if "b" in kinds and (kinds[0] == "b" and isinstance(input, Tensor) and not isinstance(other, Tensor)):
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
                           "`logical_not()` operator instead.")
    _alpha(input, other, alpha)


def _alpha(input: Any, other: Any, alpha: Any) -> None:
    if isinstance(alpha, float) and all((t.dtype.kind in "bi" if isinstance(t, Tensor) else isinstance(t, (bool, int))) for t in (input, other)):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, bool) and not all((t.dtype.kind == "b" if isinstance(t, Tensor) else isinstance(t, bool)) for t in (input, other)):
        raise RuntimeError("Boolean alpha only supported for Boolean results.")


@pointwise("add.Tensor", "add.Scalar", variants=ALL_FORMS)
def add(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """Adds `other`, scaled by `alpha`, to `input`: input + alpha * other."""
    return input + other if alpha == 1 else input + other * alpha


@pointwise("sub.Tensor", "sub.Scalar", variants=ALL_FORMS, names=("subtract",))
def sub(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """Subtracts `other`, scaled by `alpha`, from `input`: input - alpha * other."""
    return input - other if alpha == 1 else input - other * alpha


@pointwise("rsub.Tensor", "rsub.Scalar", variants=("function",))
def rsub(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """other - alpha * input."""
    return other - input if alpha == 1 else other - input * alpha


add.errors(lambda input, other, alpha: _alpha(input, other, alpha))
sub.errors(lambda input, other, alpha: _no_bool(input, other, alpha))


@rsub.errors
def _(input: Any, other: Any, alpha: Any) -> None:
    if input.dtype.kind == "b":
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
                           "`logical_not()` operator instead.")


@pointwise("mul.Tensor", "mul.Scalar", variants=ALL_FORMS, names=("multiply",))
def mul(k: Kernel[T], input: T, other: N) -> T:
    """Multiplies elementwise: input * other."""
    return input * other


@pointwise("div.Tensor", "div.Scalar", variants=ALL_FORMS, promote="float", names=("divide",))
def div(k: Kernel[T], input: T, other: N) -> T:
    """Divides elementwise: input / other."""
    return input / other


@pointwise("true_divide.Tensor", variants=ALL_FORMS, promote="float")
def true_divide(k: Kernel[T], input: T, other: N) -> T:
    """Divides elementwise: input / other."""
    return input / other


@pointwise("div.Tensor_mode", "div.Scalar_mode", variants=ALL_FORMS, promote="default", names=("divide",))
def div_mode(k: Kernel[T], input: T, other: N, *, rounding_mode: str | None) -> T:
    """Divides; rounding_mode "trunc" rounds towards zero, "floor" downwards."""
    if rounding_mode is None:
        return input / other
    if rounding_mode == "trunc":
        return k.trunc(input / other) if input.dtype.kind not in "iub" else k.sign(input) * k.sign(other) * k.floordiv(k.abs(input), k.abs(other))
    return k.floordiv(input, other)


div_mode.vjp(
    input=lambda g, other, rounding_mode: g / other if rounding_mode is None else g * 0.0,
    other=lambda g, input, other, rounding_mode: -g * (input / other) / other if rounding_mode is None else g * 0.0,
)


@div_mode.errors
def _(input: Any, other: Any, rounding_mode: Any) -> None:
    if rounding_mode not in (None, "trunc", "floor"):
        raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")
    if rounding_mode is not None:
        _no_zero(input, other)


def _no_zero(input: Any, other: Any) -> None:
    """Integers may not be divided by zero."""
    if (input.dtype.kind if isinstance(input, Tensor) else "i") in "bi":
        if isinstance(other, Tensor) and other.dtype.kind in "bi" and other._a.size and not other._a.all():
            raise RuntimeError("ZeroDivisionError")
        if isinstance(other, int) and other == 0:
            raise RuntimeError("ZeroDivisionError")


@pointwise("floor_divide", "floor_divide.Scalar", variants=ALL_FORMS)
def floor_divide(k: Kernel[T], input: T, other: N) -> T:
    """floor(input / other)."""
    return k.floordiv(input, other)


floor_divide.errors(lambda input, other: _no_zero(input, other))
floor_divide.vjp(input=lambda g: g * 0.0, other=lambda g: g * 0.0)


@pointwise("remainder.Tensor", "remainder.Scalar", "remainder.Scalar_Tensor", variants=ALL_FORMS)
def remainder(k: Kernel[T], input: T, other: N) -> T:
    """What floor division leaves; has the sign of `other`."""
    return k.remainder(input, other)


@pointwise("fmod.Tensor", "fmod.Scalar", variants=ALL_FORMS)
def fmod(k: Kernel[T], input: T, other: N) -> T:
    """What truncated division leaves; has the sign of `input`."""
    return k.fmod(input, other)


remainder.errors(lambda input, other: _no_zero(input, other))
fmod.errors(lambda input, other: _no_zero(input, other))


@pointwise("pow.Tensor_Tensor", "pow.Tensor_Scalar", "pow.Scalar", variants=ALL_FORMS)
def pow(k: Kernel[T], input: N, exponent: N) -> T:
    """input to the power exponent."""
    return k.pow(input, exponent)


@pow.arrays
def _(k, input, exponent):  # type: ignore[no-untyped-def]
    if exponent.ndim == 0 and input.dtype.kind in "fc":
        e = exponent.item()
        if e == 2:
            return input * input
        if e == 3:
            return input * input * input
        if e == 0.5 and input.dtype.kind == "f":
            return k.sqrt(input)
        if e == -1:
            return 1 / input
        if e == -0.5 and input.dtype.kind == "f":
            return 1 / k.sqrt(input)
    if input.dtype.kind in "iu" and exponent.dtype.kind == "i":
        return k.library("integer_power", input, exponent)
    return k.pow(input, exponent)


@pow.errors
def _(input: Any, exponent: Any) -> None:
    if isinstance(exponent, int) and exponent < 0 and isinstance(input, Tensor) and input.dtype.kind in "bi":
        raise RuntimeError("Integers to negative integer powers are not allowed.")


def _pow_input(g: Any, input: Any, exponent: Any) -> Any:
    if not isinstance(exponent, Tensor):
        if exponent == 0:
            return g * 0.0
        if exponent == 2:
            return g * (input.conj() if input.is_complex() else input) * 2
        return g * _conj(exponent * input.pow(exponent - 1))
    return (g * _conj(exponent * input.pow(exponent - 1))).masked_fill(exponent.eq(0), 0.0)


def _pow_exponent(g: Any, input: Any, exponent: Any, out: Any) -> Any:
    if not isinstance(input, Tensor):
        import cmath
        import math

        if input == 0:
            return (g * 0.0).where(exponent.real.ge(0) if exponent.is_complex() else exponent.ge(0), g * _conj(out * -math.inf))
        return g * _conj(out * (cmath.log(input) if isinstance(input, complex) or input < 0 and exponent.is_complex() else
                                math.log(input) if input > 0 else math.nan))
    zero = input.eq(0).logical_and(exponent.real.ge(0) if exponent.is_complex() else exponent.ge(0))
    return (g * _conj(out * input.log())).masked_fill(zero, 0.0)


def _conj(x: Any) -> Any:
    return x.conj() if isinstance(x, Tensor) and x.is_complex() else x


pow.vjp(input=_pow_input, exponent=_pow_exponent)


@composite("float_power.Tensor_Tensor", "float_power.Tensor_Scalar", "float_power.Scalar", variants=ALL_FORMS)
def float_power(input: N, exponent: N) -> T:
    """`pow` in double precision."""
    from flambeau._values.dtype import complex128, float64

    wide = complex128 if any(isinstance(v, complex) or (isinstance(v, Tensor) and v.is_complex()) for v in (input, exponent)) else float64
    base = input.to(wide) if isinstance(input, Tensor) else input
    power = exponent.to(wide) if isinstance(exponent, Tensor) else exponent
    return pow(base, power)


@pointwise("maximum", variants=OUT)
def maximum(k: Kernel[T], input: T, other: T) -> T:
    """The larger of two elements; NaN if either is."""
    return k.maximum(input, other)


@pointwise("minimum", variants=OUT)
def minimum(k: Kernel[T], input: T, other: T) -> T:
    """The smaller of two elements; NaN if either is."""
    return k.minimum(input, other)


@pointwise("fmax", variants=OUT)
def fmax(k: Kernel[T], input: T, other: T) -> T:
    """The larger of two elements; a number rather than a NaN."""
    return k.fmax(input, other)


@pointwise("fmin", variants=OUT)
def fmin(k: Kernel[T], input: T, other: T) -> T:
    """The smaller of two elements; a number rather than a NaN."""
    return k.fmin(input, other)


def _no_complex(name: str) -> Any:
    def check(input: Any, other: Any) -> None:
        if any(isinstance(t, Tensor) and t.is_complex() for t in (input, other)):
            raise RuntimeError(f"{name} not implemented for complex tensors." if name in ("maximum", "minimum") else f"{name} not implemented for complex tensors.")

    return check


for _op in (maximum, minimum, fmax, fmin):
    _op.errors(_no_complex(_op.name))


@pointwise("atan2", variants=ALL_FORMS, promote="float", names=("arctan2",))
def atan2(k: Kernel[T], input: T, other: T) -> T:
    """The angle of the point (other, input)."""
    return k.atan2(input, other)


@pointwise("hypot", variants=ALL_FORMS)
def hypot(k: Kernel[T], input: T, other: T) -> T:
    """sqrt(input^2 + other^2)."""
    return k.hypot(input, other)


@pointwise("copysign.Tensor", "copysign.Scalar", variants=ALL_FORMS, promote="float")
def copysign(k: Kernel[T], input: T, other: N) -> T:
    """The magnitude of input with the sign of other."""
    return k.copysign(input, other)


@pointwise("nextafter", variants=ALL_FORMS, differentiable=False)
def nextafter(k: Kernel[T], input: T, other: T) -> T:
    """The next representable number after input towards other."""
    return k.nextafter(input, other)


@pointwise("lerp.Tensor", "lerp.Scalar", variants=("function", "method", "inplace", "out"))
def lerp(k: Kernel[T], input: T, end: T, weight: N) -> T:
    """input + weight * (end - input), computed from the nearer end."""
    small = k.lt(k.abs(weight), 0.5)
    step = end - input
    return k.where(small, input + weight * step, end - step * (1.0 - weight))


lerp.vjp(
    input=lambda g, weight: g * (1 - _conj(weight)),
    end=lambda g, weight: g * _conj(weight),
    weight=lambda g, input, end: g * _conj(end - input),
)


@pointwise("addcmul", variants=ALL_FORMS)
def addcmul(k: Kernel[T], input: T, tensor1: T, tensor2: T, *, value: Scalar = 1) -> T:
    """input + value * tensor1 * tensor2."""
    product = tensor1 * tensor2
    return input + (product if value == 1 else product * value)


@pointwise("addcdiv", variants=ALL_FORMS)
def addcdiv(k: Kernel[T], input: T, tensor1: T, tensor2: T, *, value: Scalar = 1) -> T:
    """input + value * tensor1 / tensor2."""
    quotient = tensor1 / tensor2
    return input + (quotient if value == 1 else quotient * value)


@addcdiv.errors
def _(input: Any, tensor1: Any, tensor2: Any, value: Any) -> None:
    if all(t.dtype.kind in "bi" for t in (tensor1, tensor2)):
        raise RuntimeError("Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a true division of tensor1 and "
                           "tensor2. The historic addcdiv behavior can be implemented as (input + value * torch.trunc(tensor1 / tensor2)).to(input.dtype) for "
                           "integer inputs and as (input + value * tensor1 / tensor2) for float inputs. The future addcdiv behavior is just the latter "
                           "implementation: (input + value * tensor1 / tensor2), for all dtypes.")


@pointwise("clamp_min", "clamp_min.Tensor", variants=ALL_FORMS)
def clamp_min(k: Kernel[T], input: T, min: N) -> T:
    """max(input, min)."""
    return k.maximum(input, min)


@pointwise("clamp_max", "clamp_max.Tensor", variants=ALL_FORMS)
def clamp_max(k: Kernel[T], input: T, max: N) -> T:
    """min(input, max)."""
    return k.minimum(input, max)


@pointwise("clamp", "clamp.Tensor", variants=ALL_FORMS, names=("clip",))
def clamp(k: Kernel[T], input: T, min: N | None = None, max: N | None = None) -> T:
    """Limits each element to [min, max]; where they cross, max wins."""
    if min is not None:
        input = k.maximum(input, min)
    return input if max is None else k.minimum(input, max)


clamp_min.vjp(input=lambda g, input, min: g * input.ge(min), min=lambda g, input, min: g * input.lt(min))
clamp_max.vjp(input=lambda g, input, max: g * input.le(max), max=lambda g, input, max: g * input.gt(max))


def _inside(input: Any, min: Any, max: Any) -> Any:
    inside = None if min is None else input.ge(min)
    if max is not None:
        inside = input.le(max) if inside is None else inside.logical_and(input.le(max))
    return inside


def _below(input: Any, min: Any, max: Any) -> Any:
    """Where the result is `min`."""
    return input.lt(min) if max is None else input.lt(min).logical_and(min.lt(max) if isinstance(min, Tensor) else max.gt(min))


def _above(input: Any, min: Any, max: Any) -> Any:
    """Where the result is `max`."""
    if min is None:
        return input.gt(max)
    return input.gt(max).logical_or(max.lt(min) if isinstance(max, Tensor) else min.gt(max))


clamp.vjp(
    input=lambda g, input, min, max: g * _inside(input, min, max),
    min=lambda g, input, min, max: g * _below(input, min, max),
    max=lambda g, input, min, max: g * _above(input, min, max),
)


@clamp.errors
def _(input: Any, min: Any, max: Any) -> None:
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if input.is_complex():
        raise RuntimeError("clamp is not supported for complex types")


@pointwise("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar", variants=OUT)
def where(k: Kernel[T], condition: Mask, input: N, other: N) -> T:  # type: ignore[name-defined]  # noqa: F821
    """input where condition holds, other elsewhere."""
    return k.where(condition, input, other)


where.vjp(
    input=lambda g, condition: g.masked_fill(condition.logical_not(), 0.0),
    other=lambda g, condition: g.masked_fill(condition.bool(), 0.0),
)


@where.errors
def _(condition: Any, input: Any, other: Any) -> None:
    if condition.dtype.kind != "b" and condition.dtype.name != "uint8":
        raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}")


@where.arrays
def _(k, condition, input, other):  # type: ignore[no-untyped-def]
    return k.where(condition if condition.dtype.kind == "b" else condition != 0, input, other)


@pointwise("xlogy.Tensor", "xlogy.Scalar_Self", "xlogy.Scalar_Other", variants=ALL_FORMS, promote="float")
def xlogy(k: Kernel[T], input: N, other: N) -> T:
    """input * log(other); 0 where input is 0."""
    product = k.where(k.eq(input, 0.0), k.like(0.0, other), input * k.log(other))
    return k.where(k.isnan(other), other, product)


xlogy.vjp(
    input=lambda g, input, other: (g * (other.log() if isinstance(other, Tensor) else __import__("math").log(other))).masked_fill(
        input.eq(0).logical_and(other.le(0) if isinstance(other, Tensor) else input.eq(0).logical_and(other <= 0)), 0.0),
    other=lambda g, input, other: g * (input / other),
)


@pointwise("logaddexp", variants=OUT)
def logaddexp(k: Kernel[T], input: T, other: T) -> T:
    """log(exp(input) + exp(other))."""
    return k.where(k.eq(input, other), input + 0.6931471805599453, k.maximum(input, other) + k.log1p(k.exp(-k.abs(input - other))))


@pointwise("logaddexp2", variants=OUT)
def logaddexp2(k: Kernel[T], input: T, other: T) -> T:
    """log2(2^input + 2^other)."""
    return k.where(k.eq(input, other), input + 1.0, k.maximum(input, other) + k.log1p(k.exp2(-k.abs(input - other))) * 1.4426950408889634)


logaddexp.vjp(input=lambda g, input, out: g * (input - out).exp(), other=lambda g, other, out: g * (other - out).exp())
logaddexp2.vjp(input=lambda g, input, out: g * (input - out).exp2(), other=lambda g, other, out: g * (other - out).exp2())


@pointwise("ldexp.Tensor", variants=ALL_FORMS, promote="float")
def ldexp(k: Kernel[T], input: T, other: T) -> T:
    """input * 2^other."""
    return input * k.exp2(other)


@pointwise("heaviside", variants=ALL_FORMS, differentiable=False)
def heaviside(k: Kernel[T], input: T, values: T) -> T:
    """0 below zero, 1 above it, `values` at it."""
    one, zero = k.like(1, input), k.like(0, input)
    return k.where(k.eq(input, zero), values, k.where(k.lt(input, zero), zero, one))


@pointwise("sinc", variants=ALL_FORMS, promote="float")
def sinc(k: Kernel[T], input: T) -> T:
    """sin(pi x) / (pi x), and 1 at 0."""
    x = input * 3.141592653589793
    return k.where(k.eq(input, 0.0), k.like(1.0, input), k.sin(x) / x)


@pointwise("deg2rad", variants=ALL_FORMS, promote="float")
def deg2rad(k: Kernel[T], input: T) -> T:
    """Degrees to radians."""
    return input * 0.017453292519943295


@pointwise("rad2deg", variants=ALL_FORMS, promote="float")
def rad2deg(k: Kernel[T], input: T) -> T:
    """Radians to degrees."""
    return input * 57.29577951308232


@pointwise("logit", variants=ALL_FORMS, promote="float")
def logit(k: Kernel[T], input: T, eps: float | None = None) -> T:
    """log(x / (1 - x)), with x first limited to [eps, 1 - eps]."""
    x = input if eps is None else k.minimum(k.maximum(input, k.like(eps, input)), k.like(1.0 - eps, input))
    return k.log(x / (1.0 - x))


logit.vjp(input=lambda g, input, eps: (g / (input * (1.0 - input))) if eps is None else (
    g / (input * (1.0 - input))).masked_fill(input.lt(eps).logical_or(input.gt(1.0 - eps)), 0.0))


@composite("nan_to_num", variants=ALL_FORMS)
def nan_to_num(input: T, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> T:
    """Numbers instead of NaN (0) and infinities (the dtype's limits)."""
    if input.dtype.kind in "bi":
        return input.clone()
    if input.is_complex():
        from flambeau._operators.complex import complex_

        return complex_(nan_to_num(input.real, nan, posinf, neginf), nan_to_num(input.imag, nan, posinf, neginf))
    import ml_dtypes

    info = ml_dtypes.finfo(input._a.dtype)
    out = input.masked_fill(input.isnan(), 0.0 if nan is None else nan)
    out = out.masked_fill(input.eq(float("inf")), float(info.max) if posinf is None else posinf)
    return out.masked_fill(input.eq(float("-inf")), float(info.min) if neginf is None else neginf)


@composite("round.decimals", variants=ALL_FORMS)
def round_decimals(input: T, *, decimals: int) -> T:
    """Rounds to so many decimal places."""
    if decimals == 0:
        return input.round()
    scale = 10.0 ** abs(decimals)
    return (input * scale).round() / scale if decimals > 0 else (input / scale).round() * scale


@pointwise("gcd", variants=ALL_FORMS, differentiable=False)
def gcd(k: Kernel[T], input: T, other: T) -> T:
    """The greatest common divisor."""
    return k.library("gcd", input, other)


@pointwise("lcm", variants=ALL_FORMS, differentiable=False)
def lcm(k: Kernel[T], input: T, other: T) -> T:
    """The least common multiple."""
    return k.library("lcm", input, other)


@pointwise("polygamma", variants=("function", "method", "inplace", "out"), promote="float")
def polygamma(k: Kernel[T], n: int, input: T) -> T:
    """The n-th derivative of digamma."""
    return k.library("polygamma", input, n=n)


polygamma.vjp(input=lambda g, n, input: g * polygamma(n + 1, input))
