"""Products of float32 by tile instructions (Intel AMX): each number is the sum of three of bfloat16.

A float32 has 24 bits, a bfloat16 8: x = x1 + x2 + x3, exactly. Of the nine products of the parts of two numbers six are computed;
those left out are below 2^-23 of the whole. Products of bfloat16 are exact in float32, where
they are summed; on the way everything is rounded less often than by a sum of float32 numbers one after the other. The tile registers
multiply 16 times as fast as vectors of float32 do, so this is two to three times as fast.

The scheme is that of `amx`; both operands are packed by parts into panels that stay in the second-level cache: 32 rows of `a` or columns
of `b`, in steps of 32 of k of which element i and i + 16 are a pair, so that no element changes its lane. Partial sums wait in `out`, those
of tiles at its edges in scratch memory. Tile instructions take denormal numbers for zero, and parts of infinities are no numbers: panels
that hold a number from `HIGH` on or below `LOW`, and two whose smallest numbers make less than `LEAST`, are multiplied by vector
instructions (`plain`), where they lie. Which of the two runs depends on elements alone, and so do the bits.
"""

from __future__ import annotations

from functools import cache

from flambeau._backends.cpu.amx import DEPTH, LANES, SIDE, configure, finish, instruction
from flambeau._backends.cpu.contract import PLAIN, Epilogue
from flambeau._backends.cpu.emit import APART, Function, Module, V, literal, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.product import SLOTS, arguments, ceil, units
from flambeau._backends.cpu.registers import transpose

PART, TILE = 2048, 1024  # bytes from one part of a step to the next, and of a tile: two tiles of each part
STEP = 3 * PART
SHARED = 4  # panels of a chunk where they are packed for all threads
FEW = 4  # panels of `a` that are packed at a time: longer runs of memory
# Bits of numbers: tiles compute with those from LOW on and below HIGH. Two whose bits add up to LEAST make a product of which less than
# 2^-24 is lost where parts of it vanish.
HIGH, LOW, LEAST = (127 + 63) << 23, (127 - 100) << 23, (2 * 127 - 102) << 23
# Words of panels: of one that is not for tiles, and of zeros. Else the bits of its smallest number, less 1.
STRANGE, NOTHING = -1 << 40, (1 << 32) - 1
WIDE, WORDS = vector("float", LANES), vector("i32", LANES)


# -- packing ----------------------------------------------------------------------------------------------------------


def split(f: Function, x: V) -> list[V]:
    """A vector's three parts, as words whose upper halves are bfloat16."""
    parts = []
    for _ in range(2):
        bits = f.convert("bitcast", x, WORDS)
        up = f.emit(WORDS, f"add {bits}, {literal(WORDS, 0x8000)}")
        parts.append(up & -0x10000)
        x = x - f.convert("bitcast", parts[-1], WIDE)
    return [*parts, f.convert("bitcast", x, WORDS)]


