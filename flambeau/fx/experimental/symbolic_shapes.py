"""Errors about symbolic sizes, under PyTorch's name."""

from __future__ import annotations

from typing import Any


class GuardOnDataDependentSymNode(RuntimeError):
    """What a program does depends on the elements of a tensor that it is traced with."""


class ConstraintViolationError(RuntimeError):
    """A size was marked as dynamic, and the code fixed it."""


def statically_known_true(x: Any) -> bool:
    """Whether a condition on sizes holds for all of them; of a plain value, its truth."""
    return bool(x) if isinstance(x, bool) else False


def guard_or_false(a: Any) -> bool:
    """The truth of a condition on sizes; False where it depends on elements."""
    try:
        return bool(a)
    except GuardOnDataDependentSymNode:
        return False


def guard_or_true(a: Any) -> bool:
    """The truth of a condition on sizes; True where it depends on elements."""
    try:
        return bool(a)
    except GuardOnDataDependentSymNode:
        return True
