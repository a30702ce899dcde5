"""Modes that see every primitive operator, and what goes with tensor subclasses that do."""

import contextlib

import flambeau
from flambeau import _torch_dispatch as dispatch
from flambeau._eager.modes import STATE


class TorchDispatchMode:
    """Inside the block, every primitive operator is offered to `__torch_dispatch__` first.

    >>> import flambeau as torch
    >>> class Names(TorchDispatchMode):
    ...     def __torch_dispatch__(self, func, types, args=(), kwargs=None):
    ...         print(func)
    ...         return func(*args, **(kwargs or {}))
    >>> x = torch.ones(2)
    >>> with Names():
    ...     _ = x * 3
    aten.mul.Tensor
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """What the operator does in this block."""
        raise NotImplementedError

    def __enter__(self):
        dispatch.enter(self)
        return self

    def __exit__(self, *error):
        dispatch.leave()

    @classmethod
    def push(cls, *args, **kwargs):
        """The older spelling of making the mode."""
        return cls(*args, **kwargs)


def is_traceable_wrapper_subclass(t) -> bool:
    """Is `t` a tensor subclass that takes itself apart into tensors and puts itself together again?"""
    if not isinstance(t, flambeau.Tensor) or type(t) is flambeau.Tensor:
        return False
    return hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")


def is_traceable_wrapper_subclass_type(t) -> bool:
    """The same of a class."""
    return issubclass(t, flambeau.Tensor) and hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")


def transform_subclass(t, callback, outer_size=None, outer_stride=None):
    """A wrapper subclass like `t`, of what `callback(name, tensor)` makes of the tensors inside."""
    names, context = t.__tensor_flatten__()
    inside = {name: callback(name, getattr(t, name)) for name in names}
    size = t.size() if outer_size is None else outer_size
    return type(t).__tensor_unflatten__(inside, context, size, t.stride() if outer_stride is None else outer_stride)


def return_and_correct_aliasing(func, args, kwargs, out):
    """What a wrapper subclass returns: for an operator that writes, its first argument itself."""
    return args[0] if getattr(func, "is_write", False) else out


def _get_current_dispatch_mode():
    """The innermost active mode, or None."""
    return STATE.dispatch_modes[-1] if STATE.dispatch_modes else None


def _get_current_dispatch_mode_stack():
    """The active modes, outermost first."""
    return list(STATE.dispatch_modes)


@contextlib.contextmanager
def _disable_current_modes():
    """The block in which no mode is active; gives those that were."""
    before, STATE.dispatch_modes = STATE.dispatch_modes, ()
    try:
        yield before
    finally:
        STATE.dispatch_modes = before


@contextlib.contextmanager
def _pop_mode_temporarily():
    """The block in which the innermost mode is not active; gives it."""
    before = STATE.dispatch_modes
    STATE.dispatch_modes = before[:-1]
    try:
        yield before[-1]
    finally:
        STATE.dispatch_modes = before
