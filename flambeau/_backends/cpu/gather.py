"""Gathered reads: elements or rows at places that arrays of indices name. One kernel per element size and kinds of index.

    out[p, q, r, j] = x[what p, q, r, j walk in x, plus the sum over k of index_k[p, q, r, j] * step_k]

Every axis of the result walks x, or the index arrays, or both, with strides known at run time; so gather, take, lookups of
rows and indexing by several arrays are one template. Along j an index is fixed (then a row is copied), contiguous or
strided. Indices are checked as they are read: one out of bounds reads element 0 and sets a flag, which the caller looks at
before anybody sees the result. Elements are moved as integers of their size.

Not here: writes (scatter.py), and what an index out of bounds is called (library_indexing.py).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import collapse
from flambeau._backends.cpu.emit import Function, Module, V, suffix, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned

Array = np.ndarray[Any, Any]
AXES = 4  # of a walk: three outer ones and the inner one
ITEMS = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
INDICES = {np.dtype(np.int64): "i64", np.dtype(np.int32): "i32"}
GRAIN = 1 << 14  # elements of a chunk read one by one
CHECKED = 4  # vectors of indices checked at once
AHEAD = 256  # lines of memory that are asked for before they are needed: half of a first-level cache
BYTES = 1 << 17  # bytes of a chunk read by rows


@dataclass(frozen=True)
class Index:
    """An array of indices: its dtype, its strides over the axes of the walk, and the extent and step of what it counts."""

    dtype: Any
    strides: tuple[int, ...]
    extent: int
    step: int


@dataclass(frozen=True)
class Walk:
    """Axes that read indices and elements of `x` at once; strides in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]  # of x, 0 where only indices move
    indices: tuple[Index, ...]

    def folded(self, *others: Sequence[int]) -> tuple[Walk, list[tuple[int, ...]]] | None:
        """The same with exactly `AXES` axes, and so other arrays' strides over them; None where that cannot be."""
        steps = [self.strides, *(i.strides for i in self.indices), *others]
        dims, walks = collapse(self.shape, *steps)
        if len(dims) > AXES:
            return None
        pad = AXES - len(dims)
        by = [(*(0,) * pad, *(w[a] for w in walks)) for a in range(len(steps))]
        named = [Index(i.dtype, s, i.extent, i.step) for i, s in zip(self.indices, by[1:], strict=False)]
        return Walk((*(1,) * pad, *dims), by[0], tuple(named)), by[1 + len(named) :]

    @property
    def kinds(self) -> str:
        """How each index moves along the inner axis: f(ixed), v(ector), s(trided)."""
        return "".join({0: "f", 1: "v"}.get(i.strides[-1], "s") for i in self.indices)


