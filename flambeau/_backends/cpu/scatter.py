"""Scattered writes: elements or rows of a source written, added, multiplied, ... where arrays of indices say. One template.

    into[what d, e, j walk in it, plus the sum over k of index_k[d, e, s, t, j] * step_k] (op)= source[d, e, s, t, j]

Axes that walk the destination (d, e and perhaps j) lead to different elements of it, so they may be cut over threads; along
the others (s, t and perhaps j) elements may meet, and those are walked in order. Where whole rows are written, a chunk may
also own the rows of a range of the first index. So every element sees its contributions in the order of the source, and
the bits of a result do not depend on threads. All indices are checked before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import collapse
from flambeau._backends.cpu.emit import WIDTH, Function, Module, V, floating, lane, lanes, suffix, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import INDICES, ITEMS, Array, any_lane, flag, zero
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned

OPS = ("set", "add", "mul", "max", "min")
GRAIN = 1 << 15  # elements of a chunk
ROW, PIECE = 1024, 256  # bytes that a chunk should have at least of a row it writes whole, or element by element
CHECKED = 1 << 15  # indices checked by a chunk
FEW, SPANS = 4, 4  # chunks below which rows are also cut by ranges of the first index, and into how many
MARKS = ("d", "e", "s", "t", "j")
NARROW = {"float16": "half", "bfloat16": "bfloat"}  # computed with in float, and rounded at each step as PyTorch does


@dataclass(frozen=True)
class Index:
    """An array of indices: its dtype, its strides over the axes of the walk, and the extent and step of what it counts."""

    dtype: Any
    strides: tuple[int, ...]
    extent: int
    step: int
    size: int


def element(dtype: np.dtype[Any], op: str) -> tuple[str, bool] | None:
    """(type, unsigned) of what the kernel computes with; complex numbers are pairs, and only written or added."""
    if op == "set":
        found = ITEMS.get(dtype.itemsize)
        return None if found is None else (found, False)
    if dtype == np.float32 or dtype == np.float64:
        return ("float" if dtype.itemsize == 4 else "double"), False
    if dtype.name in NARROW:
        return NARROW[dtype.name], False
    if dtype.kind in "iu":
        return ITEMS[dtype.itemsize], dtype.kind == "u"
    return None


def joined(f: Function, op: str, unsigned: bool, x: V, y: V) -> V:
    """What is stored where x was and y comes; NaN wins an extreme."""
    if op == "set":
        return y
    if lane(x.type) in ("half", "bfloat"):
        wide = vector("float", lanes(x.type))
        return f.convert("fptrunc", joined(f, op, unsigned, *(f.convert("fpext", v, wide) for v in (x, y))), x.type)
    if op == "add":
        return x + y if floating(x.type) else f.emit(x.type, f"add {x}, {y.name}")
    if op == "mul":
        return x * y if floating(x.type) else f.emit(x.type, f"mul {x}, {y.name}")
    if not floating(x.type):
        return f.call(x.type, f"llvm.{'u' if unsigned else 's'}{op}.{suffix(x.type)}", x, y)
    keep = (x > y) if op == "max" else (x < y)
    nan = f.emit(vector("i1", lanes(x.type)), f"fcmp uno {x}, {x.name}")
    return f.select(keep | nan, x, y)


def names(count: int) -> list[str]:
    """The words after the pointers: extents, blocks, strides."""
    out = [f"n{a}" for a in MARKS] + ["rows", "cols", "span"]
    out += [f"x{a}" for a in "dej"] + [f"y{a}" for a in MARKS]
    return out + [f"{n}{k}" for k in range(count) for n in (*(f"i{a}_" for a in MARKS), "extent", "step")]


def checker(m: Module, target: Target, kind: str) -> None:
    """Defines check_<kind>(args: flag, indices, count, low, limit): sets the flag unless all -low <= i < limit - low."""
    n = max(4, target.vector_bytes // 8)
    f = m.function(f"void check_{kind}(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    bad, at = f.load("ptr", args), f.load("ptr", f.gep("i64", args, 1))
    count, low, limit = (f.load("i64", f.gep("i64", args, i)) for i in (2, 3, 4))
    with f.loop(begin, end) as chunk:
        first = chunk * CHECKED
        last = f.min(first + CHECKED, count)
        whole = last - (last - first) % n
        wrong = f.var(vector("i1", n), 0)

        def outside(i: V, lanes: int) -> V:
            long = vector("i64", lanes)
            i = i if kind == "i64" else f.convert("sext", i, long)
            return f.emit(vector("i1", lanes), f"icmp uge {i + f.splat(low, lanes)}, {f.splat(limit, lanes).name}")

        with f.loop(first, whole, n) as j:
            wrong.set(wrong.get() | outside(f.load(vector(kind, n), f.gep(kind, at, j)), n))
        flag(f, any_lane(f, wrong.get(), n), bad)
        with f.loop(whole, last) as j:
            flag(f, outside(f.load(kind, f.gep(kind, at, j)), 1), bad)


def text(target: Target, item: str, op: str, unsigned: bool, types: Sequence[str], rowwise: bool, wrap: bool) -> Module:
    """IR of the kernel, `k`; chunks are (range of the first index, block of d and e, block of columns).

    `rowwise`: no index moves along j, and j walks the destination.
    """
    m = Module(f"scatter {item} {op} {unsigned} {' '.join(types)} {rowwise} {wrap}")
    zero(m)
    for kind in sorted(set(types)):
        checker(m, target, kind)
    n = max(4, target.vector_bytes // WIDTH[item])
    if rowwise:
        row_writer(m, item, op, unsigned, n)
    count = len(types)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    into, bad, source, *index = (f.load("ptr", f.gep("i64", args, i)) for i in range(3 + count))
    w = {name: f.load("i64", f.gep("i64", args, 3 + count + i)) for i, name in enumerate(names(count))}
    with f.when(f.load("i64", bad) != 0):
        f.ret()

    def place(k: int, line: V, j: V | None) -> V:
        """The k-th index of an element, counted from the front."""
        at = line if j is None else f.gep(types[k], line, j * w[f"ij_{k}"])
        i = f.load(types[k], at)
        i = i if types[k] == "i64" else f.convert("sext", i, "i64")
        return f.select(i < 0, i + w[f"extent{k}"], i) if wrap else i

    blocks = (w["nj"] + w["cols"] - 1) // w["cols"]
    outer = w["nd"] * w["ne"]
    groups = (outer + w["rows"] - 1) // w["rows"]
    with f.loop(begin, end) as chunk:
        j0 = chunk % blocks * w["cols"]
        j1 = f.min(j0 + w["cols"], w["nj"])
        rest = chunk // blocks
        row0, low = rest % groups * w["rows"], rest // groups * w["span"]
        with f.loop(row0, f.min(row0 + w["rows"], outer)) as row:
            d, e = row // w["ne"], row % w["ne"]
            to = f.gep(item, into, d * w["xd"] + e * w["xe"])
            src = f.gep(item, source, d * w["yd"] + e * w["ye"])
            lines = [f.gep(types[k], p, d * w[f"id_{k}"] + e * w[f"ie_{k}"]) for k, p in enumerate(index)]
            with f.loop(0, w["ns"]) as s, f.loop(0, w["nt"]) as t:
                at = f.gep(item, src, s * w["ys"] + t * w["yt"])
                here = [f.gep(types[k], p, s * w[f"is_{k}"] + t * w[f"it_{k}"]) for k, p in enumerate(lines)]
                if rowwise:
                    first = place(0, here[0], None)
                    own = f.emit("i1", f"icmp ult {f.emit('i64', f'sub {first}, {low.name}')}, {w['span'].name}")
                    with f.when(own):
                        offset = first * w["step0"]
                        for k in range(1, count):
                            offset = offset + place(k, here[k], None) * w[f"step{k}"]
                        f.call("void", "write", f.gep(item, to, offset), at, j0, j1, w["xj"], w["yj"])
                    done = None
                else:
                    done = f.loop(j0, j1)
                if done is not None:
                    with done as j:
                        offset = j * w["xj"]
                        for k in range(count):
                            offset = offset + place(k, here[k], j) * w[f"step{k}"]
                        p = f.gep(item, to, offset)
                        y = f.load(item, f.gep(item, at, j * w["yj"]))
                        f.store(y if op == "set" else joined(f, op, unsigned, f.load(item, p), y), p)
    return m


def row_writer(m: Module, item: str, op: str, unsigned: bool, n: int) -> None:
    """Defines write(to, from, j0, j1, x, y): columns j0 to j1 of a row, whose strides are x and y."""
    f = m.function("internal void write(ptr to, ptr from, i64 j0, i64 j1, i64 x, i64 y)")
    to, src, j0, j1, x, y = f.params
    start, wide = f.var("i64", j0), vector(item, n)

    def vectors(read: Callable[[V], V]) -> None:
        four = j1 - (j1 - j0) % (4 * n)
        with f.loop(j0, four, 4 * n) as j:
            ys = [read(j + i * n) for i in range(4)]
            xs = [None if op == "set" else f.load(wide, f.gep(item, to, j + i * n)) for i in range(4)]
            for i, (a, b) in enumerate(zip(xs, ys, strict=True)):
                f.store(b if a is None else joined(f, op, unsigned, a, b), f.gep(item, to, j + i * n))
        whole = j1 - (j1 - four) % n
        with f.loop(four, whole, n) as j:
            p, b = f.gep(item, to, j), read(j)
            f.store(b if op == "set" else joined(f, op, unsigned, f.load(wide, p), b), p)
        start.set(whole)

    with f.when((x == 1) & (y == 1)):
        vectors(lambda j: f.load(wide, f.gep(item, src, j)))
    with f.when((x == 1) & (y == 0)):
        vectors(lambda j: f.splat(f.load(item, src), n))
    with f.loop(start.get(), j1) as j:
        p = f.gep(item, to, j * x)
        b = f.load(item, f.gep(item, src, j * y))
        f.store(b if op == "set" else joined(f, op, unsigned, f.load(item, p), b), p)


@cache
def kernel(item: str, op: str, unsigned: bool, types: tuple[str, ...], rowwise: bool, wrap: bool) -> Code:
    native = engine()
    how = (item, op, unsigned, types, rowwise, wrap)
    exports = ["k", "zero", *(f"check_{t}" for t in sorted(set(types)))]
    return native.load(lambda: str(text(native.target, *how)), exports, parts=[("kernel", "scatter"), ("how", how)])


# -- plans --------------------------------------------------------------------------------------------------------------


def apart(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether different places of a strided array are different memory, as far as sorted strides tell."""
    span = 0
    for s, n in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n != 1):
        if s <= span:
            return False
        span += s * (n - 1)
    return True


