"""FLAMBEAU_LOGS for captures: what was captured, where and why captures stop, why they are made again."""

from __future__ import annotations

from typing import Any

from flambeau._capture import mistakes
from flambeau._ground.dumps import dump, say, wanted


def captured(fn: Any, entry: Any) -> None:
    if wanted("guards"):
        dump("guards", f"what the capture of {fn.__qualname__} assumes", entry.guards)
    if wanted("graph") and entry.program is not None:
        dump("graph", f"the program of {fn.__qualname__}", entry.program.module.code)
    if wanted("source"):
        dump("source", f"the entry of {fn.__qualname__}", entry.text)


def broken(fn: Any, b: Any) -> None:
    if wanted("breaks"):
        say(f"# {fn.__qualname__}: {b.spoken()}")


def raised(fn: Any, error: Exception) -> None:
    if wanted("breaks"):
        import traceback

        say(f"# {fn.__qualname__} raises {error!r}\n{''.join(traceback.format_exception(error))}")


def refused(problem: Exception) -> None:
    """A graph that became no native program runs operator by operator: it has no native form, or the compiler made a mistake."""
    if not isinstance(problem, NotImplementedError):
        mistakes.tell(problem, "a program runs operator by operator")
    elif wanted("breaks"):
        say(f"# a program runs operator by operator: {problem}")


def recompiling(fn: Any, failed: list[Any]) -> None:
    if wanted("recompiles") or wanted("guards"):
        say(f"# {fn.__qualname__} is captured again: {'; '.join(f.text for f in failed)}")
