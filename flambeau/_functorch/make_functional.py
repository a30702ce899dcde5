"""Modules as functions of their parameters, in the older form: `functional_call` is the newer one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import flambeau as torch
from flambeau import nn


def _names(module: Any, which: str) -> tuple[str, ...]:
    return tuple(name for name, _ in getattr(module, which)(remove_duplicate=False))


class FunctionalModuleWithBuffers(nn.Module):
    """A module that takes its parameters and buffers as arguments."""

    def __init__(self, stateless_model: Any, param_names: Sequence[str], buffer_names: Sequence[str], *_: Any) -> None:
        super().__init__()
        self.stateless_model, self.param_names, self.buffer_names = (
            stateless_model,
            tuple(param_names),
            tuple(buffer_names),
        )

    @staticmethod
    def _create_from(
        model: Any, disable_autograd_tracking: bool = False
    ) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        params, buffers = _values(model, disable_autograd_tracking)
        made = FunctionalModuleWithBuffers(
            copy.deepcopy(model).to("meta"), _names(model, "named_parameters"), _names(model, "named_buffers")
        )
        return made, params, buffers

    def forward(self, params: Any, buffers: Any, *args: Any, **kwargs: Any) -> Any:
        values = dict(zip(self.param_names, params, strict=True)) | dict(zip(self.buffer_names, buffers, strict=True))
        return torch.func.functional_call(self.stateless_model, values, args, kwargs, tie_weights=False)


class FunctionalModule(nn.Module):
    """A module that takes its parameters as arguments."""

    def __init__(self, stateless_model: Any, param_names: Sequence[str], *_: Any) -> None:
        super().__init__()
        self.stateless_model, self.param_names = stateless_model, tuple(param_names)

    @staticmethod
    def _create_from(model: Any, disable_autograd_tracking: bool = False) -> tuple[Any, tuple[Any, ...]]:
        params, _ = _values(model, disable_autograd_tracking)
        return FunctionalModule(copy.deepcopy(model), _names(model, "named_parameters")), params

    def forward(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        values = dict(zip(self.param_names, params, strict=True))
        return torch.func.functional_call(self.stateless_model, values, args, kwargs, tie_weights=False)


def _values(model: Any, still: bool) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    params = tuple(
        p.detach().clone().requires_grad_(p.requires_grad and not still) if still else p for p in _parameters(model)
    )
    return params, tuple(b for _, b in model.named_buffers(remove_duplicate=False))


def _parameters(model: Any) -> list[Any]:
    return [p for _, p in model.named_parameters(remove_duplicate=False)]


def make_functional(model: Any, disable_autograd_tracking: bool = False) -> tuple[Any, tuple[Any, ...]]:
    """`f, params` with `f(params, *args)` the same as `model(*args)`."""
    if list(model.buffers()):
        raise ValueError(
            "make_functional(model): `model` has buffers. Please use make_functional_with_buffers(model) instead."
        )
    return FunctionalModule._create_from(model, disable_autograd_tracking)


def make_functional_with_buffers(
    model: Any, disable_autograd_tracking: bool = False
) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """`f, params, buffers` with `f(params, buffers, *args)` the same as `model(*args)`."""
    return FunctionalModuleWithBuffers._create_from(model, disable_autograd_tracking)


def combine_state_for_ensemble(models: Sequence[Any]) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """One function for several modules of a kind, whose parameters and buffers are stacked: to be mapped over with `vmap`."""
    if not models:
        raise RuntimeError("combine_state_for_ensemble: Expected at least one model, got 0.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("combine_state_for_ensemble: Expected all models to be of the same class.")
    made = [make_functional_with_buffers(m) for m in models]
    params = tuple(torch.stack(p).detach() for p in zip(*(m[1] for m in made), strict=True))
    buffers = tuple(torch.stack(b).detach() for b in zip(*(m[2] for m in made), strict=True))
    return made[0][0], params, buffers
