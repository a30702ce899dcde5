"""Custom autograd functions whose results have a history outside: one node of the graph, which calls the function.

A capture follows `forward`, and has its lines. Where the backward pass is a part of the program they stay as they are, and so do those of `backward`.
Where it runs outside, the program's derivative is that of its graph (`joint`): the lines of a call become one node there, whose derivative
is the function's own. `backward` is followed once, so that what it reads is assumed, too; what it computes then is left.

A function whose call does more than compute results from its tensors has no such node: one that writes to something outside, gives back an
input as it is, or reads tensors and changing numbers that are no arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._capture.numbers import Tracked
from flambeau._capture.program import operands
from flambeau._capture.recorder import Recorder, Value
from flambeau._eager.graph import node_of
from flambeau._tensor import PLAIN, Tensor

_GIVEN: Any = object()


class Applied:
    """A custom autograd function as a graph calls it: of its tensors, and numbers that change; the other arguments are what they were."""

    def __init__(self, cls: Any, args: tuple[Any, ...]) -> None:
        self.cls = cls
        self.args = tuple(_GIVEN if isinstance(a, (Tensor, Tracked)) else a for a in args)
        self.__name__ = self.__qualname__ = cls.__name__
        self.__module__ = cls.__module__

    def __call__(self, *given: Any) -> Any:
        rest = iter(given)
        return self.cls.apply(*(next(rest) if a is _GIVEN else a for a in self.args))


class Call:
    """One call in a capture: made before `forward` runs, closed behind it."""

    def __init__(self, tracer: Any, node: Any, args: tuple[Any, ...]) -> None:
        self.tracer, self.node, self.args = tracer, node, args
        self.recorder: Recorder = tracer.recorder
        self.begin = self._marks()
        self.results: list[Tensor] = []
        self.lines: list[Value] = []

    def close(self, result: Any) -> bool:
        """Whether the call can be a node."""
        from flambeau._capture.tracer import is_constant

        quiet = self._quiet(self.begin)
        self.single = not isinstance(result, (tuple, list))
        results = [result] if self.single else list(result)
        self.lines = self.recorder.lines[self.begin[0] :]
        if not quiet or self.tracer.symbols is not None or not all(isinstance(r, Tensor) for r in results):
            return False
        if not all(type(a) in PLAIN or isinstance(a, Tracked) or is_constant(a) for a in self.args):
            return False
        self.results = results
        self.given = [self.recorder.value(a) for a in self.args if isinstance(a, (Tensor, Tracked))]
        self.out = [self.recorder.value(r) for r in results]
        own = set(self.lines)
        return len(set(self.out)) == len(results) and own.issuperset(self.out) and not self._foreign(self.lines, own)

    def _marks(self) -> tuple[int, int, int, int]:
        """How far the capture has come: lines, warnings, tensors written, objects written."""
        tracer = self.tracer
        return len(self.recorder.lines), len(tracer.said), len(self.recorder.mutated), len(tracer.journal.order)

    def _quiet(self, since: tuple[int, int, int, int]) -> bool:
        """Whether nothing outside was written, or said, since then."""
        tracer, (_, said, mutated, order) = self.tracer, since
        outside = any(tracer.source_of(x) is not None for x in tracer.journal.order[order:])
        return not outside and self._marks()[1:3] == (said, mutated)

    def _foreign(self, lines: list[Value], own: set[Value]) -> bool:
        """Whether the lines read something else than the arguments."""
        known = own.union(self.given)
        return any(v not in known and v.kind != "constant" for line in lines for v in operands(line))

    def rehearse(self) -> None:
        """Follow `backward`, on gradients of zeros, for what it reads; what cannot be followed is a reason to stop."""
        recorder, begin, random = self.recorder, self._marks(), self.recorder.random
        try:
            slots = [r.new_zeros(r.shape) if r._node is self.node else None for r in self.results]
            self.tracer.load_attr(type(self.node)._function, "backward")
            self.tracer.custom_backward(self.node, slots, False)
        except Exception as problem:
            raise Break(f"the backward of {self.name} fails for a gradient of zeros: {problem!r}") from None
        finally:
            lines, recorder.lines[begin[0] :] = recorder.lines[begin[0] :], []
            recorder.random = random
        if not self._quiet(begin) or self._foreign(lines, {*self.lines, *lines}):
            raise Break(f"the backward of {self.name} reads or writes what is no tensor of the call")

    @property
    def name(self) -> str:
        """The function's name."""
        return str(type(self.node)._function.__name__)

    def whole(self) -> Value:
        """The node's line; the lines of its results are changed into what takes them from it."""
        for v, r in zip(self.out, self.results, strict=True):
            v.sample = (*v.sample[:3], node_of(r) is not None)
        called = Value("call", Applied(type(self.node)._function, self.args), tuple(self.given))
        if self.single:
            called.sample, out = self.out[0].sample, self.out[0]
            _become(out, called)
            return out
        called.sample = [v.sample for v in self.out]
        for i, v in enumerate(self.out):
            _become(v, Value("item", None, (called, i)))
        return called


def _become(v: Value, other: Value) -> None:
    v.kind, v.target, v.args, v.kwargs = other.kind, other.target, other.args, other.kwargs
    v.effect, v.grad = False, True


def as_nodes(calls: Iterable[Call], lines: list[Value], outputs: list[Value]) -> list[Value]:
    """The lines of a program with a history, with one for each call (and one for each of its results)."""
    for call in calls:
        call.rehearse()
    for call in calls:
        inner = set(call.lines)
        hidden = inner.difference(call.out)
        read = {v for line in lines if line not in inner for v in operands(line)}
        if not hidden.isdisjoint(read.union(outputs)):
            raise Break(f"what {call.name} computes on its way is used outside of it, where results have a history")
        made = call.whole()
        at = next(n for n, line in enumerate(lines) if line in inner)
        kept = [line for line in lines if line not in inner]
        lines = [*kept[:at], made, *(v for v in call.out if v is not made), *kept[at:]]
    return lines
