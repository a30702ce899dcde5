"""Comparison, logic and bits."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Kernel, N, T
from flambeau._operators.create import ones_like
from flambeau._operators.op import ALL_FORMS, OUT, Op, composite, pointwise
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, bool_, complex32, float8_e4m3fn


def _comparison(word: str, doc: str, aliases: tuple[str, ...]) -> Op:
    def body(k: Kernel[T], input: T, other: N) -> T:
        return getattr(k, word)(input, other)

    body.__name__, body.__doc__ = word, doc
    made = pointwise(
        f"{word}.Tensor",
        f"{word}.Scalar",
        variants=ALL_FORMS,
        promote="bool",
        names=aliases,
        differentiable=False,
        lacks=() if word in ("eq", "ne") else ("uc", f"{word}_cpu"),
    )(body)
    return made.vjp(input=lambda g: g.new_zeros(g.shape), other=lambda g: g.new_zeros(g.shape))  # in place


eq = _comparison("eq", "Whether input equals other.", ())
ne = _comparison("ne", "Whether input differs from other.", ("not_equal",))
lt = _comparison("lt", "Whether input is less than other.", ("less",))
le = _comparison("le", "Whether input is at most other.", ("less_equal",))
gt = _comparison("gt", "Whether input is greater than other.", ("greater",))
ge = _comparison("ge", "Whether input is at least other.", ("greater_equal",))


def _complex(x: Any) -> bool:
    return bool(x.is_complex()) if isinstance(x, Tensor) else isinstance(x, complex)


def _real(name: str) -> Any:
    def check(input: Any, other: Any) -> None:
        if _complex(input) or _complex(other):
            from flambeau._values.dtype import SPOKEN

            d = Op.meeting([input, other])
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{SPOKEN[d]}'")

    return check


for _op in (lt, le, gt, ge):
    _op.errors(_real(_op.name))


def _logic(word: str, doc: str) -> Op:
    def body(k: Kernel[T], input: T, other: T) -> T:
        return getattr(k, word)(input, other)

    body.__name__, body.__doc__ = word, doc
    return pointwise(word, variants=ALL_FORMS, promote="bool", differentiable=False, lacks=("uC", f"{word}_cpu"))(body)


logical_and = _logic("logical_and", "Whether both are nonzero.")
logical_or = _logic("logical_or", "Whether either is nonzero.")
logical_xor = _logic("logical_xor", "Whether exactly one is nonzero.")


@pointwise("logical_not", variants=ALL_FORMS, promote="bool", differentiable=False, lacks=("uC", "logical_not_cpu"))
def logical_not(k: Kernel[T], input: T) -> T:
    """Whether input is zero."""
    return k.logical_not(input)


def _bits(word: str, doc: str) -> Op:
    def body(k: Kernel[T], input: N, other: N) -> T:
        return getattr(k, word)(input, other)

    body.__name__, body.__doc__ = word, doc
    made = pointwise(f"{word}.Tensor", f"{word}.Scalar", f"{word}.Scalar_Tensor", variants=ALL_FORMS, differentiable=False,
                     lacks=("fc", f"{word}_cpu"))(body)  # fmt: skip
    return made


bitwise_and = _bits("bitwise_and", "Bits set in both.")
bitwise_or = _bits("bitwise_or", "Bits set in either.")
bitwise_xor = _bits("bitwise_xor", "Bits set in exactly one.")


@pointwise("bitwise_left_shift.Tensor", "bitwise_left_shift.Tensor_Scalar", "bitwise_left_shift.Scalar_Tensor", variants=ALL_FORMS, differentiable=False,
           lacks=("bfcu", "lshift_cpu"))  # fmt: skip
def bitwise_left_shift(k: Kernel[T], input: N, other: N) -> T:
    """Bits moved up by `other` places."""
    return k.lshift(input, other)


@pointwise("bitwise_right_shift.Tensor", "bitwise_right_shift.Tensor_Scalar", "bitwise_right_shift.Scalar_Tensor", variants=ALL_FORMS, differentiable=False,
           lacks=("bfcu", "rshift_cpu"))  # fmt: skip
def bitwise_right_shift(k: Kernel[T], input: N, other: N) -> T:
    """Bits moved down by `other` places; the sign stays."""
    return k.rshift(input, other)


@pointwise("bitwise_not", variants=ALL_FORMS, differentiable=False, lacks=("fcu", "bitwise_not_cpu"))
def bitwise_not(k: Kernel[T], input: T) -> T:
    """Every bit flipped; of a boolean, its negation."""
    return k.invert(input)


@pointwise("isnan", variants=("function", "method"), promote="bool", differentiable=False)
def isnan(k: Kernel[T], input: T) -> T:
    """Whether each element is NaN."""
    return k.ne(input, input)


@pointwise("isinf", variants=("function", "method"), promote="bool", differentiable=False)
def isinf(k: Kernel[T], input: T) -> T:
    """Whether each element is infinite."""
    return k.isinf(input)


@pointwise("isfinite", variants=("function", "method"), promote="bool", differentiable=False)
def isfinite(k: Kernel[T], input: T) -> T:
    """Whether each element is neither infinite nor NaN."""
    return k.logical_not(k.logical_or(k.isinf(input), k.ne(input, input)))


def _no_infinity(name: str) -> Any:
    def check(input: Any) -> None:
        if input.dtype is float8_e4m3fn:  # which has none
            raise NotImplementedError(f"\"{name}\" not implemented for 'Float8_e4m3fn'")

    return check


isinf.errors(_no_infinity("isinf"))
isfinite.errors(_no_infinity("isfinite"))


@pointwise("isposinf", variants=OUT, promote="bool", differentiable=False, lacks=("8", "isposinf_cpu"))
def isposinf(k: Kernel[T], input: T) -> T:
    """Whether each element is +inf."""
    return k.logical_and(k.isinf(input), k.gt(input, k.like(0, input)))


@pointwise("isneginf", variants=OUT, promote="bool", differentiable=False, lacks=("8", "isneginf_cpu"))
def isneginf(k: Kernel[T], input: T) -> T:
    """Whether each element is -inf."""
    return k.logical_and(k.isinf(input), k.lt(input, k.like(0, input)))


@pointwise("signbit", variants=OUT, promote="bool", differentiable=False, lacks=("8", "signbit_cpu"))
def signbit(k: Kernel[T], input: T) -> T:
    """Whether the sign bit is set (of -0.0 too)."""
    return k.signbit(input) if input.dtype.kind == "f" else k.lt(input, k.like(0, input))


def _no_complex(made: Op, error: type[Exception], text: str) -> None:
    @made.errors
    def _(input: Tensor) -> None:
        if input.is_complex():
            raise error(text)


_no_complex(isposinf, RuntimeError, "isposinf does not support complex inputs.")
_no_complex(isneginf, RuntimeError, "isneginf does not support complex inputs.")
_no_complex(signbit, NotImplementedError, "signbit is not implemented for complex tensors.")


@composite("isreal")
def isreal(input: Tensor) -> Tensor:
    """Whether the imaginary part is zero."""
    return input.imag.eq(0) if input.is_complex() else ones_like(input, dtype=bool_)


@composite("isclose")
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{SPOKEN[input.dtype]} did not match {SPOKEN[other.dtype]}")
    if rtol < 0:
        raise RuntimeError(f"rtol must be greater than or equal to zero, but got {rtol}")
    if atol < 0:
        raise RuntimeError(f"atol must be greater than or equal to zero, but got {atol}")
    close = input.eq(other)
    if equal_nan and input.dtype.kind in "fc":
        close = close.logical_or(input.isnan().logical_and(other.isnan()))
    if rtol == 0 and atol == 0:
        return close
    if input.dtype.kind in "bi":
        a, b = input.double(), other.double()
    else:
        a, b = input, other
    error = (a - b).abs()
    return close.logical_or(error.isfinite().logical_and(error.le(b.abs() * rtol + atol)))


@composite("allclose")
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@composite("equal")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same size and elements."""
    if tuple(input.shape) != tuple(other.shape):
        return False
    if input.dtype is complex32:
        raise NotImplementedError("\"equal_cpu\" not implemented for 'ComplexHalf'")
    return bool(input.eq(other).all())


@composite("is_nonzero", variants=("method",))
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero."""
    return bool(input)
