"""Writing functions: compile a text, register it with linecache so that tracebacks and pdb show it, return the function."""

from __future__ import annotations

import importlib.util
import itertools
import linecache
import marshal
from functools import cache
from types import CodeType
from typing import Any

from flambeau._ground.cache import Cache, Parts

LONG = 2000  # characters from which Python's compiler takes longer than a file is read

_serial = itertools.count()


def build(name: str, text: str, scope: dict[str, Any], kept: bool = False) -> Any:
    """The function `name` that the source `text` defines when run in `scope` (which it shares, and does not copy).

    `kept`: the next process will want it, too; its code is kept on disk, by the text.
    """
    file = f"<flambeau {name} {next(_serial)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    own: dict[str, Any] = {}
    exec(_code(text, file) if kept and len(text) >= LONG else compile(text, file, "exec"), scope, own)
    function = own[name]
    function.__source__ = text
    return function


@cache
def _store() -> Cache:
    return Cache()


def _code(text: str, file: str) -> CodeType:
    """A text's code, from the disk where an earlier process left it."""
    magic = importlib.util.MAGIC_NUMBER + bytes([not __debug__])
    parts: Parts = [("python text", text), ("bytecode", magic)]
    data = _store().get(parts)
    if data is not None:
        try:
            found = marshal.loads(data)
        except (ValueError, EOFError, TypeError):
            found = None
        if isinstance(found, CodeType):
            return _renamed(found, file)
    made = compile(text, file, "exec")
    _store().put(parts, marshal.dumps(made))
    return made


def _renamed(code: CodeType, file: str) -> CodeType:
    """Code as if it had been compiled in another file: tracebacks look for its lines there."""
    held = tuple(_renamed(c, file) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=file, co_consts=held)
