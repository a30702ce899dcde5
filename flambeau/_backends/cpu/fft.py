"""Fourier transforms of many rows or columns at once: each lane of a vector holds one of them.

A chunk takes as many transforms as a vector has lanes, lays them side by side (rows are transposed in registers, columns
are so already), runs Stockham's passes over pairs of vectors (real parts, imaginary parts), and lays the result out
again. Passes of radix 8, 4, 2, 3, 5 and 7 need no shuffles; twiddle factors are one number for all lanes. An inverse
transform exchanges real and imaginary parts on the way in and out. Real numbers are transformed as half as many complex
ones, then taken apart; where their number is odd, as complex ones.

Rows of many numbers are done one at a time (fft_row.py); fft_plan.py says which. Not here: long transforms, which SciPy does.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.emit import APART, WIDTH, Function, Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import Array
from flambeau._backends.cpu.registers import transpose

RADICES = (8, 4, 2, 3, 5, 7)
ROWS, COLUMNS = 0, 1
PAGE = 4096  # a load waits for a store before it that differs by a multiple of this: buffers lie half of it apart
LAST = 8  # the radix of the last pass where it is done together with the one before, which has one of these:
BEFORE = (8, 4)
RUN = 4  # vectors of a row written one after the other
Pair = tuple[V, V]

SLOTS = (
    *("out", "in", "factors", "twiddles", "halves"),
    *("n", "count", "inner", "blocks"),  # points of the complex transform, its passes, transforms side by side
    *("outer", "far"),
    *("in_mode", "in_outer", "in_stride", "in_columns", "in_step", "in_flip", "in_reals"),
    *("out_mode", "out_outer", "out_stride", "out_columns", "out_step", "out_flip", "out_reals"),
    "apart",  # the table of halves where the last two passes also split, or 0
    "tail",  # the radix of the last pass but one where it is done with the last, which is not counted then; or 0
    *("enter", "leave"),  # 1 where the first or the last pass does more
    *("join", "unfold", "split", "mirror"),  # 0, or the number of points that the step is about
    "scale",
)


# -- butterflies --------------------------------------------------------------------------------------------------------


def add(a: Pair, b: Pair) -> Pair:
    return a[0] + b[0], a[1] + b[1]


def sub(a: Pair, b: Pair) -> Pair:
    return a[0] - b[0], a[1] - b[1]


def turn(a: Pair) -> Pair:
    """a times -i."""
    return a[1], 0.0 - a[0]


def times(f: Function, a: Pair, w: Pair) -> Pair:
    """a times w: (a0 w0 - a1 w1, a0 w1 + a1 w0)."""
    negative = f.emit(a[1].type, f"fneg {a[1]}")
    return f.fma(negative, w[1], a[0] * w[0]), f.fma(a[0], w[1], a[1] * w[0])


def four(a: Sequence[Pair]) -> list[Pair]:
    s, t, u, v = add(a[0], a[2]), add(a[1], a[3]), sub(a[0], a[2]), sub(a[1], a[3])
    x, y = (u[0] + v[1], u[1] - v[0]), (u[0] - v[1], u[1] + v[0])
    return [add(s, t), x, sub(s, t), y]


def butterfly(f: Function, r: int, a: Sequence[Pair]) -> list[Pair]:
    """The transform of r numbers."""
    if r == 2:
        return [add(a[0], a[1]), sub(a[0], a[1])]
    if r == 4:
        return four(a)
    if r == 8:
        even, odd = four(a[0::2]), four(a[1::2])
        h = math.sqrt(0.5)
        b, d = odd[1], odd[3]
        odd[1] = ((b[0] + b[1]) * h, (b[1] - b[0]) * h)
        odd[2] = (odd[2][1], f.emit(odd[2][0].type, f"fneg {odd[2][0]}"))
        odd[3] = ((d[1] - d[0]) * h, (d[0] + d[1]) * -h)
        return [add(x, y) for x, y in zip(even, odd)] + [sub(x, y) for x, y in zip(even, odd)]
    if r == 16:
        columns = [four(a[t::4]) for t in range(4)]
        for t in range(1, 4):
            for u in range(1, 4):
                angle = 2 * math.pi * t * u / 16
                kind = columns[t][u][0].type
                w = f.value(math.cos(angle), kind), f.value(-math.sin(angle), kind)
                columns[t][u] = turn(columns[t][u]) if t * u == 4 else times(f, columns[t][u], w)
        rows = [four([c[u] for c in columns]) for u in range(4)]
        return [rows[k % 4][k // 4] for k in range(16)]
    half = (r - 1) // 2
    sums = [add(a[t], a[r - t]) for t in range(1, half + 1)]
    differences = [sub(a[t], a[r - t]) for t in range(1, half + 1)]
    total = a[0]
    for s in sums:
        total = add(total, s)
    out: list[Any] = [total] + [None] * (r - 1)
    for u in range(1, half + 1):
        c: Pair = a[0]
        d = None
        for t in range(1, half + 1):
            angle = 2 * math.pi * (t * u % r) / r
            s, e = sums[t - 1], differences[t - 1]
            cosine, sine = (f.value(v, s[0].type) for v in (math.cos(angle), math.sin(angle)))
            c = f.fma(s[0], cosine, c[0]), f.fma(s[1], cosine, c[1])
            d = (e[0] * sine, e[1] * sine) if d is None else (f.fma(e[0], sine, d[0]), f.fma(e[1], sine, d[1]))
        assert d is not None
        out[u], out[r - u] = (c[0] + d[1], c[1] - d[0]), (c[0] - d[1], c[1] + d[0])
    return out


class Lanes:
    """The real type and the number of lanes; complex numbers of all lanes lie in memory as two vectors."""

    def __init__(self, target: Target, real: str, lanes: int | None = None) -> None:
        self.real, self.n = real, lanes or target.vector_bytes // WIDTH[real]
        self.wide = vector(real, self.n)
        self.bytes = size(self.wide)

    def at(self, f: Function, p: V, i: V | int) -> V:
        return f.gep(self.real, p, i * (2 * self.n))

    def load(self, f: Function, p: V, i: V | int) -> Pair:
        at = self.at(f, p, i)
        return f.load(self.wide, at, align=self.bytes), f.load(
            self.wide, f.gep(self.real, at, self.n), align=self.bytes
        )

    def store(self, f: Function, x: Pair, p: V, i: V | int) -> None:
        at = self.at(f, p, i)
        f.store(x[0], at, align=self.bytes)
        f.store(x[1], f.gep(self.real, at, self.n), align=self.bytes)

    def number(self, f: Function, p: V, i: V) -> Pair:
        """A complex number from a table, for all lanes."""
        at = f.gep(self.real, p, i * 2)
        return f.splat(f.load(self.real, at), self.n), f.splat(f.load(self.real, at, 1), self.n)


def stockham(m: Module, v: Lanes, r: int, twiddled: bool, read: Lanes | None = None, prefix: str = "") -> None:
    """Defines pass_<r>(x, y, m, s, tw): one pass over x, of s interleaved transforms of r m points, into y.

    `last_<r>` is the last pass, where m is 1 and so are all twiddle factors; y may be x. `read`: how x lies, where it is no
    buffer of this kernel.
    """
    name, read = prefix + ("pass" if twiddled else "last"), read or v
    f = m.function(f"internal void {name}_{r}(ptr x, ptr y, i64 m, i64 s, ptr tw)", APART)
    x, y, points, s, tw = f.params
    with f.loop(0, points) as p:
        src, to = v.at(f, x, p * s), v.at(f, y, p * s * r)
        with f.loop(0, s) as q:
            found = butterfly(f, r, [read.load(f, src, q + s * points * t) for t in range(r)])
            for u, z in enumerate(found):
                if twiddled and u:
                    z = times(f, z, v.number(f, tw, p * (r - 1) + (u - 1)))
                v.store(f, z, to, q + s * u)


def enter(m: Module, v: Lanes, r: int) -> None:
    """Defines enter(src, stride, rows, y, m, flip, tw): `rows_in` and the first pass, of radix r, at once."""
    f = m.function("internal void enter(ptr src, i64 stride, i64 rows, ptr y, i64 m, i64 flip, ptr tw)", APART)
    src, stride, rows, y, points, flip, tw = f.params
    last = rows - 1
    at = [f.gep(v.real, src, f.min(f.value(i, "i64"), last) * stride) for i in range(v.n)]
    near = f.alloca(v.wide, r * v.n, align=64)
    half = v.n // 2  # complex numbers of a block
    with f.loop(0, points, half) as first:
        with f.loop(0, r) as t:
            j = (first + points * t) * 2
            lines = transpose(f, [f.load(v.wide, f.gep(v.real, p, j)) for p in at])
            for i, line in enumerate(lines):
                f.store(line, f.gep(v.real, near, ((t * v.n + i) ^ flip) * v.n), align=v.bytes)
        with f.loop(0, half) as i:
            p = first + i
            found = butterfly(f, r, [v.load(f, near, i + t * half) for t in range(r)])
            to = v.at(f, y, p * r)
            for u, z in enumerate(found):
                v.store(f, times(f, z, v.number(f, tw, p * (r - 1) + (u - 1))) if u else z, to, u)


def leave(m: Module, v: Lanes, r: int) -> None:
    """Defines leave(x, s, w): the last pass, of radix r and s interleaved transforms, and `split` at once, in place."""
    f = m.function("internal void leave(ptr x, i64 s, ptr w)", APART)
    x, s, w = f.params

    def column(q: V | int) -> list[Pair]:
        return butterfly(f, r, [v.load(f, x, s * t + q) for t in range(r)])

    def pair(a: Pair, b: Pair, k: V) -> None:
        for z, at in zip(apart(f, a, b, v.number(f, w, k)), (k, s * r - k), strict=True):
            v.store(f, z, x, at)

    found = column(0)
    for u in range(r // 2 + 1):
        pair(found[u], found[-u % r], s * u)
    with f.when((s & 1) == 0):
        found = column(s >> 1)
        for u in range(r // 2):
            pair(found[u], found[r - 1 - u], s * u + (s >> 1))
    with f.loop(1, (s + 1) >> 1) as q:
        here, there = column(q), column(s - q)
        for u in range(r):
            pair(here[u], there[r - 1 - u], s * u + q)


def tail(m: Module, v: Lanes, r: int) -> None:
    """Defines tail_<r>(x, s, w, tw): the last two passes, of radices r and 8, at once, in place.

    The s interleaved transforms of 8 r points that are left are done one after the other, each between the passes in memory
    that stays in the first-level cache: it is read whole before its places are written. If there is a w it does `split`, too,
    and transform q is done together with s - q, whose points it meets.
    """
    f = m.function(f"internal void head_{r}(ptr x, ptr near, i64 s, ptr tw, i64 q)", APART)
    x, near, s, tw, q = f.params
    with f.loop(0, LAST) as p:
        found = butterfly(f, r, [v.load(f, x, (p + LAST * t) * s + q) for t in range(r)])
        for u, z in enumerate(found):
            v.store(f, times(f, z, v.number(f, tw, p * (r - 1) + (u - 1))) if u else z, near, p * r + u)

    f = m.function(f"internal void tail_{r}(ptr x, i64 s, ptr w, ptr tw)", APART)
    x, s, w, tw = f.params
    nears = [f.alloca(v.wide, 2 * LAST * r, align=64) for _ in range(2)]

    def head(q: V | int, side: int) -> V:
        f.call("void", f"head_{r}", x, nears[side], s, tw, f.value(q, "i64"))
        return nears[side]

    def column(near: V, u: V | int) -> list[Pair]:
        return butterfly(f, LAST, [v.load(f, near, u + r * t) for t in range(LAST)])

    def pair(a: Pair, b: Pair, k: V) -> None:
        for z, at in zip(apart(f, a, b, v.number(f, w, k)), (k, s * (r * LAST) - k), strict=True):
            v.store(f, z, x, at)

    def meet(here: V, u: V | int, there: V, other: V | int, q: V) -> None:
        """Column u of one transform and the one of another that it meets; q is its place among the s r columns."""
        a, b = column(here, u), column(there, other)
        for i in range(LAST):
            pair(a[i], b[LAST - 1 - i], s * (r * i) + q)

    with f.when(f.convert("ptrtoint", w, "i64") == 0):
        with f.loop(0, s) as q:
            near = head(q, 0)
            with f.loop(0, r) as u:
                for i, z in enumerate(column(near, u)):
                    v.store(f, z, x, s * (r * i) + s * u + q)
        f.ret()
    near = head(0, 0)
    own = column(near, 0)
    for i in range(LAST // 2 + 1):
        pair(own[i], own[-i % LAST], s * (r * i))
    own = column(near, r // 2)
    for i in range(LAST // 2):
        pair(own[i], own[LAST - 1 - i], s * (r * i) + s * (r // 2))
    with f.loop(1, r // 2) as u:
        meet(near, u, near, r - u, s * u)
    with f.when((s & 1) == 0):
        near = head(s >> 1, 0)
        with f.loop(0, r // 2) as u:
            meet(near, u, near, (r - 1) - u, s * u + (s >> 1))
    with f.loop(1, (s + 1) >> 1) as q:
        here, there = head(q, 0), head(s - q, 1)
        with f.loop(0, r) as u:
            meet(here, u, there, (r - 1) - u, s * u + q)


def apart(f: Function, z: Pair, other: Pair, w: Pair) -> tuple[Pair, Pair]:
    """Points k and h - k of 2h real numbers, from those of the h complex numbers made of them."""
    (a, b), (c, d) = z, other
    even = ((a + c) * 0.5, (b - d) * 0.5)
    odd = times(f, ((b + d) * 0.5, (c - a) * 0.5), w)
    return add(even, odd), (even[0] - odd[0], odd[1] - even[1])


# -- laying out ---------------------------------------------------------------------------------------------------------


def rows_in(m: Module, v: Lanes) -> None:
    """Defines rows_in(src, stride, rows, columns, to, step, flip): rows of reals side by side.

    Column j goes to vector j * step, with its lowest bit turned by `flip`.
    """
    f = m.function(
        "internal void rows_in(ptr src, i64 stride, i64 rows, i64 columns, ptr to, i64 step, i64 flip)", APART
    )
    src, stride, rows, columns, to, step, flip = f.params
    last = rows - 1
    at = [f.gep(v.real, src, f.min(f.value(i, "i64"), last) * stride) for i in range(v.n)]
    whole = columns & -v.n

    def block(j: V, read: Callable[[V], V], count: V | None) -> None:
        for i, column in enumerate(transpose(f, [read(p) for p in at])):
            place = f.gep(v.real, to, ((j + i) * step ^ flip) * v.n)
            if count is None:
                f.store(column, place, align=v.bytes)
            else:
                with f.when(count > i):
                    f.store(column, place, align=v.bytes)

    with f.loop(0, whole, v.n) as j:
        block(j, lambda p: f.load(v.wide, f.gep(v.real, p, j)), None)
    with f.when(whole < columns):
        mask = f.lane_mask(v.n, columns - whole)
        block(whole, lambda p: f.mload(v.wide, f.gep(v.real, p, whole), mask), columns - whole)


def rows_out(m: Module, v: Lanes) -> None:
    """Defines rows_out(to, stride, rows, columns, src, step, flip, scale): the way back of `rows_in`."""
    f = m.function(
        f"internal void rows_out(ptr to, i64 stride, i64 rows, i64 columns, ptr src, i64 step, i64 flip, {v.real} scale)",
        APART,
    )
    to, stride, rows, columns, src, step, flip, scale = f.params
    scales = f.splat(scale, v.n)
    whole = columns & -v.n
    far = columns & -RUN * v.n
    near = f.alloca(v.wide, RUN * v.n, align=64)  # rows of RUN vectors

    def block(j: V) -> list[V]:
        return transpose(
            f,
            [
                f.load(v.wide, f.gep(v.real, src, ((j + i) * step ^ flip) * v.n), align=v.bytes) * scales
                for i in range(v.n)
            ],
        )

    with f.loop(0, far, RUN * v.n) as j:  # whole lines of a row at a time: rows' lines may all fall into few sets
        with f.loop(0, RUN) as part:
            for i, line in enumerate(block(j + part * v.n)):
                f.store(line, f.gep(v.real, near, (part + i * RUN) * v.n), align=v.bytes)
        with f.loop(0, rows) as i:
            for part in range(RUN):
                line = f.load(v.wide, f.gep(v.real, near, (i * RUN + part) * v.n), align=v.bytes)
                f.store(line, f.gep(v.real, to, stride * i + j + part * v.n))
    with f.loop(far, whole, v.n) as j:
        for i, line in enumerate(block(j)):
            with f.when(rows > i):
                f.store(line, f.gep(v.real, to, stride * i + j))
    with f.when(whole < columns):
        mask = f.lane_mask(v.n, columns - whole)
        for i, line in enumerate(block(whole)):
            with f.when(rows > i):
                f.mstore(line, f.gep(v.real, to, stride * i + whole), mask)


def columns_in(m: Module, v: Lanes) -> None:
    """Defines columns_in(src, stride, lanes, columns, to, step, flip, reals): as `rows_in` where lanes lie side by side.

    With `reals` there is one real number for each lane and column, else a complex one (of two columns).
    """
    f = m.function(
        "internal void columns_in(ptr src, i64 stride, i64 lanes, i64 columns, ptr to, i64 step, i64 flip, i64 reals)",
        APART,
    )
    src, stride, lanes, columns, to, step, flip, reals = f.params
    place = lambda j: f.gep(v.real, to, (j ^ flip) * v.n)
    with f.when(reals != 0):
        mask = f.lane_mask(v.n, lanes)
        with f.loop(0, columns) as j:
            f.store(f.mload(v.wide, f.gep(v.real, src, j * stride), mask), place(j * step), align=v.bytes)
        f.ret()
    low, high = f.lane_mask(v.n, lanes * 2), f.lane_mask(v.n, lanes * 2 - v.n)
    with f.loop(0, columns >> 1) as j:
        at = f.gep(v.real, src, j * stride)
        x, y = f.mload(v.wide, at, low), f.mload(v.wide, f.gep(v.real, at, v.n), high)
        for part in (0, 1):
            f.store(f.shuffle(x, y, [2 * i + part for i in range(v.n)]), place(j * 2 + part), align=v.bytes)


def columns_out(m: Module, v: Lanes) -> None:
    """Defines columns_out(to, stride, lanes, columns, src, step, flip, reals, scale): the way back of `columns_in`."""
    f = m.function(
        "internal void columns_out(ptr to, i64 stride, i64 lanes, i64 columns, ptr src, i64 step, i64 flip, i64 reals, "
        f"{v.real} scale)",
        APART,
    )
    to, stride, lanes, columns, src, step, flip, reals, scale = f.params
    scales = f.splat(scale, v.n)
    read = lambda j: f.load(v.wide, f.gep(v.real, src, (j ^ flip) * v.n), align=v.bytes) * scales
    with f.when(reals != 0):
        mask = f.lane_mask(v.n, lanes)
        with f.loop(0, columns) as j:
            f.mstore(read(j * step), f.gep(v.real, to, j * stride), mask)
        f.ret()
    low, high = f.lane_mask(v.n, lanes * 2), f.lane_mask(v.n, lanes * 2 - v.n)
    with f.loop(0, columns >> 1) as j:
        at = f.gep(v.real, to, j * stride)
        x, y = read(j * 2), read(j * 2 + 1)
        order = [i // 2 + v.n * (i % 2) for i in range(2 * v.n)]
        f.mstore(f.shuffle(x, y, order[: v.n]), at, low)
        f.mstore(f.shuffle(x, y, order[v.n :]), f.gep(v.real, at, v.n), high)


# -- real numbers -------------------------------------------------------------------------------------------------------


def halves(m: Module, v: Lanes) -> None:
    """Defines split(z, h, w), join(z, h, w), mirror(z, n) and unfold(z, n), all in place.

    `split`: the transform of h complex numbers made of 2h real ones -> the first h + 1 points of theirs; `join` its
    inverse, doubled and with real and imaginary parts exchanged; w[k] is exp(-pi i k / h). `mirror`: the second half of
    n points from the first; `unfold`: the conjugate of that.
    """
    f = m.function("internal void split(ptr z, i64 h, ptr w)", APART)
    z, h, w = f.params
    with f.loop(0, (h >> 1) + 1) as k:
        first, second = apart(f, v.load(f, z, k), v.load(f, z, (h - k) % h), v.number(f, w, k))
        v.store(f, first, z, k)
        v.store(f, second, z, h - k)
    f = m.function("internal void join(ptr z, i64 h, ptr w)", APART)
    z, h, w = f.params
    for k in (f.value(0, "i64"), h):
        v.store(f, (v.load(f, z, k)[0], f.value(0.0, v.wide)), z, k)
    with f.loop(0, (h >> 1) + 1) as k:
        (a, b), (c, d) = v.load(f, z, k), v.load(f, z, h - k)
        even, odd = (a + c, b - d), (a - c, b + d)
        wr, wi = v.number(f, w, k)
        odd = times(f, odd, (wr, f.emit(wi.type, f"fneg {wi}")))
        v.store(f, (even[0] + odd[1], odd[0] - even[1]), z, h - k)  # conj(even) + i conj(odd)
        v.store(f, (even[0] - odd[1], even[1] + odd[0]), z, k)  # even + i odd
    with f.loop(0, h) as k:
        a, b = v.load(f, z, k)
        v.store(f, (b, a), z, k)
    for name in ("mirror", "unfold"):
        f = m.function(f"internal void {name}(ptr z, i64 n)", APART)
        z, n = f.params
        if name == "unfold":
            v.store(f, (v.load(f, z, 0)[0], f.value(0.0, v.wide)), z, 0)
        with f.loop(1, (n + 1) >> 1) as k:
            a, b = v.load(f, z, k)
            other = f.emit(b.type, f"fneg {b}")
            here, there = (b, other) if name == "mirror" else (other, b)
            v.store(f, (a, here), z, k)
            v.store(f, (a, there), z, n - k)


def text(target: Target, real: str) -> Module:
    """IR of the kernel, `k`; chunks are (outer, block of lanes)."""
    v = Lanes(target, real)
    m = Module(f"fft {real}")
    for r in RADICES:
        stockham(m, v, r, True)
        stockham(m, v, r, False)
    enter(m, v, 8)
    leave(m, v, 8)
    for r in BEFORE:
        tail(m, v, r)
    for part in (rows_in, rows_out, columns_in, columns_out, halves):
        part(m, v)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    w = {}
    for i, name in enumerate(SLOTS):
        kind = "ptr" if i < 5 or name == "apart" else "double" if name == "scale" else "i64"
        w[name] = f.load(kind, f.gep("i64", args, i))
    scale = w["scale"] if real == "double" else f.convert("fptrunc", w["scale"], real)
    n = w["n"]
    bytes_ = (n + 1) * (2 * v.n * WIDTH[real])
    x, y = scratch, scratch + ((bytes_ + (PAGE - 1) & -PAGE) + PAGE // 2)
    with f.loop(begin, end) as chunk:
        # neighbours may share lines of memory: chunks taken at the same time are far apart
        at = chunk * w["far"] % (w["outer"] * w["blocks"])
        p, first = at // w["blocks"], at % w["blocks"] * v.n
        lanes = f.min(w["inner"] - first, v.n)

        def place(side: str, p: V = p, first: V = first) -> V:
            each = f.select(w[f"{side}_reals"] != 0, 1, 2, "i64")
            step = f.select(w[f"{side}_mode"] == ROWS, w[f"{side}_stride"], each)
            return f.gep(real, w[side], p * w[f"{side}_outer"] + first * step)

        src, to = place("in"), place("out")
        with f.when(w["in_step"] == 2):  # real numbers as complex ones
            with f.loop(0, n) as j:
                f.store(f.value(0.0, v.wide), f.gep(real, v.at(f, x, j), v.n), align=v.bytes)
        into = [w[f"in_{name}"] for name in ("columns", "step", "flip")]
        with f.when(w["enter"] == 0):
            with f.either(w["in_mode"] == ROWS) as otherwise:
                f.call("void", "rows_in", src, w["in_stride"], lanes, into[0], x, *into[1:])
                otherwise()
                f.call("void", "columns_in", src, w["in_stride"], lanes, into[0], x, *into[1:], w["in_reals"])
        with f.when(w["join"] != 0):
            f.call("void", "join", x, w["join"], w["halves"])
        with f.when(w["unfold"] != 0):
            f.call("void", "unfold", x, w["unfold"])
        here, there = f.var("ptr", x), f.var("ptr", y)
        left, s, tw = f.var("i64", n), f.var("i64", 1), f.var("ptr", w["twiddles"])
        with f.loop(0, w["count"]) as i:
            r = f.load("i64", w["factors"], i)
            points = left.get() // r
            first, last = (w["enter"] != 0) & (i == 0), (w["leave"] != 0) & (points == 1)
            both = (w["tail"] != 0) & (points == LAST)
            ends = both | (points == 1)  # in place
            where = f.select(ends, here.get(), there.get())
            with f.when(first):
                f.call("void", "enter", src, w["in_stride"], lanes, there.get(), points, w["in_flip"], tw.get())
            with f.when(last):
                f.call("void", "leave", here.get(), s.get(), w["halves"])
            for radix in BEFORE:
                with f.when(both & (w["tail"] == radix)):
                    f.call("void", f"tail_{radix}", here.get(), s.get(), w["apart"], tw.get())
            for radix in RADICES:
                with f.when((r == radix) & ((first | last | both) == 0)):
                    words = (here.get(), where, points, s.get(), tw.get())
                    with f.either(points == 1) as otherwise:
                        f.call("void", f"last_{radix}", *words)
                        otherwise()
                        f.call("void", f"pass_{radix}", *words)
            tw.set(f.gep(real, tw.get(), points * (r - 1) * 2))
            left.set(points)
            s.set(s.get() * r)
            there.set(f.select(ends, there.get(), here.get()))
            here.set(where)
        with f.when(w["split"] != 0):
            f.call("void", "split", here.get(), w["split"], w["halves"])
        with f.when(w["mirror"] != 0):
            f.call("void", "mirror", here.get(), w["mirror"])
        out = [w[f"out_{name}"] for name in ("stride", "columns", "step", "flip")]
        with f.either(w["out_mode"] == ROWS) as otherwise:
            f.call("void", "rows_out", to, out[0], lanes, out[1], here.get(), *out[2:], scale)
            otherwise()
            f.call("void", "columns_out", to, out[0], lanes, out[1], here.get(), *out[2:], w["out_reals"], scale)
    return m


@cache
def kernel(real: str) -> Code:
    native = engine()
    return native.load(lambda: str(text(native.target, real)), ["k"], parts=[("kernel", "fft"), ("real", real)])


# -- radices and tables ------------------------------------------------------------------------------------------------


@cache
def factors(n: int) -> tuple[int, ...] | None:
    """The radices of the passes; None where n has a prime factor above 7."""
    out = []
    for r in (7, 5, 3):
        while n % r == 0:
            out.append(r)
            n //= r
    twos = n.bit_length() - 1
    if n != 1 << twos:
        return None
    eights, rest = divmod(twos, 3)
    out += ((), (4, 4) if eights else (2,), (4,))[rest]
    eights -= rest == 1 and eights > 0
    first = (eights + 1) // 2
    return (*(8,) * first, *out, *(8,) * (eights - first))  # at both ends, where passes do more than others


@cache
def twiddles(radices: tuple[int, ...], real: str) -> Array:
    """exp(-2 pi i p u / n) of all passes but the last, by pass, p and u."""
    parts, left = [np.zeros(0)], math.prod(radices)
    for r in radices:
        points = left // r
        p, u = np.arange(points), np.arange(1, r)
        parts.append(np.exp(-2j * math.pi * (np.outer(p, u) % left) / left).reshape(-1))
        left = points
    return np.concatenate([*parts, np.zeros(1)]).astype(np.complex64 if real == "float" else np.complex128)


@cache
def tables(n: int, real: str) -> tuple[Array, Array]:
    """(radices, twiddle factors) of transforms of n points."""
    found = factors(n)
    assert found is not None
    return np.array(found or (0,), np.int64), twiddles(found, real)


@cache
def half_table(h: int, real: str) -> Array:
    """exp(-pi i k / h)."""
    w = np.array([cmath.exp(-1j * math.pi * k / h) for k in range(h + 1)])
    return w.astype(np.complex64 if real == "float" else np.complex128)
