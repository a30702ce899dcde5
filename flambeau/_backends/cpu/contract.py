"""What products and convolutions have in common: dtypes, the shape of a tile, epilogues, and a micro-kernel on tables.

    out[p, q, m, n] = epilogue(sum over k of a[p, q, m, k] * b[p, q, k, n])

`product` computes this for every stride, `amx` for bfloat16 where there are tile registers, `matmul` plans both. Half
precision is widened while packing and summed in float32; where the CPU multiplies pairs of bfloat16 (AVX512-BF16),
panels hold pairs instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flambeau._backends.cpu.emit import APART, Function, Module, V, floating, size, vector
from flambeau._backends.cpu.engine import Target
from flambeau._backends.cpu.registers import narrow, widen

# memory type and accumulator type of each dtype
TYPES = {
    "float32": ("float", "float"),
    "float64": ("double", "double"),
    "bfloat16": ("bfloat", "float"),
    "float16": ("half", "float"),
    "int8": ("i8", "i32"),
    "uint8": ("i8", "i32"),
    "int16": ("i16", "i32"),
    "int32": ("i32", "i32"),
    "int64": ("i64", "i64"),
}

CHUNKS = 16  # as many as there are at most, more or less, of
GRAIN = 1 << 18  # multiplications, about 4 us


@dataclass(frozen=True)
class Tile:
    """The micro-kernel's shape: `rows` rows of `vectors` vectors of `lanes` elements."""

    rows: int
    vectors: int
    lanes: int
    pairs: bool = False  # panels hold pairs of bfloat16 along k

    @property
    def cols(self) -> int:
        return self.vectors * self.lanes


def tile(target: Target, dtype: str) -> Tile:
    """As many accumulators as there are registers, less two or three for operands."""
    memory, acc = TYPES[dtype]
    n = target.vector_bytes // size(acc)
    pairs = memory == "bfloat" and target.has("avx512bf16")
    if target.registers == 32:
        return Tile(14, 2, n, pairs) if target.vector_bytes == 64 else Tile(8, 3, n)  # NEON: 24 accumulators
    return Tile(6, 2, n)


@dataclass(frozen=True)
class Epilogue:
    """What is done with a sum before it is stored.

    `operands` are (dtype, along): "row" reads a vector along n (its n stride is 1), "column" one number for all n. Each
    has a pointer and strides for p, q, m. `scalars` are float64 slots. `body(f, sum, operands, scalars)` emits it.
    """

    name: str
    operands: tuple[tuple[str, str], ...] = ()
    scalars: int = 0
    body: Callable[[Function, V, list[V], list[V]], V] = lambda f, x, operands, scalars: x


PLAIN = Epilogue("plain")
ADD_ROW = lambda dtype: Epilogue(f"add-row-{dtype}", ((dtype, "row"),), 0, lambda f, x, o, s: x + o[0])
ADD_COLUMN = lambda dtype: Epilogue(f"add-column-{dtype}", ((dtype, "column"),), 0, lambda f, x, o, s: x + o[0])


def scaled(dtype: str, along: str = "row") -> Epilogue:
    """alpha * sum + beta * operand."""
    return Epilogue(f"scaled-{along}-{dtype}", ((dtype, along),), 2, lambda f, x, o, s: f.fma(o[0], s[1], x * s[0]))


# -- computing ------------------------------------------------------------------------------------------------------


def micro_kernel(m: Module, t: Tile, rows: int, acc: str, table: bool = False) -> None:
    """Defines tile_<rows>(a, b, b_step, depth, out, first): out[rows][cols] (+)= panel of a times panel of b.

    With `table`, b_step is a pointer to the offsets of the rows of b instead of their distance.
    """
    step = "ptr noalias" if table else "i64"
    f = m.function(
        f"internal void tile_{rows}(ptr noalias a, ptr noalias b, {step} b_step, i64 depth, ptr noalias out, i1 first)",
        APART,
    )
    a, b, b_step, depth, out, first = f.params
    wide = vector(acc, t.lanes)
    sums = [[f.var(wide, 0) for _ in range(t.vectors)] for _ in range(rows)]
    with f.loop(0, depth) as k:
        element = "i32" if t.pairs else acc
        line = f.gep(element, b, f.load("i64", b_step, k) if table else k * b_step)
        bs = [f.load(vector(element, t.lanes), line, v * t.lanes) for v in range(t.vectors)]
        for i in range(rows):
            x = f.splat(f.load(element, a, k * rows + i), t.lanes)
            for v in range(t.vectors):
                s = sums[i][v]
                s.set(pair_product(f, s.get(), x, bs[v], t) if t.pairs else f.fma(x, bs[v], s.get()))
    with f.when(first):
        for i in range(rows):
            for v in range(t.vectors):
                f.store(sums[i][v].get(), out, i * t.cols + v * t.lanes)
        f.ret()
    for i in range(rows):
        for v in range(t.vectors):
            at = f.gep(acc, out, i * t.cols + v * t.lanes)
            f.store(f.load(wide, at) + sums[i][v].get(), at)


