"""Writing functions: compile a text, register it with linecache so that tracebacks and pdb show it, return the function."""

from __future__ import annotations

import itertools
import linecache
from typing import Any

_serial = itertools.count()


def build(name: str, text: str, scope: dict[str, Any]) -> Any:
    """The function `name` that the source `text` defines when run in `scope` (which it shares, and does not copy)."""
    file = f"<flambeau {name} {next(_serial)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    own: dict[str, Any] = {}
    exec(compile(text, file, "exec"), scope, own)
    function = own[name]
    function.__source__ = text
    return function
