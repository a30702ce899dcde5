"""Counting the owners of an object, where memory that nobody else can see may be kept or used again."""

from __future__ import annotations

import sys


def _lone() -> int:
    held = object()
    return sys.getrefcount(held)


LONE = _lone()
"""`sys.getrefcount(name)` of an object that only this name holds: 2 up to CPython 3.13, where the argument counts; 1 from 3.14 on."""
