"""Modes that see every operator: what libraries ask of them while none is active; to enter one is not supported yet."""

from contextlib import nullcontext

import flambeau


class TorchDispatchMode:
    """A context that sees every operator; entering it is not supported yet."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise NotImplementedError

    def __enter__(self):
        raise NotImplementedError("torch.utils._python_dispatch.TorchDispatchMode")

    def __exit__(self, *error):
        """Never reached."""


def is_traceable_wrapper_subclass(t) -> bool:
    """Is `t` a tensor subclass that takes itself apart into tensors and puts itself together again?"""
    if not isinstance(t, flambeau.Tensor) or type(t) is flambeau.Tensor:
        return False
    return hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")


def is_traceable_wrapper_subclass_type(t) -> bool:
    """The same of a class."""
    return issubclass(t, flambeau.Tensor) and hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")


def _get_current_dispatch_mode():
    """None: no mode is active."""
    return None


def _get_current_dispatch_mode_stack():
    """Nothing: no mode is active."""
    return []


def _disable_current_modes():
    """A context that changes nothing: no mode is active."""
    return nullcontext(())
