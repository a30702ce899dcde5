"""Switching the recording of operations on and off: `no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from flambeau._eager.modes import STATE

F = TypeVar("F", bound=Callable[..., Any])


class _Context:
    """A `with` block that also decorates functions, generators and classes."""

    def clone(self) -> Any:
        return type(self)()

    def __call__(self, fn: F) -> F:
        if inspect.isclass(fn):
            fn.__init__ = self(fn.__init__)  # type: ignore[method-assign]
            return fn
        make = self.clone
        if inspect.isgeneratorfunction(fn):

            @functools.wraps(fn)
            def generator(*args: Any, **kwargs: Any) -> Any:
                # The mode holds while the generator runs, not while its consumer does.
                gen = fn(*args, **kwargs)
                try:
                    with make():
                        item = gen.send(None)
                    while True:
                        try:
                            sent = yield item
                        except GeneratorExit:
                            with make():
                                gen.close()
                            raise
                        except BaseException:
                            import sys

                            with make():
                                item = gen.throw(*sys.exc_info()[1:2])
                        else:
                            with make():
                                item = gen.send(sent)
                except StopIteration as stop:
                    return stop.value

            return generator  # type: ignore[return-value]

        @functools.wraps(fn)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with make():
                return fn(*args, **kwargs)

        return decorated  # type: ignore[return-value]


class no_grad(_Context):
    """Nothing is recorded inside.

    >>> import flambeau as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, orig_func: Any = None) -> Any:
        self = object.__new__(cls)
        return self if orig_func is None else self(orig_func)

    def __enter__(self) -> None:
        self.prev = STATE.grad
        STATE.grad = False

    def __exit__(self, *exc: object) -> None:
        STATE.grad = self.prev


class enable_grad(_Context):
    """Operations are recorded inside, even within `no_grad`."""

    def __new__(cls, orig_func: Any = None) -> Any:
        self = object.__new__(cls)
        return self if orig_func is None else self(orig_func)

    def __enter__(self) -> None:
        self.prev = STATE.grad
        STATE.grad = True

    def __exit__(self, *exc: object) -> None:
        STATE.grad = self.prev


class set_grad_enabled(_Context):
    """Recording on or off: at once when called, until the end of the block when used with `with`."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"enabled must be a bool (got {type(mode).__name__})")
        self.prev = STATE.grad
        self.mode = mode
        STATE.grad = mode

    def __call__(self, fn: F) -> F:
        STATE.grad = self.prev
        return super().__call__(fn)

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        STATE.grad = self.mode

    def __exit__(self, *exc: object) -> None:
        STATE.grad = self.prev


class inference_mode(_Context):
    """As `no_grad`, and tensors made inside can never be part of a graph."""

    def __new__(cls, mode: Any = True) -> Any:
        self = object.__new__(cls)
        if isinstance(mode, bool):
            return self
        self.mode = True
        return self(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode

    def clone(self) -> inference_mode:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        from flambeau._eager import modes

        self.prev = STATE.grad, STATE.inference
        STATE.inference = self.mode
        if self.mode:
            STATE.grad = False
            modes.enter("inference")
        else:
            STATE.grad = True

    def __exit__(self, *exc: object) -> None:
        from flambeau._eager import modes

        STATE.grad, STATE.inference = self.prev
        if self.mode:
            modes.leave("inference")


class set_multithreading_enabled(_Context):
    """Accepted for compatibility: the backward pass runs in the calling thread here."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode

    def clone(self) -> set_multithreading_enabled:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def is_grad_enabled() -> bool:
    """Whether operations are being recorded."""
    return STATE.grad


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return STATE.inference


def _set_grad_enabled(mode: bool) -> None:
    STATE.grad = mode


def _unsafe_preserve_version_counter(*_: Any) -> Any:
    raise NotImplementedError("torch.autograd._unsafe_preserve_version_counter is not implemented")


class enforce_grad_layout_policy(_Context):
    """Whether a leaf's gradient is laid out in memory as the leaf (the default), within a block, a function, or from now on."""

    def __init__(self, enable: bool = True) -> None:
        self.before, STATE.grad_layout = STATE.grad_layout, enable
        self.mode = enable

    def __call__(self, fn: F) -> F:
        STATE.grad_layout = self.before
        return super().__call__(fn)

    def __enter__(self) -> None:
        STATE.grad_layout = self.mode

    def __exit__(self, *error: object) -> None:
        STATE.grad_layout = self.before

    def clone(self) -> Any:
        return enforce_grad_layout_policy(self.mode)
