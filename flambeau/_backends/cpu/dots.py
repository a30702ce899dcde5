"""Products whose sums run along contiguous memory on both sides: `x @ w.T` for few rows of x. Nothing is packed.

    out[p, q, m, n] = epilogue(sum over k of a[p, q, m, k] * b[p, q, k, n])

A tile is `rows` x `cols` vectors of partial sums along k; at its end each is added up. The columns of `b` (rows of a
weight) are read once from memory, while all rows of `a`, which are few, pass by. Half precision is widened as it is read, or multiplied in pairs where the CPU can (AVX512-BF16).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from flambeau._backends.cpu.contract import PLAIN, TYPES, Epilogue, pair_product, tile
from flambeau._backends.cpu.emit import APART, Module, V, floating, suffix, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.product import SLOTS, arguments, ceil
from flambeau._backends.cpu.registers import narrow, widen

TALLEST = 5  # 5 x 5 tiles read least for what they compute
WIDEST = 8


@dataclass(frozen=True)
class DotForm:
    """What a kernel is specialised to; `both`: tiles with one row less occur too."""

    dtype: str
    rows: int
    both: bool
    cols: int
    epilogue: Epilogue = PLAIN

    @property
    def heights(self) -> tuple[int, ...]:
        return (self.rows, self.rows - 1) if self.both else (self.rows,)


def width(registers: int, rows: int) -> int:
    """Columns of a tile: beside its sums, registers hold one vector of each row and one more."""
    return max(1, min(WIDEST, (registers - 1) // rows - 1))


def micro(m: Module, target: Target, form: DotForm, rows: int) -> None:
    """Defines dots_<rows>(args, a, b, depth, p, q, m0, n0): one tile; columns past the last one are the last one again."""
    memory, acc = TYPES[form.dtype]
    t, cols = tile(target, form.dtype), form.cols
    n = t.lanes * (2 if t.pairs else 1)  # elements of a vector
    f = m.function(
        f"internal void dots_{rows}(ptr args, ptr noalias a, ptr noalias b, i64 depth, i64 p, i64 q, i64 m0, i64 n0)",
        APART,
    )
    args, a, b, depth, p, q, m0, n0 = f.params
    slot = {name: i for i, name in enumerate(SLOTS)}
    word = lambda name, type="i64": f.load(type, f.gep("i64", args, slot[name] if isinstance(name, str) else name))
    last = word("n") - 1 - n0
    am, bn = word("am"), word("bn")
    left = [f.gep(memory, a, am * i) for i in range(rows)]
    right = [f.gep(memory, b, f.min(f.value(j, "i64"), last) * bn) for j in range(cols)]
    ways = max(1, 8 // (rows * cols))  # sums of one element: as many as a fused multiply-add takes cycles, twice
    sums = [[[f.var(vector(acc, t.lanes), 0) for _ in range(ways)] for _ in range(cols)] for _ in range(rows)]

    def multiply(k: V, way: int, mask: V | None = None) -> None:
        def read(at: V) -> V:
            x = f.get(vector(memory, n), at, mask)
            return x if t.pairs else widen(f, x, acc)

        xs = [read(f.gep(memory, x, k)) for x in left]
        for j in range(cols):
            y = read(f.gep(memory, right[j], k))
            for i in range(rows):
                s = sums[i][j][way]
                s.set(pair_product(f, s.get(), xs[i], y, t) if t.pairs else f.fma(xs[i], y, s.get()))

    step = n * ways
    full = depth - depth % step
    with f.loop(0, full, step) as k:
        for way in range(ways):
            multiply(k + way * n, way)
    with f.loop(full, depth - depth % n, n) as k:
        multiply(k, 0)
    with f.when(depth % n != 0):
        k = depth - depth % n
        multiply(k, 0, f.lane_mask(n, depth - k))

    operands = []
    for j, (dtype, along) in enumerate(form.epilogue.operands):
        kind, first = TYPES[dtype][0], len(SLOTS) + 4 * j
        base = f.gep(kind, word(first, "ptr"), p * word(first + 1) + q * word(first + 2) + m0 * word(first + 3))
        operands.append((kind, along, base, word(first + 3)))
    scalars = []
    for j in range(form.epilogue.scalars):
        s = word(len(SLOTS) + 4 * len(form.epilogue.operands) + j, "double")
        scalars.append(s if acc == "double" else f.convert("fptrunc", s, acc))
    cm, cn = word("cm"), word("cn")
    out = f.gep(memory, word("c", "ptr"), p * word("cp") + q * word("cq") + m0 * cm + n0 * cn)
    zero = V(f, acc, "-0.0" if floating(acc) else "0")
    for i in range(rows):
        for j in range(cols):
            total = sums[i][j][0].get()
            for way in range(1, ways):
                total = total + sums[i][j][way].get()
            kind = suffix(total.type)
            m.declare(acc, f"llvm.vector.reduce.fadd.{kind}", [acc, total.type])
            x = f.emit(acc, f"call reassoc {acc} @llvm.vector.reduce.fadd.{kind}({zero}, {total})")
            here = f.min(f.value(j, "i64"), last)
            got = []
            for type, along, base, sm in operands:
                o = f.load(type, f.gep(type, base, sm * i + (n0 + here if along == "row" else 0)))
                got.append(widen(f, o, acc))
            f.store(narrow(f, form.epilogue.body(f, x, got, scalars), memory), f.gep(memory, out, cm * i + here * cn))


def text(target: Target, form: DotForm) -> Module:
    """IR of one kernel, `k`: chunks are groups of units, a unit is `nb` columns and all rows."""
    memory, _ = TYPES[form.dtype]
    m = Module(f"dots {form.dtype} {form.rows} {form.both} {form.cols} {form.epilogue.name}", target.has("avx512bf16"))
    for rows in form.heights:
        micro(m, target, form, rows)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    w = arguments(f)
    nblocks = ceil(w["n"], w["nb"])
    few, more = w["m"] // w["tiles"], w["m"] % w["tiles"]
    with f.loop(begin * w["group"], f.min(end * w["group"], w["p"] * w["q"] * nblocks)) as unit:
        n0, rest = unit % nblocks * w["nb"], unit // nblocks
        p, q = rest // w["q"], rest % w["q"]
        a0 = f.gep(memory, w["a"], p * w["ap"] + q * w["aq"])
        b0 = f.gep(memory, w["b"], p * w["bp"] + q * w["bq"])
        with f.loop(n0, f.min(n0 + w["nb"], w["n"]), form.cols) as j:
            column = f.gep(memory, b0, j * w["bn"])
            for rows, first, after in (
                (form.rows, 0, more if form.both else w["tiles"]),
                (form.rows - 1, more, w["tiles"]),
            ):
                if rows in form.heights:
                    with f.loop(first, after) as i:
                        row = i * few + f.min(i, more)
                        line = f.gep(memory, a0, row * w["am"])
                        f.call("void", f"dots_{rows}", args, line, column, w["k"], p, q, row, j)
    return m


@cache
def kernel(form: DotForm) -> Code:
    """The compiled product; `code["k"]` has the signature of every kernel."""
    native = engine()
    name = f"{form.dtype} {form.rows} {form.both} {form.cols} {form.epilogue.name}"
    return native.load(
        lambda: str(text(native.target, form)), ["k"], parts=[("kernel", "dots"), ("form", name)], level=LIGHT
    )
