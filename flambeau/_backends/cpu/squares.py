"""Transposed reads: a buffer that is dense along another axis than the vector's is read by squares, turned in registers.

Functions of the `Writer` of `llvm.py`, for kernels whose schedule names a `tile` axis. They decide nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambeau._backends.cpu import words
from flambeau._backends.cpu.lanes import Value, spell
from flambeau._kernel.index import Index
from flambeau._kernel.ir import Scalar, walk
from flambeau._kernel.schedule import TILE

if TYPE_CHECKING:
    from flambeau._backends.cpu.llvm import Writer

SIDE = 16  # elements of a side of a square


def tiles(w: Writer, top: Value, start: Value, width: Value) -> None:
    """TILE steps of the tile axis by a block of columns, in squares: those of TILE columns before the next ones."""
    b, k = w.b, w.kernel
    assert k.tile
    bottom = b.smin(top + TILE, w.extent(next(a.extent for a in k.outer if a.name == k.tile)))
    stop = b.smin(start + w.columns_per_chunk, width)
    one = b.number(1, "i64")
    with w.loop(".band", start, stop, TILE) as band:
        right = b.smin(band + TILE, stop)
        with w.loop(".row", top, bottom, SIDE) as t, w.loop(".column", band, right, SIDE) as v:
            whole = b.convert("zext", (t + SIDE <= bottom) & (v + SIDE <= right), "i64")
            with w.loop(".whole", b.number(0, "i64"), whole):
                square(w, t, v, None)
            with w.loop(".part", whole, one):
                square(w, t, v, (bottom, right))


def square(w: Writer, t: Value, v: Value, ends: tuple[Value, Value] | None) -> None:
    """One square: transposed loads are brought into rows first, then the stages run row by row."""
    b, k = w.b, w.kernel
    lanes = b.iota(SIDE, "i32")
    loads = [e for e in walk(*(s.value for st in k.stages for s in st.body)) if e.op == "load" and crosses(w, e.arg[1])]
    for e in loads:
        transpose(w, e, t, v, ends)
    stop = t + SIDE if ends is None else b.smin(t + SIDE, ends[0])
    if ends is not None:
        w.mask = lanes < b.convert("trunc", ends[1] - v, "i32")
    with w.block(**{k.vector: v}), w.loop(k.tile, t, stop):
        w.first_row = t
        w.point(0)
    w.mask = None
    w.squares.clear()


def crosses(w: Writer, i: Index) -> bool:
    return i.coefficient(w.kernel.tile) == 1 and i.coefficient(w.kernel.vector) not in (0, 1, -1)


def transpose(w: Writer, e: Scalar, t: Value, v: Value, ends: tuple[Value, Value] | None) -> None:
    """Reads SIDE columns of a square, dense along the tile axis, and keeps its rows."""
    b, (name, i) = w.b, e.arg
    dtype = w.roles[name].dtype
    kind, size = words.MEMORY[dtype], words.BYTES[dtype]
    type = words.MEMORY_TYPES.get(kind, kind)
    vec = spell(type, SIDE)
    rows = []
    for n in range(SIDE):
        column = v + n if ends is None else b.smin(v + n, ends[1] - 1)
        with w.block(**{w.kernel.vector: column, w.kernel.tile: t}):
            p = w.gep(kind, w.pointers[name], w.index(i), i)
            if ends is None:
                rows.append(b.emit(type, SIDE, f"load {vec}, {p}, align {size}"))
            else:
                mask = b.iota(SIDE, "i32") < b.convert("trunc", ends[0] - t, "i32")
                zero = f"{vec} zeroinitializer"
                rows.append(b.call(type, SIDE, f"llvm.masked.load.v{SIDE}{type}.p0", p, f"i32 {size}", mask, zero))
    step = 1
    while step < SIDE:  # exchange the off-diagonal blocks of 1, 2, 4... lanes
        for n in range(SIDE):
            if n & step:
                continue
            x, y = rows[n], rows[n + step]
            rows[n] = b.shuffle(x, [SIDE + j - step if j & step else j for j in range(SIDE)], y)
            rows[n + step] = b.shuffle(x, [SIDE + j if j & step else j + step for j in range(SIDE)], y)
        step *= 2
    slot = b.alloca(f"[{SIDE} x {vec}]")
    for n, row in enumerate(rows):
        p = b.emit("ptr", 1, f"getelementptr {vec}, ptr {slot}, i64 {n}")
        b.line(f"store {row}, {p}")
    w.squares[e] = slot


def row(w: Writer, e: Scalar) -> Value:
    b, dtype = w.b, w.roles[e.arg[0]].dtype
    type = words.MEMORY_TYPES.get(words.MEMORY[dtype], words.MEMORY[dtype])
    p = b.emit(
        "ptr",
        1,
        f"getelementptr {spell(type, SIDE)}, ptr {w.squares[e]}, i64 {(w.bound[w.kernel.tile] - w.first_row).name}",
    )
    return words.from_memory(b, b.emit(type, SIDE, f"load {spell(type, SIDE)}, {p}"), dtype)
