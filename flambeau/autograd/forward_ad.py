"""Forward-mode differentiation: dual numbers. How operators act on them stands in `_dual`."""

from __future__ import annotations

from typing import Any, NamedTuple

from flambeau._eager import views
from flambeau._tensor import Tensor
from flambeau.autograd import _dual

_open: list[int] = []  # the level that is open here, by the number that it has inside; outside it is 0


class UnpackedDualTensor(NamedTuple):
    """A tensor and its tangent (None where it has none)."""

    primal: Any
    tangent: Any


def __getattr__(name: str) -> Any:
    if name == "_current_level":  # the open level, -1 where none is
        return len(_open) - 1
    raise AttributeError(f"module 'torch.autograd.forward_ad' has no attribute '{name}'")


def enter_dual_level() -> int:
    """Open a level, in which dual tensors can be made; its number.

    Raises RuntimeError where one is open: levels of this interface do not nest (those of `torch.func.jvp` do).
    """
    if _open:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _open.append(_dual.enter())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level; its dual tensors lose their tangents."""
    if not _open and level in (None, -1):
        raise RuntimeError("Dual level must be a positive number.")
    if level not in (None, 0) or not _open:
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    _dual.leave(_open.pop())


class dual_level:
    """The block in which dual tensors live.

    >>> import flambeau as torch
    >>> from flambeau.autograd import forward_ad
    >>> with forward_ad.dual_level():
    ...     x = forward_ad.make_dual(torch.tensor(3.0), torch.tensor(1.0))
    ...     forward_ad.unpack_dual(x * x).tangent
    tensor(6.)
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: object) -> None:
        exit_dual_level()


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """A view of `tensor` whose derivative in the direction of interest is `tangent`.

    Arguments:
        tensor, tangent: tensors of one shape, floating or complex.
        level: which level they are dual at (default: the open one).
    """
    if not _open:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    return dual_at(tensor, tangent, _open[-1])


def dual_at(tensor: Any, tangent: Any, level: int) -> Any:
    """`make_dual` at a level that has this number inside."""
    for name, t in (("primal", tensor), ("tangent", tangent)):
        if not (t.is_floating_point() or t.is_complex()):
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {t.dtype}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not supported. "
            f"Tensor is of size {list(tensor.shape)} while the given forward gradient is of size {list(tangent.shape)}."
        )
    if _dual.tangent(tensor, level) is not None:
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the same level 0 is not supported."
        )
    dual = tensor.view_as(tensor) if type(tensor) is not Tensor or tensor.requires_grad else _plain_view(tensor)
    _dual.set_tangent(dual, level, tangent)
    return dual


def _plain_view(tensor: Tensor) -> Tensor:
    dual = views.view(tensor, tensor._a)
    dual._tangents = tensor._tangents
    return dual


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor without its tangent, and the tangent (None where it has none)."""
    if not _open:
        return UnpackedDualTensor(tensor, None)
    return UnpackedDualTensor(_dual.primal(tensor, _open[-1]), _dual.tangent(tensor, _open[-1]))


def _set_fwd_grad_enabled(mode: bool) -> Any:
    raise NotImplementedError("torch.autograd.forward_ad._set_fwd_grad_enabled is not implemented")


def _is_fwd_grad_enabled() -> bool:
    return True
