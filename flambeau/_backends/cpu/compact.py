"""Elements where a mask holds: picked into a dense array, written from one, or told by their coordinates. Order is kept.

Two launches. The first counts for each chunk of the mask where it holds; the sums of the counts say where in the dense array a
chunk begins, so that chunks may then be walked by any thread. Inside a chunk elements are moved a vector at a time where the
machine has instructions that compress and expand, else one after the other without a branch: what does not hold is written, too,
and then written over by what follows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.emit import Function, Module, V, Variable, Words, suffix, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.gather import ITEMS
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned

Array = np.ndarray[Any, Any]
GRAIN = 1 << 14  # elements of a chunk
STEP = 8  # elements at a time where the machine cannot compress


def count_text(target: Target) -> Module:
    """IR of `k`: for each chunk, how many bytes of the mask are not 0."""
    n = target.vector_bytes
    m = Module("holds")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = Words(f, "counts mask", "size")
    with f.loop(f.params[1], f.params[2]) as chunk:
        first, total = chunk * GRAIN, f.var("i64", 0)
        last = f.min(first + GRAIN, w["size"])
        whole = last - (last - first) % n
        with f.loop(first, whole, n) as i:
            total.set(total.get() + population(f, holding(f, w["mask"], i, n), n))
        with f.loop(whole, last) as i:
            total.set(total.get() + f.convert("zext", holding(f, w["mask"], i, 1), "i64"))
        f.store(total.get(), w["counts"], chunk)
    return m


def holding(f: Function, mask: V, i: V, n: int) -> V:
    """<n x i1>: where n bytes are not 0."""
    return f.load(vector("i8", n), f.gep("i8", mask, i)) != 0


def population(f: Function, on: V, n: int) -> V:
    """How many of n bits are set."""
    bits = f.convert("bitcast", on, f"i{n}")
    count = f.call(f"i{n}", f"llvm.ctpop.i{n}", bits)
    return count if n == 64 else f.convert("zext", count, "i64")


def scan(f: Function, mask: V, first: V, last: V, at: Variable, limit: V, how: Any) -> None:
    """Walks the mask from `first` to `last`, moving `at`, the place in the dense array, which ends at `limit`.

    `how` is (lanes, vectorised, one): a function of (i, at, where it holds) for that many elements, or None; and one of
    (i, at, whether it holds or None where it does) for a single one, which may be called where it does not.
    """
    n, many, one = how
    whole = last - (last - first) % n
    with f.loop(first, whole, n) as i:
        on = holding(f, mask, i, n)
        count, place = population(f, on, n), at.get()
        with f.when(count != 0):
            if many is not None:
                many(i, place, on)
            else:
                with f.either(place + count < limit) as otherwise:  # what is written last will be written over
                    here = place
                    for lane in range(n):
                        bit = f.emit("i1", f"extractelement {on}, i64 {lane}")
                        one(i + lane, here, bit)
                        here = here + f.convert("zext", bit, "i64")
                    otherwise()
                    rest(f, mask, i, i + n, f.var("i64", place), one)
            at.set(place + count)
    rest(f, mask, whole, last, at, one)


def rest(f: Function, mask: V, first: V, last: V, at: Variable, one: Any) -> None:
    """Elements one by one, with a branch."""
    with f.loop(first, last) as i, f.when(holding(f, mask, i, 1)):
        one(i, at.get(), None)
        at.set(at.get() + 1)


def text(target: Target, what: str, item: str, dims: int) -> Module:
    """IR of `k`, which picks (`to` from x), spreads (`to`, from the dense x) or writes places of so many dims."""
    m = Module(f"compact {what} {item} {dims}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = Words(f, "to mask starts x", " ".join(["size", *(f"n{d}" for d in range(dims))]))
    at = f.var("i64")
    with f.loop(f.params[1], f.params[2]) as chunk:
        first = chunk * GRAIN
        last = f.min(first + GRAIN, w["size"])
        at.set(f.load("i64", w["starts"], chunk))
        limit = f.load("i64", w["starts"], chunk + 1)
        with f.when(at.get() < limit):
            if dims < 2:
                scan(f, w["mask"], first, last, at, limit, moves(f, target, what, item, w))
            else:
                width = w[f"n{dims - 1}"]
                with f.loop(first // width, (last - 1) // width + 1) as row:
                    start = row * width
                    coordinates: list[V] = []
                    left = row
                    for d in reversed(range(dims - 1)):
                        coordinates.insert(0, left % w[f"n{d}"])
                        left = left // w[f"n{d}"]
                    how = (STEP, None, lambda i, p, _, c=coordinates, s=start: write_place(f, w["to"], p, [*c, i - s]))
                    scan(f, w["mask"], f.max(first, start), f.min(last, start + width), at, limit, how)
    return m


def write_place(f: Function, to: V, at: V, coordinates: list[V]) -> None:
    """One row of the coordinates."""
    for d, c in enumerate(coordinates):
        f.store(c, to, at * len(coordinates) + d)


def moves(f: Function, target: Target, what: str, item: str, w: Words) -> tuple[int, Any, Any]:
    """How `scan` moves elements."""
    to, x = w["to"], w["x"]

    def one(i: V, at: V, on: V | None) -> None:
        if what == "spread":
            new = f.load(item, x, at)
            f.store(new if on is None else f.select(on, new, f.load(item, to, i)), to, i)
        else:
            f.store(i if what == "place" else f.load(item, x, i), to, at)

    bits = int(item[1:])
    if not target.has("avx512f") or bits < 32:
        return STEP, None, one
    n = 512 // bits
    kind = vector(item, n)

    def many(i: V, at: V, on: V) -> None:
        if what == "spread":
            p, old = f.gep(item, x, at), V(f, kind, "poison")
            f.mstore(f.call(kind, f"llvm.masked.expandload.{suffix(kind)}", p, on, old), f.gep(item, to, i), on)
            return
        steps = V(f, kind, "<" + ", ".join(f"{item} {j}" for j in range(n)) + ">")
        v = steps + f.splat(i, n) if what == "place" else f.load(kind, f.gep(item, x, i))
        f.call("void", f"llvm.masked.compressstore.{suffix(kind)}", v, f.gep(item, to, at), on)

    return n, many, one


@cache
def counter() -> Code:
    native = engine()
    return native.load(lambda: str(count_text(native.target)), ["k"], parts=[("kernel", "holds")])


@cache
def kernel(what: str, item: str, dims: int) -> Code:
    native = engine()
    parts = [("kernel", "compact"), ("what", what), ("item", item), ("dims", dims)]
    return native.load(lambda: str(text(native.target, what, item, dims)), ["k"], parts=parts)


def starts_of(mask: Array) -> Array:
    """Where each chunk of a dense mask begins in the dense array, and where the last one ends."""
    chunks = -(-mask.size // GRAIN)

    def make() -> Plan:
        code = counter()
        work = Launch(code["k"], ((OUT, 0), (ARG, 0), (CONST, mask.size)), chunks)
        return Plan((Result(np.dtype(np.int64), (chunks,)),), (work,), release=mask.size > 1 << 16, keep=(code,))

    starts = np.zeros(chunks + 1, np.int64)
    np.cumsum(planned(("holds",), (mask,), make), out=starts[1:])
    return starts


def run(what: str, mask: Array, starts: Array, to: Array, x: Array | None, shape: tuple[int, ...]) -> None:
    """One pass over a dense mask; addresses are arguments, so that a plan is for masks of one size."""
    item = "i64" if x is None else ITEMS[x.itemsize]
    addresses = (to.ctypes.data, 0 if x is None else x.ctypes.data)

    def make() -> Plan:
        code = kernel(what, item, len(shape))
        slots = ((ARG, 2), (ARG, 0), (ARG, 1), (ARG, 3), (CONST, mask.size), *((CONST, n) for n in shape))
        work = Launch(code["k"], slots, len(starts) - 1)
        return Plan((), (work,), release=mask.size > 1 << 16, keep=(code,))

    planned(("compact", what, item, shape), (mask, starts, *addresses), make)


def scanned(mask: Array) -> tuple[Array, Array]:
    """A mask's bytes, one after the other, and where their chunks begin in the dense array."""
    held = np.ascontiguousarray(mask).reshape(-1).view(np.uint8)
    return held, starts_of(held)


