"""The errors of programs that are not TorchScript."""

from __future__ import annotations


class FrontendError(Exception):
    """Source that cannot be compiled."""

    def __init__(self, source_range: object = None, msg: str = "") -> None:
        super().__init__(msg or str(source_range))
        self.source_range, self.msg = source_range, msg or str(source_range)


class NotSupportedError(FrontendError):
    """Python that TorchScript does not have."""


class UnsupportedNodeError(NotSupportedError):
    """Syntax that TorchScript does not have."""


class FrontendTypeError(FrontendError):
    """A declaration that cannot be understood."""
