"""Bags of a table's rows: their sums, weighed or not, or their maxima and where those are. Bags are ranges of indices.

A chunk is some bags. A bag is walked once for each block of columns, whose sums stay in registers; rows to come are asked for ahead.
The order of additions is that of the indices. Half precision is summed in float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.conv_tile import lanes as lanes_of
from flambeau._backends.cpu.emit import Module, V, Words, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned
from flambeau._backends.cpu.registers import narrow, widen

Array = np.ndarray[Any, Any]
DTYPES = frozenset(("float32", "float64", "float16", "bfloat16"))
GRAIN = 1 << 14  # elements read in a chunk
BLOCK = 4  # vectors of columns at a time
AHEAD = 8  # rows


def text(target: Target, dtype: str, most: bool, weighed: bool) -> Module:
    """IR of the kernel, `k`: sums, or (`most`) the first of the largest elements and their rows; no row is -1."""
    memory, acc = TYPES[dtype]
    n = lanes_of(target, acc)
    m = Module(f"bags {dtype} {most} {weighed}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, _ = f.params
    more = " picked" * most + " scale" * weighed
    w = Words(f, f"out table index bounds{more}", "columns bags padding last block")

    def walk(bag: V, first: V, column: V, count: int, mask: V | None) -> None:
        """`count` vectors of columns of one bag, from a column on."""
        stop = f.load("i64", w["bounds"], bag + 1)
        sums = [f.var(vector(acc, n), 0.0) for _ in range(count)]
        rows = [f.var(vector("i64", n), 0) for _ in range(count if most else 0)]
        fresh = f.var("i1", 1)
        with f.loop(first, stop) as i:
            row = f.load("i64", w["index"], i)
            ahead = f.load("i64", w["index"], f.min(i + AHEAD, w["last"]))
            f.prefetch(f.gep(memory, w["table"], ahead * w["columns"] + column))
            with f.when(row != w["padding"]):
                src = f.gep(memory, w["table"], row * w["columns"] + column)
                factor = f.splat(f.load(acc, w["scale"], i), n) if weighed else None
                for j in range(count):
                    at, wide = f.gep(memory, src, j * n), vector(memory, n)
                    v = widen(f, f.get(wide, at, mask), acc)
                    if most:
                        take = (v > sums[j].get()) | f.splat(fresh.get(), n)
                        sums[j].set(f.select(take, v, sums[j].get()))
                        rows[j].set(f.select(take, f.splat(row, n), rows[j].get()))
                    else:
                        old = sums[j].get()
                        sums[j].set(v + old if factor is None else f.fma(v, factor, old))
                fresh.set(0)
        for j in range(count):
            place = bag * w["columns"] + column + j * n
            f.put(narrow(f, sums[j].get(), memory), f.gep(memory, w["out"], place), mask)
            if most:
                f.put(rows[j].get(), f.gep("i64", w["picked"], place), mask)

    with f.loop(begin, end) as chunk, f.loop(chunk * w["block"], f.min((chunk + 1) * w["block"], w["bags"])) as bag:
        first = f.load("i64", w["bounds"], bag)
        whole = w["columns"] - w["columns"] % (BLOCK * n)
        with f.loop(0, whole, BLOCK * n) as column:
            walk(bag, first, column, BLOCK, None)
        with f.loop(whole, w["columns"], n) as column:
            walk(bag, first, column, 1, f.lane_mask(n, w["columns"] - column))
    return m


@cache
def kernel(dtype: str, most: bool, weighed: bool) -> Code:
    native = engine()
    parts = [("kernel", "bags"), ("dtype", dtype), ("most", most), ("weighed", weighed)]
    return native.load(lambda: str(text(native.target, dtype, most, weighed)), ["k"], parts=parts)


def plan_of(xs: tuple[Array, ...], most: bool, padding: int) -> Plan:
    """The plan for a dense table, indices, bounds and what the rows are multiplied by, if anything."""
    (table, index, bounds), weighed = xs[:3], len(xs) > 3
    columns, bags = table.shape[1], len(bounds) - 1
    code = kernel(table.dtype.name, most, weighed)
    block = max(1, GRAIN * bags // max(columns * len(index), 1))
    results = [Result(table.dtype, (bags, columns))] + [Result(np.dtype(np.int64), (bags, columns))] * most
    more = [(OUT, 1)] * most + [(ARG, 3)] * weighed
    numbers = (columns, bags, padding, len(index) - 1, block)
    slots = ((OUT, 0), *((ARG, i) for i in range(3)), *more, *((CONST, v) for v in numbers))
    work = Launch(code["k"], slots, -(-bags // block))
    return Plan(tuple(results), (work,), release=columns * len(index) > GRAIN, keep=(code,))


def bags(table: Array, index: Array, bounds: Array, scale: Array | None, most: bool, padding: int) -> Any:
    """Sums of bags, or (`most`) maxima and their rows; None where the kernel has no form for it. Indices are within the table, and
    bounds, one more than there are bags, within the indices."""
    if table.dtype.name not in DTYPES or not table.size or not index.size or len(bounds) < 2:
        return None
    dense = (np.ascontiguousarray(table), *(np.ascontiguousarray(x, np.int64) for x in (index, bounds)))
    if scale is not None:
        dense = (*dense, np.ascontiguousarray(scale, np.float64 if table.dtype.itemsize == 8 else np.float32))
    return planned(("bags", most, padding, scale is None), dense, lambda: plan_of(dense, most, padding))
