"""Convolutions by the contraction template, without an im2col array. Forward and transposed; 1 to 3 dimensions.

Both are one primitive, a correlation whose taps may be anywhere:

    out[n, g, m, z, y, x] = epilogue(sum over c and taps t of a[g, m, c, t] * in[n, g, c, z sz + tz, y sy + ty, x sx + tx])

with `in` zero outside its bounds. A transposed convolution of stride s is s x s such correlations of stride 1, one for
each phase of the output, each with its share of the taps.

A chunk is some rows of one output plane of one image. For it, the rows of `in` that it needs are copied into a slab:
widened, padded with zeros, and for a stride above 1 split by phase, so that every tap reads consecutive elements. All
output positions of the chunk are then one long run, rows and the few columns of padding between them alike: for tap t,
the run's inputs begin at a fixed offset in the slab, and a table of these offsets takes the place of a packed panel.
What is computed for the columns between rows is thrown away (kernel width - 1 in a row's width). Weights are packed
once, by a launch of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import (
    APART,
    CHUNKS,
    GRAIN,
    PLAIN,
    TYPES,
    Epilogue,
    Operand,
    Tile,
    finish,
    kernel,
    launch,
    micro_kernel,
    packer,
    run_tile,
    tile,
    widen,
)
from flambeau._backends.cpu.emit import Function, Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, c_strides

DEPTH = 640  # products summed before a partial tile is kept: the panel of `a` is 14 x 640 floats
SLAB = 192 << 10  # bytes of input that a chunk works on at a time: well inside a second-level cache

PACK_SLOTS = ("to", "a", "table", "m", "k", "tiles", "ag", "am", "flat")
SLOTS = (
    *("c", "x", "a", "table"),  # output, input, packed weights, offsets of taps
    *("p", "q", "m", "do", "ho", "wo"),  # images, groups, rows of `a`; output planes, rows, columns
    *("tiles", "tb", "yb", "pb"),  # tiles of rows of `a`; tiles, output rows and planes of `in` at a time
    *("planes", "nz", "taps"),  # channels x taps along z; taps along z; taps along y and x
    *("d", "h", "w", "sz", "sy", "sx"),  # input extents and strides of the correlation
    *("ny", "nx", "row0", "col0", "rows", "pitch"),  # phases; the slab's first row and column, rows past yb, row length
    *("xp", "xq", "xc", "xd", "xh", "xw"),  # strides of the input
    *("cp", "cq", "cm", "cz", "cy", "cn"),  # strides of the output
)


def copy_row(m: Module, memory: str, acc: str, n: int) -> None:
    """Defines copy_row(to, from, w, xw, s, phase, col0, pitch): to[i] = from[((i + col0) * s + phase) * xw], 0 outside 0..w."""
    f = m.function(
        "internal void copy_row(ptr noalias to, ptr noalias src, i64 w, i64 xw, i64 s, i64 phase, i64 col0, i64 pitch)",
        APART,
    )
    to, src, w, xw, s, phase, col0, pitch = f.params
    low = f.min(f.max(0 - col0, 0), pitch)
    high = f.max(f.min((w - 1 - phase + s) // s - col0, pitch), low)
    wide = vector(acc, n)
    for begin, end in ((f.value(0, "i64"), low), (high, pitch)):
        with f.loop(begin, end, n) as i:
            f.mstore(f.value(0, wide), f.gep(acc, to, i), f.lane_mask(n, end - i))
    first = f.gep(memory, src, ((low + col0) * s + phase) * xw)
    step, count, out = s * xw, high - low, f.gep(acc, to, low)
    done = f.var("i64", 0)
    full = count & -n
    with f.when(step == 1):
        with f.loop(0, full, n) as i:
            f.store(widen(f, f.load(vector(memory, n), first, i), acc), out, i)
        done.set(full)
    with f.when(step == 2):  # every other element: two loads, one shuffle; the last pair may end past the row
        full = f.max(count - 1, 0) & -n
        with f.loop(0, full, n) as i:
            pair = [f.load(vector(memory, n), f.gep(memory, first, i * 2 + j)) for j in (0, n)]
            f.store(widen(f, f.shuffle(pair[0], pair[1], [2 * j for j in range(n)]), acc), out, i)
        done.set(full)
    with f.loop(done.get(), count) as i:
        f.store(widen(f, f.load(memory, f.gep(memory, first, i * step)), acc), out, i)


def spread(f: Function, i: V, rows: V, tiles: V) -> tuple[V, V]:
    """(first row, rows) of the i-th of `tiles` tiles that share the rows evenly."""
    few, more = rows // tiles, rows % tiles
    return i * few + f.min(i, more), few + f.convert("zext", i < more, "i64")


def pack_text(target: Target, dtype: str, t: Tile) -> Module:
    """IR of `pack_weights`: tile i of group g of a[g, m, k], as [k][rows]; chunks are (g, i)."""
    memory, acc = TYPES[dtype]
    m = Module(f"convolution weights {dtype}")
    packer(m, "pack", memory, acc, t.lanes)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    to, a, table = (f.load("ptr", f.gep("i64", args, i)) for i in range(3))
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(PACK_SLOTS) if i >= 3}
    with f.loop(begin, end) as chunk:
        g, i = chunk // w["tiles"], chunk % w["tiles"]
        r0, rows = spread(f, i, w["m"], w["tiles"])
        src = f.gep(memory, a, g * w["ag"] + r0 * w["am"])
        panel = f.gep(acc, to, (g * w["m"] + r0) * w["k"])
        # whole vectors may spill into the next panel, which another thread writes: only the last k is written by lanes
        flat = (w["flat"] != 0) & (rows <= t.lanes) & (w["k"] > t.lanes)
        done = f.var("i64", 0)
        with f.when(flat):
            done.set(w["k"] - t.lanes)
            f.call("void", "pack", panel, rows, src, rows, done.get(), w["am"], f.value(1, "i64"))
        with f.loop(done.get(), w["k"]) as k:
            at = f.gep(memory, src, f.load("i64", table, k))
            with f.loop(0, rows) as r:
                f.store(widen(f, f.load(memory, at, r * w["am"]), acc), panel, k * rows + r)
    return m


def text(target: Target, dtype: str, t: Tile, e: Epilogue) -> Module:
    """IR of the correlation, `k`."""
    memory, acc = TYPES[dtype]
    m = Module(f"convolution {dtype} {e.name} {t}")
    copy_row(m, memory, acc, t.lanes)
    for rows in range(1, t.rows + 1):
        micro_kernel(m, t, rows, acc, table=True)
    finish(m, t, memory, acc, e, SLOTS)

    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    x, a, table = (f.load("ptr", f.gep("i64", args, i)) for i in (1, 2, 3))
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS) if i >= 4}
    up = lambda x, n: (x + (n - 1)) // n
    yblocks, mblocks = up(w["ho"], w["yb"]), up(w["tiles"], w["tb"])
    taps_z = f.gep("i64", table, w["pb"] * w["taps"])
    phases_y = f.gep("i64", taps_z, w["nz"])
    phases_x = f.gep("i64", phases_y, w["ny"])
    height = w["yb"] + w["rows"]  # of a slab's plane
    plane = height * w["pitch"] * w["ny"] * w["nx"]
    slab = scratch
    sums = f.gep(acc, slab, w["pb"] * plane + (t.cols + 64))
    depth_all = w["planes"] * w["taps"]
    with f.loop(begin, end) as chunk:
        mblock, rest = chunk % mblocks, chunk // mblocks
        y0, rest = rest % yblocks * w["yb"], rest // yblocks
        z, rest = rest % w["do"], rest // w["do"]
        p, q = rest // w["q"], rest % w["q"]
        tile0 = mblock * w["tb"]
        tile1 = f.min(tile0 + w["tb"], w["tiles"])
        first_row, _ = spread(f, tile0, w["m"], w["tiles"])
        last_row, _ = spread(f, tile1, w["m"], w["tiles"])
        image = f.gep(memory, x, p * w["xp"] + q * w["xq"])
        ys = f.min(w["ho"] - y0, w["yb"])
        length = (ys - 1) * w["pitch"] + w["wo"]  # of the run of output positions
        with f.loop(0, f.max(w["planes"], 1), w["pb"]) as plane0:
            count = f.min(w["planes"] - plane0, w["pb"])
            # the slab
            with f.loop(0, count) as i:
                channel, tap = (plane0 + i) // w["nz"], (plane0 + i) % w["nz"]
                iz = z * w["sz"] + f.load("i64", taps_z, tap)
                src = f.gep(memory, image, channel * w["xc"] + iz * w["xd"])
                to = f.gep(acc, slab, i * plane)
                inside_z = (iz >= 0) & (iz < w["d"])
                with f.loop(0, w["ny"]) as py, f.loop(0, w["nx"]) as px:
                    group = f.gep(acc, to, (py * w["nx"] + px) * height * w["pitch"])
                    phase_y, phase_x = f.load("i64", phases_y, py), f.load("i64", phases_x, px)
                    with f.loop(0, ys + w["rows"]) as r:
                        iy = (y0 + r + w["row0"]) * w["sy"] + phase_y
                        inside = inside_z & (iy >= 0) & (iy < w["h"])
                        # a row outside is a row of width 0
                        width = f.select(inside, w["w"], 0, "i64")
                        line = f.gep(memory, src, f.select(inside, iy, 0, "i64") * w["xh"])
                        col0 = f.select(inside, w["col0"], 0 - w["pitch"], "i64")
                        f.call(
                            "void",
                            "copy_row",
                            f.gep(acc, group, r * w["pitch"]),
                            line,
                            f.max(width, 1),
                            w["xw"],
                            w["sx"],
                            phase_x,
                            col0,
                            w["pitch"],
                        )
            # the tiles
            steps = f.max(count, 0) * w["taps"]
            first, last = plane0 == 0, plane0 + w["pb"] >= w["planes"]
            single = first & last
            with f.loop(0, length, t.cols) as j:
                with f.loop(tile0, tile1) as i:
                    r0, n = spread(f, i, w["m"], w["tiles"])
                    keep = f.select(single, 0, j * (last_row - first_row) + (r0 - first_row) * t.cols, "i64")
                    s = f.gep(acc, sums, keep)
                    panel = f.gep(acc, a, (q * w["m"] + r0) * depth_all + plane0 * w["taps"] * n)
                    run_tile(f, t, n, panel, f.gep(acc, slab, j), table, steps, s, first)
                    with f.when(last):
                        stop = f.min(j + t.cols, length)
                        at = f.var("i64", j)
                        with f.forever() as done:
                            here = at.get()
                            with f.when(here >= stop):
                                f.jump(done)
                            y, col = here // w["pitch"], here % w["pitch"]
                            with f.when(col < w["wo"]):
                                cols = f.min(w["wo"] - col, stop - here)
                                place = z * w["cz"] + (y0 + y) * w["cy"] + col * w["cn"]
                                n0 = (z * w["ho"] + y0 + y) * w["wo"] + col
                                f.call("void", "finish", args, f.gep(acc, s, here - j), p, q, r0, n, n0, place, cols)
                            at.set(here + w["pitch"] - col)
    return m


@cache
def kernels(dtype: str, t: Tile, e: Epilogue = PLAIN) -> tuple[Code, Code]:
    """The packing of weights and the correlation, compiled."""
    native = engine()
    parts = [("dtype", dtype), ("tile", str(t)), ("epilogue", e.name)]
    pack = native.load(
        lambda: str(pack_text(native.target, dtype, t)), ["k"], parts=[("kernel", "convolution weights"), *parts[:2]]
    )
    return pack, native.load(
        lambda: str(text(native.target, dtype, t, e)), ["k"], parts=[("kernel", "convolution"), *parts]
    )


# -- plans ----------------------------------------------------------------------------------------------------------

Tap = tuple[int, int]  # (offset into the input, index into the weights) along one dimension


@dataclass(frozen=True)
class Correlation:
    """One correlation: shapes in elements, three spatial dimensions always; `a` strides are (g, m, c, z, y, x)."""

    dtype: str
    images: int
    groups: int
    rows: int
    channels: int  # of the input, in a group
    out: tuple[int, int, int]
    inside: tuple[int, int, int]
    stride: tuple[int, int, int]
    taps: tuple[tuple[Tap, ...], tuple[Tap, ...], tuple[Tap, ...]]
    c: tuple[int, ...]  # strides of the output: p, q, m, z, y, x
    x: tuple[int, ...]  # strides of the input: p, q, c, z, y, x
    a: tuple[int, ...]  # strides of the weights: g, m, c, z, y, x

    def launches(
        self,
        c: tuple[int, int],
        offset: int,
        x: tuple[int, int],
        a: tuple[int, int],
        temp: int,
        e: Epilogue = PLAIN,
        operands: Sequence[Operand] = (),
    ) -> tuple[tuple[Launch, ...], int, tuple[Any, ...]]:
        """(launches, bytes of temporary memory used, what to keep); `offset` is an element offset into the output."""
        native = engine()
        t = tile(native.target, self.dtype)
        t = Tile(t.rows, t.vectors, t.lanes)  # pairs of bfloat16 are widened here
        if self.rows <= FEW:
            t = Tile(FEW, native.target.registers // 4, t.lanes)
        pack, run = kernels(self.dtype, t, e)
        memory, acc = TYPES[self.dtype]
        word, tz, (ty, tx) = size(acc), self.taps[0], self.taps[1:]
        taps, planes = len(ty) * len(tx), self.channels * len(self.taps[0])
        depth, tiles = planes * taps, -(-self.rows // t.rows)

        # the slab: phases of the taps, first row and column, row length
        (sz, sy, sx), (do, ho, wo) = self.stride, self.out
        phases_y, phases_x = (sorted({o % s for o, _ in ts}) for ts, s in ((ty, sy), (tx, sx)))
        row0, col0 = (min((o // s for o, _ in ts), default=0) for ts, s in ((ty, sy), (tx, sx)))
        rows, cols = (max((o // s for o, _ in ts), default=0) - at for ts, s, at in ((ty, sy, row0), (tx, sx, col0)))
        pitch, ny, nx = wo + cols, len(phases_y), len(phases_x)
        pb = max(1, min(planes, DEPTH // max(taps, 1)))
        pb = max(1, -(-planes // -(-planes // pb))) if planes else 1
        yb, tb = self.blocks(pb * ny * nx * pitch * word, rows, tiles, depth)
        height = yb + rows
        plane = height * pitch * ny * nx
        at_tap = [
            ((phases_y.index(oy % sy) * nx + phases_x.index(ox % sx)) * height + oy // sy - row0) * pitch
            + ox // sx
            - col0
            for (oy, _), (ox, _) in product(ty, tx)
        ]
        table = np.array(
            [i * plane + o for i in range(pb) for o in at_tap] + [o for o, _ in tz] + phases_y + phases_x, np.int64
        )

        # the weights
        ag, am, ac, az, ay, ax = self.a
        of_k = np.array(
            [
                ch * ac + iz * az + iy * ay + ix * ax
                for ch in range(self.channels)
                for (_, iz), (_, iy), (_, ix) in product(tz, ty, tx)
            ],
            np.int64,
        )
        flat = int(depth > 0 and bool((of_k == np.arange(depth)).all()))
        packing = (
            (a_at := (TEMP, temp)),
            a,
            (CONST, of_k.ctypes.data),
            *((CONST, v) for v in (self.rows, depth, tiles, ag, am, flat)),
        )
        used = (self.groups * self.rows * depth + t.lanes) * word + 63 & -64

        numbers = {
            **dict(
                p=self.images,
                q=self.groups,
                m=self.rows,
                do=do,
                ho=ho,
                wo=wo,
                tiles=tiles,
                tb=tb,
                yb=yb,
                pb=pb,
                planes=planes,
                nz=len(tz),
            ),
            **dict(
                taps=taps,
                d=self.inside[0],
                h=self.inside[1],
                w=self.inside[2],
                sz=sz,
                sy=sy,
                sx=sx,
                ny=ny,
                nx=nx,
                row0=row0,
                col0=col0,
            ),
            **dict(rows=rows, pitch=pitch),
            **dict(zip(("xp", "xq", "xc", "xd", "xh", "xw"), self.x, strict=True)),
            **dict(zip(("cp", "cq", "cm", "cz", "cy", "cn"), self.c, strict=True)),
        }
        slots = [
            (*c, offset * size(memory)),
            x,
            a_at,
            (CONST, table.ctypes.data),
            *((CONST, numbers[name]) for name in SLOTS[4:]),
        ]
        for o in operands:
            slots += [o.slot, *((CONST, v) for v in o.strides[:3])]
        length = (yb - 1) * pitch + wo
        kept = 1 if pb >= planes else -(-length // t.cols) * min(tb, tiles)  # tiles of partial sums
        scratch = (pb * plane + t.cols + 64 + kept * t.rows * t.cols + t.cols) * word
        chunks = self.images * self.groups * do * -(-ho // yb) * -(-tiles // tb) if wo else 0
        work = Launch(run["k"], tuple(slots), chunks, scratch)
        packs = Launch(pack["k"], tuple(packing), self.groups * tiles)
        return (packs, work), used, (table, of_k, pack, run)

    def blocks(self, row_bytes: int, halo: int, tiles: int, depth: int) -> tuple[int, int]:
        """(output rows, tiles of `a`) of a chunk: what the slab holds, and fewer while there are few chunks."""
        do, ho, wo = self.out
        yb = max(1, min(ho, SLAB // max(row_bytes, 1) - halo))
        yb = -(-ho // -(-ho // yb)) if ho else 1
        tb = max(tiles, 1)
        count = lambda: self.images * self.groups * do * -(-ho // yb) * -(-tiles // tb)
        work = lambda: yb * wo * min(self.rows, 14 * tb) * depth
        while count() < CHUNKS and work() > 2 * GRAIN:
            if yb * wo >= 128 and yb > 2 * halo + 1:
                yb = -(-yb // 2)
            elif tb > 1:
                tb = -(-tb // 2)
            else:
                break
        return yb, tb


FEW = 3  # up to so many rows of `a` (depthwise), a tile is 3 rows and 8 vectors, or 4 where registers are 16


def three(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    """Leading spatial dimensions that are not there."""
    return (*(fill,) * (3 - len(values)), *values)  # type: ignore[return-value]


def steps(x: np.ndarray[Any, Any]) -> list[int] | None:
    """Strides in elements; None where a stride is no multiple."""
    return None if any(s % x.itemsize for s in x.strides) else [s // x.itemsize for s in x.strides]


def out_size(n: int, k: int, s: int, p: int, d: int) -> int:
    return (n + 2 * p - d * (k - 1) - 1) // s + 1


def forward_plan(
    x: np.ndarray[Any, Any],
    w: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Plan | None:
    """The plan of a convolution of x (n, c, ...) with w (o, c / groups, ...), as of `ARG` 0, 1 and, with a bias, 2."""
    dtype, rank = x.dtype.name, x.ndim - 2
    sx, sw = steps(x), steps(w)
    if dtype not in TYPES or w.dtype is not x.dtype or rank not in (1, 2, 3) or sx is None or sw is None:
        return None
    o, extent = w.shape[0] // groups, w.shape[2:]
    spatial = tuple(out_size(*v) for v in zip(x.shape[2:], extent, stride, padding, dilation, strict=True))
    result = Result(x.dtype, (x.shape[0], w.shape[0], *spatial))
    if prod(extent) == 1 and max(stride) == 1 and max(padding) == 0 and flat(x):
        # a product for each image and group: w (o, c) times x (c, positions)
        return pointwise(x, w, bias, result, groups, o, w.shape[1], (o * sw[0], sw[0], sw[1]))
    so = [s // x.itemsize for s in c_strides(result)]
    taps = [tuple((i * d - p, i) for i in range(k)) for k, p, d in zip(extent, padding, dilation, strict=True)]
    one = ((0, 0),)
    work = Correlation(
        dtype,
        x.shape[0],
        groups,
        o,
        w.shape[1],
        three(spatial, 1),
        three(x.shape[2:], 1),
        three(stride, 1),
        (*(one,) * (3 - rank), *taps),  # type: ignore[arg-type]
        (so[0], o * so[1], so[1], *three(so[2:], 0)),
        (sx[0], w.shape[1] * sx[1], sx[1], *three(sx[2:], 0)),
        (o * sw[0], sw[0], sw[1], *three(sw[2:], 0)),
    )
    e, operands = with_bias(dtype, bias, 2, o)
    launches, temp, keep = work.launches((OUT, 0), 0, (ARG, 0), (ARG, 1), 0, e, operands)
    return Plan((result,), launches, temp, prod(result.shape) * prod(w.shape[1:]) > 2 * GRAIN, keep=keep)


def flat(x: np.ndarray[Any, Any]) -> bool:
    """Whether the positions of a plane follow one another in memory."""
    n = x.itemsize
    for size_, step in zip(reversed(x.shape[2:]), reversed(x.strides[2:]), strict=True):
        if size_ != 1 and step != n:
            return False
        n *= size_
    return True


def pointwise(
    x: np.ndarray[Any, Any],
    w: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    result: Result,
    groups: int,
    rows: int,
    depth: int,
    steps_a: tuple[int, int, int],
) -> Plan:
    """A convolution of one tap as matrix products; `steps_a` are the weights' strides over (group, row, channel)."""
    dtype, n, positions = x.dtype.name, x.shape[0], prod(x.shape[2:])
    sx = steps(x) or []
    so = [s // x.itemsize for s in c_strides(result)]
    e, operands = with_bias(dtype, bias, 2, rows)
    ag, am, ak = steps_a
    a = Operand((ARG, 1), (0, ag, am, ak))
    b = Operand((ARG, 0), (sx[0], depth * sx[1], sx[1], 1))
    c = Operand((OUT, 0), (so[0], rows * so[1], so[1], 1))
    work = launch(dtype, (n, groups, rows, positions, depth), c, a, b, e, operands)
    return Plan((result,), (work,), release=prod(result.shape) * depth > 2 * GRAIN, keep=(kernel(dtype, e),))


def with_bias(dtype: str, bias: np.ndarray[Any, Any] | None, arg: int, rows: int) -> tuple[Epilogue, list[Operand]]:
    """The epilogue that adds a bias of one number per output channel."""
    if bias is None:
        return PLAIN, []
    step = bias.strides[0] // bias.itemsize
    return biased(dtype), [Operand((ARG, arg), (0, rows * step, step, 0))]


@cache
def biased(dtype: str) -> Epilogue:
    return Epilogue(f"add-column-{dtype}", ((dtype, "column"),), 0, lambda f, x, o, s: x + o[0])


def transposed_plan(
    g: np.ndarray[Any, Any],
    w: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    spatial: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Plan | None:
    """The plan of the transposed convolution of g (n, o, ...) with w (o, c / groups, ...): (n, c, *spatial).

    It is the gradient of `forward_plan` for its input, and `conv_transpose`.
    """
    dtype, rank = g.dtype.name, g.ndim - 2
    sg, sw = steps(g), steps(w)
    if dtype not in TYPES or w.dtype is not g.dtype or rank not in (1, 2, 3) or sg is None or sw is None:
        return None
    o, c, extent = w.shape[0] // groups, w.shape[1], w.shape[2:]
    result = Result(g.dtype, (g.shape[0], c * groups, *spatial))
    if prod(extent) == 1 and max(stride) == 1 and max(padding) == 0 and flat(g) and tuple(spatial) == g.shape[2:]:
        return pointwise(g, w, bias, result, groups, c, o, (o * sw[0], sw[1], sw[0]))
    so = [s // g.itemsize for s in c_strides(result)]
    e, operands = with_bias(dtype, bias, 2, c)
    launches: list[Launch] = []
    temp, keep = 0, []
    for phase in product(*(range(min(s, n)) for s, n in zip(stride, spatial, strict=True))):
        # output index i = j * s + phase reads g at j + (phase + p - tap * d) / s, where that is whole
        taps = [
            tuple(((r + p - i * d) // s, i) for i in range(k) if (r + p - i * d) % s == 0)
            for r, k, s, p, d in zip(phase, extent, stride, padding, dilation, strict=True)
        ]
        if not all(taps):
            taps = [()] * rank  # no tap at all: the output is the epilogue of 0
        counts = [-(-(n - r) // s) for n, r, s in zip(spatial, phase, stride, strict=True)]
        one = ((0, 0),)
        work = Correlation(
            dtype,
            g.shape[0],
            groups,
            c,
            o,
            three(counts, 1),
            three(g.shape[2:], 1),
            (1, 1, 1),
            (*(one,) * (3 - rank), *taps),  # type: ignore[arg-type]
            (so[0], c * so[1], so[1], *three([a * s for a, s in zip(so[2:], stride, strict=True)], 0)),
            (sg[0], o * sg[1], sg[1], *three(sg[2:], 0)),
            (o * sw[0], sw[1], sw[0], *three(sw[2:], 0)),
        )
        offset = sum(r * a for r, a in zip(phase, so[2:], strict=True))
        some, used, kept = work.launches((OUT, 0), offset, (ARG, 0), (ARG, 1), temp, e, operands)
        launches += some
        temp += used
        keep += kept
    return Plan((result,), tuple(launches), temp, prod(g.shape) * prod(w.shape[1:]) > 2 * GRAIN, keep=tuple(keep))
