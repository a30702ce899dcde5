"""Depthwise convolutions of images whose channels lie side by side: a vector of channels at a time, a few positions at once.

    out[n, y, x, c] = bias[c] + sum over taps of a[t, c] * in[n, y sy + ty, x sx + tx, c]

A chunk is some rows of the result. Positions whose taps all lie within the row are summed `ACROSS` at a time; the others one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.conv_tile import lanes as lanes_of
from flambeau._backends.cpu.emit import Module, V, Words, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned
from flambeau._backends.cpu.registers import narrow, widen

Array = np.ndarray[Any, Any]
Pair = Sequence[int]
ACROSS = 8  # positions of a row
GRAIN = 1 << 16  # products of a chunk


def text(target: Target, dtype: str) -> Module:
    """IR of the kernel, `k`."""
    memory, acc = TYPES[dtype]
    n = lanes_of(target, acc)
    wide = vector(acc, n)
    m = Module(f"depthwise convolution, channels last, {dtype}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = Words(f, "out x a bias", "lines c h w ho wo ky kx sy sx py px dy dx inner outer rows")

    def sums(image: V, y: V, o: V, column: V, place: V, count: int, mask: V | None) -> None:
        """`count` positions of a row from o on, in n channels; one alone may have taps beside the row."""
        read = lambda p, at: widen(f, f.get(vector(memory, n), f.gep(memory, p, at), mask), acc)
        start = read(w["bias"], column)
        totals = [f.var(wide, start) for _ in range(count)]
        with f.loop(0, w["ky"]) as i:
            iy = y + i * w["dy"]
            with f.when((iy >= 0) & (iy < w["h"])), f.loop(0, w["kx"]) as j:
                weight = read(w["a"], (i * w["kx"] + j) * w["c"] + column)
                for b, total in enumerate(totals):
                    ix = (o + b) * w["sx"] - w["px"] + j * w["dx"]
                    at = (iy * w["w"] + ix) * w["c"] + column
                    if count > 1:
                        total.set(f.fma(weight, read(image, at), total.get()))
                        continue
                    with f.when((ix >= 0) & (ix < w["w"])):
                        total.set(f.fma(weight, read(image, at), total.get()))
        for b, total in enumerate(totals):
            f.put(narrow(f, total.get(), memory), f.gep(memory, w["out"], place + b * w["c"]), mask)

    def row(image: V, y: V, line: V, column: V, mask: V | None) -> None:
        together = w["inner"] + (w["outer"] - w["inner"]) // ACROSS * ACROSS
        for first, last, count in ((0, w["inner"], 1), (w["inner"], together, ACROSS), (together, w["wo"], 1)):
            with f.loop(first, last, count) as o:
                sums(image, y, o, column, (line * w["wo"] + o) * w["c"] + column, count, mask)

    whole = w["c"] - w["c"] % n
    first, last = f.params[1] * w["rows"], f.min(f.params[2] * w["rows"], w["lines"])
    with f.loop(first, last) as line:
        image = f.gep(memory, w["x"], line // w["ho"] * (w["h"] * w["w"] * w["c"]))
        y = line % w["ho"] * w["sy"] - w["py"]
        with f.loop(0, whole, n) as column:
            row(image, y, line, column, None)
        with f.when(whole < w["c"]):
            row(image, y, line, whole, f.lane_mask(n, w["c"] - whole))
    return m


@cache
def kernel(dtype: str) -> Code:
    native = engine()
    parts = [("kernel", "depthwise convolution, channels last"), ("dtype", dtype)]
    return native.load(lambda: str(text(native.target, dtype)), ["k"], parts=parts)


def plan_of(x: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, out: Pair) -> Plan:
    """The plan for images (n, h, w, c) in C order, taps (taps, c) and a bias (c)."""
    images, h, w, c = x.shape
    (ho, wo), (sx, px, dx) = out, (v[1] for v in (stride, padding, dilation))
    inner = min(-(-max(px, 0) // sx), wo)
    outer = min(max((w - 1 - (size[1] - 1) * dx + px) // sx + 1, inner), wo)
    lines = images * ho
    rows = max(1, GRAIN // max(wo * c * prod(size), 1))
    numbers = (lines, c, h, w, ho, wo, *size, *stride, *padding, *dilation, inner, outer, rows)
    code = kernel(x.dtype.name)
    slots = ((OUT, 0), (ARG, 0), (ARG, 1), (ARG, 2), *((CONST, v) for v in numbers))
    work = Launch(code["k"], slots, -(-lines // rows))
    return Plan((Result(x.dtype, (images, ho, wo, c)),), (work,), release=True, keep=(code,))


def depthwise(x: Array, a: Array, bias: Array | None, stride: Pair, padding: Pair, dilation: Pair) -> Array | None:
    """x (n, c, h, w) with weights a (c, 1, ky, kx), one channel of output to one of input; the result lies with channels last.

    None where the kernel has no form for it.
    """
    size = a.shape[2:]
    reach = [(s - 1) * d + 1 for s, d in zip(size, dilation, strict=True)]
    out = [(e + 2 * p - r) // s + 1 for e, p, r, s in zip(x.shape[2:], padding, reach, stride, strict=True)]
    if x.ndim != 4 or a.shape[0] != x.shape[1] or 0 in x.shape or 0 in size or min(out) < 1 or min(padding) < 0:
        return None
    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    taps = np.ascontiguousarray(a.reshape(a.shape[0], -1).T)
    more = np.zeros(a.shape[0], a.dtype) if bias is None else np.ascontiguousarray(bias)
    how = (tuple(size), tuple(stride), tuple(padding), tuple(dilation), tuple(out))
    found = planned(("depthwise last", how), (images, taps, more), lambda: plan_of(images, *how))
    return None if found is None else found.transpose(0, 3, 1, 2)
