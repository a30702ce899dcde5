"""Checks that raise before any work is done, and PyTorch's exception types that Python lacks."""

from __future__ import annotations


class OutOfMemoryError(RuntimeError):
    """An allocation failed."""


class AcceleratorError(RuntimeError):
    """A device reports that a call failed."""


class FatalError(Exception):
    """The program cannot go on."""


class LinAlgError(RuntimeError):
    """A decomposition does not exist or did not converge."""


def check(condition: object, error: type[Exception], message: str) -> None:
    """Raise `error(message)` unless the condition holds."""
    if not condition:
        raise error(message)
