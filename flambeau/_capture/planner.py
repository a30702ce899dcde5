"""Programs planned once for many sizes: a graph whose sizes are expressions -> a template, which any sizes of its kind fill in.

While a template is made, sizes are `SymInt`s of a planner. What is decided by a comparison of sizes (which loops are merged, what is
cut into blocks, whether a kernel has rows enough) is decided as for the sizes at hand, and noted. The notes become one Python
function: it says whether other sizes would have decided alike, and gives every number of the program for them: slots, chunks, shapes.
So a template gives exactly the program that would be made for these sizes alone. What needs the very number fixes it.

Where values lie is not noted but done again: the tape says in which order memory is taken and given back. Routines that plan by
numbers (products, convolutions) plan again, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from flambeau._backends.cpu.compile import RELEASE
from flambeau._capture import routines, stored
from flambeau._capture.arena import Block, Tape
from flambeau._capture.assembly import Blueprint, settled
from flambeau._capture.sizes import Symbols, SymInt
from flambeau._ground.source import build as written
from flambeau._kernel.schedule import cuts

FUNCTIONS: dict[str, Any] = {"cuts": cuts}  # what planners' functions call
Plain = Any  # plain data (`stored.plain`), in which numbers and blocks stand that are not known yet


class Unplanned(Exception):
    """A number that has no expression."""


class Fact:
    """A number by the name that it has in the planner's function."""

    __slots__ = ("name",)
    kind = "planned"

    def __init__(self, name: str) -> None:
        self.name = name

    def spoken(self) -> str:
        return f"«{self.name}»"


class Planner:
    """Notes what is decided by sizes. To its numbers it is a capture, the guards and the sources."""

    def __init__(self) -> None:
        self.guards = self.sources = self
        self.symbols = Symbols(self)
        self.arguments: list[Fact] = []
        self.sizes: dict[int, SymInt] = {}
        self.facts: dict[str, Fact] = {}  # by what they are made of
        self.lines: list[str] = []
        self.noted: set[str] = set()

    def argument(self, value: int, low: int | None, size: bool) -> SymInt:
        """A number that is given. Which of those that are sizes are equal is part of what kind they are."""
        fact = Fact(f"n{len(self.arguments)}")
        self.arguments.append(fact)
        known = self.sizes.get(value) if size else None
        if known is not None:
            self.outcome("{} == {}", (fact, known.source), True)
            return known
        for other in self.sizes.values() if size else ():
            self.outcome("{} == {}", (fact, other.source), False)
        made = self.symbols.symbol(fact, value, low)  # type: ignore[arg-type]
        if size:
            self.sizes[value] = made
        return made

    def expression(self, text: str, *operands: Any) -> Fact:
        """A number made of others."""
        made = text.format(*map(_named, operands))
        fact = self.facts.get(made)
        if fact is None:
            fact = self.facts[made] = Fact(f"t{len(self.facts)}")
            self.lines.append(f"{fact.name} = {made}")
        return fact

    def calls(self, fn: Callable[..., Sequence[int]], count: int, *operands: Any) -> list[Fact]:
        """The numbers that a function of numbers gives."""
        assert FUNCTIONS[fn.__name__] is fn
        whole = self.expression(f"{fn.__name__}({', '.join(['{}'] * len(operands))})", *operands)
        return [self.expression(f"{{}}[{n}]", whole) for n in range(count)]

    def outcome(self, text: str, operands: Sequence[Any], value: bool) -> bool:
        """A comparison came out like this."""
        if any(isinstance(x, float) and not isfinite(x) for x in operands):
            return value  # it is so for every size
        made = text.format(*map(_named, operands))
        self.note(f"if {'not ' if value else ''}{made}: return None")
        return value

    def equal(self, source: Any, value: Any) -> None:
        """A number is needed as it is."""
        self.note(f"if {_named(source)} != {value!r}: return None")

    def note(self, line: str) -> None:
        """What must hold."""
        if line not in self.noted:
            self.noted.add(line)
            self.lines.append(line)

    def function(self, wanted: Sequence[str]) -> str:
        """Its text: sizes -> the numbers that are wanted, or None where something would have been decided otherwise."""
        given = ", ".join(f.name for f in self.arguments)
        lines = [f"def numbers({given}):", *self.lines, f"return ({''.join(w + ', ' for w in wanted)})"]
        return "\n    ".join(lines) + "\n"


def _named(x: Any) -> str:
    if isinstance(x, Fact):
        return x.name
    if type(x) not in (int, float) or not isfinite(x):
        raise Unplanned(f"a size and {x!r}")
    return f"({x!r})" if x < 0 else repr(x)


class Template:
    """A program for many sizes, as plain data: `text` the planner's function, `body` what it fills in."""

    def __init__(self, text: str, body: Plain) -> None:
        self.text, self.body = text, body
        self.numbers: Callable[..., tuple[Any, ...] | None] = written("numbers", text, dict(FUNCTIONS))

    @staticmethod
    def of(planner: Planner, laid: Blueprint, tape: Tape) -> Template:
        """What was planned, with names for numbers."""
        wanted: dict[str, int] = {}

        def number(x: SymInt) -> dict[str, int]:
            return {"number": wanted.setdefault(x.source.name, len(wanted))}  # type: ignore[attr-defined]

        body = _named_in(stored.facts(laid), number)
        events = _named_in(tape.events, number)
        return Template(planner.function(list(wanted)), (body, events))

    def at(self, sizes: Sequence[int]) -> Blueprint | None:
        """The program for these sizes; None where they are of another kind."""
        numbers = self.numbers(*sizes)
        if numbers is None:
            return None
        (values, pieces), events = _filled(self.body, numbers)
        plans: list[Any] = []
        for kind, items in pieces:
            if kind == "native":
                for item in items:
                    ((tag, parts),) = item.items()
                    if tag == "StepItem":
                        facts = stored.made(parts[0])
                        plans.append(routines.plan(facts.step(), facts.operands()))
        if any(p is None for p in plans):
            return None
        values, pieces = _put("block", (values, pieces), Blocks())
        laid = [stored.with_items(kind, facts) for kind, facts in pieces]
        made, found = settled(laid, plans, events)
        values["arena"], values["own"], values["most"] = found.arena, stored.plain(found.own), found.most
        work = max(values.pop("work"), default=0)
        if any(p.release for p in plans):
            work = max(work, RELEASE)
        return Blueprint(**{k: stored.made(v) for k, v in values.items()}, work=work, pieces=made)


def _named_in(v: Any, number: Callable[[SymInt], Any]) -> Any:
    """With numbers and blocks as plain data."""
    kind = type(v)
    if kind is SymInt:
        return number(v)
    if kind is Block:
        return {"block": v.n}
    if kind is tuple or kind is list:
        return kind(_named_in(x, number) for x in v)
    if kind is dict:
        return {k: _named_in(x, number) for k, x in v.items()}
    return v


def _put(tag: str, v: Any, known: Any) -> Any:
    kind = type(v)
    if kind is tuple or kind is list:
        return kind([_put(tag, x, known) if type(x) in (tuple, list, dict) else x for x in v])
    if kind is dict:
        if tag in v:
            return known[v[tag]]
        return {k: _put(tag, x, known) for k, x in v.items()}
    return v


def _filled(v: Any, numbers: tuple[Any, ...]) -> Any:
    return _put("number", v, numbers)


class Blocks(dict[int, Block]):
    """Every block, by its number."""

    def __missing__(self, n: int) -> Block:
        self[n] = Block(n)
        return self[n]


__all__ = ["Planner", "Template"]
