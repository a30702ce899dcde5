"""Fourier transforms of rows, one at a time: the lanes of a vector hold neighbours of one row.

A row of W m numbers, W to a vector, is m vectors. Lane by lane these are transforms of m points, which Stockham's passes
make (fft.py) without a shuffle; what they give is turned (times exp(-2 pi i lane k / (W m))), squares of W by W are
transposed in registers, and one butterfly of W points makes the rest, W neighbours of the result at a time (Bailey, "FFTs
in external or hierarchical memory", 1990, with registers in the place of memory).

Real numbers: two neighbouring vectors of a row are the real and the imaginary parts of m complex ones in each lane, which
are taken apart to m + 1 points before they are turned; half of the last butterfly's results are conjugates of points that
are wanted. Point m, whose numbers are real, is a small product.

A row is read once, is computed in the first-level cache, and is written once.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from flambeau._backends.cpu import fft
from flambeau._backends.cpu.emit import APART, WIDTH, Function, Module, V, Words, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import Array
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch
from flambeau._backends.cpu.registers import transpose

GROUP = 1 << 13  # numbers of a chunk
POINTERS = "out in twiddles halves turns corner"
NUMBERS = "rows group in_stride out_stride points"


class Row(fft.Lanes):
    """Pairs of vectors of a row in memory that is aligned to nothing: as they lie, or (complex) parts in turn."""

    def __init__(self, target: Target, real: str, lanes: int, parted: bool, flipped: bool) -> None:
        super().__init__(target, real, lanes)
        self.parted, self.flipped = parted, flipped

    def load(self, f: Function, p: V, i: V | int) -> fft.Pair:
        at = self.at(f, p, i)
        x, y = f.load(self.wide, at), f.load(self.wide, at, self.n)
        if self.parted:
            x, y = (f.shuffle(x, y, list(range(o, 2 * self.n, 2))) for o in (0, 1))
        return (y, x) if self.flipped else (x, y)

    def put(self, f: Function, z: fft.Pair, at: V, backward: bool = False) -> None:
        """W neighbouring complex numbers to memory; `backward` the last lane first."""
        x, y = z[::-1] if self.flipped else z
        lanes = [lane + self.n * part for lane in range(self.n)[:: -1 if backward else 1] for part in (0, 1)]
        f.store(f.shuffle(x, y, lanes[: self.n]), at)
        f.store(f.shuffle(x, y, lanes[self.n :]), at, self.n)


def fetch(f: Function, p: V, bytes_: int, write: bool = False) -> None:
    """Asks for some lines of the next row: while this one is computed, memory is idle."""
    for o in range(0, bytes_, 64):
        f.prefetch(p + o, write)


def close(m: Module, v: fft.Lanes, r: int, read: fft.Lanes, folded: bool) -> None:
    """Defines close(x, y, s, w, turns, next): the last pass, of radix r and s interleaved transforms, turned, from x into y.

    Where rows are real the r s points of each lane stand for twice as many real numbers: they are taken apart to the first
    r s + 1 points of theirs, the last of which is not turned. A column of points meets that of s - q. y may be x.
    """
    f = m.function("internal void close(ptr x, ptr y, i64 s, ptr w, ptr turns, ptr next)", APART)
    x, y, s, w, turns, after = f.params

    def column(q: V | int) -> list[fft.Pair]:
        return fft.butterfly(f, r, [read.load(f, x, s * t + q) for t in range(r)])

    def put(z: fft.Pair, k: V) -> None:
        v.store(f, fft.times(f, z, v.load(f, turns, k)), y, k)

    def pair(a: fft.Pair, b: fft.Pair, k: V, edge: bool = False) -> None:
        first, second = fft.apart(f, a, b, v.number(f, w, k))
        put(first, k)
        if edge:
            v.store(f, second, y, s * r - k)
        else:
            put(second, s * r - k)
        fetch(f, v.at(f, after, k * 2), 4 * v.bytes)

    if not folded:
        with f.loop(0, s) as q:
            for u, z in enumerate(column(q)):
                put(z, s * u + q)
        f.ret()
        return
    found = column(0)
    for u in range(r // 2 + 1):
        pair(found[u], found[-u % r], s * u, u == 0)
    with f.when((s & 1) == 0):
        found = column(s >> 1)
        for u in range((r + 1) // 2):
            pair(found[u], found[r - 1 - u], s * u + (s >> 1))
    with f.loop(1, (s + 1) >> 1) as q:
        here, there = column(q), column(s - q)
        for u in range(r):
            pair(here[u], there[r - 1 - u], s * u + q)


def across(m: Module, v: fft.Lanes, row: Row, folded: bool) -> None:
    """Defines across(x, to, m, next_in, next_out): the m turned points of each lane, to the row's; `folded` where it is real."""
    f = m.function("internal void across(ptr x, ptr to, i64 m, ptr next_in, ptr next_out)", APART)
    x, to, points, next_in, next_out = f.params
    w = v.n
    half = w // 2
    far = points * (2 if folded else 1)  # from one result of a butterfly to the next

    def spot(k: V) -> V:
        return f.gep(v.real, to, k * 2)

    def column(k: V, part: int) -> list[V]:
        """A square transposed; its halves change places as they are loaded."""

        def both(i: int, side: int) -> V:
            here, there = (f.load(vector(v.real, half), v.at(f, x, k + (i + j)), part * w + side) for j in (0, half))
            return f.shuffle(here, there, list(range(w)))

        return transpose(f, [both(i, side) for side in (0, half) for i in range(half)], half // 2)

    with f.loop(0, points, w) as start:
        k = f.min(start, points - w)  # the last square overlaps where m is no multiple of W
        for u, z in enumerate(fft.butterfly(f, w, list(zip(column(k, 0), column(k, 1), strict=True)))):
            if folded and u >= half:
                z = z[0], f.emit(z[1].type, f"fneg {z[1]}")
                row.put(f, z, spot(far * (w - u) - k - (w - 1)), backward=True)
            else:
                row.put(f, z, spot(far * u + k))
            if not folded:
                fetch(f, v.at(f, next_in, k + u), 2 * v.bytes)
            fetch(f, v.at(f, next_out, k + u), 2 * v.bytes, True)


def corner(m: Module, v: fft.Lanes) -> None:
    """Defines corner(x, to, m, table): the W / 2 points that point m of the lanes, which is real, gives."""
    f = m.function("internal void corner(ptr x, ptr to, i64 m, ptr table)", APART)
    x, to, points, table = f.params
    at = v.at(f, x, points)
    sums = [f.value(0.0, v.wide)] * 4
    for lane in range(v.n):
        one = f.splat(f.load(v.real, at, lane), v.n)
        sums[lane % 4] = f.fma(one, f.load(v.wide, f.gep(v.real, table, lane * v.n)), sums[lane % 4])
    total = (sums[0] + sums[1]) + (sums[2] + sums[3])
    for u in range(v.n // 2):
        f.store(f.shuffle(total, total, [2 * u, 2 * u + 1]), f.gep(v.real, to, (points * (2 * u) + points) * 2))


def text(target: Target, real: str, kind: str, lanes: int, radices: tuple[int, ...]) -> Module:
    """IR of the kernel, `k`; chunks are groups of rows. Kinds: r2c, c2c and its inverse, ic2c."""
    v, folded = fft.Lanes(target, real, lanes), kind == "r2c"
    row = Row(target, real, lanes, not folded, kind == "ic2c")
    m = Module(f"fft_row {real} {kind} {lanes} {' '.join(map(str, radices))}")
    *before, last = radices
    if before:
        fft.stockham(m, v, before[0], True, row, "first_")
    for r in sorted(set(before[1:])):
        fft.stockham(m, v, r, True)
    close(m, v, last, v if before else row, folded)
    across(m, v, row, folded)
    if folded:
        corner(m, v)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, scratch = f.params
    w = Words(f, POINTERS, NUMBERS)
    n = w["points"]
    buffers = scratch, v.at(f, scratch, n + 1)
    with f.loop(begin * w["group"], f.min(end * w["group"], w["rows"])) as i:
        src, to = (f.gep(real, w[side], w[f"{side}_stride"] * i) for side in ("in", "out"))
        next_in, next_out = (f.gep(real, p, w[f"{side}_stride"]) for p, side in ((src, "in"), (to, "out")))
        here, left, s, tw = src, n, 1, w["twiddles"]
        for j, r in enumerate(before):
            left = left // r
            f.call("void", f"{'' if j else 'first_'}pass_{r}", here, buffers[j % 2], left, f.value(s, "i64"), tw)
            here, s, tw = buffers[j % 2], s * r, f.gep(real, tw, left * (2 * (r - 1)))
        made = here if before else scratch
        f.call("void", "close", here, made, f.value(s, "i64"), w["halves"], w["turns"], next_in)
        f.call("void", "across", made, to, n, next_in, next_out)
        if folded:
            f.call("void", "corner", made, to, n, w["corner"])
    return m


@cache
def kernel(real: str, kind: str, lanes: int, radices: tuple[int, ...]) -> Code:
    native = engine()
    by = [("kernel", "fft_row"), ("real", real), ("kind", kind), ("lanes", lanes), ("radices", radices)]
    return native.load(lambda: str(text(native.target, real, kind, lanes, radices)), ["k"], parts=by)


# -- plans --------------------------------------------------------------------------------------------------------------


def parts(kind: str, real: str, n: int) -> tuple[int, int] | None:
    """(lanes, points that each of them transforms) of a row of n numbers; None where it is not for this kernel.

    Short rows are less wide: every square has as many rows as columns.
    """
    lanes = engine().target.vector_bytes // WIDTH[real]
    while lanes >= 4 and kind in ("r2c", "c2c"):
        m, rest = divmod(n, lanes * (2 if kind == "r2c" else 1))
        if rest == 0 and lanes <= m and fft.factors(m):
            return lanes, m
        lanes //= 2
    return None


@cache
def tables(real: str, folded: bool, lanes: int, m: int, scale: float) -> tuple[Array, Array]:
    """(scale exp(-2 pi i lane k / n) for the points k of the lanes, as pairs of vectors; what the real point m is multiplied by)."""
    kind = np.float32 if real == "float" else np.float64
    n = m * lanes * (2 if folded else 1)
    k, lane = np.arange(m), np.arange(lanes)
    turns = scale * np.exp(-2j * math.pi * (np.outer(k, lane) % n) / n)
    u = np.arange(lanes // 2)
    last = scale * np.exp(-1j * math.pi * (np.outer(lane, 2 * u + 1) % (2 * lanes)) / lanes)
    pairs = np.stack([turns.real, turns.imag], 1).astype(kind)
    return aligned(pairs), aligned(np.stack([last.real, last.imag], 2).astype(kind))


def aligned(x: Array) -> Array:
    """A copy that begins at a multiple of 64."""
    room = np.empty(x.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    out = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


def by_row(
    kind: str, real: str, n: int, rows: int, strides: tuple[int, int], inverse: bool, scale: float, at: int = OUT
) -> tuple[Launch, Code]:
    """One launch over rows of n numbers, that lie (in, out) strides of reals apart, and its kernel."""
    found = parts(kind, real, n)
    assert found is not None
    lanes, m = found
    radices = fft.factors(m)
    assert radices is not None
    twiddles = fft.twiddles(radices, real)
    turns, last = tables(real, kind == "r2c", lanes, m, scale)
    w = fft.half_table(m, real)
    group = max(1, GROUP // n)
    pointers = [(at, 0), (ARG, 0), *((CONST, t.ctypes.data) for t in (twiddles, w, turns, last))]
    numbers = [(CONST, x) for x in (rows, group, *strides, m)]
    scratch = (2 * m + 2) * 2 * lanes * WIDTH[real]
    code = kernel(real, "ic2c" if inverse else kind, lanes, radices)
    return Launch(code["k"], (*pointers, *numbers), -(-rows // group), scratch), code
