"""Whether a copy that stands for a view (`selected`) is only read, and only while the view would hold the same."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from flambeau._capture.recorder import Value
from flambeau._ops import OpOverload


def leaks(lines: Iterable[Value], outputs: Iterable[Value], chosen: dict[int, Value]) -> bool:
    """Whether something else is done with what was chosen (`chosen`: the copies, and what they are copies of) than reading it in time."""
    memory: dict[int, int] = {}
    root = lambda v: memory.get(id(v), id(v))
    living: dict[int, set[int]] = {}  # memory that was chosen from -> what was chosen
    gone: set[int] = set()  # what lies no longer as it would
    for v in lines:
        first = v.args[0] if v.args else None
        writes = isinstance(v.target, OpOverload) and v.target.is_write
        if any(root(a) in gone for a in _values((v.args, v.kwargs))):
            return True
        if writes:
            into = root(v.args[_receiver(v.target)])
            if into in chosen:
                return True
            gone |= living.get(into, set())
        if isinstance(first, Value) and (writes or _views(v)):
            memory[id(v)] = root(first)
        if id(v) in chosen:
            living.setdefault(root(chosen[id(v)]), set()).add(id(v))
    return any(root(v) in chosen for v in outputs)


def _receiver(target: OpOverload) -> int:
    return target.op.receiver_at


def _views(v: Value) -> bool:
    if v.kind == "item" or v.target is operator.getitem:
        return True
    return v.kind == "method" or (isinstance(v.target, OpOverload) and v.target.is_view)


def _values(x: Any) -> Iterable[Value]:
    if isinstance(x, Value):
        yield x
    elif isinstance(x, (tuple, list)):
        for y in x:
            yield from _values(y)
    elif isinstance(x, dict):
        yield from _values(tuple(x.values()))
    elif isinstance(x, slice):
        yield from _values((x.start, x.stop, x.step))
