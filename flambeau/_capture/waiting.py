"""Frames that wait between two programs: where a capture may end within nested calls, and how an entry builds the frames again.

A break in a called function splits that function and all that wait for it, if each waits in a call that it makes itself. A call made
otherwise (by an operator, a property, an iterator, a library function that is given a function) is carried out as a whole.
"""

from __future__ import annotations

import types
from itertools import pairwise
from typing import Any

from flambeau._capture import asking
from flambeau._capture.breaks import Break
from flambeau._capture.effects import Replay
from flambeau._capture.frame import NULL, Frame, Pending, callers
from flambeau._capture.tracer import Tracer
from flambeau._higher_order_ops.cond import branch
from flambeau._higher_order_ops.while_loop import while_loop

# Instructions that cannot be carried out between two programs.
_WHOLE = frozenset(
    ("YIELD_VALUE", "SEND", "RERAISE", "RAISE_VARARGS", "RETURN_GENERATOR", "WITH_EXCEPT_START", "CLEANUP_THROW",
     "STOPITERATION_ERROR")
)  # fmt: skip
_READS = frozenset(
    ("LOAD_FAST", "LOAD_FAST_AND_CLEAR", "LOAD_DEREF", "STORE_DEREF", "DELETE_FAST", "DELETE_DEREF", "MAKE_CELL")
)
_CHOOSE = frozenset((branch.__code__, while_loop.__code__))
_ENDS = frozenset(("RETURN_VALUE", "RERAISE", "RAISE_VARARGS", "JUMP"))


class Partial:
    """What an entry returns where the function goes on after a break: the frames as they are there, the outermost first."""

    __slots__ = ("codes", "states")

    def __init__(self, codes: Codes, states: tuple[tuple[int, dict[str, Any], list[Any]], ...]) -> None:
        self.codes, self.states = codes, states

    def frames(self) -> list[Frame]:
        """The frames."""
        made: list[Frame] = []
        for (code, space), (ip, names, stack) in zip(self.codes, self.states, strict=True):
            f = Frame(code, space, names)
            f.ip, f.stack = ip, stack
            made.append(f)
        return link(made)


Codes = tuple[tuple[types.CodeType, dict[str, Any]], ...]


def link(frames: list[Frame]) -> list[Frame]:
    """Frames, each of which waits for the next."""
    for outer, inner in pairwise(frames):
        inner.caller, inner.tail = outer, True
    return frames


class Place:
    """Where a capture can end: the frames that wait there, and when the last of them comes to its instruction."""

    def __init__(self, frames: list[Frame]) -> None:
        self.at = frames[-1].at
        self.function = frames[-1].code.co_name
        self._marks = [(f.code, f.ip) for f in frames]

    def reached(self, f: Frame) -> list[Frame]:
        """The frames as they are when the capture, done anew, has come to the place again."""
        frames = callers(f)
        f.ip += 1  # as if the instruction were under way
        if [(x.code, x.ip) for x in frames] != self._marks:
            raise Break("the function went another way when it was captured again")
        f.ip -= 1
        return frames


def places(b: Break) -> list[Place]:
    """Where a capture can end because of a break, the innermost place first."""
    if b.whole or b.frame is None:
        return []
    frames = callers(b.frame)
    able: list[Frame] = []
    why = ""
    for f in frames:
        if able and not f.tail:
            why = f"it is made by the instruction {able[-1].instruction.name}"
        elif f.exc is not None:
            why = "it breaks within the handler of an exception"
        elif f.instruction.name in _WHOLE:
            why = f"it breaks at the instruction {f.instruction.name}"
        else:
            able.append(f)
            continue
        break
    meant = chooses(b)
    while len(able) > 1 and _ours(able[-1]) and not meant:  # the library's own functions are not split
        able.pop()
    if why and able and not _ours(frames[len(able)]):
        b.note = f"; the call of {frames[len(able)].code.co_name} runs eagerly: {why}"
    return [Place(able[:n]) for n in range(len(able), 0, -1) if n == 1 or meant or not _ours(able[n - 1])]


