"""Sorting along a dim: keys that compare as unsigned integers, ordered by counting.

An element becomes a key of as many bits: floats with their sign turned so that integers order them (every NaN the largest,
both zeros one key), and all bits inverted for a falling order, so that equal elements stay in their order either way. A row
of keys is ordered into entries (key, position):

- up to `RANK` keys by counting, for each, the keys that go before it: vector compares without a branch;
- above by radix, the least significant byte first; a byte that is the same everywhere is passed over;
- a few very long rows in parts of `PART` over threads, byte by byte: each part counts, the counts are summed in order, each
  part moves its entries.

Values are copied from where positions point. The first few of a row, which need no whole order, are found in `topk`.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.emit import APART, Function, Module, V, Words, lanes, suffix, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import Array
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, planned
from flambeau._values.dtype import BY_NAME

RANK = 128  # keys up to which counting wins
PART = 1 << 16  # keys of a part of a long row
LONG, FEW = 1 << 17, 8  # rows at least this long, and fewer than that many, are sorted in parts
GRAIN = 1 << 13  # keys of a chunk of short rows
INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000, "float64": 0x7FF0000000000000}
BYTES = 256


class Keys:
    """How a dtype is ordered: its bits, those of its keys (32 or 64) and of what moves (an entry)."""

    def __init__(self, target: Target, dtype: str) -> None:
        d = np.dtype(dtype) if dtype != "bfloat16" else None
        self.bits = 8 * d.itemsize if d is not None else 16
        self.infinity = INFINITY.get(dtype)
        self.signed = d is not None and d.kind == "i"
        self.item, self.key = f"i{self.bits}", f"i{max(32, self.bits)}"
        self.wide = self.bits == 64
        self.entry = "<2 x i64>" if self.wide else "i64"  # key and position; or the two in the halves of one word
        self.size = 16 if self.wide else 8
        self.lanes = max(4, target.vector_bytes // (8 if self.wide else 4))
        self.digits = self.bits // 8

    def of(self, f: Function, x: V, flip: V) -> V:
        """Keys of elements read as integers; `flip` is all ones for a falling order, else 0."""
        n = lanes(x.type)
        sign = -(1 << (self.bits - 1))
        if self.infinity is not None:
            size = x & (-sign - 1)
            nan = f.emit(vector("i1", n), f"icmp ugt {size}, {f.value(self.infinity, x.type).name}")
            x = f.select(size == 0, 0, x)
            x = x ^ (f.emit(x.type, f"ashr {x}, {f.value(self.bits - 1, x.type).name}") | sign)
            x = f.select(nan, -1, x)
        elif self.signed:
            x = x ^ sign
        x = x if x.type == vector(self.key, n) else f.convert("zext", x, vector(self.key, n))
        if self.bits < 32:  # inverted within its own bits
            flip = flip & ((1 << self.bits) - 1)
        return x ^ f.splat(flip, n)

    def pack(self, f: Function, key: V, place: V) -> V:
        if self.wide:
            one = f.emit(self.entry, f"insertelement {self.entry} poison, {key}, i64 0")
            return f.emit(self.entry, f"insertelement {one}, {place}, i64 1")
        return f.convert("zext", key, "i64") << 32 | place

    def place(self, f: Function, entry: V) -> V:
        return f.emit("i64", f"extractelement {entry}, i64 1") if self.wide else entry & 0xFFFFFFFF

    def whole(self, f: Function, entry: V) -> V:
        """The key of an entry, as a 64-bit word."""
        return f.emit("i64", f"extractelement {entry}, i64 0") if self.wide else entry >> 32

    def digit(self, f: Function, entry: V, d: int) -> V:
        word = self.whole(f, entry) if self.wide else entry
        return word >> (8 * d + (0 if self.wide else 32)) & (BYTES - 1)


def loader(m: Module, s: Keys) -> None:
    """Defines load(x, stride, n, flip, keys): a row's keys, one after the other."""
    f = m.function(f"internal void load(ptr x, i64 stride, i64 n, {s.key} flip, ptr noalias keys)", APART)
    x, stride, n, flip, keys = f.params
    start = f.var("i64", 0)
    with f.when(stride == 1):
        whole = n - n % s.lanes
        with f.loop(0, whole, s.lanes) as j:
            f.store(s.of(f, f.load(vector(s.item, s.lanes), f.gep(s.item, x, j)), flip), keys, j)
        start.set(whole)
    with f.loop(start.get(), n) as j:
        f.store(s.of(f, f.load(s.item, f.gep(s.item, x, j * stride)), flip), keys, j)


