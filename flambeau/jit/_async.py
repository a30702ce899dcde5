"""Calls that may run beside the caller: `fork`, `wait`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.futures import Future, _done

__all__ = ["fork", "wait"]


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """The call `func(*args)`, as a future; it is made at once."""
    return _done(func(*args, **kwargs))


def wait(future: Future[Any]) -> Any:
    """The value of a future."""
    return future.wait()