def pair_product(f: Function, s: V, x: V, y: V, t: Tile) -> V:
    """s + x0 * y0 + x1 * y1 for pairs of bfloat16."""
    pairs = f"<{2 * t.lanes} x bfloat>"
    x, y = f.convert("bitcast", x, pairs), f.convert("bitcast", y, pairs)
    return f.call(s.type, f"llvm.x86.avx512bf16.dpbf16ps.{64 * t.lanes // 2}", s, x, y)


def finish(m: Module, t: Tile, memory: str, acc: str, e: Epilogue, slots: Sequence[str]) -> None:
    """Defines finish(args, sums, p, q, m0, rows, n0, at, cols): the epilogue of one tile, stored.

    `n0` is the tile's first column, for operands along n; `at` is where in `out` it is, in elements.
    """
    f = m.function(
        "internal void finish(ptr args, ptr noalias sums, i64 p, i64 q, i64 m0, i64 rows, i64 n0, i64 at, i64 cols)",
        APART,
    )
    args, sums, p, q, m0, rows, n0, start, cols = f.params
    slot = {name: i for i, name in enumerate(slots)}
    word = lambda i, type="i64": f.load(type, args, None) if i == 0 else f.load(type, f.gep("i64", args, i))
    cm, cn = word(slot["cm"]), word(slot["cn"])
    out = f.gep(memory, word(slot["c"], "ptr"), p * word(slot["cp"]) + q * word(slot["cq"]) + start)
    operands = []
    for j, (dtype, along) in enumerate(e.operands):
        first = len(slots) + 4 * j
        base, sp, sq, sm = word(first, "ptr"), word(first + 1), word(first + 2), word(first + 3)
        operands.append((TYPES[dtype][0], along, f.gep(TYPES[dtype][0], base, p * sp + q * sq), sm))
    scalars = []
    for j in range(e.scalars):
        s = word(len(slots) + 4 * len(e.operands) + j, "double")
        s = s if acc == "double" else f.convert("fptrunc", s, acc) if floating(acc) else f.convert("fptosi", s, acc)
        scalars.append(f.splat(s, t.lanes))
    row = f.alloca(vector(memory, t.lanes), align=64)
    with f.loop(0, rows) as i:
        line = f.gep(memory, out, (m0 + i) * cm)
        with f.loop(0, cols, t.lanes) as v:
            x = f.load(vector(acc, t.lanes), sums, i * t.cols + v)
            places = [(type, along, f.gep(type, base, (m0 + i) * sm + (n0 + v if along == "row" else 0)))
                      for type, along, base, sm in operands]  # fmt: skip

            def value(read: Callable[[str, V], V], x: V = x, places: Any = places) -> V:
                """The epilogue of x, with operands along the row read by `read`."""
                got = []
                for type, along, p in places:
                    o = read(vector(type, t.lanes), p) if along == "row" else f.splat(f.load(type, p), t.lanes)
                    got.append(widen(f, o, acc))
                return narrow(f, e.body(f, x, got, scalars), memory)

            at, left = f.gep(memory, line, v * cn), cols - v
            with f.either((left >= t.lanes) & (cn == 1)) as otherwise:
                f.store(value(f.load), at)
                otherwise()
                left = f.min(left, t.lanes)
                mask = f.lane_mask(t.lanes, left)
                made = value(lambda type, p: f.mload(type, p, mask))
                with f.either(cn == 1) as otherwise2:
                    f.mstore(made, at, mask)
                    otherwise2()
                    f.store(made, row)
                    with f.loop(0, left) as j:
                        f.store(f.load(memory, row, j), at, j * cn)


@dataclass(frozen=True)
class Operand:
    """Where an operand of a product is: the slot's source, and its strides over (p, q, rows, columns) in elements."""

    slot: tuple[int, int]
    strides: tuple[int, int, int, int]

    def transposed(self) -> Operand:
        p, q, rows, columns = self.strides
        return Operand(self.slot, (p, q, columns, rows))


def collapse(shape: Sequence[int], *strides: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """Merges neighbouring axes that every operand walks in one stride; drops axes of size 1."""
    dims: list[int] = []
    walks: list[list[int]] = []
    for n, *steps in zip(shape, *strides, strict=True):
        if n == 1:
            continue
        if dims and all(outer == inner * n for outer, inner in zip(walks[-1], steps, strict=True)):
            dims[-1] *= n
            walks[-1] = steps
        else:
            dims.append(n)
            walks.append(steps)
    return dims, walks
