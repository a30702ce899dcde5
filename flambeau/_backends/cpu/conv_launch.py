"""Convolutions as launches: for one correlation, how its work is cut, the tables that its kernel reads, and its slots.

The kernel is `conv`, and says what the tables mean; single channels go to `conv_depthwise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from flambeau._backends.cpu.contract import CHUNKS, GRAIN, PLAIN, TYPES, Epilogue
from flambeau._backends.cpu.conv import ACROSS, ALONG, ANY, PAIRS, PIECE, SLOTS, correlation
from flambeau._backends.cpu.conv_depthwise import depthwise_launch
from flambeau._backends.cpu.conv_tile import VECTORS, lanes, tile_rows, weights
from flambeau._backends.cpu.correlation import Correlation, Reach
from flambeau._backends.cpu.emit import size
from flambeau._backends.cpu.engine import Target, engine
from flambeau._backends.cpu.launch import CONST, TEMP, Launch

DEPTH = 640  # products summed before a partial tile is kept
ROWS = 192 << 10  # of `a` that a block of the depth may hold, in elements: with the slab, the second-level cache
SLAB = 256 << 10  # bytes of input that a chunk works on at a time
POSITIONS = 256  # of a chunk: images are taken together up to so many
FEW = 3  # rows of `a` to one channel that a tile would be wasted on
PACKING = 5  # the price of packing a vector, in rows of sums

Slot = tuple[int, int]
Ints = np.ndarray[Any, Any]  # a table, of int64 where nothing else is said


def launches(
    work: Correlation,
    c: Slot,
    offset: int,
    x: Slot,
    a: Slot,
    bias: tuple[Slot, tuple[int, int]] | None,
    temp: int,
    e: Epilogue = PLAIN,
    operands: Sequence[Slot] = (),
) -> tuple[tuple[Launch, ...], int, tuple[Any, ...]]:
    """(launches, bytes of temporary memory used, what to keep).

    `offset` is an element offset into the output; `bias` its slot and its strides over groups and rows.
    """
    if (
        work.channels == 1
        and len(work.taps[0]) == 1
        and work.out[0] == work.inside[0] == 1
        and work.rows <= FEW
        and e is PLAIN
    ):
        one, kept = depthwise_launch(work, c, offset, x, a, bias)
        return (one,), 0, kept
    target = engine().target
    memory, acc = TYPES[work.dtype]
    word, cols = size(acc), lanes(target, acc) * VECTORS
    cut = cut_of(work, target)
    tables = tables_of(work, cut, cols)
    vectors, pieces, places = positions(work, lanes(target, acc), cut)

    # temporary memory: the packed weights, then what sums begin with
    start = temp + (tables.weights * word + 63 & -64)
    used = start + work.groups * 2 * cut.pairs * cols * word + 64 - temp & -64
    packing = pack_weights(work, cut, tables, a, bias, temp, start)

    small = [np.array(v, np.int64) for v in ([o for o, _ in work.taps[0]], cut.reach.phases_y, cut.reach.phases_x)]
    run, byte = correlation(work.dtype, e), offset * size(memory)
    addressed = (tables.phases, tables.ks, tables.union, vectors, pieces, places, *small)
    slots = [(*c, byte), x, (TEMP, temp), (TEMP, start), *map(constant, addressed)]
    numbers = numbers_of(work, cut, target)
    slots += [(CONST, int(numbers[name])) for name in SLOTS[len(slots) :]]
    slots += [(*o, byte) for o in operands]
    (do, ho, wo), nf = work.out, len(work.phases)
    rows_kept = min(2 * cut.pairs, cut.tb * tile_rows(target)) if cut.cb < work.channels else 0
    panel = cut.packed * cut.cb * cut.nz * cut.taps * cols
    scratch = cut.cb * cut.nz * cut.plane + 3 * lanes(target, acc) + panel + nf * tile_rows(target) * cols
    scratch += (len(vectors) + 1 >> 1) * rows_kept * nf * cols + 4 * cols
    chunks = work.groups * -(-work.images // cut.ib) * do * -(-ho // cut.yb) * -(-cut.tiles // cut.tb) if wo else 0
    keep = (*addressed, *tables.of_ks, weights(work.dtype), run)
    return (*packing, Launch(run["k"], tuple(slots), chunks, scratch * word)), used, keep


def constant(table: Ints) -> Slot:
    """The slot of a table's address."""
    return CONST, table.ctypes.data


