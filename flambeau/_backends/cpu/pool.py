"""Pooling as generated kernels: the largest element of each window and where it is, and means. One to three dimensions.

For the largest element, a chunk is some rows of output of one plane, a vector of neighbours at a time: loaded as they lie
for strides 1 and 2, gathered for others and where rows are shorter than vectors. NaN is larger than everything; of equals
the first one counts. The gradient is scattered plane by plane, in the order of the output. Means are depthwise
convolutions with weights of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf, prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.conv_depthwise import depthwise_launch
from flambeau._backends.cpu.conv_plan import transposed_correlations
from flambeau._backends.cpu.conv_slab import gather, steps
from flambeau._backends.cpu.conv_tile import lanes as lanes_of, short_mask
from flambeau._backends.cpu.correlation import Correlation, three
from flambeau._backends.cpu.emit import APART, Function, Module, V, lanes, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, c_strides, planned
from flambeau._backends.cpu.registers import narrow, widen

SLOTS = (
    *("out", "index", "x", "starts", "packed"),  # z, y, x of windows, where rows are packed
    *("planes", "q", "do", "ho", "wo", "rows"),  # q: planes along the inner batch stride; rows, or vectors, of a chunk
    *("d", "h", "w", "kz", "ky", "kx", "sz", "sy", "sx", "pz", "py", "px", "dz", "dy", "dx"),
    *("xp", "xq", "xd", "xh", "xw"),
)
GRAIN = 1 << 15  # windows' elements in a chunk
DTYPES = frozenset(("float32", "float64", "float16", "bfloat16"))


def windows(m: Module, memory: str, acc: str, n: int, s: int) -> None:
    """Defines best_<s>(args, out, index, plane, z, y, x, place, count): n outputs; their windows are s apart in a row.

    z, y, x are where the first window begins. With s = 0 each window may be anywhere: they are pointers to n numbers.
    """
    at = "ptr" if s == 0 else "i64"
    f = m.function(
        f"internal void best_{s}(ptr noalias args, ptr noalias out, ptr noalias index, ptr noalias plane, {at} z, {at} y, "
        f"{at} x, i64 place, i64 count)",
        APART,
    )
    args, out, index, plane, z, y, x, place, count = f.params
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS) if i >= 4}
    short = {name: f.convert("trunc", v, "i32") for name, v in w.items()}
    wide, places = vector(acc, n), f"<{n} x i32>"
    iota = V(f, places, "<" + ", ".join(f"i32 {i}" for i in range(n)) + ">")
    many = lambda v: f.splat(v, n)
    there = short_mask(f, n, count)
    best, where = f.var(wide, -inf), f.var(places, -1)

    def meet(v: V, mask: V, here: V) -> None:
        """A window's next element: NaN is larger than everything, the first of equals stays, some element is taken."""
        old, before = best.get(), where.get()
        nan = f.emit(f"<{n} x i1>", f"fcmp uno {v}, {v.name}")
        number = f.emit(f"<{n} x i1>", f"fcmp ord {old}, {old.name}")
        take = ((v > old) | (nan & number) | (before < 0)) & mask
        best.set(f.select(take, v, old))
        where.set(f.select(take, here, before))

    if s == 0:
        z0, y0, x0 = (f.load(places, p) for p in (z, y, x))
        with f.loop(0, w["kz"]) as i, f.loop(0, w["ky"]) as j:
            iz, iy = (v + many(f.convert("trunc", t * w[d], "i32")) for v, t, d in ((z0, i, "dz"), (y0, j, "dy")))
            good = there & under(f, iz, many(short["d"])) & under(f, iy, many(short["h"]))
            line, lane = (
                iz * many(short["xd"]) + iy * many(short["xh"]),
                (iz * many(short["h"]) + iy) * many(short["w"]),
            )
            with f.loop(0, w["kx"]) as k:
                ix = x0 + many(f.convert("trunc", k * w["dx"], "i32"))
                mask = good & under(f, ix, many(short["w"]))
                v = gather(f, memory, plane, line + ix * many(short["xw"]), mask, n)
                meet(widen(f, v, acc), mask, lane + ix)
    else:
        with f.loop(0, w["kz"]) as i, f.loop(0, w["ky"]) as j:
            iz, iy = z + i * w["dz"], y + j * w["dy"]
            with f.when((iz >= 0) & (iz < w["d"]) & (iy >= 0) & (iy < w["h"])), f.loop(0, w["kx"]) as k:
                first = x + k * w["dx"]
                ix = (iota * many(f.value(s, "i32"))) + many(f.convert("trunc", first, "i32"))
                mask = there & under(f, ix, many(short["w"]))
                src = f.gep(memory, plane, iz * w["xd"] + iy * w["xh"] + first)
                if s == 1:
                    v = f.mload(vector(memory, n), src, mask)
                else:  # every other element: two loads, one shuffle
                    pair = []
                    for half in (0, n):
                        inside = under(f, iota + many(f.convert("trunc", first + half, "i32")), many(short["w"]))
                        pair.append(f.mload(vector(memory, n), f.gep(memory, src, half), inside))
                    v = f.shuffle(pair[0], pair[1], [2 * o for o in range(n)])
                meet(widen(f, v, acc), mask, many(f.convert("trunc", (iz * w["h"] + iy) * w["w"], "i32")) + ix)
    f.mstore(narrow(f, best.get(), memory), f.gep(memory, out, place), there)
    f.mstore(f.convert("sext", where.get(), f"<{n} x i64>"), f.gep("i64", index, place), there)


