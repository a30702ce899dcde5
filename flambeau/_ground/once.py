"""Warnings at the line of the program that called the library; those that come once in a process, as many of PyTorch's do."""

from __future__ import annotations

import os
import sys
import warnings

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Once:
    """Whether such warnings come each time, and what has been said."""

    always = False
    said: set[str] = set()


def warn_once(message: str) -> None:
    """A UserWarning at the line of the program that called the library."""
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
