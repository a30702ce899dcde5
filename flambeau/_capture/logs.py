"""FLAMBEAU_LOGS for captures: `graph` prints programs, `guards` what was assumed, `breaks` where and why captures stop, `recompiles` why again."""

from __future__ import annotations

import sys
from typing import Any

from flambeau._ground import flags


def wanted(stage: str) -> bool:
    """Whether a stage is to be printed."""
    return stage in flags.get("logs").split(",")


def _print(text: str) -> None:
    print(text, file=sys.stderr)


def captured(fn: Any, entry: Any) -> None:
    if wanted("guards"):
        _print(f"# what the capture of {fn.__qualname__} assumes\n{entry.guards}")
    if wanted("graph") and entry.program is not None:
        _print(f"# the program of {fn.__qualname__}\n{entry.program.module.code}")
    if wanted("source"):
        _print(f"# the entry of {fn.__qualname__}\n{entry.text}")


def broken(fn: Any, b: Any) -> None:
    if wanted("breaks"):
        _print(f"# {fn.__qualname__}: {b.spoken()}")


def raised(fn: Any, error: Exception) -> None:
    if wanted("breaks"):
        import traceback

        _print(f"# {fn.__qualname__} raises {error!r}\n{''.join(traceback.format_exception(error))}")


def refused(problem: Exception) -> None:
    """A graph that became no native program runs operator by operator: it has no native form, or the compiler made a mistake."""
    if not isinstance(problem, NotImplementedError):
        failed(problem)
    elif wanted("breaks"):
        _print(f"# a program runs operator by operator: {problem}")


def failed(error: Exception) -> None:
    """A mistake of the compiler's own."""
    if flags.get("logs"):
        import traceback

        _print(f"# a program runs operator by operator, lowering failed:\n{''.join(traceback.format_exception(error))}")


def recompiling(fn: Any, failed: list[Any]) -> None:
    if wanted("recompiles") or wanted("guards"):
        _print(f"# {fn.__qualname__} is captured again: {'; '.join(f.text for f in failed)}")
