"""Where values lie that nobody outside sees: in the arena, or in the memory of a result that is not made yet.

A `Tape` notes in which order blocks of memory are taken and given back, and when results are made. `replay` lays them out once all is known,
the largest first: into a result that is free for as long as the block is wanted, else as low in the arena as those that live at the same time
allow.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flambeau._capture.place import Place

LINE = 64
SHARED = 4096  # bytes from which a result's memory is used before it is made
APART = 1 << 15  # bytes from which a block is an array of its own, where the program is several calls
MUCH = 1 << 20  # bytes of an arena from which the program is cut into several calls


class Block:
    """A part of the memory of which it is not known yet where it lies. -1 is all of the arena: its size."""

    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n


class Tape:
    """What happens, in order: ("take", block, size), ("step", block, step), ("free", block), ("open", result, size,
    whether it is lent), ("close", result).

    Sizes may be expressions. The memory of steps is as much as their plans will say.
    """

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.blocks = self.steps = 0

    def take(self, size: Any) -> Block:
        """A block until it is given back."""
        return self._block("take", size)

    def step(self) -> Block:
        """What the next step needs."""
        self.steps += 1
        return self._block("step", self.steps - 1)

    def _block(self, kind: str, size: Any) -> Block:
        self.events.append((kind, self.blocks, size))
        self.blocks += 1
        return Block(self.blocks - 1)

    def free(self, block: Block) -> None:
        """Nothing needs a block any more."""
        self.events.append(("free", block.n))

    def open(self, result: int, size: Any, lent: bool = False) -> None:
        """From now on a result's memory may be used, which is new, or lent."""
        self.events.append(("open", result, size, lent))

    def close(self, result: int) -> None:
        """A result is about to be made."""
        self.events.append(("close", result))


@dataclass(frozen=True)
class Found:
    """Where each block lies: (the result that holds it, or -1 for the arena; from which byte); the arena's size; the sizes of those that lie
    apart; and what is large: these, and results."""

    at: dict[int, tuple[int, int]]
    arena: int
    own: dict[int, int]
    large: frozenset[Place]
    most: int  # bytes that a call holds at one time beside what is lent to it, results included


@dataclass(frozen=True)
class Lives:
    """A block: its bytes, and from which event to which it is wanted."""

    n: int
    size: int
    start: int
    stop: float


class Space:
    """Memory of some size, and the blocks that lie in it."""

    def __init__(self, size: float = math.inf, start: int = 0, stop: float = math.inf, lent: bool = False) -> None:
        self.size, self.start, self.stop, self.lent = size, start, stop, lent
        self.lows: list[int] = []  # where blocks begin, in order
        self.held = np.empty((4, 16))  # of each: from where to where, from when to when
        self.top = 0

    def fit(self, b: Lives) -> int | None:
        """The lowest place for a block, if there is one."""
        if b.size > self.size or b.start < self.start or b.stop > self.stop:
            return None
        low, high, start, stop = self.held[:, : len(self.lows)]
        met = np.flatnonzero((start < b.stop) & (stop > b.start))
        free = np.concatenate(([0.0], np.maximum.accumulate(high[met])))  # behind those that are met, and all before
        gaps = np.flatnonzero(low[met] - free[:-1] >= b.size)
        at = int(free[gaps[0] if gaps.size else -1])
        return at if at + b.size <= self.size else None

    def put(self, b: Lives, at: int) -> None:
        n, count = bisect.bisect(self.lows, at), len(self.lows)
        if count == self.held.shape[1]:
            self.held = np.concatenate((self.held, np.empty_like(self.held)), 1)
        self.held[:, n + 1 : count + 1] = self.held[:, n:count]
        self.held[:, n] = at, at + b.size, b.start, b.stop
        self.lows.insert(n, at)
        self.top = max(self.top, at + b.size)


