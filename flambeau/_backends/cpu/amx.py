"""Products of bfloat16 by tile instructions (Intel AMX), summed in float32 and rounded once.

The scheme is that of `product`, with other numbers: a tile of `out` is 32 x 32, four of the eight tile registers; one
instruction multiplies 16 rows of 32 elements of `a` by 16 columns, whose elements lie in pairs along k. `b` is always
copied into such pairs, padded with zeros to whole tiles; `a` is read in place where its rows are contiguous, whole tiles
fit and they do not fall onto one another in the cache.

Linux lends a process its tile registers when asked, once; what a tile looks like is a setting of each thread, made when
a chunk begins and cleared when it ends. Where the kernel refuses, `product` does without.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from flambeau._backends.cpu.contract import PLAIN, TYPES, Epilogue
from flambeau._backends.cpu.emit import APART, Function, Module, V, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.pack import pair_packer
from flambeau._backends.cpu.product import SLOTS, arguments, ceil, units
from flambeau._backends.cpu.registers import narrow, transpose, widen

SIDE, DEPTH = 32, 32  # of a tile of `out`, and elements of k that one step takes
LANES = 16
STEP = 2048  # bytes of a step of either panel: two tiles
SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18


@cache
def allowed() -> bool:
    """Whether this process may use tile registers; asks for them. Children of a fork may too."""
    if not sys.platform.startswith("linux"):
        return False
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype, syscall.argtypes = ctypes.c_long, [ctypes.c_long] * 3
    return syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0


def has_tiles(target: Target) -> bool:
    return target.has("amx-bf16") and target.has("amx-tile") and target.has("avx512f") and target.linux


@dataclass(frozen=True)
class TileForm:
    """What a kernel is specialised to: how `a` is read, as in `product.Form`; the epilogue."""

    a: str
    turned: bool = False  # `out` is written transposed: the product was given as that of the transposes
    epilogue: Epilogue = PLAIN


def configure(f: Function) -> None:
    """Eight tiles of 16 rows of 64 bytes."""
    setting = f.alloca("i8", 64, align=64)
    f.store(f.value(0, "<64 x i8>"), setting, align=64)
    f.store(f.value(1, "i8"), setting)  # the palette
    f.store(f.value(64, "<8 x i16>"), setting + 16)
    f.store(f.value(16, "<8 x i8>"), setting + 48)
    f.call("void", "llvm.x86.ldtilecfg", setting)


def instruction(f: Function, name: str, *args: V | int) -> None:
    """A tile instruction; numbers are tile registers, and immediate."""
    m = f.module
    types = ["i8" if isinstance(x, int) else x.type for x in args]
    m.declare("void", f"llvm.x86.{name}", [t if t != "i8" else "i8 immarg" for t in types])
    listed = ", ".join(f"i8 {x}" if isinstance(x, int) else str(x) for x in args)
    f.do(f"call void @llvm.x86.{name}({listed})")


def micro(m: Module, e: Epilogue, turned: bool) -> None:
    """Defines tile(args, a, a_row, a_step, b, steps, part, step, flags, p, q, m0, n0, rows, cols): 32 x 32 of `out`.

    As `product.micro`; a_row and a_step are the bytes between rows of `a` and from one step of k to the next.
    `low` is the lower half's first row: the upper half again where there are at most 16 rows in place.
    """
    f = m.function(
        "internal void tile(ptr args, ptr noalias a, ptr noalias low, i64 a_row, i64 a_step, ptr noalias b, i64 steps, ptr part, i64 step, "
        "i64 flags, i64 p, i64 q, i64 m0, i64 n0, i64 rows, i64 cols)",
        APART,
    )
    args, a, low, a_row, a_step, b, steps, part, step, flags, p, q, m0, n0, rows, cols = f.params
    quarters = [(i, j, 2 * i + j) for i in (0, 1) for j in (0, 1)]
    bytes_ = step * 4
    at = lambda base, by, i, j: base + (by * (LANES * i) + 64 * j)
    with f.either((flags & 1) != 0) as otherwise:
        for *_, c in quarters:
            instruction(f, "tilezero", c)
        otherwise()
        for i, j, c in quarters:
            instruction(f, "tileloadd64", c, at(part, bytes_, i, j), bytes_)
    line = f.value(128, "i64")
    with f.loop(0, steps) as s:
        here_a, here_low, here_b = a + s * a_step, low + s * a_step, b + s * STEP
        instruction(f, "tileloadd64", 6, here_b, line)
        instruction(f, "tileloadd64", 4, here_a, a_row)
        instruction(f, "tdpbf16ps", 0, 4, 6)
        instruction(f, "tileloadd64", 7, here_b + 64, line)
        instruction(f, "tdpbf16ps", 1, 4, 7)
        instruction(f, "tileloadd64", 5, here_low, a_row)
        instruction(f, "tdpbf16ps", 2, 5, 6)
        instruction(f, "tdpbf16ps", 3, 5, 7)
        for i in range(0, STEP, 64):
            f.prefetch(here_b + (2 * STEP + i))
    with f.when((flags & 2) == 0):
        for i, j, c in quarters:
            instruction(f, "tilestored64", c, at(part, bytes_, i, j), bytes_)
        f.ret()
    sums = f.alloca("float", SIDE * SIDE, align=64)
    for i, j, c in quarters:
        instruction(f, "tilestored64", c, at(sums, line, i, j), line)
    finish(f, e, "bfloat", turned, sums, (args, p, q, m0, n0, rows, cols))


def finish(f: Function, e: Epilogue, memory: str, turned: bool, sums: V, where: tuple[V, ...]) -> None:
    """Rounds 32 x 32 sums to what lies in memory, through the epilogue: the end of a micro-kernel."""
    args, p, q, m0, n0, rows, cols = where
    slot = {name: i for i, name in enumerate(SLOTS)}
    word = lambda i, type="i64": f.load(type, f.gep("i64", args, i))
    if turned:  # from here on rows and columns are those of `out`
        m0, n0, rows, cols = n0, m0, f.min(cols, SIDE), rows
    operands = []
    for j, (dtype, along) in enumerate(e.operands):
        kind, first = TYPES[dtype][0], len(SLOTS) + 4 * j
        base = f.gep(kind, word(first, "ptr"), p * word(first + 1) + q * word(first + 2) + m0 * word(first + 3))
        operands.append((kind, along, base, word(first + 3)))
    scalars = [word(len(SLOTS) + 4 * len(e.operands) + j, "double") for j in range(e.scalars)]
    scalars = [f.splat(f.convert("fptrunc", s, "float"), LANES) for s in scalars]
    wide = vector("float", LANES)
    down = word(slot["cn" if turned else "cm"])
    out = f.gep(memory, word(slot["c"], "ptr"), p * word(slot["cp"]) + q * word(slot["cq"]) + m0 * down + n0)

    def put(x: V, i: V, v: int, mask: V | None) -> None:
        """Stores the v-th vector of row i; `mask`: which of its columns exist."""
        got = []
        for kind, along, base, sm in operands:
            place = f.gep(kind, base, sm * i + (n0 + v * LANES if along == "row" else 0))
            o = f.get(vector(kind, LANES), place, mask) if along == "row" else f.splat(f.load(kind, place), LANES)
            got.append(widen(f, o, "float"))
        made, to = narrow(f, e.body(f, x, got, scalars), memory), f.gep(memory, out, down * i + v * LANES)
        f.put(made, to, mask)

    def rest(masks: list[V | None]) -> None:
        """The epilogue of all rows; None is a vector whose columns all exist."""
        if turned:
            with f.loop(0, SIDE, LANES) as half, f.when(half < rows):
                for v, mask in enumerate(masks):
                    corner = f.gep("float", sums, half + v * LANES * SIDE)
                    block = transpose(f, [f.load(wide, corner, i * SIDE) for i in range(LANES)])
                    for i, x in enumerate(block):
                        with f.when(half + i < rows):
                            put(x, half + i, v, mask)
            return
        with f.loop(0, rows) as i:
            for v, mask in enumerate(masks):
                put(f.load(wide, sums, i * SIDE + v * LANES), i, v, mask)

    with f.either(cols >= SIDE) as otherwise:
        rest([None, None])
        otherwise()
        rest([f.lane_mask(LANES, cols - v * LANES) for v in (0, 1)])


def row_packer(m: Module, how: str) -> None:
    """Defines pack_a(dst, src, rows, depth, row_stride, k_stride): dst[k // 32][row][k % 32], 0 where there is nothing."""
    f = m.function("internal void pack_a(ptr noalias dst, ptr noalias src, i64 rows, i64 depth, i64 sm, i64 sk)", APART)
    dst, src, rows, depth, sm, sk = f.params
    wide = vector("i16", DEPTH)
    with f.loop(0, depth, DEPTH) as k:
        panel, left = f.gep("i16", dst, k * SIDE), depth - k
        with f.loop(f.select(f.min(rows, left) < SIDE, 0, SIDE, "i64"), SIDE) as i:
            f.store(f.value(0, wide), f.gep("i16", panel, i * DEPTH))
        for half in (0, LANES) if how == "lines" else ():
            block(f, panel, half, f.gep("i16", src, k * sk + half), sk, f.min(rows - half, LANES), left)
        with f.loop(0, rows if how != "lines" else 0) as i:
            row, to = f.gep("i16", src, i * sm + k * sk), f.gep("i16", panel, i * DEPTH)
            if how == "rows":
                with f.either(left >= DEPTH) as otherwise:
                    f.store(f.load(wide, row), to)
                    otherwise()
                    f.store(f.mload(wide, row, f.lane_mask(DEPTH, left)), to)
            else:
                with f.loop(0, f.min(left, DEPTH)) as j:
                    f.store(f.load("i16", row, j * sk), to, j)


def block(f: Function, panel: V, first: int, src: V, sk: V, count: V, left: V) -> None:
    """16 rows of a step whose elements of one k are neighbours: `count` of them, and `left` of k."""
    column = vector("i16", LANES)
    at = lambda j: f.gep("i16", src, sk * j)
    some = lambda j: f.lane_mask(LANES, f.select(left > j, count, 0, "i64"))
    with f.either((count >= LANES) & (left >= DEPTH)) as otherwise:
        turn(f, panel, first, lambda j: f.load(column, at(j)))
        otherwise()
        with f.when(count > 0):
            turn(f, panel, first, lambda j: f.mload(column, at(j), some(j)))


def turn(f: Function, panel: V, first: int, line: Callable[[int], V]) -> None:
    """Stores 16 rows of 32 elements; line(j) is the j-th column."""
    pair = [i // 2 + LANES * (i % 2) for i in range(2 * LANES)]
    words = vector("i32", LANES)
    pairs = [f.convert("bitcast", f.shuffle(line(2 * j), line(2 * j + 1), pair), words) for j in range(LANES)]
    for i, row in enumerate(transpose(f, pairs)):
        f.store(row, f.gep("i16", panel, (first + i) * DEPTH))


def text(target: Target, form: TileForm) -> Module:
    """IR of one kernel, `k`: chunks are groups of units, as in `product.text`."""
    m = Module(f"product of tiles {form.a} {form.turned} {form.epilogue.name}", target.has("avx512bf16"))
    micro(m, form.epilogue, form.turned)
    pair_packer(m, "pack_b", LANES)
    if form.a != "rows":
        row_packer(m, form.a[5:])
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, *_, scratch = f.params
    w = arguments(f)
    configure(f)
    deep = ceil(w["kb"], DEPTH)
    ap = scratch
    bp = ap + (deep * STEP if form.a != "rows" else 0)
    sums = bp + deep * STEP * ceil(w["nb"], SIDE)
    with units(f, w, SIDE) as (i0, i1, n0, cols, p, q):
        a0 = f.gep("bfloat", w["a"], p * w["ap"] + q * w["aq"])
        b0 = f.gep("bfloat", w["b"], p * w["bp"] + q * w["bq"] + n0 * w["bn"])
        with f.loop(0, f.max(w["k"], 1), w["kb"]) as k0:
            depth = f.min(w["k"] - k0, w["kb"])
            steps = ceil(depth, DEPTH)
            with f.loop(0, cols, SIDE) as j:
                panel = bp + j * (STEP // SIDE) * steps
                for v in (0, 1):
                    count, to = cols - j - v * LANES, panel + 64 * v
                    with f.loop(depth >> 1, steps * (DEPTH // 2)) as row:  # rubbish times 0 may be NaN
                        f.store(f.value(0, vector("i32", LANES)), to + row * 128)
                    with f.when(count > 0):
                        src = f.gep("bfloat", b0, (j + v * LANES) * w["bn"] + k0 * w["bk"])
                        f.call("void", "pack_b", to, f.value(SIDE, "i64"), src, count, depth, w["bn"], w["bk"])
            flags = f.select(k0 == 0, 1, 0, "i64") | f.select(k0 + w["kb"] >= w["k"], 2, 0, "i64")
            with f.loop(i0, i1) as i:
                row = i * SIDE
                rows = f.min(w["m"] - row, SIDE)
                src = f.gep("bfloat", a0, row * w["am"] + k0 * w["ak"])
                if form.a != "rows":
                    f.call("void", "pack_a", ap, src, rows, depth, w["am"], w["ak"])
                    a, low, a_row, a_step = ap, ap + STEP // 2, f.value(64, "i64"), f.value(STEP, "i64")
                else:
                    a, a_row, a_step = src, w["am"] * 2, f.value(64, "i64")
                    low = a + f.select(rows > LANES, a_row * LANES, 0, "i64")
                part, step = sums + (i - i0) * w["nb"] * (SIDE * 4), w["nb"]
                with f.loop(0, cols, SIDE) as j:
                    panel, here = bp + j * (STEP // SIDE) * steps, part + j * 4
                    f.call("void", "tile", args, a, low, a_row, a_step, panel, steps, here, step,
                           flags, p, q, row, n0 + j, rows, cols - j)  # fmt: skip
    f.call("void", "llvm.x86.tilerelease")
    return m


@cache
def kernel(form: TileForm) -> Code:
    """The compiled product; `code["k"]` has the signature of every kernel."""
    native = engine()
    parts = [("kernel", "product of tiles"), ("a", form.a), ("turned", form.turned), ("epilogue", form.epilogue.name)]
    return native.load(lambda: str(text(native.target, form)), ["k"], parts=parts, level=LIGHT)
