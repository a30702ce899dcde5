"""Warnings at the line of the program that called the library; those that come once in a process, as many of PyTorch's do."""

from __future__ import annotations

import os
import sys
import warnings

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Once:
    """Whether such warnings come each time, what has been said, and what was to be said, with the number of the call."""

    always = False
    said: set[str] = set()
    wanted: dict[str, int] = {}
    calls = 0


def warn_once(message: str) -> None:
    """A UserWarning at the line of the program that called the library."""
    Once.calls += 1
    Once.wanted[message] = Once.calls
    if message in Once.said and not Once.always:
        return
    Once.said.add(message)
    warn(message)


def warn(message: str) -> None:
    """A UserWarning at the line of the program that called the library, each time."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _inner(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def _inner(filename: str) -> bool:
    """Whether code is the library's: of a file of the package, or generated."""
    return filename.startswith(_HERE) or filename.startswith("<flambeau ")
