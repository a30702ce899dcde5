"""The text of a program in several pieces: stretches of native work, and calls in Python between them.

Memory is taken when it is first needed, and given back after its last reader; what is lent goes back when nothing can be refused any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau._backends.cpu.compile import RELEASE
from flambeau._backends.cpu.launch import ARG, CONST, GATE, Launch, Plan
from flambeau._capture.assembly import Held, InPython, Segment
from flambeau._capture.lent import drop, empty as fresh, put_back
from flambeau._capture.place import Place
from flambeau._values.dtype import BY_NAME

if TYPE_CHECKING:
    from flambeau._capture.lower import Compiled


class Pieces:
    """Writes the lines; `scope` takes the values that they name."""

    def __init__(self, program: Compiled, scope: dict[str, Any], lent: list[str]) -> None:
        self.program, self.scope, self.lent = program, scope, lent
        self.refuses = program.plan.refuses
        self.text: list[str] = []
        self.pad = " " * (8 if self.refuses or lent else 4)
        self.made = set[str]()  # variables that hold memory by now
        self.names: dict[Place, str] = {}  # what calls in Python leave
        self.last: dict[Place, int] = {}  # the last piece that needs a place
        for at, piece in enumerate(program.pieces):
            for p in places_of(piece):
                self.last[p] = at
            for h in piece.outs if isinstance(piece, InPython) else ():
                self.names[h.place] = f"h{len(self.names)}"

    def lines(self, arguments: list[str], asked: str, outs: list[int]) -> list[str]:
        """From the check of the arguments to the last result; `asked` are the arguments that the caller gave."""
        program, scope, text = self.program, self.scope, self.text
        scope.update(empty=np.empty, fresh=fresh, in_arena=in_arena, strided=strided, drop=drop, put_back=put_back)
        nothing = Plan((), ())
        scope["known"], scope["learn"] = program.table(nothing), program.again(nothing)
        given = ", ".join(arguments)
        text.append(f"    if known({given}) is None and learn({given}) is None: return declined({asked})")
        text.append(f"    state = {'get_state()' if program.plan.draws else None}")
        if self.refuses or self.lent:
            text.append("    try:")
        free = 1 + max((at for at, p in enumerate(program.pieces) if may_refuse(p)), default=-1)
        for at, piece in enumerate(program.pieces):
            if at == free and self.lent:
                self.say(f"drop({', '.join(self.lent)})")
            for p in places_of(piece):
                self.take(p)
            if isinstance(piece, Segment):
                self.launch(at, piece)
            else:
                self.call(at, piece)
            gone = [self.name(p) for p, n in self.last.items() if n == at and p.kind in ("held", "own")]
            if gone:
                self.say(f"del {', '.join(gone)}")
        for n in outs:
            self.take(Place("out", n))
        self.failures()
        return text

    def say(self, line: str) -> None:
        self.text.append(self.pad + line)

    def name(self, p: Place) -> str:
        """The variable of a place."""
        match p.kind:
            case "arg":
                return f"i{p.index}"
            case "out":
                return f"o{p.index}"
            case "temp":
                return "arena"
            case "own":
                return f"b{p.index}"
        return self.names[p]

    def take(self, p: Place) -> None:
        """The line that takes memory for a result, or for the arena, if it has not been taken yet."""
        name = self.name(p)
        if p.kind in ("arg", "held") or name in self.made:
            return
        self.made.add(name)
        if p.kind in ("temp", "own"):
            size = self.program.arena_size if p.kind == "temp" else self.program.plan.own[p.index]
            self.say(f"{name} = empty({size}, 'u1')")
            return
        self.scope[f"f{p.index}"] = self.program.facts(p.index)
        self.say(f"{name} = fresh(*f{p.index})")

    def launch(self, at: int, piece: Segment) -> None:
        """A stretch of native work."""
        program, places = self.program, dict[str, int]()

        def slot(what: Any, offset: int) -> tuple[int, ...]:
            if isinstance(what, int):
                return CONST, what
            k = places.setdefault(self.name(what), len(places))
            return ARG, k, offset + (what.index if what.kind == "temp" else 0)

        launches = tuple(
            Launch(a, tuple(slot(*s) for s in slots), chunks, scratch) for a, slots, chunks, scratch in piece.launches
        )
        plan = Plan((), launches, 0, program.work >= RELEASE, keep=tuple(piece.keep))
        self.scope[f"run{at}"], self.scope[f"again{at}"] = program.table(plan), program.again(plan, check=False)
        given = ", ".join(places)
        if may_refuse(piece):
            self.say(f"r = run{at}({given})")
            self.say(f"if r is None: r = again{at}({given})")
            self.say("if r is False: return refused(None, state)")
        else:
            self.say(f"if run{at}({given}) is None: again{at}({given})")

    def call(self, at: int, piece: InPython) -> None:
        """A call in Python."""
        self.scope[f"call{at}"] = piece.fn
        given = ", ".join(self.argument(f"a{at}_{k}", h) for k, h in enumerate(piece.ins))
        left = f"{', '.join(self.names[h.place] for h in piece.outs)}, = " if piece.outs else ""
        self.say(f"{left}call{at}({given})  # {piece.name}")

    def argument(self, name: str, h: Held) -> str:
        """What a call in Python is given for a value; how it lies is in the scope under `name`."""
        place = self.name(h.place)
        if h.place.kind == "arg" and not h.shape and self.program.layouts[h.place.index].scalar:
            return place
        if h.place.kind in ("temp", "own"):
            self.scope[name] = h
            return f"in_arena({place}, {name})"
        self.scope[name] = tuple(s * BY_NAME[h.dtype].itemsize for s in h.strides), h.offset, h.shape
        return f"strided({place}, *{name})"

    def failures(self) -> None:
        """The end of the `try`, if there is one: memory that was lent lies again where it was."""
        back = [f"        put_back(lying, {', '.join(self.lent)})"] if self.lent else []
        if back:
            self.scope["lying"] = [self.program.facts(n) for n in self.program.plan.lent]
        if self.refuses:
            self.text += ["    except Exception as error:", *back, "        return refused(error, state)"]
        if back:
            self.text += ["    except BaseException:", *back, "        raise"]


def may_refuse(piece: Segment | InPython) -> bool:
    """Whether a piece can find that what it is given is to be refused."""
    return piece.refuses if isinstance(piece, InPython) else any(launch[0] == GATE for launch in piece.launches)


def places_of(piece: Segment | InPython) -> list[Place]:
    """Where a piece reads and writes."""
    if isinstance(piece, InPython):
        return [h.place for h in (*piece.ins, *piece.outs)]
    return [what for _, slots, *_ in piece.launches for what, _ in slots if isinstance(what, Place)]


def in_arena(memory: Any, h: Held) -> Any:
    """A value that lies in the arena, or in memory of its own."""
    d, start = BY_NAME[h.dtype].np, h.place.index if h.place.kind == "temp" else 0
    return np.ndarray(h.shape, d, memory, start + h.offset * d.itemsize, tuple(s * d.itemsize for s in h.strides))


def strided(a: Any, strides: tuple[int, ...], offset: int, shape: tuple[int, ...]) -> Any:
    """A view of an array's memory; offset in elements."""
    if not offset and a.shape == shape and a.strides == strides:
        return a
    if offset:
        flat = np.lib.stride_tricks.as_strided(a, (offset + 1,), (a.itemsize,))[offset:]
        return np.lib.stride_tricks.as_strided(flat, shape, strides)
    return np.lib.stride_tricks.as_strided(a, shape, strides)