def write_plan(
    into: Array,
    source: Array,
    shape: Sequence[int],
    xs: Sequence[int],
    ys: Sequence[int],
    indices: Sequence[Index],
    op: str,
    wrap: bool,
) -> Plan | None:
    """The plan over axes of `shape` along which the destination, the source and indices move by these strides."""
    how = element(into.dtype, op)
    if how is None or 0 in shape or any(i.extent == 0 or i.dtype not in INDICES for i in indices):
        return None
    item, unsigned = how
    dims, walks = collapse(shape, xs, ys, *(i.strides for i in indices))
    if not dims:
        dims, walks = [1], [[0] * (2 + len(indices))]
    *outer, inner = zip(dims, walks, strict=True)
    apart_axes = [a for a in outer if a[1][0] != 0]
    meeting = [a for a in outer if a[1][0] == 0]
    if len(apart_axes) > 2 or len(meeting) > 2:
        return None
    none = (1, [0] * (2 + len(indices)))
    axes = [*[none] * (2 - len(apart_axes)), *apart_axes, *[none] * (2 - len(meeting)), *meeting, inner]
    free = inner[1][0] != 0
    rowwise = free and not any(inner[1][2:])
    width, rows, depth = inner[0], axes[0][0] * axes[1][0], axes[2][0] * axes[3][0]
    size = into.dtype.itemsize
    cols = width
    block = max(1, min(rows, GRAIN // (width * depth)))
    total = rows * depth * width
    if free and -(-rows // block) < 2 * FEW and total > GRAIN:  # few rows to hand out: cut them, too
        pieces = min(2 * FEW, max(1, width * size // (ROW if rowwise else PIECE)))
        cols = -(-width // pieces)
        cols += -cols % max(1, 64 // size)
    chunks = -(-rows // block) * -(-width // min(cols, width))
    extent = indices[0].extent
    spans = min(SPANS, extent) if rowwise and chunks < FEW and total > GRAIN else 1
    span = -(-extent // spans)
    spans = -(-extent // span)
    types = tuple(INDICES[i.dtype] for i in indices)
    code = kernel(item, op, unsigned, types, rowwise, wrap)
    by = lambda which, marks: [axes[MARKS.index(a)][1][which] for a in marks]
    constants = [a[0] for a in axes] + [block, cols, span] + by(0, "dej") + by(1, MARKS)
    checks = []
    for k, i in enumerate(indices):
        constants += [*by(2 + k, MARKS), i.extent, i.step]
        low = i.extent if wrap else 0
        slots = ((OUT, 0), (ARG, 2 + k), (CONST, i.size), (CONST, low), (CONST, i.extent + low))
        checks.append(Launch(code[f"check_{types[k]}"], slots, -(-i.size // CHECKED)))
    where = [(ARG, 0), (OUT, 0), (ARG, 1), *((ARG, 2 + k) for k in range(len(indices)))]
    work = Launch(code["k"], (*where, *((CONST, c) for c in constants)), chunks * spans)
    return Plan(
        (Result(np.dtype(np.int64), (1,)),),
        (Launch(code["zero"], ((OUT, 0),)), *checks, work),
        release=total >= GRAIN,
        written=(0,),
        keep=(code,),
    )


def paired(into: Array, source: Array, op: str) -> tuple[Array, Array] | None:
    """Both as arrays that kernels know: complex numbers as pairs of reals along a last axis."""
    if into.dtype.kind == "c" and (op == "add" or into.itemsize == 16) and op in ("set", "add"):
        real = into.real.dtype
        as_pairs = lambda x: np.ndarray((*x.shape, 2), real, x, 0, (*x.strides, real.itemsize))
        if not (into.flags.c_contiguous and source.flags.c_contiguous):
            return None
        return as_pairs(into), as_pairs(source)
    return into, source


def meets(into: Array, arrays: Sequence[Array]) -> bool:
    """Whether the destination may share memory with what is read."""
    return any(
        [(x.base is not None or into.base is not None or x is into) and np.may_share_memory(into, x) for x in arrays]
    )


def writable(into: Array, source: Array) -> bool:
    """Whether the kernel may write: aligned arrays of whole strides, a destination that does not meet itself."""
    for x in (into, source):
        if not x.flags.aligned or any(s % x.itemsize for s in x.strides):
            return False
    return (
        type(into) is np.ndarray
        and into.flags.writeable
        and source.dtype == into.dtype
        and apart(into.shape, into.strides)
    )


def put(into: Array, source: Array, indices: Sequence[Array | None], op: str, wrap: bool, small: bool = False) -> bool | None:  # fmt: skip
    """into[indices] (op)= source, by the array library's rules, the source broadcast to what the indices name.

    True where an index was out of bounds (and nothing was written); None where the array library should do it.
    """
    arrays = [i if i.flags.c_contiguous else np.ascontiguousarray(i) for i in indices if i is not None]
    pairs = paired(into, np.asarray(source), op)
    if pairs is None:
        return None
    doubled = pairs[0] is not into
    into, source = pairs
    if meets(into, (source, *arrays)):
        return None
    key = ("put", *[i is None for i in indices], op, wrap, doubled)

    def make() -> Plan | None:
        if not writable(into, source):
            return None
        given = [d for d, i in enumerate(indices) if i is not None]
        if given[-1] >= into.ndim:  # one number
            return None
        item = into.itemsize
        shape = np.broadcast_shapes(*(i.shape for i in arrays))
        together = given[-1] - given[0] + 1 == len(given)
        before = list(range(given[0])) if together else []
        after = [d for d in range(into.ndim) if d not in given and d not in before]
        lead, tail = (0,) * len(before), (0,) * len(after)
        e = [s // item for s in into.strides]
        found = []
        for d, i in zip(given, arrays, strict=True):
            at = tuple(s // i.itemsize for s in np.broadcast_to(i, shape).strides)
            found.append(Index(i.dtype, (*lead, *at, *tail), into.shape[d], e[d], i.size))
        result = (*(into.shape[d] for d in before), *shape, *(into.shape[d] for d in after))
        xs = (*(e[d] for d in before), *(0,) * len(shape), *(e[d] for d in after))
        try:
            ys = [s // item for s in np.broadcast_to(source, result).strides]
        except ValueError:
            return None
        return write_plan(into, source, result, xs, ys, found, op, wrap)

    out = planned(key, (into, source, *arrays), make, small)
    return None if out is None else bool(out[0])


def once(x: Array) -> Array:
    """An array without what it repeats: one element along dims that no stride walks."""
    if 0 not in x.strides or not x.size:
        return x
    return x[tuple(slice(0, 1) if s == 0 else slice(None) for s in x.strides)]


def scatter(into: Array, source: Array, index: Array, dim: int, op: str, small: bool = False) -> bool | None:
    """into[..., index[i], ...] (op)= source[i] along `dim`; answers like `put`. The source is as large as the index, or 0-d.

    An index that has been expanded is read as it was before: along its other dims, rows are written.
    """
    shape, source = index.shape, np.asarray(source)
    index = np.ascontiguousarray(once(index))
    if meets(into, (source, index)):
        return None

    def make() -> Plan | None:
        if not writable(into, source):
            return None
        item = into.itemsize
        e = [s // item for s in into.strides]
        xs = [0 if d == dim else s for d, s in enumerate(e)]
        ys = [s // item for s in np.broadcast_to(source, shape).strides]
        at = tuple(s // index.itemsize for s in np.broadcast_to(index, shape).strides)
        one = Index(index.dtype, at, into.shape[dim], e[dim], index.size)
        return write_plan(into, source, shape, xs, ys, [one], op, False)

    out = planned(("scatter", dim, op, shape), (into, source, index), make, small)
    return None if out is None else bool(out[0])


__all__ = ["OPS", "put", "scatter"]
