"""Errors about symbolic sizes, under PyTorch's name."""

from __future__ import annotations


class GuardOnDataDependentSymNode(RuntimeError):
    """What a program does depends on the elements of a tensor that it is traced with."""


class ConstraintViolationError(RuntimeError):
    """A size was marked as dynamic, and the code fixed it."""
