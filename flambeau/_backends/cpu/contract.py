"""Matrix products: packing, a register-tiled micro-kernel, an epilogue. One kernel per dtype and epilogue, any shape.

    out[p, q, m, n] = epilogue(sum over k of a[p, q, m, k] * b[p, q, k, n])

Two batch axes and every stride are run-time values, so one compiled kernel serves all shapes. The scheme is that of
GotoBLAS and BLIS (Van Zee & van de Geijn 2015): a block of `out` is cut into tiles that fit the vector registers; the
parts of `a` and `b` that a block needs are first copied into panels which the micro-kernel reads front to back.

- A chunk is one block of `out`. It packs for itself: threads share nothing and never wait for one another.
- A tile is `rows` x `cols` (14 x 32 floats with AVX-512: 28 accumulators, 2 registers of `b`, 1 broadcast of `a`). The
  rows of a block are spread evenly over its tiles, so that 64 rows are 13 + 13 + 13 + 13 + 12 and none is padding.
- Sums run over k in blocks of `depth`, in order; partial tiles wait in scratch memory in the accumulator's dtype. The
  blocks depend on shapes alone, so the bits of a result do not depend on threads.

Half and bfloat16 are widened while packing and summed in float32; where the CPU multiplies pairs of bfloat16
(AVX512-BF16), panels hold pairs instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.emit import Function, Module, V, floating, lanes, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, Table, c_strides

# memory type and accumulator type of each dtype
TYPES = {
    "float32": ("float", "float"),
    "float64": ("double", "double"),
    "bfloat16": ("bfloat", "float"),
    "float16": ("half", "float"),
    "int8": ("i8", "i32"),
    "uint8": ("i8", "i32"),
    "int16": ("i16", "i32"),
    "int32": ("i32", "i32"),
    "int64": ("i64", "i64"),
}

IN_PLACE = 6  # tiles of rows up to which reading `b` twice is cheaper than packing it

SIZES = ("p", "q", "m", "n", "k")  # extents
BLOCK = ("mb", "nb", "kb")  # the block of `out` that is a chunk, and the depth of a packed panel
STRIDES = tuple(f"{x}{d}" for x, dims in (("a", "pqmk"), ("b", "pqkn"), ("c", "pqmn")) for d in dims)  # in elements
SLOTS = ("c", "a", "b", *SIZES, *BLOCK, *STRIDES)  # then 4 per operand of the epilogue, then its scalars


@dataclass(frozen=True)
class Tile:
    """The micro-kernel's shape: `rows` rows of `vectors` vectors of `lanes` elements."""

    rows: int
    vectors: int
    lanes: int
    pairs: bool = False  # panels hold pairs of bfloat16 along k

    @property
    def cols(self) -> int:
        return self.vectors * self.lanes


def tile(target: Target, dtype: str) -> Tile:
    """As many accumulators as there are registers, less two or three for operands."""
    memory, acc = TYPES[dtype]
    n = target.vector_bytes // size(acc)
    pairs = memory == "bfloat" and target.has("avx512bf16")
    if target.registers == 32:
        return Tile(14, 2, n, pairs) if target.vector_bytes == 64 else Tile(8, 3, n)  # NEON: 24 accumulators
    return Tile(6, 2, n)


@dataclass(frozen=True)
class Epilogue:
    """What is done with a sum before it is stored.

    `operands` are (dtype, along): "row" reads a vector along n (its n stride is 1), "column" one number for all n. Each
    has a pointer and strides for p, q, m. `scalars` are float64 slots. `body(f, sum, operands, scalars)` emits it.
    """

    name: str
    operands: tuple[tuple[str, str], ...] = ()
    scalars: int = 0
    body: Callable[[Function, V, list[V], list[V]], V] = lambda f, x, operands, scalars: x