def picked(x: Array, held: Array, starts: Array) -> Array:
    out = np.empty(int(starts[-1]), x.dtype)
    run("pick", held, starts, out, np.ascontiguousarray(x), ())
    return out


def pick(x: Array, mask: Array) -> Array | None:
    """x[mask], of one shape; None where elements are of a size that kernels do not move."""
    return picked(x, *scanned(mask)) if x.itemsize in ITEMS and x.flags.aligned else None


def writes(into: Array, mask: Array, source: Array) -> bool:
    """Whether elements are of a size that kernels move, and the array is dense and apart from what is read."""
    dense = into.flags.c_contiguous and into.flags.aligned and into.flags.writeable
    return into.itemsize in ITEMS and dense and not any(np.may_share_memory(into, x) for x in (source, mask))


def spread(into: Array, mask: Array, source: Array) -> int | None:
    """into[mask] = the first elements of a vector, in place; how many they are. Nothing is written where they are too few.

    None where kernels do not write.
    """
    if not writes(into, mask, source):
        return None
    held, starts = scanned(mask)
    if source.size >= starts[-1]:
        run("spread", held, starts, into, np.ascontiguousarray(source), ())
    return int(starts[-1])


def put(into: Array, mask: Array, values: Array, accumulate: bool) -> bool:
    """Whether into[mask] = values (or +=) was done: there are as many as the mask holds, and kernels write."""
    if not writes(into, mask, values):
        return False
    held, starts = scanned(mask)
    if values.size != starts[-1]:
        return False
    if accumulate:
        values = np.add(picked(into, held, starts), values, dtype=into.dtype)
    run("spread", held, starts, into, np.ascontiguousarray(values), ())
    return True


def places(mask: Array) -> Array:
    """The coordinates of where a mask holds, one row each."""
    held, starts = scanned(mask)
    out = np.empty((int(starts[-1]), mask.ndim), np.int64)
    run("place", held, starts, out, None, mask.shape if mask.ndim > 1 else ())
    return out
