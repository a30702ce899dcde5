"""From Python to a kernel in a tenth of a microsecond: builtin functions, generated, that read arrays' structs.

A `Plan` is a kernel bound to one signature (the dtype, shape and strides of each argument): which addresses and numbers
go into which slots, how many chunks, what to allocate for the results. A `Table` is a function of arrays that finds the
plan of its arguments by hashing their signature, runs it and returns the results, or returns None: then the caller
makes a plan, adds it and calls again. Where a plan has gates, a call that one of them stops returns False: no launch after
it has run. `table.call` is a C function in CPython's fast-call convention, generated in `entry.py`; where the structs of CPython or NumPy are not as expected (checked once against arrays that are known), or
there is no llvmlite, the same class works in Python through ctypes.

Not here: what kernels compute, when they are worth it, and who cuts the chunks.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flambeau._backends.cpu.entry import ARG, CONST, FLOAT_ARG, GATE, INT_ARG, OUT, TABLE, TEMP, native_entry
from flambeau._backends.cpu.threads import pool

__all__ = ["ARG", "CONST", "GATE", "OUT", "TEMP", "Launch", "Plan", "Result", "Table", "bits", "planned", "run"]

COMES, MISSES, SPARSE = 3, 256, 16  # of `Table.again`
MAX_PLANS = 4096  # a table that has seen more signatures starts again, as do all tables together


@dataclass(frozen=True)
class Launch:
    """One kernel call: its address, chunks, scratch bytes per thread, and what goes into each slot. The address GATE is no
    kernel: where the byte that its one slot names is not 0, the call ends.

    A slot is (source, value) or (source, value, offset): a constant; the address of an argument's or a result's first
    element, or the bits of an argument that is a number; bytes into the temporary memory. The offset is added, in bytes.
    """

    address: int
    slots: tuple[tuple[int, ...], ...]
    chunks: int = 1
    scratch: int = 0


@dataclass(frozen=True)
class Result:
    """An array to allocate; strides in bytes, or None for C order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """What to do for one signature. `written` are the arguments that the launches write."""

    results: tuple[Result, ...]
    launches: tuple[Launch, ...]
    temp: int = 0  # bytes of memory shared by the launches
    release: bool = False  # give up the GIL: worth it from about 20 us of work
    written: tuple[int, ...] = ()
    keep: tuple[Any, ...] = field(default=(), compare=False)  # Code and whatever else must outlive the plan