PLAIN = Epilogue("plain")
ADD_ROW = lambda dtype: Epilogue(f"add-row-{dtype}", ((dtype, "row"),), 0, lambda f, x, o, s: x + o[0])
ADD_COLUMN = lambda dtype: Epilogue(f"add-column-{dtype}", ((dtype, "column"),), 0, lambda f, x, o, s: x + o[0])


def scaled(dtype: str, along: str = "row") -> Epilogue:
    """alpha * sum + beta * operand."""
    return Epilogue(f"scaled-{along}-{dtype}", ((dtype, along),), 2, lambda f, x, o, s: f.fma(o[0], s[1], x * s[0]))


APART = "nounwind noinline"  # inlined into one large function, these would compete for registers and compile slowly


# -- packing --------------------------------------------------------------------------------------------------------


def transpose(f: Function, rows: list[V]) -> list[V]:
    """n vectors of n lanes -> their transpose, in log2(n) rounds of two-operand shuffles."""
    n = len(rows)
    d = n // 2
    while d:
        order = [i if i & d == 0 else i - d + n for i in range(n)]  # of row r and r + d: the blocks with bit d clear
        other = [i + d if i & d == 0 else i + n for i in range(n)]
        done = list(rows)
        for r in range(n):
            if r & d == 0:
                done[r], done[r + d] = f.shuffle(rows[r], rows[r + d], order), f.shuffle(rows[r], rows[r + d], other)
        rows, d = done, d // 2
    return rows


def widen(f: Function, x: V, to: str) -> V:
    """A value in memory's type, in the accumulator's."""
    type = vector(to, lanes(x.type))
    if x.type == type:
        return x
    return f.convert("fpext" if floating(to) else "sext", x, type)


def narrow(f: Function, x: V, to: str) -> V:
    type = vector(to, lanes(x.type))
    if x.type == type:
        return x
    return f.convert("fptrunc" if floating(to) else "trunc", x, type)


def packer(m: Module, name: str, memory: str, acc: str, n: int) -> None:
    """Defines name(dst, step, src, lanes, depth, lane_stride, k_stride): dst[k * step + lane] = src[lane, k].

    Writes whole vectors of n lanes: lanes past `lanes` are rubbish, and nothing past them is read. Rows are written in
    order of k, so with a step below n each row overwrites the rubbish of the one before.
    """
    f = m.function(
        f"internal void {name}(ptr noalias dst, i64 step, ptr noalias src, i64 count, i64 depth, i64 sl, i64 sk)", APART
    )
    dst, step, src, count, depth, sl, sk = f.params
    count = f.min(count, n)
    at = lambda lane, k: f.gep(memory, src, lane * sl + k * sk)
    put = lambda x, k: f.store(widen(f, x, acc), dst, k * step)
    wide = vector(memory, n)
    start = f.var("i64", 0)
    with f.when(sl == 1):  # a row of the panel is contiguous
        with f.when(count >= n):
            with f.loop(0, depth) as k:
                put(f.load(wide, at(f.value(0, "i64"), k)), k)
            f.ret()
        mask = f.lane_mask(n, count)
        with f.loop(0, depth) as k:
            put(f.mload(wide, at(f.value(0, "i64"), k), mask), k)
        f.ret()
    with f.when(sk == 1):  # blocks of n x n are transposed in registers
        last = count - 1
        lane = [f.gep(memory, src, f.min(f.value(i, "i64"), last) * sl) for i in range(n)]
        full = depth & -n
        with f.loop(0, full, n) as k:
            rows = transpose(f, [widen(f, f.load(wide, p, k), acc) for p in lane])
            for i, row in enumerate(rows):
                put(row, k + i)
        start.set(full)
    with f.loop(start.get(), depth) as k:
        with f.loop(0, count) as i:
            f.store(widen(f, f.load(memory, at(i, k)), acc), dst, k * step + i)


