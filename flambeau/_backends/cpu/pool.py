"""Pooling as generated kernels: the largest element of each window and where it is, and means. One to three dimensions.

For the largest element, a chunk is some rows of output of one plane. Outputs whose windows lie inside the row are computed as vectors where the
stride is 1 or 2; the others one by one. NaN is larger than everything; of equals the first one counts. Its
gradient is scattered plane by plane, in the order of the output. Means are depthwise convolutions with weights of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf, prod
from typing import Any

import numpy as np

from flambeau._backends.cpu.contract import APART, TYPES, narrow, widen
from flambeau._backends.cpu.conv import Correlation, three, transposed_correlations
from flambeau._backends.cpu.conv_depthwise import depthwise_launch
from flambeau._backends.cpu.conv_slab import steps
from flambeau._backends.cpu.emit import Module, V, size, vector
from flambeau._backends.cpu.engine import Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, Table, c_strides

SLOTS = (
    *(
        "out",
        "index",
        "x",
        "planes",
        "q",
        "do",
        "ho",
        "wo",
        "rows",
    ),  # q: planes along the inner batch stride; rows of a chunk
    *("d", "h", "w", "kz", "ky", "kx", "sz", "sy", "sx", "pz", "py", "px", "dz", "dy", "dx"),
    *("xp", "xq", "xd", "xh", "xw"),
)
GRAIN = 1 << 15  # windows' elements in a chunk
DTYPES = frozenset(("float32", "float64", "float16", "bfloat16"))


def some(m: Module, memory: str, acc: str, n: int, s: int) -> None:
    """Defines best_<n>_<s>(args, out, index, plane, z, y, x): n neighbouring outputs, windows s apart; n is 1 for any stride."""
    f = m.function(
        f"internal void best_{n}_{s}(ptr noalias args, ptr noalias out, ptr noalias index, ptr noalias plane, i64 z, i64 y, i64 x)",
        APART,
    )
    args, out, index, plane, z, y, x = f.params
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS) if i >= 3}
    wide, places = vector(acc, n), vector("i64", n)
    z0, y0, x0 = (at * w["s" + d] - w["p" + d] for at, d in ((z, "z"), (y, "y"), (x, "x")))
    lanes = V(f, places, "<" + ", ".join(f"i64 {i * s}" for i in range(n)) + ">") if n > 1 else None
    best, where, none = f.var(wide, -inf), f.var(places, 0), f.var("i64", 1)
    with f.loop(0, w["kz"]) as i, f.loop(0, w["ky"]) as j:
        iz, iy = z0 + i * w["dz"], y0 + j * w["dy"]
        with f.when((iz >= 0) & (iz < w["d"]) & (iy >= 0) & (iy < w["h"])), f.loop(0, w["kx"]) as k:
            ix = x0 + k * w["dx"]
            with f.when((ix >= 0) & (ix < w["w"])):
                at = f.gep(memory, plane, iz * w["xd"] + iy * w["xh"] + ix * w["xw"])
                if n == 1:
                    v = f.load(memory, at)
                elif s == 1:
                    v = f.load(vector(memory, n), at)
                else:
                    pair = [f.load(vector(memory, n), f.gep(memory, at, o)) for o in (0, n)]
                    v = f.shuffle(pair[0], pair[1], [2 * o for o in range(n)])
                v = widen(f, v, acc)
                nan = f.emit(vector("i1", n), f"fcmp uno {v}, {v.name}")
                old = best.get()
                was = f.emit(vector("i1", n), f"fcmp ord {old}, {old.name}")  # the first NaN stays
                take = (v > old) | (nan & was)
                here = f.splat((iz * w["h"] + iy) * w["w"] + ix, n)
                here = here + lanes if lanes is not None else here
                first = f.splat(none.get() != 0, n)  # a window of -inf alone points at its first element
                best.set(f.select(take, v, old))
                where.set(f.select(take | first, here, where.get()))
                none.set(0)
    place = (z * w["ho"] + y) * w["wo"] + x
    f.store(narrow(f, best.get(), memory), f.gep(memory, out, place))
    f.store(where.get(), f.gep("i64", index, place))


def text(target: Target, dtype: str) -> Module:
    """IR of the kernel, `k`; chunks are (plane, rows of its output)."""
    memory, acc = TYPES[dtype]
    n = target.vector_bytes // size(acc)
    m = Module(f"max pooling {dtype}")
    some(m, memory, acc, 1, 0)
    for s in (1, 2):
        some(m, memory, acc, n, s)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    out, index, x = (f.load("ptr", f.gep("i64", args, i)) for i in range(3))
    w = {name: f.load("i64", f.gep("i64", args, i)) for i, name in enumerate(SLOTS) if i >= 3}
    lines, area = w["do"] * w["ho"], w["do"] * w["ho"] * w["wo"]
    blocks = (lines + w["rows"] - 1) // w["rows"]
    with f.loop(begin, end) as chunk:
        plane, line0 = chunk // blocks, chunk % blocks * w["rows"]
        src = f.gep(memory, x, plane // w["q"] * w["xp"] + plane % w["q"] * w["xq"])
        to, at = f.gep(memory, out, plane * area), f.gep("i64", index, plane * area)
        with f.loop(line0, f.min(line0 + w["rows"], lines)) as line:
            z, y = line // w["ho"], line % w["ho"]
            col = f.var("i64", 0)
            with f.forever() as done:
                here = col.get()
                with f.when(here >= w["wo"]):
                    f.jump(done)
                first = here * w["sx"] - w["px"]
                last = first + (w["kx"] - 1) * w["dx"]  # the first element that the last tap reads
                inside = (first >= 0) & (here + n <= w["wo"]) & (w["xw"] == 1)
                width = f.var("i64", 1)
                for s in (1, 2):
                    with f.when(inside & (w["sx"] == s) & (last + s * n <= w["w"])):
                        f.call("void", f"best_{n}_{s}", args, to, at, src, z, y, here)
                        width.set(n)
                with f.when(width.get() == 1):
                    f.call("void", "best_1_0", args, to, at, src, z, y, here)
                col.set(here + width.get())
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
    per_row = wo * prod(size)
    rows = max(1, min(do * ho, GRAIN // max(per_row, 1)))
    constants = [prod(lead), lead[-1] if lead else 1, do, ho, wo, rows, d, h, w]
    constants += [*three(size, 1), *three(stride, 1), *three(padding, 0), *three(dilation, 1), *strides]
    code = kernel(x.dtype.name)
    slots = ((OUT, 0), (OUT, 1), (ARG, 0), *((CONST, v) for v in constants))
    shape = (*lead, *out)
    chunks = prod(lead) * -(-do * ho // rows)
    work = Launch(code["k"], slots, chunks)
    return Plan(
        (Result(x.dtype, shape), Result(np.dtype(np.int64), shape)),
        (work,),
        release=prod(shape) * prod(size) > GRAIN,
        keep=(code,),
    )


def back_text(target: Target, dtype: str) -> Module:
    """IR of the gradient of max pooling, `k`; chunks are planes."""
    memory, acc = TYPES[dtype]
    n = target.vector_bytes // size(acc)
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
    fill = lambda v: (*(0,) * (2 - len(lead)), *v[: len(lead)], 0, *v[len(lead) :])
    p, q = (*(1,) * (2 - len(lead)), *lead)
    one = np.ones(1, x.dtype)
    works: list[tuple[Correlation, int]]
    if back:
        how = (window, stride, padding, (1,) * rank)
        found = transposed_correlations(dtype, (p, q, 1, 1), shape[-rank:], x.shape[-rank:], how, fill(so), fill(e), (0,) * (3 + rank))
        works = list(found)
    else:
        taps = [tuple((i - before, 0) for i in range(k)) for k, before in zip(window, padding, strict=True)]
        none = ((0, 0),)
        work = Correlation(
            dtype, p, q, 1, 1, three(shape[-rank:], 1), three(x.shape[-rank:], 1), three(stride, 1),
            (*(none,) * (3 - rank), *taps)[:2], (taps[-1],), (*fill(so)[:3], *three(so[-rank:], 0)),
            (*fill(e)[:3], *three(e[-rank:], 0)), (0,) * 6, shape[-1],
        )  # fmt: skip
        works = [(work, 0)]
    made = [depthwise_launch(w, (OUT, 0), offset, (ARG, 0), (CONST, one.ctypes.data), None, divisor) for w, offset in works]
    release = max(prod(shape), x.size) * prod(window) > GRAIN
    return Plan((result,), tuple(m[0] for m in made), release=release, keep=(one, *(m[1] for m in made)))


_tables: dict[Any, Table] = {}


def max_pool(
    x: np.ndarray[Any, Any],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    out: tuple[int, ...],
) -> tuple[Any, Any] | None:
    """(values, indices), or None where the kernel has no form for it."""
    how = (size, stride, padding, dilation, out)
    return _run(how, (x,), lambda: max_pool_plan(x, *how))


def max_pool_back(
    g: np.ndarray[Any, Any], indices: np.ndarray[Any, Any], shape: tuple[int, ...], rank: int
) -> np.ndarray[Any, Any] | None:
    """The gradient of max pooling for an input of a shape, or None where the kernel has no form for it."""
    return _run(("max back", shape, rank), (g, indices), lambda: max_pool_back_plan(g, shape, rank))


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
    return _run(how, (x,), lambda: mean_plan(x, *how))


def _run(key: Any, args: tuple[Any, ...], make: Any) -> Any:
    table = _tables.get(key)
    if table is None:
        table = _tables[key] = Table("pool")
    found = table.call(*args)
    if found is None:
        plan = make()
        if plan is None:
            return None
        table.add(args, plan)
        found = table.call(*args)
    return found
