"""The gradient of a convolution for its weights, by the contraction template. Its siblings are in `conv`.

    dw[g, o, c, t] = sum over images and positions of grad[n, g, o, pos] * x[n, g, c, pos * stride + t * dilation - pad]

The sum runs over positions, so channels lie along the vectors: a slab holds some rows of `x` with channels innermost,
and a tap (or a run of neighbouring taps: those of one row, where they are not dilated) is a window of it that begins at
an offset. A table holds, for each position, where its window begins. Few channels would leave vectors empty: then the
windows of all rows of taps are copied side by side, which for few channels costs little.

A chunk is a block of output channels, a block of input channels and a row of taps; it sums over all images itself, in
order, so no partial results are combined and the bits do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import GRAIN, TYPES, Tile, micro_kernel, narrow, packer, run_tile, tile
from flambeau._backends.cpu.conv import steps, three
from flambeau._backends.cpu.conv_tile import spread
from flambeau._backends.cpu.conv_depthwise import depthwise_weight_plan
from flambeau._backends.cpu.emit import Function, Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, c_strides

SLOTS = (
    *(
        "dw",
        "x",
        "g",
        "table",
        "lanes_at",
    ),  # result, input, gradient; offset of each position; place of each lane in dw
    *("n", "groups", "o", "c", "ob", "cb"),  # images, groups, channels out and in of a group, of a chunk
    *("kz", "ky", "kx", "run", "gather"),  # taps; of a row of taps, how many are one window; whether windows are copied
    *("d", "h", "w", "do", "ho", "wo", "sz", "sy", "sx", "pz", "py", "px", "dz", "dy", "dx"),
    *(
        "yb",
        "rows",
        "pitch",
        "flat",
    ),  # output rows at a time; the slab's rows and row length; whether grad's rows follow one another
    *("xn", "xg", "xc", "xd", "xh", "xw", "gn", "gg", "go", "gd", "gh", "gw"),  # strides of input and gradient
    *("wg", "wo_", "wc", "wz", "wy", "wx"),  # strides of the result
)
POSITIONS = 512  # summed at a time: the panel of `grad` is 14 x 512 floats
FEW_LANES = 48  # windows of fewer lanes are copied side by side
BLOCK_OUT, BLOCK_IN = 128, 64  # channels of a chunk


def zeros(f: Function, acc: str, n: int, at: V, count: V) -> None:
    with f.loop(0, count, n) as i:
        f.mstore(f.value(0, vector(acc, n)), f.gep(acc, at, i), f.lane_mask(n, count - i))


def text(target: Target, dtype: str, t: Tile) -> Module:
    """IR of the kernel, `k`."""
    memory, acc = TYPES[dtype]
    m = Module(f"convolution weight gradient {dtype} {t}")
    packer(m, "pack", memory, acc, t.lanes)
    for rows in range(1, t.rows + 1):
        micro_kernel(m, t, rows, acc, table=True)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    dw, x, g, table, lanes_at = (f.load("ptr", f.gep("i64", args, i)) for i in range(5))
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS) if i >= 5}
    up = lambda x, n: (x + (n - 1)) // n
    gather = w["gather"] != 0
    window = w["run"] * w["cb"]
    height = f.select(gather, w["ky"], 1, "i64")
    nlanes = window * height
    positions = w["yb"] * w["wo"]
    # scratch: partial sums, packed gradient, slab, copied windows
    sums = scratch
    panels = up(nlanes, t.cols)
    ap = f.gep(acc, sums, w["ob"] * panels * t.cols + t.cols)
    slab = f.gep(acc, ap, (w["ob"] + t.lanes) * positions + t.lanes)
    copied = f.gep(acc, slab, w["rows"] * w["pitch"] * w["cb"] + 2 * t.cols)
    oblocks, cblocks, xruns = up(w["o"], w["ob"]), up(w["c"], w["cb"]), w["kx"] // w["run"]
    with f.loop(begin, end) as chunk:
        kx, rest = chunk % xruns, chunk // xruns
        yrows = f.select(gather, 1, w["ky"], "i64")
        ky, rest = rest % yrows, rest // yrows
        kz, rest = rest % w["kz"], rest // w["kz"]
        c0, rest = rest % cblocks * w["cb"], rest // cblocks
        o0, q = rest % oblocks * w["ob"], rest // oblocks
        outs, ins = f.min(w["o"] - o0, w["ob"]), f.min(w["c"] - c0, w["cb"])
        tiles = up(outs, t.rows)
        zeros(f, acc, t.lanes, sums, outs * panels * t.cols)
        col0 = kx * w["dx"] - w["px"]
        low = f.min(f.max(0 - col0, 0), w["pitch"])
        high = f.max(f.min(w["w"] - col0, w["pitch"]), low)
        with f.loop(0, w["n"]) as n, f.loop(0, w["do"]) as z:
            iz = z * w["sz"] + kz * w["dz"] - w["pz"]
            with f.when((iz >= 0) & (iz < w["d"])), f.loop(0, w["ho"], w["yb"]) as y0:
                ys = f.min(w["ho"] - y0, w["yb"])
                depth = ys * w["wo"]
                # grad, packed by tiles of output channels
                grad = f.gep(memory, g, n * w["gn"] + q * w["gg"] + o0 * w["go"] + z * w["gd"] + y0 * w["gh"])
                lines, length = f.select(w["flat"] != 0, 1, ys, "i64"), f.select(w["flat"] != 0, depth, w["wo"], "i64")
                with f.loop(0, tiles) as i:
                    r0, rows = spread(f, i, outs, tiles)
                    with f.loop(0, lines) as line:
                        for group in reversed(range(-(-t.rows // t.lanes))):
                            with f.when(rows > group * t.lanes):
                                src = f.gep(memory, grad, (r0 + group * t.lanes) * w["go"] + line * w["gh"])
                                to = f.gep(acc, ap, r0 * depth + line * length * rows + group * t.lanes)
                                f.call("void", "pack", to, rows, src, rows - group * t.lanes, length, w["go"], w["gw"])
                # the slab: rows of x, channels innermost
                spacing = f.select(
                    gather, 1, w["sy"], "i64"
                )  # without copies, only the rows that this row of taps reads
                row0 = y0 * w["sy"] + ky * w["dy"] - w["py"]
                count = f.select(gather, (ys - 1) * w["sy"] + (w["ky"] - 1) * w["dy"] + 1, ys, "i64")
                image = f.gep(memory, x, n * w["xn"] + q * w["xg"] + c0 * w["xc"] + iz * w["xd"])
                with f.loop(0, count) as r:
                    iy = row0 + r * spacing
                    line = f.gep(acc, slab, r * w["pitch"] * w["cb"])
                    with f.either((iy >= 0) & (iy < w["h"])) as otherwise:
                        groups = up(ins, t.lanes)
                        with f.loop(0, groups) as back:  # from the last group of lanes to the first: see `packer`
                            lane = (groups - 1 - back) * t.lanes
                            src = f.gep(memory, image, lane * w["xc"] + iy * w["xh"] + (low + col0) * w["xw"])
                            f.call(
                                "void",
                                "pack",
                                f.gep(acc, line, low * w["cb"] + lane),
                                w["cb"],
                                src,
                                ins - lane,
                                high - low,
                                w["xc"],
                                w["xw"],
                            )
                        zeros(f, acc, t.lanes, line, low * w["cb"])
                        zeros(f, acc, t.lanes, f.gep(acc, line, high * w["cb"]), (w["pitch"] - high) * w["cb"])
                        otherwise()
                        zeros(f, acc, t.lanes, line, w["pitch"] * w["cb"])
                with f.when(gather), f.loop(0, ys) as y, f.loop(0, w["wo"]) as col:
                    to = f.gep(acc, copied, (y * w["wo"] + col) * nlanes)
                    with f.loop(0, w["ky"]) as tap:
                        src = f.gep(acc, slab, ((y * w["sy"] + tap * w["dy"]) * w["pitch"] + col * w["sx"]) * w["cb"])
                        with f.loop(0, window, t.lanes) as lane:
                            f.store(f.load(vector(acc, t.lanes), src, lane), to, tap * window + lane)
                base = f.select(gather, copied, slab)
                with f.loop(0, panels) as j, f.loop(0, tiles) as i:
                    r0, rows = spread(f, i, outs, tiles)
                    s = f.gep(acc, sums, (j * outs + r0) * t.cols)
                    run_tile(
                        f,
                        t,
                        rows,
                        f.gep(acc, ap, r0 * depth),
                        f.gep(acc, base, j * t.cols),
                        table,
                        depth,
                        s,
                        f.value(0, "i1"),
                    )
        # the result: lane by lane, once
        out = f.gep(memory, dw, q * w["wg"] + o0 * w["wo_"] + c0 * w["wc"] + kz * w["wz"] + ky * w["wy"] + kx * w["wx"])
        with f.loop(0, nlanes) as lane, f.when(lane % w["cb"] < ins):
            to = f.gep(memory, out, f.load("i64", lanes_at, lane))
            src = f.gep(acc, sums, lane // t.cols * outs * t.cols + lane % t.cols)
            with f.loop(0, outs) as i:
                f.store(narrow(f, f.load(acc, src, i * t.cols), memory), to, i * w["wo_"])
    return m


@cache
def kernel(dtype: str) -> tuple[Code, Tile]:
    native = engine()
    t = tile(native.target, dtype)
    t = Tile(t.rows, t.vectors, t.lanes)
    parts = [("kernel", "convolution weight gradient"), ("dtype", dtype)]
    return native.load(lambda: str(text(native.target, dtype, t)), ["k"], parts=parts), t


def weight_plan(
    x: np.ndarray[Any, Any],
    g: np.ndarray[Any, Any],
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Plan | None:
    """The plan of the gradient for weights of a shape, from the input and the gradient of the output (`ARG` 0 and 1)."""
    dtype, rank = x.dtype.name, x.ndim - 2
    ex, eg = steps(x), steps(g)
    if dtype not in TYPES or g.dtype is not x.dtype or rank not in (1, 2, 3) or ex is None or eg is None or 0 in shape:
        return None
    if groups == x.shape[1] == shape[0]:
        plan = depthwise_weight_plan(x, g, shape, stride, padding, dilation)
        if plan is not None:
            return plan
    code, t = kernel(dtype)
    word = size(TYPES[dtype][1])
    o, c = shape[0] // groups, shape[1]
    kz, ky, kx = three(shape[2:], 1)
    (do, ho, wo), (d, h, w) = three(g.shape[2:], 1), three(x.shape[2:], 1)
    (sz, sy, sx), (pz, py, px), (dz, dy, dx) = three(stride, 1), three(padding, 0), three(dilation, 1)
    run = kx if dx == 1 else 1
    gather = run == kx and c * run * ky <= 8 * t.cols and c * run < FEW_LANES
    ob, cb = min(o, BLOCK_OUT), c if gather else min(c, BLOCK_IN)
    xruns, yrows = kx // run, 1 if gather else ky
    count = lambda: groups * -(-o // ob) * -(-c // cb) * kz * yrows * xruns
    while count() < 8 and ob > 16:
        ob = -(-ob // 2)
    yb = max(1, min(ho, POSITIONS // max(wo, 1)))
    rows = (yb - 1) * sy + (ky - 1) * dy + 1 if gather else yb
    pitch = (wo - 1) * sx + run
    if gather:
        nlanes = ky * run * c
        table = np.arange(yb * wo, dtype=np.int64) * nlanes
    else:
        nlanes = run * cb
        table = ((np.arange(yb)[:, None] * pitch + np.arange(wo) * sx) * cb).astype(np.int64).ravel()
    result = Result(x.dtype, tuple(shape))
    so = [s // x.itemsize for s in c_strides(result)]
    wz, wy, wx = three(so[2:], 0)
    lanes_at = np.array(
        [
            tap_y * wy + tap_x * wx + ch * so[1]
            for tap_y, tap_x, ch in product(range(ky if gather else 1), range(run), range(cb))
        ],
        np.int64,
    )
    flat = int(eg[-1] * wo == three(eg[2:], 0)[1] or ho == 1)
    numbers = {
        **dict(n=x.shape[0], groups=groups, o=o, c=c, ob=ob, cb=cb, kz=kz, ky=ky, kx=kx, run=run, gather=int(gather)),
        **dict(d=d, h=h, w=w, do=do, ho=ho, wo=wo, sz=sz, sy=sy, sx=sx, pz=pz, py=py, px=px, dz=dz, dy=dy, dx=dx),
        **dict(yb=yb, rows=rows, pitch=pitch, flat=flat),
        **dict(zip(("xn", "xg", "xc", "xd", "xh", "xw"), (ex[0], c * ex[1], ex[1], *three(ex[2:], 0)), strict=True)),
        **dict(zip(("gn", "gg", "go", "gd", "gh", "gw"), (eg[0], o * eg[1], eg[1], *three(eg[2:], 0)), strict=True)),
        **dict(zip(("wg", "wo_", "wc", "wz", "wy", "wx"), (o * so[0], so[0], so[1], wz, wy, wx), strict=True)),
    }
    slots = [
        (OUT, 0),
        (ARG, 0),
        (ARG, 1),
        (CONST, table.ctypes.data),
        (CONST, lanes_at.ctypes.data),
        *((CONST, numbers[name]) for name in SLOTS[5:]),
    ]
    wide = -(-nlanes // t.cols) * t.cols
    scratch = ob * wide + t.cols + (ob + t.lanes) * yb * wo + t.lanes + rows * pitch * cb + 2 * t.cols
    scratch += yb * wo * nlanes + 2 * t.cols if gather else 0
    work = Launch(code["k"], tuple(slots), count(), (scratch + 64) * word)
    return Plan((result,), (work,), 0, prod(g.shape) * prod(shape[1:]) > 2 * GRAIN, keep=(table, lanes_at, code))
