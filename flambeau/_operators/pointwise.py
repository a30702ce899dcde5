"""Pointwise arithmetic: one scalar expression each. Derivatives follow from the expression unless one stands below it."""

from __future__ import annotations

from flambeau._kernel.language import Kernel, Scalar, T
from flambeau._operators.op import ALL_FORMS, pointwise

N = T  # a tensor or a number


@pointwise("add.Tensor", "add.Scalar", variants=ALL_FORMS)
def add(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """Adds `other`, scaled by `alpha`, to `input`: input + alpha * other."""
    return input + other if alpha == 1 else input + other * alpha


@pointwise("sub.Tensor", "sub.Scalar", variants=ALL_FORMS, names=("subtract",))
def sub(k: Kernel[T], input: T, other: N, *, alpha: Scalar = 1) -> T:
    """Subtracts `other`, scaled by `alpha`, from `input`: input - alpha * other."""
    return input - other if alpha == 1 else input - other * alpha


@pointwise("mul.Tensor", "mul.Scalar", variants=ALL_FORMS, names=("multiply",))
def mul(k: Kernel[T], input: T, other: N) -> T:
    """Multiplies elementwise: input * other."""
    return input * other


@pointwise("div.Tensor", "div.Scalar", variants=ALL_FORMS, promote="float", names=("divide", "true_divide"))
def div(k: Kernel[T], input: T, other: N) -> T:
    """Divides elementwise: input / other."""
    return input / other


@pointwise("exp", variants=ALL_FORMS, promote="float")
def exp(k: Kernel[T], input: T) -> T:
    """The exponential of each element."""
    return k.exp(input)


@pointwise("tanh", variants=ALL_FORMS, promote="float")
def tanh(k: Kernel[T], input: T) -> T:
    """The hyperbolic tangent of each element."""
    return k.tanh(input)


@pointwise("sigmoid", variants=ALL_FORMS, promote="float")
def sigmoid(k: Kernel[T], input: T) -> T:
    """1 / (1 + exp(-input))."""
    return k.sigmoid(input)


@pointwise("relu", variants=ALL_FORMS)
def relu(k: Kernel[T], input: T) -> T:
    """max(input, 0)."""
    return k.maximum(input, k.like(0, input))
