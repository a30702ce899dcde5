"""How the results of operators lie, remembered, so that a capture need not compute what nobody reads.

A capture runs operators on real tensors for their shapes, strides and dtypes, and for their history; elements leave it nowhere. How a
result lies follows from how the operands lie, and from the other arguments: what was computed once is given as memory that is never
touched the next time, in this process or, by a file for each function, in another one. What is written in place is not written then.
Whoever wants elements all the same (an assumption about a tensor) asks for a capture that computes: `Wanted`.
"""

from __future__ import annotations

import marshal
import math
import mmap
import types
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from flambeau._backends.cpu.library_product import by_arrays
from flambeau._capture import stored
from flambeau._capture.breaks import Break
from flambeau._eager import call, create, results
from flambeau._eager.modes import STATE
from flambeau._eager.views import memory_of
from flambeau._operators.op import Op
from flambeau._tensor import PLAIN, Tensor, wrap
from flambeau._values.dtype import BY_NAME, dtype, get_default_dtype, of
from flambeau._values.shape import Size

MAPPED = 1 << 16  # bytes from which memory comes from the system, which fills it when it is touched
KEPT = 1 << 15  # facts in memory
SMALL = 1 << 17  # elements below which computing takes less time than compiling a kernel would
PLAINLY = frozenset((type(None), bool, str, complex))
_facts: dict[Any, Any] = {}  # a call -> how its results lie
_names: dict[np.dtype[Any], str] = {}


class Wanted(Break):
    """Elements are asked for in a capture that has none."""


class _Unknown(Exception):
    """A call that is not remembered."""


class Geometry:
    """What one capture knows, and learns."""

    def __init__(self, code: types.CodeType, hold: Callable[[Any], None]) -> None:
        self.code, self.hold = code, hold  # `hold`: keeps what a tensor's memory holds
        self.learnt: dict[Any, Any] = {}
        self.default = get_default_dtype().name

    def key(self, op: Op, values: tuple[Any, ...], *more: Any) -> Any:
        """A call without elements, as plain data; None where something else than tensors, numbers and names is among the arguments."""
        if op.view or op.custom is not None or STATE.autocast is not None:
            return None
        try:
            return (op.overload, self.default, *[_spoken(v) for v in values], *more)
        except _Unknown:
            return None

    def result(self, op: Op, values: tuple[Any, ...]) -> Any:
        """What an operator gives (`call.general`, once arguments are checked)."""
        key = self.key(op, values)
        found = _facts.get(key) if key is not None else None
        if found is not None:
            return results.recorded(op, values, _made(found))
        STATE.known = None
        try:
            with by_arrays() if _elements(values) < SMALL else nullcontext():
                r = call.computed(op, values)
        finally:
            STATE.known = self
        self.learn(key, r, values)
        return r

    def created(self, op: Op, values: tuple[Any, ...], extra: dict[str, Any]) -> Any:
        """What a creation operator gives, by itself."""
        plain = extra["layout"] is None and extra["device"] is None and not extra["pin_memory"] and not STATE.inference
        key = self.key(op, values, "new") if plain else None
        found = _facts.get(key) if key is not None else None
        if found is not None:
            return wrap(_made(found))
        r = create.create(op, values, None, extra["layout"], extra["device"], extra["pin_memory"], False)
        self.learn(key, r, values)
        return r

    def written(self, op: Op, values: tuple[Any, ...]) -> bool:
        """Whether it is known that the tensor can be written so: then it is not."""
        key = self.key(op, values, "into")
        if key is not None and key in _facts:
            return True
        self.hold(values[op.receiver_at])
        if key is not None:
            self.learnt[key] = True
        return False

    def learn(self, key: Any, r: Any, values: tuple[Any, ...]) -> None:
        if key is None:
            return
        outs = r if isinstance(r, (tuple, list)) else (r,)
        mine = {
            id(memory_of(t._a))
            for v in values
            for t in (v if type(v) in (list, tuple) else (v,))
            if isinstance(t, Tensor)
        }
        facts: list[Any] = []
        for t in outs:
            if t is None:
                facts.append(None)
                continue
            if (
                type(t) is not Tensor
                or type(t._a) is not np.ndarray
                or id(memory_of(t._a)) in mine
                or t._base is not None
            ):
                return
            if any(s < 0 for s in t._a.strides):
                return
            facts.append((_name(t._a.dtype), t._a.shape, t._a.strides))
            mine.add(id(memory_of(t._a)))
        kind = "list" if type(r) is list else "tuple" if isinstance(r, tuple) else "one"
        self.learnt[key] = (kind, *facts)

    # ---- on disk ----

    def load(self) -> None:
        """What an earlier process learnt about the function."""
        place = self.place()
        if place is None or place[0][1] in _loaded:
            return
        _loaded.add(place[0][1])
        from flambeau._backends.cpu.engine import engine

        data = engine().store.get(place)
        if data is not None:
            try:
                found = marshal.loads(data)
                _facts.update(found)
                _of_function[place[0][1]] = found
            except (ValueError, EOFError, TypeError):
                return

    def keep(self) -> None:
        """Remember what was learnt, here and on disk."""
        if not self.learnt:
            return
        if len(_facts) > KEPT:
            _facts.clear()
        _facts.update(self.learnt)
        place = self.place()
        if place is None:
            return
        from flambeau._backends.cpu.engine import engine

        all_of_it = _of_function.setdefault(place[0][1], {})
        if len(all_of_it) > KEPT:
            all_of_it.clear()
        all_of_it.update(self.learnt)
        engine().store.put(place, marshal.dumps(all_of_it, stored.MARSHAL))

    def place(self) -> Any:
        from flambeau._eager import large

        return stored.about(self.code) if large.available() else None


_loaded: set[Any] = set()
_of_function: dict[Any, dict[Any, Any]] = {}


def _name(d: np.dtype[Any]) -> str:
    found = _names.get(d)
    if found is None:
        found = _names[d] = of(d).name
    return found


def _elements(v: Any) -> int:
    if isinstance(v, (tuple, list)):
        return sum(map(_elements, v))
    return int(v._a.size) if isinstance(v, Tensor) else 0


def _spoken(v: Any) -> Any:
    kind = type(v)
    if kind in PLAIN:
        a = v._a
        if type(a) is not np.ndarray:
            raise _Unknown
        return (_name(a.dtype), a.shape, a.strides)
    if kind is int or kind is float:
        return (kind is int, v)
    if kind in PLAINLY:
        return v if kind is not bool else ("b", v)
    if kind is tuple or kind is list:
        return (kind is tuple, *map(_spoken, v))
    if kind is Size:
        return ("size", *v)
    if kind is dtype:
        return ("dtype", v.name)
    raise _Unknown


def _made(found: Any) -> Any:
    kind, *facts = found
    outs = [None if f is None else _untouched(*f) for f in facts]
    return outs[0] if kind == "one" else tuple(outs) if kind == "tuple" else outs


def _untouched(name: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """An array that lies so; its elements are zeros."""
    d = BY_NAME[name].np
    bytes = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + d.itemsize if math.prod(shape) else 0
    if bytes < MAPPED:
        return np.ndarray(shape, d, np.zeros(max(bytes, 1), np.uint8), 0, strides)
    return np.ndarray(shape, d, mmap.mmap(-1, bytes), 0, strides)
