"""Padding with the array's own cells, by a kernel: each row of the result is a row of the array between cells that show others of it.

    out[p, a, b, j] = x[p, A[a], B[b], C[j]]

with tables of places, and C[j] = j - before in the middle of a row, which is copied. Elements are moved as integers of their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.emit import Module, Words
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import ITEMS, copier
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned

Array = np.ndarray[Any, Any]
LARGE, GRAIN = 1 << 15, 1 << 17  # bytes of a result from which the kernel makes it, and of a chunk


def text(target: Target, item: str) -> Module:
    """IR of `k`, whose chunks are blocks of rows."""
    m = Module(f"edges {item}")
    copier(m, item, target.vector_bytes * 8 // int(item[1:]))
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = Words(f, "out x places", "na nb before width whole step rows block")
    na, nb, before, width, whole = (w[n] for n in ("na", "nb", "before", "width", "whole"))
    table_b = f.gep("i64", w["places"], na)
    table_c = f.gep("i64", table_b, nb)
    with f.loop(f.params[1] * w["block"], f.min(f.params[2] * w["block"], w["rows"])) as row:
        b, rest = row % nb, row // nb
        a, p = rest % na, rest // na
        place = p * w["step"] + f.load("i64", w["places"], a) + f.load("i64", table_b, b)
        source, to = f.gep(item, w["x"], place), f.gep(item, w["out"], row * whole)
        f.call("void", "copy", f.gep(item, to, before), source, width)
        for first, last in ((0, before), (before + width, whole)):
            with f.loop(first, last) as j:
                f.store(f.load(item, source, f.load("i64", table_c, j)), to, j)
    return m


@cache
def kernel(item: str) -> Code:
    native = engine()
    return native.load(lambda: str(text(native.target, item)), ["k"], parts=[("kernel", "edges"), ("item", item)])


def shown(n: int, before: int, after: int, mode: str) -> Array:
    """Which cell each cell of a padded dim shows."""
    at = np.arange(-before, n + after)
    if mode == "replicate":
        return at.clip(0, n - 1)
    if mode == "circular":
        return at % n
    period = 2 * (n - 1) or 1
    return np.minimum(at % period, period - at % period)


@lru_cache(256)
def tables(shape: tuple[int, ...], widths: tuple[tuple[int, int], ...], mode: str) -> Array:
    """The places that the cells of three dims show, in elements, one table after the other."""
    steps = (shape[1] * shape[2], shape[2], 1)
    return np.concatenate([shown(n, *w, mode) * s for n, w, s in zip(shape, widths, steps, strict=True)])


def edges(x: Array, widths: Sequence[tuple[int, int]], mode: str) -> Array | None:
    """An array in C order with cells before and after its dims that show its own; None where the kernel has no form for it."""
    item = ITEMS.get(x.itemsize)
    padded = [d for d, w in enumerate(widths) if w != (0, 0)]
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
    if item is None or not padded or prod(shape) * x.itemsize < LARGE or not x.size:
        return None
    lead = max(min(padded[0], x.ndim - 2), 0)  # a row has the last dim, or all dims behind the padded ones
    inner = prod(x.shape[padded[-1] + 1 :])
    dims, ways = list(x.shape[lead:]), [tuple(w) for w in widths[lead:]]
    if inner > 1:
        last = padded[-1] + 1 - lead
        dims, ways = [*dims[:last], inner], [*ways[:last], (0, 0)]
    if len(dims) > 3:
        return None
    dims, ways = [1] * (3 - len(dims)) + dims, [(0, 0)] * (3 - len(ways)) + ways
    (na, nb, whole), (before, _) = (n + a + b for n, (a, b) in zip(dims, ways, strict=True)), ways[2]
    rows = prod(x.shape[:lead]) * na * nb
    block = max(1, GRAIN // (whole * x.itemsize))
    places = tables(tuple(dims), tuple(ways), mode)

    def make() -> Plan:
        code = kernel(item)
        numbers = (na, nb, before, dims[2], whole, prod(dims), rows, block)
        slots = ((OUT, 0), (ARG, 0), (ARG, 1), *((CONST, v) for v in numbers))
        work = Launch(code["k"], slots, -(-rows // block))
        return Plan((Result(x.dtype, shape),), (work,), release=True, keep=(code,))

    return planned(("edges", tuple(widths)), (np.ascontiguousarray(x), places), make)
