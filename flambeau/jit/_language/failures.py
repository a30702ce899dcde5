"""What fails while a program runs: the error as PyTorch's interpreter words it, with the places of the steps that were under way."""

from __future__ import annotations

from types import FrameType, TracebackType
from typing import Any

PLACES = "$places"  # in the scope of a program's function: its name, and the step that each of its lines belongs to
_OWN = __name__.partition(".")[0] + "."


class NotScript(RuntimeError):
    """A program that is not TorchScript."""


class Raised(Exception):
    """A program's own `raise`: its text, and the qualified name of the class, where it has one."""

    def __init__(self, message: str, name: str | None) -> None:
        super().__init__(message)
        self.name = name


def failure(error: Exception) -> Exception:
    """The error that the caller of a program sees."""
    if isinstance(error, NotScript):
        return RuntimeError(*error.args)
    if type(error).__module__.startswith(_OWN) and not isinstance(error, Raised):
        return error  # between flambeau's own parts, or of another kind by design
    label = error.name if isinstance(error, Raised) and error.name else "RuntimeError"
    head = "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript (most recent call last):\n"
    text = f"{head}{_steps(error.__traceback__)}{label}: {_said(error)}\n"
    if isinstance(error, Raised):
        from flambeau.jit import Error

        return Error(text)
    return NotImplementedError(text) if isinstance(error, NotImplementedError) else RuntimeError(text)


def _steps(trace: TracebackType | None) -> str:
    """The places of the steps under way, the outermost first."""
    found = []
    while trace is not None:
        known = trace.tb_frame.f_globals.get(PLACES)
        if known is not None:
            name, steps = known
            place = getattr(steps.get(trace.tb_lineno), "place", None)
            found.append(place.highlight(name) if place is not None else "")
        trace = trace.tb_next
    return "".join(found)


def _said(error: Exception) -> str:
    """The text of an error; of one that Python code raised also where, as far as that code is the user's."""
    if isinstance(error, KeyError):
        text = f"KeyError: {error.args[0]}" if error.args else "KeyError"
    elif isinstance(error, ZeroDivisionError) and "negative power" not in str(error):
        text = "division by 0"
    else:
        text = str(error)
    frames = _users(error.__traceback__)
    if not frames:
        return text
    kind = "" if isinstance(error, KeyError) else f"{type(error).__name__}: "
    return f"{kind}{text}\n\nAt:\n" + "".join(f"  {f}({n}): {name}\n" for f, n, name in frames)


def _users(trace: TracebackType | None) -> list[tuple[str, int, str]]:
    """The frames of Python functions that a program called, and of its caller, the innermost first; none if it failed in a step of its own."""
    inner: list[tuple[str, int, str]] = []
    inside = False
    first: FrameType | None = trace.tb_frame if trace is not None else None
    while trace is not None:
        own = _is_own(trace.tb_frame)
        if PLACES in trace.tb_frame.f_globals:
            inside, inner = True, []
        elif inside and not own:
            inner.insert(0, _where(trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    if not inner:
        return []
    while first is not None:
        if not _is_own(first) and PLACES not in first.f_globals:
            inner.append(_where(first, first.f_lineno))
        first = first.f_back
    return inner


def _is_own(frame: FrameType) -> bool:
    name: Any = frame.f_globals.get("__name__", "")
    return frame.f_code.co_filename.startswith("<") or f"{name}.".startswith(_OWN)


def _where(frame: FrameType, line: int) -> tuple[str, int, str]:
    return frame.f_code.co_filename, line, frame.f_code.co_name
