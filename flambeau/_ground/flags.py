"""Every switch, in one table: name, type, default, environment variable, one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Flag:
    """One switch; `value` is its current setting."""

    __slots__ = ("default", "doc", "kind", "name", "value")

    def __init__(self, name: str, kind: type, default: Any, doc: str) -> None:
        self.name, self.kind, self.default, self.doc = name, kind, default, doc
        text = os.environ.get(self.variable)
        self.value = default if text is None else self.parse(text)

    @property
    def variable(self) -> str:
        return "FLAMBEAU_" + self.name.upper()

    def parse(self, text: str) -> Any:
        if self.kind is bool:
            return text.lower() in ("1", "true", "yes", "on")
        return self.kind(text)


TABLE = {
    flag.name: flag
    for flag in (
        Flag(
            "native",
            bool,
            True,
            "Use generated native kernels where they apply; off, everything runs on the array library.",
        ),
        Flag("cache_dir", str, "", "Where compiled kernels are kept; empty means the user's cache directory."),
        Flag("cache_size_mb", int, 512, "Above this size the oldest compiled kernels are deleted."),
        Flag("assert_cached", bool, False, "Make any compilation an error: proves that a program is warm."),
        Flag("remember", bool, True, "Keep captures on disk: the next process interprets nothing that is as it was."),
        Flag("num_threads", int, 0, "Threads for native kernels; 0 means one for each core."),
        Flag("strict", bool, False, "Raise the compiler's own mistakes, which else are a warning and cost speed only."),
        Flag("logs", str, "", "Comma-separated stages to print, those of `_ground/dumps.py`."),
    )
}


def get(name: str) -> Any:
    """The current value of a switch."""
    return TABLE[name].value


@contextmanager
def override(name: str, value: Any) -> Iterator[None]:
    """Set a switch for the length of a `with` block."""
    flag = TABLE[name]
    before, flag.value = flag.value, value
    try:
        yield
    finally:
        flag.value = before


def unknown() -> list[str]:
    """The FLAMBEAU_* variables in the environment that no switch reads."""
    known = {flag.variable for flag in TABLE.values()}
    return sorted(name for name in os.environ if name.startswith("FLAMBEAU_") and name not in known)


if unknown():  # a misspelt switch would silently do nothing
    raise RuntimeError(
        f"{', '.join(unknown())}: no such switch; there are {', '.join(f.variable for f in TABLE.values())}"
    )
