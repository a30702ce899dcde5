"""Gradients that a step replaces give their memory to those that replace them, where nobody else can see it.

Eager code frees gradients in `zero_grad`, and makes new ones as it goes back. A program runs before anything outside is changed, so both would be
there at once. Instead it is given the old ones' memory: once nothing can be refused any more it lies open for other values, or goes back, and
in the end the new gradients lie in it. A gradient that somebody else holds, or a part of which, is left alone.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._tensor import Tensor, new

LEAST = 1 << 14  # bytes: where no gradient is larger, to ask who owns them takes longer than it is worth

Facts = tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]  # shape, dtype, strides


class Lend:
    """Memory for results, by what lies there now: tensors that only an attribute and a variable of the caller hold."""

    def __init__(self, facts: Sequence[Facts], owners: tuple[int, int] | None = None) -> None:
        self.facts, self.owners = facts, OWNERS if owners is None else owners

    def __call__(self, *old: Any) -> list[Any]:
        return [_array(t, self.owners, *facts) for t, facts in zip(old, self.facts, strict=True)]


def _array(t: Any, owners: tuple[int, int], shape: tuple[int, ...], d: np.dtype[Any], strides: tuple[int, ...]) -> Any:
    """The tensor's own array, if there is one that lies so and that nobody else holds, else a new one."""
    if type(t) is not Tensor:
        return empty(shape, d, strides)
    a = t._a
    if (
        sys.getrefcount(t) <= owners[0]
        and sys.getrefcount(a) <= owners[1]
        and type(a) is np.ndarray
        and a.base is None
        and a.dtype is d
        and a.shape == shape
        and a.strides == strides
    ):
        return a
    return empty(shape, d, strides)


def empty(shape: tuple[int, ...], d: np.dtype[Any], strides: tuple[int, ...]) -> Any:
    """An array that lies so."""
    a = np.empty(shape, d)
    return a if a.strides == strides else np.ndarray(shape, d, np.empty(a.nbytes, np.uint8), 0, strides)


def lendable(tr: Any, replay: Any, text: list[str]) -> dict[int, str]:
    """Results that become gradients, in place of others perhaps, which nothing else needs: the variables that hold these, or None."""
    found: dict[int, str] = {}
    inputs = {id(x) for _, _, x in tr.recorder.inputs}
    sizes = {n: math.prod(replay.outputs[n].sample[0]) * replay.outputs[n].sample[1].itemsize for n in replay.replaced}
    if max(sizes.values(), default=0) < LEAST:
        return found
    used = set(re.findall(r"\w+", "\n".join(text)))
    for n, (t, old) in replay.replaced.items():
        owner = tr.source_of(t)
        if owner is None or id(old) in inputs:
            continue
        source = tr.sources.attr(owner, "_grad")
        if not tr.guards.fresh(source):
            continue
        ref = tr.guards.ref(source)
        if ref not in used:
            found[n] = ref
    return found


def drop(*arrays: Any) -> None:
    """The memory of arrays goes back: nobody else holds them."""
    for a in arrays:
        a.resize((0,), refcheck=False)


def put_back(facts: Sequence[Facts], *arrays: Any) -> None:
    """Arrays that were dropped are as large as before, with zeros."""
    for a, (shape, _, _) in zip(arrays, facts, strict=True):
        if a.shape != shape:
            a.resize(shape, refcheck=False)


def _owners() -> tuple[int, int]:
    """What the counts of owners are, at most, where only an attribute and a variable of the caller hold a tensor: found by asking."""

    class Holder:
        grad: Any

    holder = Holder()
    holder.grad = new(Tensor)
    holder.grad._a = np.empty(1)

    def given(owners: tuple[int, int]) -> bool:
        t = holder.grad
        (made,) = Lend([((1,), t._a.dtype, (t._a.itemsize,))], owners)(t)
        return made is t._a

    most = 1 << 20
    return next(n for n in range(most) if given((n, most))), next(n for n in range(most) if given((most, n)))


OWNERS = _owners()

__all__ = ["LEAST", "Facts", "Lend", "drop", "empty", "put_back"]
