"""Python numbers that change from call to call (learning rates, counts): they behave as numbers, and remember their expression.

Arithmetic gives new ones. A comparison is answered, and its outcome becomes a guard. Whatever needs the very number (an index, a
format, a size) fixes it: its value becomes a guard.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from flambeau._capture.sources import Source

_ARITHMETIC = {"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "truediv": "{} / {}", "floordiv": "{} // {}",
               "mod": "{} % {}", "pow": "{} ** {}"}  # fmt: skip
_COMPARISONS = {
    "lt": "{} < {}",
    "le": "{} <= {}",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
}
_UNARY = {"neg": "-{}", "pos": "+{}", "abs": "abs({})"}


class Tracked:
    """What the two kinds share: where the number comes from, and the capture that watches it."""

    source: Source
    tracer: Any

    @property
    def raw(self: Any) -> Any:
        """The plain number, without a guard."""
        return float.__float__(self) if isinstance(self, float) else int.__int__(self)

    def fixed(self: Any) -> Any:
        """The plain number, guarded."""
        self.tracer.guards.equal(self.source, self.raw)
        return self.raw

    def __bool__(self) -> bool:
        return self.tracer.outcome("{} != 0", (self.source,), self.raw != 0)

    def __hash__(self) -> int:
        return hash(self.fixed())

    def __index__(self) -> int:
        return operator.index(self.fixed())

    def __int__(self) -> int:
        return int(self.fixed())

    def __float__(self) -> float:
        return float(self.fixed())

    def __trunc__(self) -> int:
        return int(self.fixed())

    def __round__(self, *digits: Any) -> Any:
        return round(self.fixed(), *digits)

    def __floor__(self) -> Any:
        import math

        return math.floor(self.fixed())

    def __ceil__(self) -> Any:
        import math

        return math.ceil(self.fixed())

    def __repr__(self) -> str:
        return repr(self.fixed())

    def __str__(self) -> str:
        return str(self.fixed())

    def __format__(self, spec: str) -> str:
        return format(self.fixed(), spec)

    def __reduce__(self) -> Any:
        return type(self.raw), (self.fixed(),)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other


class TrackedFloat(Tracked, float):
    """A float that changes."""


class TrackedInt(Tracked, int):
    """An int that changes."""


def track(value: Any, source: Source, tracer: Any) -> Any:
    """A number that knows its source."""
    made: Any = TrackedFloat(value) if isinstance(value, float) else TrackedInt(value)
    made.source, made.tracer = source, tracer
    return made


def plain(value: Any) -> Any:
    """The number itself where it is a tracked one."""
    return value.raw if isinstance(value, Tracked) else value


def applied(tracer: Any, fn: Any, text: str, operands: Sequence[Any], named: Sequence[Source] = ()) -> Any:
    """What a function gives of numbers, some of which change: another that does. `text` is the call, of what is `named` and the operands.

    Where they are refused, or the result is no such number, it is for these very numbers: code may go another way then.
    """
    result: Any = None
    try:
        result = fn(*map(plain, operands))
    finally:
        if type(result) not in (int, float):
            for x in operands:
                if isinstance(x, Tracked):
                    x.fixed()
    if type(result) not in (int, float):
        return result
    made = track(result, tracer.sources.expression(text, *named, *map(_of, operands)), tracer)
    if fn in _KINDS:
        tracer.guards.type(made.source, type(result))
    return made


_KINDS = (operator.pow,)  # of one kind for some numbers, and of another for others: 2 ** -1, (-8.0) ** 0.5


def _of(x: Any) -> Any:
    return x.source if isinstance(x, Tracked) else x


def _binary(name: str, text: str, swap: bool) -> Any:
    fn = getattr(operator, name)

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        return applied(self.tracer, fn, text, (other, self) if swap else (self, other))

    return method


def _comparison(name: str, text: str) -> Any:
    fn = getattr(operator, name)

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        return self.tracer.outcome(text, (self.source, _of(other)), fn(self.raw, plain(other)))

    return method


def _unary(name: str, text: str) -> Any:
    fn = getattr(operator, name)

    def method(self: Any) -> Any:
        return track(fn(self.raw), self.tracer.sources.expression(text, self.source), self.tracer)

    return method


for _name, _text in _ARITHMETIC.items():
    for _cls in (TrackedFloat, TrackedInt):
        setattr(_cls, f"__{_name}__", _binary(_name, _text, False))
        setattr(_cls, f"__r{_name}__", _binary(_name, _text, True))
for _name, _text in _COMPARISONS.items():
    for _cls in (TrackedFloat, TrackedInt):
        setattr(_cls, f"__{_name}__", _comparison(_name, _text))
for _name, _text in _UNARY.items():
    for _cls in (TrackedFloat, TrackedInt):
        setattr(_cls, f"__{_name}__", _unary(_name, _text))
