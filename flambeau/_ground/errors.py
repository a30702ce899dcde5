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


LinAlgError.__name__ = LinAlgError.__qualname__ = "_LinAlgError"  # as it is called where it is shown
LinAlgError.__module__ = "flambeau._C"


class NeedsElements(RuntimeError):
    """Something wants to see the elements of a batch of samples (`vmap`): of which sample, it does not say."""


class DynamicShape(NeedsElements):
    """A result would have another shape for each sample."""


class Unbatched(RuntimeError):
    """A tensor that is the same for all samples would be written with something that is not."""

    def __init__(self, message: str, target: object) -> None:
        super().__init__(message)
        self.target = target


def check(condition: object, error: type[Exception], message: str) -> None:
    """Raise `error(message)` unless the condition holds."""
    if not condition:
        raise error(message)
