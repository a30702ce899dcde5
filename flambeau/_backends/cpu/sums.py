"""Kernels whose additions come in PyTorch's order, where its libraries have one that depends on shapes alone.

    total   the sum of a dense array: four vectors of 32 bytes side by side, sixteen rows of them at a time
    lanes   out[i, j] = sum over k of a[i, k] * b[j, k]: in lanes of 64 bytes, fused, which are added up at the end
    apart   out[p, i, j] = sum over k of a[p, i, k] * b[p, k, j]: one product after the other, each rounded

Lanes are as many on every processor: LLVM cuts vectors that are too wide for it. Which rule is whose, and the same bits by
NumPy, stand in `library_sums`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.conv_slab import gather
from flambeau._backends.cpu.emit import Function, Module, V, Words, lane, vector
from flambeau._backends.cpu.engine import LIGHT, Code, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result

Array = np.ndarray[Any, Any]
ITEMS = {np.dtype("f"): "float", np.dtype("d"): "double"}
SIDE, ROWS = 4, 16  # of `total`: vectors side by side; rows of them that make one sum, and sums that make another
LEVELS = 3  # of such sums: enough for 16 * 16 * 16 rows
BLOCKS = (8, 4)  # rows of `apart` at a time, or one
CHUNK = 1 << 14  # multiplications of a chunk of `apart`


@dataclass(frozen=True)
class Lanes:
    """How `lanes` adds up: `ways` accumulators, joined by pairs, of lanes that are folded by halves, or by halves to four and these by pairs."""

    ways: int
    pairs: bool


def per_line(dtype: Any, bytes_: int = 64) -> int:
    return bytes_ // int(dtype.itemsize)


def total_text(dtype: Any) -> Module:
    m = Module(f"total {dtype}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = Words(f, "out x", "count")
    f.store(total_of(f, w["x"], w["count"], dtype), w["out"])
    return m


def total_of(f: Function, x: V, count: V, dtype: Any) -> V:
    """The sum of `count` numbers side by side."""
    item, n = ITEMS[dtype], per_line(dtype, 32)
    wide = vector(item, n)
    rows = count // n
    deep = rows // SIDE
    levels = [[f.var(wide, 0) for _ in range(SIDE)] for _ in range(LEVELS)]
    sums = levels[0]

    def row(i: V) -> None:
        for j in range(SIDE):
            sums[j].set(sums[j].get() + f.load(wide, f.gep(item, x, (i * SIDE + j) * n)))

    def carry(level: int) -> None:
        for below, above in zip(*levels[level : level + 2], strict=True):
            above.set(above.get() + below.get())
            below.set(0)

    whole = deep - deep % ROWS
    with f.loop(0, whole, ROWS) as first:
        with f.loop(first, first + ROWS) as i:
            row(i)
        carry(0)
        with f.when((first + ROWS) % (ROWS * ROWS) == 0):
            carry(1)
    with f.loop(whole, deep) as i:
        row(i)
    for level in levels[1:]:
        for s, above in zip(sums, level, strict=True):
            s.set(s.get() + above.get())
    with f.loop(deep * SIDE, rows) as i:
        sums[0].set(sums[0].get() + f.load(wide, f.gep(item, x, i * n)))
    lanes = sums[0].get()
    for s in sums[1:]:
        lanes = lanes + s.get()
    out = f.var(item, 0)
    with f.when(rows == 0):  # single numbers, four side by side as well
        out.set(f.load(item, x))
        with f.loop(SIDE, count) as i:
            out.set(out.get() + f.load(item, x, i))
        with f.loop(1, f.min(count, SIDE)) as i:
            out.set(out.get() + f.load(item, x, i))
        out.set(out.get() + 0.0)
    with f.when(rows > 0):
        with f.loop(rows * n, count) as i:
            out.set(out.get() + f.load(item, x, i))
        found = out.get()
        for i in range(n):
            found = found + f.emit(item, f"extractelement {lanes}, i64 {i}")
        out.set(found)
    return out.get()


def fold(f: Function, lanes: V, n: int, pairs: bool) -> V:
    """One number of n lanes."""
    while n > 2:
        n //= 2
        firsts, seconds = (range(n), range(n, 2 * n)) if n > 2 or not pairs else (range(0, 4, 2), range(1, 4, 2))
        lanes = f.shuffle(lanes, lanes, list(firsts)) + f.shuffle(lanes, lanes, list(seconds))
    one, other = (f.emit(lane(lanes.type), f"extractelement {lanes}, i64 {i}") for i in range(2))
    return one + other


def lanes_text(dtype: Any, how: Lanes) -> Module:
    item, n = ITEMS[dtype], per_line(dtype)
    wide = vector(item, n)
    m = Module(f"lanes {dtype} {how}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = Words(f, "out a b", "m n k am bn")
    depth = w["k"]
    with f.loop(0, w["m"]) as i, f.loop(0, w["n"]) as j:
        a, b = f.gep(item, w["a"], i * w["am"]), f.gep(item, w["b"], j * w["bn"])
        sums = [f.var(wide, 0) for _ in range(how.ways)]

        def multiply(k: V, way: int, mask: V | None = None, a: V = a, b: V = b, sums: list[Any] = sums) -> None:
            x, y = (f.get(wide, f.gep(item, p, k), mask) for p in (a, b))
            sums[way].set(f.fma(x, y, sums[way].get()))

        done, ways = f.var("i64", 0), how.ways
        while ways:  # four vectors at a time, then two, one, and what is left of one
            step = ways * n
            with f.loop(done.get(), depth - depth % step, step) as k:
                for way in range(ways):
                    multiply(k + way * n, way)
            done.set(depth - depth % step)
            ways //= 2
        with f.when(depth % n != 0):
            multiply(done.get(), 0, f.lane_mask(n, depth - done.get()))
        found = [s.get() for s in sums]
        while len(found) > 1:
            found = [x + y for x, y in zip(found[::2], found[1::2], strict=True)]
        f.store(fold(f, found[0], n, how.pairs), f.gep(item, w["out"], i * w["n"] + j))
    return m


def apart_text(dtype: Any) -> Module:
    """Chunks are groups of matrices. A block of rows meets a vector of columns, which are gathered where they do not lie side by side."""
    item, n = ITEMS[dtype], per_line(dtype)
    wide = vector(item, n)
    m = Module(f"apart {dtype}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, _ = f.params
    w = Words(f, "out a b", "p m n k ap am ak bp bk bn group")
    steps = f.splat(f.convert("trunc", w["bn"], "i32"), n) * V(
        f, vector("i32", n), f"<{', '.join(f'i32 {i}' for i in range(n))}>"
    )

    def block(count: int, i: V, a: V, b: V, to: V, j: V, side: bool) -> None:
        """So many rows from the i-th one on, the last one again where there are fewer, by the columns from the j-th one on."""
        mask = f.lane_mask(n, w["n"] - j)
        here = [f.min(i + r, w["m"] - 1) for r in range(count)]
        rows = [f.gep(item, a, r * w["am"]) for r in here]
        column = f.gep(item, b, j * w["bn"])
        totals = [f.var(wide, 0) for _ in rows]
        with f.loop(0, w["k"]) as k:
            at = f.gep(item, column, k * w["bk"])
            y = f.mload(wide, at, mask) if side else gather(f, item, at, steps, mask, n)
            for total, row in zip(totals, rows, strict=True):
                x = f.splat(f.load(item, f.gep(item, row, k * w["ak"])), n)
                total.set(total.get() + x * y)
        for total, r in zip(totals, here, strict=True):
            f.put(total.get(), f.gep(item, to, r * w["n"] + j), mask)

    def columns(count: int, i: V, a: V, b: V, to: V) -> None:
        with f.loop(0, w["n"], n) as j, f.either((w["bn"] == 1) | (w["n"] == 1)) as otherwise:
            block(count, i, a, b, to, j, True)
            otherwise()
            block(count, i, a, b, to, j, False)

    with f.loop(begin * w["group"], f.min(end * w["group"], w["p"])) as p:
        a, b = f.gep(item, w["a"], p * w["ap"]), f.gep(item, w["b"], p * w["bp"])
        to = f.gep(item, w["out"], p * w["m"] * w["n"])
        with f.loop(0, w["m"], BLOCKS[0]) as i, f.either(w["m"] - i > BLOCKS[1]) as otherwise:
            columns(BLOCKS[0], i, a, b, to)
            otherwise()
            with f.either(w["m"] - i > 1) as less:
                columns(BLOCKS[1], i, a, b, to)
                less()
                columns(1, i, a, b, to)
    return m


@cache
def kernel(name: str, dtype: Any, how: Lanes | None = None) -> Code:
    write = {"total": total_text, "lanes": lanes_text, "apart": apart_text}[name]
    parts = [("kernel", name), ("dtype", dtype.name), ("how", str(how))]
    args = (dtype,) if how is None else (dtype, how)
    return engine().load(lambda: str(write(*args)), ["k"], parts=parts, level=LIGHT)  # type: ignore[operator]


def total_plan(x: Array) -> Plan:
    """The sum of a dense array."""
    code = kernel("total", x.dtype)
    work = Launch(code["k"], ((OUT, 0), (ARG, 0), (CONST, x.size)))
    return Plan((Result(x.dtype, ()),), (work,), keep=(code,))


def dot_plan(x: Array, y: Array) -> Plan:
    """The sum of the products of two dense vectors."""
    return folded(x[None], y[:, None], (), Lanes(4, x.itemsize == 4))


def halves_plan(a: Array, b: Array) -> Plan:
    """`a @ b` of matrices whose sums run along dense memory."""
    return folded(a, b, (a.shape[0], b.shape[1]), Lanes(1, False))


def pairs_plan(a: Array, b: Array) -> Plan:
    """As `halves_plan`, in the other order."""
    return folded(a, b, (a.shape[0], b.shape[1]), Lanes(1, True))


def folded(a: Array, b: Array, shape: tuple[int, ...], how: Lanes) -> Plan:
    code, item = kernel("lanes", a.dtype, how), a.itemsize
    numbers = (a.shape[0], b.shape[1], a.shape[1], a.strides[0] // item, b.strides[1] // item)
    work = Launch(code["k"], ((OUT, 0), (ARG, 0), (ARG, 1), *((CONST, v) for v in numbers)))
    return Plan((Result(a.dtype, shape),), (work,), keep=(code,))


def apart_plan(a: Array, b: Array) -> Plan:
    """`a @ b` of two batches of matrices."""
    code, item = kernel("apart", a.dtype), a.itemsize
    (p, m, k), n = a.shape, b.shape[2]
    group = max(1, CHUNK // (m * n * k))
    strides = (s // item for s in (*a.strides, *b.strides))
    slots = ((OUT, 0), (ARG, 0), (ARG, 1), *((CONST, v) for v in (p, m, n, k, *strides, group)))
    work = Launch(code["k"], slots, -(-p // group))
    return Plan((Result(a.dtype, (p, m, n)),), (work,), release=p * m * n * k > 4 * CHUNK, keep=(code,))