def pair_packer(m: Module, name: str, n: int) -> None:
    """As `packer`, for bfloat16 in pairs: dst[(k // 2) * step + lane] holds src[lane, k] and src[lane, k + 1].

    A last odd k is paired with 0.
    """
    f = m.function(
        f"internal void {name}(ptr noalias dst, i64 step, ptr noalias src, i64 count, i64 depth, i64 sl, i64 sk)", APART
    )
    dst, step, src, count, depth, sl, sk = f.params
    count = f.min(count, n)
    even = depth & -2
    with f.either((sk == 1) & (sl != 1)) as otherwise:  # pairs are whole in memory: they travel as 32-bit words
        last = count - 1
        lane_at = [f.gep("bfloat", src, f.min(f.value(i, "i64"), last) * sl) for i in range(n)]
        full = depth & (-2 * n)
        with f.loop(0, full, 2 * n) as k:
            rows = transpose(f, [f.load(f"<{n} x i32>", f.gep("bfloat", p, k), align=2) for p in lane_at])
            for i, row in enumerate(rows):
                f.store(row, dst, ((k >> 1) + i) * step)
        with f.loop(full, even, 2) as k, f.loop(0, count) as i:
            f.store(f.load("i32", f.gep("bfloat", src, i * sl + k), align=2), dst, (k >> 1) * step + i)
        otherwise()
        with f.either((sl == 1) & (count >= n)) as otherwise2:
            with f.loop(0, even, 2) as k:
                x, y = (f.load(f"<{n} x i16>", f.gep("bfloat", src, (k + i) * sk)) for i in (0, 1))
                f.store(
                    f.shuffle(x, y, [i // 2 + n * (i % 2) for i in range(2 * n)]), f.gep("i32", dst, (k >> 1) * step)
                )
            otherwise2()
            with f.loop(0, even, 2) as k, f.loop(0, count) as i:
                x, y = (
                    f.convert("zext", f.load("i16", f.gep("bfloat", src, i * sl + (k + j) * sk)), "i32") for j in (0, 1)
                )
                f.store(x | y << 16, dst, (k >> 1) * step + i)
    with f.when(even < depth), f.loop(0, count) as i:
        x = f.convert("zext", f.load("i16", f.gep("bfloat", src, i * sl + even * sk)), "i32")
        f.store(x, dst, (even >> 1) * step + i)


# -- computing ------------------------------------------------------------------------------------------------------


def micro_kernel(m: Module, t: Tile, rows: int, acc: str, table: bool = False) -> None:
    """Defines tile_<rows>(a, b, b_step, depth, out, first): out[rows][cols] (+)= panel of a times panel of b.

    With `table`, b_step is a pointer to the offsets of the rows of b instead of their distance.
    """
    step = "ptr noalias" if table else "i64"
    f = m.function(
        f"internal void tile_{rows}(ptr noalias a, ptr noalias b, {step} b_step, i64 depth, ptr noalias out, i1 first)",
        APART,
    )
    a, b, b_step, depth, out, first = f.params
    wide = vector(acc, t.lanes)
    sums = [[f.var(wide, 0) for _ in range(t.vectors)] for _ in range(rows)]
    with f.loop(0, depth) as k:
        element = "i32" if t.pairs else acc
        line = f.gep(element, b, f.load("i64", b_step, k) if table else k * b_step)
        bs = [f.load(vector(element, t.lanes), line, v * t.lanes) for v in range(t.vectors)]
        for i in range(rows):
            x = f.splat(f.load(element, a, k * rows + i), t.lanes)
            for v in range(t.vectors):
                s = sums[i][v]
                s.set(pair_product(f, s.get(), x, bs[v], t) if t.pairs else f.fma(x, bs[v], s.get()))
    with f.when(first):
        for i in range(rows):
            for v in range(t.vectors):
                f.store(sums[i][v].get(), out, i * t.cols + v * t.lanes)
        f.ret()
    for i in range(rows):
        for v in range(t.vectors):
            at = f.gep(acc, out, i * t.cols + v * t.lanes)
            f.store(f.load(wide, at) + sums[i][v].get(), at)


def run_tile(f: Function, t: Tile, rows: V, *args: V) -> None:
    """Calls the micro-kernel for a number of rows known at run time."""
    name = f.fresh("rows")
    f.do(f"switch {rows}, label %{name}.done [{' '.join(f'i64 {r}, label %{name}.{r}' for r in range(1, t.rows + 1))}]")
    f.closed = True
    for r in range(1, t.rows + 1):
        f.label_after(f"{name}.{r}")
        f.call("void", f"tile_{r}", *args)
        f.jump(f"{name}.done")
    f.label_after(f"{name}.done")


def pair_product(f: Function, s: V, x: V, y: V, t: Tile) -> V:
    """s + x0 * y0 + x1 * y1 for pairs of bfloat16."""
    pairs = f"<{2 * t.lanes} x bfloat>"
    x, y = f.convert("bitcast", x, pairs), f.convert("bitcast", y, pairs)
    return f.call(s.type, f"llvm.x86.avx512bf16.dpbf16ps.{64 * t.lanes // 2}", s, x, y)


def finish(m: Module, t: Tile, memory: str, acc: str, e: Epilogue, slots: Sequence[str]) -> None:
    """Defines finish(args, sums, p, q, m0, rows, n0, at, cols): the epilogue of one tile, stored.

    `n0` is the tile's first column, for operands along n; `at` is where in `out` it is, in elements.
    """
    f = m.function(
        "internal void finish(ptr args, ptr noalias sums, i64 p, i64 q, i64 m0, i64 rows, i64 n0, i64 at, i64 cols)",
        APART,
    )
    args, sums, p, q, m0, rows, n0, start, cols = f.params
    slot = {name: i for i, name in enumerate(slots)}
    word = lambda i, type="i64": f.load(type, args, None) if i == 0 else f.load(type, f.gep("i64", args, i))
    cm, cn = word(slot["cm"]), word(slot["cn"])
    out = f.gep(memory, word(slot["c"], "ptr"), p * word(slot["cp"]) + q * word(slot["cq"]) + start)
    operands = []
    for j, (dtype, along) in enumerate(e.operands):
        first = len(slots) + 4 * j
        base, sp, sq, sm = word(first, "ptr"), word(first + 1), word(first + 2), word(first + 3)
        operands.append((TYPES[dtype][0], along, f.gep(TYPES[dtype][0], base, p * sp + q * sq), sm))
    scalars = []
    for j in range(e.scalars):
        s = word(len(slots) + 4 * len(e.operands) + j, "double")
        s = s if acc == "double" else f.convert("fptrunc", s, acc) if floating(acc) else f.convert("fptosi", s, acc)
        scalars.append(f.splat(s, t.lanes))
    row = f.alloca(vector(memory, t.lanes), align=64)
    with f.loop(0, rows) as i:
        line = f.gep(memory, out, (m0 + i) * cm)
        with f.loop(0, cols, t.lanes) as v:
            x = f.load(vector(acc, t.lanes), sums, i * t.cols + v)
            places = [(type, along, f.gep(type, base, (m0 + i) * sm + (n0 + v if along == "row" else 0)))
                      for type, along, base, sm in operands]  # fmt: skip

            def value(read: Callable[[str, V], V], x: V = x, places: Any = places) -> V:
                """The epilogue of x, with operands along the row read by `read`."""
                got = []
                for type, along, p in places:
                    o = read(vector(type, t.lanes), p) if along == "row" else f.splat(f.load(type, p), t.lanes)
                    got.append(widen(f, o, acc))
                return narrow(f, e.body(f, x, got, scalars), memory)

            at, left = f.gep(memory, line, v * cn), cols - v
            with f.either((left >= t.lanes) & (cn == 1)) as otherwise:
                f.store(value(f.load), at)
                otherwise()
                left = f.min(left, t.lanes)
                mask = f.lane_mask(t.lanes, left)
                made = value(lambda type, p, mask=mask: f.mload(type, p, mask))
                with f.either(cn == 1) as otherwise2:
                    f.mstore(made, at, mask)
                    otherwise2()
                    f.store(made, row)
                    with f.loop(0, left) as j:
                        f.store(f.load(memory, row, j), at, j * cn)


def text(target: Target, dtype: str, e: Epilogue) -> Module:
    """IR of one contraction kernel, `k`."""
    memory, acc = TYPES[dtype]
    t = tile(target, dtype)
    m = Module(f"contraction {dtype} {e.name} {t}")
    element = "i32" if t.pairs else acc  # of panels
    if t.pairs:
        pair_packer(m, "pack", t.lanes)
    else:
        packer(m, "pack", memory, acc, t.lanes)
    for rows in range(1, t.rows + 1):
        micro_kernel(m, t, rows, acc)
    finish(m, t, memory, acc, e, SLOTS)

    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    a_, b_ = (f.load("ptr", f.gep("i64", args, i)) for i in (1, 2))
    w = {name: f.load("i64", f.gep("i64", args, 3 + i)) for i, name in enumerate(SLOTS[3:])}
    up = lambda x, n: (x + (n - 1)) // n
    mblocks, nblocks = up(w["m"], w["mb"]), up(w["n"], w["nb"])
    deep = w["kb"] + 1 >> 1 if t.pairs else w["kb"]  # steps of a full panel
    ap = scratch
    bp = f.gep(element, ap, (w["mb"] + t.lanes) * deep + t.lanes)
    sums = f.gep(element, bp, up(w["nb"], t.cols) * t.cols * deep)
    with f.loop(begin, end) as chunk:
        n0, rest = chunk % nblocks * w["nb"], chunk // nblocks
        m0, rest = rest % mblocks * w["mb"], rest // mblocks
        p, q = rest // w["q"], rest % w["q"]
        a0 = f.gep(memory, a_, p * w["ap"] + q * w["aq"] + m0 * w["am"])
        b0 = f.gep(memory, b_, p * w["bp"] + q * w["bq"] + n0 * w["bn"])
        rows, cols = f.min(w["m"] - m0, w["mb"]), f.min(w["n"] - n0, w["nb"])
        tiles = up(rows, t.rows)
        few, more = rows // tiles, rows % tiles  # `more` tiles have one row above `few`
        # k == 0 still stores the epilogue of 0: the loop runs at least once
        with f.loop(0, f.max(w["k"], 1), w["kb"]) as k0:
            depth = f.min(w["k"] - k0, w["kb"])
            steps = depth + 1 >> 1 if t.pairs else depth
            with f.loop(0, tiles) as i:
                r0, n = i * few + f.min(i, more), few + f.convert("zext", i < more, "i64")
                # groups of lanes from the last to the first: each overwrites the rubbish of the one after it
                for g in reversed(range(-(-t.rows // t.lanes))):
                    with f.when(n > g * t.lanes):
                        src = f.gep(memory, a0, (r0 + g * t.lanes) * w["am"] + k0 * w["ak"])
                        f.call(
                            "void",
                            "pack",
                            f.gep(element, ap, r0 * steps + g * t.lanes),
                            n,
                            src,
                            n - g * t.lanes,
                            depth,
                            w["am"],
                            w["ak"],
                        )
            # `b` is read in place where its rows are contiguous and too few tiles read them to pay for a copy
            direct = (w["bn"] == 1) & (tiles <= IN_PLACE) if not t.pairs and memory == acc else f.value(0, "i1")
            whole = cols - cols % t.cols
            with f.loop(f.select(direct, whole, 0, "i64"), cols, t.cols) as j:
                for v in range(t.vectors):
                    n = cols - j - v * t.lanes
                    with f.when(n > 0):
                        src = f.gep(memory, b0, (j + v * t.lanes) * w["bn"] + k0 * w["bk"])
                        f.call(
                            "void",
                            "pack",
                            f.gep(element, bp, j * steps + v * t.lanes),
                            f.value(t.cols, "i64"),
                            src,
                            n,
                            depth,
                            w["bn"],
                            w["bk"],
                        )
            first, last = k0 == 0, k0 + w["kb"] >= w["k"]
            single = first & last
            with f.loop(0, cols, t.cols) as j:
                in_place = direct & (j < whole)
                panel = f.select(in_place, f.gep(memory, b0, k0 * w["bk"] + j), f.gep(element, bp, j * steps))
                b_step = f.select(in_place, w["bk"], t.cols)
                with f.loop(0, tiles) as i:
                    r0, n = i * few + f.min(i, more), few + f.convert("zext", i < more, "i64")
                    keep = f.select(single, 0, j * rows + r0 * t.cols, "i64")
                    s = f.gep(acc, sums, keep)
                    run_tile(f, t, n, f.gep(element, ap, r0 * steps), panel, b_step, steps, s, first)
                    with f.when(last):
                        f.call(
                            "void",
                            "finish",
                            args,
                            s,
                            p,
                            q,
                            m0 + r0,
                            n,
                            n0 + j,
                            (n0 + j) * w["cn"],
                            f.min(cols - j, t.cols),
                        )
    return m


@cache
def kernel(dtype: str, e: Epilogue = PLAIN) -> Code:
    """The compiled contraction; `code["k"]` has the signature of every kernel."""
    native = engine()
    parts = [("kernel", "contraction"), ("dtype", dtype), ("epilogue", e.name)]
    return native.load(lambda: str(text(native.target, dtype, e)), ["k"], parts=parts)


# -- plans ----------------------------------------------------------------------------------------------------------


def blocks(m: int, n: int, k: int, batch: int) -> tuple[int, int, int]:
    """(mb, nb, kb): larger blocks pack less, smaller ones make chunks for more threads. From shapes alone."""
    kb = -(-k // -(-k // DEPTH)) if k else 1
    kb += kb & 1  # pairs of k stay together
    mb, nb = LARGE, LARGE
    # halve the longer side while there are few chunks and each is still long enough to be worth handing out
    while batch * -(-m // mb) * -(-n // nb) < CHUNKS and min(mb, m) * min(nb, n) * k > 2 * GRAIN:
        if min(mb, m) >= min(nb, n):
            mb = -(-min(mb, m) // 2)
        else:
            nb = -(-min(nb, n) // 2)
            nb += -nb % 32
    return mb, nb, kb


DEPTH = 384  # a panel of `a` is 14 x 384 floats, 21 KB, and stays in the first-level cache
LARGE = 512  # a packed block of 512 x 384 floats is 768 KB: with one of each operand, the second-level cache and a bit
CHUNKS = 16
GRAIN = 1 << 19  # multiplications in a chunk: about 10 us


@dataclass(frozen=True)
class Operand:
    """Where an operand of a product is: the slot's source, and its strides over (p, q, rows, columns) in elements."""

    slot: tuple[int, int]
    strides: tuple[int, int, int, int]


def launch(
    dtype: str,
    extents: tuple[int, int, int, int, int],
    c: Operand,
    a: Operand,
    b: Operand,
    e: Epilogue = PLAIN,
    operands: Sequence[Operand] = (),
    scalars: Sequence[tuple[int, int]] = (),
) -> Launch:
    """A product as a launch of a plan; `extents` are p, q, m, n, k.

    `operands` of the epilogue name their strides over (p, q, m, n); of these n's is 1 for a row and 0 for a column.
    """
    p, q, m, n, k = extents
    t = tile(engine().target, dtype)
    mb, nb, kb = blocks(m, n, k, p * q)
    mb, nb = max(1, min(mb, m)), max(1, min(nb, n))
    constants = [*extents, mb, nb, kb, *a.strides, *b.strides, *c.strides]
    slots = [c.slot, a.slot, b.slot, *((CONST, x) for x in constants)]
    for o in operands:
        slots += [o.slot, *((CONST, x) for x in o.strides[:3])]
    word = size(TYPES[dtype][1])
    panel = (kb + 1 >> 1 if t.pairs else kb) * word  # bytes of one lane of a panel
    wide = -(-nb // t.cols) * t.cols
    scratch = (mb + t.lanes) * panel + t.lanes * word + wide * panel + mb * wide * word
    chunks = p * q * -(-m // mb) * -(-n // nb)
    return Launch(kernel(dtype, e)["k"], (*slots, *scalars), chunks, scratch)


def collapse(shape: Sequence[int], *strides: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """Merges neighbouring axes that every operand walks in one stride; drops axes of size 1."""
    dims: list[int] = []
    walks: list[list[int]] = []
    for n, *steps in zip(shape, *strides, strict=True):
        if n == 1:
            continue
        if dims and all(outer == inner * n for outer, inner in zip(walks[-1], steps, strict=True)):
            dims[-1] *= n
            walks[-1] = steps
        else:
            dims.append(n)
            walks.append(steps)
    return dims, walks


def matmul_plan(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Plan | None:
    """The plan of `a @ b` for arrays of two or more dimensions; None where the template has no form for it."""
    dtype = a.dtype.name
    if dtype not in TYPES or b.dtype is not a.dtype or a.ndim < 2 or b.ndim < 2:
        return None
    item = a.itemsize
    if any(s % item for x in (a, b) for s in x.strides):
        return None
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    if (m == 1 or n == 1) and k > 1 and dtype in ("float32", "float64"):
        return None  # a matrix times a vector reads everything once: BLAS does not pack it
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    step = lambda x: [s // item for s in np.broadcast_to(x, (*batch, *x.shape[-2:])).strides]
    sa, sb = step(a), step(b)
    sc = [s // item for s in c_strides(Result(a.dtype, (*batch, m, n)))]
    # a batch that `b` does not have is more rows of `a`
    dims, walks = collapse(batch, sa[:-2], sb[:-2], sc[:-2])
    if dims and walks[-1][1] == 0 and walks[-1][0] == m * sa[-2]:
        m, dims, walks = m * dims[-1], dims[:-1], walks[:-1]
    if len(dims) > 2:
        return None
    while len(dims) < 2:
        dims, walks = [1, *dims], [[0, 0, 0], *walks]
    (p, q), (wp, wq) = dims, walks
    oa = Operand((ARG, 0), (wp[0], wq[0], sa[-2], sa[-1]))
    ob = Operand((ARG, 1), (wp[1], wq[1], sb[-2], sb[-1]))
    oc = Operand((OUT, 0), (wp[2], wq[2], n, 1))
    cols = tile(engine().target, dtype).cols
    if 4 * n * -(-m // cols) < 3 * m * -(-n // cols):  # the transpose wastes fewer lanes of its vectors
        swap = lambda o: Operand(o.slot, (*o.strides[:2], o.strides[3], o.strides[2]))
        m, n, oa, ob, oc = n, m, swap(ob), swap(oa), swap(oc)
    work = launch(dtype, (p, q, m, n, k), oc, oa, ob)
    return Plan(
        (Result(a.dtype, (*batch, *(a.shape[-2], b.shape[-1]))),),
        (work,),
        release=p * q * m * n * k > 2 * GRAIN,
        keep=(kernel(dtype),),
    )


@cache
def matmul_table() -> Table:
    return Table("matmul")


def matmul(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """`a @ b`, or None where the array library should do it."""
    table = matmul_table()
    out = table.call(a, b)
    if out is None:
        plan = matmul_plan(a, b)
        if plan is None:
            return None
        table.add((a, b), plan)
        out = table.call(a, b)
    return out
