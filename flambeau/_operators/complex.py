"""Complex numbers: parts, conjugates, angles, and how they are put together."""

from __future__ import annotations

from typing import Any

from flambeau._kernel.language import Kernel, T
from flambeau._operators.op import ALL_FORMS, FUNCTION, OUT, composite, op, pointwise
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN


@pointwise("_conj_physical", variants=FUNCTION)
def _conj_physical(k: Kernel[T], input: T) -> T:
    """The complex conjugate, in memory of its own."""
    return k.conj(input)


@composite("conj_physical", variants=ALL_FORMS)
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate; of real numbers the tensor itself."""
    return _conj_physical(input) if input.is_complex() else input


@op("_conj", promote="none", view=True)
def _conj(k: Kernel[T], input: T) -> T:
    """The complex conjugate, as a view."""
    return k.conj(input)


_conj.vjp(input=lambda g: g.conj()).signs(lambda conjugate, negative: (not conjugate, negative))


@_conj.arrays
def _(k: Any, input: Any) -> Any:
    return input[...]


@op("_neg_view", promote="none", view=True)
def _neg_view(k: Kernel[T], input: T) -> T:
    """The negative, as a view."""
    return -input


_neg_view.vjp(input=lambda g: -g).signs(lambda conjugate, negative: (conjugate, not negative))


@_neg_view.arrays
def _(k: Any, input: Any) -> Any:
    return input[...]


@composite("conj", layouts=True, alias=True)
def conj(input: Tensor) -> Tensor:
    """The complex conjugate, as a view; a real tensor itself.

    >>> x = torch.tensor([1 + 2j])
    >>> x.conj().is_conj(), x.conj().mul_(1j), x
    (True, tensor([2.+1.j]), tensor([2.-1.j]))
    """
    return _conj(input) if input.is_complex() else input


@composite("resolve_conj", alias=True)
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself; of a conjugate view, its numbers in new memory."""
    return input.clone() if input.is_conj() else input


@composite("resolve_neg", alias=True)
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself; of a negative view, its numbers in new memory."""
    return input.clone() if input.is_neg() else input


@op("angle", variants=OUT, promote="float", lacks=("C", "angle_cpu"))
def angle(k: Kernel[T], input: T) -> T:
    """The argument of a complex number; of a real one, 0 or pi."""
    return k.library("angle", input)


def _angle_vjp(g: Tensor, input: Tensor) -> Tensor:
    if not input.is_complex():
        return g.new_zeros(g.shape)
    size = input.abs()
    unit = complex_(-(input.imag / size), input.real / size)  # i z / |z|
    return (g / size * unit).masked_fill(size.eq(0), 0.0)


angle.vjp(input=_angle_vjp)


@op("complex", variants=("function", "out"), exact=True)
def complex_(k: Kernel[T], real: T, imag: T) -> T:
    """real + i imag."""
    return k.complex(real, imag)


complex_.vjp(real=lambda g: g.real, imag=lambda g: g.imag)


@complex_.errors
def _(real: Tensor, imag: Tensor) -> None:

    if real.dtype.name not in ("float16", "float32", "float64") or imag.dtype.name not in (
        "float16",
        "float32",
        "float64",
    ):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {SPOKEN[real.dtype]} and {SPOKEN[imag.dtype]}"
        )
    if real.dtype is not imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {SPOKEN[real.dtype]} but got scalar type {SPOKEN[imag.dtype]} for second argument"
        )


@composite("polar", variants=("function", "out"), autocast="float32")
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """abs * exp(i angle)."""
    if any(t.dtype.name not in ("float16", "float32", "float64") for t in (abs, angle)):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {SPOKEN[abs.dtype]} and {SPOKEN[angle.dtype]}"
        )
    if abs.dtype.name == "float16":
        raise NotImplementedError("\"polar_cpu\" not implemented for 'Half'")
    return complex_(abs * angle.cos(), abs * angle.sin())
