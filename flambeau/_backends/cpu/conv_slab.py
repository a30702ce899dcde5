"""The input of a convolution as its tiles read it: copied into a padded slab, and from there into packed panels.

A slab holds, for each channel, the rows that a chunk's taps touch: widened, padded with zeros, for a stride above 1
split by phase, so that neighbouring output positions read neighbouring elements whatever the tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu.conv_tile import short_mask
from flambeau._backends.cpu.emit import APART, Function, Module, V, size, suffix, vector
from flambeau._backends.cpu.engine import Target
from flambeau._backends.cpu.registers import transpose, widen


def gather(f: Function, type: str, base: V, offsets: V, mask: V, n: int) -> V:
    """Lanes from anywhere: base[offsets], 0 where the mask is off."""
    places = f.emit(f"<{n} x ptr>", f"getelementptr {type}, {base}, {offsets}")
    wide = vector(type, n)
    name = f"llvm.masked.gather.{suffix(wide)}.v{n}p0"
    return f.call(wide, name, places, f.value(size(type), "i32"), mask, V(f, wide, "zeroinitializer"))


def copy_rows(m: Module, memory: str, acc: str, n: int) -> None:
    """Defines copy_rows(to, to_step, from, from_step, count, w, xw, s, phase, col0, pitch): one row of many channels, of any strides.

    to[c * to_step + i] = from[c * from_step + ((i + col0) * s + phase) * xw], and 0 where that is outside 0..w. Whole
    vectors are written: what follows a row is rubbish until the next row is there.
    """
    f = m.function(
        "internal void copy_rows(ptr noalias to, i64 to_step, ptr noalias src, i64 from_step, i64 count, i64 w, i64 xw, "
        "i64 s, i64 phase, i64 col0, i64 pitch)",
        APART,
    )
    to, to_step, src, from_step, count, w, xw, s, phase, col0, pitch = f.params
    narrow = vector(memory, n)

    with f.when((from_step == 1) & (xw != 1)):  # channels last: blocks of positions x channels are transposed
        whole = count & -n
        with f.loop(0, pitch, n) as i:
            rows = []
            firsts = [(col0 + (i + j)) * s + phase for j in range(n)]
            good = [(x >= 0) & (x < w) for x in firsts]
            places = [f.gep(memory, src, f.select(g, x, 0, "i64") * xw) for g, x in zip(good, firsts, strict=True)]
            masks = [f.splat(g, n) for g in good]
            with f.loop(0, whole, n) as c:
                rows = [
                    widen(f, f.mload(narrow, f.gep(memory, p, c), g), acc) for p, g in zip(places, masks, strict=True)
                ]
                for j, row in enumerate(transpose(f, rows)):
                    f.store(row, f.gep(acc, to, (c + j) * to_step + i))
            with f.when(whole < count):
                tail = short_mask(f, n, count - whole)
                rows = [widen(f, f.mload(narrow, f.gep(memory, p, whole), g & tail), acc)
                        for p, g in zip(places, masks, strict=True)]  # fmt: skip
                for j, row in enumerate(transpose(f, rows)):
                    with f.when(whole + j < count):
                        f.store(row, f.gep(acc, to, (whole + j) * to_step + i))
        f.ret()
    long = V(f, f"<{n} x i64>", "<" + ", ".join(f"i64 {i}" for i in range(n)) + ">")
    with f.loop(0, pitch, n) as i:
        at = (long + f.splat(col0 + i, n)) * f.splat(s, n) + f.splat(phase, n)
        mask = f.emit(f"<{n} x i1>", f"icmp ult {at}, {f.splat(w, n).name}")
        offsets = at * f.splat(xw, n)
        with f.loop(0, count) as c:
            x = gather(f, memory, f.gep(memory, src, c * from_step), offsets, mask, n)
            f.store(widen(f, x, acc), f.gep(acc, to, c * to_step + i))


def copy_planes(m: Module, memory: str, acc: str, n: int) -> None:
    """Defines copy_planes(to, to_step, from, from_step, count, rows, w, s, phase, col0, pitch, y, sy, h, xh): many rows of many channels.

    For channel c and row r, with y + r * sy inside 0..h, to[c * to_step + r * pitch + i] = from[c * from_step + (y + r * sy) * xh + (i + col0) * s
    + phase]; s is 1 or 2. It is 0 where that is outside, and for two vectors after the last row: vectors end there, and what memory
    happens to hold may be denormal, hence slow. A channel's rows follow one another in memory, those of channels are often pages apart.
    """
    f = m.function(
        "internal void copy_planes(ptr noalias to, i64 to_step, ptr noalias src, i64 from_step, i64 count, i64 rows, i64 w, i64 s, "
        "i64 phase, i64 col0, i64 pitch, i64 y, i64 sy, i64 h, i64 xh)",
        APART,
    )
    to, to_step, src, from_step, count, rows, w, s, phase, col0, pitch, y, sy, h, xh = f.params
    narrow = vector(memory, n)
    zero = f.value(0, vector(acc, n))
    low = f.min((f.max(0 - y, 0) + (sy - 1)) // sy, rows)
    high = f.max(f.min((f.max(h - y, 0) + (sy - 1)) // sy, rows), low)
    lines = (pitch + (n - 1)) // n

    def down(plane: V, here: V, x: V, i: V, masks: Sequence[V | None]) -> None:
        """The i-th elements of all rows and those after them, of one vector or every other one of two."""
        with f.loop(low, high) as r:
            at = f.gep(memory, plane, r * sy * xh + x)
            f.prefetch(f.gep(memory, at, from_step))  # of the next channel
            got = [f.get(narrow, f.gep(memory, at, j * n), mask) for j, mask in enumerate(masks)]
            one = got[0] if len(got) == 1 else f.shuffle(got[0], got[1], [2 * j for j in range(n)])
            f.store(widen(f, one, acc), here, r * pitch + i)

    with f.loop(0, count) as c:
        here, plane = f.gep(acc, to, c * to_step), f.gep(memory, src, c * from_step + y * xh)
        with f.loop(0, low * pitch, n) as i:
            f.store(zero, here, i)
        for each in (1, 2):
            # the last vectors first: they overrun into what the first ones then write
            with f.when(s == each), f.loop(0, lines) as back:
                i = (lines - 1 - back) * n
                x = (i + col0) * each + phase
                with f.either((x >= 0) & (x + each * n <= w)) as otherwise:
                    down(plane, here, x, i, [None] * each)
                    otherwise()
                    down(plane, here, x, i, [within(f, x + j * n, w, n) for j in range(each)])
        with f.loop(high * pitch, rows * pitch + 2 * n, n) as i:
            f.store(zero, here, i)


def within(f: Function, first: V, w: V, n: int) -> V:
    """Lanes i for which 0 <= first + i < w; the numbers fit 32 bits wherever they matter."""
    iota = V(f, f"<{n} x i32>", "<" + ", ".join(f"i32 {i}" for i in range(n)) + ">")
    first = f.min(f.max(first, -(1 << 30)), 1 << 30)
    limit = f.splat(f.convert("trunc", f.min(w, 1 << 30), "i32"), n)
    at = iota + f.splat(f.convert("trunc", first, "i32"), n)
    return f.emit(f"<{n} x i1>", f"icmp ult {at}, {limit.name}")


def pack_vector(m: Module, target: Target, acc: str, n: int, step: int) -> None:
    """Defines pack_vector(to, from, table, depth, places, near): to[k * step + lane] = from[table[k] + places[lane]].

    `near`: no place is 2 n or further, so two loads and a permutation do.
    """
    f = m.function(
        "internal void pack_vector(ptr noalias to, ptr noalias src, ptr noalias table, i64 depth, ptr noalias places, i64 near)",
        APART,
    )
    to, src, table, depth, places, near = f.params
    wide = vector(acc, n)
    index = f.load(f"<{n} x i32>", places)
    if target.has("avx512f"):
        kind, index_type = ("ps", "i32") if acc == "float" else ("pd", "i64")
        order = index if index_type == "i32" else f.convert("zext", index, f"<{n} x i64>")
        with f.when(near != 0):
            with f.loop(0, depth) as k:
                at = f.gep(acc, src, f.load("i64", table, k))
                low, high = f.load(wide, at), f.load(wide, at, n)
                f.store(f.call(wide, f"llvm.x86.avx512.vpermi2var.{kind}.512", low, order, high), to, k * step)
            f.ret()
    every = V(f, f"<{n} x i1>", "<" + ", ".join(["i1 true"] * n) + ">")
    with f.loop(0, depth) as k:
        f.store(gather(f, acc, f.gep(acc, src, f.load("i64", table, k)), index, every, n), to, k * step)


def steps(x: np.ndarray[Any, Any]) -> list[int] | None:
    """Strides in elements; None where a stride is no multiple."""
    return None if any(s % x.itemsize for s in x.strides) else [s // x.itemsize for s in x.strides]
