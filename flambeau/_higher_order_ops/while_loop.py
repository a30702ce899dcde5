"""while_loop: a function again and again, as long as a condition holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any) -> Any:
    """What is left of `carried_inputs` when `cond_fn` of it no longer holds; `body_fn` gives the next ones.

    >>> import flambeau as torch
    >>> while_loop(lambda i: i < 5, lambda i: (i + 2,), (torch.tensor(0),))
    (tensor(6),)
    """
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    carried = tuple(carried_inputs)
    while cond_fn(*carried):
        out = body_fn(*carried)
        carried = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        if len(carried) != len(carried_inputs):
            raise RuntimeError(
                f"body_fn should return the same number of elements as carried_inputs: {len(carried_inputs)}, but got {len(carried)}"
            )
    return carried
