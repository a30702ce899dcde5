"""Checkpointed parts of a captured function: what the backward pass needs of them is computed again there, as in eager code.

While a part runs, the recorder's lines are marked with it, and so are later those of the derivatives of what it did. Before a program is made of
the lines, a part's lines are put a second time before the first derivative that reads one of them, and derivatives read those. What goes into
a part goes through `_again` there: the same memory under another name, which is not to be had before the gradient is. Without it both
computations would be found to be one.

Kept instead, as without a checkpoint: numbers that were drawn, parts that write to what lies outside of them, and those of whose operands one is
written before they would be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from flambeau._capture.program import operands, sees, writes
from flambeau._capture.recorder import Recorder, Value, target
from flambeau._eager.graph import Node, serial
from flambeau._operators.op import REGISTRY
from flambeau._ops import OpOverload


class Part:
    """One call of `checkpoint`: the parts around it, itself the last, and which nodes of autograd's graph it made (start < seq < stop)."""

    def __init__(self, around: Part | None) -> None:
        self.around, self.start, self.stop = around, next(serial), -1
        self.path: tuple[Part, ...] = (*(around.path if around is not None else ()), self)

    def made(self, node: Node) -> bool:
        """Whether a node is the part's, or that of one within it."""
        return self.start < node.seq < self.stop


@contextmanager
def part(recorder: Recorder) -> Iterator[None]:
    """Within the block, lines belong to a new part."""
    before = recorder.part
    made = recorder.part = Part(before)
    recorder.parts.append(made)
    try:
        yield
    finally:
        recorder.part, made.stop = before, next(serial)


@contextmanager
def derivative(recorder: Recorder, node: Node, gradients: list[Any]) -> Iterator[None]:
    """Within the block, lines belong to the derivative of a node, which gradients have reached."""
    before, recorder.back = recorder.back, None
    found = [p for p in recorder.parts if p.made(node)]
    if found:
        recorder.back = found[-1], recorder.value(next(g for g in gradients if g is not None))
    try:
        yield
    finally:
        recorder.back = before


def repeated(lines: list[Value]) -> list[Value]:
    """The lines with checkpointed parts a second time, where derivatives read them."""
    return Repeater(lines).lines if any(v.back is not None for v in lines) else lines


class Repeater:
    """Walks the lines, and repeats a part when that is first wanted."""

    def __init__(self, lines: list[Value]) -> None:
        self.lines: list[Value] = []
        self.inside: dict[Part, list[Value]] = {}
        self.ends: dict[Part, int] = {}
        self.roots: dict[Value, Value] = {}  # whose memory a line's result lies in
        self.written: dict[Value, int] = {}  # when that was last written
        self.copies: dict[Part, dict[Value, Value] | None] = {}  # None: the part is kept
        self.made: set[Value] = set()
        for n, v in enumerate(lines):
            first = v.args[0] if v.args else None
            self.roots[v] = self.root(first) if isinstance(first, Value) and sees(v) else v
            for p in v.part.path if v.part is not None else ():
                self.inside.setdefault(p, []).append(v)
                self.ends[p] = n
        for n, v in enumerate(lines):
            if v.back is not None:
                _put(v, partial(self.again, *v.back))
            if writes(v):
                self.written[self.roots[v]] = n
            self.lines.append(v)
        self.prune()

    def root(self, v: Value) -> Value:
        return self.roots.get(v, v)

    def again(self, there: Part, g: Value, v: Value) -> Value:
        """What a derivative of the part `there` reads in place of a value: its repetition in the innermost part that both are in."""
        for p in reversed(there.path):
            if v.part is not None and p in v.part.path:
                copies = self.repeat(p, g)
                return v if copies is None else copies.get(v, v)
        return v

    def repeat(self, p: Part, g: Value) -> dict[Value, Value] | None:
        """The part's lines once more: which stands for which."""
        if p in self.copies:
            return self.copies[p]
        lines = self.inside[p]
        own = set(lines)
        given = dict.fromkeys(a for v in lines for a in operands(v) if a not in own and a.kind != "constant")
        outside = any(writes(v) and self.roots[v] not in own for v in lines)
        if outside or any(self.written.get(self.root(a), -1) > self.ends[p] for a in given):
            self.copies[p] = None
            return None
        around = self.repeat(p.around, g) if p.around is not None else None
        copies: dict[Value, Value] = {}
        for a in given:
            if isinstance(a.sample, tuple):  # a tensor
                made = Value("call", target(REGISTRY["_again"], False), (around.get(a, a) if around else a, g))
                made.sample = a.sample
                copies[a] = self.add(made)
        drawn = {self.roots[v] for v in lines if isinstance(v.target, OpOverload) and v.target.is_random}
        for v in lines:
            if v.kind == "constant" or self.roots[v] in drawn:
                continue
            made = Value(v.kind, v.target, v.args, v.kwargs)
            made.sample, made.effect = v.sample, v.effect
            _put(made, lambda a: copies.get(a, a))
            self.roots[made] = copies.get(self.roots[v], made)
            copies[v] = self.add(made)
        self.copies[p] = {v: x for v, x in copies.items() if v in own}
        return self.copies[p]

    def add(self, v: Value) -> Value:
        v.grad = False
        self.made.add(v)
        self.lines.append(v)
        return v

    def prune(self) -> None:
        """Without repetitions that nobody reads. What is written matters to those who read the memory later."""
        wanted: set[Value] = set()
        kept = []
        for v in reversed(self.lines):
            if v not in self.made or v in wanted or (writes(v) and self.root(v) in wanted):
                kept.append(v)
                for a in operands(v):
                    wanted |= {a, self.root(a)}
        self.lines = kept[::-1]


def _put(v: Value, swap: Callable[[Value], Value]) -> None:
    """Let a line read other values."""
    v.args, v.kwargs = _swapped(v.args, swap), {k: _swapped(x, swap) for k, x in v.kwargs.items()}


def _swapped(x: Any, swap: Callable[[Value], Value]) -> Any:
    if isinstance(x, Value):
        return swap(x)
    if isinstance(x, (tuple, list)):
        return type(x)([_swapped(y, swap) for y in x])
    if isinstance(x, slice):
        return slice(*(_swapped(y, swap) for y in (x.start, x.stop, x.step)))
    return x


__all__ = ["Part", "derivative", "part", "repeated"]
