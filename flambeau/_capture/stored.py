"""Programs on disk, by content: a graph that was met before is neither lowered nor scheduled again.

The key is the graph (operators, arguments, shapes, dtypes, strides), the machine, and the source of all that makes programs of graphs.
The entry is the blueprint as plain data: kernels by their text, steps by what their plans are made from, places. Object code has
entries of its own (`_backends/cpu/engine.py`), in the same folder and under the same bound. A graph that holds something else than
plain data has no key, or no entry; a damaged entry is a miss.
"""

from __future__ import annotations

import marshal
import operator
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from types import CodeType
from typing import Any

import numpy as np

import flambeau
from flambeau import _ops
from flambeau._backends.cpu.engine import LIGHT, engine, stamp
from flambeau._backends.cpu.launch import Plan
from flambeau._capture import routines, settings
from flambeau._capture.arena import Block
from flambeau._capture.assembly import (
    ArraysItem,
    Blueprint,
    CallItem,
    Held,
    InPython,
    KernelItem,
    Returned,
    Segment,
    StepFacts,
    StepItem,
    called,
    copied,
    kept,
    on_arrays,
)
from flambeau._capture.expressions import HELD, Hole, everywhere
from flambeau._capture.place import Place
from flambeau._capture.sizes import SymInt
from flambeau._ground import dumps
from flambeau._kernel.loops import Layout
from flambeau._kernel.record import Expr, toposort
from flambeau._tensor import Tensor
from flambeau._values.device import device, layout, memory_format
from flambeau._values.dtype import BY_NAME, dtype, get_default_dtype, of
from flambeau._values.shape import Size
from flambeau.fx.graph_module import GraphModule

SOURCES = ("_capture", "_operators", "_values", "_eager", "fx", "_ops.py", "_tensor.py")  # beside the generators' own
RECORDS = {c.__name__: c for c in (KernelItem, StepItem, StepFacts, CallItem, Held, Place, Hole, Layout, Returned)}
SIMPLE = (type(None), bool, int, float, complex, str, bytes)
LATER = (SymInt, Block)  # what a planner replaces
MARSHAL = 4


class Strange(Exception):
    """A value that is no plain data, or an entry that does not fit."""


# ---------------------------------------------------------------- the key


def key(gm: GraphModule, examples: Sequence[Any]) -> list[tuple[str, Any]] | None:
    """The parts of a graph's key; None where it has none. While stages are printed, programs are made anew."""
    if dumps.anything() or settings.cache_tag() is None:
        return None
    try:
        return parts_of(_nodes(gm), examples, tuple(gm.meta.get("lent", ())))
    except (Strange, ValueError):
        return None


def parts_of(lines: list[Any], examples: Sequence[Any], lent: tuple[int, ...]) -> list[tuple[str, Any]]:
    return keyed(text_of(lines, examples, lent))


def text_of(lines: list[Any], examples: Sequence[Any], lent: tuple[int, ...]) -> bytes:
    """A graph, as bytes that are equal where graphs are."""
    return marshal.dumps((lines, [_input(x) for x in examples], lent), 2)  # 2: equal values are equal bytes


def keyed(text: bytes) -> list[tuple[str, Any]]:
    """The key of such a text."""
    parts = [
        ("program", text),
        ("default dtype", get_default_dtype().name),
        ("tag", settings.cache_tag()),
        ("python", f"{sys.implementation.cache_tag}"),
        ("sources", stamp(*SOURCES)),
    ]
    return engine().key(parts, LIGHT)


def about(code: CodeType) -> list[tuple[str, Any]] | None:
    """The key of what is remembered about a function, whatever it is called with; None where nothing is."""
    if settings.cache_tag() is None:
        return None
    text = f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname} {code.co_names} {len(code.co_code)}"
    parts = [
        ("function", text),
        ("tag", settings.cache_tag()),
        ("python", sys.implementation.cache_tag),
        ("sources", stamp(*SOURCES)),
    ]
    return engine().key(parts, LIGHT)


