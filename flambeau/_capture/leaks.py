"""Whether a copy that stands for a view (`selected`) is only read, and only while the view would hold the same."""

from __future__ import annotations

from collections.abc import Iterable

from flambeau._capture.program import operands, sees, writes
from flambeau._capture.recorder import Value


def leaks(lines: Iterable[Value], outputs: Iterable[Value], chosen: dict[int, Value]) -> bool:
    """Whether something else is done with what was chosen (`chosen`: the copies, and what they are copies of) than reading it in time."""
    memory: dict[int, int] = {}
    root = lambda v: memory.get(id(v), id(v))
    living: dict[int, set[int]] = {}  # memory that was chosen from -> what was chosen
    gone: set[int] = set()  # what lies no longer as it would
    for v in lines:
        first = v.args[0] if v.args else None
        if any(root(a) in gone for a in operands(v)):
            return True
        if writes(v):
            into = root(v.args[v.target.op.receiver_at])
            if into in chosen:
                return True
            gone |= living.get(into, set())
        if isinstance(first, Value) and sees(v):
            memory[id(v)] = root(first)
        if id(v) in chosen:
            living.setdefault(root(chosen[id(v)]), set()).add(id(v))
    return any(root(v) in chosen for v in outputs)
