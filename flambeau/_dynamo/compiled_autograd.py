"""The switch for compiling what `backward` does when it is called outside of a compiled function.

Here a backward pass outside of `compile` runs as it always does, hooks included: the switch changes no gradient, and no compiler is asked.
A step with its backward pass inside of one compiled function is one program without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

compiled_autograd_enabled = False
in_compiled_autograd_region = False


def reset() -> None:
    """As it was in the beginning."""
    global compiled_autograd_enabled
    compiled_autograd_enabled = False


@contextlib.contextmanager
def _set(value: bool) -> Iterator[None]:
    global compiled_autograd_enabled
    before, compiled_autograd_enabled = compiled_autograd_enabled, value
    try:
        yield
    finally:
        compiled_autograd_enabled = before


def _enable(compiler_fn: Callable[..., Any], *, dynamic: bool = True, ignore_active_disable_ctx: bool = True) -> Any:
    """The block in which backward passes are meant to be compiled."""
    return _set(True)


def _disable() -> Any:
    """The block in which they are not."""
    return _set(False)
