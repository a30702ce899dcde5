"""One dim of an array by a matrix whose rows are bands: interpolation on a new grid, and what its gradients make of it.

    out[p, i, j] = sum over t < count[i] of weight[i, t] * x[p, start[i] + t, j]

A chunk is some rows (p, i). Where j has neighbours, vectors run along j; else along i, and elements are gathered, an
element that no weight is for being left alone. Half precision is summed in float32. Bytes are summed in integers, by weights that
are integers, too: each sum is divided by 2**shift, rounded to nearest, and held between 0 and 255.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.conv_slab import gather
from flambeau._backends.cpu.conv_tile import lanes as lanes_of
from flambeau._backends.cpu.emit import Module, V, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned
from flambeau._backends.cpu.registers import narrow, widen

Array = np.ndarray[Any, Any]
Bands = tuple[tuple[int, tuple[float, ...]], ...]  # of each output: where its band begins, and its weights
SLOTS = ("out", "x", "starts", "counts", "weights", "lines", "n", "m", "inner", "taps", "rows", "shift")
GRAIN = 1 << 15  # products in a chunk
ITEMS = {"float": "i32", "double": "i64", "i32": "i32"}
BYTES = ("i8", "i32")  # in memory, and in sums


def text(target: Target, dtype: str, along: bool) -> Module:
    """IR of the kernel, `k`; chunks are rows of `inner` elements (`along`), or of the whole dim."""
    memory, acc = BYTES if dtype == "uint8" else TYPES[dtype]
    n = lanes_of(target, acc)
    m = Module(f"bands {dtype} {along}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    w = {s: f.load("ptr" if i < 5 else "i64", f.gep("i64", args, i)) for i, s in enumerate(SLOTS)}
    wide, item = vector(acc, n), "i64" if along else ITEMS[acc]

    def wider(v: V) -> V:
        return f.convert("zext", v, wide) if memory == "i8" else widen(f, v, acc)

    def result(total: V) -> V:
        if memory != "i8":
            return narrow(f, total, memory)
        shift = f.splat(f.convert("trunc", w["shift"], "i32"), n)
        rounded = f.emit(wide, f"ashr {total + (f.splat(f.value(1, 'i32'), n) << (shift - 1))}, {shift.name}")
        return f.convert("trunc", f.min(f.max(rounded, 0), 255), vector("i8", n))

    with (
        f.loop(begin, end) as chunk,
        f.loop(chunk * w["rows"], f.min((chunk + 1) * w["rows"], w["lines"])) as line,
    ):
        total = f.var(wide)
        if along:
            i, to = line % w["m"], f.gep(memory, w["out"], line * w["inner"])
            src = f.gep(memory, w["x"], (line // w["m"] * w["n"] + f.load(item, w["starts"], i)) * w["inner"])
            weights, count = f.gep(acc, w["weights"], i * w["taps"]), f.load(item, w["counts"], i)

            def sums(j: V, mask: V | None) -> V:
                """The vector of sums at j."""
                total.set(f.splat(f.select(count == 0, 0.0, -0.0, acc), n))  # a lone -0.0 stays what it is
                with f.loop(0, count) as t:
                    p = f.gep(memory, src, t * w["inner"] + j)
                    v = f.get(vector(memory, n), p, mask)
                    total.set(f.fma(wider(v), f.splat(f.load(acc, weights, t), n), total.get()))
                return result(total.get())

            whole = w["inner"] - w["inner"] % n
            with f.loop(0, whole, n) as j:
                f.store(sums(j, None), f.gep(memory, to, j))
            with f.when(whole < w["inner"]):
                mask = f.lane_mask(n, w["inner"] - whole)
                f.mstore(sums(whole, mask), f.gep(memory, to, whole), mask)
        else:
            src, to = f.gep(memory, w["x"], line * w["n"]), f.gep(memory, w["out"], line * w["m"])
            kind = memory
            if memory == "i8":  # bytes are not gathered: the line as integers
                kind = acc
                full = w["n"] - w["n"] % n
                with f.loop(0, full, n) as j:
                    f.store(wider(f.load(vector(memory, n), src, j)), f.gep(acc, scratch, j))
                with f.when(full < w["n"]):
                    mask = f.lane_mask(n, w["n"] - full)
                    f.mstore(
                        wider(f.mload(vector(memory, n), f.gep(memory, src, full), mask)),
                        f.gep(acc, scratch, full),
                        mask,
                    )
                src = scratch
            with f.loop(0, w["m"], n) as i:
                start, count = (f.load(vector(item, n), f.gep(item, w[s], i)) for s in ("starts", "counts"))
                total.set(f.select(count == 0, f.value(0.0, wide), f.value(-0.0, wide)))
                with f.loop(0, w["taps"]) as t:
                    here = f.splat(f.convert("trunc", t, item) if item != "i64" else t, n)
                    got = gather(f, kind, src, start + here, count > here, n)
                    weight = f.load(wide, f.gep(acc, w["weights"], t * w["m"] + i))
                    total.set(f.fma(got if kind == acc else widen(f, got, acc), weight, total.get()))
                left = w["m"] - i
                with f.either(left >= n) as otherwise:
                    f.store(result(total.get()), f.gep(memory, to, i))
                    otherwise()
                    f.mstore(result(total.get()), f.gep(memory, to, i), f.lane_mask(n, left))
    return m


@cache
def kernel(dtype: str, along: bool) -> Code:
    native = engine()
    parts = [("kernel", "bands"), ("dtype", dtype), ("along", along)]
    return native.load(lambda: str(text(native.target, dtype, along)), ["k"], parts=parts)


@lru_cache(maxsize=256)
def tables(bands: Bands, acc: str, along: bool, n: int) -> tuple[int, tuple[Array, Array, Array]]:
    """(taps, (starts, counts, weights)): weights of one output side by side (`along`), or those of one tap; padded by n."""
    m, taps = len(bands), max((len(ws) for _, ws in bands), default=0)
    kind = np.int32 if acc != "double" and not along else np.int64
    starts, counts = np.zeros(m + n, kind), np.zeros(m + n, kind)
    weights = np.zeros((m, taps), {"float": np.float32, "double": np.float64, "i32": np.int32}[acc])
    for i, (start, ws) in enumerate(bands):
        starts[i], counts[i], weights[i, : len(ws)] = start, len(ws), ws
    flat = weights.reshape(-1) if along else weights.T.reshape(-1)
    return taps, (starts, counts, np.concatenate([flat, np.zeros(n, flat.dtype)]))


def plan_of(x: Array, dim: int, bands: Bands, shift: int) -> Plan | None:
    """The plan for a dense array."""
    dtype, m = x.dtype.name, len(bands)
    lead, n, inner = prod(x.shape[:dim]), x.shape[dim], prod(x.shape[dim + 1 :])
    if n >= 1 << 30:
        return None
    along, acc = inner > 1, BYTES[1] if dtype == "uint8" else TYPES[dtype][1]
    taps, arrays = tables(bands, acc, along, lanes_of(engine().target, acc))
    lines = lead * (m if along else 1)
    rows = max(1, GRAIN // max((inner if along else m) * taps, 1))
    code = kernel(dtype, along)
    numbers = (*(a.ctypes.data for a in arrays), lines, n, m, inner, taps, rows, shift)
    scratch = 0 if along or dtype != "uint8" else 4 * n
    work = Launch(code["k"], ((OUT, 0), (ARG, 0), *((CONST, v) for v in numbers)), -(-lines // rows), scratch)
    result = Result(x.dtype, (*x.shape[:dim], m, *x.shape[dim + 1 :]))
    return Plan((result,), (work,), release=lead * m * inner * taps > GRAIN, keep=(code, arrays))


def banded(x: Array, dim: int, bands: Bands, shift: int = 0, small: bool = False) -> Array | None:
    """A dense array times the bands along a dim, or None where the kernel has no form for it."""
    found: Array | None = planned(("bands", dim, bands, shift), (x,), lambda: plan_of(x, dim, bands, shift), small)
    return found
