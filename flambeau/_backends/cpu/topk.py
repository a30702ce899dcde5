"""The first k elements of each row along a dim, in order. Keys, and how a few of them are ordered, are those of `sort`.

Few of many need no whole order: the k-th smallest of the minima of many columns bounds the k-th element from above, and only
elements up to that bound are ordered. Rows of floats that lie side by side are compared as they are, not as keys, until it is
known which those are; rows with a NaN are not.

Beside the elements, each row has a mark: whether one of them equals another element of the row, and whether the last one does.
"""

from __future__ import annotations

from functools import cache
from math import prod

import numpy as np

from flambeau._backends.cpu.emit import APART, Function, Module, V, Words, suffix, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import Array, any_lane
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned
from flambeau._backends.cpu.sort import GRAIN, INT64, KINDS, Keys, buffers, flipped, orderer, row, scratch_of, write_row

SOME, LAST = 1, 2  # marks: some element has an equal one, or is NaN; the last one has, or is
FLOATS = {"float32": "float", "float64": "double"}
UNROLLED = 4  # vectors that are compared at a time


def text(target: Target, dtype: str) -> Module:
    """IR of `k`: the first `k` elements of each row, in order; `columns` is 0 where rows are ordered whole."""
    s = Keys(target, dtype)
    m = Module(f"topk {dtype}")
    orderer(m, s)
    giver(m, s)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    _, begin, end, scratch = f.params
    w = Words(f, "values indices marks x", "n q rows block flip k columns")
    n, q, c, flip = w["n"], w["q"], w["columns"], flipped(f, s, w)
    counts, keys, a, b = buffers(f, s, scratch, n)
    few = f.gep(s.entry, b, n + 1)  # keys of candidates, then where they stood
    places = f.gep(s.key, few, n + 2 * s.lanes)
    least = f.gep("i64", places, n)
    in_order = lambda of, many: f.call("ptr", "order", of, many, a, b, counts)
    with f.loop(begin * w["block"], f.min(end * w["block"], w["rows"])) as r:
        x = row(f, s.item, w["x"], r, n, q)
        values, indices = row(f, s.item, w["values"], r, w["k"], q), row(f, "i64", w["indices"], r, w["k"], q)

        def give(found: V, many: V, places: V, x: V = x, values: V = values, indices: V = indices, r: V = r) -> None:
            f.call("void", "give", found, many, places, x, q, values, indices, f.gep("i8", w["marks"], r), w["k"], flip)

        done = f.var("i1", 0)
        if dtype in FLOATS:
            with f.when((c != 0) & (q == 1)):
                row_ = Floats(f, s, FLOATS[dtype], x, n, w["flip"])
                with f.when(row_.extremes(c, least)):
                    f.call("void", "load", least, f.value(1, "i64"), c, f.value(-1, s.key), keys)
                    bound = f.load(row_.kind, least, s.place(f, entry(f, s, in_order(keys, c), w["k"] - 1)))
                    kept = row_.up_to(bound, flip, few, places)
                    give(in_order(few, kept), kept, places)
                    done.set(1)
        with f.when(done.get() ^ 1):
            f.call("void", "load", x, q, n, flip, keys)
            with f.either(c == 0) as otherwise:
                give(in_order(keys, n), n, f.value(0, "ptr"))
                otherwise()
                minima(f, s, keys, n, c, least)
                bound = s.whole(f, entry(f, s, in_order(least, c), w["k"] - 1))
                kept = up_to(f, s, keys, n, bound if s.wide else f.convert("trunc", bound, s.key), few, places)
                give(in_order(few, kept), kept, places)
    return m


def entry(f: Function, s: Keys, found: V, i: V) -> V:
    """The i-th of entries in order."""
    return f.load(s.entry, f.gep(s.entry, found, i), align=8)


def minima(f: Function, s: Keys, keys: V, n: V, c: V, least: V) -> None:
    """The least key of each of c columns."""
    wide = vector(s.key, s.lanes)
    with f.loop(n, n + s.lanes) as j:  # the last vector may be read beyond the row
        f.store(f.value(-1, s.key), keys, j)
    with f.loop(0, c, s.lanes) as j:
        low = f.var(wide, f.load(wide, keys, j))
        with f.loop(j + c, n, c) as i:
            low.set(f.call(wide, f"llvm.umin.{suffix(wide)}", low.get(), f.load(wide, keys, i)))
        f.store(low.get(), least, j)