def words(v: Any, number: Mapping[Any, int]) -> Any:
    """An argument; what another line gives by its number."""
    if isinstance(v, (list, tuple)):
        return ("tuple" if isinstance(v, tuple) else "list", *[words(x, number) for x in v])
    kind = type(v)
    if kind in SIMPLE:
        return v
    if kind is slice:
        return {"slice": (words(v.start, number), words(v.stop, number), words(v.step, number))}
    if isinstance(v, Hashable) and v in number:
        return {"node": number[v]}
    return plain(v)


def _nodes(gm: GraphModule) -> list[Any]:
    number: dict[Any, int] = {}
    found: list[Any] = []
    for node in gm.graph.nodes:
        target: Any = node.op
        if node.op == "call_function":
            target = "getitem" if node.target is operator.getitem else plain(node.target)
            if "val" not in node.meta and target != "getitem":
                raise Strange("a node of unknown shape")
        elif node.op == "get_attr":
            target = _constant(flambeau.fx.graph_module._get_attr(gm, str(node.target)))
        elif node.op == "call_method":
            target = str(node.target)
        args = (words(node.args, number), tuple((k, words(v, number)) for k, v in sorted(node.kwargs.items())))
        found.append((node.op, target, *args, _val(node.meta.get("val"))))
        number[node] = len(number)
    return found


def _constant(t: Any) -> Any:
    """A constant: the number that it is everywhere, or all of a small one. Others are in no program."""
    return array_constant(t._a) if isinstance(t, Tensor) else _strange(t)


def array_constant(a: Any) -> Any:
    if type(a) is np.ndarray and a.dtype.kind in "fiub":
        number = everywhere(a)
        if number is not None or a.nbytes <= HELD:
            return (of(a.dtype).name, a.shape, a.tobytes() if number is None else repr(number))
    raise Strange("a constant")


def _val(v: Any) -> Any:
    if isinstance(v, (tuple, list)):
        return tuple(_val(x) for x in v)
    return (*_array(v), v._node is not None) if isinstance(v, Tensor) else plain(v)


def _input(x: Any) -> Any:
    return _array(x) if isinstance(x, Tensor) else type(x).__name__


def _array(t: Tensor) -> Any:
    a = t._a
    if any(type(n) is not int for n in (*a.shape, *a.strides)):
        raise Strange("a size that is an expression")
    return (of(a.dtype).name, tuple(a.shape), tuple(a.strides), type(a).__name__)


# ---------------------------------------------------------------- entries


def find(parts: list[tuple[str, Any]]) -> Blueprint | None:
    """The blueprint kept under a key."""
    data = engine().store.get(parts)
    if data is None:
        return None
    try:
        return unpacked(data)
    except (Strange, ValueError, EOFError, TypeError, KeyError, AttributeError, IndexError):
        return None  # an entry that does not fit this machine's plans is made anew


def keep(parts: list[tuple[str, Any]], made: Blueprint) -> None:
    """Keep a blueprint, where it is plain data."""
    try:
        data = packed(made)
    except (Strange, ValueError):
        return
    engine().store.put(parts, data)


def packed(made: Blueprint) -> bytes:
    return marshal.dumps(facts(made), MARSHAL)


def facts(made: Blueprint) -> Any:
    """A blueprint as plain data."""
    values = {f.name: getattr(made, f.name) for f in fields(Blueprint) if f.name != "pieces"}
    return {k: plain(v) for k, v in values.items()}, [_piece(p) for p in made.pieces]


def unpacked(data: bytes) -> Blueprint:
    values, pieces = marshal.loads(data)
    plans: dict[bytes, Plan | None] = {}
    return Blueprint(**{k: made(v) for k, v in values.items()}, pieces=[remade(kind, x, plans) for kind, x in pieces])


def _piece(p: Segment | InPython) -> Any:
    if isinstance(p, Segment):
        return "native", [plain(x) for x in p.items]
    item: Any = p.item
    if isinstance(item, ArraysItem):
        item = {"arrays": (_expressions(item.roots), item.places, item.reads)}
    elif item is not None:
        item = plain(item)
    return "python", (item, plain(p.ins), plain(p.outs), p.name, p.refuses)


