"""Why a capture stops, in words: the reason, the place, and what to do about it."""

from __future__ import annotations


class Break(BaseException):
    """Something that cannot be captured. Not an Exception: the function's own handlers must not catch it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy
        self.file, self.line, self.function = "", 0, ""
        self.whole = False  # whether the function cannot even be split here

    def spoken(self) -> str:
        """One line for people: where, why, and the remedy."""
        where = f"{self.file}:{self.line} in {self.function}: " if self.file else ""
        return f"{where}{self.reason}" + (f" ({self.remedy})" if self.remedy else "")


class Unsupported(RuntimeError):
    """`fullgraph=True` and the function cannot be captured whole. Public as `torch._dynamo.exc.Unsupported`."""


Unsupported.__module__ = "torch._dynamo.exc"


class InvalidBackend(RuntimeError):
    """`backend=` names nothing. Public as `torch._dynamo.exc.InvalidBackend`."""


InvalidBackend.__module__ = "torch._dynamo.exc"


class RecompileError(RuntimeError):
    """A function would be captured again, and `config.error_on_recompile` is set. Public as `torch._dynamo.exc.RecompileError`."""


RecompileError.__module__ = "torch._dynamo.exc"
