"""Convolutions by a register tile, without an im2col array. Forward and transposed; 1 to 3 dimensions.

Both are one primitive, a correlation whose taps may be anywhere:

    out[n, g, m, z, y, x] = bias[g, m] + sum over c and taps t of a[g, m, c, t] * in[n, g, c, z sz + tz, y sy + ty, x sx + tx]

with `in` zero outside its bounds. A transposed convolution of stride s is s x s such correlations of stride 1, one for
each phase of the output, each with its share of the taps; phases along x are computed together and interleaved.

A chunk is some output positions, of a few images where these are small, and some tiles of rows m. For blocks of input
channels it fills a slab (see `conv_slab`), and every tile then sums over the block (see `conv_tile`). Positions are cut
into vectors. Where rows of positions fill vectors well, these are windows of the slab; where they do not (14 x 14, 8 x 8),
a vector gathers neighbouring positions across rows and images into a packed panel first, which costs little beside the
sums of many rows m. Tables made with the plan (`conv_launch`) say where everything is. Weights are packed once, by launches of their own.
"""

from __future__ import annotations

from functools import cache

from flambeau._backends.cpu.contract import PLAIN, TYPES, Epilogue
from flambeau._backends.cpu.conv_slab import copy_planes, copy_rows, pack_vector
from flambeau._backends.cpu.conv_tile import VECTORS, lanes, name_of, short_mask, spread_pairs, tile, tile_rows
from flambeau._backends.cpu.emit import APART, Function, Module, V, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.registers import narrow, transpose, widen

PIECE = ("lane", "count", "image", "place", "offset", "x")  # lanes of a vector that are neighbours in the output
POINTERS = (
    *("c", "x", "a", "start", "phases", "tables", "union", "vectors", "pieces", "places"),
    *("taps_z", "phases_y", "phases_x"),
)
SLOTS = (
    *POINTERS,
    # images, groups, rows of `a`, channels; planes, rows, columns of the output
    *("p", "q", "m", "channels", "do", "ho", "wo"),
    # tiles of rows of `a`; tiles, output rows, images, channels at a time
    *("tiles", "tb", "yb", "ib", "cb"),
    # taps along z, and along y and x of all phases; whether panels are packed; vectors of a row
    *("nz", "taps", "packed", "vpr"),
    # extents of the input, strides of the correlation
    *("d", "h", "w", "sz", "sy", "sx"),
    # the slab
    *("ny", "nx", "row0", "col0", "height", "halo", "pitch", "group", "plane"),
    # strides of the input
    *("xp", "xq", "xc", "xd", "xh", "xw"),
    # strides of the output; its phases, the row that they make together, how tiles are stored
    *("cp", "cq", "cm", "cz", "cy", "cn", "cf", "nf", "width", "kind"),
)
# How a tile is stored: rows as they are, two phases interleaved, transposed, one by one.
ALONG, PAIRS, ACROSS, ANY = range(4)