def replay(events: Sequence[Any], steps: Sequence[int] = (), alone: bool = True) -> Found:
    """Where blocks lie. `steps`: how much memory each takes; `alone`: whether one call into native code is all that runs.

    Where it is, results hold blocks. Where there are calls in Python between, large blocks are arrays of their own, for as long as they are wanted.
    """
    blocks, results = lives(events, steps)
    spaces = {n: s for n, s in results.items() if alone and s.size >= SHARED and s.stop < math.inf}
    arena, at, own = Space(), dict[int, tuple[int, int]](), dict[int, int]()
    rest = []
    for b in sorted(blocks, key=lambda b: (-b.size, b.start)):
        if not alone and b.size >= APART:
            own[b.n] = b.size
            continue
        fits = [(s.size // b.size, s.stop, n, low) for n, s in spaces.items() if (low := s.fit(b)) is not None]
        if fits:  # of those that are hardly larger, the one that is made first: others may be free for longer
            _, _, n, place = min(fits)
            spaces[n].put(b, place)
            at[b.n] = n, place
        else:
            rest.append(b)
            lowest = arena.fit(b)
            assert lowest is not None
            arena.put(b, lowest)
            at[b.n] = -1, lowest
    other, top = in_order(rest)
    most = held(events, own) if own else sum(s.size for s in results.values() if not s.lent)
    large = [Place("own", n) for n in own] + [Place("out", n) for n, s in results.items() if s.size >= APART]
    if top < arena.top:
        at |= other
    size = min(top, arena.top)
    return Found(at, size, own, frozenset(large), size + int(most))


def lives(events: Sequence[Any], steps: Sequence[int]) -> tuple[list[Lives], dict[int, Space]]:
    """The blocks that take memory, and the results with the time in which these are free."""
    taken: dict[int, tuple[int, int]] = {}
    freed: dict[int, int] = {}
    results: dict[int, Space] = {}
    for now, (kind, n, *size) in enumerate(events):
        match kind:
            case "take":
                taken[n] = now, lines(size[0])
            case "step" if steps[size[0]]:
                taken[n] = now, lines(steps[size[0]])
            case "free":
                freed[n] = now
            case "open":
                results[n] = Space(size[0], now, lent=size[1])
            case "close" if n in results:
                results[n].stop = min(results[n].stop, now)
    return [Lives(n, size, start, freed.get(n, math.inf)) for n, (start, size) in taken.items()], results


def held(events: Sequence[Any], own: dict[int, int]) -> int:
    """The most bytes at one time of blocks apart and results that are there by then; what is lent goes back when it is opened."""
    now = most = 0
    sizes: dict[int, int] = {}
    for kind, n, *size in events:
        if kind == "open":
            sizes[n] = size[0]
            now -= size[0] if size[1] else 0
        elif kind == "close":
            now += sizes.pop(n, 0)
        elif n in own:
            now += -own[n] if kind == "free" else own[n]
        most = max(most, now)
    return most


def in_order(blocks: Sequence[Lives]) -> tuple[dict[int, tuple[int, int]], int]:
    """The same without results: each block, as it comes, in the smallest gap that holds it, or at the end."""
    memory, at = Memory(), dict[int, tuple[int, int]]()
    events = [(b.start, 1, b) for b in blocks] + [(b.stop, 0, b) for b in blocks if b.stop < math.inf]
    for _, begins, b in sorted(events, key=lambda e: e[:2]):
        if begins:
            at[b.n] = -1, memory.take(b.size)
        else:
            memory.free(at[b.n][1])
    return at, memory.top


def lines(size: int) -> int:
    """Whole lines of the cache."""
    return max(LINE, (size + LINE - 1) & -LINE)


class Memory:
    """Offsets, one after another: the smallest free gap that fits, or the end."""

    def __init__(self) -> None:
        self.top = 0
        self.used: dict[int, int] = {}
        self.gaps: list[tuple[int, int]] = []  # offset, size: in order

    def take(self, size: int) -> int:
        fits = [(n, at) for at, n in self.gaps if n >= size]
        if fits:
            n, at = min(fits)
            self.gaps.remove((at, n))
            if n > size:
                bisect.insort(self.gaps, (at + size, n - size))
        else:
            at = self.top
            if self.gaps and sum(self.gaps[-1]) == at:
                at = self.gaps.pop()[0]
            self.top = at + size
        self.used[at] = size
        return at

    def free(self, at: int) -> None:
        size = self.used.pop(at)
        n = bisect.bisect(self.gaps, (at,))
        if n < len(self.gaps) and self.gaps[n][0] == at + size:
            size += self.gaps.pop(n)[1]
        if n and sum(self.gaps[n - 1]) == at:
            at, before = self.gaps.pop(n - 1)
            size += before
        bisect.insort(self.gaps, (at, size))


__all__ = ["LINE", "Block", "Found", "Tape", "replay"]