def with_items(kind: str, facts: Any) -> Segment | InPython:
    """A piece, native work without its launches."""
    if kind == "native":
        return Segment(items=[made(item) for item in facts])
    return remade(kind, facts, {})


def remade(kind: str, facts: Any, plans: dict[bytes, Plan | None]) -> Segment | InPython:
    """A piece. `plans`: those of its steps that were made before, which serve all steps like them."""
    if kind == "native":
        segment = Segment()
        for item in map(made, facts):
            if isinstance(item, KernelItem):
                segment.kernel(item)
                continue
            key = marshal.dumps(plain(item.facts), 2)
            if key not in plans:
                plans[key] = routines.plan(item.facts.step(), item.facts.operands())
            plan = plans[key]
            if plan is None or plan.temp > item.size:
                raise Strange("a step whose plan is another one here")
            segment.step(item, plan)
        return segment
    item, ins, outs, name, refuses = facts
    ins, outs = made(ins), made(outs)
    if item is None:
        return InPython(copied, ins, outs, name)
    if "arrays" in item:
        roots, places, reads = item["arrays"]
        arrays = ArraysItem(_rebuilt(roots), places, reads)
        return InPython(on_arrays(arrays), ins, outs, name, arrays)
    call = made(item)
    return InPython(kept(called(call.facts.step()), outs), ins, outs, name, call, refuses)


def _expressions(roots: Sequence[Expr]) -> Any:
    nodes = toposort(*roots)
    at = {e: n for n, e in enumerate(nodes)}
    lines = [(e.op, tuple(at[s] for s in e.src), plain(e.arg), plain(tuple(e.shape)), e.dtype.name) for e in nodes]
    return lines, tuple(at[r] for r in roots)


def _rebuilt(facts: Any) -> tuple[Expr, ...]:
    lines, roots = facts
    found: list[Expr] = []
    for op, src, arg, shape, d in lines:
        found.append(Expr(op, tuple(found[n] for n in src), made(arg), shape, BY_NAME[d]))
    return tuple(found[n] for n in roots)


# ---------------------------------------------------------------- values as plain data


def plain(v: Any) -> Any:
    """A value as what marshal writes; everything that is not a number, a text or a sequence is a dictionary of one tag."""
    kind = type(v)
    if kind in SIMPLE or kind in LATER:
        return v
    if kind is tuple:
        return tuple(plain(x) for x in v)
    if isinstance(v, list):  # a graph's lists are of a kind of their own
        return [plain(x) for x in v]
    if kind is Size:
        return {"size": tuple(v)}
    if kind is dict:
        return {"dict": tuple((plain(k), plain(x)) for k, x in v.items())}
    if kind is dtype:
        return {"dtype": v.name}
    if isinstance(v, np.dtype):
        return {"numpy": of(v).name}
    if kind is device:
        return {"device": str(v)}
    if kind in (layout, memory_format):
        return {"named": v.name}
    if kind is _ops.OpOverload:
        return {"operator": (v.namespace, v.overloadpacket.__name__, v._overloadname)}
    if kind is slice:
        return {"slice": plain((v.start, v.stop, v.step))}
    if RECORDS.get(kind.__name__) is kind:
        return {kind.__name__: tuple(plain(getattr(v, f.name)) for f in fields(v))}
    return _strange(v)


def made(v: Any) -> Any:
    """The value of plain data."""
    kind = type(v)
    if kind is tuple or kind is list:
        return kind(made(x) for x in v)
    if kind is not dict:
        return v
    ((tag, x),) = v.items()
    if tag in RECORDS:
        return RECORDS[tag](*made(x))
    match tag:
        case "dict":
            return {made(k): made(y) for k, y in x}
        case "dtype":
            return BY_NAME[x]
        case "numpy":
            return BY_NAME[x].np
        case "device":
            return device(x)
        case "named":
            return getattr(flambeau, x)
        case "operator":
            found = flambeau.ops
            for name in x:
                found = getattr(found, name)
            return found
        case "size":
            return Size(x)
        case "slice":
            return slice(*made(x))
    raise Strange(tag)


def _strange(v: Any) -> Any:
    raise Strange(f"a {type(v).__name__}")
