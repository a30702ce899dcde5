"""Functions of each element: one row each, the standard's name and PyTorch's. Operands meet in one dtype first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import flambeau
from flambeau import Tensor
from flambeau.array_api._types import WIDE, by_numpy, meet, whole


def _round(x: Tensor) -> Tensor:
    return flambeau.complex(x.real.round(), x.imag.round()) if x.is_complex() else x.round()


def _sign(x: Tensor) -> Tensor:
    """NaN where x is NaN (PyTorch's is 0 there); a complex number's direction."""
    if x.is_complex():
        return x.sgn()
    return flambeau.where(x.isnan(), x, x.sign()) if x.is_floating_point() else x.sign()


def _expm1(x: Tensor) -> Tensor:
    """A complex number whose parts are infinite or NaN as exp(x) - 1, a real one with its imaginary part as it is: PyTorch's are NaN."""
    if not x.is_complex():
        return flambeau.expm1(x)
    a, b = x.real, x.imag
    ends, flat = ~(a.isfinite() & b.isfinite()), b == 0
    usual = flambeau.expm1(flambeau.where(ends | flat, 1, x))  # where gradients of what is not chosen stay finite
    out = flambeau.where(ends, flambeau.exp(flambeau.where(ends, x, 1)) - 1, usual)
    on_line = flambeau.where(flat, a, 1).expm1() + 0.0  # +0 of -0, as 1 - 1
    return flambeau.where(flat, flambeau.complex(on_line, flambeau.where(flat, b, 1)), out)


def _tanh(x: Tensor) -> Tensor:
    """At infinity, the sign of the imaginary zero is that of the imaginary part: in C, and PyTorch, that of sin(2 imag)."""
    out = flambeau.tanh(x)
    if not x.is_complex():
        return out
    ends = x.real.isinf() & x.imag.isfinite()
    return flambeau.where(ends, flambeau.complex(x.real.sign(), flambeau.zeros_like(x.imag).copysign(x.imag)), out)


def _tan(x: Tensor) -> Tensor:
    """-1j tanh(1j x), as the standard has it."""
    out = flambeau.tan(x)
    if not x.is_complex():
        return out
    ends = x.imag.isinf() & x.real.isfinite()
    return flambeau.where(ends, flambeau.complex(flambeau.zeros_like(x.real).copysign(x.real), x.imag.sign()), out)


def _imag(x: Tensor) -> Tensor:
    return flambeau.imag(x) if x.is_complex() else flambeau.zeros_like(x)


def _same(x: Tensor) -> Tensor:
    return x.clone()


def _floor_divide(a: Tensor, b: Tensor) -> Tensor:
    """Infinite where the quotient is, and zero of its sign where the divisor is infinite: NaN and -1 are PyTorch's answers."""
    out = flambeau.floor_divide(a, b)
    return flambeau.where(a.isinf() | b.isinf(), a / b, out) if a.is_floating_point() else out


def _remainder(a: Tensor, b: Tensor) -> Tensor:
    """Of a zero, too, the sign is the divisor's: PyTorch's is that of what is divided."""
    out = flambeau.remainder(a, b)
    return flambeau.where(out == 0, out.copysign(b), out) if a.is_floating_point() else out


def _pow(a: Tensor, b: Tensor) -> Tensor:
    """As C's `pow`: of one exponent for all, 1/2 is a root elsewhere, which differs at -0 and -infinity."""
    if not b.is_floating_point():
        return flambeau.pow(a, b)
    a, b = flambeau.broadcast_tensors(a, b)
    return flambeau.pow(a.reshape(-1), b.reshape(-1).contiguous()).reshape(a.shape)


UNARY: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(flambeau, name) for name in (
        "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp", "floor", "isfinite",
        "isinf", "isnan", "log", "log1p", "log2", "log10", "logical_not", "real", "reciprocal", "signbit", "sin", "sinh",
        "sqrt", "square", "trunc",
    )},
    "bitwise_invert": flambeau.bitwise_not,
    "conj": lambda x: flambeau.conj(x).resolve_conj(),
    "expm1": _expm1,
    "imag": _imag,
    "negative": flambeau.neg,
    "positive": _same,
    "round": _round,
    "sign": _sign,
    "tan": _tan,
    "tanh": _tanh,
}  # fmt: skip
KEEPS_INTEGERS = frozenset(("ceil", "floor", "round", "trunc"))
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(flambeau, name) for name in (
        "add", "atan2", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "copysign",
        "divide", "greater", "greater_equal", "hypot", "less", "less_equal", "logaddexp", "logical_and",
        "logical_or", "logical_xor", "maximum", "minimum", "multiply", "nextafter", "not_equal", "subtract",
    )},
    "equal": flambeau.eq,
    "floor_divide": _floor_divide,
    "pow": _pow,
    "remainder": _remainder,
}  # fmt: skip


def _unary(name: str, function: Callable[[Any], Any]) -> Callable[[Tensor], Tensor]:
    other = getattr(np, name)

    def call(x: Tensor, /) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}(): argument 'x' must be an array, not {type(x).__name__}")
        if name in KEEPS_INTEGERS and whole(x.dtype):
            return x.clone()
        if x.dtype in WIDE:
            return by_numpy(other, x)
        return function(x)

    return _named(call, name, f"{name} of each element.")


def _binary(name: str, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Tensor]:
    other = getattr(np, name)

    def call(x1: Any, x2: Any, /) -> Tensor:
        a, b = meet(x1, x2)
        if a.dtype in WIDE:
            return by_numpy(other, a, b)
        return function(a, b)

    return _named(
        call, name, f"{name} of elements side by side; shapes broadcast, dtypes meet, either may be a Python number."
    )


def _named(call: Any, name: str, doc: str) -> Any:
    call.__name__ = call.__qualname__ = name
    call.__doc__, call.__module__ = doc, "flambeau.array_api"
    return call


for _name, _function in UNARY.items():
    globals()[_name] = _unary(_name, _function)
for _name, _function2 in BINARY.items():
    globals()[_name] = _binary(_name, _function2)


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """min(max(x, min), max), of x's dtype; a bound may be an array that broadcasts, or None."""
    bounds = [
        None
        if b is None
        else b.to(x.dtype)
        if isinstance(b, Tensor)
        else flambeau.asarray(b, dtype=x.dtype, device=x.device)
        for b in (min, max)
    ]
    if x.dtype in WIDE:
        return by_numpy(np.clip, x, *bounds) if min is not None or max is not None else x.clone()
    out = x.clone() if min is None and max is None else x
    if bounds[0] is not None:
        out = flambeau.maximum(out, bounds[0])
    if bounds[1] is not None:
        out = flambeau.minimum(out, bounds[1])
    return out


__all__ = [*UNARY, *BINARY, "clip"]
