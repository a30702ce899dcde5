"""Sums of elements at given places, the same places in every channel: sampling at a grid, and its derivatives.

    read[n, c, p]   = sum over t of weight[n, t, p] * x[n, c, place[n, t, p]]
    spread[n, c, i] = sum over t and p with place[n, t, p] = i of weight[n, t, p] * g[n, c, p]
    weigh[n, t, p]  = sum over c of g[n, c, p] * x[n, c, place[n, t, p]]

A place below 0 is outside: nothing is read or written there. `read` and `weigh` walk blocks of points, channel after channel, a
vector of points at a time; `spread` walks planes, in the order of points and then of taps, so that sums have one order.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.conv_slab import gather
from flambeau._backends.cpu.conv_tile import lanes as lanes_of
from flambeau._backends.cpu.emit import Module, V, Words, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned

Array = np.ndarray[Any, Any]
POINTS = 1 << 12  # taps of a block: its places and weights stay in the first cache
GRAIN = 1 << 14  # taps in a chunk, less than which no lock is worth giving up
MOST = 16  # taps of a point: as many loads are written out
DTYPES = ("float32", "float64")


def text(target: Target, dtype: str, word: str, taps: int) -> Module:
    """IR of one of the three, `k`; chunks are blocks of points of one sample, or planes (`spread`)."""
    item = TYPES[dtype][1]
    n = lanes_of(target, item)
    wide, places = vector(item, n), vector("i32", n)
    m = Module(f"{word} {dtype} {taps}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, _ = f.params
    if word == "spread":
        w = Words(f, "out g place weight", "channels cells points")
        with f.loop(begin, end) as plane:
            to, src = f.gep(item, w["out"], plane * w["cells"]), f.gep(item, w["g"], plane * w["points"])
            with f.loop(0, w["cells"]) as i:
                f.store(f.value(0, item), to, i)
            first = plane // w["channels"] * (w["points"] * taps)
            place, weight = f.gep("i32", w["place"], first), f.gep(item, w["weight"], first)
            with f.loop(0, w["points"]) as p:
                g = f.load(item, src, p)
                for t in range(taps):
                    at = f.load("i32", place, w["points"] * t + p)
                    with f.when(at >= 0):
                        cell = f.gep(item, to, f.convert("sext", at, "i64"))
                        f.store(f.fma(f.load(item, weight, w["points"] * t + p), g, f.load(item, cell)), cell)
        return m
    more = "weight" if word == "read" else "g"
    w = Words(f, f"out x place {more}", "channels cells points block blocks")

    def vectors(p: V, mask: V | None, sample: V) -> None:
        """All channels at one vector of points."""

        def load(type: str, base: V, index: V) -> V:
            at = f.gep(item if type == wide else "i32", base, index + p)
            return f.get(type, at, mask)

        def store(v: V, base: V, index: V) -> None:
            at = f.gep(item, base, index + p)
            f.put(v, at, mask)

        row = lambda t: (sample * taps + t) * w["points"]
        where = [load(places, w["place"], row(t)) for t in range(taps)]
        there = [at >= 0 for at in where]
        if mask is not None:
            there = [v & mask for v in there]
        if word == "read":
            weights = [load(wide, w["weight"], row(t)) for t in range(taps)]
        sums = [f.var(wide, 0.0) for _ in range(taps if word == "weigh" else 0)]
        with f.loop(sample * w["channels"], (sample + 1) * w["channels"]) as plane:
            src = f.gep(item, w["x"], plane * w["cells"])
            got = [gather(f, item, src, at, inside, n) for at, inside in zip(where, there, strict=True)]
            if word == "read":
                total = weights[0] * got[0]
                for v, weight in zip(got[1:], weights[1:], strict=True):
                    total = f.fma(v, weight, total)
                store(total, w["out"], plane * w["points"])
            else:
                g = load(wide, w["g"], plane * w["points"])
                for v, total in zip(got, sums, strict=True):
                    total.set(f.fma(v, g, total.get()))
        for t, total in enumerate(sums):
            store(total.get(), w["out"], row(t))

    with f.loop(begin, end) as chunk:
        sample, first = chunk // w["blocks"], chunk % w["blocks"] * w["block"]
        last = f.min(first + w["block"], w["points"])
        whole = first + (last - first) // n * n
        with f.loop(first, whole, n) as p:
            vectors(p, None, sample)
        with f.when(whole < last):
            vectors(whole, f.lane_mask(n, last - whole), sample)
    return m


@cache
def kernel(dtype: str, word: str, taps: int) -> Code:
    native = engine()
    parts = [("kernel", word), ("dtype", dtype), ("taps", taps)]
    return native.load(lambda: str(text(native.target, dtype, word, taps)), ["k"], parts=parts)


def plan_of(word: str, xs: tuple[Array, ...], cells: int) -> Plan:
    """The plan of one of the three for dense arrays: (x, place, weight), (g, place, weight) or (x, place, g)."""
    x, place = xs[:2]
    (samples, channels, _), (_, taps, points) = x.shape, place.shape
    code = kernel(x.dtype.name, word, taps)
    if word == "spread":
        numbers, chunks = (channels, cells, points), samples * channels
        shape = (samples, channels, cells)
    else:
        block = max(64, POINTS // taps // 64 * 64)
        blocks = -(-points // block)
        numbers, chunks = (channels, cells, points, block, blocks), samples * blocks
        shape = (samples, channels, points) if word == "read" else (samples, taps, points)
    work = Launch(code["k"], ((OUT, 0), *((ARG, i) for i in range(3)), *((CONST, v) for v in numbers)), chunks)
    release = samples * channels * points * taps > GRAIN
    return Plan((Result(x.dtype, shape),), (work,), release=release, keep=(code,))


def tapped(word: str, xs: tuple[Array, ...], cells: int) -> Array | None:
    """One of the three, or None where the kernel has no form for it."""
    x, place, third = xs
    if x.dtype.name not in DTYPES or third.dtype is not x.dtype or place.dtype != np.int32 or cells >= 1 << 30:
        return None
    if not 0 < place.shape[1] <= MOST or 0 in (*x.shape, *place.shape):
        return None
    dense = tuple(map(np.ascontiguousarray, xs))
    found: Array | None = planned((word, cells), dense, lambda: plan_of(word, dense, cells))
    return found