def finish(m: Module, memory: str, acc: str, n: int, e: Epilogue) -> None:
    """Defines finish(args, sums, apart, rows, at, vectors, count, images, area): tiles of sums to their places.

    `sums` are the tiles of all phases, `apart` elements from one another; `at` is an element offset into the output.
    """
    f = m.function(
        "internal void finish(ptr args, ptr noalias sums, i64 apart, i64 rows, i64 at, ptr vectors, i64 count, i64 images, i64 area)",
        APART,
    )
    args, sums, apart, rows, start, vectors, count, images, area = f.params
    wide, cols = vector(acc, n), n * VECTORS
    word = lambda name, type="i64": f.load(type, f.gep("i64", args, SLOTS.index(name)))
    out, pieces, kind = word("c", "ptr"), word("pieces", "ptr"), word("kind")
    cm, cn, cf, nf, width = (word(name) for name in ("cm", "cn", "cf", "nf", "width"))
    others = [f.load("ptr", f.gep("i64", args, len(SLOTS) + i)) for i in range(len(e.operands))]
    scalars = []
    for j in range(e.scalars):
        s = f.load("double", f.gep("i64", args, len(SLOTS) + len(e.operands) + j))
        scalars.append(f.splat(s if acc == "double" else f.convert("fptrunc", s, acc), n))
    line = f.alloca(wide, align=64)

    def put(x: V, place: V, mask: V) -> None:
        """The epilogue of x, stored; operands lie as the output does."""
        got = [widen(f, f.mload(vector(TYPES[d][0], n), f.gep(TYPES[d][0], o, place), mask), acc)
               for o, (d, _) in zip(others, e.operands, strict=True)]  # fmt: skip
        f.mstore(narrow(f, e.body(f, x, got, scalars), memory), f.gep(memory, out, place), mask)

    def put_one(x: V, place: V) -> None:
        """The same for a single element, by scalar moves: LLVM 22 narrows a masked store of one known lane to a store too wide."""
        got = [
            f.splat(widen(f, f.load(TYPES[d][0], o, place), acc), n)
            for o, (d, _) in zip(others, e.operands, strict=True)
        ]
        made = narrow(f, e.body(f, f.splat(x, n), got, scalars), memory)
        f.store(f.emit(memory, f"extractelement {made}, i64 0"), out, place)

    with f.loop(0, count) as v:
        record = f.gep("i64", vectors, v * 3)
        first, some = f.load("i64", record, 1), f.load("i64", record, 2)
        with f.loop(first, first + some) as i:
            piece = {name: f.load("i64", pieces, i * len(PIECE) + j) for j, name in enumerate(PIECE)}
            inside = f.max(f.min(piece["count"], area - piece["place"]), 0)
            here = f.select(piece["image"] < images, inside, 0)
            at, src = start + piece["offset"], f.gep(acc, sums, v * n + piece["lane"])
            with f.when(kind == ALONG):
                mask = short_mask(f, n, here)
                with f.loop(0, rows) as r:
                    put(f.load(wide, src, r * cols), at + r * cm, mask)
            with f.when(kind == PAIRS):
                both = f.min(here * 2, width - piece["x"] * 2)
                masks = [short_mask(f, n, both - j * n) for j in (0, 1)]
                with f.loop(0, rows) as r:
                    pair = [f.load(wide, src, apart * j + r * cols) for j in (0, 1)]
                    for j, mask in enumerate(masks):
                        order = [(j * n + i) // 2 + n * (i % 2) for i in range(n)]
                        put(f.shuffle(pair[0], pair[1], order), at + r * cm + j * n, mask)
            with f.when(kind == ACROSS):
                mask = short_mask(f, n, rows)
                block = [f.load(wide, src, f.min(f.value(r, "i64"), rows - 1) * cols) for r in range(n)]
                for j, row in enumerate(transpose(f, block)):
                    with f.when(here > j):
                        put(row, at + cn * j, mask)
            with f.when(kind == ANY), f.loop(0, f.select(here > 0, rows, 0)) as r, f.loop(0, nf) as phase:
                f.store(f.load(wide, src, apart * phase + r * cols), line)
                with f.loop(0, here) as j, f.when((piece["x"] + j) * nf + phase < width):
                    put_one(f.load(acc, line, j), at + r * cm + phase * cf + j * cn)


def text(target: Target, dtype: str, e: Epilogue) -> Module:
    """IR of the correlation, `k`."""
    memory, acc = TYPES[dtype]
    n, most = lanes(target, acc), tile_rows(target)
    cols = n * VECTORS
    m = Module(f"convolution {dtype} {e.name} {n}")
    copy_planes(m, memory, acc, n)
    copy_rows(m, memory, acc, n)
    pack_vector(m, target, acc, n, cols)
    finish(m, memory, acc, n, e)

    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, slab = f.params
    w: dict[str, V] = {}
    for i, name in enumerate(SLOTS):
        w[name] = f.load("ptr" if name in POINTERS else "i64", f.gep("i64", args, i))
    up = lambda x, n: (x + (n - 1)) // n
    yblocks, iblocks, mblocks = up(w["ho"], w["yb"]), up(w["p"], w["ib"]), up(w["tiles"], w["tb"])
    pairs = (w["m"] + 1) >> 1
    panel = f.gep(acc, slab, w["cb"] * w["nz"] * w["plane"] + 3 * n)
    tiles = f.gep(acc, panel, w["packed"] * w["cb"] * w["nz"] * w["taps"] * cols)  # of all phases, on their way out
    apart = f.value(most * cols, "i64")
    sums = f.gep(acc, tiles, w["nf"] * apart)
    packed = w["packed"] != 0
    with f.loop(begin, end) as chunk:
        mblock, rest = chunk % mblocks, chunk // mblocks
        y0, rest = rest % yblocks * w["yb"], rest // yblocks
        z, rest = rest % w["do"], rest // w["do"]
        image0, q = rest % iblocks * w["ib"], rest // iblocks
        images, ys = f.min(w["p"] - image0, w["ib"]), f.min(w["ho"] - y0, w["yb"])
        tile0 = mblock * w["tb"]
        tile1 = f.min(tile0 + w["tb"], w["tiles"])
        row0, _ = spread_pairs(f, tile0, pairs, w["tiles"])
        row1, _ = spread_pairs(f, tile1, pairs, w["tiles"])
        area = ys * w["wo"]
        count = f.select(packed, up(images * area, n), images * ys * w["vpr"])  # of vectors
        source = f.gep(memory, w["x"], image0 * w["xp"] + q * w["xq"])
        out0 = image0 * w["cp"] + q * w["cq"] + z * w["cz"] + y0 * w["cy"]
        with f.loop(0, f.max(w["channels"], 1), w["cb"]) as c0:
            channels = f.min(w["channels"] - c0, w["cb"])
            first, last = c0 == 0, c0 + w["cb"] >= w["channels"]
            slab_fill(f, memory, acc, n, w, slab, f.gep(memory, source, c0 * w["xc"]), z, y0, ys, images, channels)
            with f.loop(0, count, VECTORS) as j:
                record, two = f.gep("i64", w["vectors"], j * 3), j + 1 < count
                bs = operands(f, acc, n, w, slab, panel, record, j, two, packed, channels)
                # where both vectors go to one place each, tiles are stored there at once
                single, places, counts = destinations(
                    f, w, record, two, area, images, out0, memory == acc and e is PLAIN
                )
                at_once = last & single
                with f.loop(tile0, tile1) as i:
                    r0, rows = spread_pairs(f, i, pairs, w["tiles"])
                    real = f.min(rows, w["m"] - r0)
                    kept = f.gep(acc, sums, ((j >> 1) * (row1 - row0) + r0 - row0) * w["nf"] * cols)
                    begins = f.gep(acc, w["start"], (q * pairs * 2 + r0) * cols)
                    with f.loop(0, w["nf"]) as phase:
                        steps, a_at, table = (f.load("i64", w["phases"], phase * 3 + i) for i in range(3))
                        here = f.gep(acc, kept, phase * rows * cols)
                        to = f.select(last, f.gep(acc, tiles, phase * apart), here)
                        outs = [f.select(at_once, f.gep(memory, w["c"], places[v] + r0 * w["cm"]), f.gep(acc, to, v * n))
                                for v in range(VECTORS)]  # fmt: skip
                        ns = [f.select(at_once, counts[v], n, "i64") for v in range(VECTORS)]
                        a = f.gep(acc, w["a"], a_at + (q * pairs * 2 + r0) * w["channels"] * steps + c0 * steps * rows)
                        f.call("void", name_of(acc), a, *bs, f.gep("i64", w["tables"], table), channels * steps,
                               f.select(first, begins, here), *outs, f.select(at_once, w["cm"], cols, "i64"), *ns,
                               f.convert("zext", at_once & (real < rows), "i64"), rows)  # fmt: skip
                    with f.when(last & (at_once == 0)):
                        left = f.min(count - j, VECTORS)
                        f.call(
                            "void", "finish", args, tiles, apart, real, out0 + r0 * w["cm"], record, left, images, area
                        )
    return m


def operands(f: Function, acc: str, n: int, w: dict[str, V], slab: V, panel: V, record: V, j: V, two: V,
             packed: V, channels: V) -> list[V]:  # fmt: skip
    """Where tiles read vector j and, if there are two, the next: in the slab, or in the panel that is packed here."""
    bases = [f.gep(acc, slab, f.load("i64", record, i)) for i in (0, 3)]
    with f.when(packed):
        depth = channels * w["nz"] * w["taps"]
        for v in range(VECTORS):
            with f.when(f.value(1, "i1") if v == 0 else two):
                places = f.gep("i32", w["places"], (j + v) * (n + 1))
                near = f.convert("zext", f.load("i32", places, n), "i64")
                f.call("void", "pack_vector", f.gep(acc, panel, v * n), bases[v], w["union"], depth, places, near)
    bs = [f.select(packed, f.gep(acc, panel, v * n), bases[v]) for v in range(VECTORS)]
    bs[1] = f.select(two, bs[1], bs[0])
    return bs


def destinations(f: Function, w: dict[str, V], record: V, two: V, area: V, images: V, out0: V,
                 plain: bool) -> tuple[V, list[V], list[V]]:  # fmt: skip
    """Whether both vectors go to one place each, as they are; these places in the output, and how many elements."""
    single = f.value(int(plain), "i1") & (w["kind"] == ALONG)
    places, counts = [], []
    for v, is_there in ((0, f.value(1, "i1")), (1, two)):
        piece = f.gep("i64", w["pieces"], f.load("i64", record, v * 3 + 1) * len(PIECE))
        single = single & ((f.load("i64", record, v * 3 + 2) == 1) | (is_there == 0))
        _, some, image, place, offset, _ = (f.load("i64", piece, i) for i in range(len(PIECE)))
        places.append(out0 + offset)
        inside = f.max(f.min(some, area - place), 0)
        counts.append(f.select(is_there & (image < images), inside, 0))
    return single, places, counts


def slab_fill(f: Function, memory: str, acc: str, n: int, w: dict[str, V], slab: V, source: V, z: V, y0: V, ys: V, images: V,
              channels: V) -> None:  # fmt: skip
    """Writes the rows that a chunk's taps touch, phase by phase and in order: rows overrun into the next one."""
    with f.loop(0, w["nz"]) as tap:
        iz = z * w["sz"] + f.load("i64", w["taps_z"], tap)
        inside_z = (iz >= 0) & (iz < w["d"])
        with f.loop(0, w["ny"]) as py, f.loop(0, w["nx"]) as px:
            phase_y, phase_x = f.load("i64", w["phases_y"], py), f.load("i64", w["phases_x"], px)
            group = f.gep(acc, slab, tap * w["plane"] + (py * w["nx"] + px) * w["group"])
            rows, y = ys + w["halo"], (y0 + w["row0"]) * w["sy"] + phase_y
            width = f.select(inside_z, w["w"], 0, "i64")  # a row outside is a row of width 0
            into = (w["nz"] * w["plane"], w["xc"], channels)
            with f.loop(0, images) as image:
                to = f.gep(acc, group, image * w["height"] * w["pitch"])
                line = f.gep(memory, source, f.select(inside_z, image * w["xp"] + iz * w["xd"], 0))
                with f.either((w["xw"] == 1) & (w["sx"] <= 2)) as otherwise:
                    f.call("void", "copy_planes", to, into[0], line, *into[1:], rows, width, w["sx"], phase_x, w["col0"],
                           w["pitch"], y, w["sy"], f.select(inside_z, w["h"], 0, "i64"), w["xh"])  # fmt: skip
                    otherwise()
                    with f.loop(0, rows + 1) as r:
                        iy = y + r * w["sy"]
                        inside = inside_z & (iy >= 0) & (iy < w["h"]) & (r < rows)
                        # after the last row come zeros: vectors end there, and what memory happens to hold may be denormal, hence slow
                        f.call("void", "copy_rows", f.gep(acc, to, r * w["pitch"]), into[0],
                               f.gep(memory, line, f.select(inside, iy * w["xh"], 0)), *into[1:],
                               f.select(inside, width, 0, "i64"), w["xw"], w["sx"], phase_x, w["col0"],
                               f.select(r < rows, w["pitch"], 2 * n, "i64"))  # fmt: skip


@cache
def correlation(dtype: str, e: Epilogue = PLAIN) -> Code:
    """The correlation, compiled."""
    native = engine()
    acc = TYPES[dtype][1]
    needs = (tile(acc),)
    parts = [("kernel", "convolution"), ("dtype", dtype), ("epilogue", e.name)]
    return native.load(lambda: str(text(native.target, dtype, e)), ["k"], [name_of(acc)], parts=parts, needs=needs)