def under(f: Function, x: V, limit: V) -> V:
    """Lanes with 0 <= x < limit."""
    return f.emit(f"<{lanes(x.type)} x i1>", f"icmp ult {x}, {limit.name}")


def text(target: Target, dtype: str) -> Module:
    """IR of the kernel, `k`; chunks are (plane, rows of its output, or vectors where rows are shorter than those)."""
    memory, acc = TYPES[dtype]
    n = lanes_of(target, acc)
    m = Module(f"max pooling {dtype}")
    for s in (0, 1, 2):
        windows(m, memory, acc, n, s)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    out, index, x, starts = (f.load("ptr", f.gep("i64", args, i)) for i in range(4))
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS) if i >= 4}
    area = w["do"] * w["ho"] * w["wo"]
    packed = w["packed"] != 0
    lines = f.select(packed, (area + (n - 1)) // n, w["do"] * w["ho"])
    blocks = (lines + w["rows"] - 1) // w["rows"]
    iota = V(f, f"<{n} x i32>", "<" + ", ".join(f"i32 {i}" for i in range(n)) + ">")
    own = [f.alloca(f"<{n} x i32>", align=64) for _ in range(3)]
    with f.loop(begin, end) as chunk:
        plane, line0 = chunk // blocks, chunk % blocks * w["rows"]
        src = f.gep(memory, x, plane // w["q"] * w["xp"] + plane % w["q"] * w["xq"])
        to, at = f.gep(memory, out, plane * area), f.gep("i64", index, plane * area)
        with f.loop(line0, f.min(line0 + w["rows"], lines)) as line:
            with f.either(packed) as otherwise:
                spots = [f.gep("i32", starts, (lines * i + line) * n) for i in range(3)]
                f.call("void", "best_0", args, to, at, src, *spots, line * n, area - line * n)
                otherwise()
                z, y = line // w["ho"] * w["sz"] - w["pz"], line % w["ho"] * w["sy"] - w["py"]
                with f.loop(0, w["wo"], n) as col:
                    first, place, left = col * w["sx"] - w["px"], line * w["wo"] + col, w["wo"] - col
                    near = w["xw"] == 1
                    for s in (1, 2):
                        with f.when(near & (w["sx"] == s)):
                            f.call("void", f"best_{s}", args, to, at, src, z, y, first, place, left)
                    with f.when((near == 0) | (w["sx"] > 2)):
                        step = iota * f.splat(f.convert("trunc", w["sx"], "i32"), n)
                        for slot, v in zip(own, (z, y, first), strict=True):
                            base = f.splat(f.convert("trunc", v, "i32"), n)
                            f.store(base + step if v is first else base, slot)
                        f.call("void", "best_0", args, to, at, src, *own, place, left)
    return m


@cache
def kernel(dtype: str) -> Code:
    native = engine()
    return native.load(
        lambda: str(text(native.target, dtype)), ["k"], parts=[("kernel", "max pooling"), ("dtype", dtype)]
    )


def max_pool_plan(
    x: np.ndarray[Any, Any],
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    out: Sequence[int],
) -> Plan | None:
    """The plan of max pooling over the last dims: (values, indices into a plane)."""
    rank, e = len(size), steps(x)
    lead = x.shape[: x.ndim - rank]
    if x.dtype.name not in DTYPES or rank not in (1, 2, 3) or e is None or len(lead) > 2:
        return None
    (d, h, w), (do, ho, wo) = three(x.shape[-rank:], 1), three(out, 1)
    strides = [*(0,) * (2 - len(lead)), *e[: len(lead)], *three(e[-rank:], 0)]
    if max(d * h * w, *(abs(v) * n for v, n in zip(e, x.shape, strict=True))) >= 1 << 30:
        return None  # places are 32-bit numbers
    n = lanes_of(engine().target, TYPES[x.dtype.name][1])
    packed = 0 < wo < n
    lines = -(-do * ho * wo // n) if packed else do * ho
    rows = max(1, min(lines, GRAIN // max((n if packed else wo) * prod(size), 1)))
    starts = np.zeros((3, lines * n if packed else 1), np.int32)
    if packed:
        found = np.indices((do, ho, wo)).reshape(3, -1)
        first = np.array([three(stride, 1), three(padding, 0)])
        starts[:, : do * ho * wo] = found * first[0][:, None] - first[1][:, None]
    constants = [int(packed), prod(lead), lead[-1] if lead else 1, do, ho, wo, rows, d, h, w]
    constants += [*three(size, 1), *three(stride, 1), *three(padding, 0), *three(dilation, 1), *strides]
    code = kernel(x.dtype.name)
    slots = ((OUT, 0), (OUT, 1), (ARG, 0), (CONST, starts.ctypes.data), *((CONST, v) for v in constants))
    shape = (*lead, *out)
    chunks = prod(lead) * -(-lines // rows) if wo else 0
    work = Launch(code["k"], slots, chunks)
    return Plan(
        (Result(x.dtype, shape), Result(np.dtype(np.int64), shape)),
        (work,),
        release=prod(shape) * prod(size) > GRAIN,
        keep=(code, starts),
    )


def back_text(target: Target, dtype: str) -> Module:
    """IR of the gradient of max pooling, `k`; chunks are planes."""
    memory, acc = TYPES[dtype]
    n = lanes_of(target, acc)
    m = Module(f"max pooling backward {dtype}")
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    out, g, index = (f.load("ptr", f.gep("i64", args, i)) for i in range(3))
    cells, places = (f.load("i64", f.gep("i64", args, i)) for i in (3, 4))
    with f.loop(begin, end) as plane:
        to = f.gep(memory, out, plane * cells)
        sums = to if memory == acc else scratch
        with f.loop(0, cells & -n, n) as i:
            f.store(f.value(0, vector(acc, n)), sums, i)
        with f.loop(cells & -n, cells) as i:
            f.store(f.value(0, acc), sums, i)
        grad, where = f.gep(memory, g, plane * places), f.gep("i64", index, plane * places)
        with f.loop(0, places) as i:
            at = f.load("i64", where, i)
            with f.when(f.emit("i1", f"icmp ult {at}, {cells.name}")):
                p = f.gep(acc, sums, at)
                f.store(f.load(acc, p) + widen(f, f.load(memory, grad, i), acc), p)
        if memory != acc:
            with f.loop(0, cells) as i:
                f.store(narrow(f, f.load(acc, sums, i), memory), to, i)
    return m


@cache
def back_kernel(dtype: str) -> Code:
    native = engine()
    parts = [("kernel", "max pooling backward"), ("dtype", dtype)]
    return native.load(lambda: str(back_text(native.target, dtype)), ["k"], parts=parts)


def max_pool_back_plan(g: np.ndarray[Any, Any], shape: Sequence[int], rank: int) -> Plan | None:
    """The plan of the gradient of max pooling, from that of the values and the indices, both dense (`ARG` 0 and 1)."""
    if g.dtype.name not in DTYPES:
        return None
    cells, places, planes = prod(shape[-rank:]), prod(g.shape[-rank:]), prod(shape[:-rank])
    code = back_kernel(g.dtype.name)
    acc = TYPES[g.dtype.name][1]
    slots = ((OUT, 0), (ARG, 0), (ARG, 1), (CONST, cells), (CONST, places))
    work = Launch(code["k"], slots, planes, 0 if TYPES[g.dtype.name][0] == acc else cells * size(acc))
    return Plan((Result(g.dtype, tuple(shape)),), (work,), release=planes * (cells + places) > GRAIN, keep=(code,))


def mean_plan(
    x: np.ndarray[Any, Any],
    shape: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    divisor: float,
    back: bool,
) -> Plan | None:
    """The plan of sums of windows over a divisor, or of what spreads them back: a result of a shape."""
    rank, e, dtype = len(window), steps(x), x.dtype.name
    lead = x.shape[: x.ndim - rank]
    if dtype not in DTYPES or rank not in (1, 2) or e is None or len(lead) > 2:
        return None
    result = Result(x.dtype, tuple(shape))
    so = [s // x.itemsize for s in c_strides(result)]

    def fill(v: Sequence[int]) -> tuple[int, ...]:
        """Strides with those of the leading dims that are not there, and of channels."""
        return (*(0,) * (2 - len(lead)), *v[: len(lead)], 0, *v[len(lead) :])

    p, q = (1,) * (2 - len(lead)) + lead
    one = np.ones(1, x.dtype)
    works: list[tuple[Correlation, int]]
    if back:
        how = (window, stride, padding, (1,) * rank)
        found = transposed_correlations(
            dtype, (p, q, 1, 1), shape[-rank:], x.shape[-rank:], how, fill(so), fill(e), (0,) * (3 + rank)
        )
        works = list(found)
    else:
        taps = [tuple((i - before, 0) for i in range(k)) for k, before in zip(window, padding, strict=True)]
        none = ((0, 0),)
        work = Correlation(
            dtype, p, q, 1, 1, three(shape[-rank:], 1), three(x.shape[-rank:], 1), three(stride, 1),
            (none, taps[0] if rank == 2 else none), (taps[-1],), (*fill(so)[:3], *three(so[-rank:], 0)),
            (*fill(e)[:3], *three(e[-rank:], 0)), (0,) * 6, shape[-1],
        )  # fmt: skip
        works = [(work, 0)]
    made = [
        depthwise_launch(w, (OUT, 0), offset, (ARG, 0), (CONST, one.ctypes.data), None, divisor) for w, offset in works
    ]
    release = max(prod(shape), x.size) * prod(window) > GRAIN
    return Plan((result,), tuple(m[0] for m in made), release=release, keep=(one, *(m[1] for m in made)))


def max_pool(
    x: np.ndarray[Any, Any],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    out: tuple[int, ...],
    small: bool = False,
) -> tuple[Any, Any] | None:
    """(values, indices), or None where the kernel has no form for it."""
    how = (size, stride, padding, dilation, out)
    return planned(("max pool", *how), (x,), lambda: max_pool_plan(x, *how), small)


def max_pool_back(
    g: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], shape: tuple[int, ...], rank: int, small: bool = False
) -> np.ndarray[Any, Any] | None:
    """The gradient of max pooling for an input of a shape, or None where the kernel has no form for it."""
    return planned(("max pool back", shape, rank), (g, indices), lambda: max_pool_back_plan(g, shape, rank), small)


def mean_pool(
    x: np.ndarray[Any, Any],
    shape: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    divisor: float,
    back: bool,
) -> np.ndarray[Any, Any] | None:
    """Sums of windows over a divisor, or (`back`) its gradient; None where the kernel has no form for it."""
    how = (shape, window, stride, padding, divisor, back)
    return planned(("mean pool", *how), (x,), lambda: mean_plan(x, *how))
