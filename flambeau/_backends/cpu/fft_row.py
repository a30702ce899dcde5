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
from flambeau._backends.cpu.emit import APART, WIDTH, Function, Module, V, Words, size
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import Array
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch
from flambeau._backends.cpu.registers import transpose

GROUP = 1 << 13  # numbers of a chunk: some of it is the thread's own
POINTERS = "out in factors twiddles halves turns corner"
NUMBERS = "rows group in_stride out_stride points count"


class Row(fft.Lanes):
    """Pairs of vectors of a row in memory that is aligned to nothing: as they lie, or (complex) parts in turn."""

    def __init__(self, target: Target, real: str, parted: bool, flipped: bool) -> None:
        super().__init__(target, real)
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


def split(m: Module, v: fft.Lanes) -> None:
    """Defines split(z, m, w, next): the m points of each lane, which stand for 2m real numbers -> the first m + 1 of theirs."""
    f = m.function("internal void split(ptr z, i64 m, ptr w, ptr next)", APART)
    z, h, w, after = f.params
    with f.loop(0, (h >> 1) + 1) as k:
        first, second = fft.apart(f, v.load(f, z, k), v.load(f, z, (h - k) % h), v.number(f, w, k))
        v.store(f, first, z, k)
        v.store(f, second, z, h - k)
        fetch(f, v.at(f, after, k * 2), 4 * size(v.wide))


def across(m: Module, v: fft.Lanes, row: Row, folded: bool) -> None:
    """Defines across(x, to, m, turns, next_in, next_out): m points of each lane, turned, to the row's; `folded` where it is real."""
    f = m.function("internal void across(ptr x, ptr to, i64 m, ptr turns, ptr next_in, ptr next_out)", APART)
    x, to, points, turns, next_in, next_out = f.params
    w = v.n
    far = points * (2 if folded else 1)  # from one result of a butterfly to the next

    def spot(k: V) -> V:
        return f.gep(v.real, to, k * 2)

    with f.loop(0, points, w) as start:
        k = f.min(start, points - w)  # the last square overlaps where m is no multiple of W
        turned = [fft.times(f, v.load(f, x, k + i), v.load(f, turns, k + i)) for i in range(w)]
        parts = [transpose(f, [z[part] for z in turned]) for part in (0, 1)]
        for u, z in enumerate(fft.butterfly(f, w, list(zip(*parts, strict=True)))):
            if folded and u >= w // 2:
                z = z[0], f.emit(z[1].type, f"fneg {z[1]}")
                row.put(f, z, spot(far * (w - u) - k - (w - 1)), backward=True)
            else:
                row.put(f, z, spot(far * u + k))
            if not folded:
                fetch(f, v.at(f, next_in, k + u), 2 * size(v.wide))
            fetch(f, v.at(f, next_out, k + u), 2 * size(v.wide), True)


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


def text(target: Target, real: str, kind: str) -> Module:
    """IR of the kernel, `k`; chunks are groups of rows. Kinds: r2c, c2c and its inverse, ic2c."""
    v, folded = fft.Lanes(target, real), kind == "r2c"
    row = Row(target, real, not folded, kind == "ic2c")
    m = Module(f"fft_row {real} {kind}")
    for r in fft.RADICES:
        for twiddled in (True, False):
            fft.stockham(m, v, r, twiddled)
            fft.stockham(m, v, r, twiddled, row, "first_")
    split(m, v)
    across(m, v, row, folded)
    corner(m, v)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, scratch = f.params
    w = Words(f, POINTERS, NUMBERS)
    n = w["points"]
    x, y = scratch, v.at(f, scratch, n + 1)
    with f.loop(begin * w["group"], f.min(end * w["group"], w["rows"])) as i:
        src, to = (f.gep(real, w[side], w[f"{side}_stride"] * i) for side in ("in", "out"))
        next_in, next_out = (f.gep(real, p, w[f"{side}_stride"]) for p, side in ((src, "in"), (to, "out")))
        here, there = f.var("ptr", src), f.var("ptr", x)
        left, s, tw = f.var("i64", n), f.var("i64", 1), f.var("ptr", w["twiddles"])
        with f.loop(0, w["count"]) as j:
            r = f.load("i64", w["factors"], j)
            points = left.get() // r
            words = (here.get(), there.get(), points, s.get(), tw.get())
            for radix in fft.RADICES:
                with f.when(r == radix):
                    with f.either(j == 0) as otherwise:
                        with f.either(points == 1) as more:
                            f.call("void", f"first_last_{radix}", *words)
                            more()
                            f.call("void", f"first_pass_{radix}", *words)
                        otherwise()
                        with f.either(points == 1) as more:
                            f.call("void", f"last_{radix}", *words)
                            more()
                            f.call("void", f"pass_{radix}", *words)
            tw.set(f.gep(real, tw.get(), points * (r - 1) * 2))
            left.set(points)
            s.set(s.get() * r)
            here.set(there.get())
            there.set(f.select(here.get() == x, y, x))
        if folded:
            f.call("void", "split", here.get(), n, w["halves"], next_in)
        f.call("void", "across", here.get(), to, n, w["turns"], next_in, next_out)
        if folded:
            f.call("void", "corner", here.get(), to, n, w["corner"])
    return m


@cache
def kernel(real: str, kind: str) -> Code:
    native = engine()
    parts = [("kernel", "fft_row"), ("real", real), ("kind", kind)]
    return native.load(lambda: str(text(native.target, real, kind)), ["k"], parts=parts)


# -- plans --------------------------------------------------------------------------------------------------------------


def points(kind: str, real: str, n: int) -> int:
    """How many points each lane transforms; 0 where a row of n numbers is not for this kernel."""
    lanes = engine().target.vector_bytes // WIDTH[real]
    m, rest = divmod(n, lanes * (2 if kind == "r2c" else 1))
    return m if rest == 0 and 4 <= lanes <= m and kind in ("r2c", "c2c") and fft.factors(m) else 0


@cache
def tables(real: str, folded: bool, m: int, scale: float) -> tuple[Array, Array]:
    """(scale exp(-2 pi i lane k / n) for the points k of the lanes, as pairs of vectors; what the real point m is multiplied by)."""
    lanes = engine().target.vector_bytes // WIDTH[real]
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
    m = points(kind, real, n)
    found, twiddles = fft.tables(m, real)
    radices = fft.factors(m)
    assert radices is not None
    turns, last = tables(real, kind == "r2c", m, scale)
    w = fft.half_table(m, real)
    group = max(1, GROUP // n)
    pointers = [(at, 0), (ARG, 0), *((CONST, t.ctypes.data) for t in (found, twiddles, w, turns, last))]
    numbers = [(CONST, x) for x in (rows, group, *strides, m, len(radices))]
    lanes = engine().target.vector_bytes // WIDTH[real]
    scratch = (2 * m + 2) * 2 * lanes * WIDTH[real]
    code = kernel(real, "ic2c" if inverse else kind)
    return Launch(code["k"], (*pointers, *numbers), -(-rows // group), scratch), code
