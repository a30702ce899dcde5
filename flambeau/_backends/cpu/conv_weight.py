"""The gradient of a convolution for its weights, by the register tile. Its siblings are in `conv`.

    dw[g, o, c, t] = sum over images and positions of grad[n, g, o, pos] * x[n, g, c, pos * stride + t * dilation - pad]

The sum runs over positions, so channels lie along the vectors: a slab holds some rows of `x`, of a few images where these
are small, with channels innermost, and a tap (or a run of neighbouring taps: those of one row, where they are not dilated)
is a window of it that begins at an offset. A table holds, for each position, where its window begins. Few channels would
leave vectors empty: then the windows of all rows of taps are copied side by side, which for few channels costs little.

A chunk is a block of output channels, a block of input channels and a share of the images; it sums all taps. Shares are
cut by sizes alone and added in order by a second launch, so the bits do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import CHUNKS, GRAIN, TYPES
from flambeau._backends.cpu.conv_depthwise import depthwise_weight_plan
from flambeau._backends.cpu.conv_slab import steps
from flambeau._backends.cpu.conv_tile import VECTORS, lanes, name_of, spread_pairs, tile, tile_rows
from flambeau._backends.cpu.correlation import three
from flambeau._backends.cpu.emit import APART, Function, Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, c_strides
from flambeau._backends.cpu.pack import packer
from flambeau._backends.cpu.registers import narrow

POINTERS = ("dw", "x", "g", "sums", "table", "windows", "lanes_at")
SLOTS = (
    *POINTERS,  # result, input, gradient, shares of sums; where positions, windows and lanes are
    *(
        "n",
        "groups",
        "o",
        "c",
        "ob",
        "cb",
        "shares",
        "ib",
        "yb",
    ),  # images, groups, channels; of them in a chunk; at a time
    *(
        "kz",
        "kyx",
        "run",
        "ky",
        "gather",
    ),  # taps along z, windows, taps and rows of taps of one; whether windows are copied
    *("d", "h", "w", "do", "ho", "wo", "sz", "sy", "sx", "pz", "py", "px", "dz", "dy"),  # sy: in rows of the slab
    *(
        "rows",
        "spacing",
        "pitch",
        "flat",
    ),  # the slab: rows of an image, their distance in x, row length; grad's rows follow
    *("xn", "xg", "xc", "xd", "xh", "xw", "gn", "gg", "go", "gd", "gh", "gw"),  # strides of input and gradient
    *("wg", "wo_", "wc", "wz"),  # strides of the result
)
POSITIONS = 256  # summed at a time: their windows stay in the first-level cache
COPIED = 128  # of copied windows, which are further apart
FEW_LANES = 48  # windows of fewer lanes are copied side by side
BLOCK_OUT, BLOCK_IN = 128, 64  # channels of a chunk
SHARES = 8 << 20  # bytes that the shares of sums may take
ROWS = 8  # of the result in a chunk of the second launch


def zeros(m: Module, acc: str, n: int) -> None:
    """Defines zeros(to, count): whole vectors, then lanes."""
    f = m.function("internal void zeros(ptr to, i64 count)", APART)
    to, count = f.params
    with f.loop(0, count & -n, n) as i:
        f.store(f.value(0, vector(acc, n)), f.gep(acc, to, i))
    with f.loop(count & -n, count) as i:
        f.store(f.value(0, acc), to, i)


def deliver(m: Module, memory: str, acc: str, n: int) -> None:
    """Defines deliver(args, block, sums, apart, begin, end): rows begin..end of a block, all shares added, to their places."""
    f = m.function("internal void deliver(ptr args, i64 block, ptr sums, i64 apart, i64 begin, i64 end)", APART)
    args, block, sums, apart, begin, end = f.params
    w = slots(f, args)
    q, o0, c0, outs, ins, padded = place(f, w, block)
    out = f.gep(memory, w["dw"], q * w["wg"] + o0 * w["wo_"] + c0 * w["wc"])
    cols = n * VECTORS
    vectors = (w["run"] * w["cb"] * w["ky"] + (cols - 1)) // cols * w["kz"] * w["kyx"]
    line = f.alloca(vector(acc, n), align=64)
    with f.loop(begin, end) as r, f.loop(0, vectors * VECTORS) as v:
        at = f.gep(acc, sums, (v // VECTORS * padded + r) * cols + v % VECTORS * n)
        total = f.var(vector(acc, n), f.load(vector(acc, n), at))
        with f.loop(1, w["shares"]) as s:
            total.set(total.get() + f.load(vector(acc, n), at, s * apart))
        f.store(total.get(), line)
        with f.loop(0, n) as i:
            lane = f.gep("i64", w["lanes_at"], (v * n + i) * 2)
            with f.when(f.load("i64", lane, 1) < ins):
                f.store(narrow(f, f.load(acc, line, i), memory), out, r * w["wo_"] + f.load("i64", lane))


def slots(f: Function, args: V) -> dict[str, V]:
    return {name: f.load("ptr" if name in POINTERS else "i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS)}


def place(f: Function, w: dict[str, V], block: V) -> tuple[V, ...]:
    """(group, first channel out, in, channels out, in, rows of sums) of a block."""
    up = lambda x, n: (x + (n - 1)) // n
    oblocks, cblocks = up(w["o"], w["ob"]), up(w["c"], w["cb"])
    c0, rest = block % cblocks * w["cb"], block // cblocks
    o0, q = rest % oblocks * w["ob"], rest // oblocks
    outs = f.min(w["o"] - o0, w["ob"])
    return q, o0, c0, outs, f.min(w["c"] - c0, w["cb"]), (outs + 1) & -2


def text(target: Target, dtype: str) -> Module:
    """IR of the kernel, `k`, and of the addition of shares, `add`."""
    memory, acc = TYPES[dtype]
    n, most = lanes(target, acc), tile_rows(target)
    cols, wide = n * VECTORS, vector(acc, n)
    m = Module(f"convolution weight gradient {dtype} {n}")
    packer(m, "pack", memory, acc, n)
    zeros(m, acc, n)
    deliver(m, memory, acc, n)
    slab_rows(m, memory, acc, n)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    w = slots(f, args)
    up = lambda x, n: (x + (n - 1)) // n
    gather = w["gather"] != 0
    window = w["run"] * w["cb"]
    nlanes = window * w["ky"]  # of what the tile sees: ky is 1 where windows are not copied
    panels = up(nlanes, cols)
    volume = (w["ob"] + 1 & -2) * panels * w["kz"] * w["kyx"] * cols  # of the sums of a chunk
    positions = w["ib"] * w["yb"] * w["wo"]
    own = f.select(w["shares"] == 1, volume, 0, "i64")
    ap = f.gep(acc, scratch, own + cols)
    slab = f.gep(acc, ap, (w["ob"] + 1 + n) * positions + n)
    copied = f.gep(acc, slab, w["ib"] * w["rows"] * w["pitch"] * w["cb"] + 2 * cols)
    yblocks, iblocks = up(w["ho"], w["yb"]), up(w["n"], w["ib"])
    steps_ = iblocks * w["do"] * yblocks
    with f.loop(begin, end) as chunk:
        share, block = chunk % w["shares"], chunk // w["shares"]
        q, o0, c0, outs, ins, padded = place(f, w, block)
        sums = f.select(w["shares"] == 1, scratch, f.gep(acc, w["sums"], chunk * volume))
        f.call("void", "zeros", sums, volume)
        pairs = (outs + 1) >> 1
        tiles = up(pairs * 2, most)
        with f.loop(share * steps_ // w["shares"], (share + 1) * steps_ // w["shares"]) as step:
            y0, rest = step % yblocks * w["yb"], step // yblocks
            z, i0 = rest % w["do"], rest // w["do"] * w["ib"]
            images, ys = f.min(w["n"] - i0, w["ib"]), f.min(w["ho"] - y0, w["yb"])
            area = ys * w["wo"]
            depth = images * area
            # grad, packed by tiles of output channels
            grad = f.gep(memory, w["g"], i0 * w["gn"] + q * w["gg"] + o0 * w["go"] + z * w["gd"] + y0 * w["gh"])
            lines, length = f.select(w["flat"] != 0, 1, ys, "i64"), f.select(w["flat"] != 0, area, w["wo"], "i64")
            with f.loop(0, tiles) as i:
                r0, rows = spread_pairs(f, i, pairs, tiles)
                with f.loop(0, images) as image, f.loop(0, lines) as line:
                    for group in reversed(range(-(-most // n))):
                        with f.when(f.min(rows, outs - r0) > group * n):
                            src = f.gep(memory, grad, image * w["gn"] + (r0 + group * n) * w["go"] + line * w["gh"])
                            to = f.gep(acc, ap, r0 * depth + (image * area + line * length) * rows + group * n)
                            left = f.min(rows, outs - r0) - group * n
                            f.call("void", "pack", to, rows, src, left, length, w["go"], w["gw"])
            with f.when(outs < padded), f.loop(0, tiles) as i:  # the row that is no channel
                r0, rows = spread_pairs(f, i, pairs, tiles)
                with f.loop(0, f.select(r0 + rows > outs, depth, 0, "i64")) as k:
                    f.store(f.value(0, acc), f.gep(acc, ap, r0 * depth), k * rows + rows - 1)
            with f.loop(0, w["kz"]) as kz:
                iz = z * w["sz"] + kz * w["dz"] - w["pz"]
                with f.when((iz >= 0) & (iz < w["d"])):
                    source = f.gep(memory, w["x"], i0 * w["xn"] + q * w["xg"] + c0 * w["xc"] + iz * w["xd"])
                    with f.loop(0, images) as image:
                        to = f.gep(acc, slab, image * w["rows"] * w["pitch"] * w["cb"])
                        f.call("void", "slab_rows", args, to, f.gep(memory, source, image * w["xn"]), y0, ys, ins)
                    f.call("void", "zeros", f.gep(acc, copied, depth * nlanes), f.select(gather, 2 * cols, 0, "i64"))
                    with f.when(gather), f.loop(0, images) as image, f.loop(0, ys) as y, f.loop(0, w["wo"]) as col:
                        to = f.gep(acc, copied, ((image * ys + y) * w["wo"] + col) * nlanes)
                        with f.loop(0, w["ky"]) as tap:
                            row = image * w["rows"] + y * w["sy"] + tap * w["dy"]
                            src = f.gep(acc, slab, (row * w["pitch"] + col * w["sx"]) * w["cb"])
                            with f.loop(0, window, n) as lane:
                                f.store(f.load(wide, src, lane), to, tap * window + lane)
                    with f.loop(0, w["kyx"]) as which, f.loop(0, panels) as j:
                        base = f.gep(acc, f.select(gather, copied, slab), f.load("i64", w["windows"], which) + j * cols)
                        panel = (kz * w["kyx"] + which) * panels + j
                        with f.loop(0, tiles) as i:
                            r0, rows = spread_pairs(f, i, pairs, tiles)
                            s = f.gep(acc, sums, (panel * padded + r0) * cols)
                            f.call("void", name_of(acc), f.gep(acc, ap, r0 * depth), base, f.gep(acc, base, n), w["table"],
                                   depth, s, s, f.gep(acc, s, n), f.value(cols, "i64"), f.value(n, "i64"), f.value(n, "i64"),
                                   f.value(0, "i64"), rows)  # fmt: skip
        with f.when(w["shares"] == 1):
            f.call("void", "deliver", args, block, sums, volume, f.value(0, "i64"), outs)
    f = m.function("void add(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    w = slots(f, args)
    nlanes = w["run"] * w["cb"] * w["ky"]
    volume = (w["ob"] + 1 & -2) * ((nlanes + (cols - 1)) // cols) * w["kz"] * w["kyx"] * cols
    parts = (w["ob"] + (ROWS - 1)) // ROWS
    with f.loop(begin, end) as chunk:
        block, r = chunk // parts, chunk % parts * ROWS
        _, _, _, outs, _, _ = place(f, w, block)
        f.call("void", "deliver", args, block, f.gep(acc, w["sums"], block * w["shares"] * volume), volume, r,
               f.min(r + ROWS, outs))  # fmt: skip
    return m


def slab_rows(m: Module, memory: str, acc: str, n: int) -> None:
    """Defines slab_rows(args, to, from, y0, ys, ins): the rows of one image that some rows of grad meet, channels innermost."""
    f = m.function("internal void slab_rows(ptr args, ptr to, ptr src, i64 y0, i64 ys, i64 ins)", APART)
    args, to, image, y0, ys, ins = f.params
    w = slots(f, args)
    col0 = 0 - w["px"]
    low = f.min(f.max(w["px"], 0), w["pitch"])
    high = f.max(f.min(w["w"] + w["px"], w["pitch"]), low)
    row0 = y0 * w["sy"] * w["spacing"] - w["py"]
    count = w["rows"] - (w["yb"] - ys) * w["sy"]
    with f.loop(0, count) as r:
        iy = row0 + r * w["spacing"]
        line = f.gep(acc, to, r * w["pitch"] * w["cb"])
        with f.either((iy >= 0) & (iy < w["h"])) as otherwise:
            groups = (ins + (n - 1)) // n
            with f.loop(0, groups) as back:  # from the last group of lanes to the first: see `packer`
                lane = (groups - 1 - back) * n
                src = f.gep(memory, image, lane * w["xc"] + iy * w["xh"] + (low + col0) * w["xw"])
                place_ = f.gep(acc, line, low * w["cb"] + lane)
                f.call("void", "pack", place_, w["cb"], src, ins - lane, high - low, w["xc"], w["xw"])
            f.call("void", "zeros", line, low * w["cb"])
            f.call("void", "zeros", f.gep(acc, line, high * w["cb"]), (w["pitch"] - high) * w["cb"])
            with f.when(ins < w["cb"]), f.loop(low, high) as x:  # channels that are not there
                f.call("void", "zeros", f.gep(acc, line, x * w["cb"] + ins), w["cb"] - ins)
            otherwise()
            f.call("void", "zeros", line, w["pitch"] * w["cb"])
    # vectors end past the last window, and what memory happens to hold may be denormal, hence slow
    f.call("void", "zeros", f.gep(acc, to, count * w["pitch"] * w["cb"]), f.value(2 * n * VECTORS, "i64"))


@cache
def kernel(dtype: str) -> Code:
    native = engine()
    acc = TYPES[dtype][1]
    needs = (tile(acc),)
    parts = [("kernel", "convolution weight gradient"), ("dtype", dtype)]
    return native.load(lambda: str(text(native.target, dtype)), ["k", "add"], [name_of(acc)], parts=parts, needs=needs)


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
    code = kernel(dtype)
    acc = TYPES[dtype][1]
    word, lanes_ = size(acc), lanes(engine().target, acc)
    cols = lanes_ * VECTORS
    n, o, c = x.shape[0], shape[0] // groups, shape[1]
    kz, ky, kx = three(shape[2:], 1)
    (do, ho, wo), (d, h, w) = three(g.shape[2:], 1), three(x.shape[2:], 1)
    (sz, sy, sx), (pz, py, px), (dz, dy, dx) = three(stride, 1), three(padding, 0), three(dilation, 1)
    run = kx if dx == 1 else 1
    gather = run == kx and c * run * ky <= 8 * cols and c * run < FEW_LANES
    ob, cb = min(o, BLOCK_OUT), c if gather else min(c, BLOCK_IN)
    ob, cb = -(-o // -(-o // ob)), -(-c // -(-c // cb))
    most = COPIED if gather else POSITIONS
    yb = max(1, min(ho, most // max(wo, 1)))
    ib = max(1, min(n, most // max(ho * wo, 1))) if yb == ho else 1
    spacing = sy if ky == 1 else 1  # of one row of taps, only the rows that it reads
    rows = yb if ky == 1 else (yb - 1) * sy + (ky - 1) * dy + 1
    step = 1 if ky == 1 else sy
    pitch = (wo - 1) * sx + (kx - 1) * dx + 1
    places = np.indices((ib, yb, wo)).reshape(3, -1)
    if gather:
        nlanes, windows = ky * run * c, [0]
        table = np.arange(ib * yb * wo) * nlanes
        in_lanes = [(y * kx + t, ch) for y, t, ch in product(range(ky), range(run), range(c))]
    else:
        nlanes = run * cb
        table = ((places[0] * rows + places[1] * step) * pitch + places[2] * sx) * cb
        windows = [(y * dy * pitch + t * dx) * cb for y, t in product(range(ky), range(0, kx, run))]
        in_lanes = [(t, ch) for t, ch in product(range(run), range(cb))]
    panels, kyx = -(-nlanes // cols), len(windows)
    result = Result(x.dtype, tuple(shape))
    so = [s // x.itemsize for s in c_strides(result)]
    wz, wy, wx = three(so[2:], 0)
    lanes_at = np.zeros((kz, kyx, panels * cols, 2), np.int64)
    lanes_at[..., 1] = c  # a lane that is no channel
    for a, b in product(range(kz), range(kyx)):
        for lane, (t, ch) in enumerate(in_lanes):
            y, t = divmod(t if gather else b * run + t, kx)
            lanes_at[a, b, lane] = a * wz + y * wy + t * wx + ch * so[1], ch
    flat = int(eg[-1] * wo == three(eg[2:], 0)[1] or ho == 1)
    # shares of the images: as many as make chunks enough, while each has work and their sums have room
    blocks_ = groups * -(-o // ob) * -(-c // cb)
    volume = (ob + ob % 2) * panels * kz * kyx * cols
    steps_ = -(-n // ib) * do * -(-ho // yb)
    work = n * prod(g.shape[2:]) * volume  # multiplications, those of empty lanes too
    shares = max(1, min(-(-CHUNKS // blocks_), steps_, work // (2 * GRAIN), SHARES // (volume * blocks_ * word)))
    numbers = {
        **dict(n=n, groups=groups, o=o, c=c, ob=ob, cb=cb, shares=shares, ib=ib, yb=yb, kz=kz, kyx=kyx, run=run),
        **dict(ky=ky if gather else 1, gather=int(gather), rows=rows, spacing=spacing, pitch=pitch, flat=flat),
        **dict(d=d, h=h, w=w, do=do, ho=ho, wo=wo, sz=sz, sy=step, sx=sx, pz=pz, py=py, px=px, dz=dz, dy=dy),
        **dict(zip(("xn", "xg", "xc", "xd", "xh", "xw"), (ex[0], c * ex[1], ex[1], *three(ex[2:], 0)), strict=True)),
        **dict(zip(("gn", "gg", "go", "gd", "gh", "gw"), (eg[0], o * eg[1], eg[1], *three(eg[2:], 0)), strict=True)),
        **dict(wg=o * so[0], wo_=so[0], wc=so[1], wz=wz),
    }
    arrays = [np.ascontiguousarray(v, np.int64) for v in (table, windows, lanes_at)]
    slots_ = [(OUT, 0), (ARG, 0), (ARG, 1), (TEMP, 0), *((CONST, v.ctypes.data) for v in arrays)]
    slots_ += [(CONST, int(numbers[name])) for name in SLOTS[len(slots_) :]]
    scratch = (volume if shares == 1 else 0) + cols + (ob + 1 + lanes_) * ib * yb * wo + lanes_
    scratch += ib * rows * pitch * cb + 2 * cols + (ib * yb * wo * nlanes + 2 * cols if gather else 0)
    launches = [Launch(code["k"], tuple(slots_), blocks_ * shares, (scratch + 64) * word)]
    if shares > 1:
        launches.append(Launch(code["add"], tuple(slots_), blocks_ * -(-ob // ROWS)))
    temp = blocks_ * shares * volume * word if shares > 1 else 0
    release = prod(g.shape) * prod(shape[1:]) > 2 * GRAIN
    return Plan((result,), tuple(launches), temp, release, keep=(*arrays, code))
