"""Delayed calls: made when their value is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._jit_internal import _Await


def _awaitable(func: Callable[..., Any], *args: Any, **kwargs: Any) -> _Await[Any]:
    """The call `func(*args)`, to be made when it is needed."""
    return _Await(func, args)


def _awaitable_wait(aw: _Await[Any]) -> Any:
    """The value; makes the call where that has not been done."""
    return aw.wait()


def _awaitable_nowait(o: Any) -> _Await[Any]:
    """A delayed call that has its value already."""
    return _Await(None, (), o)
