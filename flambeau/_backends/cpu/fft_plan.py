"""Which kernel transforms an array along a dim, and its launch: rows one at a time (fft_row.py), complex columns where they lie
(fft_column.py), or many transforms laid side by side (fft.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flambeau._backends.cpu import fft_column, fft_row
from flambeau._backends.cpu.emit import WIDTH
from flambeau._backends.cpu.engine import engine
from flambeau._backends.cpu.fft import BEFORE, COLUMNS, LAST, PAGE, ROWS, factors, half_table, kernel, tables
from flambeau._backends.cpu.gather import Array
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, bits, planned

REAL = {"float32": "float", "complex64": "float", "float64": "double", "complex128": "double"}
MOST = 1 << 14  # points of complex transforms side by side: as many vectors as a second-level cache holds
LONGEST = 1 << 18  # points of a row: the passes' two buffers are in a cache of some level
SIDE = 4  # transforms side by side from which lanes are worth filling


def distance(n: int) -> int:
    """Far from 0 among n places in a ring, and without a common divisor: its multiples come by all places."""
    d = max(1, round(n * 0.382))
    while math.gcd(d, n) != 1:
        d += 1
    return d


@dataclass(frozen=True)
class Side:
    """Where a chunk's numbers are: ROWS or COLUMNS, the distance of outer parts and of rows or points, in reals."""

    mode: int
    outer: int
    stride: int
    reals: bool  # numbers are real


def side_by_side(
    kind: str,
    real: str,
    n: int,
    outer: int,
    inner: int,
    src: Side,
    to: Side,
    inverse: bool,
    scale: float,
    at: int = OUT,
) -> Launch:
    """One launch: `outer` times `inner` transforms of n points. Kinds: c2c, r2c, r2full (all n points), c2r.

    The result is a new array, or the argument itself where `at` is ARG.
    """
    lanes = engine().target.vector_bytes // WIDTH[real]
    h = n // 2
    even = n % 2 == 0
    half = kind != "c2c" and even
    points = h if half else n
    found, twiddles = tables(points, real)
    w = half_table(h, real) if half else twiddles
    radices = factors(points)
    assert radices is not None
    split, join, mirror, unfold = 0, 0, 0, 0
    in_step = out_step = 1
    in_flip = out_flip = int(inverse)
    columns_in = columns_out = 2 * n
    if kind in ("r2c", "r2full"):
        columns_in, in_step, in_flip, out_flip = n, 1 if even else 2, 0, 0
        split = h if even else 0
        mirror = n if kind == "r2full" else 0
        columns_out = 2 * n if mirror else 2 * (h + 1)
    elif kind == "c2r":
        columns_in, columns_out, in_flip = 2 * (h + 1), n, 0
        join, unfold = (h, 0) if even else (0, n)
        out_step, out_flip = (1, 1) if even else (2, 0)
    first = src.mode == ROWS and in_step == 1 and not (join or unfold) and radices[0] == 8
    first = first and len(radices) > 1 and points // 8 % (lanes // 2) == 0
    two = radices[-2] if len(radices) > 2 and radices[-1] == LAST and radices[-2] in BEFORE else 0
    last = split > 0 and len(radices) > 1 and radices[-1] == 8
    blocks = -(-inner // lanes)
    capacity = (n if mirror else points) + 1
    numbers: list[tuple[int, ...]] = [
        *((CONST, x) for x in (points, len(radices) - (two > 0), inner, blocks, outer, distance(outer * blocks))),
        *((CONST, x) for x in (src.mode, src.outer, src.stride, columns_in, in_step, in_flip, int(src.reals))),
        *((CONST, x) for x in (to.mode, to.outer, to.stride, columns_out, out_step, out_flip, int(to.reals))),
        *((CONST, x) for x in (w.ctypes.data if two and last else 0, two)),
        *((CONST, x) for x in (int(first), int(last and not two), join, unfold, 0 if last else split, mirror)),
        (CONST, bits(scale)),
    ]
    pointers = [(at, 0), (ARG, 0), *((CONST, t.ctypes.data) for t in (found, twiddles, w))]
    scratch = (capacity + points + 1) * 2 * lanes * WIDTH[real] + 2 * PAGE
    return Launch(kernel(real)["k"], (*pointers, *numbers), outer * blocks, scratch)


def covers(x: Array, kind: str, dim: int, n: int) -> bool:
    """Whether a kernel transforms x along this dim, of n points."""
    points = n // 2 if kind != "c2c" and n % 2 == 0 else n
    after = math.prod(x.shape[dim + 1 :])
    side = after if after > 1 else math.prod(x.shape[:dim])
    if after == 1 and points <= LONGEST and fft_row.parts(kind, REAL[x.dtype.name], n):
        return True
    return 2 <= points <= MOST and factors(points) is not None and side >= SIDE


def one(
    x: Array, kind: str, dim: int, n: int, inverse: bool, scale: float, own: bool = False, rows: bool = False
) -> Array:
    """The transform of a contiguous array along one dim, of n points (of the result, for c2r).

    `own`: the array belongs to the caller, and complex numbers are transformed in place. `rows`: the dim becomes the last one.
    """
    own = own and kind == "c2c"
    real = REAL[x.dtype.name]
    before, after = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    count = {"c2c": n, "r2c": n // 2 + 1, "r2full": n, "c2r": n}[kind]
    shape = (*x.shape[:dim], *x.shape[dim + 1 :], count) if rows else (*x.shape[:dim], count, *x.shape[dim + 1 :])
    kinds = {np.dtype("f4"): "c8", np.dtype("f8"): "c16", np.dtype("c8"): "f4", np.dtype("c16"): "f8"}
    dtype = x.dtype if kind == "c2c" else np.dtype(kinds[x.dtype])

    results, written, at = ((), (0,), ARG) if own else ((Result(dtype, shape),), (), OUT)

    def make() -> Plan:
        each_in, each_out = (1 if d.kind == "f" else 2 for d in (x.dtype, dtype))
        width_in, width_out = x.shape[dim] * each_in, count * each_out
        if after == 1:
            src, to = Side(ROWS, 0, width_in, each_in == 1), Side(ROWS, 0, width_out, each_out == 1)
            outer, inner = 1, before
            if fft_row.parts(kind, real, n):
                work, code = fft_row.by_row(kind, real, n, before, (width_in, width_out), inverse, scale, at)
                return Plan(results, (work,), release=True, written=written, keep=(code,))
        else:
            src = Side(COLUMNS, width_in * after, each_in * after, each_in == 1)
            to = Side(
                ROWS if rows else COLUMNS, width_out * after, width_out if rows else each_out * after, each_out == 1
            )
            outer, inner = before, after
            if kind == "c2c" and not rows:
                work, code = fft_column.by_column(real, n, outer, inner, inverse, scale, at)
                return Plan(results, (work,), release=True, written=written, keep=(code,))
        work = side_by_side(kind, real, n, outer, inner, src, to, inverse, scale, at)
        return Plan(results, (work,), release=True, written=written, keep=(kernel(real),))

    found: Array = planned(("fft", kind, dim, n, inverse, scale, own, rows), (x,), make)
    return x if own else found