class Cut(NamedTuple):
    """How the work of a correlation is cut, and how its slab lies. What is called as a slot of the kernel is that."""

    reach: Reach
    pairs: int  # of rows of `a`
    tiles: int
    nz: int
    taps: int
    cb: int
    yb: int
    ib: int
    tb: int
    pitch: int
    height: int
    group: int
    plane: int
    vpr: int
    packed: bool


def cut_of(work: Correlation, target: Target) -> Cut:
    """Blocks of channels, rows, images and tiles so that a slab stays in the cache and there are chunks for all threads."""
    acc = TYPES[work.dtype][1]
    n, word, wo, reach = lanes(target, acc), size(acc), work.out[2], work.reach
    pairs = -(-work.rows // 2)
    tiles = -(-2 * pairs // tile_rows(target))
    taps, nz = len(work.offsets_y) * len(work.offsets_x), len(work.taps[0])
    ny, nx, pitch = len(reach.phases_y), len(reach.phases_x), wo + reach.more
    depth = min(DEPTH, max(ROWS // max(work.rows, 1), 128))
    cb = max(1, min(work.channels, depth // max(nz * taps, 1)))
    cb = -(-work.channels // -(-work.channels // cb)) if work.channels else 1
    row_bytes = cb * nz * max(ny * nx, 1) * pitch * word
    yb, ib, tb = blocks(work, row_bytes, reach.halo, tiles, work.channels * nz * taps)
    height = yb + reach.halo
    group = ib * height * pitch
    plane = -(-(ny * nx * group + 3 * n) // 16) * 16
    plane += 16 * (plane // 16 % 2 == 0)  # an odd number of cache lines: channels do not meet in one set
    vpr = -(-wo // n) if wo else 0
    packed = bool(wo and vpr * n / wo > 1 + PACKING / max(work.rows, 1))
    return Cut(reach, pairs, tiles, nz, taps, cb, yb, ib, tb, pitch, height, group, plane, vpr, packed)


def blocks(work: Correlation, row_bytes: int, halo: int, tiles: int, depth: int) -> tuple[int, int, int]:
    """(output rows, images, tiles of `a`) of a chunk: what the slab holds, and fewer while there are few chunks."""
    do, ho, wo = work.out
    yb = max(1, min(ho, SLAB // max(row_bytes, 1) - halo))
    yb = -(-ho // -(-ho // yb)) if ho else 1
    ib = 1
    if yb == ho:
        ib = min(work.images, POSITIONS // max(ho * wo, 1), SLAB // max(row_bytes * (ho + halo), 1))
        ib = -(-work.images // -(-work.images // ib)) if ib > 1 else 1
    tb = max(tiles, 1)
    count = lambda: work.groups * -(-work.images // ib) * do * -(-ho // yb) * -(-tiles // tb)
    sums = lambda: ib * yb * wo * min(work.rows, 14 * tb) * depth
    while count() < CHUNKS and sums() > 2 * GRAIN:
        if yb * wo * ib >= 128 and ib > 1:
            ib = -(-ib // 2)
        elif yb * wo >= 128 and yb > 2 * halo + 1:
            yb = -(-yb // 2)
        elif tb > 1:
            tb = -(-tb // 2)
        else:
            break
    return yb, ib, tb


class Tables(NamedTuple):
    """Where each k is: in the slab, for all taps (`union`) and for those of each phase (`ks`, or in the panel), and in the weights (`of_ks`)."""

    union: Ints
    ks: Ints
    phases: Ints  # for each phase of the output: taps, where its packed weights begin, and where in `ks`
    of_ks: list[Ints]
    weights: int  # elements of all packed weights


def tables_of(work: Correlation, cut: Cut, cols: int) -> Tables:
    """The tables of a correlation whose panels are `cols` wide."""
    (tz, ty), (_, sy, sx), reach, tx = work.taps, work.stride, cut.reach, work.offsets_x
    ag, am, ac, az, ay, ax = work.a
    at_tap = []
    for oy, ox in product(work.offsets_y, tx):
        phase = reach.phases_y.index(oy % sy) * len(reach.phases_x) + reach.phases_x.index(ox % sx)
        at_tap.append(phase * cut.group + (oy // sy - reach.row0) * cut.pitch + ox // sx - reach.col0)
    union = np.array([i * cut.plane + o for i in range(cut.cb * cut.nz) for o in at_tap], np.int64)
    ks: list[Ints] = []
    records: list[int] = []
    of_ks: list[Ints] = []
    weights_at = 0
    for taps_x in work.phases:
        mine = [i * len(tx) + tx.index(o) for i in range(len(ty)) for o, _ in taps_x]
        order = [i * cut.taps + t for i in range(cut.cb * cut.nz) for t in mine]
        records += [cut.nz * len(mine), weights_at, sum(map(len, ks))]
        ks.append(np.array(order, np.int64) * cols if cut.packed else union[order] if order else union[:0])
        taps = list(product(tz, ty, taps_x))
        of_k = [
            ch * ac + iz * az + iy * ay + ix * ax for ch in range(work.channels) for (_, iz), (_, iy), (_, ix) in taps
        ]
        of_ks.append(np.array(of_k, np.int64))
        weights_at += work.groups * 2 * cut.pairs * len(of_k)
    table = np.concatenate([*ks, np.zeros(1, np.int64)])
    return Tables(union, table, np.array(records, np.int64), of_ks, weights_at)


def pack_weights(work: Correlation, cut: Cut, tables: Tables, a: Slot, bias: tuple[Slot, tuple[int, int]] | None, at: int,
                 start: int) -> list[Launch]:  # fmt: skip
    """The launches that pack the weights of each phase, one after the other from `at`, and what sums begin with, at `start`."""
    pack, word = weights(work.dtype), size(TYPES[work.dtype][1])
    (b, (sg, sm)) = bias or ((CONST, 0), (0, 0))
    made = []
    for of_k in tables.of_ks:
        slots = [(TEMP, at), (TEMP, start), a, b, constant(of_k)]
        slots += [(CONST, v) for v in (work.rows, len(of_k), cut.tiles, *work.a[:2], sg, sm)]
        made.append(Launch(pack["k"], tuple(slots), work.groups * cut.tiles))
        at += work.groups * 2 * cut.pairs * len(of_k) * word
    return made


def numbers_of(work: Correlation, cut: Cut, target: Target) -> dict[str, int]:
    """The kernel's slots that are numbers."""
    reach, (do, ho, wo), (d, h, w), (sz, sy, sx) = cut.reach, work.out, work.inside, work.stride
    lanes_, nf, cm, cn = lanes(target, TYPES[work.dtype][1]), len(work.phases), work.c[2], work.c[5]
    kind = ALONG if nf == 1 and cn == 1 else PAIRS if (nf, cn, work.apart) == (2, 2, 1) else ANY
    if nf == 1 and cm == 1 and tile_rows(target) <= lanes_ and kind == ANY:
        kind = ACROSS
    return dict(
        p=work.images, q=work.groups, m=work.rows, channels=work.channels, do=do, ho=ho, wo=wo, tiles=cut.tiles,
        tb=cut.tb, yb=cut.yb, ib=cut.ib, cb=cut.cb, nz=cut.nz, taps=cut.taps, packed=cut.packed, vpr=cut.vpr, d=d, h=h,
        w=w, sz=sz, sy=sy, sx=sx, ny=len(reach.phases_y), nx=len(reach.phases_x), row0=reach.row0, col0=reach.col0,
        height=cut.height, halo=reach.halo, pitch=cut.pitch, group=cut.group, plane=cut.plane, cf=work.apart, nf=nf,
        width=work.width, kind=kind,
        **dict(zip(("xp", "xq", "xc", "xd", "xh", "xw"), work.x, strict=True)),
        **dict(zip(("cp", "cq", "cm", "cz", "cy", "cn"), work.c, strict=True)),
    )  # fmt: skip


def positions(work: Correlation, n: int, cut: Cut) -> tuple[Ints, Ints, Ints]:
    """Vectors of a chunk as (place in the slab, first piece, pieces), pieces, and where the lanes of vectors are.

    The lanes' places are from the vector's own; after them comes whether all of them are near.
    """
    yb, ib, height, pitch = cut.yb, cut.ib, cut.height, cut.pitch
    (_, ho, wo), (cp, _, _, _, cy, cn), nf = work.out, work.c, len(work.phases)
    plain = nf == 1 and cn == 1 and (cy == wo or ho == 1)  # rows of the output follow one another
    vectors: list[tuple[int, int, int]] = []
    pieces: list[tuple[int, ...]] = []
    places = np.zeros((0, n + 1), np.int32)
    piece = lambda lane, count, i, y, x: pieces.append((lane, count, i, y * wo + x, i * cp + y * cy + x * cn, x))
    if not cut.packed:
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
