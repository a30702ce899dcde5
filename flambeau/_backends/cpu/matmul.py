"""Plans of matrix products: which kernel, which blocks. From shapes, dtypes, strides and the machine's vectors alone.

`launch` is the entry for whoever composes native programs: one product on raw addresses, with an epilogue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import gcd
from typing import Any

import numpy as np

from flambeau._backends.cpu import copies, pen, thirds
from flambeau._backends.cpu.amx import DEPTH, LANES, SIDE, STEP, TileForm, allowed, has_tiles, kernel as tile_kernel
from flambeau._backends.cpu.contract import (
    ADD_COLUMN,
    ADD_ROW,
    CHUNKS,
    GRAIN,
    PLAIN,
    TYPES,
    Epilogue,
    Operand,
    collapse,
    scaled,
    tile,
)
from flambeau._backends.cpu.dots import TALLEST, DotForm, kernel as dot_kernel, width as dot_width
from flambeau._backends.cpu.emit import size
from flambeau._backends.cpu.engine import Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, Table, c_strides
from flambeau._backends.cpu.product import Form, kernel, together

TALL = 9  # rows of a panel of `a` for vectors of 64 bytes, by which its depth is cut
HIGHEST, WIDEST, FLAT = 14, 16, 6  # rows and vectors of a tile; rows below which one tile has them all
PANEL = 18 << 10  # bytes of a panel of `a`: it stays in a first-level cache of 32 to 48 KB while `b` streams past
BLOCK = 1 << 20  # bytes of a packed block of `b`: half of a second-level cache
REAL = frozenset(("float32", "float64", "float16", "bfloat16"))
FEWEST, SOME, LONG = 2, 40, 128  # rows that are summed along k without packing; the shortest sums of which many are
THIRD_DEPTH, THIRD_BLOCK = 256, 5 << 18  # of panels of thirds; bytes of a block of `b` of them
THIRD_SPEED = 80  # multiplications in a cycle
THIRD_COST = {"rows": 0.5, "lines": 0.8}  # cycles to pack an element of `a`; of `b` the other way round
THIRD_READ = 0.1  # and to read one that is packed for the first time
SHARED_WORK, SHARED_MOST = 1 << 25, 8 << 20  # multiplications and bytes of panels where all threads share them
TILE_DEPTH = 1024  # of a panel of `a` for tile registers: deeper than these, sums wait in memory less often
PAGE = 4096  # rows a multiple of it apart fall onto the same lines of the first-level cache
FEW = 6  # tiles of rows up to which reading `b` again is cheaper than packing it
WIDE = 64  # columns from which a batch of `a` is copied to be rows of one product
NEAR = 1024  # bytes between rows of `b` up to which it is read in place by any number of tiles
COST = {"lines": 0.5, "rows": 0.7, "any": 1.5}  # cycles to fetch and pack an element
READ = 0.1  # and to fetch one that is read in place, for each block of columns


@dataclass(frozen=True)
class Blocks:
    """How `out` is cut: tiles of rows, and how many of them, of columns and of k make a block."""

    tiles: int
    tb: int
    nb: int
    kb: int
    group: int
    chunks: int


@cache
def shape(registers: int, m: int, n: int, k: int, lanes: int) -> tuple[int, int]:
    """(tiles of rows, vectors of a panel): of those that fit the registers, beside their smaller side and one more, what takes least.

    Counted in cycles: two multiply-adds in one, which wait four for those before them; loads, which get in their way; stores. A
    single tile of few rows is as wide as it may be: `b` is read in long runs.
    """
    across = max(1, -(-n // lanes))
    fits = lambda rows, vectors: rows * vectors + min(rows, vectors) + 1 <= registers

    def cycles(rows: int, vectors: int) -> float:
        sums = rows * vectors
        return (max(sums / 2, 4) + (rows + vectors) / 4) * k + 1.5 * sums + 30

    m, found = max(m, 1), []
    for vectors in range(1, min(across, WIDEST) + 1):
        if not fits(min(m, FLAT), vectors):
            break
        if m < FLAT:
            found = [(0.0, vectors, 1)]
            continue
        tiles = -(-m // max(r for r in range(1, HIGHEST + 1) if fits(r, vectors)))
        rows, edge = -(-m // tiles), across % vectors
        panels = across // vectors * cycles(rows, vectors) + (1.1 * cycles(rows, edge) if edge else 0)
        found.append((tiles * panels, vectors, tiles))
    _, vectors, tiles = min(found)
    return tiles, vectors


def reads(along: int, down: int) -> str:
    """How an operand lies whose strides along the tile and along k are these."""
    return "lines" if along == 1 else "rows" if down == 1 else "any"


def cut(
    extents: tuple[int, ...], tiles: int, width: int, block: int, ca: float, cb: float, speed: float
) -> tuple[int, int]:
    """(tiles of rows, panels of columns) of a block: those that pack least, of about as many chunks as there is work for.

    `block` is how many panels may be packed at a time, ca and cb are cycles to pack an element, `speed` is in
    multiplications per cycle.
    """
    p, q, m, n, k = extents
    panels, work = -(-n // width), p * q * m * n * k
    half = panels // 2 * width  # columns of one of two threads
    grains = int(work / (GRAIN / 32 * speed))
    wanted = max(1, min(CHUNKS, grains))
    fewest = (
        -(-wanted // 4) if grains < 8 * CHUNKS else wanted // 4 + 1
    )  # packing weighs most where there is least to do
    grids = []
    for gn in range(-(-panels // block), max(min(panels, wanted), -(-panels // block)) + 1):
        nb = -(-panels // gn)
        for gm in range(1, min(tiles, wanted) + 1):
            tb = -(-tiles // gm)
            down, across = -(-tiles // tb), -(-panels // nb)
            units = p * q * down * across
            packing = p * q * k * (down * n * cb + across * m * ca)
            idle = work / speed / units * (0.25 if units >= fewest else 4)  # threads that wait for the last one
            longer = -(-units // 2) * 2 / units  # two threads, of which one does more
            if p * q % 2:
                longer *= max(half, n - half) * 2 / max(n, 1) if across % 2 == 0 else -(-tiles // 2) * 2 / tiles
            idle += (packing + work / speed) * (longer - 1) if wanted > 1 else 0
            grids.append((packing + idle + 1000 * units, tb, nb))
    _, tb, nb = min(grids)
    return tb, nb


def grouped(extents: tuple[int, ...], tiles: int, tb: int, nb: int, kb: int, speed: float) -> Blocks:
    """Blocks of these sizes, small ones several to a chunk."""
    p, q, m, n, k = extents
    units = p * q * -(-tiles // tb) * -(-n // nb)
    work = max(p * q * m * n * k, 1)
    group = max(1, min(-(-units // CHUNKS), int(GRAIN / 128 * speed * units / work)))
    return Blocks(tiles, tb, nb, kb, group, -(-units // group))


@cache
def choose(
    target: Target, dtype: str, extents: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...]
) -> tuple[Form, Blocks]:
    """The form and the blocks of a product; strides are those of (p, q, rows, columns) in elements."""
    p, q, m, n, k = extents
    memory, acc = TYPES[dtype]
    t, item = tile(target, dtype), size(acc)
    tallest = TALL if target.vector_bytes == 64 else t.rows
    tiles, vectors = shape(target.registers, m, n, k, t.lanes)
    rows, more = max(1, -(-m // tiles)), m % tiles
    width = vectors * t.lanes
    edge = -(-(n % width) // t.lanes)

    # depth: as deep as a panel of `a` may be, in equal parts
    deepest = max(64, PANEL // (item * tallest) & -16)
    kb = -(-k // -(-k // deepest)) if k > deepest * 5 // 4 else max(k, 1)
    kb += kb & 1 if k > kb else 0  # pairs of k stay together

    # how operands are read
    widened = memory != acc or t.pairs
    pairs = t.pairs and a[2] % 2 == 0 and k % 2 == 0  # in `a` as it lies, if its rows are contiguous
    la, lb = reads(a[2], a[3]), reads(b[3], b[2])
    la = "lines" if m == 1 else la
    panels = -(-n // width)
    if la == "rows":
        clash = rows * gcd(a[2] * size(memory), PAGE) > 9 * PAGE and panels > 2
    else:
        clash = panels > 3 and m > 1
    packed = widened and not (pairs and la == "rows")
    fa = f"pack {la}" if packed or la == "any" or clash else la
    masks = target.vector_bytes == 64 or n % t.lanes == 0
    near = tiles <= FEW or abs(b[2]) * item <= NEAR
    fb = "lines" if lb == "lines" and near and masks and not widened else f"pack {lb}"

    ca, cb = (COST[x[5:]] if x.startswith("pack") else 0.0 for x in (fa, fb))
    if fa == "rows" and fb == "lines":  # nothing is packed: what counts is how often rows are fetched
        ca = READ
    tb, nb = cut(extents, tiles, width, max(1, BLOCK // (kb * item * width)), ca, cb, 32)
    form = Form(dtype, rows, more != 0 and tiles > 1, vectors if n >= width else 0, edge, fa, fb, c[3] == 1)
    return form, grouped(extents, tiles, tb, nb * width, kb, 32)


@cache
def choose_tiles(extents: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> tuple[TileForm, Blocks]:
    """As `choose`, for tile registers."""
    p, q, m, n, k = extents
    la = reads(a[2], a[3])
    kb = -(-k // -(-k // TILE_DEPTH)) if k > TILE_DEPTH * 5 // 4 else max(k, 1)
    kb += -kb % DEPTH
    whole = la == "rows" and k % DEPTH == 0 and m % 16 == 0 and 16 * gcd(a[2] * 2, PAGE) <= 9 * PAGE
    fa = "rows" if whole else f"pack {la}"
    tiles = -(-m // SIDE)
    cost = COST[reads(b[3], b[2])] / 2
    tb, nb = cut(extents, tiles, SIDE, max(1, BLOCK // 2 // (kb * 2 * SIDE)), 0.0 if whole else COST[la] / 2, cost, 400)
    if kb < k:
        tb = min(tb, max(1, BLOCK // (nb * SIDE * SIDE * 4)))  # partial sums stay in the second-level cache
    return TileForm(fa), grouped(extents, tiles, tb, nb * SIDE, kb, 400)


@cache
def choose_thirds(extents: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], shared: bool = False) -> Blocks:
    """As `choose`, for float32 by tile registers; panels that are `shared` are only read again."""
    *_, m, n, k = extents
    kb = -(-k // -(-k // THIRD_DEPTH)) if k > THIRD_DEPTH * 5 // 4 else k
    kb += -kb % DEPTH
    tiles = -(-m // SIDE)
    costs = (THIRD_READ,) * 2 if shared else (THIRD_COST[reads(a[2], a[3])], THIRD_COST[reads(b[2], b[3])])
    tb, nb = cut(extents, tiles, SIDE, max(1, THIRD_BLOCK // (kb * 6 * SIDE)), *costs, THIRD_SPEED)
    return grouped(extents, tiles, tb, nb * SIDE, kb, THIRD_SPEED)


@cache
def thirds_suit(target: Target, extents: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether tile registers are worth their padding and packing for float32."""
    *_, m, n, k = extents
    la, lb = reads(a[2], a[3]), reads(b[2], b[3])
    if "any" in (la, lb) or min(m, n, k) < LANES or not has_tiles(target):
        return False
    up = lambda x: -(-x // SIDE) * SIDE
    tiles = up(m) * up(n) * up(k) / THIRD_SPEED + up(k) * (m * THIRD_COST[la] + n * THIRD_COST[lb]) + 500
    return tiles < 0.8 * m * n * k / 32 and allowed()


def tiles_suit(target: Target, extents: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether tile registers are worth their padding, and packing `b` for rows that are few."""
    *_, m, n, k = extents
    return (m >= 4 or b[2] == 1) and n >= 4 and k > 1 and has_tiles(target) and allowed()


def dots_suit(dtype: str, extents: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether sums run along contiguous memory on both sides, and rows are so few that packing `b` would cost more."""
    *_, m, n, k = extents
    return (
        a[3] == 1
        and b[2] == 1
        and k > 1
        and (n > 1 or m == 1)
        and m <= (FEWEST if k < LONG else SOME)
        and dtype in REAL
    )


@cache
def choose_dots(target: Target, dtype: str, extents: tuple[int, ...]) -> tuple[DotForm, Blocks]:
    """As `choose`, for products that are not packed."""
    p, q, m, n, k = extents
    tiles = max(1, -(-m // TALLEST))
    rows = max(1, -(-m // tiles))
    cols = min(dot_width(target.registers, rows), max(n, 1))
    work = p * q * m * n * k
    reads_ = max(work // 8, p * q * n * k)  # memory bounds few rows, multiplications many
    parts = max(1, min(CHUNKS, 8 * reads_ // GRAIN, -(-n // cols)) // (p * q))
    nb = -(-n // parts)
    nb += -nb % cols
    units = p * q * -(-n // nb)
    group = max(1, -(-units // CHUNKS)) if p * q > CHUNKS else 1
    return DotForm(dtype, rows, m % tiles != 0, cols), Blocks(tiles, tiles, nb, k, group, -(-units // group))


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
    """A product as a launch of a plan: c[p, q, m, n] = e(sum over k of a[p, q, m, k] * b[p, q, k, n]).

    `extents` are p, q, m, n, k. An operand names the slot's source and its strides over (p, q, rows, columns), in elements.
    Those of the epilogue name their strides over (p, q, m, n); of these n's is 1 for a row and 0 for a column. `scalars`
    are sources of float64 slots. c is written only, and overlaps nothing that is read.
    """
    target = engine().target
    form: Form | TileForm | DotForm
    p, q, m, n, k = extents
    if dtype == "float32" and c.strides[3] == 1 and thirds_suit(target, extents, a.strides, b.strides):
        blocks = choose_thirds(extents, a.strides, b.strides)
        code, bytes_ = thirds.kernel(e, False), thirds.scratch(blocks.tb, blocks.nb, blocks.kb, False)
        scalars = (*scalars, (CONST, thirds.pack_code()["k"]))
    elif dtype == "bfloat16" and c.strides[3] == 1 and tiles_suit(target, extents, b.strides):
        turned = b.strides[2] == 1 and m < n  # rows of `b`'s transpose need no packing into pairs
        if turned:
            extents = (p, q, n, m, k)
            a, b, c = b.transposed(), a.transposed(), c.transposed()
        form, blocks = choose_tiles(extents, a.strides, b.strides)
        code, bytes_ = tile_kernel(replace(form, turned=turned, epilogue=e)), tile_scratch(form, blocks, k)
    elif dots_suit(dtype, extents, a.strides, b.strides):
        form, blocks = choose_dots(target, dtype, extents)
        code, bytes_ = dot_kernel(replace(form, epilogue=e)), 0
    else:
        form, blocks = choose(target, dtype, extents, a.strides, b.strides, c.strides)
        code, bytes_ = kernel(replace(form, epilogue=e)), scratch(target, form, blocks, k)
    slots = (*words(extents, blocks, c, a, b, operands), *scalars)
    return Launch(code["k"], slots, blocks.chunks, bytes_)


def words(
    extents: tuple[int, ...], blocks: Blocks, c: Operand, a: Operand, b: Operand, operands: Sequence[Operand]
) -> list[tuple[int, ...]]:
    """The slots of a product, but the scalars."""
    constants = [*extents, blocks.tiles, blocks.tb, blocks.nb, blocks.kb, blocks.group]
    constants += [*a.strides, *b.strides, *c.strides]
    slots: list[tuple[int, ...]] = [c.slot, a.slot, b.slot, *((CONST, x) for x in constants)]
    for o in operands:
        slots += [o.slot, *((CONST, x) for x in o.strides[:3])]
    return slots


def shared(
    extents: tuple[int, int, int, int, int],
    c: Operand,
    a: Operand,
    b: Operand,
    e: Epilogue = PLAIN,
    operands: Sequence[Operand] = (),
    scalars: Sequence[tuple[int, int]] = (),
    base: int = 0,
) -> tuple[tuple[Launch, ...], int] | None:
    """As `launch`, for one large product of float32 by tile registers: both operands are packed once, by all threads, before they multiply.

    Launches, and the end of the temporary memory that they share, which begins at `base`; None for other products: two threads wait longer
    for one another, between packing and multiplying, than a small product takes.
    """
    p, q, m, n, k = extents
    if p * q > 1 or c.strides[3] != 1 or m * n * k < SHARED_WORK:
        return None
    if not thirds_suit(engine().target, extents, a.strides, b.strides):
        return None
    blocks = choose_thirds(extents, a.strides, b.strides, True)
    (size_a, words_a), (size_b, words_b) = (thirds.room(x, k, blocks.kb) for x in (m, n))
    places = [base, base + size_a, base + size_a + size_b, base + size_a + size_b + words_a]
    temp = places[3] + words_b
    if temp - base > SHARED_MOST:
        return None
    pack, share, code = thirds.pack_code()["k"], thirds.share_code()["k"], thirds.kernel(e, True)["k"]
    sides = ((a.slot, m, a.strides[2], a.strides[3], 0), (b.slot, n, b.strides[3], b.strides[2], 1))
    packing: list[tuple[int, ...]] = [(CONST, x) for x in (pack, k, blocks.kb)]
    for i, (slot, *numbers) in enumerate(sides):
        packing += [(TEMP, places[i]), (TEMP, places[2 + i]), slot, *((CONST, x) for x in numbers)]
    groups = sum(-(-extent // (SIDE * thirds.SHARED)) for extent in (m, n))
    packed = Launch(share, tuple(packing), -(-k // blocks.kb) * groups)
    slots = (*words(extents, blocks, c, a, b, operands), *scalars, *((TEMP, x) for x in places))
    bytes_ = thirds.scratch(blocks.tb, blocks.nb, blocks.kb, True)
    return (packed, Launch(code, slots, blocks.chunks, bytes_)), temp


def scratch(target: Target, form: Form, blocks: Blocks, k: int) -> int:
    """Bytes that a thread needs: panels of `a` and `b`, and partial sums where `out` cannot hold them."""
    memory, acc = TYPES[form.dtype]
    t = tile(target, form.dtype)
    width = (form.vectors or form.edge) * t.lanes
    deep = blocks.kb + 1 >> 1 if t.pairs else blocks.kb
    words = (deep * form.rows + t.lanes) * together(form, t)
    words += -(-blocks.nb // width) * width * deep if form.b.startswith("pack") else 0
    if (memory != acc or not form.dense) and blocks.kb < k:
        words += blocks.tb * form.rows * blocks.nb
    return words * size(acc)


def tile_scratch(form: TileForm, blocks: Blocks, k: int) -> int:
    """As `scratch`, for tile registers."""
    deep = -(-blocks.kb // DEPTH) * STEP
    sums = blocks.tb * SIDE * blocks.nb * 4 if blocks.kb < k else 0
    return (form.a != "rows") * deep + deep * -(-blocks.nb // SIDE) + sums


def matmul_plan(
    a: np.ndarray[Any, Any],
    b: np.ndarray[Any, Any],
    plus: np.ndarray[Any, Any] | None = None,
    scaled_: bool = False,
    finish: pen.Words | None = None,
) -> Plan | None:
    """The plan of `a @ b`, of arrays of two or more dimensions, or of `alpha * (a @ b) + beta * plus`.

    None where the template has no form for it. `plus` broadcasts to the result; with `scaled_`, beta and alpha are the
    fourth and the fifth argument. `finish`: words of the product and of `plus` that are done instead of adding.
    """
    dtype = a.dtype.name
    arrays = (a, b) if plus is None else (a, b, plus)
    if dtype not in TYPES or any(x.dtype is not a.dtype for x in arrays) or a.ndim < 2 or b.ndim < 2:
        return None
    if dtype == "float16" and not engine().target.halves:
        return None
    item = a.itemsize
    if any(s % item for x in arrays for s in x.strides) or not all(x.flags.aligned for x in arrays):
        return None
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, m, n)
    if 0 in shape:
        return Plan((Result(a.dtype, shape),), ())
    step = lambda x, shape: [s // item for s in np.broadcast_to(x, shape).strides]
    sa, sb = step(a, (*batch, m, k)), step(b, (*batch, k, n))
    sc = [s // item for s in c_strides(Result(a.dtype, shape))]
    sx = [0] * len(shape) if plus is None else step(plus, shape)
    if n > 1 and sx[-1] not in (0, 1):
        return None
    # a batch that `b` does not have is more rows of `a`
    source, temp, first = (ARG, 0), 0, ()
    dims, walks = collapse(batch, sa[:-2], sb[:-2], sc[:-2], sx[:-2])
    more = lambda: dims and walks[-1][1] == 0 and walks[-1][0] == m * sa[-2] and walks[-1][3] == m * sx[-2]
    if dims and not any(w[1] for w in walks) and not more() and n >= max(m, WIDE) and sa[-1] == 1:
        copied = in_rows(a, (*batch, m, k))
        if copied is not None:  # costs less than packing `b` again for each of the batch
            source, (temp, first) = (TEMP, 0), copied
            sa = [s // item for s in c_strides(Result(a.dtype, (*batch, m, k)))]
            dims, walks = collapse(batch, sa[:-2], sb[:-2], sc[:-2], sx[:-2])
    if more():
        m, dims, walks = m * dims[-1], dims[:-1], walks[:-1]
    if len(dims) > 2:
        return None
    while len(dims) < 2:
        dims, walks = [1, *dims], [[0, 0, 0, 0], *walks]
    (p, q), (wp, wq) = dims, walks
    oa = Operand(source, (wp[0], wq[0], sa[-2], sa[-1]))
    ob = Operand((ARG, 1), (wp[1], wq[1], sb[-2], sb[-1]))
    oc = Operand((OUT, 0), (wp[2], wq[2], n, 1))
    e, operands, scalars = PLAIN, [], []
    if plus is not None:
        along = "row" if sx[-1] == 1 else "column"
        operands = [Operand((ARG, 2), (wp[3], wq[3], sx[-2], sx[-1]))]
        e = scaled(dtype, along) if scaled_ else ADD_ROW(dtype) if along == "row" else ADD_COLUMN(dtype)
        scalars = [(ARG, 4), (ARG, 3)] if scaled_ else []
    elif m > n and (
        (
            n < max(9, tile(engine().target, dtype).lanes) and sa[-2] == 1 and sa[-1] != 1
        )  # few columns, and the rows of `a`'s transpose are read in long runs
        or dots_suit(dtype, (p, q, n, m, k), ob.transposed().strides, oa.transposed().strides)
    ):
        m, n, oa, ob, oc = n, m, ob.transposed(), oa.transposed(), oc.transposed()
    if finish is not None:
        e = finished(e.operands, finish)
    what = (p, q, m, n, k), oc, oa, ob, e, operands, scalars
    found = shared(*what, temp) if dtype == "float32" else None
    works, temp = found or ((launch(dtype, *what),), temp)
    return Plan((Result(a.dtype, shape),), (*first, *works), temp=temp, release=p * q * m * n * k > 2 * GRAIN)


@cache
def finished(operands: tuple[tuple[str, str], ...], words: pen.Words) -> Epilogue:
    """An epilogue that words say. What is rounded last to memory's type is rounded where it is stored."""
    name = ";".join(f"{op}{src}{d if op == 'cast' else arg}" for op, src, arg, d in words)
    last = words[:-1] if words[-1][0] == "cast" and words[-1][1] == (len(words) - 2,) else words
    return Epilogue(f"{operands} {name}", operands, 0, lambda f, x, o, s: pen.expression(f, last, x, *o))


def in_rows(x: np.ndarray[Any, Any], shape: tuple[int, ...]) -> tuple[int, tuple[Launch, ...]] | None:
    """Bytes of temporary memory, and the launch that copies x there in C order; None where its rows are too short for that."""
    x = np.broadcast_to(x, shape)
    dense = np.lib.stride_tricks.as_strided(np.zeros(1, x.dtype), shape, c_strides(Result(x.dtype, shape)))
    made = copies.rows_launch(dense, x, (TEMP, 0), (ARG, 0))
    return None if made is None else (x.size * x.itemsize + 63 & -64, (made,))


@cache
def tables() -> tuple[Table, Table, Table]:
    return Table("matmul"), Table("matmul_add"), Table("matmul_scaled")


def matmul(
    a: np.ndarray[Any, Any],
    b: np.ndarray[Any, Any],
    plus: np.ndarray[Any, Any] | None = None,
    beta: float = 1.0,
    alpha: float = 1.0,
) -> np.ndarray[Any, Any] | None:
    """`alpha * (a @ b) + beta * plus`, rounded once, or None where the array library should do it."""
    plain, added, scales = tables()
    if plus is None:
        table, args = plain, (a, b)
    elif beta == alpha == 1:
        table, args = added, (a, b, plus)
    else:
        table, args = scales, (a, b, plus, float(beta), float(alpha))
    out = table.call(*args)
    if out is None:
        plan = matmul_plan(a, b, plus, table is scales)
        if plan is None:
            return None
        table.add(args, plan)
        out = table.call(*args)
    return out
