"""Marks and questions that compiled programs may contain; they mean nothing elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ContextDecorator
from types import SimpleNamespace
from typing import Any


def is_compiling() -> bool:
    """Whether the function is being captured just now."""
    return False


def is_dynamo_compiling() -> bool:
    """The same."""
    return False


def is_exporting() -> bool:
    """Whether `export` is capturing."""
    return False


def graph_break(msg: str = "") -> None:
    """Split a captured function here."""


BREAKS = SimpleNamespace(errors=False)  # whether a place that cannot be captured is an error at this moment


class error_on_graph_break(ContextDecorator):
    """Within the `with` block, or the decorated function, a place that cannot be captured is an error, or is none.

    Args:
        error_on_graph_break: whether it is; under `fullgraph=True` it is everywhere
    """

    def __init__(self, error_on_graph_break: bool) -> None:
        self.errors = error_on_graph_break

    def __enter__(self) -> None:
        self.before, BREAKS.errors = BREAKS.errors, self.errors

    def __exit__(self, *raised: object) -> None:
        BREAKS.errors = self.before


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Never capture `fn`: compiled code that calls it is split, and calls it in Python."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    import flambeau

    if isinstance(fn, flambeau.nn.Module):
        fn.forward = disable(fn.forward)  # type: ignore[method-assign]
        return fn
    if isinstance(fn, type):
        fn.__call__ = disable(fn.__call__)  # type: ignore[method-assign]
        return fn

    @functools.wraps(fn)
    def disabled(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    disabled._torchdynamo_disable = True  # type: ignore[attr-defined]
    disabled._torchdynamo_disable_msg = reason  # type: ignore[attr-defined]
    disabled._torchdynamo_disable_recursive = recursive  # type: ignore[attr-defined]
    return disabled


def allow_in_graph(fn: Any) -> Any:
    """Accepted: what a function does is followed in any case."""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """Accepted: a function's result is followed, not assumed."""
    return fn


def substitute_in_graph(original_fn: Any, **_: Any) -> Callable[[Any], Any]:
    """Accepted: what a function does is followed."""
    return lambda fn: fn


def cudagraph_mark_step_begin() -> None:
    """Nothing to mark: no device here replays recordings."""
