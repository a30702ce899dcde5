"""Why a capture stops, in words: the reason, the place, and what to do about it."""

from __future__ import annotations

from typing import Any


class Break(BaseException):
    """Something that cannot be captured. Not an Exception: the function's own handlers must not catch it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy
        self.file, self.line, self.function = "", 0, ""
        self.frame: Any = None  # where it happened
        self.calls: list[tuple[str, int, str]] = []  # file, line and function of all calls that were under way
        self.note = ""  # what it means for the functions around it
        self.meant = False  # whether it is no shortcoming, but what the program asks for (`waiting.chooses`)
        self.refused = False  # whether it is an error
        self.whole = False  # whether the function cannot even be split here

    def place(self, f: Any) -> None:
        """It happened in this frame."""
        from flambeau._capture.frame import callers

        self.frame = f
        self.calls = [(c.code.co_filename, c.line, c.code.co_qualname) for c in callers(f)]
        self.file, self.line, self.function = self.calls[-1]

    def settle(self) -> Break:
        """Keep the words only: not the frames, and all that they hold."""
        self.frame = self.__traceback__ = self.__context__ = None
        return self

    def spoken(self) -> str:
        """One line for people: where, why, and the remedy."""
        where = f"{self.file}:{self.line} in {self.function}: " if self.file else ""
        return f"{where}{self.reason}" + (f" ({self.remedy})" if self.remedy else "") + self.note


class Raises(Break):
    """The function is about to raise: eager code does, with all effects up to there."""


class Unsupported(RuntimeError):
    """`fullgraph=True` and the function cannot be captured whole. Public as `torch._dynamo.exc.Unsupported`."""


Unsupported.__module__ = "torch._dynamo.exc"


class InvalidBackend(RuntimeError):
    """`backend=` names nothing. Public as `torch._dynamo.exc.InvalidBackend`."""


InvalidBackend.__module__ = "torch._dynamo.exc"


class BackendCompilerFailed(RuntimeError):
    """A backend raised, or gave nothing that can be called. Public as `torch._dynamo.exc.BackendCompilerFailed`."""

    def __init__(self, backend: object, inner: Exception) -> None:
        self.backend_name, self.inner_exception = getattr(backend, "__name__", "?"), inner
        super().__init__(f"backend={self.backend_name!r} raised:\n{type(inner).__name__}: {inner}")


BackendCompilerFailed.__module__ = "torch._dynamo.exc"


class RecompileError(RuntimeError):
    """A function would be captured again, and `config.error_on_recompile` is set. Public as `torch._dynamo.exc.RecompileError`."""


RecompileError.__module__ = "torch._dynamo.exc"


class FailOnRecompileLimitHit(Exception):
    """A function was captured too often, and `fullgraph=True`. Public as `torch._dynamo.exc.FailOnRecompileLimitHit`."""


FailOnRecompileLimitHit.__module__ = "torch._dynamo.exc"


class Failed:
    """What an entry returns instead of a result: the assumption that did not hold."""

    __slots__ = ("source", "text")

    def __init__(self, text: str, source: Any = None) -> None:
        self.text, self.source = text, source

    def __repr__(self) -> str:
        return f"Failed({self.text!r})"


# What a program returns that ended with nothing written: eager code runs instead.
REFUSED = Failed("nothing is refused for what tensors hold")
