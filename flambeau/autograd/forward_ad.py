"""Forward-mode differentiation: dual numbers. The levels and the public calls; rules for operators come with `torch.func.jvp`."""

from __future__ import annotations

from typing import Any, NamedTuple


class UnpackedDualTensor(NamedTuple):
    """A tensor and its tangent (None where it has none)."""

    primal: Any
    tangent: Any


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """A dual tensor: `tensor` with a tangent."""
    raise NotImplementedError("torch.autograd.forward_ad.make_dual is not implemented")


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """The primal and the tangent of a tensor."""
    return UnpackedDualTensor(tensor, None)


def enter_dual_level() -> int:
    raise NotImplementedError("torch.autograd.forward_ad.enter_dual_level is not implemented")


def exit_dual_level(*, level: int | None = None) -> None:
    raise NotImplementedError("torch.autograd.forward_ad.exit_dual_level is not implemented")


class dual_level:
    """The block in which dual tensors live."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: object) -> None:
        exit_dual_level()
