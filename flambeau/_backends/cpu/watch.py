"""Watching objects: one native call that says whether any of many dictionaries, lists and types is another than it was.

CPython counts the changes of each dictionary (`ma_version_tag`, until 3.13); with the pointers in a list and the type of an object
they are words of memory, which are compared with what they were. Nothing is watched elsewhere: the caller then looks itself.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import sys
import types
import weakref
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

TYPE, VERSION, SIZE, ITEMS = 8, 24, 16, 24  # offsets in objects, dictionaries and lists
DATA, SHAPE = 16, 32  # of an array
KEYS, VALUES = 32, 40  # of a dictionary: its table of keys, and its values where the keys are shared
DICT = -24  # of an instance: its dictionary, or (3.12) an odd word that leads to its values while it has none
INLINE = -32  # of an instance (3.11): its values while it has no dictionary
WITHIN = 16  # of an instance (3.13): its values
SET = (
    16,
    24,
    32,
    40,
)  # of a set: places taken, elements, places but one, and where they are (each an object and its hash)
REFERENT = 16  # of a weak reference
CELL, FUNCTION = 16, {"__code__": 48, "__defaults__": 56, "__kwdefaults__": 64, "__closure__": 72}
HEAP, MANAGED, VALUED = 1 << 9, 1 << 4, 1 << 2  # flags of types
PYTHON = sys.version_info[:2]


def word(address: int) -> int:
    """Eight bytes of memory."""
    return ctypes.c_int64.from_address(address).value


def _as_described() -> bool:
    """Whether this interpreter lays out objects as this file reads them."""
    if sys.implementation.name != "cpython" or not (3, 11) <= PYTHON <= (3, 13) or object.__basicsize__ != 16:
        return False
    d: dict[str, int] = {"a": 1}
    before = word(id(d) + VERSION)
    d["a"] = 2
    xs = [d, before]

    def function(x: int = 1, *, y: int = 2) -> int:
        return d["a"]

    assert function.__closure__ is not None
    reference = weakref.ref(function)
    if word(id(reference) + REFERENT) != id(function):
        return False
    one = {"a", d["a"]}
    places = [word(word(id(one) + SET[3]) + 16 * i) for i in range(word(id(one) + SET[2]) + 1)]
    if word(id(one) + SET[1]) != 2 or not {id(x) for x in one} <= set(places):
        return False
    facts = (function.__code__, function.__defaults__, function.__kwdefaults__, function.__closure__)
    if [word(id(function) + at) for at in FUNCTION.values()] != [id(x) for x in facts]:
        return False
    if word(id(function.__closure__[0]) + CELL) != id(d) or not _instances_as_described():
        return False
    return (
        word(id(d) + VERSION) != before and word(id(d) + TYPE) == id(dict) and word(id(xs) + SIZE) == 2
        and word(word(id(xs) + ITEMS)) == id(d)
    )  # fmt: skip


class _Known:
    pass


def _instances_as_described() -> bool:
    """Whether instances keep their attributes where `attributes` looks for them."""
    x, y, z = _Known(), _Known(), _Known()
    for o in (x, y, z):
        o.first, o.second = [1], [2]  # type: ignore[attr-defined]
    vars(y)
    vars(z)["third"] = 3
    try:
        for o in (x, y, z):
            for name in ("first", "second"):
                out = Words()
                attributes(o, (name,), out)
                if list(out.values()).count(id(getattr(o, name))) != 1:
                    return False
        out = Words()
        attributes(x, ("first", "absent"), out)
        x.absent = 1  # type: ignore[attr-defined]
        if all(word(a) == w for a, w in out.items()):
            return False
        out = Words()
        attributes(y, ("first", "missing"), out)
        del y.second  # type: ignore[attr-defined]
        y.missing = 1  # type: ignore[attr-defined]
        if all(word(a) == w for a, w in out.items()):
            return False
        out = Words()
        _dictionary(vars(y), out)
        y.first = 2  # type: ignore[attr-defined]
        return any(word(a) != w for a, w in out.items())
    except Unwatchable:
        return False


CLASS_BYTES: int = type.__basicsize__  # type: ignore[assignment]  # a number: mypy takes the class for an instance


@cache
def _cached_keys() -> int:
    """Where a class keeps the keys that its instances share."""
    x = _Known()
    x.first = 1  # type: ignore[attr-defined]
    keys = word(id(vars(x)) + KEYS)
    return next((at for at in range(0, CLASS_BYTES, 8) if word(id(_Known) + at) == keys), 0)


@cache
def _order() -> int:
    """Where a class keeps the order of its bases."""
    return next((at for at in range(0, CLASS_BYTES, 8) if word(id(_Known) + at) == id(_Known.__mro__)), 0)


@cache
def same() -> Any:
    """The function of an array of (address, word) pairs that says whether all are as they were; None where there is none."""
    from flambeau._backends.cpu.emit import Module
    from flambeau._backends.cpu.engine import available, engine
    from flambeau._backends.cpu.entry import native_entry
    from flambeau._backends.cpu.objects import METH_FASTCALL, MethodDef

    if not available() or not _as_described():
        return None
    entry = native_entry()
    if entry is None:
        return None
    native, m = engine(), Module("watch")
    native.provide("object_true", id(True))
    native.provide("object_false", id(False))
    f = m.function("ptr flambeau_same(ptr self, ptr args, i64 n)")
    array = f.load("ptr", f.params[1])
    pairs, count = f.load("ptr", array + DATA), f.load("i64", f.load("ptr", array + SHAPE))

    def answer(name: str) -> None:
        made = m.external(f, name)
        if PYTHON < (3, 12):  # where these are objects like others, whose references are counted
            f.store(f.load("i64", made) + 1, made)
        f.ret(made)

    with f.loop(0, count) as i:
        address, wanted = f.load("i64", pairs, i * 2), f.load("i64", pairs, i * 2 + 1)
        place, found = f.convert("inttoptr", address & -2, "ptr"), f.var("i64", 0)
        with f.either(address & 1 != 0) as otherwise:
            held = f.load("ptr", place)
            with f.when(held == 0):
                answer("object_false")
            found.set(f.load("i64", held + TYPE))
            otherwise()
            found.set(f.load("i64", place))
        with f.when(found.get() != wanted):
            answer("object_false")
    answer("object_true")
    code = native.load(str(m), ["flambeau_same"], m.imports)
    method = MethodDef(b"same", code["flambeau_same"], METH_FASTCALL, b"Whether all words are as they were.")
    return entry.new(ctypes.addressof(method), None, (code, method)), (code, method)


class Unwatchable(Exception):
    """An object whose changes leave no trace in memory."""


class Words(dict[int, int]):
    """Places in memory and what lies there; `tables`: keys that were looked through on the way, by where they lie."""

    def __init__(self, known: Words | tuple[()] = ()) -> None:
        super().__init__(known)
        self.tables: dict[int, list[tuple[str, int]]] = known.tables if isinstance(known, Words) else {}


def words(
    objects: Iterable[tuple[Any, str]], perhaps: Iterable[tuple[Any, str]] = ()
) -> tuple[np.ndarray[Any, Any], list[int]]:
    """What to compare: for each object its "type", its "content", all that its class defines ("class"), some of its attributes
    (their names, between spaces), or the type of one ("type of NAME"; such a word's address is odd). What of `perhaps` leaves no trace is left out: the second result says which."""
    out = Words()
    for x, kind in objects:
        _add(x, kind, out)
    left = []
    for n, (x, kind) in enumerate(perhaps):
        more = Words(out)
        try:
            _add(x, kind, more)
        except Unwatchable:
            left.append(n)
        else:
            out = more
    made = np.empty((len(out), 2), np.int64)
    for i, pair in enumerate(out.items()):
        made[i] = pair
    return made, left


def _add(x: Any, kind: str, out: Words) -> None:
    if kind == "type":
        out[id(x) + TYPE] = id(type(x))
    elif kind == "class":
        if not _order():
            raise Unwatchable
        out[id(x) + _order()] = id(x.__mro__)
        for c in x.__mro__:
            if c.__flags__ & HEAP:
                _dictionary(gc.get_referents(c.__dict__)[0], out)
    elif kind.startswith("type of "):
        name = kind.removeprefix("type of ")
        more = Words()
        more.tables = out.tables
        attributes(x, (name,), more)
        place, held = more.popitem()
        if held != id(getattr(x, name)):
            raise Unwatchable  # it is not the instance's own
        out.update(more)
        out[place | 1] = id(type(getattr(x, name)))
    elif kind != "content":
        attributes(x, kind.split(), out)
    elif isinstance(x, dict):
        if isinstance(x, collections.OrderedDict) and x:
            raise Unwatchable  # its order changes without a trace
        _dictionary(x, out)
    elif type(x) is list:
        items = word(id(x) + ITEMS)
        out[id(x) + SIZE], out[id(x) + ITEMS] = len(x), items
        for i, y in enumerate(x):
            out[items + 8 * i] = id(y)
    elif type(x) is set:
        for at in SET:
            out[id(x) + at] = word(id(x) + at)
        for i in range(word(id(x) + SET[2]) + 1):
            place = word(id(x) + SET[3]) + 16 * i
            out[place] = word(place)
    elif type(x) is weakref.ReferenceType:
        out[id(x) + REFERENT] = word(id(x) + REFERENT)
    elif not isinstance(x, (tuple, str, int, float, frozenset)):
        raise Unwatchable


def attributes(x: Any, names: Iterable[str], out: Words) -> None:
    """Which objects an instance's own attributes are (or that there are none), a function's parts, a cell's content, a dictionary's items.

    A word that says where others lie comes before them: those are not read any more when it has changed.
    """
    kind = type(x)
    if kind is types.CellType:
        out[id(x) + CELL] = word(id(x) + CELL)
    elif kind is types.FunctionType and all(n in FUNCTION for n in names):
        for n in names:
            out[id(x) + FUNCTION[n]] = word(id(x) + FUNCTION[n])
    elif kind is dict:
        _items(id(x), names, out, False)
    elif not kind.__flags__ & MANAGED or "__getattribute__" in kind.__dict__ or not _cached_keys():
        raise Unwatchable
    else:
        where, values, d = _own(x)
        if names == ["__dict__"] and not d:
            raise Unwatchable
        out[where] = word(where)
        if names == ["__dict__"]:
            return
        if d:
            _items(d, names, out, True)
        elif values:
            _shared(word(id(kind) + _cached_keys()), values, names, out)


def _own(x: Any) -> tuple[int, int, int]:
    """Of an instance: the word that tells its values, and its dictionary, from others; where its values are while it has none; and where that is."""
    d = word(id(x) + DICT)
    if PYTHON == (3, 11):
        values = word(id(x) + INLINE)
        return id(x) + (INLINE if values else DICT), values, 0 if values else d
    if PYTHON == (3, 12):
        return id(x) + DICT, d + 1 if d & 1 else 0, 0 if d & 1 else d
    within = type(x).__flags__ & VALUED and word(id(x) + WITHIN) >> 24 & 0xFF  # whether they are still there
    return id(x) + DICT, id(x) + WITHIN if within else 0, d


def _shared(keys: int, values: int, names: Iterable[str], out: Words) -> None:
    """Values of shared keys, and how many there are, in which order they were added: another one has another place there."""
    found = {k: i for i, (k, _) in enumerate(_entries(keys, out.tables))}
    if PYTHON < (3, 13):  # before the values: the order backwards, how many, and room for how many
        count = word(values - 8) >> 48 & 0xFF
        head = [values - 8 - 8 * i for i in range((count + 9) // 8)]
    else:  # room for how many, and how many; then the values, then the order
        room, count = word(values) & 0xFF, word(values) >> 8 & 0xFF
        head, values = [values, *(values + 8 + 8 * room + 8 * i for i in range((count + 7) // 8))], values + 8
    for at in (*head, *(values + 8 * found[n] for n in names if n in found)):
        out[at] = word(at)


def _items(d: int, names: Iterable[str], out: Words, absent: bool) -> None:
    """Items of the dictionary at an address; where some may be `absent`, that nothing is added, too."""
    keys, values = word(d + KEYS), word(d + VALUES)
    out[d + KEYS], out[d + VALUES] = keys, values
    if values:
        _shared(keys, values, names, out)
        return
    found = dict(_entries(keys, out.tables))
    if absent:
        out[keys + 24] = word(keys + 24)
    elif any(n not in found for n in names):
        raise Unwatchable
    for n in names:
        if n in found:
            out[found[n]] = word(found[n])


def _entries(keys: int, known: dict[int, list[tuple[str, int]]]) -> list[tuple[str, int]]:
    """The keys of a table of strings, and where their values are."""
    if keys in known:
        return known[keys]
    head = word(keys + 8)
    if head >> 16 & 0xFF == 0:  # keys that are no strings
        raise Unwatchable
    start = keys + 32 + (1 << (head >> 8 & 0xFF))
    made = known[keys] = []
    for i in range(word(keys + 24)):
        key = word(start + 16 * i)
        if key:
            made.append((ctypes.cast(key, ctypes.py_object).value, start + 16 * i + 8))
        else:
            made.append(("", 0))
    return made


def _dictionary(d: Any, out: Words) -> None:
    if not isinstance(d, dict):
        raise Unwatchable
    places = [id(d) + VERSION]
    values = word(id(d) + VALUES)
    if values and PYTHON >= (3, 13):  # an instance's: writing its attributes does not count
        room = word(values) & 0xFF
        places += [id(d) + KEYS, id(d) + VALUES, *(values + 8 * i for i in range(1 + room + (room + 7) // 8))]
    for at in places:
        out[at] = word(at)