def steps(x: Array) -> tuple[int, ...] | None:
    """Strides in elements; None where they are not whole, or elements are of no size that kernels move."""
    n = x.itemsize
    if n not in ITEMS or not x.flags.aligned or any(s % n for s in x.strides):
        return None
    return tuple(s // n for s in x.strides)


# -- the kernel ---------------------------------------------------------------------------------------------------------


def slots(pointers: Sequence[str], count: int, more: Sequence[str] = ()) -> dict[str, int]:
    """Where a kernel's words are: pointers, then extents, strides and what else there is."""
    names = [*pointers, *(f"index{k}" for k in range(count)), "n0", "n1", "n2", "w", "rows", "cols"]
    names += [f"x{a}" for a in range(AXES)]
    names += [f"{n}{k}" for k in range(count) for n in ("i0_", "i1_", "i2_", "i3_", "extent", "step")]
    return {n: i for i, n in enumerate((*names, *more))}


class Reader:
    """The parts of a kernel that read indices: words by name, and the place that the indices of an element name."""

    def __init__(self, f: Function, at: dict[str, int], kinds: str, types: Sequence[str], wrap: bool) -> None:
        self.f, self.at, self.kinds, self.types, self.wrap = f, at, kinds, types, wrap
        self.words: dict[str, V] = {}
        for name, i in at.items():
            pointer = name in ("out", "bad", "x", "into", "source") or name.startswith("index")
            self.words[name] = f.load("ptr" if pointer else "i64", f.gep("i64", f.params[0], i))

    def __getitem__(self, name: str) -> V:
        return self.words[name]

    def unravel(self, row: V) -> tuple[V, V, V]:
        rest, r2 = row // self["n2"], row % self["n2"]
        return rest // self["n1"], rest % self["n1"], r2

    def outer(self, prefix: str, rs: tuple[V, V, V], tail: str = "") -> V:
        """The offset that the outer axes make."""
        a, b, c = (r * self[f"{prefix}{i}{tail}"] for i, r in enumerate(rs))
        return a + b + c

    def lines(self, rs: tuple[V, V, V]) -> list[V]:
        """Each index array's address at the start of a row."""
        return [self.f.gep(t, self[f"index{k}"], self.outer("i", rs, f"_{k}")) for k, t in enumerate(self.types)]

    def fixed(self, lines: list[V]) -> tuple[V, V]:
        """(offset, i1: an index is out of bounds) of the indices that do not move along a row."""
        return self._sum(
            [k for k, c in enumerate(self.kinds) if c == "f"], lambda k: self.f.load(self.types[k], lines[k]), 1
        )

    def moving(self, lines: list[V], j: V, n: int) -> tuple[V, V]:
        """The same for n elements from j on, of the indices that do move."""
        f = self.f

        def read(k: int) -> V:
            t = vector(self.types[k], n)
            if self.kinds[k] == "v":
                return f.load(t, f.gep(self.types[k], lines[k], j))
            stride = self[f"i3_{k}"]
            return gathered(f, self.types[k], f.gep(self.types[k], lines[k], j * stride), strided(f, stride, n), n)

        return self._sum([k for k, c in enumerate(self.kinds) if c != "f"], read, n)

    def place(self, lines: list[V], j: V, near: bool) -> V:
        """The offset of element j by the one index that moves, which is in bounds; `near`: its step is 1."""
        f, k = self.f, self.kinds.index("v")
        i = f.load(self.types[k], f.gep(self.types[k], lines[k], j))
        i = i if self.types[k] == "i64" else f.convert("sext", i, "i64")
        if self.wrap:
            i = f.select(i < 0, i + self[f"extent{k}"], i)
        return i if near else i * self[f"step{k}"]

    def _sum(self, which: list[int], read: Callable[[int], V], n: int) -> tuple[V, V]:
        f, long, bit = self.f, vector("i64", n), vector("i1", n)
        total, bad = f.value(0, long), f.value(0, bit)
        for k in which:
            i = read(k)
            i = i if self.types[k] == "i64" else f.convert("sext", i, long)
            extent = f.splat(self[f"extent{k}"], n)
            if self.wrap:
                i = f.select(i < 0, i + extent, i)
            good = f.emit(bit, f"icmp ult {i}, {extent.name}")
            bad = bad | f.emit(bit, f"icmp uge {i}, {extent.name}")
            total = total + f.select(good, i, 0) * f.splat(self[f"step{k}"], n)
        return total, bad


def strided(f: Function, stride: V, n: int) -> V:
    """0, stride, 2 stride, ... in n lanes."""
    if n == 1:
        return f.value(0, "i64")
    lanes = V(f, vector("i64", n), "<" + ", ".join(f"i64 {i}" for i in range(n)) + ">")
    return lanes * f.splat(stride, n)


def gathered(f: Function, item: str, p: V, offsets: V, n: int) -> V:
    """n elements at offsets from p."""
    if n == 1:
        return f.load(item, f.gep(item, p, offsets))
    ptrs = f.emit(f"<{n} x ptr>", f"getelementptr {item}, {p}, {offsets}")
    align = f.value(int(item[1:]) // 8, "i32")
    on = V(f, vector("i1", n), "<" + ", ".join(["i1 true"] * n) + ">")
    zero = V(f, vector(item, n), "zeroinitializer")
    return f.call(zero.type, f"llvm.masked.gather.{suffix(zero.type)}.v{n}p0", ptrs, align, on, zero)


def copier(m: Module, item: str, n: int) -> None:
    """Defines copy(to, from, count): contiguous elements, whole vectors first, the last of them overlapping."""
    f = m.function("internal void copy(ptr noalias to, ptr noalias from, i64 count)")
    to, src, count = f.params
    with f.when(count < n):
        with f.loop(0, count) as j:
            f.store(f.load(item, src, j), to, j)
        f.ret()
    wide = vector(item, n)
    four = count & -4 * n
    with f.loop(0, four, 4 * n) as j:
        parts = [f.load(wide, f.gep(item, src, j + i * n)) for i in range(4)]
        for i, v in enumerate(parts):
            f.store(v, f.gep(item, to, j + i * n))
    with f.loop(four, count - (n - 1), n) as j:
        f.store(f.load(wide, f.gep(item, src, j)), f.gep(item, to, j))
    last = count - n
    f.store(f.load(wide, f.gep(item, src, last)), f.gep(item, to, last))


def zero(m: Module) -> None:
    """Defines zero(args, ...): the flag, before anybody sets it."""
    f = m.function("void zero(ptr args, i64 begin, i64 end, ptr scratch)")
    f.store(f.value(0, "i64"), f.load("ptr", f.params[0]))


def flag(f: Function, bad: V, where: V) -> None:
    """Sets the flag if bad; threads write the same word, all of them 1."""
    with f.when(bad):
        f.do(f"store atomic i64 1, {where} monotonic, align 8")


def any_lane(f: Function, bits: V, n: int) -> V:
    return bits if n == 1 else f.call("i1", f"llvm.vector.reduce.or.v{n}i1", bits)


def copy_row(w: Reader, item: str, to: V, src: V, j0: V, j1: V) -> None:
    """Elements j0 to j1 of a row whose indices are fixed."""
    f = w.f
    with f.either(w["x3"] == 1) as otherwise:
        f.call("void", "copy", f.gep(item, to, j0), f.gep(item, src, j0), j1 - j0)
        otherwise()
        with f.loop(j0, j1) as j:
            f.store(f.load(item, f.gep(item, src, j * w["x3"])), to, j)


def pick_row(w: Reader, item: str, to: V, src: V, lines: list[V], j0: V, j1: V, n: int) -> None:
    """Elements j0 to j1 of a row along which indices move, n at a time."""
    f = w.f
    wrong = f.var(vector("i1", n), 0)
    whole = j1 - (j1 - j0) % n
    along = strided(f, w["x3"], n)
    with f.loop(j0, whole, n) as j:
        place, bad = w.moving(lines, j, n)
        wrong.set(wrong.get() | bad)
        f.store(gathered(f, item, f.gep(item, src, j * w["x3"]), place + along, n), f.gep(item, to, j))
    flag(f, any_lane(f, wrong.get(), n), w["bad"])
    pick_rest(w, item, to, src, lines, whole, j1)


def pick_rest(w: Reader, item: str, to: V, src: V, lines: list[V], j0: V, j1: V) -> None:
    """Elements j0 to j1, one by one."""
    f = w.f
    with f.loop(j0, j1) as j:
        place, bad = w.moving(lines, j, 1)
        flag(f, bad, w["bad"])
        f.store(f.load(item, f.gep(item, src, place + j * w["x3"])), to, j)


def pick_by_one(w: Reader, item: str, to: V, src: V, lines: list[V], j0: V, j1: V, n: int) -> None:
    """Elements j0 to j1 of a row along which one index moves from neighbour to neighbour.

    Indices are checked by vectors, some of them before any element is read; elements are read one by one, which takes no longer
    than an instruction that gathers them, and on many processors half as long."""
    f, many = w.f, CHECKED * n
    whole = j1 - (j1 - j0) % many

    def read(near: bool) -> None:
        with f.loop(j0, whole, many) as j:
            bad = [w.moving(lines, j + u * n, n)[1] for u in range(CHECKED)]
            with f.either(any_lane(f, functools.reduce(operator.or_, bad), n)) as otherwise:
                pick_rest(w, item, to, src, lines, j, j + many)
                otherwise()
                start = src if near else f.gep(item, src, j * w["x3"])
                for u in range(many):
                    f.store(f.load(item, f.gep(item, start, w.place(lines, j + u, near))), to, j + u)
                    start = start if near else f.gep(item, start, w["x3"])

    step = w[f"step{w.kinds.index('v')}"]
    with f.either((step == 1) & (w["x3"] == 0)) as otherwise:  # mostly x's last dim, without gaps
        read(True)
        otherwise()
        read(False)
    pick_rest(w, item, to, src, lines, whole, j1)


def ahead(w: Reader, item: str, row: V, j0: V, j1: V) -> None:
    """Asks for all that the next row may read, where that is little and most of it will be."""
    f, size = w.f, int(item[1:]) // 8
    lines = (w["extent0"] * size + 63) // 64
    near = (w["step0"] == 1) & (w["x3"] == 0) & (lines <= AHEAD) & (lines <= j1 - j0)
    with f.when(near):
        start = f.gep(item, w["x"], w.outer("x", w.unravel(row + 1)))
        with f.loop(0, lines) as k:
            f.prefetch(f.gep("i8", start, k * 64))


def text(target: Target, item: str, kinds: str, types: Sequence[str], wrap: bool) -> Module:
    """IR of the kernel, `k`; chunks are blocks of rows and columns of the result."""
    n = max(4, target.vector_bytes // 8)
    wide = max(4, target.vector_bytes // (int(item[1:]) // 8))
    m = Module(f"gather {item} {kinds} {' '.join(types)} {wrap}")
    zero(m)
    copier(m, item, wide)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, _ = f.params
    w = Reader(f, slots(("out", "bad", "x"), len(kinds)), kinds, types, wrap)
    blocks = (w["w"] + w["cols"] - 1) // w["cols"]
    total = w["n0"] * w["n1"] * w["n2"]
    with f.loop(begin, end) as chunk:
        j0, row0 = chunk % blocks * w["cols"], chunk // blocks * w["rows"]
        j1 = f.min(j0 + w["cols"], w["w"])
        with f.loop(row0, f.min(row0 + w["rows"], total)) as row:
            rs = w.unravel(row)
            lines = w.lines(rs)
            offset, bad = w.fixed(lines)
            flag(f, bad, w["bad"])
            src = f.gep(item, w["x"], w.outer("x", rs) + offset)
            to = f.gep(item, w["out"], row * w["w"])
            if set(kinds) == {"f"}:
                copy_row(w, item, to, src, j0, j1)
            elif kinds.replace("f", "") == "s":
                pick_rest(w, item, to, src, lines, j0, j1)
            elif kinds.replace("f", "") == "v":
                if kinds == "v":
                    ahead(w, item, row, j0, j1)
                pick_by_one(w, item, to, src, lines, j0, j1, n)
            else:
                pick_row(w, item, to, src, lines, j0, j1, n)
    return m


@cache
def kernel(item: str, kinds: str, types: tuple[str, ...], wrap: bool) -> Code:
    native = engine()
    parts = [("kernel", "gather"), ("item", item), ("kinds", kinds), ("index", types), ("wrap", wrap)]
    return native.load(lambda: str(text(native.target, item, kinds, types, wrap)), ["k", "zero"], parts=parts)


# -- plans --------------------------------------------------------------------------------------------------------------


def words(walk: Walk, rows: int, cols: int) -> list[int]:
    """The constants that `slots` names, from n0 on."""
    out = [*walk.shape, rows, cols, *walk.strides]
    for i in walk.indices:
        out += [*i.strides, i.extent, i.step]
    return out


def plan_of(x: Array, walk: Walk, shape: Sequence[int], wrap: bool) -> Plan | None:
    """The plan that reads x (argument 0) by its indices (the arguments after it): (result, flag)."""
    if 0 in walk.shape or any(i.extent == 0 or i.dtype not in INDICES for i in walk.indices):
        return None
    folded = walk.folded()
    if folded is None:
        return None
    walk, _ = folded
    width, rows = walk.shape[-1], prod(walk.shape[:-1])
    code = kernel(ITEMS[x.itemsize], walk.kinds, tuple(INDICES[i.dtype] for i in walk.indices), wrap)
    grain = max(1, BYTES // x.itemsize) if set(walk.kinds) == {"f"} else GRAIN
    cols = min(width, grain)
    block = max(1, grain // cols)
    constants = words(walk, block, cols)
    where = [(OUT, 0), (OUT, 1), (ARG, 0), *((ARG, k + 1) for k in range(len(walk.indices)))]
    chunks = -(-rows // block) * -(-width // cols)
    clear = Launch(code["zero"], ((OUT, 1),))
    work = Launch(code["k"], (*where, *((CONST, c) for c in constants)), chunks)
    results = (Result(x.dtype, tuple(shape)), Result(np.dtype(np.int64), (1,)))
    return Plan(results, (clear, work), release=rows * width * x.itemsize >= BYTES, keep=(code,))


def read_plan(x: Array, indices: Sequence[Array | None], wrap: bool) -> Plan | None:
    """The plan of x[indices], by the array library's rules; None stands for all of a dim."""
    e = steps(x)
    given = [d for d, i in enumerate(indices) if i is not None]
    arrays = [indices[d] for d in given]
    if e is None:
        return None
    shape = np.broadcast_shapes(*(i.shape for i in arrays if i is not None))
    together = given[-1] - given[0] + 1 == len(given)
    before = [d for d in range(given[0])] if together else []
    after = [d for d in range(x.ndim) if d not in given and d not in before]
    lead, tail = (0,) * len(before), (0,) * len(after)
    found = []
    for d, i in zip(given, arrays, strict=True):
        at = None if i is None else index_steps(np.broadcast_to(i, shape))
        if i is None or at is None:
            return None
        found.append(Index(i.dtype, (*lead, *at, *tail), x.shape[d], e[d]))
    result = (*(x.shape[d] for d in before), *shape, *(x.shape[d] for d in after))
    strides = (*(e[d] for d in before), *(0,) * len(shape), *(e[d] for d in after))
    return plan_of(x, Walk(result, strides, tuple(found)), result, wrap)


def index_steps(i: Array) -> tuple[int, ...] | None:
    return steps(i) if i.dtype in INDICES else None


def gather_plan(x: Array, index: Array, dim: int, wrap: bool) -> Plan | None:
    """The plan of an element along `dim` for each index."""
    e, at = steps(x), index_steps(index)
    if e is None or at is None:
        return None
    strides = tuple(0 if d == dim else s for d, s in enumerate(e))
    one = Index(index.dtype, at, x.shape[dim], e[dim])
    return plan_of(x, Walk(index.shape, strides, (one,)), index.shape, wrap)


def read(x: Array, indices: Sequence[Array | None], wrap: bool, small: bool = False) -> tuple[Array, Array] | None:
    """(x[indices], flag: 1 if an index was out of bounds), or None where the array library should do it."""
    arrays = [i for i in indices if i is not None]
    key = ("index", *[i is None for i in indices], wrap)
    return planned(key, (x, *arrays), lambda: read_plan(x, indices, wrap), small)


def gather(x: Array, index: Array, dim: int, wrap: bool, small: bool = False) -> tuple[Array, Array] | None:
    """(elements of x along `dim`, flag), or None where the array library should do it."""
    return planned(("gather", dim, wrap), (x, index), lambda: gather_plan(x, index, dim, wrap), small)
