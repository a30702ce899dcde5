"""`compatibility`: a mark that PyTorch puts on its public functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def compatibility(is_backward_compatible: bool) -> Callable[[T], T]:
    """A decorator that changes nothing."""
    return lambda fn: fn