def packer(m: Module, name: str, how: str) -> None:
    """Defines name(dst, src, count, left, along, down, turned), which gives the word of what it packs.

    It packs a step of up to 32 lanes; `left` of k are left. dst[part][lane // 16] are tiles: 16 rows, those of lanes, of 16 pairs of k
    or, with `turned`, 16 rows of pairs. Past `left` there are zeros, past `count` rubbish. `how` says whether elements of one lane are
    neighbours ("rows") or of one k ("lines"); the other way they come to lie turned.
    """
    f = m.function(
        f"internal i64 {name}(ptr noalias dst, ptr noalias src, i64 count, i64 left, i64 along, i64 down, i64 turned)",
        APART,
    )
    dst, src, count, left, along, down, turned = f.params
    high, low = f.var(WORDS, 0), f.var(WORDS, -1)
    room = f.alloca("i8", 3 * TILE, align=64)
    gap = f.select(turned != 0, TILE, PART, "i64")

    def put(to: V, x: V, y: V) -> None:
        """Stores a row of pairs, the parts `gap` bytes apart."""
        for v in (x, y):
            bits = f.convert("bitcast", v, WORDS) & 0x7FFFFFFF
            high.set(f.call(WORDS, "llvm.smax.v16i32", high.get(), bits))
            less = f.emit(WORDS, f"add {bits}, {literal(WORDS, -1)}")  # of 0: `NOTHING`
            low.set(f.call(WORDS, "llvm.umin.v16i32", low.get(), less))
        for i, (u, v) in enumerate(zip(split(f, x), split(f, y), strict=True)):
            f.store((u >> 16) | v, to + gap * i, align=64)

    with f.loop(0, SIDE, LANES) as half, f.when(half < count):
        lanes = f.min(count - half, LANES)
        here, to = f.gep("float", src, half * along), dst + half * (TILE // LANES)
        rows = f.select(turned != 0, room, to)
        if how == "rows":  # lanes of vectors are k
            with f.either(left >= DEPTH) as otherwise:
                with f.loop(0, lanes) as i:
                    x = f.gep("float", here, i * along)
                    put(rows + i * 64, f.load(WIDE, x), f.load(WIDE, x, LANES))
                otherwise()
                masks = [f.lane_mask(LANES, left - v) for v in (0, LANES)]
                with f.loop(0, lanes) as i:
                    x = f.gep("float", here, i * along)
                    put(rows + i * 64, f.mload(WIDE, x, masks[0]), f.mload(WIDE, x + 64, masks[1]))
        else:
            with f.either((left >= DEPTH) & (lanes >= LANES)) as otherwise:
                with f.loop(0, LANES) as j:
                    x, y = (f.load(WIDE, f.gep("float", here, (j + v) * down)) for v in (0, LANES))
                    for v in (DEPTH, DEPTH + LANES):
                        f.prefetch(f.gep("float", here, (j + v) * down))
                    put(rows + j * 64, x, y)
                otherwise()
                with f.loop(0, LANES) as j:
                    some = [f.lane_mask(LANES, f.select(left > j + v, lanes, 0, "i64")) for v in (0, LANES)]
                    at = [f.gep("float", here, (j + v) * down) for v in (0, LANES)]
                    put(rows + j * 64, f.mload(WIDE, at[0], some[0]), f.mload(WIDE, at[1], some[1]))
        with f.when(turned != 0), f.loop(0, 3) as i:
            f.call("void", "turn", to + i * PART, room + i * TILE)
    highest = f.convert("zext", f.call("i32", "llvm.vector.reduce.smax.v16i32", high.get()), "i64")
    lowest = f.convert("zext", f.call("i32", "llvm.vector.reduce.umin.v16i32", low.get()), "i64")
    f.ret(f.select((highest >= HIGH) | (lowest < LOW - 1), STRANGE, lowest, "i64"))


def turner(m: Module) -> None:
    """Defines turn(dst, src): 16 rows of 16 words, transposed."""
    f = m.function("internal void turn(ptr noalias dst, ptr noalias src)", APART)
    dst, src = f.params
    rows = transpose(f, [f.load(WORDS, src + i * 64, align=64) for i in range(LANES)])
    for i, row in enumerate(rows):
        f.store(row, dst + i * 64, align=64)


# -- one tile ---------------------------------------------------------------------------------------------------------


# The six products of parts, (a's, b's), in the order in which they are summed. What is small comes first: the parts of a number that is
# multiplied by one, and of a number by which one is multiplied, sum up to it exactly. Of neighbours one part is the same.
ORDER = ((2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0))


def multiply(f: Function, a: V, b: V, steps: V, to: V, step: V) -> None:
    """Adds the product of 16 rows of `a` and a panel of `b` to the tile registers 0 and 1.

    A core that two threads share has nine registers for each: where all eight hold something a load waits until what it replaces is done
    with. So few are in use, and each is cleared, which gives it back, after its last product. On the way lines of `to`, where the sums go, are
    fetched, two rows a step: panels come from the second-level cache in time, and more than these few lines would stand in their way.
    """
    line = f.value(64, "i64")
    across = [j for n in range(len(ORDER)) for j in ((0, 1), (1, 0))[n % 2]]
    products = [(*ORDER[n // 2], j) for n, j in enumerate(across)]
    with f.loop(0, steps) as s:
        here_a, here_b = a + s * STEP, b + s * STEP
        fetched = [f.gep("float", to, (s * 2 + row) * step + v) for row in (0, 1) for v in (0, LANES)]
        before: tuple[int, ...] = ()
        for n, (x, y, j) in enumerate(products):
            after = products[n + 1] if n + 1 < len(products) else ()
            if before[:1] != (x,):
                instruction(f, "tileloadd64", 2, here_a + x * PART, line)
            if before[1:] != (y, j):
                instruction(f, "tileloadd64", 3, here_b + (y * PART + j * TILE), line)
            instruction(f, "tdpbf16ps", j, 2, 3)
            if after[:1] != (x,):
                instruction(f, "tilezero", 2)
            if after[1:] != (y, j):
                instruction(f, "tilezero", 3)
            for place in fetched[n :: len(products)]:
                f.prefetch(place, write=True)
            before = (x, y, j)


def plain(f: Function, a: tuple[V, ...], b: tuple[V, ...], depth: V, rows: V, cols: V, sums: V, step: V) -> None:
    """Adds the product of two panels, where they lie, to sums in memory."""
    (a, am, ak), (b, bk, bn) = a, b
    line = f.alloca("float", SIDE, align=64)
    for v in (0, LANES):
        f.store(f.value(0, WIDE), line, v)
    with f.loop(0, depth) as k:
        with f.loop(0, f.min(cols, SIDE)) as j:
            f.store(f.load("float", f.gep("float", b, k * bk + j * bn)), line, j)
        ys = [f.load(WIDE, line, v) for v in (0, LANES)]
        with f.loop(0, rows) as i:
            x = f.splat(f.load("float", f.gep("float", a, k * ak + i * am)), LANES)
            for v, y in enumerate(ys):
                at = f.gep("float", sums, i * step + v * LANES)
                f.store(f.fma(x, y, f.load(WIDE, at)), at)


def micro(m: Module, e: Epilogue) -> None:
    """Defines tile(args, a, b, steps, part, step, flags, strange, as, am, ak, bs, bk, bn, depth, p, q, m0, n0, rows, cols).

    As `amx.micro`: 32 x 32 of `out`. a and b are panels; where one is `strange`, as and bs are what it was made from. `part` is where the tile is in `out`, unless it reaches over the edge.
    """
    f = m.function(
        "internal void tile(ptr args, ptr noalias a, ptr noalias b, i64 steps, ptr part, i64 step, i64 flags, i64 strange, ptr as, i64 am, "
        "i64 ak, ptr bs, i64 bk, i64 bn, i64 depth, i64 p, i64 q, i64 m0, i64 n0, i64 rows, i64 cols)", APART)  # fmt: skip
    args, a, b, steps, part, step, flags, strange, as_, am, ak, bs, bk, bn, depth, p, q, m0, n0, rows, cols = f.params
    sums = f.alloca("float", SIDE * SIDE, align=64)
    last, whole = (flags & 2) != 0, (rows >= SIDE) & (cols >= SIDE)
    ends = last & (whole ^ True) if e is PLAIN else last  # through the epilogue, not straight into `out`
    to, gap = f.select(ends, sums, part), f.select(ends, SIDE, step)
    with f.either(strange == 0) as otherwise:
        with f.loop(0, f.min(rows, SIDE), LANES) as i:
            for j in (0, 1):
                instruction(f, "tilezero", j)
            into = lambda base, by, i=i: f.gep("float", base, by * i)
            multiply(f, a + i * (TILE // LANES), b, steps, into(part, step), step)
            with f.either((flags & 1) != 0) as more:
                for j in (0, 1):
                    instruction(f, "tilestored64", j, f.gep("float", into(to, gap), j * LANES), gap * 4)
                more()  # sums of a block are added as a whole: that rounds less often
                made = into(sums, f.value(SIDE, "i64"))
                for j in (0, 1):
                    instruction(f, "tilestored64", j, f.gep("float", made, j * LANES), f.value(SIDE * 4, "i64"))
                with f.loop(i, i + LANES) as row:
                    for v in (0, LANES):
                        before = f.load(WIDE, f.gep("float", part, row * step + v))
                        f.store(before + f.load(WIDE, sums, row * SIDE + v), f.gep("float", to, row * gap + v))
        otherwise()
        with f.loop(0, SIDE) as i:
            for v in (0, LANES):
                here = f.gep("float", to, i * gap + v)
                with f.either((flags & 1) != 0) as more:
                    f.store(f.value(0, WIDE), here)
                    more()
                    f.store(f.load(WIDE, f.gep("float", part, i * step + v)), here)
        plain(f, (as_, am, ak), (bs, bk, bn), depth, rows, cols, to, gap)
    with f.when(ends ^ True):
        f.ret()
    finish(f, e, "float", False, sums, (args, p, q, m0, n0, rows, cols))


# -- blocks -----------------------------------------------------------------------------------------------------------


def pack_text(target: Target) -> Module:
    """IR of k(dst, words, src, extent, depth, along, down, turned), which packs a block: panels of 32 lanes, one after the other.

    Where elements of one k are neighbours it goes step by step through all panels, so that memory is read in long runs. words[panel] is
    the least word of its steps.
    """
    m = Module("thirds", target.has("avx512bf16"))
    packer(m, "pack_rows", "rows")
    packer(m, "pack_lines", "lines")
    turner(m)
    f = m.function("void k(ptr dst, ptr words, ptr src, i64 extent, i64 depth, i64 along, i64 down, i64 turned)")
    dst, words, src, extent, depth, along, down, turned = f.params
    steps, panels = ceil(depth, DEPTH), ceil(extent, SIDE)

    def step(name: str, panel: V, s: V, turned: V) -> None:
        lane, here = panel * SIDE, f.gep("float", src, panel * SIDE * along + s * DEPTH * down)
        to, word = dst + (panel * steps + s) * STEP, f.gep("i64", words, panel)
        made = f.call("i64", name, to, here, f.min(extent - lane, SIDE), depth - s * DEPTH, along, down, turned)
        f.store(f.min(f.load("i64", word), made), word)

    with f.loop(0, panels) as panel:
        f.store(f.value(NOTHING, "i64"), f.gep("i64", words, panel))
    with f.either(down == 1) as otherwise:
        with f.loop(0, panels) as panel, f.loop(0, steps) as s:
            step("pack_rows", panel, s, turned)
        otherwise()
        with f.loop(0, steps) as s, f.loop(0, panels) as panel:
            step("pack_lines", panel, s, f.value(1, "i64") - turned)
    return m


def text(target: Target, e: Epilogue, shared: bool) -> Module:
    """IR of one kernel, `k`: chunks are groups of units, as in `product.text`.

    After its arguments comes the address of `pack`; or, where panels are `shared`, four words: the panels of both operands and their words,
    as `share` has left them.
    """
    m = Module(f"product of thirds {e.name}{' shared' * shared}", target.has("avx512bf16"))
    micro(m, e)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, *_, scratch = f.params
    w = arguments(f)
    more = len(SLOTS) + 4 * len(e.operands) + e.scalars
    given = [f.load("ptr", f.gep("i64", args, more + i)) for i in range(4 if shared else 1)]
    configure(f)
    for register in range(8):
        instruction(f, "tilezero", register)
    across = ceil(w["nb"], SIDE)  # panels
    deep = ceil(w["kb"], DEPTH) * STEP  # bytes of a panel
    panels_a, panels_b = scratch, scratch + deep * FEW
    # partial sums of tiles at the edges: those of the lowest row, and of each row the last
    edges = scratch if shared else panels_b + deep * across
    words = edges + (across + w["tb"]) * (SIDE * SIDE * 4)
    with units(f, w, SIDE) as (i0, i1, n0, cols, p, q):
        a0 = f.gep("float", w["a"], p * w["ap"] + q * w["aq"])
        b0 = f.gep("float", w["b"], p * w["bp"] + q * w["bq"] + n0 * w["bn"])
        c0 = f.gep("float", w["c"], p * w["cp"] + q * w["cq"] + n0)
        with f.loop(0, w["k"], w["kb"]) as k0:
            depth = f.min(w["k"] - k0, w["kb"])
            steps = ceil(depth, DEPTH)
            bytes_ = steps * STEP
            flags = f.select(k0 == 0, 1, 0, "i64") | f.select(k0 + w["kb"] >= w["k"], 2, 0, "i64")
            src_b = f.gep("float", b0, k0 * w["bk"])
            words_a, words_b = words, words + 8 * FEW
            if shared:
                block, first = k0 // w["kb"], n0 // SIDE
                start_a, start_b = block * w["tiles"], block * ceil(w["n"], SIDE)
                panels_b = given[1] + (start_b * deep + first * bytes_)
                words_b = f.gep("i64", given[3], start_b + first)
            else:
                one = f.value(1, "i64")
                f.call_pointer("void", given[0], panels_b, words_b, src_b, cols, depth, w["bn"], w["bk"], one)
            with f.loop(i0, i1, FEW) as i2:
                some = f.min(i1 - i2, FEW)
                src_a = f.gep("float", a0, i2 * SIDE * w["am"] + k0 * w["ak"])
                if shared:
                    panels_a = given[0] + (start_a * deep + i2 * bytes_)
                    words_a = f.gep("i64", given[2], start_a + i2)
                else:
                    high, none = f.min(w["m"] - i2 * SIDE, some * SIDE), f.value(0, "i64")
                    f.call_pointer("void", given[0], panels_a, words_a, src_a, high, depth, w["am"], w["ak"], none)
                with f.loop(0, cols, SIDE) as j, f.loop(0, some) as few:
                    i = i2 + few
                    row = i * SIDE
                    rows = f.min(w["m"] - row, SIDE)
                    number, low = j // SIDE, rows < SIDE
                    edge = edges + f.select(low, number, across + (i - i0)) * (SIDE * SIDE * 4)
                    over = low | (cols - j < SIDE)
                    part = f.select(over, edge, f.gep("float", c0, row * w["cm"] + j))
                    least = f.load("i64", f.gep("i64", words_a, few)) + f.load("i64", f.gep("i64", words_b, number))
                    odd = f.convert("zext", least < LEAST - 2, "i64")  # words are one less than bits
                    here = f.gep("float", src_a, few * SIDE * w["am"])
                    f.call("void", "tile", args, panels_a + few * bytes_, panels_b + number * bytes_, steps, part, f.select(over, SIDE, w["cm"]), flags,
                           odd, here, w["am"], w["ak"], f.gep("float", src_b, j * w["bn"]), w["bk"], w["bn"], depth, p, q, row, n0 + j,
                           rows, cols - j)  # fmt: skip
    f.call("void", "llvm.x86.tilerelease")
    return m


SIDE_WORDS = ("panels", "words", "src", "extent", "along", "down", "turned")
SHARE = ("pack", "k", "kb")  # then `SIDE_WORDS` of `a`, and of `b`


def share_text() -> Module:
    """IR of k: packs both operands whole, block by block of k. A chunk is `SHARED` panels of a block of one of them, those of `a` first."""
    m = Module("shared thirds")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    pack, k, kb = (f.load("ptr" if i == 0 else "i64", f.gep("i64", args, i)) for i in range(len(SHARE)))
    deep, blocks = ceil(kb, DEPTH) * STEP, ceil(k, kb)
    sides = []
    for side in range(2):
        at = len(SHARE) + side * len(SIDE_WORDS)
        words = {
            name: f.load("ptr" if i < 3 else "i64", f.gep("i64", args, at + i)) for i, name in enumerate(SIDE_WORDS)
        }
        panels = ceil(words["extent"], SIDE)
        sides.append((words, panels, ceil(panels, SHARED)))
    first = sides[0][2] * blocks  # chunk of `b`

    def some(w: dict[str, V], panels: V, groups: V, chunk: V) -> None:
        block, panel = chunk // groups, chunk % groups * SHARED
        k0, lane = block * kb, panel * SIDE
        depth = f.min(k - k0, kb)
        to = w["panels"] + (block * panels * deep + panel * ceil(depth, DEPTH) * STEP)
        src = f.gep("float", w["src"], lane * w["along"] + k0 * w["down"])
        extent = f.min(w["extent"] - lane, SHARED * SIDE)
        f.call_pointer("void", pack, to, f.gep("i64", w["words"], block * panels + panel), src, extent, depth, w["along"],
                       w["down"], w["turned"])  # fmt: skip

    with f.loop(begin, end) as chunk, f.either(chunk < first) as otherwise:
        some(*sides[0], chunk)
        otherwise()
        some(*sides[1], chunk - first)
    return m


@cache
def pack_code() -> Code:
    native = engine()
    return native.load(lambda: str(pack_text(native.target)), ["k"], parts=[("kernel", "thirds")], level=LIGHT)


@cache
def share_code() -> Code:
    native = engine()
    return native.load(lambda: str(share_text()), ["k"], parts=[("kernel", "shared thirds")], level=LIGHT)


@cache
def kernel(e: Epilogue, shared: bool) -> Code:
    """The compiled product; `code["k"]` has the signature of every kernel."""
    native = engine()
    parts = [("kernel", "product of thirds"), ("epilogue", e.name), ("shared", shared)]
    return native.load(
        lambda: str(text(native.target, e, shared)), ["k"], parts=parts, level=LIGHT, needs=(pack_code(),)
    )


def scratch(tb: int, nb: int, kb: int, shared: bool) -> int:
    """Bytes that a thread needs for blocks of these sizes."""
    panels = -(-nb // SIDE)
    edges = (panels + tb) * SIDE * SIDE * 4
    return edges if shared else -(-kb // DEPTH) * STEP * (FEW + panels) + edges + 8 * (panels + FEW)


def room(extent: int, k: int, kb: int) -> tuple[int, int]:
    """Bytes of all panels of an operand, and of their words."""
    panels = -(-extent // SIDE) * -(-k // kb)
    return panels * -(-kb // DEPTH) * STEP, -(-panels // 8) * 64
