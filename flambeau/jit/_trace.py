"""Tracing: a program from what a function does to example inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau import _C

__all__ = ["TracerWarning", "TracingCheckError", "is_tracing"]


class TracerWarning(Warning):
    """A traced function did something that its trace may not show."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Nothing to do: our own library does not warn about itself."""


class TracingCheckError(Exception):
    """A trace does not do what its function does."""


def is_tracing() -> bool:
    """Whether a trace is being made."""
    return _C._is_tracing()


def _script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `fn` when it is first called within a trace; elsewhere it is plain Python."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not is_tracing():
            return fn(*args, **kwargs)
        from flambeau.jit import script

        return script(wrapper.__original_fn)(*args, **kwargs)  # type: ignore[attr-defined]

    wrapper.__original_fn = fn  # type: ignore[attr-defined]
    wrapper.__script_if_tracing_wrapper = True  # type: ignore[attr-defined]
    return wrapper


def script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `fn` when it is first called within a trace; elsewhere it is plain Python."""
    return _script_if_tracing(fn)