def ranker(m: Module, s: Keys) -> None:
    """Defines rank(keys, n, to): entries of few keys in order. Keys past n, up to whole vectors, are made the largest."""
    f = m.function("internal void rank(ptr keys, i64 n, ptr noalias to)", APART)
    keys, n, to = f.params
    wide, bit = vector(s.key, s.lanes), vector("i1", s.lanes)
    padded = (n + (s.lanes - 1)) & -s.lanes
    with f.loop(n, padded) as j:
        f.store(f.value(-1, s.key), keys, j)
    step = V(f, wide, "<" + ", ".join(f"{s.key} {i}" for i in range(s.lanes)) + ">")
    with f.loop(0, n) as i:
        mine = f.splat(f.load(s.key, keys, i), s.lanes)
        count = f.var(wide, 0)
        own = i & -s.lanes

        def add(test: V, count: Any = count) -> None:
            count.set(count.get() - f.convert("sext", test, wide))

        with f.loop(0, own, s.lanes) as j:
            add(f.emit(bit, f"icmp ule {f.load(wide, keys, j)}, {mine.name}"))
        here = f.load(wide, keys, own)
        at = i - own if s.wide else f.convert("trunc", i - own, s.key)
        before = step < f.splat(at, s.lanes)
        less = f.emit(bit, f"icmp ult {here}, {mine.name}")
        add(less | ((here == mine) & before))
        with f.loop(own + s.lanes, padded, s.lanes) as j:
            add(f.emit(bit, f"icmp ult {f.load(wide, keys, j)}, {mine.name}"))
        total = f.call(s.key, f"llvm.vector.reduce.add.{suffix(wide)}", count.get())
        total = total if s.wide else f.convert("zext", total, "i64")
        f.store(s.pack(f, f.load(s.key, keys, i), i), f.gep(s.entry, to, total), align=8)


def orderer(m: Module, s: Keys) -> None:
    """Defines order(keys, n, a, b, counts) -> ptr: entries of a row in order, in one of the buffers a and b."""
    loader(m, s)
    ranker(m, s)
    f = m.function("internal ptr order(ptr keys, i64 n, ptr noalias a, ptr noalias b, ptr noalias counts)", APART)
    keys, n, a, b, counts = f.params
    with f.when(n <= RANK):
        f.call("void", "rank", keys, n, a)
        f.ret(a)
    with f.loop(0, s.digits * BYTES, 8) as i:
        f.store(f.value(0, "<8 x i32>"), counts, i)
    tables = [f.gep("i32", counts, d * BYTES) for d in range(s.digits)]
    with f.loop(0, n) as j:
        e = s.pack(f, f.load(s.key, keys, j), j)
        f.store(e, f.gep(s.entry, a, j), align=8)
        for d, table in enumerate(tables):
            p = f.gep("i32", table, s.digit(f, e, d))
            f.store(f.load("i32", p) + 1, p)
    now, other = f.var("ptr", a), f.var("ptr", b)
    total = f.convert("trunc", n, "i32")
    first = f.load(s.entry, a, align=8)
    for d, table in enumerate(tables):
        alike = f.load("i32", f.gep("i32", table, s.digit(f, first, d))) == total
        with f.either(alike) as otherwise:
            otherwise()
            sum_ = f.var("i32", 0)
            with f.loop(0, BYTES) as i:
                c = f.load("i32", table, i)
                f.store(sum_.get(), table, i)
                sum_.set(sum_.get() + c)
            src, to = now.get(), other.get()
            with f.loop(0, n) as j:
                e = f.load(s.entry, f.gep(s.entry, src, j), align=8)
                p = f.gep("i32", table, s.digit(f, e, d))
                at = f.load("i32", p)
                f.store(at + 1, p)
                f.store(e, f.gep(s.entry, to, f.convert("zext", at, "i64")), align=8)
            now.set(to)
            other.set(src)
    f.ret(now.get())


def flipped(f: Function, s: Keys, w: Words) -> V:
    return w["flip"] if s.wide else f.convert("trunc", w["flip"], s.key)


