"""Fourier transforms of complex columns: a lane for each of as many neighbours as a vector holds.

The first of Stockham's passes (fft.py) reads its rows where they lie and the last one writes the result, so that numbers are
moved only between passes; radix 16 makes these few: 256 points are two.
"""

from __future__ import annotations

from functools import cache

from flambeau._backends.cpu import fft
from flambeau._backends.cpu.emit import APART, WIDTH, Function, Module, V, Words
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, bits

POINTERS = "out in twiddles"
NUMBERS = "n inner blocks plane scale"


class Side:
    """W complex columns of a row in memory, to and from pairs of vectors; the columns behind `count` are not touched."""

    def __init__(self, f: Function, v: fft.Lanes, stride: V, count: V | None, flipped: bool) -> None:
        self.f, self.v, self.stride, self.flipped = f, v, stride, flipped
        self.masks = [None if count is None else f.lane_mask(v.n, count * 2 - v.n * i) for i in (0, 1)]

    def at(self, p: V, row: V | int) -> list[V]:
        place = self.f.gep(self.v.real, p, self.stride * row)
        return [place, self.f.gep(self.v.real, place, self.v.n)]

    def load(self, p: V, row: V | int) -> fft.Pair:
        f, n = self.f, self.v.n
        x, y = (f.get(self.v.wide, at, mask) for at, mask in zip(self.at(p, row), self.masks, strict=True))
        parts = [f.shuffle(x, y, list(range(o, 2 * n, 2))) for o in (0, 1)]
        return (parts[1], parts[0]) if self.flipped else (parts[0], parts[1])

    def store(self, z: fft.Pair, p: V, row: V | int) -> None:
        f, n = self.f, self.v.n
        x, y = z[::-1] if self.flipped else z
        order = [lane + n * part for lane in range(n) for part in (0, 1)]
        for at, mask, half in zip(self.at(p, row), self.masks, (order[:n], order[n:]), strict=True):
            f.put(f.shuffle(x, y, half), at, mask)


def ends(m: Module, v: fft.Lanes, radices: tuple[int, ...], whole: bool, flipped: bool) -> None:
    """Defines first_<whole>(src, stride, y, m, tw, count) and last_<whole>(x, to, stride, s, count, scale), or only the latter
    where there is one pass, which then reads x by the stride, too."""
    name = "whole" if whole else "part"
    first, last = radices[0], radices[-1]
    alone = len(radices) == 1
    if not alone:
        f = m.function(f"internal void first_{name}(ptr src, i64 stride, ptr y, i64 m, ptr tw, i64 count)", APART)
        src, stride, y, points, tw, count = f.params
        side = Side(f, v, stride, None if whole else count, flipped)
        with f.loop(0, points) as p:
            for u, z in enumerate(fft.butterfly(f, first, [side.load(src, p + points * t) for t in range(first)])):
                w = v.number(f, tw, p * (first - 1) + (u - 1)) if u else None
                v.store(f, fft.times(f, z, w) if w else z, y, p * first + u)
    f = m.function(
        f"internal void last_{name}(ptr x, ptr to, i64 stride, i64 s, i64 count, {v.real} scale)",
        APART,
    )
    x, to, stride, s, count, scale = f.params
    side = Side(f, v, stride, None if whole else count, flipped)
    scales = f.splat(scale, v.n)
    with f.loop(0, s) as q:
        found = [side.load(x, t) if alone else v.load(f, x, q + s * t) for t in range(last)]
        for u, z in enumerate(fft.butterfly(f, last, found)):
            side.store((z[0] * scales, z[1] * scales), to, q + s * u)


def text(target: Target, real: str, inverse: bool, radices: tuple[int, ...]) -> Module:
    """IR of the kernel, `k`; chunks are (plane, block of columns)."""
    v = fft.Lanes(target, real)
    m = Module(f"fft_column {real} {inverse} {' '.join(map(str, radices))}")
    *before, last = radices
    for r in sorted(set(before[1:])):
        fft.stockham(m, v, r, True)
    for whole in (True, False):
        ends(m, v, radices, whole, inverse)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    w = Words(f, POINTERS, NUMBERS)
    scale = f.convert("bitcast", w["scale"], "double")
    scale = scale if real == "double" else f.convert("fptrunc", scale, real)
    n = w["n"]
    buffers = scratch, v.at(f, scratch, n)
    stride = w["inner"] * 2
    with f.loop(begin, end) as chunk:
        column = chunk % w["blocks"] * v.n
        start = chunk // w["blocks"] * w["plane"] + column * 2
        src, to = f.gep(real, w["in"], start), f.gep(real, w["out"], start)
        count = w["inner"] - column
        with f.either(count >= v.n) as otherwise:
            for name in ("whole", "part"):
                here, left, s, tw = src, n, 1, w["twiddles"]
                for j, r in enumerate(before):
                    left = left // r
                    if j:
                        f.call("void", f"pass_{r}", here, buffers[j % 2], left, f.value(s, "i64"), tw)
                    else:
                        f.call("void", f"first_{name}", src, stride, buffers[0], left, tw, count)
                    here, s, tw = buffers[j % 2], s * r, f.gep(real, tw, left * (2 * (r - 1)))
                f.call("void", f"last_{name}", here, to, stride, f.value(s, "i64"), count, scale)
                if name == "whole":
                    otherwise()
    return m


@cache
def kernel(real: str, inverse: bool, radices: tuple[int, ...]) -> Code:
    native = engine()
    parts = [("kernel", "fft_column"), ("real", real), ("inverse", inverse), ("radices", radices)]
    return native.load(lambda: str(text(native.target, real, inverse, radices)), ["k"], parts=parts)


# -- plans --------------------------------------------------------------------------------------------------------------


@cache
def radices(n: int) -> tuple[int, ...]:
    """As few passes as radix 16 allows, of about the same radix."""
    found = fft.factors(n)
    assert found is not None
    odd = [r for r in found if r % 2]
    twos = (n & -n).bit_length() - 1
    passes = -(-twos // 4)
    even = [1 << (twos // passes + (i < twos % passes)) for i in range(passes)]
    return (*even[:1], *odd, *even[1:])


def by_column(
    real: str, n: int, outer: int, inner: int, inverse: bool, scale: float, at: int = OUT
) -> tuple[Launch, Code]:
    """One launch: `outer` planes of n rows of `inner` complex numbers, and its kernel."""
    code = kernel(real, inverse, radices(n))
    lanes = engine().target.vector_bytes // WIDTH[real]
    blocks = -(-inner // lanes)
    pointers = [(at, 0), (ARG, 0), (CONST, fft.twiddles(radices(n), real).ctypes.data)]
    numbers = [(CONST, x) for x in (n, inner, blocks, 2 * n * inner, bits(scale))]
    return Launch(code["k"], (*pointers, *numbers), outer * blocks, 2 * n * 2 * lanes * WIDTH[real]), code
