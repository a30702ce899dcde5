"""Modules wrapped so that their activations are computed again in the backward pass, or kept on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import partial
from typing import Any

from flambeau import nn
from flambeau.autograd.graph import save_on_cpu
from flambeau.utils.checkpoint import checkpoint

_PREFIX = "_checkpoint_wrapped_module"


class CheckpointImpl(Enum):
    """Which form of `torch.utils.checkpoint`."""

    REENTRANT = auto()
    NO_REENTRANT = auto()


class ActivationWrapper(nn.Module):
    """A module around another, whose state has the names of the inner one."""

    def __init__(self, mod: Any) -> None:
        super().__init__()
        self._checkpoint_wrapped_module = mod
        self._register_state_dict_hook(self._without_prefix)
        self.register_load_state_dict_pre_hook(self._with_prefix)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("Subclasses should implement this")

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._checkpoint_wrapped_module, name)

    def __getitem__(self, key: int) -> Any:
        return self._checkpoint_wrapped_module.__getitem__(key)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        for name, p in super().named_parameters(*args, **kwargs):
            yield name.replace(_PREFIX + ".", ""), p

    @staticmethod
    def _without_prefix(module: Any, state: dict[str, Any], prefix: str, *args: Any) -> dict[str, Any]:
        old = f"{prefix}{_PREFIX}."
        for key in [k for k in state if k.startswith(old)]:
            state[prefix + key.removeprefix(old)] = state.pop(key)
        return state

    @staticmethod
    def _with_prefix(module: Any, state: dict[str, Any], prefix: str, *args: Any) -> None:
        new = f"{prefix}{_PREFIX}."
        for key in [k for k in state if k.startswith(prefix) and not k.startswith(new)]:
            state[new + key.removeprefix(prefix)] = state.pop(key)


class CheckpointWrapper(ActivationWrapper):
    """A module whose forward pass runs again in the backward pass."""

    def __init__(self, mod: Any, checkpoint_impl: CheckpointImpl = CheckpointImpl.NO_REENTRANT, checkpoint_fn: Any = None, **options: Any) -> None:  # fmt: skip
        super().__init__(mod)
        self.checkpoint_impl = checkpoint_impl
        again = checkpoint_impl is CheckpointImpl.REENTRANT
        self.checkpoint_fn = partial(checkpoint, use_reentrant=again, **options) if checkpoint_fn is None else partial(checkpoint_fn, **options)  # fmt: skip

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.checkpoint_impl is CheckpointImpl.REENTRANT and kwargs:  # that form takes no keywords
            return self.checkpoint_fn(lambda *a: self._checkpoint_wrapped_module(*a, **kwargs), *args)
        return self.checkpoint_fn(self._checkpoint_wrapped_module, *args, **kwargs)


class OffloadWrapper(ActivationWrapper):
    """A module whose saved tensors wait on the CPU."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with save_on_cpu(pin_memory=True):
            return self._checkpoint_wrapped_module(*args, **kwargs)


def offload_wrapper(module: Any) -> Any:
    """The module in an `OffloadWrapper`."""
    return OffloadWrapper(module)


def checkpoint_wrapper(module: Any, checkpoint_impl: CheckpointImpl = CheckpointImpl.NO_REENTRANT, checkpoint_fn: Any = None, **checkpoint_fn_kwargs: Any) -> Any:  # fmt: skip
    """The module in a `CheckpointWrapper`."""
    return CheckpointWrapper(module, checkpoint_impl, checkpoint_fn, **checkpoint_fn_kwargs)


def apply_activation_checkpointing(model: Any, checkpoint_wrapper_fn: Callable[[Any], Any] = checkpoint_wrapper,
                                   check_fn: Callable[[Any], bool] = lambda _: True, auto_wrap_policy: Any = None) -> None:  # fmt: skip
    """Wrap the submodules of a model that `check_fn` chooses, innermost first."""
    for name, child in list(model.named_children()):
        apply_activation_checkpointing(child, checkpoint_wrapper_fn, check_fn, auto_wrap_policy)
        if check_fn(child):
            setattr(model, name, checkpoint_wrapper_fn(child))