def up_to(f: Function, s: Keys, keys: V, n: V, bound: V, few: V, places: V) -> V:
    """How many keys are no larger than the bound; copies of them, and where they stand."""
    kept, bounds = f.var("i64", 0), f.splat(bound, s.lanes)
    with f.loop(0, n, s.lanes) as j:
        v = f.load(vector(s.key, s.lanes), keys, j)
        good = f.emit(vector("i1", s.lanes), f"icmp ule {v}, {bounds.name}")
        with f.when(any_lane(f, good, s.lanes)), f.loop(j, f.min(j + s.lanes, n)) as i:
            key = f.load(s.key, keys, i)
            f.store(key, few, kept.get())
            f.store(i, places, kept.get())
            low = f.emit("i1", f"icmp ule {key}, {bound.name}")
            kept.set(kept.get() + f.convert("zext", low, "i64"))
    return kept.get()


def giver(m: Module, s: Keys) -> None:
    """Defines give(found, many, places, x, q, values, indices, mark, k, flip): the first k of `many` entries in order, and their mark.

    Where there are `places`, the entries' are places in those.
    """
    f = m.function(
        "internal void give(ptr found, i64 many, ptr places, ptr x, i64 q, ptr values, ptr indices, ptr mark, i64 k, "
        f"{s.key} flip)",
        APART,
    )
    found, many, places, x, q, values, indices, mark, k, flip = f.params
    key = lambda i: s.whole(f, entry(f, s, found, i))
    marks = f.var("i64", 0)
    if s.infinity is not None:  # NaN are the largest: the first or the last
        nan = flip ^ -1 if s.bits >= 32 else (flip ^ -1) & ((1 << s.bits) - 1)
        nan = nan if s.wide else f.convert("zext", nan, "i64")
        marks.set(
            f.select(key(k - 1) == nan, SOME | LAST, f.select(key(f.value(0, "i64")) == nan, SOME, 0, "i64"), "i64")
        )
    with f.loop(0, k) as j:
        place = s.place(f, entry(f, s, found, j))
        at = f.var("i64", place)
        with f.when(f.emit("i1", f"icmp ne {places}, null")):
            at.set(f.load("i64", places, place))
        write_row(f, s, values, indices, x, q, j, at.get())
        with f.when(j + 1 < many):
            alike = f.select(j + 2 >= k, SOME | LAST, SOME, "i64")
            marks.set(marks.get() | f.select(key(j + 1) == key(j), alike, 0, "i64"))
    f.store(f.convert("trunc", marks.get(), "i8"), mark)


