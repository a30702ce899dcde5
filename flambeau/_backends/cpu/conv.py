"""Convolutions by a register tile, without an im2col array. Forward and transposed; 1 to 3 dimensions.

Both are one primitive, a correlation whose taps may be anywhere:

    out[n, g, m, z, y, x] = bias[g, m] + sum over c and taps t of a[g, m, c, t] * in[n, g, c, z sz + tz, y sy + ty, x sx + tx]

with `in` zero outside its bounds. A transposed convolution of stride s is s x s such correlations of stride 1, one for
each phase of the output, each with its share of the taps; phases along x are computed together and interleaved.

A chunk is some output positions, of a few images where these are small, and some tiles of rows m. For blocks of input
channels it fills a slab (see `conv_slab`), and every tile then sums over the block (see `conv_tile`). Positions are cut
into vectors. Where rows of positions fill vectors well, these are windows of the slab; where they do not (14 x 14, 8 x 8),
a vector gathers neighbouring positions across rows and images into a packed panel first, which costs little beside the
sums of many rows m. Tables made with the plan say where everything is. Weights are packed once, by launches of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import CHUNKS, GRAIN, PLAIN, TYPES, Epilogue
from flambeau._backends.cpu.conv_depthwise import depthwise_launch
from flambeau._backends.cpu.conv_slab import copy_rows, pack_vector
from flambeau._backends.cpu.conv_tile import VECTORS, lanes, name_of, short_mask, spread_pairs, tile, tile_rows, weights
from flambeau._backends.cpu.emit import APART, Function, Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import CONST, TEMP, Launch
from flambeau._backends.cpu.registers import narrow, transpose, widen

DEPTH = 640  # products summed before a partial tile is kept
ROWS = 192 << 10  # of `a` that a block of the depth may hold, in elements: with the slab, the second-level cache
SLAB = 256 << 10  # bytes of input that a chunk works on at a time
POSITIONS = 256  # of a chunk: images are taken together up to so many
FEW = 3  # rows of `a` to one channel that a tile would be wasted on
PACKING = 5  # the price of packing a vector, in rows of sums

PIECE = ("lane", "count", "image", "place", "offset", "x")  # lanes of a vector that are neighbours in the output
POINTERS = (
    "c",
    "x",
    "a",
    "start",
    "phases",
    "tables",
    "union",
    "vectors",
    "pieces",
    "places",
    "taps_z",
    "phases_y",
    "phases_x",
)
SLOTS = (
    *POINTERS,
    *(
        "p",
        "q",
        "m",
        "channels",
        "do",
        "ho",
        "wo",
    ),  # images, groups, rows of `a`, channels; output planes, rows, columns
    *("tiles", "tb", "yb", "ib", "cb"),  # tiles of rows of `a`; tiles, output rows, images, channels at a time
    *(
        "nz",
        "taps",
        "packed",
        "vpr",
    ),  # taps along z, and along y and x of all phases; whether panels are; vectors of a row
    *("d", "h", "w", "sz", "sy", "sx"),  # input extents and strides of the correlation
    *("ny", "nx", "row0", "col0", "height", "halo", "pitch", "group", "plane"),  # the slab
    *("xp", "xq", "xc", "xd", "xh", "xw"),  # strides of the input
    *(
        "cp",
        "cq",
        "cm",
        "cz",
        "cy",
        "cn",
        "cf",
        "nf",
        "width",
        "kind",
    ),  # of the output; phases, the row they make together, how tiles are stored
)


ALONG, PAIRS, ACROSS, ANY = range(
    4
)  # how a tile is stored: rows as they are, two phases interleaved, transposed, one by one


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
                record = f.gep("i64", w["vectors"], j * 3)
                two = j + 1 < count
                bases = [f.gep(acc, slab, f.load("i64", record, i)) for i in (0, 3)]
                with f.when(packed):
                    depth = channels * w["nz"] * w["taps"]
                    for v in range(VECTORS):
                        with f.when(f.value(1, "i1") if v == 0 else two):
                            places = f.gep("i32", w["places"], (j + v) * (n + 1))
                            near = f.convert("zext", f.load("i32", places, n), "i64")
                            f.call(
                                "void",
                                "pack_vector",
                                f.gep(acc, panel, v * n),
                                bases[v],
                                w["union"],
                                depth,
                                places,
                                near,
                            )
                bs = [f.select(packed, f.gep(acc, panel, v * n), bases[v]) for v in range(VECTORS)]
                bs[1] = f.select(two, bs[1], bs[0])
                # where both vectors go to one place each, tiles are stored there at once
                single = f.value(int(memory == acc and e is PLAIN), "i1") & (w["kind"] == ALONG)
                places, counts = [], []
                for v, is_there in ((0, f.value(1, "i1")), (1, two)):
                    piece = f.gep("i64", w["pieces"], f.load("i64", record, v * 3 + 1) * len(PIECE))
                    single = single & ((f.load("i64", record, v * 3 + 2) == 1) | (is_there == 0))
                    _, some, image, place, offset, _ = (f.load("i64", piece, i) for i in range(len(PIECE)))
                    places.append(out0 + offset)
                    inside = f.max(f.min(some, area - place), 0)
                    counts.append(f.select(is_there & (image < images), inside, 0))
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


def slab_fill(f: Function, memory: str, acc: str, n: int, w: dict[str, V], slab: V, source: V, z: V, y0: V, ys: V, images: V,
              channels: V) -> None:  # fmt: skip
    """Writes the rows that a chunk's taps touch, phase by phase and in order: rows overrun into the next one."""
    with f.loop(0, w["nz"]) as tap:
        iz = z * w["sz"] + f.load("i64", w["taps_z"], tap)
        inside_z = (iz >= 0) & (iz < w["d"])
        with f.loop(0, w["ny"]) as py, f.loop(0, w["nx"]) as px:
            phase_y, phase_x = f.load("i64", w["phases_y"], py), f.load("i64", w["phases_x"], px)
            group = f.gep(acc, slab, tap * w["plane"] + (py * w["nx"] + px) * w["group"])
            rows = ys + w["halo"]
            with f.loop(0, images) as image, f.loop(0, rows + 1) as r:
                iy = (y0 + r + w["row0"]) * w["sy"] + phase_y
                inside = inside_z & (iy >= 0) & (iy < w["h"]) & (r < rows)
                line = f.gep(memory, source, image * w["xp"] + iz * w["xd"] + iy * w["xh"])
                # after the last row come zeros: vectors end there, and what memory happens to hold may be denormal, hence slow
                f.call(
                    "void",
                    "copy_rows",
                    f.gep(acc, group, (image * w["height"] + r) * w["pitch"]),
                    w["nz"] * w["plane"],
                    f.select(inside, line, source),
                    w["xc"],
                    channels,
                    f.select(inside, w["w"], 0, "i64"),  # a row outside is a row of width 0
                    w["xw"],
                    w["sx"],
                    phase_x,
                    w["col0"],
                    f.select(r < rows, w["pitch"], 2 * n, "i64"),
                )


