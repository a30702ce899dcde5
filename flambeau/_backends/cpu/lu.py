"""Linear equations by elimination: small matrices whole, one kernel for a batch; larger ones by blocks of columns.

The matrix and the right sides lie side by side in one work array, so that elimination also solves with the lower factor:

    for each block of columns: factor the panel (partial pivoting, as LAPACK's getrf); then, for pieces of the columns to
    its right: exchange rows, solve with the panel's lower triangle, subtract the product of the two from what is below
    for pieces of the right sides: for each block from the last: solve with its upper triangle, subtract from above

Pieces of columns are chunks. Products are small and read what other steps left in the cache: a register tile without
packing. Zero pivots are skipped and the first one is reported, as LAPACK does.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.emit import APART, WIDTH, Function, Module, V, Words, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import Array
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, planned

TYPES = {"float32": "float", "float64": "double"}
SMALL = 64  # rows up to which a matrix is eliminated whole
NARROW, WIDE, MANY = 32, 64, 384  # columns of a panel, up to MANY rows and above
MOST = 2048  # rows above which LAPACK is asked
PIECE = 64  # columns of a chunk
CORNER = 16  # rows of a triangle solved one by one
GRAIN = 1 << 14  # multiplications of a chunk of small matrices
INT32 = np.dtype(np.int32)


class Real:
    """The real type, its vectors, and rows of a matrix as vectors."""

    def __init__(self, target: Target, real: str) -> None:
        self.name, self.n = real, target.vector_bytes // WIDTH[real]
        self.wide = vector(real, self.n)

    def at(self, f: Function, w: V, ld: V, i: V | int, j: V | int = 0) -> V:
        return f.gep(self.name, w, f.value(i, "i64") * ld + j)

    def load(self, f: Function, p: V) -> V:
        return f.load(self.name, p)


def exchange(m: Module, s: Real) -> None:
    """Defines exchange(p, q, n): two rows of n elements, a whole number of vectors, change places."""
    f = m.function("internal void exchange(ptr p, ptr q, i64 n)", APART)
    p, q, n = f.params
    with f.loop(0, n, s.n) as j:
        x, y = f.load(s.wide, p, j), f.load(s.wide, q, j)
        f.store(y, p, j)
        f.store(x, q, j)


def eliminate(m: Module, s: Real) -> None:
    """Defines eliminate(w, ld, rows, k, width, pivots, base) -> i64: k columns of w, in rows of `width` elements.

    `pivots` gets the row, counted from base, that each row changed with; the result is the number of the first column
    (from 1) whose pivot is 0, or 0.
    """
    f = m.function("internal i64 eliminate(ptr w, i64 ld, i64 rows, i64 k, i64 width, ptr pivots, i64 base)", APART)
    w, ld, rows, k, width, pivots, base = f.params
    size = lambda p: f.call(s.name, f"llvm.fabs.{'f32' if s.name == 'float' else 'f64'}", f.load(s.name, p))
    info = f.var("i64", 0)
    with f.loop(0, k) as j:
        place, best = f.var("i64", j), f.var(s.name, size(s.at(f, w, ld, j, j)))
        with f.loop(j + 1, rows) as i:
            v = size(s.at(f, w, ld, i, j))
            more = v > best.get()
            place.set(f.select(more, i, place.get()))
            best.set(f.select(more, v, best.get()))
        p = place.get()
        f.store(f.convert("trunc", p + base, "i32"), f.gep("i32", pivots, j))
        line = s.at(f, w, ld, j)
        with f.when(p != j):
            f.call("void", "exchange", line, s.at(f, w, ld, p), width)
        pivot = f.load(s.name, line, j)
        with f.either(pivot == 0.0) as otherwise:
            with f.when(info.get() == 0):
                info.set(j + 1)
            otherwise()
            inverse = f.value(1.0, s.name) / pivot
            first = j & -s.n
            lane = f.splat(j - first, s.n)  # lanes before it were eliminated before: they stay as they are
            lanes = V(f, vector("i64", s.n), "<" + ", ".join(f"i64 {i}" for i in range(s.n)) + ">")
            later, here = lanes > lane, lanes == lane
            with f.loop(j + 1, rows) as i:
                row = s.at(f, w, ld, i)
                factor = f.load(s.name, row, j) * inverse
                factors = f.splat(f.emit(s.name, f"fneg {factor}"), s.n)
                old = f.load(s.wide, row, first)
                x = f.fma(factors, f.load(s.wide, line, first), old)
                x = f.select(later, x, f.select(here, f.splat(factor, s.n), old))
                f.store(x, row, first)  # whole: a narrower store would delay the next load
                with f.loop(first + s.n, width, s.n) as c:
                    f.store(f.fma(factors, f.load(s.wide, line, c), f.load(s.wide, row, c)), row, c)
    f.ret(info.get())


def substitute(m: Module, s: Real) -> None:
    """Defines lower(t, w, ld, k, n) and upper(...): triangle t of k rows solved for the n columns of w, in place.

    Both have rows `ld` apart; the lower triangle's diagonal is 1. n is a whole number of vectors. Corners of the triangle
    are solved row by row, in `lower_few` and `upper_few`; products do the rest.
    """
    for name in ("lower", "upper"):
        f = m.function(f"internal void {name}(ptr t, ptr w, i64 ld, i64 k, i64 n)", APART)
        t, w, ld, k, n = f.params
        corners = (k + (CORNER - 1)) // CORNER
        with f.loop(0, corners) as step:
            start = (step if name == "lower" else corners - 1 - step) * CORNER
            count = f.min(f.value(CORNER, "i64"), k - start)
            here = s.at(f, w, ld, start)
            f.call("void", f"{name}_few", s.at(f, t, ld, start, start), here, ld, count, n)
            if name == "lower":
                rest = start + count
                f.call(
                    "void", "subtract", s.at(f, w, ld, rest), s.at(f, t, ld, rest, start), here, ld, k - rest, count, n
                )
            else:
                f.call("void", "subtract", w, s.at(f, t, ld, 0, start), here, ld, start, count, n)
        f = m.function(f"internal void {name}_few(ptr t, ptr w, i64 ld, i64 k, i64 n)", APART)
        t, w, ld, k, n = f.params
        for vectors in (4, 1):
            done = n - n % (4 * s.n)
            begin, end = (f.value(0, "i64"), done) if vectors == 4 else (done, n)
            with f.loop(begin, end, vectors * s.n) as c, f.loop(0, k) as step:
                r = step if name == "lower" else k - 1 - step
                row = s.at(f, w, ld, r, c)
                sums = [f.var(s.wide, f.load(s.wide, row, i * s.n)) for i in range(vectors)]
                with f.loop(*((0, r) if name == "lower" else (r + 1, k))) as j:
                    factor = f.load(s.name, s.at(f, t, ld, r, j))
                    factors = f.splat(f.emit(s.name, f"fneg {factor}"), s.n)
                    other = s.at(f, w, ld, j, c)
                    for i, x in enumerate(sums):
                        x.set(f.fma(factors, f.load(s.wide, other, i * s.n), x.get()))
                scale = None
                if name == "upper":
                    scale = f.splat(f.value(1.0, s.name) / f.load(s.name, s.at(f, t, ld, r, r)), s.n)
                for i, x in enumerate(sums):
                    f.store(x.get() if scale is None else x.get() * scale, row, i * s.n)


def subtract(m: Module, s: Real, target: Target) -> None:
    """Defines subtract(c, a, b, ld, rows, k, n): c -= a b, for c of `rows` x n and k between; all have rows `ld` apart."""
    f = m.function("internal void subtract(ptr c, ptr a, ptr b, i64 ld, i64 rows, i64 k, i64 n)", APART)
    c, a, b, ld, rows, k, n = f.params
    tall, broad = (4, 4) if target.registers == 32 else (4, 2)

    def tile(i: V, j: V, height: int, vectors: int) -> None:
        at = [s.at(f, c, ld, i + r, j) for r in range(height)]
        left = [s.at(f, a, ld, i + r) for r in range(height)]
        sums = [[f.var(s.wide, f.load(s.wide, p, v * s.n)) for v in range(vectors)] for p in at]
        with f.loop(0, k) as step:
            line = s.at(f, b, ld, step, j)
            right = [f.load(s.wide, line, v * s.n) for v in range(vectors)]
            for p, row in zip(left, sums, strict=True):
                factor = f.load(s.name, p, step)
                factors = f.splat(f.emit(s.name, f"fneg {factor}"), s.n)
                for x, y in zip(row, right, strict=True):
                    x.set(f.fma(factors, y, x.get()))
        for p, row in zip(at, sums, strict=True):
            for v, x in enumerate(row):
                f.store(x.get(), p, v * s.n)

    whole = rows - rows % tall
    wide = n - n % (broad * s.n)
    for begin, end, vectors in ((f.value(0, "i64"), wide, broad), (wide, n, 1)):
        with f.loop(begin, end, vectors * s.n) as j:
            with f.loop(0, whole, tall) as i:
                tile(i, j, tall, vectors)
            with f.loop(whole, rows) as i:
                tile(i, j, 1, vectors)


def copies(m: Module, s: Real) -> None:
    """Defines gather(src, r, c, to, ld, rows, columns, padded): a strided matrix into rows of w, zeros after it; and scatter."""
    f = m.function(
        "internal void gather(ptr src, i64 r, i64 c, ptr to, i64 ld, i64 rows, i64 columns, i64 padded)", APART
    )
    src, r, c, to, ld, rows, columns, padded = f.params
    with f.loop(0, rows) as i:
        line, row = f.gep(s.name, src, i * r), f.gep(s.name, to, i * ld)
        start = f.var("i64", 0)
        with f.when(c == 1):
            whole = columns & -s.n
            with f.loop(0, whole, s.n) as j:
                f.store(f.load(s.wide, f.gep(s.name, line, j)), row, j)
            start.set(whole)
        with f.loop(start.get(), columns) as j:
            f.store(f.load(s.name, f.gep(s.name, line, j * c)), row, j)
        with f.loop(columns, padded) as j:
            f.store(f.value(0.0, s.name), row, j)
    f = m.function("internal void scatter(ptr to, i64 r, ptr src, i64 ld, i64 rows, i64 columns)", APART)
    to, r, src, ld, rows, columns = f.params
    with f.loop(0, rows) as i:
        line, row = f.gep(s.name, to, i * r), f.gep(s.name, src, i * ld)
        whole = columns & -s.n
        with f.loop(0, whole, s.n) as j:
            f.store(f.load(s.wide, f.gep(s.name, row, j)), line, j)
        with f.loop(whole, columns) as j:
            f.store(f.load(s.name, row, j), line, j)


def text(target: Target, real: str) -> Module:
    """IR of `small`, whose chunks are matrices, and of the steps by blocks."""
    s = Real(target, real)
    m = Module(f"elimination {real}")
    subtract(m, s, target)
    for part in (exchange, eliminate, substitute, copies):
        part(m, s)

    def begin(name: str, pointers: str, numbers: str) -> tuple[Function, Words]:
        f = m.function(f"void {name}(ptr args, i64 begin, i64 end, ptr scratch)")
        return f, Words(f, pointers, numbers)

    f, w = begin("small", "out info lu pivots a b", "n k ld na each batch ab ar ac bb br bc")
    n, k, ld = w["n"], w["k"], w["ld"]
    work = f.params[3]
    row_pivots = f.gep(s.name, work, n * ld)
    first = f.params[1] * w["each"]
    with f.loop(first, f.min(f.params[2] * w["each"], w["batch"])) as i:
        a, b = f.gep(real, w["a"], i * w["ab"]), f.gep(real, w["b"], i * w["bb"])
        f.call("void", "gather", a, w["ar"], w["ac"], work, ld, n, n, w["na"])
        right = f.gep(real, work, w["na"])
        f.call("void", "gather", b, w["br"], w["bc"], right, ld, n, k, ld - w["na"])
        info = f.call("i64", "eliminate", work, ld, n, n, ld, row_pivots, f.value(1, "i64"))
        f.store(f.convert("trunc", info, "i32"), f.gep("i32", w["info"], i))
        with f.when(k != 0):
            f.call("void", "upper", work, right, ld, n, ld - w["na"])
            f.call("void", "scatter", f.gep(real, w["out"], i * (n * k)), k, right, ld, n, k)
        with f.when(k == 0):
            f.call("void", "scatter", f.gep(real, w["lu"], i * (n * n)), n, work, ld, n, n)
            with f.loop(0, n) as j:
                f.store(f.load("i32", f.gep("i32", row_pivots, j)), f.gep("i32", w["pivots"], i * n + j))

    f, w = begin("load", "w a b pivots info", "n k ld na ar ac br bc rows")
    first = f.params[1] * w["rows"]
    count = f.min(f.params[2] * w["rows"], w["n"]) - first
    work = f.gep(real, w["w"], first * w["ld"])
    a, b = f.gep(real, w["a"], first * w["ar"]), f.gep(real, w["b"], first * w["br"])
    f.call("void", "gather", a, w["ar"], w["ac"], work, w["ld"], count, w["n"], w["na"])
    f.call("void", "gather", b, w["br"], w["bc"], f.gep(real, work, w["na"]), w["ld"], count, w["k"], w["ld"] - w["na"])
    with f.when(first == 0):
        f.store(f.value(0, "i32"), w["info"])

    f, w = begin("panel", "w pivots info", "n ld from k width")
    start = w["from"]
    at = f.gep(real, w["w"], start * w["ld"] + start)
    pivots = f.gep("i32", w["pivots"], start)
    found = f.call("i64", "eliminate", at, w["ld"], w["n"] - start, w["k"], w["width"], pivots, start + 1)
    with f.when((found != 0) & (f.load("i32", w["info"]) == 0)):
        f.store(f.convert("trunc", found + start, "i32"), w["info"])

    f, w = begin("right", "w pivots", "n ld from k first last solve")
    ld, k, start = w["ld"], w["k"], w["from"]
    with f.loop(f.params[1], f.params[2]) as chunk:
        column = w["first"] + chunk * PIECE
        count = f.min(f.value(PIECE, "i64"), w["last"] - column)
        at = f.gep(real, w["w"], column)
        with f.loop(start, start + k) as j:
            p = f.convert("sext", f.load("i32", f.gep("i32", w["pivots"], j)), "i64") - 1
            with f.when(p != j):
                f.call("void", "exchange", s.at(f, at, ld, j), s.at(f, at, ld, p), count)
        with f.when(w["solve"] != 0):
            triangle, top, below = f.gep(real, w["w"], start * ld + start), s.at(f, at, ld, start), start + k
            f.call("void", "lower", triangle, top, ld, k, count)
            left = s.at(f, w["w"], ld, below, start)
            f.call("void", "subtract", s.at(f, at, ld, below), left, top, ld, w["n"] - below, k, count)

    f, w = begin("back", "w", "n ld panel first last")
    ld, panel = w["ld"], w["panel"]
    blocks = (w["n"] + panel - 1) // panel
    with f.loop(f.params[1], f.params[2]) as chunk:
        column = w["first"] + chunk * PIECE
        count = f.min(f.value(PIECE, "i64"), w["last"] - column)
        at = f.gep(real, w["w"], column)
        with f.loop(0, blocks) as step:
            start = (blocks - 1 - step) * panel
            k = f.min(panel, w["n"] - start)
            triangle, here = s.at(f, w["w"], ld, start, start), s.at(f, at, ld, start)
            f.call("void", "upper", triangle, here, ld, k, count)
            f.call("void", "subtract", at, s.at(f, w["w"], ld, 0, start), here, ld, start, k, count)

    f, w = begin("store", "out w pivots to", "n k ld column rows")
    first = f.params[1] * w["rows"]
    count = f.min(f.params[2] * w["rows"], w["n"]) - first
    src = f.gep(real, w["w"], first * w["ld"] + w["column"])
    f.call("void", "scatter", f.gep(real, w["out"], first * w["k"]), w["k"], src, w["ld"], count, w["k"])
    with f.when((first == 0) & (w["to"] != 0)), f.loop(0, w["n"]) as j:
        f.store(f.load("i32", f.gep("i32", w["pivots"], j)), f.gep("i32", w["to"], j))
    return m


@cache
def kernel(real: str) -> Code:
    native = engine()
    names = ["small", "load", "panel", "right", "back", "store"]
    return native.load(lambda: str(text(native.target, real)), names, parts=[("kernel", "elimination"), ("real", real)])


# -- plans --------------------------------------------------------------------------------------------------------------


def up(x: int, n: int) -> int:
    return -(-x // n) * n


def small_plan(a: Array, b: Array | None) -> Plan:
    """The plan for a batch of small matrices: (solutions, info), or (factors, pivots, info) without right sides."""
    real = TYPES[a.dtype.name]
    lanes = engine().target.vector_bytes // a.itemsize
    n, batch = a.shape[-1], prod(a.shape[:-2])
    k = 0 if b is None else b.shape[-1]
    na = up(n, lanes)
    ld = na + up(k, lanes)
    sa, sb = ([s // a.itemsize for s in x.strides] for x in (a, a if b is None else b))
    each = max(1, GRAIN // (n * n * ld))
    constants = (n, k, ld, na, each, batch, sa[0], sa[1], sa[2], sb[0], sb[1], sb[2])
    code = kernel(real)
    if b is None:
        results = (Result(a.dtype, a.shape), Result(INT32, a.shape[:-1]), Result(INT32, a.shape[:-2]))
        pointers = ((CONST, 0), (OUT, 2), (OUT, 0), (OUT, 1), (ARG, 0), (ARG, 0))
    else:
        results = (Result(a.dtype, b.shape), Result(INT32, a.shape[:-2]))
        pointers = ((OUT, 0), (OUT, 1), (CONST, 0), (CONST, 0), (ARG, 0), (ARG, 1))
    scratch = n * ld * a.itemsize + 4 * n + 64
    work = Launch(code["small"], (*pointers, *((CONST, c) for c in constants)), -(-batch // each), scratch)
    return Plan(results, (work,), release=batch * n * n * ld > GRAIN, keep=(code,))


def block_plan(a: Array, b: Array | None, reduced: bool = False) -> Plan:
    """The same for one large matrix; with `reduced`, of which only the upper triangle counts: (solutions, info)."""
    dtype = a.dtype.name
    real, item = TYPES[dtype], a.itemsize
    lanes = engine().target.vector_bytes // item
    n, k = a.shape[0], 0 if b is None else b.shape[1]
    panel = NARROW if n <= MANY else WIDE
    na = up(n, panel)
    ld = (na + up(k, lanes)) // lanes
    ld = (ld + (ld % 2 == 0)) * lanes  # rows an odd number of lines apart do not fall onto one another in the cache
    last = na + up(k, lanes)
    pivots = n * ld * item
    sa, sb = ([s // item for s in x.strides] for x in (a, a if b is None else b))
    code = kernel(real)
    w, p = (TEMP, 0), (TEMP, pivots)
    info = (OUT, 1 if b is not None else 2)
    consts = lambda *xs: tuple((CONST, x) for x in xs)
    rows = max(1, GRAIN // ld)
    second = (ARG, 0 if b is None else 1)
    load = (w, (ARG, 0), second, p, info, *consts(n, k, ld, na, *sa, *sb, rows))
    steps = [Launch(code["load"], load, -(-n // rows))]

    def right(start: int, count: int, first: int, end: int, solve: int) -> None:
        if first < end:
            slots = (w, p, *consts(n, ld, start, count, first, end, solve))
            steps.append(Launch(code["right"], slots, -(-(end - first) // PIECE)))

    for start in range(0, 0 if reduced else n, panel):
        count = min(panel, n - start)
        steps.append(Launch(code["panel"], (w, p, info, *consts(n, ld, start, count, panel))))
        right(start, count, start + panel, last, 1)
        if b is None:
            right(start, count, 0, start, 0)
    if b is not None:
        steps.append(Launch(code["back"], (w, *consts(n, ld, panel, na, last)), -(-(last - na) // PIECE)))
    to = (CONST, 0) if b is not None else (OUT, 1)
    out = ((OUT, 0), w, p, to, *consts(n, n if b is None else k, ld, 0 if b is None else na, rows))
    steps.append(Launch(code["store"], out, -(-n // rows)))
    results = (Result(a.dtype, a.shape), Result(INT32, (n,)), Result(INT32, ()))
    if b is not None:
        results = (Result(a.dtype, b.shape), Result(INT32, ()))
    return Plan(results, tuple(steps), temp=pivots + 4 * n + 64, release=True, keep=(code,))


def solve(a: Array, b: Array) -> tuple[Array, Array] | None:
    """(the solutions of a @ x = b, info) for matrices with the same batch dims; None where LAPACK should do it."""
    return _run("solve", a, b)


def factor(a: Array) -> tuple[Array, Array, Array] | None:
    """(both factors of square matrices in one, pivots from 1, info), or None where LAPACK should do it."""
    return _run("factor", a, None)


def triangle(a: Array, b: Array) -> Array | None:
    """The solutions of a @ x = b for the upper triangle of a matrix; None where LAPACK should do it."""
    if not fit(a, b):
        return None
    found = planned(("triangle",), (a, b), lambda: block_plan(a, b, True))
    return None if found is None else found[0]


def fit(*xs: Array) -> bool:
    """Whether kernels read the arrays: of one dtype, not empty, and no more rows than they are good for."""
    a = xs[0]
    return (
        a.dtype.name in TYPES
        and a.shape[-1] <= MOST
        and all(x.size and x.dtype == a.dtype and x.flags.aligned for x in xs)
        and not any(s % x.itemsize for x in xs for s in x.strides)
    )


def _run(name: str, a: Array, b: Array | None) -> Any:
    arrays = (a,) if b is None else (a, b)
    if not fit(*arrays):
        return None
    batch, n = a.shape[:-2], a.shape[-1]
    if n <= SMALL:
        flat = tuple(np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(-1, *x.shape[-2:]) for x in arrays)
        found = planned((f"{name} small",), flat, lambda: small_plan(*(flat if b is not None else (flat[0], None))))
        if found is None:
            return None
        if b is not None:
            return found[0].reshape(*batch, *b.shape[-2:]), found[1].reshape(batch)
        return found[0].reshape(a.shape), found[1].reshape(a.shape[:-1]), found[2].reshape(batch)
    one = lambda *xs: planned((name,), xs, lambda: block_plan(xs[0], xs[1] if b is not None else None))
    if not batch:
        return one(*arrays)
    each = [one(*(x[i] for x in arrays)) for i in np.ndindex(batch)]
    if None in each:
        return None
    return tuple(np.stack(parts).reshape(*batch, *parts[0].shape) for parts in zip(*each, strict=True))
