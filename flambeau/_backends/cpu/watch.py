"""Watching objects: one native call that says whether any of many dictionaries, lists and types is another than it was.

CPython counts the changes of each dictionary (`ma_version_tag`, until 3.12); with the pointers in a list and the type of an object
they are words of memory, which are compared with what they were. Nothing is watched elsewhere: the caller then looks itself.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

TYPE, VERSION, SIZE, ITEMS = 8, 24, 16, 24  # offsets in objects, dictionaries and lists
HEAP = 1 << 9
TEXT = """
define i8* @flambeau_same(i8* %self, i8** %args, i64 %n) {{
entry:
  %a = load i8*, i8** %args
  %pd = getelementptr i8, i8* %a, i64 16
  %pd2 = bitcast i8* %pd to i64**
  %data = load i64*, i64** %pd2
  %ps = getelementptr i8, i8* %a, i64 32
  %ps2 = bitcast i8* %ps to i64**
  %shape = load i64*, i64** %ps2
  %count = load i64, i64* %shape
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %done = icmp eq i64 %i, %count
  br i1 %done, label %yes, label %body
body:
  %k = shl i64 %i, 1
  %pa = getelementptr i64, i64* %data, i64 %k
  %address = load i64, i64* %pa
  %pw = getelementptr i64, i64* %pa, i64 1
  %want = load i64, i64* %pw
  %place = inttoptr i64 %address to i64*
  %found = load i64, i64* %place
  %next = add i64 %i, 1
  %ok = icmp eq i64 %found, %want
  br i1 %ok, label %head, label %no
yes:
  br label %out
no:
  br label %out
out:
  %r = phi i64 [ {true}, %yes ], [ {false}, %no ]
  %o = inttoptr i64 %r to i64*
  %c = load i64, i64* %o
  %c1 = add i64 %c, 1
  store i64 %c1, i64* %o
  %result = bitcast i64* %o to i8*
  ret i8* %result
}}
"""


def word(address: int) -> int:
    """Eight bytes of memory."""
    return ctypes.c_int64.from_address(address).value


def _as_described() -> bool:
    """Whether this interpreter lays out objects as this file reads them."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] != (3, 11) or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    d: dict[str, int] = {"a": 1}
    before = word(id(d) + VERSION)
    d["a"] = 2
    xs = [d, before]
    return (
        word(id(d) + VERSION) != before and word(id(d) + TYPE) == id(dict) and word(id(xs) + SIZE) == 2
        and word(word(id(xs) + ITEMS)) == id(d)
    )  # fmt: skip


@cache
def same() -> Any:
    """The function of an array of (address, word) pairs that says whether all are as they were; None where there is none."""
    from flambeau._backends.cpu import launch
    from flambeau._backends.cpu.engine import available, engine

    if not available() or not _as_described() or not launch.layout():
        return None
    entry = launch.native_entry()
    if entry is None:
        return None
    text = TEXT.format(true=id(True), false=id(False))  # addresses of this process: the cache would be of no use
    code = engine().link(engine().emit(text), ["flambeau_same"])
    method = launch.MethodDef(
        b"same", code["flambeau_same"], launch.METH_FASTCALL, b"Whether all words are as they were."
    )
    return entry.new(ctypes.addressof(method), None, (code, method)), (code, method)


class Unwatchable(Exception):
    """An object whose changes leave no trace in memory."""


def words(objects: Iterable[tuple[Any, str]]) -> np.ndarray[Any, Any]:
    """What to compare: for each object its "type", its "content", or all that its class defines ("class")."""
    out: dict[int, int] = {}
    for x, kind in objects:
        if kind == "type":
            out[id(x) + TYPE] = id(type(x))
        elif kind == "class":
            for c in x.__mro__:
                if c.__flags__ & HEAP:
                    _dictionary(gc.get_referents(c.__dict__)[0], out)
        elif isinstance(x, dict):
            if isinstance(x, collections.OrderedDict) and x:
                raise Unwatchable  # its order changes without a trace
            _dictionary(x, out)
        elif type(x) is list:
            items = word(id(x) + ITEMS)
            out[id(x) + SIZE], out[id(x) + ITEMS] = len(x), items
            for i, y in enumerate(x):
                out[items + 8 * i] = id(y)
        elif not isinstance(x, (tuple, str, int, float, frozenset)):
            raise Unwatchable
    made = np.empty((len(out), 2), np.int64)
    for i, pair in enumerate(out.items()):
        made[i] = pair
    return made


def _dictionary(d: Any, out: dict[int, int]) -> None:
    if not isinstance(d, dict):
        raise Unwatchable
    out[id(d) + VERSION] = word(id(d) + VERSION)
