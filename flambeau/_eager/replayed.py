"""Calls of array readings that come again with small arrays of the same shapes: from the `AFTER`th on, one builtin does their loops.

The flat functions and the derivatives ask for the builtin by a key: the arguments that are no arrays.
Here is what they are given, and the text that asks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu import small
from flambeau._eager import large
from flambeau._kernel.record import evaluate, parameter
from flambeau._operators.op import Op, Param
from flambeau._tensor import wrap
from flambeau._values import dtype as dtypes

AFTER = 8  # calls of one kind from which on a builtin does them
MOST = 128  # builtins, and kinds that are counted, of one reading: beyond them it starts again
TRIES = 3  # kinds without a builtin after which none is looked for any more
_HASHABLE = frozenset(("bool", "int", "Dim", "str", "DType"))
_NUMBERS = frozenset(("float", "Scalar"))
_SIZES = frozenset(("Shape", "Dims", "Ints", "Dims1"))


class Replays:
    """The builtins of one reading `run(k, *values)`, by the values that are no arrays (a key); `arrays`: which are, or None. `check` refuses
    bad arguments: it need not be asked again where it looks at shapes and dtypes only."""

    __slots__ = ("arrays", "calls", "check", "failed", "get", "known", "plain", "run", "seen")

    def __init__(self, run: Callable[..., Any], arrays: Sequence[int], check: Callable[..., None] | None = None,
                 plain: Callable[..., Any] | None = None) -> None:  # fmt: skip
        self.run, self.arrays, self.check, self.plain = run, tuple(arrays), check, plain
        self.calls: dict[Any, Any] = {}
        self.get = self.calls.get
        self.seen: dict[Any, int] = {}  # how often a kind of call was met
        self.known: dict[Any, Any] = {}  # for each key what makes its builtin
        self.failed = 0

    def met(self, key: Any, *values: Any) -> Any:
        """The result of a call that no builtin did; None where the reading is to run."""
        if self.failed >= TRIES or not small.worth():
            return None
        arrays = [values[i] for i in self.arrays]
        kind = (key, *[type(a) if type(a) is not np.ndarray else (a.dtype.num, a.shape) for a in arrays])
        count = self.seen.get(kind, 0) + 1
        if count > AFTER:
            return None
        if not all(a is None or (type(a) is np.ndarray and a.dtype.char in "fdl?" and 0 < a.size < large.LARGE) for a in arrays):  # fmt: skip
            return None
        if len(self.seen) >= MOST:
            self.seen.clear()
        self.seen[kind] = count
        if count < AFTER or not large.available():
            return None
        from flambeau._backends.cpu.replay import Replay

        if len(self.known) >= MOST:
            self.known.clear()
            self.calls.clear()
        replay = self.known.get(key)
        if replay is None:
            replay = self.known[key] = Replay(self.run, self.arrays, self.plain)
        try:
            if (self.check is not None and not self.unseeing(values)) or not replay.add(values):
                if not self.calls:
                    self.failed = TRIES if replay.hopeless else self.failed + 1
                return None
        except small.NotYetError:
            del self.seen[kind]
            return None
        self.calls[key] = replay.call
        return replay.call(*arrays)

    def unseeing(self, values: Sequence[Any]) -> bool:
        """Whether the check has nothing to say of such arguments, and finds that out without their elements."""
        from flambeau._backends.cpu.shadows import Tape

        tape, given = Tape(), list(values)
        for i in self.arrays:
            given[i] = None if given[i] is None else wrap(tape.argument(i, given[i]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.check(*given)  # type: ignore[misc]
        except Warning:
            return False
        except Exception:  # it looks at elements
            self.failed = TRIES
            return False
        return True


def of_op(op: Op) -> Replays:
    """Those of the array reading of an operator, given all its arguments in order."""
    names = [p.name for p in op.params]
    check = op.check and (lambda *values: op.check(**dict(zip(names, values, strict=True))))  # type: ignore[misc]
    return Replays(reading(op), [i for i, p in enumerate(op.params) if p.is_tensor], check)


class Words:
    """The words of a kernel; a sum of all elements is in the order of the operator's own."""

    def __init__(self, k: Any) -> None:
        self.k = k

    def __getattr__(self, word: str) -> Any:
        return getattr(self.k, word)

    def sum(self, x: Any, dims: Sequence[int]) -> Any:
        from flambeau._operators.reduce import ordered

        if len(dims) < x.ndim or not ordered(x):
            return self.k.sum(x, dims)
        return self.k.reshape(self.k.library("total", x), (1,) * x.ndim)


def of_composite(op: Op) -> Replays:
    """Those of a composite without history: of the expression that it is recorded as, whose numbers must be those of its operators."""

    def recorded(k: Any, *values: Any) -> Any:
        from flambeau._eager.traced import Fused

        arrays = [values[i] for i in at if values[i] is not None]
        xs = tuple(parameter(i, a.shape, dtypes.of(a.dtype)) for i, a in enumerate(arrays))
        statics = [None if i in at and v is not None else (v,) for i, v in enumerate(values)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (value,), _ = Fused(op, statics, [False] * len(xs)).traced(xs)
        return evaluate(Words(k), [value], arrays)[0]

    def plain(k: Any, *values: Any) -> Any:
        given = [wrap(v) if i in at and v is not None else v for i, v in enumerate(values)]
        return op.body(*given[:first], **dict(zip(op.keywords, given[first:], strict=True)))._a

    at = [i for i, p in enumerate(op.params) if p.is_tensor]
    first = len(op.params) - len(op.keywords)
    return Replays(recorded, at, None, plain)


def reading(op: Op) -> Callable[..., Any]:
    """The array reading of an operator, all its arguments in order."""
    run, names = op.run, op.keywords
    if not names:
        return run
    first = len(op.params) - len(names)
    return lambda k, *values: run(k, *values[:first], **dict(zip(names, values[first:], strict=True)))


def part(p: Param, name: str) -> str | None:
    """The part of a key that stands for an argument that is no tensor; None where there is none."""
    kind = p.annotation.partition(" | ")[0]
    if kind in _NUMBERS:
        return f"({name} or repr({name}))"  # zeros are equal, but several numbers
    if kind in _SIZES:
        return sizes(name)
    return name if kind in _HASHABLE else None


def sizes(name: str) -> str:
    """Sizes as part of a key: hooks may give saved ones back as a list."""
    return f"(tuple({name}) if type({name}) is list else {name})"


def asked(replays: str, arrays: Sequence[str], statics: Sequence[str]) -> list[str]:
    """Lines that compute `r` by a builtin if there is one."""
    return [
        f"_key = ({''.join(x + ', ' for x in statics)})",
        f"_again = {replays}.get(_key)",
        f"if _again is not None: r = _again({', '.join(arrays)})",
    ]