class Floats:
    """A row of floats, of which the largest are looked for, or with `flip` 0 the smallest: then all are turned."""

    def __init__(self, f: Function, s: Keys, kind: str, x: V, n: V, flip: V) -> None:
        self.f, self.s, self.kind, self.x, self.n = f, s, kind, x, n
        self.wide = vector(kind, s.lanes)
        self.sign = f.select(flip == 0, -1 << s.bits - 1, 0, s.item)

    def turned(self, v: V) -> V:
        """Numbers of which the largest are looked for."""
        bits = self.f.convert("bitcast", v, vector(self.s.item, self.s.lanes))
        return self.f.convert("bitcast", bits ^ self.f.splat(self.sign, self.s.lanes), self.wide)

    def vectors(self, i: V, many: int) -> list[V]:
        return [
            self.turned(self.f.load(self.wide, self.f.gep(self.kind, self.x, i + v * self.s.lanes)))
            for v in range(many)
        ]

    def part(self, i: V) -> tuple[V, V]:
        """The vector at i with nothing to be found beyond the row's end, and where the row is."""
        here = self.f.lane_mask(self.s.lanes, self.n - i)
        v = self.turned(self.f.mload(self.wide, self.f.gep(self.kind, self.x, i), here))
        return self.f.select(here, v, float("-inf")), here

    def extremes(self, c: V, to: V) -> V:
        """The largest number of each of c columns, and whether all of them are numbers."""
        f, lanes = self.f, self.s.lanes
        larger = lambda a, b: f.select(a > b, a, b)
        odd = f.var(vector("i1", lanes), 0)
        strange = lambda a, b: odd.set(odd.get() | f.emit(odd.type, f"fcmp uno {a}, {b.name}"))
        step = UNROLLED * lanes
        width = f.max(c, step)
        whole = self.n - self.n % width
        with f.loop(0, width, step) as j:
            most = [f.var(self.wide, float("-inf")) for _ in range(UNROLLED)]
            with f.loop(j, whole, width) as i:
                found = self.vectors(i, UNROLLED)
                for best, v in zip(most, found, strict=True):
                    best.set(larger(best.get(), v))
                for one, other in zip(found[::2], found[1::2], strict=True):
                    strange(one, other)
            for v, best in enumerate(most):
                f.store(best.get(), f.gep(self.kind, to, j + v * lanes))
        top = lambda i: f.gep(self.kind, to, i)
        with f.loop(whole, self.n, lanes) as i:
            v, _ = self.part(i)
            f.store(larger(f.load(self.wide, top(i - whole)), v), top(i - whole))
            strange(v, v)
        half = step // 2
        while half >= lanes:  # columns that are fewer than those of vectors side by side
            with f.when(c <= half), f.loop(0, half, lanes) as i:
                f.store(larger(f.load(self.wide, top(i)), f.load(self.wide, top(i + half))), top(i))
            half //= 2
        return any_lane(f, odd.get(), lanes) ^ 1

    def up_to(self, bound: V, flip: V, few: V, places: V) -> V:
        """How many numbers are no smaller than the bound; keys of them, and where they stand."""
        f, s = self.f, self.s
        kept, bounds, step = f.var("i64", 0), f.splat(bound, s.lanes), UNROLLED * s.lanes

        def keep(good: list[V], i: V) -> None:
            some = good[0]
            for other in good[1:]:
                some = some | other
            with f.when(any_lane(f, some, s.lanes)):
                left = f.var("i64", 0)
                for v, bits in enumerate(good):
                    word = f.convert("bitcast", bits, f"i{s.lanes}")
                    left.set(left.get() | f.convert("zext", word, "i64") << v * s.lanes)
                with f.forever() as over:
                    with f.when(left.get() == 0):
                        f.jump(over)
                    place = i + f.call("i64", "llvm.cttz.i64", left.get(), f.value(0, "i1"))
                    f.store(s.of(f, f.load(s.item, f.gep(s.item, self.x, place)), flip), few, kept.get())
                    f.store(place, places, kept.get())
                    kept.set(kept.get() + 1)
                    left.set(left.get() & left.get() - 1)

        whole = self.n - self.n % step
        with f.loop(0, whole, step) as i:
            keep([v >= bounds for v in self.vectors(i, UNROLLED)], i)
        with f.loop(whole, self.n, s.lanes) as i:
            v, here = self.part(i)
            keep([(v >= bounds) & here], i)
        return kept.get()


@cache
def kernel(dtype: str) -> Code:
    native = engine()
    parts = [("kernel", "topk"), ("dtype", dtype)]
    return native.load(lambda: str(text(native.target, dtype)), ["k"], parts=parts)


# -- plans --------------------------------------------------------------------------------------------------------------


def plan(x: Array, count: int, dim: int, largest: bool) -> Plan:
    """The plan of the `count` first elements, the largest or smallest first."""
    dtype = x.dtype.name
    n, q = x.shape[dim], prod(x.shape[dim + 1 :])
    rows = x.size // n
    s, code = Keys(engine().target, dtype), kernel(dtype)
    columns = max(
        s.lanes, 1 << (3 * count // 2 - 1).bit_length()
    )  # the bound lets through half as many again as are asked for
    if 4 * columns > n:
        columns = 0  # as many as this are ordered whole
    block = max(1, GRAIN // n)
    shape = (*x.shape[:dim], count, *x.shape[dim + 1 :])
    constants = (n, q, rows, block, -1 if largest else 0, count, columns)
    slots = (*((OUT, i) for i in range(3)), (ARG, 0), *((CONST, v) for v in constants))
    scratch = scratch_of(s, n) + (n + 2 * s.lanes) * 16 + n * 8 + (max(columns, UNROLLED * s.lanes) + s.lanes) * 8
    work = Launch(code["k"], slots, -(-rows // block), scratch)
    results = (Result(x.dtype, shape), Result(INT64, shape), Result(np.dtype(np.uint8), (rows,)))
    return Plan(results, (work,), release=x.size >= GRAIN, keep=(code,))


def topk(x: Array, count: int, dim: int, largest: bool, small: bool = False) -> tuple[Array, Array, Array] | None:
    """(values, indices, a mark for each row), or None where the array library should do it."""
    if x.dtype not in KINDS or not x.size or not count or x.shape[dim] >= 1 << 32:
        return None
    x = np.ascontiguousarray(x)
    found: tuple[Array, Array, Array] | None = planned(
        ("topk", count, dim, largest), (x,), lambda: plan(x, count, dim, largest), small
    )
    return found
