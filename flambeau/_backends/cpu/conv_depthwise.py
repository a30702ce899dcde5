"""Depthwise convolutions: one channel of input in a group, so nothing for the register tile to share.

    out[n, g, m, y, x] = bias[g, m] + sum over taps of a[g, m, t] * in[n, g, y sy + ty, x sx + tx]
    dw[c, t] = sum over images and positions of grad[n, c, pos] * x[n, c, pos * stride + t * dilation - pad]

A chunk is a plane, or some rows of one. The rows that it reads are copied once, padded and split by phase as in `conv`,
at a whole number of vectors from one another; then a few rows and vectors of the output are summed at a time, tap by tap.
The gradient for the weights is summed in a fixed order, image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import GRAIN, TYPES
from flambeau._backends.cpu.conv_slab import copy_rows, steps
from flambeau._backends.cpu.conv_tile import lanes as lanes_of, short_mask
from flambeau._backends.cpu.correlation import Correlation
from flambeau._backends.cpu.emit import APART, Function, Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, bits
from flambeau._backends.cpu.registers import narrow, widen

SLOTS = (
    *("dw", "x", "g", "table"),  # result, input, gradient; offsets of taps, then phases along y and x
    *("n", "taps", "ny", "nx", "h", "w", "ho", "wo", "sy", "sx", "row0", "col0", "rows", "pitch"),
    *("xn", "xc", "xh", "xw", "gn", "gc", "gh"),
)
POINTERS = ("c", "x", "a", "bias", "phases", "offsets", "places", "phases_y", "phases_x")
FORWARD = (
    *POINTERS,
    *("p", "q", "m", "ho", "wo", "yb", "h", "w", "sy", "sx", "ny", "nx", "row0", "col0", "rows", "halo", "pitch"),
    *("xp", "xq", "xh", "xw", "ag", "am", "sb", "cp", "cq", "cm", "cy", "cn", "cf", "nf", "width", "divisor"),
)
SHAPES = ((4, 2), (4, 1), (1, 4))  # rows and vectors summed at a time: wide planes, narrow ones, single rows
MORE = max(rows for rows, _ in SHAPES)
PLANE = 96 << 10  # bytes of a plane that a chunk works on


def fill_plane(f: Function, memory: str, acc: str, n: int, w: dict[str, V], slab: V, plane: V, first: V, rows: V,
               phases_y: V, phases_x: V) -> None:  # fmt: skip
    """Copies the rows first.. of a plane, padded, for each phase: `rows` of them, `w["rows"]` apart from phase to phase.

    A few rows of zeros follow: they are read, for nothing, and what memory happens to hold may be denormal, hence slow.
    """
    with f.loop(0, w["ny"]) as py, f.loop(0, w["nx"]) as px:
        # row r is at (first + r + row0) * sy + phase of the input: rows low..high are inside
        phase = f.load("i64", phases_y, py)
        top = (first + w["row0"]) * w["sy"] + phase
        low = f.min(f.max((w["sy"] - 1 - top) // w["sy"], 0), rows)
        low = f.select(top >= 0, 0, low)
        room = w["h"] - top
        high = f.max(f.min(f.select(room > 0, (room + w["sy"] - 1) // w["sy"], 0, "i64"), rows), low)
        group = f.gep(acc, slab, (py * w["nx"] + px) * w["rows"] * w["pitch"])
        for begin, end, width in ((f.value(0, "i64"), low, 0), (low, high, w["w"]), (high, rows + MORE, 0)):
            line = f.gep(memory, plane, f.select(begin < high, top + begin * w["sy"], 0, "i64") * w["xh"])
            f.call("void", "copy_rows", f.gep(acc, group, begin * w["pitch"]), w["pitch"], line, w["sy"] * w["xh"], end - begin,
                   f.value(width, "i64"), w["xw"], w["sx"], f.load("i64", phases_x, px), w["col0"], w["pitch"])  # fmt: skip


def text(target: Target, dtype: str) -> Module:
    """IR of the convolution, `k`; chunks are (image, group, block of rows)."""
    memory, acc = TYPES[dtype]
    n = lanes_of(target, acc)
    wide, most = vector(acc, n), max(r * v for r, v in SHAPES)
    m = Module(f"depthwise convolution {dtype}")
    copy_rows(m, memory, acc, n)
    for rows, vectors in SHAPES:
        f = m.function(
            f"internal void sums_{rows}_{vectors}(ptr noalias to, ptr noalias src, i64 pitch, ptr noalias offsets, "
            f"ptr noalias places, ptr noalias a, i64 taps, {acc} begin)",
            APART,
        )
        to, src, pitch, offsets, places, a, taps, begin_with = f.params
        sums = [[f.var(wide, f.splat(begin_with, n)) for _ in range(vectors)] for _ in range(rows)]
        lines = [f.gep(acc, src, pitch * r) for r in range(rows)]
        with f.loop(0, taps) as k:
            at = f.load("i64", offsets, k)
            weight = f.splat(widen(f, f.load(memory, a, f.load("i64", places, k)), acc), n)
            for r in range(rows):
                line = f.gep(acc, lines[r], at)
                for v in range(vectors):
                    sums[r][v].set(f.fma(weight, f.load(wide, line, v * n), sums[r][v].get()))
        for r in range(rows):
            for v in range(vectors):
                f.store(sums[r][v].get(), to, (r * vectors + v) * n)

    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, tiles = f.params
    w: dict[str, V] = {}
    for i, name in enumerate(FORWARD):
        w[name] = f.load("ptr" if name in POINTERS else "i64", f.gep("i64", args, i))
    divisor = f.emit("double", f"bitcast {w['divisor']} to double")
    by = f.splat(divisor if acc == "double" else f.convert("fptrunc", divisor, acc), n)
    divided = divisor != 1.0
    apart = most * n
    line = f.alloca(wide, align=64)
    slab = f.gep(acc, tiles, w["nf"] * apart)
    yblocks = (w["ho"] + w["yb"] - 1) // w["yb"]
    shape_of = [(w["ho"] > 1) & (w["wo"] > n), (w["ho"] > 1) & (w["wo"] <= n), w["ho"] == 1]
    with f.loop(begin, end) as chunk:
        y0, rest = chunk % yblocks * w["yb"], chunk // yblocks
        p, q = rest // w["q"], rest % w["q"]
        ys = f.min(w["ho"] - y0, w["yb"])
        plane = f.gep(memory, w["x"], p * w["xp"] + q * w["xq"])
        fill_plane(f, memory, acc, n, w, slab, plane, y0, ys + w["halo"], w["phases_y"], w["phases_x"])
        with f.loop(0, w["m"]) as row:
            with_bias = f.var(acc, 0)
            with f.when(f.convert("ptrtoint", w["bias"], "i64") != 0):
                with_bias.set(widen(f, f.load(memory, w["bias"], (q * w["m"] + row) * w["sb"]), acc))
            weights = f.gep(memory, w["a"], q * w["ag"] + row * w["am"])
            out = f.gep(memory, w["c"], p * w["cp"] + q * w["cq"] + row * w["cm"] + y0 * w["cy"])
            for (rows, vectors), this in zip(SHAPES, shape_of, strict=True):
                with f.when(this), f.loop(0, ys, rows) as y, f.loop(0, w["wo"], vectors * n) as x:
                    with f.loop(0, w["nf"]) as phase:
                        taps, first = (f.load("i64", w["phases"], phase * 2 + i) for i in (0, 1))
                        f.call("void", f"sums_{rows}_{vectors}", f.gep(acc, tiles, phase * apart),
                               f.gep(acc, slab, y * w["pitch"] + x), w["pitch"], f.gep("i64", w["offsets"], first),
                               f.gep("i64", w["places"], first), weights, taps, with_bias.get())  # fmt: skip
                    with f.when(divided), f.loop(0, w["nf"]) as phase, f.loop(0, rows * vectors) as v:
                        sums = f.gep(acc, tiles, phase * apart + v * n)
                        f.store(f.load(wide, sums) / by, sums)
                    with f.loop(0, f.min(ys - y, rows)) as r, f.loop(0, f.min(w["wo"] - x, vectors * n), n) as v:
                        to = f.gep(memory, out, (y + r) * w["cy"] + (x + v) * w["cn"])
                        src, here = f.gep(acc, tiles, r * (vectors * n) + v), w["wo"] - x - v
                        with f.when((w["nf"] == 1) & (w["cn"] == 1)):
                            f.mstore(narrow(f, f.load(wide, src), memory), to, short_mask(f, n, here))
                        pairs = (w["nf"] == 2) & (w["cn"] == 2) & (w["cf"] == 1)
                        with f.when(pairs):
                            both = f.min(f.min(here, n) * 2, w["width"] - (x + v) * 2)
                            pair = [f.load(wide, src, j * apart) for j in (0, 1)]
                            for j in (0, 1):
                                order = [(j * n + i) // 2 + n * (i % 2) for i in range(n)]
                                made = narrow(f, f.shuffle(pair[0], pair[1], order), memory)
                                f.mstore(made, f.gep(memory, to, j * n), short_mask(f, n, both - j * n))
                        single = f.select((w["nf"] == 1) & (w["cn"] == 1) | pairs, 0, w["nf"], "i64")
                        with f.loop(0, single) as phase:
                            f.store(f.load(wide, src, phase * apart), line)
                            with f.loop(0, f.min(here, n)) as j, f.when((x + v + j) * w["nf"] + phase < w["width"]):
                                f.store(narrow(f, f.load(acc, line, j), memory), to, phase * w["cf"] + j * w["cn"])
    return m


@cache
def kernel(dtype: str) -> Code:
    native = engine()
    parts = [("kernel", "depthwise convolution"), ("dtype", dtype)]
    return native.load(lambda: str(text(native.target, dtype)), ["k"], parts=parts)


def depthwise_launch(work: Correlation, c: tuple[int, int], offset: int, x: tuple[int, int], a: tuple[int, int],
                     bias: tuple[tuple[int, int], tuple[int, int]] | None = None, divisor: float = 1.0) -> tuple[Launch, tuple[Any, ...]]:  # fmt: skip
    """A `Correlation` of one channel and no depth as one launch: (launch, what to keep). Sums are divided by `divisor`."""
    target = engine().target
    memory, acc = TYPES[work.dtype]
    n, word = lanes_of(target, acc), size(acc)
    (_, ty), (_, sy, sx), (_, ho, wo), (_, h, w) = work.taps, work.stride, work.out, work.inside
    _, _, _, _, ay, ax = work.a
    phases_y, phases_x, row0, col0, halo, more = work.reach
    ny, nx = len(phases_y), len(phases_x)
    pitch = -(-(wo + more) // n) * n
    yb = max(1, min(ho, PLANE // (max(ny * nx, 1) * pitch * word) - halo))
    yb = -(-ho // -(-ho // yb)) if ho else 1
    taps = len(ty) * len(work.offsets_x)
    while work.images * work.groups * -(-ho // yb) < 16 and yb > 2 * halo + 8 and yb * wo * taps > 1 << 14:
        yb = -(-yb // 2)
    rows = yb + halo
    records: list[int] = []
    offsets: list[int] = []
    places: list[int] = []
    for phase in work.phases:
        records += [len(ty) * len(phase), len(offsets)]
        for (oy, iy), (ox, ix) in product(ty, phase):
            group = phases_y.index(oy % sy) * nx + phases_x.index(ox % sx)
            offsets.append((group * rows + oy // sy - row0) * pitch + ox // sx - col0)
            places.append(iy * ay + ix * ax)
    arrays = [np.array(v or [0], np.int64) for v in (records, offsets, places, phases_y, phases_x)]
    (b, (_, sb)) = bias or ((CONST, 0), (0, 0))
    numbers = dict(
        p=work.images, q=work.groups, m=work.rows, ho=ho, wo=wo, yb=yb, h=h, w=w, sy=sy, sx=sx, ny=ny, nx=nx, row0=row0,
        col0=col0, rows=rows, halo=halo, pitch=pitch, ag=work.a[0], am=work.a[1], sb=sb, cf=work.apart,
        nf=len(work.phases), width=work.width, divisor=bits(divisor),
        **dict(zip(("xp", "xq", "xc", "xd", "xh", "xw"), work.x, strict=True)),
        **dict(zip(("cp", "cq", "cm", "cz", "cy", "cn"), work.c, strict=True)),
    )  # fmt: skip
    slots = [(*c, offset * size(memory)), x, a, b, *((CONST, v.ctypes.data) for v in arrays)]
    slots += [(CONST, int(numbers[name])) for name in FORWARD[len(slots) :]]
    most = max(r * v for r, v in SHAPES)
    # rows past the last one are read where fewer are left than are summed at a time
    scratch = len(work.phases) * most * n + max(ny * nx, 1) * rows * pitch + (MORE + 1) * pitch + 4 * n
    code = kernel(work.dtype)
    chunks = work.images * work.groups * -(-ho // yb) if wo else 0
    return Launch(code["k"], tuple(slots), chunks, scratch * word), (*arrays, code)


def weight_text(target: Target, dtype: str) -> Module:
    """IR of the kernel, `k`; chunks are channels."""
    memory, acc = TYPES[dtype]
    n = target.vector_bytes // size(acc)
    wide, narrow_wide = vector(acc, n), vector(memory, n)
    m = Module(f"depthwise weight gradient {dtype}")
    copy_rows(m, memory, acc, n)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    dw, x, g, table = (f.load("ptr", f.gep("i64", args, i)) for i in range(4))
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS) if i >= 4}
    phases_y = f.gep("i64", table, w["taps"])
    phases_x = f.gep("i64", phases_y, w["ny"])
    sums = scratch  # one vector for each tap
    slab = f.gep(acc, sums, w["taps"] * n)
    with f.loop(begin, end) as channel:
        with f.loop(0, w["taps"]) as t:
            f.store(f.value(0, wide), sums, t * n)
        with f.loop(0, w["n"]) as image:
            plane = f.gep(memory, x, image * w["xn"] + channel * w["xc"])
            grad = f.gep(memory, g, image * w["gn"] + channel * w["gc"])
            fill_plane(f, memory, acc, n, w, slab, plane, f.value(0, "i64"), w["rows"], phases_y, phases_x)
            with f.loop(0, w["taps"]) as t:
                at = f.gep(acc, slab, f.load("i64", table, t))
                kept = f.load(wide, sums, t * n)
                total, other = f.var(wide, kept), f.var(wide, 0)  # two chains: an addition takes four cycles
                with f.loop(0, w["ho"]) as y:
                    row, line = f.gep(memory, grad, y * w["gh"]), f.gep(acc, at, y * w["pitch"])
                    pairs = w["wo"] & -2 * n
                    with f.loop(0, pairs, 2 * n) as i:
                        for chain, k in ((total, i), (other, i + n)):
                            v = widen(f, f.load(narrow_wide, f.gep(memory, row, k)), acc)
                            chain.set(f.fma(v, f.load(wide, line, k), chain.get()))
                    with f.loop(pairs, w["wo"], n) as i:
                        mask = f.lane_mask(n, w["wo"] - i)
                        v = widen(f, f.mload(narrow_wide, f.gep(memory, row, i), mask), acc)
                        total.set(f.fma(v, f.mload(wide, f.gep(acc, line, i), mask), total.get()))
                f.store(total.get() + other.get(), sums, t * n)
        with f.loop(0, w["taps"]) as t:
            s = f.var(acc, 0)
            with f.loop(0, n) as i:
                s.set(s.get() + f.load(acc, sums, t * n + i))
            f.store(narrow(f, s.get(), memory), dw, channel * w["taps"] + t)
    return m


@cache
def weight_kernel(dtype: str) -> Code:
    native = engine()
    parts = [("kernel", "depthwise weight gradient"), ("dtype", dtype)]
    return native.load(lambda: str(weight_text(native.target, dtype)), ["k"], parts=parts)


def depthwise_weight_plan(
    x: np.ndarray[Any, Any],
    g: np.ndarray[Any, Any],
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Plan | None:
    """The plan of the gradient for weights (channels, 1, ky, kx); None where this kernel has no form for it."""
    dtype, ex, eg = x.dtype.name, steps(x), steps(g)
    rank = x.ndim - 2
    if (
        rank not in (1, 2)
        or dtype not in TYPES
        or ex is None
        or eg is None
        or eg[-1] != 1
        or 0 in shape
        or 0 in g.shape
    ):
        return None
    (ky, kx), (sy, sx), (py, px), (dy, dx) = (
        (*(fill,) * (2 - rank), *v) for v, fill in ((shape[2:], 1), (stride, 1), (padding, 0), (dilation, 1))
    )
    (h, w), (ho, wo) = ((*(1,) * (2 - rank), *v) for v in (x.shape[2:], g.shape[2:]))
    code = weight_kernel(dtype)
    offsets_y, offsets_x = [i * dy - py for i in range(ky)], [i * dx - px for i in range(kx)]
    phases_y, phases_x = sorted({o % sy for o in offsets_y}), sorted({o % sx for o in offsets_x})
    row0, col0 = min(o // sy for o in offsets_y), min(o // sx for o in offsets_x)
    rows = ho + max(o // sy for o in offsets_y) - row0
    lanes = engine().target.vector_bytes // size(TYPES[dtype][1])
    pitch = -(-(wo + max(o // sx for o in offsets_x) - col0) // lanes) * lanes
    at = [((phases_y.index(oy % sy) * len(phases_x) + phases_x.index(ox % sx)) * rows + oy // sy - row0) * pitch + ox // sx - col0
          for oy, ox in product(offsets_y, offsets_x)]  # fmt: skip
    table = np.array(at + phases_y + phases_x, np.int64)
    taps, ny, nx = ky * kx, len(phases_y), len(phases_x)
    constants = [
        x.shape[0],
        taps,
        ny,
        nx,
        h,
        w,
        ho,
        wo,
        sy,
        sx,
        row0,
        col0,
        rows,
        pitch,
        ex[0],
        ex[1],
        ex[2] if rank == 2 else 0,
        ex[-1],
    ]
    constants += [eg[0], eg[1], eg[2] if rank == 2 else 0]
    slots = ((OUT, 0), (ARG, 0), (ARG, 1), (CONST, table.ctypes.data), *((CONST, v) for v in constants))
    scratch = (taps * lanes + (ny * nx * rows + MORE) * pitch + 2 * lanes) * size(TYPES[dtype][1])
    work = Launch(code["k"], slots, shape[0], scratch)
    return Plan((Result(x.dtype, tuple(shape)),), (work,), release=prod(g.shape) * taps > 2 * GRAIN, keep=(table, code))
