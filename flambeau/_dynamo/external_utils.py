"""Small functions that other libraries take from the compiler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau._capture.control import is_dynamo_compiling as is_compiling

__all__ = ["is_compiling", "wrap_inline"]


def wrap_inline(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function around another: what is put on it does not reach the other."""

    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner
