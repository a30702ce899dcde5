"""Places in rising rows: for each value the first element that is not below it, or the first above it.

    out[r, i] = how many elements of rows[r] are not (>= values[r, i])        left
                how many elements of rows[r] are not (>  values[r, i])        right

A vector of values at a time halves its span as often as the length of a row says, whatever the values are: every step is one
gathered read and one comparison. What is no number lies behind everything, as in PyTorch.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.conv_slab import gather
from flambeau._backends.cpu.conv_tile import lanes as lanes_of
from flambeau._backends.cpu.emit import Module, V, Words, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned

Array = np.ndarray[Any, Any]
LARGE = 1 << 10  # values from which it is a kernel
BLOCK = 1 << 12  # values of a chunk
COPIES = 4  # vectors searched side by side
ITEMS = {np.dtype("f"): "float", np.dtype("d"): "double", np.dtype("i4"): "i32", np.dtype("i8"): "i64"}


def text(target: Target, dtype: Any, out: str, right: bool) -> Module:
    """IR of `k`; a chunk is a block of one row's values."""
    item = ITEMS[dtype]
    n = lanes_of(target, item)
    wide, whole = vector(item, n), vector("i32", n)
    m = Module(f"search {dtype} {out} {right}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, _ = f.params
    w = Words(f, "out rows values", "length step count block blocks")
    code = ("fcmp ule" if right else "fcmp ult") if dtype.kind == "f" else "icmp sle" if right else "icmp slt"
    everywhere = f.splat(f.value(1, "i1"), n)

    def vectors(row: V, values: V, to: V, at: V, copies: int, mask: V | None) -> None:
        """So many vectors of values, whose reads need not wait for one another."""
        sought = [f.get(wide, f.gep(item, values, at + c * n), mask) for c in range(copies)]

        def passed(place: V, c: int) -> V:
            got = gather(f, item, row, place, everywhere if mask is None else mask, n)
            return f.emit(vector("i1", n), f"{code} {got}, {sought[c].name}")

        base, span = [f.var(whole, 0) for _ in range(copies)], f.var("i64", w["length"])
        with f.forever() as done:
            left = span.get()
            f.branch(left > 1, inner := f.fresh("halve"), done)
            f.label_after(inner)
            half = left >> 1
            step = f.splat(f.convert("trunc", half, "i32"), n)
            for c in range(copies):
                found = base[c].get()
                base[c].set(f.select(passed(found + step - 1, c), found + step, found))
            span.set(left - half)
        for c in range(copies):
            found = base[c].get()
            found = found + f.convert("zext", passed(found, c), whole)
            found = found if out == "i32" else f.convert("sext", found, vector(out, n))
            f.put(found, f.gep(out, to, at + c * n), mask)

    with f.loop(begin, end) as chunk:
        r, first = chunk // w["blocks"], chunk % w["blocks"] * w["block"]
        last = f.min(first + w["block"], w["count"])
        row = f.gep(item, w["rows"], r * w["step"])
        values, to = f.gep(item, w["values"], r * w["count"]), f.gep(out, w["out"], r * w["count"])
        done = first
        for copies in (COPIES, 1):
            full = done + (last - done) // (copies * n) * (copies * n)
            with f.loop(done, full, copies * n) as at:
                vectors(row, values, to, at, copies, None)
            done = full
        with f.when(done < last):
            vectors(row, values, to, done, 1, f.lane_mask(n, last - done))
    return m


@cache
def kernel(dtype: Any, out: str, right: bool) -> Code:
    native = engine()
    parts = [("kernel", "search"), ("dtype", dtype.name), ("out", out), ("right", right)]
    return native.load(lambda: str(text(native.target, dtype, out, right)), ["k"], parts=parts)


def plan_of(rows: Array, values: Array, out: Any, right: bool) -> Plan:
    code = kernel(values.dtype, f"i{8 * out.itemsize}", right)
    length = rows.shape[-1]
    count = values.shape[-1] if rows.ndim > 1 else values.size
    blocks = -(-count // BLOCK)
    numbers = (length, length if rows.ndim > 1 else 0, count, BLOCK, blocks)
    slots = ((OUT, 0), (ARG, 0), (ARG, 1), *((CONST, v) for v in numbers))
    work = Launch(code["k"], slots, values.size // count * blocks)
    return Plan((Result(out, values.shape),), (work,), release=values.size > BLOCK, keep=(code,))


def places(rows: Array, values: Array, *, right: bool, out: Any) -> Array | None:
    """Where values (..., count) stand in rows (..., length), or all of them in one row; None where there is no kernel."""
    length = rows.shape[-1]
    if values.size < LARGE or not 0 < length < 1 << 30 or rows.dtype != values.dtype or values.dtype not in ITEMS:
        return None
    rows, values = np.ascontiguousarray(rows), np.ascontiguousarray(values)
    found: Array | None = planned(("search", right, out), (rows, values), lambda: plan_of(rows, values, out, right))
    return found
