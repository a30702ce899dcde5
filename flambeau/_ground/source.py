"""Writing functions: compile a text, register it with linecache so that tracebacks and pdb show it, return the function."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import itertools
import linecache
import marshal
from collections.abc import Iterator
from functools import cache
from types import CodeType
from typing import Any

from flambeau._ground.cache import Cache, Parts

LONG = 2000  # characters from which Python's compiler takes longer than a file is read
MOST = 1000  # texts on a shelf
MAGIC = importlib.util.MAGIC_NUMBER + bytes([not __debug__])  # what bytecode depends on beside its text

_serial = itertools.count()


def build(name: str, text: str, scope: dict[str, Any], kept: bool = False) -> Any:
    """The function `name` that the source `text` defines when run in `scope` (which it shares, and does not copy).

    `kept`: the next process will want it, too; its code is kept on disk, by the text.
    """
    file = f"<flambeau {name} {next(_serial)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    own: dict[str, Any] = {}
    if kept and len(text) >= LONG:
        code = _code(text, file)
    else:
        code = _shelves[-1].code(text, file) if _shelves else compile(text, file, "exec")
    exec(code, scope, own)
    function = own[name]
    function.__source__ = text
    return function


@cache
def _store() -> Cache:
    return Cache()


def _code(text: str, file: str) -> CodeType:
    """A text's code, from the disk where an earlier process left it."""
    parts: Parts = [("python text", text), ("bytecode", MAGIC)]
    data = _store().get(parts)
    found = None if data is None else _read(data)
    if isinstance(found, CodeType):
        return _renamed(found, file)
    made = compile(text, file, "exec")
    _store().put(parts, marshal.dumps(made))
    return made


def _read(data: bytes) -> Any:
    try:
        return marshal.loads(data)
    except (ValueError, EOFError, TypeError):
        return None


# ---------------------------------------------------------------- shelves


class Shelf:
    """The code of many short texts in one entry: what one process builds in the course of something, the next one will, too."""

    def __init__(self, store: Cache, parts: Parts) -> None:
        self.store, self.parts = store, [*parts, ("about", "texts"), ("bytecode", MAGIC)]
        data = store.get(self.parts)
        found = None if data is None else _read(data)
        self.found: dict[bytes, bytes] = found if type(found) is dict else {}  # a text's digest -> its code
        self.made: dict[bytes, bytes] = {}

    def code(self, text: str, file: str) -> CodeType:
        """A text's code, from the shelf where it is there."""
        mark = hashlib.blake2b(text.encode(), digest_size=20).digest()
        held = self.found.get(mark)
        code = None if held is None else _read(held)
        if isinstance(code, CodeType):
            return _renamed(code, file)
        made = compile(text, file, "exec")
        self.made[mark] = marshal.dumps(made)
        return made

    def keep(self) -> None:
        """Write what was not there; what has become too much begins anew."""
        if self.made:
            old = self.found if len(self.found) + len(self.made) <= MOST else {}
            self.store.put(self.parts, marshal.dumps({**old, **self.made}))


_shelves: list[Shelf] = []  # the last one serves what is built


@contextlib.contextmanager
def shelf(store: Cache, parts: Parts) -> Iterator[None]:
    """What is built meanwhile is looked for in one entry of a cache, and kept there."""
    mine = Shelf(store, parts)
    _shelves.append(mine)
    try:
        yield
    finally:
        _shelves.remove(mine)
        mine.keep()


def _renamed(code: CodeType, file: str) -> CodeType:
    """Code as if it had been compiled in another file: tracebacks look for its lines there."""
    held = tuple(_renamed(c, file) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=file, co_consts=held)
