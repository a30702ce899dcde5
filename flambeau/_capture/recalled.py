"""Captured programs that an earlier process made: they are known by the recorder's lines, and get no graph.

The key is the one that `stored` makes of the graph, read off the lines. Beside the blueprint stands how often each input is written.
"""

from __future__ import annotations

import marshal
from typing import Any

from flambeau._backends.cpu.engine import engine
from flambeau._capture import settings, stored
from flambeau._capture.assembly import Blueprint
from flambeau._capture.program import Program
from flambeau._capture.stored import Strange, array_constant, plain, words
from flambeau._eager import large
from flambeau._ground import dumps
from flambeau._tensor import Tensor
from flambeau._values.dtype import of


def find(program: Program) -> tuple[dict[int, int], Blueprint] | None:
    """How often each input of a captured program is written, and its blueprint, where both are kept: then it needs no graph."""
    parts = key(program)
    data = None if parts is None else engine().store.get([*parts, ("about", "writes")])
    if parts is None or data is None:
        return None
    try:
        written = dict(marshal.loads(data))
    except (ValueError, EOFError, TypeError):
        return None
    made = stored.find(parts)
    return None if made is None else (written, made)


def note(program: Program, written: dict[int, int]) -> None:
    """A captured program has been made, as one native program: the next capture of it will need no graph."""
    parts = key(program) if hasattr(program.run, "native") else None
    if parts is not None:
        engine().store.put([*parts, ("about", "writes")], marshal.dumps(tuple(written.items()), stored.MARSHAL))


def key(program: Program) -> list[tuple[str, Any]] | None:
    """The key of a captured program, which is that of its graph."""
    if program.live or program.atoms is not None or not large.available():
        return None
    if dumps.anything() or settings.cache_tag() is None:
        return None
    try:
        return stored.keyed(text(program))
    except (Strange, ValueError):
        return None


def text(program: Program) -> bytes:
    """What the key is of."""
    return stored.text_of(lines(program), [x for _, _, x in program.inputs], program.lent)


def lines(program: Program) -> list[Any]:
    """What `_nodes` says of a program's graph, without the graph."""
    number: dict[Any, int] = {}
    found: list[Any] = []
    for _, v, x in program.inputs:
        val = _sample(v.sample) if isinstance(x, Tensor) else plain(x)
        found.append(("placeholder", "placeholder", ("tuple",), (), val))
        number[v] = len(number)
    for v in program.lines:
        val = tuple(map(_sample, v.sample)) if isinstance(v.sample, list) else _sample(v.sample)
        if v.kind == "constant":
            found.append(("get_attr", array_constant(v.target), ("tuple",), (), val))
        else:
            args = words(v.args, number), tuple((k, words(x, number)) for k, x in sorted(v.kwargs.items()))
            if v.kind == "item":
                found.append(("call_function", "getitem", *args, val))
            elif v.kind == "method":
                found.append(("call_method", str(v.target), *args, val))
            else:
                found.append(("call_function", plain(v.target), *args, val))
        number[v] = len(number)
    found.append(("output", "output", ("tuple", words(tuple(program.outputs), number)), (), plain(None)))
    return found


def _sample(s: Any) -> Any:
    """What `_val` says of a tensor that is as `recorder` notes it."""
    if s is None:
        return None
    shape, d, strides, needs = s
    if any(type(n) is not int for n in (*shape, *strides)):
        raise Strange("a size that is an expression")
    return (of(d).name, tuple(shape), tuple(strides), "MetaArray", needs)
