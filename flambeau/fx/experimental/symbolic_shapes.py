"""Errors about symbolic sizes, under PyTorch's name."""

from __future__ import annotations


class ConstraintViolationError(RuntimeError):
    """A size was marked as dynamic, and the code fixed it."""
