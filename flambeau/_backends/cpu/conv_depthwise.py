"""The gradient of a depthwise convolution for its weights: one channel in, one out, so nothing for a matrix product to do.

    dw[c, t] = sum over images and positions of grad[n, c, pos] * x[n, c, pos * stride + t * dilation - pad]

A chunk is one channel. For each image its plane is copied once, padded and split by phase as in `conv`; then every tap is
a dot product of the gradient's rows with rows of the copy, in vectors, summed in a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import APART, GRAIN, TYPES, narrow, widen
from flambeau._backends.cpu.conv import steps
from flambeau._backends.cpu.emit import Module, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result

SLOTS = (
    *("dw", "x", "g", "table"),  # result, input, gradient; offsets of taps, then phases along y and x
    *("n", "taps", "ny", "nx", "h", "w", "ho", "wo", "sy", "sx", "row0", "col0", "rows", "pitch"),
    *("xn", "xc", "xh", "xw", "gn", "gc", "gh"),
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


def text(target: Target, dtype: str) -> Module:
    """IR of the kernel, `k`; chunks are channels."""
    memory, acc = TYPES[dtype]
    n = target.vector_bytes // size(acc)
    wide, narrow_wide = vector(acc, n), vector(memory, n)
    m = Module(f"depthwise weight gradient {dtype}")
    copy_row(m, memory, acc, n)
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
            with f.loop(0, w["ny"]) as py, f.loop(0, w["nx"]) as px, f.loop(0, w["rows"]) as r:
                iy = (r + w["row0"]) * w["sy"] + f.load("i64", phases_y, py)
                inside = (iy >= 0) & (iy < w["h"])
                line = f.gep(memory, plane, f.select(inside, iy, 0, "i64") * w["xh"])
                width, col0 = f.select(inside, w["w"], 1, "i64"), f.select(inside, w["col0"], 0 - w["pitch"], "i64")
                to = f.gep(acc, slab, ((py * w["nx"] + px) * w["rows"] + r) * w["pitch"])
                f.call(
                    "void", "copy_row", to, line, width, w["xw"], w["sx"], f.load("i64", phases_x, px), col0, w["pitch"]
                )
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
def kernel(dtype: str) -> Code:
    native = engine()
    parts = [("kernel", "depthwise weight gradient"), ("dtype", dtype)]
    return native.load(lambda: str(text(native.target, dtype)), ["k"], parts=parts)


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
    code = kernel(dtype)
    offsets_y, offsets_x = [i * dy - py for i in range(ky)], [i * dx - px for i in range(kx)]
    phases_y, phases_x = sorted({o % sy for o in offsets_y}), sorted({o % sx for o in offsets_x})
    row0, col0 = min(o // sy for o in offsets_y), min(o // sx for o in offsets_x)
    rows = ho + max(o // sy for o in offsets_y) - row0
    pitch = wo + max(o // sx for o in offsets_x) - col0
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
    lanes = engine().target.vector_bytes // size(TYPES[dtype][1])
    scratch = (taps * lanes + ny * nx * rows * pitch + 2 * lanes) * size(TYPES[dtype][1])
    work = Launch(code["k"], slots, shape[0], scratch)
    return Plan((Result(x.dtype, tuple(shape)),), (work,), release=prod(g.shape) * taps > 2 * GRAIN, keep=(table, code))
