"""Choosing between operands: extremes, limits, `where`; and the few functions of integers."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.expansions import trigamma
from flambeau._kernel.language import Kernel, Mask, N, T
from flambeau._operators.op import ALL_FORMS, OUT, composite, pointwise
from flambeau._operators.pointwise import pow
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, bool_, check_fits


@pointwise("true_divide.Tensor", variants=ALL_FORMS, promote="float", number_first=True)
def true_divide(k: Kernel[T], input: T, other: N) -> T:
    """Divides elementwise: input / other."""
    return input / other


@composite(
    "float_power.Tensor_Tensor",
    "float_power.Tensor_Scalar",
    "float_power.Scalar(Scalar self, Tensor exponent)",
    variants=ALL_FORMS,
)
def float_power(input: N, exponent: N) -> Tensor:
    """`pow` in double precision."""
    from flambeau._values.dtype import complex128, float64

    wide = (
        complex128
        if any(isinstance(v, complex) or (isinstance(v, Tensor) and v.is_complex()) for v in (input, exponent))
        else float64
    )
    base = input.to(wide) if isinstance(input, Tensor) else input
    power = exponent.to(wide) if isinstance(exponent, Tensor) else exponent
    return pow(base, power)


@pointwise("maximum", variants=OUT, lacks=("u", "maximum_cpu"))
def maximum(k: Kernel[T], input: T, other: T) -> T:
    """The larger of two elements; NaN if either is."""
    return k.maximum(input, other)


@pointwise("minimum", variants=OUT, lacks=("u", "minimum_cpu"))
def minimum(k: Kernel[T], input: T, other: T) -> T:
    """The smaller of two elements; NaN if either is."""
    return k.minimum(input, other)


@pointwise("fmax", variants=OUT, lacks=(("u", "maximum_cpu"), ("8", "fmax_cpu")))
def fmax(k: Kernel[T], input: T, other: T) -> T:
    """The larger of two elements; a number rather than a NaN."""
    return k.fmax(input, other)


@pointwise("fmin", variants=OUT, lacks=(("u", "minimum_cpu"), ("8", "fmin_cpu")))
def fmin(k: Kernel[T], input: T, other: T) -> T:
    """The smaller of two elements; a number rather than a NaN."""
    return k.fmin(input, other)


def _no_complex(name: str) -> Any:
    def check(input: Any, other: Any) -> None:
        if (isinstance(input, Tensor) and input.is_complex()) or (isinstance(other, Tensor) and other.is_complex()):
            raise RuntimeError(f"{name} not implemented for complex tensors.")

    return check


for _op in (maximum, minimum, fmax, fmin):
    _op.errors(_no_complex(_op.name))


@pointwise("clamp_min", "clamp_min.Tensor", variants=ALL_FORMS, lacks=("uc", "maximum_cpu"))
def clamp_min(k: Kernel[T], input: T, min: N) -> T:
    """max(input, min)."""
    return k.maximum(min, input)


@pointwise("clamp_max", "clamp_max.Tensor", variants=ALL_FORMS, lacks=("uc", "minimum_cpu"))
def clamp_max(k: Kernel[T], input: T, max: N) -> T:
    """min(input, max)."""
    return k.minimum(max, input)


def _clamps(input: Any, min: Any, max: Any) -> str:
    """What PyTorch calls the routine for these limits: numbers, one tensor (of two the larger, or smaller), or two."""
    numbers = not isinstance(min, Tensor) and not isinstance(max, Tensor)
    if min is None or max is None:
        if not numbers:
            return "" if input.dtype is bool_ else "maximum_cpu" if max is None else "minimum_cpu"
        return (
            "clamp_cpu" if input.dtype is bool_ else "clamp_min_scalar_cpu" if max is None else "clamp_max_scalar_cpu"
        )
    return "clamp_scalar_cpu" if numbers and input.dtype is not bool_ else "clamp_cpu"


@pointwise("clamp", "clamp.Tensor", variants=ALL_FORMS, names=("clip",), lacks=("ubc", _clamps))
def clamp(k: Kernel[T], input: T, min: N | None = None, max: N | None = None) -> T:
    """Limits each element to [min, max]; where they cross, max wins."""
    if min is not None:
        input = k.maximum(min, input)  # of two equals the second, as in `relu`: -0.0 stays
    return input if max is None else k.minimum(max, input)


clamp_min.vjp(input=lambda g, input, min: g * input.ge(min), min=lambda g, input, min: g * input.lt(min))


clamp_max.vjp(input=lambda g, input, max: g * input.le(max), max=lambda g, input, max: g * input.gt(max))


def _inside(input: Any, min: Any, max: Any) -> Any:
    inside = None if min is None else input.ge(min)
    if max is not None:
        inside = input.le(max) if inside is None else inside.logical_and(input.le(max))
    return inside


def _below(input: Any, min: Any, max: Any) -> Any:
    """Where the result is `min`."""
    return (
        input.lt(min)
        if max is None
        else input.lt(min).logical_and(min.lt(max) if isinstance(min, Tensor) else max.gt(min))
    )


def _above(input: Any, min: Any, max: Any) -> Any:
    """Where the result is `max`."""
    if min is None:
        return input.gt(max)
    return input.gt(max).logical_or(max.lt(min) if isinstance(max, Tensor) else min.gt(max))


clamp.known_as("ClampBackward1").vjp(
    input=lambda g, input, min, max: g * _inside(input, min, max),
    min=lambda g, input, min, max: g * _below(input, min, max),
    max=lambda g, input, min, max: g * _above(input, min, max),
)


@clamp.errors
def _(input: Any, min: Any, max: Any) -> None:
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if input.is_complex():
        raise NotImplementedError("clamp is not supported for complex types")
    check_fits(min, input.dtype)
    check_fits(max, input.dtype)


clamp_min.errors(lambda input, min: check_fits(min, input.dtype))
clamp_max.errors(lambda input, max: check_fits(max, input.dtype))


@pointwise(
    "where.self",
    "where.ScalarOther(Tensor condition, Tensor self, Scalar other)",
    "where.ScalarSelf(Tensor condition, Scalar self, Tensor other)",
    "where.Scalar",
    variants=OUT,
)
def where(k: Kernel[T], condition: Mask, input: N, other: N) -> T:
    """input where condition holds, other elsewhere."""
    return k.where(condition, input, other)


where.vjp(
    input=lambda g, condition: where(condition, g, 0.0),
    other=lambda g, condition: where(condition, 0.0, g),
)


@where.errors
def _(condition: Any, input: Any, other: Any) -> None:
    if condition.dtype.kind != "b" and condition.dtype.name != "uint8":
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {SPOKEN[condition.dtype]}"
        )
    for tensor, value in ((input, other), (other, input)):
        if isinstance(tensor, Tensor) and tensor.dtype.kind == "i":
            check_fits(value, tensor.dtype)


@where.arrays
def _(k, condition, input, other):  # type: ignore[no-untyped-def]
    return k.where(condition if condition.dtype.kind == "b" else condition != 0, input, other)


@composite("nan_to_num", variants=ALL_FORMS, layouts=True, lacks=("C", "nan_to_num"))
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Numbers instead of NaN (0) and infinities (the dtype's limits)."""
    if input.dtype.kind in "bi":
        return input.clone()
    if input.is_complex():
        from flambeau._operators.complex import complex_

        return complex_(nan_to_num(input.real, nan, posinf, neginf), nan_to_num(input.imag, nan, posinf, neginf))
    import ml_dtypes

    info = ml_dtypes.finfo(input._a.dtype)
    high, low = float(info.max) if posinf is None else posinf, float(info.min) if neginf is None else neginf
    return _finite(input, 0.0 if nan is None else float(nan), float(high), float(low))


@pointwise("_finite", variants=(), lacks=("8", "nan_to_num"))
def _finite(k: Kernel[T], input: T, nan: float, posinf: float, neginf: float) -> T:
    """Three numbers instead of NaN and the infinities."""
    out = k.where(k.ne(input, input), k.like(nan, input), input)
    out = k.where(k.eq(input, k.like(float("inf"), input)), k.like(posinf, input), out)
    return k.where(k.eq(input, k.like(float("-inf"), input)), k.like(neginf, input), out)


@pointwise("gcd", variants=ALL_FORMS, differentiable=False, lacks=("ubfc", "gcd_cpu"))
def gcd(k: Kernel[T], input: T, other: T) -> T:
    """The greatest common divisor."""
    return k.library("gcd", input, other)


@pointwise("lcm", variants=ALL_FORMS, differentiable=False, lacks=("ubfc", "lcm_cpu"))
def lcm(k: Kernel[T], input: T, other: T) -> T:
    """The least common multiple."""
    return k.library("lcm", input, other)


@pointwise(
    "polygamma",
    variants=("function", "method", "inplace", "out"),
    promote="float",
    lacks=("c", lambda n, input: ("digamma", "trigamma", "polygamma")[n if n in (0, 1) else 2]),
)
def polygamma(k: Kernel[T], n: int, input: T) -> T:
    """The n-th derivative of digamma.

    >>> torch.special.polygamma(1, torch.tensor([1.0]))
    tensor([1.6449])
    """
    return trigamma(k, input) if n == 1 else k.library("polygamma", input, n=n)


polygamma.arrays(lambda k, n, input: k.library("polygamma", input, n=n))

polygamma.vjp(input=lambda g, n, input: g * polygamma(n + 1, input))
