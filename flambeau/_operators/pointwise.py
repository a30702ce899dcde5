"""Arithmetic: one scalar expression each. Derivatives follow from the expression unless one stands below it."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Kernel, N, Scalar, T
from flambeau._operators.op import ALL_FORMS, Op, composite, pointwise, underived
from flambeau._tensor import Tensor
from flambeau._values.dtype import check_fits, complex32

LARGE = 65504  # what every floating dtype of arithmetic holds


def is_bool(x: Any) -> bool:
    """Whether an operand (a tensor or a number) is boolean."""
    return x._a.dtype.kind == "b" if isinstance(x, Tensor) else isinstance(x, bool)


def check_alpha(input: Any, other: Any, alpha: Any) -> None:
    """What may scale the second operand depends on the kinds of both."""
    if type(alpha) is int:
        if not -128 <= alpha < 128:
            if all(not isinstance(x, Tensor) or x._a.dtype.kind in "iu" for x in (input, other)):
                check_fits(alpha, (input if isinstance(input, Tensor) else other).dtype)
            elif not -LARGE <= alpha <= LARGE:
                check_fits(alpha, Op.meeting([input, other]))
        return
    kinds = [
        x._a.dtype.kind if isinstance(x, Tensor) else "b" if isinstance(x, bool) else "i" if isinstance(x, int) else "f"
        for x in (input, other)
    ]
    if isinstance(alpha, bool):
        if kinds != ["b", "b"]:
            raise RuntimeError("Boolean alpha only supported for Boolean results.")
    elif isinstance(alpha, float):
        if all(kind in "biu" for kind in kinds):
            raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
        if not -LARGE <= alpha <= LARGE and "c" not in kinds:
            check_fits(alpha, Op.meeting([input, other]))
    elif isinstance(alpha, complex) and "c" not in kinds:
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")


def check_sub(input: Any, other: Any, alpha: Any) -> None:
    if is_bool(input) or is_bool(other):
        if is_bool(input) and is_bool(other):
            raise RuntimeError(
                "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead."
            )
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the "
            "`~` or `logical_not()` operator instead."
        )
    check_alpha(input, other, alpha)


def _plus(k: Kernel[T], a: T, b: Any, alpha: Any) -> T:
    if alpha == 1:
        return a + b
    if a.dtype.kind == "f":
        return k.fma(b, alpha, a)  # rounded once, as in PyTorch
    if type(alpha) is int and alpha < 0:  # unsigned integers hold no negative factor
        return a - b if alpha == -1 else a - b * -alpha
    return a + b * alpha


def _minus(k: Kernel[T], a: T, b: Any, alpha: Any) -> T:
    if alpha == 1:
        return a - b
    if a.dtype.kind == "f":
        return k.fma(b, -alpha, a)
    if type(alpha) is int and alpha < 0:
        return a + b if alpha == -1 else a + b * -alpha
    return a - b * alpha


@pointwise(
    "add.Tensor",
    "add.Scalar(Tensor self, Scalar other, Scalar alpha=1)",
    wraps=True,
    variants=ALL_FORMS,
    lacks=("u", "add_stub"),
    number_first=True,
)
def add(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """Adds `other`, scaled by `alpha`, to `input`: input + alpha * other."""
    return _plus(k, input, other, k.rounded(alpha))


add.older_form()


@add.errors
def _(input: Any, other: Any, alpha: Any) -> None:
    check_alpha(input, other, alpha)


@pointwise(
    "sub.Tensor",
    "sub.Scalar(Tensor self, Scalar other, Scalar alpha=1)",
    wraps=True,
    variants=ALL_FORMS,
    names=("subtract",),
    lacks=("u", "add_stub"),
    number_first=True,
)
def sub(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """Subtracts `other`, scaled by `alpha`, from `input`: input - alpha * other."""
    return _minus(k, input, other, k.rounded(alpha))


sub.older_form()


sub.errors(check_sub)


@pointwise(
    "rsub.Tensor",
    "rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1)",
    variants=("function",),
    lacks=("u", "add_stub"),
)
def rsub(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """Subtracts `input`, scaled by `alpha`, from `other`: other - alpha * input."""
    return _minus(k, other, input, k.rounded(alpha))


rsub.errors(check_sub)


@pointwise(
    "mul.Tensor",
    "mul.Scalar",
    wraps=True,
    variants=ALL_FORMS,
    names=("multiply",),
    single="other",
    number_first=True,
)
def mul(k: Kernel[T], input: T, other: N) -> T:
    """Multiplies elementwise: input * other."""
    return input * other


@pointwise(
    "div.Tensor",
    "div.Scalar",
    wraps=True,
    variants=ALL_FORMS,
    promote="float",
    names=("divide", "true_divide"),
    single="other",
    lacks=("C", "div_cpu"),
    number_first=True,
)
def div(k: Kernel[T], input: T, other: N) -> T:
    """Divides elementwise: input / other."""
    return input / other


def check_divisor(kernel: Any, x: Any) -> None:
    """Integers may not be divided by zero."""
    if x.dtype.kind in "iu" and not x.all():
        raise RuntimeError("ZeroDivisionError")


def quotient_below(k: Any, a: T, b: T) -> T:
    """The quotient, rounded down; of narrow floats each step is rounded."""
    if k.narrow is None:
        return k.floordiv(a, b)
    rest = k.fmod(a, b)
    quotient = k.rounded(k.rounded(a - rest) / b)
    below = k.logical_and(k.ne(rest, 0.0), k.ne(k.lt(rest, 0.0), k.lt(b, 0.0)))
    quotient = k.where(below, k.rounded(quotient - 1.0), quotient)
    whole = k.floor(quotient)
    whole = k.where(k.gt(quotient - whole, 0.5), k.rounded(whole + 1.0), whole)
    whole = k.where(k.eq(quotient, 0.0), k.copysign(k.like(0.0, a), a / b), whole)
    return k.where(k.eq(b, 0.0), a / b, whole)


@pointwise(
    "floor_divide",
    "floor_divide.Scalar",
    variants=ALL_FORMS,
    lacks=("bcu", "div_floor_cpu"),
    single="other",
    number_first=True,
)
def floor_divide(k: Kernel[T], input: T, other: N) -> T:
    """Divides elementwise and rounds down: floor(input / other)."""
    return quotient_below(k, input, other)


floor_divide.vjp(input=lambda g: underived("floor_divide"), other=lambda g: underived("floor_divide"))


@floor_divide.arrays
def _(k: Any, input: Any, other: Any) -> Any:
    check_divisor(k, other)
    return quotient_below(k, input, other)


def _quotient(input: Any, other: Any, rounding_mode: Any) -> str:
    """What PyTorch calls the routine for a way to round; floats of eight bits by a number have one of their own."""
    if rounding_mode is None:
        return "div_cpu" if input.dtype.kind == "f" or input.dtype is complex32 else ""
    alone = input.dtype.kind == "f" and (not isinstance(other, Tensor) or other.ndim == 0)
    return f"div_{rounding_mode}_cpu" + "_reduced_float" * alone


@pointwise(
    "div.Tensor_mode",
    "div.Scalar_mode",
    variants=ALL_FORMS,
    promote="quotient",
    lacks=("ubc", _quotient),
    names=("divide",),
    single="other",
    number_first=True,
)
def div_mode(k: Kernel[T], input: T, other: N, *, rounding_mode: str | None) -> T:
    """Divides elementwise and rounds: not at all (None), towards zero ("trunc") or down ("floor")."""
    if rounding_mode is None:
        return input / other
    return quotient_below(k, input, other) if rounding_mode == "floor" else k.trunc(k.rounded(input / other))


div_mode.known_as("DivBackward2").vjp(
    input=lambda g, other, rounding_mode: g / other if rounding_mode is None else g.new_zeros(g.shape),
    other=lambda g, input, other, rounding_mode: (
        -g * (input / other) / other if rounding_mode is None else g.new_zeros(g.shape)
    ),
)


@div_mode.errors
def _(input: Any, other: Any, rounding_mode: Any) -> None:
    if rounding_mode not in (None, "trunc", "floor"):
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )


@div_mode.arrays
def _(k: Any, input: Any, other: Any, *, rounding_mode: str | None) -> Any:
    if rounding_mode is None:
        return input / other
    check_divisor(k, other)
    if rounding_mode == "floor":
        return quotient_below(k, input, other)
    if input.dtype.kind == "f":
        return k.trunc(k.rounded(input / other))
    return k.floordiv(input - k.fmod(input, other), other)


@pointwise(
    "remainder.Tensor",
    "remainder.Scalar",
    "remainder.Scalar_Tensor",
    variants=ALL_FORMS,
    lacks=("bcu", "remainder_cpu"),
)
def remainder(k: Kernel[T], input: N, other: N) -> T:
    """The remainder of a division that rounds down: it has the sign of `other`."""
    return k.remainder(input, other)


@remainder.arrays
def _(k: Any, input: Any, other: Any) -> Any:
    check_divisor(k, other)
    return k.remainder(input, other)


@pointwise("fmod.Tensor", "fmod.Scalar", variants=ALL_FORMS, lacks=("bcu", "fmod_cpu"))
def fmod(k: Kernel[T], input: T, other: N) -> T:
    """The remainder of a division that rounds towards zero: it has the sign of `input`."""
    return k.fmod(input, other)


@fmod.arrays
def _(k: Any, input: Any, other: Any) -> Any:
    check_divisor(k, other)
    return k.fmod(input, other)


# ---------------------------------------------------------------- powers


@pointwise(
    "pow.Tensor_Tensor",
    "pow.Tensor_Scalar",
    "pow.Scalar(Scalar self, Tensor exponent)",
    variants=ALL_FORMS,
    lacks=("buC", "pow"),
    short=(2, 3, 0.5, -0.5, 1, -1, -2),
)
def pow(k: Kernel[T], input: N, exponent: N) -> T:
    """Raises each element of `input` to the power `exponent`."""
    return k.pow(input, exponent)


def pow_by_exponent(g: Tensor, input: Any, exponent: Any, out: Tensor) -> Tensor:
    if not isinstance(input, Tensor):
        input = g.new_tensor(input)
    zero = (out == 0) if out.is_complex() else (input == 0) & (exponent >= 0)
    return g * (out * input.to(out.dtype).log()).conj().masked_fill(zero, 0)


pow.vjp(
    input=lambda g, input, exponent: g * (input.pow(exponent - 1) * exponent).conj() if not isinstance(exponent, Tensor)
    and exponent != 0 else g * 0 if not isinstance(exponent, Tensor)
    else (g * (exponent * input.pow(exponent - 1)).conj()).masked_fill(exponent == 0, 0),
    exponent=pow_by_exponent,
)  # fmt: skip


@pow.errors
def _(input: Any, exponent: Any) -> None:
    if (
        isinstance(exponent, int)
        and not isinstance(exponent, bool)
        and exponent < 0
        and isinstance(input, Tensor)
        and input._a.dtype.kind in "biu"
    ):
        raise RuntimeError("Integers to negative integer powers are not allowed.")


@pow.arrays
def _(k: Any, input: Any, exponent: Any) -> Any:
    kind = input.dtype.kind
    if kind == "b":
        return input | ~exponent
    if kind == "i" and exponent.size and exponent.min() < 0:  # 1 and -1 have a reciprocal; the others' rounds to 0
        odd = k.where(exponent % 2 == 0, 1, input)
        small = k.where(k.eq(k.abs(input), 1), odd, k.like(0, input))
        return k.where(k.lt(exponent, 0), small, k.pow(input, k.maximum(exponent, k.like(0, exponent)))).astype(
            input.dtype
        )
    if exponent.ndim == 0 and kind in "fc":
        e = exponent.item()
        if e == 2:
            return input * input
        if e == 3:
            return input * input * input
        if e == 0.5:
            return k.sqrt(input)
        if e == -0.5:
            return k.rsqrt(input)
        if e == 1:
            return input * 1
        if e == -1:
            return k.reciprocal(input)
        if e == -2:
            return k.reciprocal(input * input)
    elif (
        exponent.size == 1 and kind == "f"
    ):  # side by side: array libraries take a root for one half, which differs at -0
        exponent = k.where(k.eq(input, input), exponent, exponent)
    return k.pow(input, exponent)


@pointwise("square", variants=ALL_FORMS, promote="number", lacks=("uC", "pow"))
def square(k: Kernel[T], input: T) -> T:
    """The square of each element."""
    return input * input


@square.arrays
def _(k: Any, input: Any) -> Any:
    return input * input if input.dtype.kind != "b" else input.astype("i8")


# ---------------------------------------------------------------- signs


@pointwise("neg", variants=ALL_FORMS, names=("negative",), lacks=("u", "neg_cpu"))
def neg(k: Kernel[T], input: T) -> T:
    """The negative of each element."""
    return -input


@neg.errors
def _(input: Tensor) -> None:
    if input._a.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the "
            "`~` or `logical_not()` operator instead."
        )


@pointwise("abs", variants=ALL_FORMS, takes_float8=True, names=("absolute",), lacks=("bu", "abs_cpu"))
def abs(k: Kernel[T], input: T) -> T:
    """The absolute value of each element."""
    return k.abs(input)


@pointwise("sign", variants=ALL_FORMS, lacks=("u", "sign_cpu"))
def sign(k: Kernel[T], input: T) -> T:
    """-1, 0 or 1, by the sign of each element."""
    return k.sign(input)


@sign.errors
def _(input: Tensor) -> None:
    if input.dtype.kind == "c":
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."
        )


@sign.arrays
def _(k: Any, input: Any) -> Any:
    if input.dtype.kind == "b":
        return input.copy()
    out = k.sign(input)
    return k.where(k.isnan(input), k.like(0, input), out) if input.dtype.kind == "f" else out


@pointwise("sgn", variants=ALL_FORMS, lacks=("u", "sign_cpu"))
def sgn(k: Kernel[T], input: T) -> T:
    """The sign of each element; of a complex one, the number of absolute value 1 in its direction."""
    return k.sign(input)


def sgn_derivative(g: Tensor, input: Tensor, out: Tensor) -> Tensor:
    if not input.is_complex():
        return g.new_zeros(g.shape)
    size = input.abs()
    turned = (g - (out.conj() * g).real * out) / size
    return turned.masked_fill(size == 0, 0)


sgn.vjp(input=sgn_derivative)


@sgn.arrays
def _(k: Any, input: Any) -> Any:
    return input.copy() if input.dtype.kind == "b" else k.sign(input)


@pointwise("reciprocal", variants=ALL_FORMS, promote="float", lacks=("C", "reciprocal_cpu"))
def reciprocal(k: Kernel[T], input: T) -> T:
    """1 / input."""
    return k.reciprocal(input)


@pointwise("copysign.Tensor", "copysign.Scalar", variants=ALL_FORMS, promote="float", lacks=("c", "copysign_cpu"))
def copysign(k: Kernel[T], input: T, other: N) -> T:
    """The absolute value of `input` with the sign of `other`."""
    return k.copysign(input, other)


@pointwise("nextafter", variants=ALL_FORMS, lacks=("bic", "nextafter_cpu"), halves=True)
def nextafter(k: Kernel[T], input: T, other: T) -> T:
    """The next representable number after `input` in the direction of `other`."""
    return k.nextafter(input, other)


nextafter.vjp(input=lambda g: g, other=lambda g: g.new_zeros(g.shape))


@pointwise("hypot", variants=ALL_FORMS, lacks=("bic", "hypot_cpu"))
def hypot(k: Kernel[T], input: T, other: T) -> T:
    """sqrt(input^2 + other^2), without overflow in between."""
    return k.hypot(input, other)


# ---------------------------------------------------------------- fused forms


@pointwise("addcmul", variants=ALL_FORMS, lacks=("bu", "addcmul_cpu_out"))
def addcmul(k: Kernel[T], input: T, tensor1: T, tensor2: T, *, value: Scalar = 1) -> T:
    """input + value * tensor1 * tensor2."""
    return _plus_product(k, input, tensor1, tensor2, value)


addcmul.older_form()


def _plus_product(k: Kernel[T], a: T, b: T, c: T, value: Any) -> T:
    if a.dtype.kind == "f":
        return k.fma(b if value == 1 else b * value, c, a)
    return _plus(k, a, b * c, value)


addcmul.errors(lambda input, tensor1, tensor2, value: check_fits(value, input.dtype))


@addcmul.arrays
def _(k: Any, input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    if input.dtype.kind in "iu":
        value = int(value)
    return _plus_product(k, input, tensor1, tensor2, value)


@pointwise("addcdiv", variants=ALL_FORMS, lacks=("C", "addcdiv_cpu_out"))
def addcdiv(k: Kernel[T], input: T, tensor1: T, tensor2: T, *, value: Scalar = 1) -> T:
    """input + value * tensor1 / tensor2."""
    return input + (tensor1 if value == 1 else tensor1 * value) / tensor2


addcdiv.older_form()


@addcdiv.errors
def _(input: Any, tensor1: Any, tensor2: Any, value: Any) -> None:
    if tensor1._a.dtype.kind in "biu" and tensor2._a.dtype.kind in "biu":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a true "
            "division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + value * "
            "torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as (input + value * tensor1 / tensor2) "
            "for float inputs. The future addcdiv behavior is just the latter implementation: (input + value * tensor1 / "
            "tensor2), for all dtypes."
        )


@pointwise("lerp.Tensor", "lerp.Scalar", variants=ALL_FORMS, lacks=("biC", "lerp_kernel_scalar"), scalar="weight")
def lerp(k: Kernel[T], input: T, end: T, weight: N) -> T:
    """From `input` (weight 0) to `end` (weight 1): input + weight * (end - input)."""
    way, near = end - input, k.lt(k.abs(weight), 0.5)
    if way.dtype.kind == "f":
        return k.where(near, k.fma(way, weight, input), k.fma(way, weight - 1, end))
    return k.where(near, input + way * weight, end - way * (1 - weight))


def _conj(x: Any) -> Any:
    return x.conj() if isinstance(x, Tensor) else x.conjugate()


lerp.vjp(
    input=lambda g, weight: g * (1 - _conj(weight)),
    end=lambda g, weight: g * _conj(weight),
    weight=lambda g, input, end: g * (end - input).conj(),
)


@lerp.errors
def _(input: Tensor, end: Tensor, weight: Any) -> None:
    for name, t in (("end", end), ("weight", weight)):
        if isinstance(t, Tensor) and t._a.dtype != input._a.dtype and not (name == "weight" and t._a.ndim == 0):
            raise RuntimeError(
                f"expected dtype {SPELLED.get(input.dtype.name, input.dtype.name)} for `{name}` but got dtype "
                f"{SPELLED.get(t.dtype.name, t.dtype.name)}"
            )


# How some older errors spell a dtype.
SPELLED = {
    "float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "int64": "long int", "int32": "int",
    "int16": "short int", "int8": "signed char", "uint8": "unsigned char", "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
}  # fmt: skip


@composite("positive", alias=True)
def positive(input: Tensor) -> Tensor:
    """`input` itself."""
    if input.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input