def bits(value: float) -> int:
    """A slot holding a floating number."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def signature(args: Sequence[Any]) -> list[int] | None:
    """The words by which plans are found; None where an argument is of no kind that a plan takes."""
    words: list[int] = []
    for x in args:
        if type(x) is np.ndarray:
            flags = x.flags.aligned * 0x100 | x.flags.writeable * 0x400
            words += [id(x.dtype), x.ndim | flags << 16, *x.shape, *x.strides]
        elif type(x) is float:
            words.append(FLOAT_ARG)
        elif type(x) is int and -(1 << 63) <= x < 1 << 63:
            words.append(INT_ARG)
        else:
            return None
    return words


def mix(words: Sequence[int]) -> int:
    """The hash that the generated code computes: FNV-1a over 64-bit words, folded."""
    h = 0xCBF29CE484222325
    for w in words:
        h = ((h ^ (w & M64)) * 0x100000001B3) & M64
    return h ^ h >> 29


M64 = (1 << 64) - 1


def extent(x: Any) -> tuple[int, int]:
    """Bytes before and after its address that an array touches."""
    if not isinstance(x, np.ndarray) or x.size == 0:
        return 0, 0
    low = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if s > 0)
    return low, high + x.itemsize


class Table:
    """A function of arrays and Python numbers with one plan per signature; `call(*args)` is None where there is none."""

    def __init__(self, name: str = "kernel") -> None:
        self.name = name
        self.plans: dict[tuple[int, ...], Plan] = {}
        self.waiting: dict[tuple[int, ...], int] = {}  # how often signatures came in vain
        self.missed = 0
        self.retired: list[Any] = []
        entry = native_entry()
        if entry is None:
            self.call = self.slow
            return
        self.blocks: list[np.ndarray[Any, Any]] = []
        self.head = np.zeros(len(TABLE), np.int64)
        self.resize(16)
        self.call = entry.builtin(self.head.ctypes.data, self)

    def resize(self, n: int) -> None:
        """A power of two of buckets, each the address of a plan block or 0; linear probing."""
        self.retired.append(getattr(self, "buckets", None))
        self.buckets = np.zeros(n, np.int64)
        for block in self.blocks:
            self.place(block)
        self.head[0], self.head[1] = n - 1, self.buckets.ctypes.data

    def place(self, block: np.ndarray[Any, Any]) -> None:
        i = int(block[0]) & (len(self.buckets) - 1)
        while self.buckets[i]:
            i = (i + 1) & (len(self.buckets) - 1)
        self.buckets[i] = block.ctypes.data

    def add(self, args: Sequence[Any], plan: Plan) -> None:
        """From now on `call` with arguments like these runs the plan."""
        words = signature(args)
        if words is None:
            raise TypeError("a plan takes arrays, floats and 64-bit ints")
        if len(self.plans) >= MAX_PLANS:
            self.clear()
        if tuple(words) in self.plans:
            return
        self.plans[tuple(words)] = plan
        if self.call != self.slow:
            self.blocks.append(block_of(words, plan, [extent(x) for x in args]))
            if 2 * len(self.blocks) > len(self.buckets):
                self.resize(2 * len(self.buckets))
            else:
                self.place(self.blocks[-1])

    def again(self, args: Sequence[Any]) -> bool:
        """Whether arguments like these have come a few times without finding a plan. Where most never do, few are looked at."""
        self.missed += 1
        if self.missed > MISSES and self.missed % SPARSE:
            return False
        words = signature(args)
        if words is None:
            return False
        key = tuple(words)
        n = self.waiting.pop(key, 0) + 1
        if n < COMES:
            if len(self.waiting) >= MISSES:
                self.waiting.clear()
            self.waiting[key] = n
            return False
        self.missed = 0
        return True

    def clear(self) -> None:
        """Forgets every plan; memory that a running call may still read is kept until the next time."""
        self.retired = [self.plans, self.blocks] if self.call != self.slow and self.head[2] else []
        self.plans, self.blocks = {}, []
        if self.call != self.slow:
            self.resize(16)

    def slow(self, *args: Any) -> Any:
        """`call` in Python: the same contract, about 10 us more."""
        words = signature(args)
        plan = None if words is None else self.plans.get(tuple(words))
        if plan is None or overlapping(args, plan.written):
            return None
        outs = [empty(r) for r in plan.results]
        temp = np.empty(plan.temp + 64, np.uint8)
        start = (temp.ctypes.data + 63) & -64
        for launch in plan.launches:
            slots = (ctypes.c_int64 * max(1, len(launch.slots)))()
            for i, (source, value, *offset) in enumerate(launch.slots):
                if source == ARG:
                    x = args[value]
                    value = x.ctypes.data if isinstance(x, np.ndarray) else bits(x) if type(x) is float else x
                elif source == OUT:
                    value = outs[value].ctypes.data
                elif source == TEMP:
                    value += start
                slots[i] = value + sum(offset)
            if launch.address != GATE:
                run(launch, slots)
            elif ctypes.c_uint8.from_address(slots[0]).value:
                return False
        return True if not outs else outs[0] if len(outs) == 1 else tuple(outs)


_tables: dict[Any, Table] = {}


def planned(key: tuple[Any, ...], args: Sequence[Any], make: Callable[[], Plan | None], patient: bool = False) -> Any:
    """What the plan for these arguments yields, made at the first call; None where there is none.

    The key is the name of a table, and what a plan depends on beside the signature of its arguments. `patient`: the work
    is small, and a plan is made only where the same sizes come again.
    """
    table = _tables.get(key)
    if table is None:
        if len(_tables) >= MAX_PLANS:
            _tables.clear()
        table = _tables[key] = Table(key[0])
    found = table.call(*args)
    if found is None:
        if patient and not table.again(args):
            return None
        plan = make()
        if plan is None:
            return None
        table.add(args, plan)
        found = table.call(*args)
    return found


def run(launch: Launch, slots: Any) -> None:
    """Every chunk of a launch, on the pool where there is one."""
    pool().parallel(launch.address, ctypes.addressof(slots), launch.chunks, launch.scratch)


def empty(r: Result) -> np.ndarray[Any, Any]:
    if r.strides is None:
        return np.empty(r.shape, r.dtype)
    return np.ndarray(r.shape, r.dtype, np.empty(int(np.prod(r.shape)) * r.dtype.itemsize, np.uint8), 0, r.strides)


def overlapping(args: Sequence[Any], written: Sequence[int]) -> bool:
    """Whether a written argument shares memory with another one in any way but being the very same view."""
    spans = [
        (x.ctypes.data + extent(x)[0], x.ctypes.data + extent(x)[1]) if isinstance(x, np.ndarray) else (0, 0)
        for x in args
    ]
    for i in written:
        for j, (low, high) in enumerate(spans):
            if j != i and low < spans[i][1] and spans[i][0] < high:
                same = args[i].ctypes.data == args[j].ctypes.data and args[i].strides == args[j].strides
                if not (same and args[i].shape == args[j].shape and args[i].dtype == args[j].dtype):
                    return True
    return False


def block_of(words: list[int], plan: Plan, extents: list[tuple[int, int]]) -> np.ndarray[Any, Any]:
    """The plan as the generated code reads it: header, signature, extents, results, launches."""
    written = sum(1 << i for i in plan.written)
    slots = max([1, *(len(x.slots) for x in plan.launches)])
    body: list[int] = [*words]
    body += [w for e in extents for w in e]
    for r in plan.results:
        strides = r.strides if r.strides is not None else c_strides(r)
        body += [id(r.dtype), len(r.shape), *r.shape, *strides]
    for x in plan.launches:
        body += [x.address, x.chunks, x.scratch, len(x.slots), *(w for slot in x.slots for w in (*slot, 0)[:3])]
    head = [
        mix(words),
        len(extents),
        len(words),
        len(plan.results),
        len(plan.launches),
        int(plan.release),
        plan.temp,
        slots,
        written,
    ]
    return np.array([w & M64 for w in head + body], np.uint64).view(np.int64)


def c_strides(r: Result) -> tuple[int, ...]:
    strides, n = [], r.dtype.itemsize
    for size in reversed(r.shape):
        strides.append(n)
        n *= max(size, 1)
    return tuple(reversed(strides))
