"""`_disable_dynamo`, by which libraries keep functions out of compiled graphs without loading the compiler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def _disable_dynamo(fn: Callable[..., Any] | None = None, recursive: bool = True) -> Callable[..., Any]:
    """`torch.compiler.disable`, asked for when the function is first called."""
    if fn is None:
        return functools.partial(_disable_dynamo, recursive=recursive)
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        if not disabled:
            from flambeau import compiler

            disabled.append(compiler.disable(fn, recursive))
        return disabled[0](*args, **kwargs)

    return inner
