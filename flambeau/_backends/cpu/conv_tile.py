"""The register tile of convolutions: a few rows times two vectors, and the packing of the rows' operand.

    out_v[row * step + lane] = add[row, v, lane] + sum over k of a[k, row] * b_v[table[k] + lane]        v = 0, 1

The two vectors of `b` have bases of their own and a table says where, from there, each k is: so vectors may be windows
of an input as it lies in memory, of neighbouring rows or of different images, and a panel packed in order is a table
in steps. `add` holds what the sum begins with, a bias or the partial sum of a block before; the sum over all blocks is
then the same as that of one.

Rows come in pairs: `a` is padded with zeros, and the last row of an odd tile is not stored. One object per dtype serves
every convolution, forward and backward.
"""

from __future__ import annotations

from functools import cache

from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.emit import APART, Function, Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.registers import widen

VECTORS = 2
PACK_SLOTS = ("to", "start", "a", "bias", "table", "m", "k", "tiles", "ag", "am", "sg", "sm")


def lanes(target: Target, acc: str) -> int:
    return target.vector_bytes // size(acc)


def tile_rows(target: Target) -> int:
    """Rows of a tile: two accumulators each, and three registers besides."""
    return 14 if target.registers == 32 else 6


def spread(f: Function, i: V, rows: V, tiles: V) -> tuple[V, V]:
    """(first row, rows) of the i-th of `tiles` tiles that share the rows evenly."""
    few, more = rows // tiles, rows % tiles
    return i * few + f.min(i, more), few + f.convert("zext", i < more, "i64")


def spread_pairs(f: Function, i: V, pairs: V, tiles: V) -> tuple[V, V]:
    """`spread` in pairs of rows."""
    first, count = spread(f, i, pairs, tiles)
    return first * 2, count * 2


def short_mask(f: Function, n: int, count: V) -> V:
    """<n x i1>: lane i is on where i < count, of a count that fits 32 bits."""
    iota = V(f, f"<{n} x i32>", "<" + ", ".join(f"i32 {i}" for i in range(n)) + ">")
    return iota < f.splat(f.convert("trunc", count, "i32"), n)


def name_of(acc: str) -> str:
    return f"convolution_tile_{acc}"


SIGNATURE = "ptr noalias a, ptr noalias b0, ptr noalias b1, ptr noalias table, i64 depth, ptr add, ptr out0, ptr out1, i64 step, i64 n0, i64 n1, i64 odd"


def text(target: Target, acc: str) -> Module:
    """IR of the tile: one function of the number of rows."""
    n = lanes(target, acc)
    wide, cols = vector(acc, n), n * VECTORS
    m = Module(f"convolution tile {acc} {n}")
    variants = range(2, tile_rows(target) + 1, 2)
    for rows in variants:
        f = m.function(f"internal void tile_{rows}({SIGNATURE})", APART)
        a, *bs, table, depth, add, out0, out1, step, n0, n1, odd = f.params
        sums = [[f.var(wide, f.load(wide, add, i * cols + v * n)) for v in range(VECTORS)] for i in range(rows)]
        for i in range(rows):  # often a page apart: lines are on their way here while sums are made
            for out in (out0, out1):
                f.prefetch(f.gep(acc, out, step * i), write=True)
        with f.loop(0, depth) as k:
            at = f.load("i64", table, k)
            xs = [f.load(wide, b, at) for b in bs]
            for i in range(rows):
                w = f.splat(f.load(acc, a, k * rows + i), n)
                for s, x in zip(sums[i], xs, strict=True):
                    s.set(f.fma(w, x, s.get()))
        masks = [short_mask(f, n, count) for count in (n0, n1)]
        for i in range(rows):
            for v, out in enumerate((out0, out1)):
                if i == rows - 1:
                    masks[v] = short_mask(f, n, f.select(odd != 0, 0, (n0, n1)[v]))
                f.mstore(sums[i][v].get(), f.gep(acc, out, step * i), masks[v])
    f = m.function(f"void {name_of(acc)}({SIGNATURE}, i64 rows)")  # last: the other arguments stay where they are
    *rest, rows = f.params
    cases = " ".join(f"i64 {r}, label %rows{r}" for r in variants)
    f.do(f"switch {rows}, label %done [{cases}]")
    f.closed = True
    for r in variants:
        f.label_after(f"rows{r}")
        f.call("void", f"tile_{r}", *rest)
        f.jump("done")
    f.label_after("done")
    return m


@cache
def tile(acc: str) -> Code:
    """The tile, compiled; other code imports it by name."""
    native = engine()
    parts = [("kernel", "convolution tile"), ("accumulator", acc)]
    code = native.load(lambda: str(text(native.target, acc)), [name_of(acc)], parts=parts)
    native.provide(name_of(acc), code[name_of(acc)])
    return code


def pack_text(target: Target, dtype: str) -> Module:
    """IR of the packing of a[g, m, k], `k`: tile i of group g as [k][rows], and what its sums begin with as [row][cols].

    Chunks are (g, i); `table` holds where each k is.
    """
    memory, acc = TYPES[dtype]
    n = lanes(target, acc)
    cols = n * VECTORS
    m = Module(f"convolution weights {dtype}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    to, start, a, bias, table = (f.load("ptr", f.gep("i64", args, i)) for i in range(5))
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(PACK_SLOTS) if i >= 5}
    pairs = (w["m"] + 1) >> 1
    iota = V(f, f"<{n} x i64>", "<" + ", ".join(f"i64 {i}" for i in range(n)) + ">")
    ptrs, zero = f"<{n} x ptr>", f.value(0, vector(memory, n))
    with f.loop(begin, end) as chunk:
        g, i = chunk // w["tiles"], chunk % w["tiles"]
        r0, rows = spread_pairs(f, i, pairs, w["tiles"])
        real = f.min(rows, w["m"] - r0)
        src = f.gep(memory, a, g * w["ag"] + r0 * w["am"])
        panel = f.gep(acc, to, (g * pairs * 2 + r0) * w["k"])
        with f.loop(0, rows, n) as lane:
            count = f.min(rows - lane, n)
            here, there = short_mask(f, n, real - lane), short_mask(f, n, count)
            offsets = (iota + f.splat(lane, n)) * f.splat(w["am"], n)
            with f.loop(0, w["k"]) as k:
                at = f.gep(memory, src, f.load("i64", table, k))
                places = f.emit(ptrs, f"getelementptr {memory}, {at}, {offsets}")
                kind = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64"}[memory]
                got = f.call(vector(memory, n), f"llvm.masked.gather.v{n}{kind}.v{n}p0", places,
                             f.value(size(memory), "i32"), here, zero)  # fmt: skip
                f.mstore(widen(f, got, acc), f.gep(acc, panel, k * rows + lane), there)
        first = f.gep(acc, start, (g * pairs * 2 + r0) * cols)
        with f.loop(0, rows) as r:
            b = f.var(acc, 0)
            with f.when((r < real) & (f.convert("ptrtoint", bias, "i64") != 0)):
                b.set(widen(f, f.load(memory, bias, g * w["sg"] + (r0 + r) * w["sm"]), acc))
            for v in range(VECTORS):
                f.store(f.splat(b.get(), n), first, r * cols + v * n)
    return m


@cache
def weights(dtype: str) -> Code:
    """The packing of weights, compiled."""
    native = engine()
    parts = [("kernel", "convolution weights"), ("dtype", dtype)]
    return native.load(lambda: str(pack_text(native.target, dtype)), ["k"], parts=parts)