@cache
def correlation(dtype: str, e: Epilogue = PLAIN) -> Code:
    """The correlation, compiled."""
    native = engine()
    acc = TYPES[dtype][1]
    needs = (tile(acc),)
    parts = [("kernel", "convolution"), ("dtype", dtype), ("epilogue", e.name)]
    return native.load(lambda: str(text(native.target, dtype, e)), ["k"], [name_of(acc)], parts=parts, needs=needs)


# -- plans ----------------------------------------------------------------------------------------------------------

Tap = tuple[int, int]  # (offset into the input, index into the weights) along one dimension


@dataclass(frozen=True)
class Correlation:
    """One correlation: shapes in elements, three spatial dimensions always.

    `taps` are along z and along y, `phases` the taps along x of each phase of the output.
    """

    dtype: str
    images: int
    groups: int
    rows: int
    channels: int  # of the input, in a group
    out: tuple[int, int, int]
    inside: tuple[int, int, int]
    stride: tuple[int, int, int]
    taps: tuple[tuple[Tap, ...], tuple[Tap, ...]]
    phases: tuple[tuple[Tap, ...], ...]
    c: tuple[int, ...]  # strides of the output: p, q, m, z, y, x
    x: tuple[int, ...]  # strides of the input: p, q, c, z, y, x
    a: tuple[int, ...]  # strides of the weights: g, m, c, z, y, x
    width: int  # of a row of the output, all phases
    apart: int = 1  # stride from a phase of the output to the next

    def launches(
        self,
        c: tuple[int, int],
        offset: int,
        x: tuple[int, int],
        a: tuple[int, int],
        bias: tuple[tuple[int, int], tuple[int, int]] | None,
        temp: int,
        e: Epilogue = PLAIN,
        operands: Sequence[tuple[int, int]] = (),
    ) -> tuple[tuple[Launch, ...], int, tuple[Any, ...]]:
        """(launches, bytes of temporary memory used, what to keep).

        `offset` is an element offset into the output; `bias` its slot and its strides over groups and rows.
        """
        if (
            self.channels == 1
            and len(self.taps[0]) == 1
            and self.out[0] == self.inside[0] == 1
            and self.rows <= FEW
            and e is PLAIN
        ):
            one, kept = depthwise_launch(self, c, offset, x, a, bias)
            return (one,), 0, kept
        target = engine().target
        memory, acc = TYPES[self.dtype]
        n, word = lanes(target, acc), size(acc)
        cols, nf = n * VECTORS, len(self.phases)
        (tz, ty), (sz, sy, sx), (do, ho, wo) = self.taps, self.stride, self.out
        tx = sorted({tap[0] for phase in self.phases for tap in phase})  # of all phases
        pairs = -(-self.rows // 2)
        tiles = -(-2 * pairs // tile_rows(target))
        taps, nz = len(ty) * len(tx), len(tz)

        # the slab: phases of the taps, first row and column, row length
        offsets_y = [o for o, _ in ty]
        phases_y, phases_x = (sorted({o % s for o in os}) for os, s in ((offsets_y, sy), (tx, sx)))
        row0, col0 = (min((o // s for o in os), default=0) for os, s in ((offsets_y, sy), (tx, sx)))
        halo, cols_more = (
            max((o // s for o in os), default=0) - at for os, s, at in ((offsets_y, sy, row0), (tx, sx, col0))
        )
        pitch, ny, nx = wo + cols_more, len(phases_y), len(phases_x)
        depth = min(DEPTH, max(ROWS // max(self.rows, 1), 128))
        cb = max(1, min(self.channels, depth // max(nz * taps, 1)))
        cb = -(-self.channels // -(-self.channels // cb)) if self.channels else 1
        yb, ib, tb = self.blocks(cb * nz * max(ny * nx, 1) * pitch * word, halo, tiles, self.channels * nz * taps)
        height = yb + halo
        group = ib * height * pitch
        plane = -(-(ny * nx * group + 3 * n) // 16) * 16
        plane += 16 * (plane // 16 % 2 == 0)  # an odd number of cache lines: channels do not meet in one set
        vpr = -(-wo // n) if wo else 0
        packed = wo and vpr * n / wo > 1 + PACKING / max(self.rows, 1)
        vectors, pieces, places = self.positions(n, yb, ib, height, pitch, bool(packed))

        # tables: where each k is, in the slab and in a panel
        at_tap = [
            (
                (phases_y.index(oy % sy) * nx + phases_x.index(ox % sx)) * group
                + (oy // sy - row0) * pitch
                + ox // sx
                - col0
            )
            for oy, ox in product(offsets_y, tx)
        ]
        union = np.array([i * plane + o for i in range(cb * nz) for o in at_tap], np.int64)
        tables, records, weights_at, of_ks = [], [], 0, []
        ag, am, ac, az, ay, ax = self.a
        for phase in self.phases:
            mine = [i * len(tx) + tx.index(o) for i in range(len(ty)) for o, _ in phase]
            order = [i * taps + t for i in range(cb * nz) for t in mine]
            records += [nz * len(mine), weights_at, sum(map(len, tables))]
            tables.append(np.array(order, np.int64) * cols if packed else union[order] if order else union[:0])
            of_k = np.array(
                [ch * ac + iz * az + iy * ay + ix * ax
                 for ch in range(self.channels) for (_, iz), (_, iy), (_, ix) in product(tz, ty, phase)],
                np.int64,
            )  # fmt: skip
            of_ks.append(of_k)
            weights_at += self.groups * 2 * pairs * len(of_k)
        phases, table = np.array(records, np.int64), np.concatenate([*tables, np.zeros(1, np.int64)])
        small = [np.array(v, np.int64) for v in ([o for o, _ in tz], phases_y, phases_x)]
        place = lambda v: (CONST, v.ctypes.data)

        # temporary memory: weights, what sums begin with
        pack = weights(self.dtype)
        a_at = temp
        start_at = a_at + (weights_at * word + 63 & -64)
        used = start_at + self.groups * 2 * pairs * cols * word + 64 - temp & -64
        launches = []
        at = a_at
        (b, (sg, sm)) = bias or ((CONST, 0), (0, 0))
        for of_k in of_ks:
            slots = [(TEMP, at), (TEMP, start_at), a, b, place(of_k)]
            slots += [(CONST, v) for v in (self.rows, len(of_k), tiles, ag, am, sg, sm)]
            launches.append(Launch(pack["k"], tuple(slots), self.groups * tiles))
            at += self.groups * 2 * pairs * len(of_k) * word

        cp, cq, cm, cz, cy, cn = self.c
        kind = ALONG if nf == 1 and cn == 1 else PAIRS if (nf, cn, self.apart) == (2, 2, 1) else ANY
        if nf == 1 and cm == 1 and tile_rows(target) <= n and kind == ANY:
            kind = ACROSS
        numbers = dict(
            p=self.images, q=self.groups, m=self.rows, channels=self.channels, do=do, ho=ho, wo=wo, tiles=tiles, tb=tb,
            yb=yb, ib=ib, cb=cb, nz=nz, taps=taps, packed=int(packed), vpr=vpr, d=self.inside[0], h=self.inside[1],
            w=self.inside[2], sz=sz, sy=sy, sx=sx, ny=ny, nx=nx, row0=row0, col0=col0, height=height, halo=halo,
            pitch=pitch, group=group, plane=plane, cp=cp, cq=cq, cm=cm, cz=cz, cy=cy, cn=cn, cf=self.apart, nf=nf,
            width=self.width, kind=kind,
            **dict(zip(("xp", "xq", "xc", "xd", "xh", "xw"), self.x, strict=True)),
        )  # fmt: skip
        run = correlation(self.dtype, e)
        keep = (union, table, phases, vectors, pieces, places, *small, *of_ks, pack, run)
        byte = offset * size(memory)
        slots = [(*c, byte), x, (TEMP, a_at), (TEMP, start_at), place(phases), place(table), place(union), place(vectors),
                 place(pieces), place(places), *map(place, small)]  # fmt: skip
        slots += [(CONST, int(numbers[name])) for name in SLOTS[len(slots) :]]
        slots += [(*o, byte) for o in operands]
        most = len(vectors) + 1 >> 1
        rows_kept = min(2 * pairs, tb * tile_rows(target)) if cb < self.channels else 0
        scratch = cb * nz * plane + 3 * n + packed * cb * nz * taps * cols + nf * tile_rows(target) * cols
        scratch += most * rows_kept * nf * cols + 4 * cols
        chunks = self.groups * -(-self.images // ib) * do * -(-ho // yb) * -(-tiles // tb) if wo else 0
        return (*launches, Launch(run["k"], tuple(slots), chunks, scratch * word)), used, keep

    def blocks(self, row_bytes: int, halo: int, tiles: int, depth: int) -> tuple[int, int, int]:
        """(output rows, images, tiles of `a`) of a chunk: what the slab holds, and fewer while there are few chunks."""
        do, ho, wo = self.out
        yb = max(1, min(ho, SLAB // max(row_bytes, 1) - halo))
        yb = -(-ho // -(-ho // yb)) if ho else 1
        ib = 1
        if yb == ho:
            ib = min(self.images, POSITIONS // max(ho * wo, 1), SLAB // max(row_bytes * (ho + halo), 1))
            ib = -(-self.images // -(-self.images // ib)) if ib > 1 else 1
        tb = max(tiles, 1)
        count = lambda: self.groups * -(-self.images // ib) * do * -(-ho // yb) * -(-tiles // tb)
        work = lambda: ib * yb * wo * min(self.rows, 14 * tb) * depth
        while count() < CHUNKS and work() > 2 * GRAIN:
            if yb * wo * ib >= 128 and ib > 1:
                ib = -(-ib // 2)
            elif yb * wo >= 128 and yb > 2 * halo + 1:
                yb = -(-yb // 2)
            elif tb > 1:
                tb = -(-tb // 2)
            else:
                break
        return yb, ib, tb

    def positions(self, n: int, yb: int, ib: int, height: int, pitch: int, packed: bool) -> tuple[Any, Any, Any]:
        """Vectors of a chunk as (place in the slab, first piece, pieces), pieces, and where the lanes of vectors are.

        The lanes' places are from the vector's own; after them comes whether all of them are near.
        """
        (_, ho, wo), (cp, _, _, _, cy, cn), nf = self.out, self.c, len(self.phases)
        plain = nf == 1 and cn == 1 and (cy == wo or ho == 1)  # rows of the output follow one another
        vectors: list[tuple[int, int, int]] = []
        pieces: list[tuple[int, ...]] = []
        places = np.zeros((0, n + 1), np.int32)
        piece = lambda lane, count, i, y, x: pieces.append((lane, count, i, y * wo + x, i * cp + y * cy + x * cn, x))
        if not packed:
            for i, y, x in product(range(ib), range(yb), range(0, wo, n)):
                vectors.append(((i * height + y) * pitch + x, len(pieces), 1))
                piece(0, min(n, wo - x), i, y, x)
        else:
            i, y, x = (v.ravel() for v in np.indices((ib, yb, wo)))
            at, start = (i * height + y) * pitch + x, (i if plain else i * yb + y)
            places = np.zeros((-(-len(at) // n), n + 1), np.int32)
            for v in range(len(places)):
                lane = np.arange(v * n, min(v * n + n, len(at)))
                cuts = [0, *(np.flatnonzero(np.diff(start[lane])) + 1), len(lane)]
                vectors.append((int(at[lane[0]]), len(pieces), len(cuts) - 1))
                places[v, : len(lane)] = at[lane] - at[lane[0]]
                places[v, n] = places[v].max() < 2 * n
                for low, high in pairwise(cuts):
                    j = lane[low]
                    piece(low, high - low, int(i[j]), int(y[j]), int(x[j]))
        ended = (*vectors, (0, 0, 0))  # a chunk with an odd number of vectors reads one more record
        return np.array(ended, np.int64), np.array([*pieces, (0,) * len(PIECE)], np.int64), places


def three(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    """Leading spatial dimensions that are not there."""
    return (*(fill,) * (3 - len(values)), *values)  # type: ignore[return-value]
