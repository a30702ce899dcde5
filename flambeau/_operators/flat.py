"""Marks of flatness: where PyTorch's second derivatives are there, and zero, though a result does not change with an input."""

from __future__ import annotations

from flambeau._kernel.language import Kernel, T
from flambeau._operators.op import op
from flambeau._tensor import Tensor
from flambeau._values.device import channels_last


@op("_still", variants=(), promote="none", view=True)
def _still(k: Kernel[T], input: T) -> T:
    """The input itself; gradients through it are flat in it."""
    return k.reshape(input, input.shape)


_still.vjp(input=lambda g: g).flat()


def still(x: Tensor) -> Tensor:
    """x, where what is made of it is piecewise linear in it (a choice of elements, a factor for each sign)."""
    own = getattr(type(x), "__torch_dispatch__", None) is not getattr(
        Tensor, "__torch_dispatch__", None
    )  # sees no marks
    return _still(x) if x.requires_grad and not own else x


@op("_laid", variants=(), promote="none", view=True)
def _laid(k: Kernel[T], input: T, images: bool) -> T:
    """The input itself; its gradient lies in order, or as images with channels last do."""
    return k.reshape(input, input.shape)


_laid.vjp(input=lambda g, images: g.contiguous(memory_format=channels_last) if images else g.contiguous()).flat()


def laid(x: Tensor, images: bool = False) -> Tensor:
    """x, whose gradient lies in order, or (`images`) as x does where channels come last in it."""
    if type(x) is not Tensor or not x.requires_grad:
        return x
    if not images:
        return _laid(x, False)
    return _laid(x, True) if not x.is_contiguous() and x.is_contiguous(memory_format=channels_last) else x


@op("_flat_in", variants=(), promote="none")
def flat_in(k: Kernel[T], x: T, input: T) -> T:
    """x, which was made of `input` and does not change with it: the derivative by `input` is there, and zero.

    `flat_in(x, still(input))` where the second one is there, too.
    """
    return x


@op("_blind_in", variants=(), promote="none")
def blind_in(k: Kernel[T], x: T, input: T) -> T:
    """x, whose graph holds `input` too, though no gradient comes back to it."""
    return k.library("copied", x)


@op("_underived_in", variants=(), promote="none")
def _underived_in(k: Kernel[T], x: T, input: T, name: str) -> T:
    """x, which was made of `input` by an operator without a derivative: it says so when a gradient reaches it."""
    return x


def underived_in(x: Tensor, input: Tensor, name: str) -> Tensor:
    """x, which takes part in the graph of `input` though there is no derivative."""
    return _underived_in(x, input, name) if input.requires_grad else x


def _refused(g: Tensor, name: str) -> Tensor:
    raise NotImplementedError(f"the derivative for '{name}' is not implemented.")


_underived_in.arrays(lambda k, x, input, name: x)
_underived_in.vjp(input=lambda g, name: _refused(g, name))
blind_in.vjp(x=lambda g: g, input=lambda g: None)
flat_in.arrays(lambda k, x, input: x.copy())
flat_in.vjp(x=lambda g: g, input=lambda g, input_shape: g.new_zeros(input_shape))
