"""Max pooling of images and volumes whose channels lie side by side: a vector of channels at a time. And its gradient.

A chunk is some rows of output, or, of the gradient, some channels of one image: lanes never meet, so what is scattered is added in
the order of the output. NaN is larger than everything; of equals the first one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf, prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.conv_slab import gather
from flambeau._backends.cpu.conv_tile import lanes as lanes_of
from flambeau._backends.cpu.correlation import three
from flambeau._backends.cpu.emit import Module, V, Words, size, suffix, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned
from flambeau._backends.cpu.layouts import last_strides
from flambeau._backends.cpu.registers import narrow, widen

Array = np.ndarray[Any, Any]
GRAIN = 1 << 15  # windows' elements in a chunk
NUMBERS = "lines c d h w do ho wo kz ky kx sz sy sx pz py px dz dy dx rows"


def text(target: Target, dtype: str) -> Module:
    """IR of the kernel, `k`."""
    memory, acc = TYPES[dtype]
    n = lanes_of(target, acc)
    wide, places = vector(acc, n), vector("i32", n)
    m = Module(f"max pooling, channels last, {dtype}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, _ = f.params
    w = Words(f, "out index x", NUMBERS)

    def window(image: V, z: V, y: V, x: V, place: V, column: V, mask: V | None) -> None:
        """One window's largest elements in n channels; z, y, x are where it begins."""
        best, where = f.var(wide, -inf), f.var(places, -1)
        with f.loop(0, w["kz"]) as i, f.loop(0, w["ky"]) as j:
            iz, iy = z + i * w["dz"], y + j * w["dy"]
            with f.when((iz >= 0) & (iz < w["d"]) & (iy >= 0) & (iy < w["h"])), f.loop(0, w["kx"]) as k:
                ix = x + k * w["dx"]
                with f.when((ix >= 0) & (ix < w["w"])):
                    cell = (iz * w["h"] + iy) * w["w"] + ix
                    src = f.gep(memory, image, cell * w["c"] + column)
                    v = f.get(vector(memory, n), src, mask)
                    v, old, before = widen(f, v, acc), best.get(), where.get()
                    nan = f.emit(vector("i1", n), f"fcmp uno {v}, {v.name}")
                    number = f.emit(vector("i1", n), f"fcmp ord {old}, {old.name}")
                    take = (v > old) | (nan & number) | (before < 0)
                    best.set(f.select(take, v, old))
                    where.set(f.select(take, f.splat(f.convert("trunc", cell, "i32"), n), before))
        f.put(narrow(f, best.get(), memory), f.gep(memory, w["out"], place), mask)
        f.put(f.convert("sext", where.get(), vector("i64", n)), f.gep("i64", w["index"], place), mask)

    whole = w["c"] - w["c"] % n
    with f.loop(begin, end) as chunk, f.loop(chunk * w["rows"], f.min((chunk + 1) * w["rows"], w["lines"])) as line:
        image = f.gep(memory, w["x"], line // (w["do"] * w["ho"]) * (w["d"] * w["h"] * w["w"] * w["c"]))
        z = line // w["ho"] % w["do"] * w["sz"] - w["pz"]
        y = line % w["ho"] * w["sy"] - w["py"]
        with f.loop(0, w["wo"]) as o:
            x, place = o * w["sx"] - w["px"], (line * w["wo"] + o) * w["c"]
            with f.loop(0, whole, n) as column:
                window(image, z, y, x, place + column, column, None)
            with f.when(whole < w["c"]):
                window(image, z, y, x, place + whole, whole, f.lane_mask(n, w["c"] - whole))
    return m


def back_text(target: Target, dtype: str) -> Module:
    """IR of the gradient, `k`; chunks are vectors of channels of images."""
    memory, acc = TYPES[dtype]
    n = lanes_of(target, acc)
    wide = vector(acc, n)
    m = Module(f"max pooling backward, channels last, {dtype}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, _ = f.params
    w = Words(f, "out g index", "c cells places blocks")
    steps = V(f, vector("i64", n), "<" + ", ".join(f"i64 {i}" for i in range(n)) + ">")
    with f.loop(begin, end) as chunk:
        image, column = chunk // w["blocks"], chunk % w["blocks"] * n
        mask = f.lane_mask(n, w["c"] - column)
        to = f.gep(acc, w["out"], image * w["cells"] * w["c"] + column)
        with f.loop(0, w["cells"]) as i:
            f.mstore(f.value(0, wide), f.gep(acc, to, i * w["c"]), mask)
        with f.loop(0, w["places"]) as i:
            place = (image * w["places"] + i) * w["c"] + column
            at = f.mload(vector("i64", n), f.gep("i64", w["index"], place), mask)
            g = widen(f, f.mload(vector(memory, n), f.gep(memory, w["g"], place), mask), acc)
            inside = f.emit(vector("i1", n), f"icmp ult {at}, {f.splat(w['cells'], n).name}") & mask
            cell = at * f.splat(w["c"], n) + steps
            total = gather(f, acc, to, cell, inside, n) + g
            spots = f.emit(f"<{n} x ptr>", f"getelementptr {acc}, {to}, {cell}")
            name = f"llvm.masked.scatter.{suffix(wide)}.v{n}p0"
            f.call("void", name, total, spots, f.value(size(acc), "i32"), inside)
    return m


@cache
def kernel(dtype: str, back: bool) -> Code:
    native = engine()
    parts = [("kernel", "max pooling, channels last"), ("dtype", dtype), ("back", back)]
    return native.load(lambda: str((back_text if back else text)(native.target, dtype)), ["k"], parts=parts)


def plan_of(x: Array, size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
            out: Sequence[int]) -> Plan:  # fmt: skip
    """The plan of (values, indices into a plane) for an array with channels last."""
    rank, (images, c) = len(size), x.shape[:2]
    (d, h, w), (do, ho, wo) = three(x.shape[2:], 1), three(out, 1)
    lines = images * do * ho
    rows = max(1, GRAIN // max(wo * c * prod(size), 1))
    numbers = [
        lines,
        c,
        d,
        h,
        w,
        do,
        ho,
        wo,
        *three(size, 1),
        *three(stride, 1),
        *three(padding, 0),
        *three(dilation, 1),
        rows,
    ]
    code = kernel(x.dtype.name, False)
    shape = (*x.shape[: x.ndim - rank], *out)
    results = tuple(Result(t, shape, last_strides(shape, t.itemsize)) for t in (x.dtype, np.dtype(np.int64)))
    work = Launch(code["k"], ((OUT, 0), (OUT, 1), (ARG, 0), *((CONST, v) for v in numbers)), -(-lines // rows))
    return Plan(results, (work,), release=prod(shape) * prod(size) > GRAIN, keep=(code,))


def back_plan(g: Array, shape: tuple[int, ...]) -> Plan:
    """The plan of the gradient for an input of a shape, from that of the values and the indices, both with channels last."""
    dtype, (images, c) = g.dtype, shape[:2]
    cells, places = prod(shape[2:]), prod(g.shape[2:])
    code = kernel(dtype.name, True)
    blocks = -(-c // lanes_of(engine().target, TYPES[dtype.name][1]))
    acc = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    result = Result(acc, shape, last_strides(shape, acc.itemsize))
    numbers = (c, cells, places, blocks)
    work = Launch(code["k"], ((OUT, 0), (ARG, 0), (ARG, 1), *((CONST, v) for v in numbers)), images * blocks)
    return Plan((result,), (work,), release=images * c * (cells + places) > GRAIN, keep=(code,))


def dense(x: Array) -> Array:
    """The array, or a copy of what lies with gaps: a part of wider images."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def max_pool(x: Array, size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...],
             out: tuple[int, ...], small: bool = False) -> tuple[Array, Array] | None:  # fmt: skip
    """(values, indices) of an array with channels last, both so; None where the kernel has no form for it."""
    if prod(x.shape[2:]) >= 1 << 31 or 0 in x.shape or 0 in out:
        return None
    how, x = (size, stride, padding, dilation, out), dense(x)
    found: tuple[Array, Array] | None = planned(("max pool last", how), (x,), lambda: plan_of(x, *how), small)
    return found


def max_pool_back(g: Array, indices: Array, shape: tuple[int, ...], small: bool = False) -> Array | None:
    """The gradient of max pooling, summed in float32 or float64, with channels last as both arrays have them."""
    if 0 in shape or 0 in g.shape:
        return None
    g, indices = dense(g), dense(indices)
    found: Array | None = planned(("max pool last back", shape), (g, indices), lambda: back_plan(g, shape), small)
    return found