def chooses(b: Break) -> bool:
    """Whether it is what the program asks for: `cond` and `while_loop` go by what tensors hold. The function is split there in any case."""
    return b.frame is not None and b.frame.code in _CHOOSE


def _ours(f: Frame) -> bool:
    return str(f.globals.get("__name__", "")).partition(".")[0] == "flambeau"


def leave(tr: Tracer, frames: list[Frame], replay: Replay) -> str:
    """The statement by which an entry returns the frames."""
    if any(f.exc is not None for f in frames):
        raise Break("a break within the handler of an exception")
    scope = tr.guards.scope
    scope.update(Partial=Partial, NULL=NULL)
    codes = tr.guards.constant(tuple((f.code, f.globals) for f in frames))
    states = "".join(f"({f.ip}, {_names(tr, f, replay)}, {_stack(tr, f, replay)}), " for f in frames)
    return f"return Partial({codes}, ({states}))"


def _names(tr: Tracer, f: Frame, replay: Replay) -> str:
    """The variables that are still wanted, as a dictionary display."""
    wanted = live(f)
    return "{" + ", ".join(f"{n!r}: {_held(tr, v, replay)}" for n, v in f.names.items() if n in wanted) + "}"


def _stack(tr: Tracer, f: Frame, replay: Replay) -> str:
    return "[" + ", ".join(_held(tr, v, replay) for v in f.stack) + "]"


def _held(tr: Tracer, v: Any, replay: Replay) -> str:
    if v is NULL:
        return "NULL"
    return tr.guards.ref(v.source) if type(v) is Pending else replay.expression(v)


def live(f: Frame) -> set[str]:
    """Names that an instruction from here on may read."""
    if asking.reads_all(f.code):
        return set(f.names)
    instructions = f.decoded.instructions
    seen: set[int] = set()
    todo = [f.ip, *(target for _, _, target, _, _ in f.decoded.handlers)]
    found = set(f.code.co_freevars)
    if "__class__" in f.names and f.code.co_varnames:
        found.add(f.code.co_varnames[0])  # for super()
    while todo:
        k = todo.pop()
        while k < len(instructions) and k not in seen:
            seen.add(k)
            i = instructions[k]
            if i.name in _READS:
                found.add(i.arg)
            if i.target >= 0:
                todo.append(i.target)
            if i.name in _ENDS:
                break
            k += 1
    return found


def key(frames: list[Frame]) -> Any:
    """What tells one state of waiting frames from another, but for the values."""
    return tuple((f.code, id(f.globals), f.ip, len(f.stack), tuple(sorted(f.names))) for f in frames)


def values(frames: list[Frame]) -> tuple[Any, ...]:
    """The arguments of an entry that goes on from there."""
    return tuple(x for f in frames for x in (f.names, f.stack))


def parameters(count: int) -> list[str]:
    """Their names."""
    return [f"{what}{n or ''}" for n in range(count) for what in ("names", "stack")]


def reached(tr: Tracer, frames: list[Frame]) -> list[Frame]:
    """The same frames as a capture meets them."""
    s = tr.sources
    made = []
    for n, f in enumerate(frames):
        names, stack = s.local(f"names{n or ''}"), s.local(f"stack{n or ''}")
        m = Frame(f.code, f.globals, {})
        cells = {*f.code.co_freevars, *f.code.co_cellvars}
        for k, v in f.names.items():
            source = s.item(names, k)
            if k in cells and type(v) is types.CellType:
                tr.register(v, source)
                m.names[k] = v
            else:
                m.names[k] = Pending(v, source)
        for i, v in enumerate(f.stack):
            m.stack.append(v if v is NULL else tr.reach(v, s.item(stack, i)))
        m.ip = f.ip
        made.append(m)
    return link(made)