def row(f: Function, item: str, p: V, r: V, n: V, q: V) -> V:
    """The start of a row of (p, n, q)."""
    return f.gep(item, p, r // q * (n * q) + r % q)


def write_row(f: Function, s: Keys, values: V, indices: V, x: V, q: V, j: V, place: V) -> None:
    """The j-th element of a result: the one that stood at a place."""
    f.store(f.load(s.item, f.gep(s.item, x, place * q)), f.gep(s.item, values, j * q))
    f.store(place, f.gep("i64", indices, j * q))


def scratch_of(s: Keys, n: int) -> int:
    """Bytes of keys, two buffers of entries and counts for rows of n."""
    return (n + 2 * s.lanes) * (8 if s.wide else 4) + 64 + 2 * (n + 1) * s.size + 4 * BYTES * s.digits + 128


def buffers(f: Function, s: Keys, scratch: V, n: V) -> tuple[V, V, V, V]:
    """(counts, keys, entries, entries) in scratch memory."""
    keys = scratch + 4 * BYTES * s.digits
    a = keys + ((n + 2 * s.lanes) * (8 if s.wide else 4) + 63 & -64)
    return scratch, keys, a, f.gep(s.entry, a, n + 1)


def sort_text(target: Target, dtype: str) -> Module:
    """IR of `k`, whose chunks are blocks of rows, and of the kernels that sort long rows in parts."""
    s = Keys(target, dtype)
    m = Module(f"sort {dtype}")
    orderer(m, s)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, scratch = f.params
    w = Words(f, "values indices x", "n q rows block flip")
    n, q = w["n"], w["q"]
    counts, keys, a, b = buffers(f, s, scratch, n)
    with f.loop(begin * w["block"], f.min(end * w["block"], w["rows"])) as r:
        x = row(f, s.item, w["x"], r, n, q)
        f.call("void", "load", x, q, n, flipped(f, s, w), keys)
        found = f.call("ptr", "order", keys, n, a, b, counts)
        values, indices = row(f, s.item, w["values"], r, n, q), row(f, "i64", w["indices"], r, n, q)
        with f.loop(0, n) as j:
            e = f.load(s.entry, f.gep(s.entry, found, j), align=8)
            write_row(f, s, values, indices, x, q, j, s.place(f, e))
    parts_text(m, s)
    return m


def parts_text(m: Module, s: Keys) -> None:
    """Defines fill, count_<d>, sum_<d>, move_<d> and finish: the steps of sorting rows in parts.

    Both buffers hold all rows. state[row, d] says which of them holds the row before byte d is looked at.
    """
    names = ("values indices x a b table state", "n q parts flip")

    def begin(name: str) -> tuple[Function, Words]:
        f = m.function(f"void {name}(ptr args, i64 begin, i64 end, ptr scratch)")
        return f, Words(f, *names)

    def span(f: Function, w: Words, chunk: V) -> tuple[V, V, V]:
        """(row, first, last) of a part."""
        first = chunk % w["parts"] * PART
        return chunk // w["parts"], first, f.min(first + PART, w["n"])

    def current(f: Function, w: Words, r: V, d: int) -> tuple[V, V]:
        """The buffers of a row before byte d: where it is, and the other."""
        second = f.load("i64", w["state"], r * (s.digits + 1) + d) != 0
        a, b = (f.gep(s.entry, w[x], r * w["n"]) for x in "ab")
        return f.select(second, b, a), f.select(second, a, b)

    f, w = begin("fill")
    with f.loop(f.params[1], f.params[2]) as chunk:
        r, first, last = span(f, w, chunk)
        x, to = row(f, s.item, w["x"], r, w["n"], w["q"]), f.gep(s.entry, w["a"], r * w["n"])
        f.store(f.value(0, "i64"), w["state"], r * (s.digits + 1))
        flip = flipped(f, s, w)
        with f.loop(first, last) as j:
            key = s.of(f, f.load(s.item, f.gep(s.item, x, j * w["q"])), flip)
            f.store(s.pack(f, key, j), f.gep(s.entry, to, j), align=8)
    for d in range(s.digits):
        f, w = begin(f"count_{d}")
        with f.loop(f.params[1], f.params[2]) as chunk:
            r, first, last = span(f, w, chunk)
            src, _ = current(f, w, r, d)
            table = f.gep("i64", w["table"], chunk * BYTES)
            with f.loop(0, BYTES) as i:
                f.store(f.value(0, "i64"), table, i)
            with f.loop(first, last) as j:
                p = f.gep("i64", table, s.digit(f, f.load(s.entry, f.gep(s.entry, src, j), align=8), d))
                f.store(f.load("i64", p) + 1, p)
        f, w = begin(f"sum_{d}")
        with f.loop(f.params[1], f.params[2]) as r:
            total, alike = f.var("i64", 0), f.var("i64", 0)
            with f.loop(0, BYTES) as i:
                start = total.get()
                with f.loop(0, w["parts"]) as part:
                    p = f.gep("i64", w["table"], (r * w["parts"] + part) * BYTES + i)
                    c = f.load("i64", p)
                    f.store(total.get(), p)
                    total.set(total.get() + c)
                with f.when(total.get() - start == w["n"]):
                    alike.set(1)
            at = f.gep("i64", w["state"], r * (s.digits + 1) + d)
            f.store(f.load("i64", at) ^ 1 ^ alike.get(), at, 1)
        f, w = begin(f"move_{d}")
        with f.loop(f.params[1], f.params[2]) as chunk:
            r, first, last = span(f, w, chunk)
            src, to = current(f, w, r, d)
            at = f.gep("i64", w["state"], r * (s.digits + 1) + d)
            with f.when(f.load("i64", at) != f.load("i64", at, 1)):
                table = f.gep("i64", w["table"], chunk * BYTES)
                with f.loop(first, last) as j:
                    e = f.load(s.entry, f.gep(s.entry, src, j), align=8)
                    p = f.gep("i64", table, s.digit(f, e, d))
                    place = f.load("i64", p)
                    f.store(place + 1, p)
                    f.store(e, f.gep(s.entry, to, place), align=8)
    f, w = begin("finish")
    with f.loop(f.params[1], f.params[2]) as chunk:
        r, first, last = span(f, w, chunk)
        src, _ = current(f, w, r, s.digits)
        n, q = w["n"], w["q"]
        x, values = row(f, s.item, w["x"], r, n, q), row(f, s.item, w["values"], r, n, q)
        indices = row(f, "i64", w["indices"], r, n, q)
        with f.loop(first, last) as j:
            e = f.load(s.entry, f.gep(s.entry, src, j), align=8)
            write_row(f, s, values, indices, x, q, j, s.place(f, e))


@cache
def sort_kernel(dtype: str) -> Code:
    native = engine()
    steps = [f"{step}_{d}" for step in ("count", "sum", "move") for d in range(Keys(native.target, dtype).digits)]
    parts = [("kernel", "sort"), ("dtype", dtype)]
    return native.load(lambda: str(sort_text(native.target, dtype)), ["k", "fill", "finish", *steps], parts=parts)


# -- plans --------------------------------------------------------------------------------------------------------------

INT64 = np.dtype(np.int64)
NAMES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", *INFINITY)
KINDS = frozenset(BY_NAME[name].np for name in NAMES)


def sort_plan(x: Array, dim: int, descending: bool) -> Plan:
    """The plan of (values, indices) of a contiguous array."""
    dtype = x.dtype.name
    n, q = x.shape[dim], prod(x.shape[dim + 1 :])
    rows = x.size // n
    s, code = Keys(engine().target, dtype), sort_kernel(dtype)
    flip = -1 if descending else 0
    results = (Result(x.dtype, x.shape), Result(INT64, x.shape))
    if n >= LONG and rows < FEW:
        parts = -(-n // PART)
        a, entries = 0, x.size * s.size
        offsets = [a, a + entries, a + 2 * entries]
        state = offsets[2] + rows * parts * BYTES * 8
        slots = ((OUT, 0), (OUT, 1), (ARG, 0), *((TEMP, o) for o in (*offsets, state)))
        slots = (*slots, (CONST, n), (CONST, q), (CONST, parts), (CONST, flip))
        steps = [Launch(code["fill"], slots, rows * parts)]
        for d in range(s.digits):
            steps += [
                Launch(code[f"count_{d}"], slots, rows * parts),
                Launch(code[f"sum_{d}"], slots, rows),
                Launch(code[f"move_{d}"], slots, rows * parts),
            ]
        steps.append(Launch(code["finish"], slots, rows * parts))
        temp = state + rows * (s.digits + 1) * 8
        return Plan(results, tuple(steps), temp=temp, release=True, keep=(code,))
    block = max(1, GRAIN // n)
    slots = ((OUT, 0), (OUT, 1), (ARG, 0), *((CONST, v) for v in (n, q, rows, block, flip)))
    work = Launch(code["k"], slots, -(-rows // block), scratch_of(s, n))
    return Plan(results, (work,), release=x.size >= GRAIN, keep=(code,))


def sort(x: Array, dim: int, descending: bool, small: bool = False) -> tuple[Array, Array] | None:
    """(values, indices), or None where the array library should do it."""
    if x.dtype not in KINDS or not x.size or x.shape[dim] >= 1 << 32:
        return None
    x = np.ascontiguousarray(x)
    return planned(("sort", dim, descending), (x,), lambda: sort_plan(x, dim, descending), small)
