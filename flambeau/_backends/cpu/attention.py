"""Attention as one generated kernel: softmax(q k^T * scale + mask) v without the scores ever being a matrix in memory.

The scheme is that of FlashAttention (Dao et al. 2022): a block of queries meets one block of keys after the other and
keeps a running maximum and sum (Milakov & Gimelshein 2018). Here everything lies transposed, so that lanes are queries:
scores are keys x queries and results width x queries. Then maxima and sums go down the lanes' columns without shuffles,
masked scores of the next product are read where the last one wrote them, and of the operands only q and k are turned.

- A chunk is a block of queries of one head, in tiles as wide as the micro-kernel. It packs for itself; threads share nothing.
- Scores are in base 2: q is scaled by log2(e) while it is packed.
- Half and bfloat16 are widened while packing and summed in float32.
- The order of all sums depends on shapes alone.

The derivative is in `attention_backward.py`; the micro-kernel is that of `contract.py` with steps between rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf
from typing import Any

import numpy as np

from flambeau._backends.cpu import pen, vecmath
from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.emit import APART, Function, Module, V, size, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned
from flambeau._backends.cpu.library_attention import dense_like
from flambeau._backends.cpu.pack import packer
from flambeau._backends.cpu.registers import narrow, transpose
from flambeau._values.dtype import BY_NAME

KEYS = 64  # of a block
DTYPES = frozenset(("float32", "float64", "float16", "bfloat16"))
HELD = frozenset(BY_NAME[name].np for name in DTYPES)
LN2, LOG2E = 0.6931471805599453, 1.4426950408889634

POINTERS = ("out", "lse", "q", "k", "v", "mask")
SIZES = ("heads", "group", "tq", "tk", "d", "e", "causal", "block")  # e: the width of v
STRIDES = tuple(x + d for x, dims in (("q", "bhtd"), ("k", "bhtd"), ("v", "bhtd"), ("m", "bhqk"), ("o", "bht"), ("l", "bht"))
                for d in dims)  # fmt: skip
SLOTS = (*POINTERS, *SIZES, *STRIDES, "scale")


def shape(target: Target, acc: str) -> tuple[int, int]:
    """(lanes, rows) of a tile of two vectors: as many accumulators as leave room for operands."""
    return target.vector_bytes // size(acc), 14 if target.registers == 32 else 6


def fused(target: Target) -> bool:
    """Whether the machine multiplies and adds at once."""
    return target.triple.startswith(("aarch64", "arm64")) or target.has("fma")


# -- products of blocks -----------------------------------------------------------------------------------------------


def product(m: Module, name: str, acc: str, n: int, most: int, across: bool, ahead: int = 0) -> None:
    """Defines name(a, a_step, b, b_step, depth, rows, c, c_step, decay): two vectors' columns of c = a b + c * decay.

    c[i] = sum over k of a[k * a_step + i] * b[k * b_step], or with `across` of a[i * a_step + k]; depth is not 0. Without
    `decay` (a factor for each column; null) c is overwritten. b is fetched `ahead` steps before, where it lies in no first-level cache.
    """
    sizes = [most, *(x for x in (8, 4, 2, 1) if x < most)]
    for rows in sizes:
        tile(m, f"{name}_{rows}", acc, n, rows, across, ahead)
    f = m.function(
        f"internal void {name}(ptr a, i64 a_step, ptr b, i64 b_step, i64 depth, i64 rows, ptr c, i64 c_step, ptr decay)",
        APART,
    )
    a, a_step, b, b_step, depth, rows, c, c_step, decay = f.params
    done = f.var("i64", 0)
    for many in sizes:
        with f.forever() as over:
            r0 = done.get()
            with f.when(r0 + many > rows):
                f.jump(over)
            start = f.gep(acc, a, r0 * a_step if across else r0)
            f.call("void", f"{name}_{many}", start, a_step, b, b_step, depth, f.gep(acc, c, r0 * c_step), c_step, decay)
            done.set(r0 + many)


def tile(m: Module, name: str, acc: str, n: int, rows: int, across: bool, ahead: int) -> None:
    """Defines the micro-kernel of `product` for a number of rows."""
    f = m.function(
        f"internal void {name}(ptr noalias a, i64 a_step, ptr noalias b, i64 b_step, i64 depth, ptr noalias c, i64 c_step,"
        " ptr noalias decay)", APART)  # fmt: skip
    a, a_step, b, b_step, depth, c, c_step, decay = f.params
    wide = vector(acc, n)
    sums = [[V(f, wide, f"%sum{i}.{v}") for v in range(2)] for i in range(rows)]
    down = [a_step * i if across else i for i in range(rows)]
    f.label("start")
    f.label("step")  # a loop of one block, written as such: it is most of the text, and LLVM need not find it
    k = f.emit("i64", "phi i64 [ 0, %start ], [ %k.next, %step ]")
    for s in (s for row in sums for s in row):
        f.do(f"{s.name} = phi {wide} [ zeroinitializer, %start ], [ {s.name}.next, %step ]")
    line = f.gep(acc, b, k * b_step)
    bs = [f.load(wide, line, v * n) for v in range(2)]
    for o in range(0, 2 * n if ahead else 0, 64 // size(acc)):
        f.prefetch(f.gep(acc, line, b_step * ahead + o))
    column = f.gep(acc, a, k if across else k * a_step)
    for i, row in enumerate(sums):
        x = f.splat(f.load(acc, column, down[i]), n)
        for s, y in zip(row, bs, strict=True):
            made = f.fma(x, y, s)
            f.lines[-1] = f.lines[-1].replace(f"{made.name} =", f"{s.name}.next =")
    f.do(f"%k.next = add i64 {k.name}, 1")
    f.branch(V(f, "i64", "%k.next") < depth, "step", "end")
    f.label_after("end")
    total = [[V(f, wide, f"{s.name}.next") for s in row] for row in sums]
    with f.when(decay == 0):
        for i, row in enumerate(total):
            for v, s in enumerate(row):
                f.store(s, f.gep(acc, c, c_step * i), v * n)
        f.ret()
    factor = [f.load(wide, decay, v * n) for v in range(2)]
    for i, row in enumerate(total):
        for v, s in enumerate(row):
            at = f.gep(acc, c, c_step * i + v * n)
            f.store(f.fma(f.load(wide, at), factor[v], s), at)


def stage(
    f: Function,
    pack: str,
    dst: V,
    step: int | V,
    src: V,
    count: V,
    depth: V,
    sl: V,
    sk: V,
    kinds: tuple[str, str],
    n: int,
) -> None:
    """dst[k * step + lane] = src[lane, k] for all lanes; the step has room for whole vectors. `kinds`: of src and of dst."""
    with f.loop(0, count, n) as g:
        f.call(
            "void",
            pack,
            f.gep(kinds[1], dst, g),
            f.value(step, "i64"),
            f.gep(kinds[0], src, g * sl),
            count - g,
            depth,
            sl,
            sk,
        )


def softmax(m: Module, acc: str, n: int, mask: str, fma: bool) -> None:
    """Defines softmax(s, rows, off, top, sum, decay, mask): exponentials of scores, in place, and the running statistics.

    s and mask are rows of two vectors of queries, one row per key. Query lane t sees keys 0..off + t only. `top` becomes the
    new maximum and `decay` the factor by which what was summed under the old one shrinks.
    """
    f = m.function(
        "internal void softmax(ptr noalias s, i64 rows, i64 off, ptr noalias top, ptr noalias sum, ptr noalias decay, ptr noalias mask)", APART
    )  # fmt: skip
    s, rows, off, top, total, decay, masks = f.params
    wide = vector(acc, n)
    old = [f.load(wide, top, v * n) for v in range(2)]
    best = [f.var(wide, x) for x in old]
    seen = f.max(f.min(rows, off + 1), 0)  # keys that every lane sees
    index = V(f, f"<{n} x i64>", "<" + ", ".join(f"i64 {i}" for i in range(n)) + ">")
    for begin, end, cut in ((0, seen, False), (seen, rows, True)):
        with f.loop(begin, end) as i:
            for v in range(2):
                x = f.load(wide, s, i * (2 * n) + v * n)
                if mask:
                    x = masked(f, x, masks, i * (2 * n) + v * n, mask)
                if cut:
                    x = f.select(index >= f.splat(i - off - v * n, n), x, -inf)
                if mask or cut:
                    f.store(x, s, i * (2 * n) + v * n)
                best[v].set(f.select(x > best[v].get(), x, best[v].get()))  # of NaN the exponentials will speak
    sums = [f.var(wide, 0) for _ in range(2)]
    base = []
    for v in range(2):
        x = best[v].get()
        f.store(x, top, v * n)
        base.append(f.select(x == -inf, 0, x))  # nothing is seen yet: all exponentials are 0
        f.store(pen.apply(f, pen.decay, old[v] - base[v], fma=fma), decay, v * n)
    with f.loop(0, rows) as i:
        for v in range(2):
            p = pen.apply(f, pen.decay, f.load(wide, s, i * (2 * n) + v * n) - base[v], fma=fma)
            f.store(p, s, i * (2 * n) + v * n)
            sums[v].set(sums[v].get() + p)
    for v in range(2):
        at = f.gep(acc, total, v * n)
        f.store(f.fma(f.load(wide, at), f.load(wide, decay, v * n), sums[v].get()), at)


def masked(f: Function, x: V, masks: V, at: V, kind: str) -> V:
    """Scores under a staged mask: i8 where it is boolean."""
    if kind == "bool":
        hidden = f.load(vector("i8", int(x.type[1:].split()[0])), masks, at) == 0
        return f.select(hidden, -inf, x, x.type)
    return f.fma(f.load(x.type, masks, at), f.value(LOG2E, x.type), x)


def mask_kinds(mask: str, acc: str) -> tuple[str, str]:
    """The types of a mask in memory and staged."""
    return ("i8", "i8") if mask == "bool" else (TYPES[mask][0], acc)


def zero(f: Function, type: str, p: V, count: Any, n: int) -> None:
    """Clears `count` elements, in whole vectors."""
    with f.loop(0, count, n) as i:
        f.store(f.value(0, vector(type, n)), p, i)


def blank(f: Function, acc: str, p: V, step: int, rows: V, count: V, width: Any, n: int, factor: V) -> None:
    """p[row, lane] *= factor for lane < count, and 0 from there to `width`: no product ever meets rubbish."""
    with f.loop(0, width, n) as c:
        on = f.lane_mask(n, count - c)
        with f.loop(0, rows) as i:
            at = f.gep(acc, p, i * step + c)
            f.store(f.select(on, f.load(vector(acc, n), at) * factor, 0), at)


def unstage(m: Module, memory: str, acc: str, n: int) -> None:
    """Defines unstage(src, src_step, dst, dst_step, count, depth, factor): dst[lane, k] = src[k, lane] * factor[lane]."""
    f = m.function(
        "internal void unstage(ptr noalias src, i64 src_step, ptr noalias dst, i64 dst_step, i64 count, i64 depth, ptr noalias factor)",
        APART,
    )
    src, src_step, dst, dst_step, count, depth, factor = f.params
    block = f.alloca(vector(memory, n), n, align=64)
    with f.loop(0, count, n) as g:
        by = f.load(vector(acc, n), factor, g)
        here = f.min(count - g, n)
        with f.loop(0, depth, n) as k:
            rows = [f.load(vector(acc, n), src, (k + i) * src_step + g) * by for i in range(n)]
            turned = [narrow(f, row, memory) for row in transpose(f, rows)]
            with f.either((here >= n) & (depth - k >= n)) as otherwise:
                for i, row in enumerate(turned):
                    f.store(row, f.gep(memory, dst, (g + i) * dst_step + k))
                otherwise()
                for i, row in enumerate(turned):
                    f.store(row, block, i * n)
                mask = f.lane_mask(n, depth - k)
                with f.loop(0, here) as i:
                    f.mstore(f.load(vector(memory, n), block, i * n), f.gep(memory, dst, (g + i) * dst_step + k), mask)


def words(f: Function, args: V, names: Sequence[str], pointers: int) -> dict[str, V]:
    """The slots of a launch by their names."""
    kind = lambda i, name: "ptr" if i < pointers else "double" if name == "scale" else "i64"
    return {name: f.load(kind(i, name), f.gep("i64", args, i)) for i, name in enumerate(names)}


def up(x: V, n: int) -> V:
    return (x + (n - 1)) // n * n


def text(target: Target, dtype: str, mask: str) -> Module:
    """IR of the kernel, `k`, for a dtype and a mask of another (or none: "")."""
    memory, acc = TYPES[dtype]
    n, most = shape(target, acc)
    cols, wide, fma = 2 * n, vector(acc, n), fused(target)
    m = Module(f"attention {dtype} {mask}")
    packer(m, "pack", memory, acc, n)
    if mask:
        packer(m, "pack_mask", *mask_kinds(mask, acc), n)
    product(m, "mul", acc, n, most, False)
    softmax(m, acc, n, mask, fma)
    unstage(m, memory, acc, n)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    w = words(f, args, SLOTS, len(POINTERS))
    scale = w["scale"] * LOG2E
    factor = f.splat(scale if acc == "double" else f.convert("fptrunc", scale, acc), n)
    blocks = (w["tq"] + (w["block"] - 1)) // w["block"]
    ve = up(w["e"], n)
    at, x = scratch, {}
    for name, count in scratch_sizes(w["d"], ve, w["block"], n).items():
        x[name] = at
        at = f.gep(acc, at, count)
    none, number = f.value(0, "ptr"), lambda i: f.value(i, "i64")
    with f.loop(begin, end) as chunk:
        block, rest = chunk % blocks, chunk // blocks
        h, b = rest % w["heads"], rest // w["heads"]
        q0 = (blocks - 1 - block) * w["block"]  # of causal attention the long rows first
        count = f.min(w["tq"] - q0, w["block"])
        start = lambda name, head, t: f.gep(
            memory, w[name], b * w[name + "b"] + head * w[name + "h"] + t * w[name + "t"]
        )
        with f.loop(0, count, cols) as c:
            to, here = f.gep(acc, x["q"], c * w["d"]), f.min(count - c, cols)
            stage(f, "pack", to, cols, start("q", h, q0 + c), here, w["d"], w["qt"], w["qd"], (memory, acc), n)
            blank(f, acc, to, cols, w["d"], here, cols, n, factor)
        with f.loop(0, up(count, cols), n) as i:
            f.store(f.value(-inf, wide), x["top"], i)
        zero(f, acc, x["sum"], up(count, cols), n)
        limit = f.select(w["causal"] != 0, f.min(w["tk"], q0 + count), w["tk"])
        with f.loop(0, limit, KEYS) as j0:
            keys = f.min(limit - j0, KEYS)
            k = start("k", h // w["group"], j0)
            stage(f, "pack", x["k"], KEYS, k, keys, w["d"], w["kt"], w["kd"], (memory, acc), n)
            v = start("v", h // w["group"], j0)
            stage(f, "pack", x["v"], ve, v, w["e"], keys, w["vd"], w["vt"], (memory, acc), n)
            with f.loop(0, count, cols) as c:
                off = f.select(w["causal"] != 0, q0 + c - j0, 1 << 40, "i64")
                rows = f.min(keys, off + cols)
                with f.when(rows > 0):
                    q = f.gep(acc, x["q"], c * w["d"])
                    f.call(
                        "void", "mul", x["k"], number(KEYS), q, number(cols), w["d"], rows, x["s"], number(cols), none
                    )
                    if mask:
                        kinds, here = mask_kinds(mask, acc), f.min(count - c, cols)
                        src = f.gep(kinds[0], w["mask"], b * w["mb"] + h * w["mh"] + (q0 + c) * w["mq"] + j0 * w["mk"])
                        with f.when(here < cols):
                            zero(f, kinds[1], x["mask"], KEYS * cols, n)
                        stage(f, "pack_mask", x["mask"], cols, src, here, rows, w["mq"], w["mk"], kinds, n)
                    top, total = f.gep(acc, x["top"], c), f.gep(acc, x["sum"], c)
                    f.call("void", "softmax", x["s"], rows, off, top, total, x["decay"], x["mask"])
                    first = f.select(j0 == 0, none, x["decay"])
                    o = f.gep(acc, x["o"], c * ve)
                    f.call("void", "mul", x["v"], ve, x["s"], number(cols), rows, w["e"], o, number(cols), first)
        deliver(f, (memory, acc), n, w, x, (b, h, q0), count, ve, fma)
    return m


def deliver(f: Function, types: tuple[str, str], n: int, w: dict[str, V], x: dict[str, V], at: tuple[V, V, V], count: V, ve: V,
            fma: bool) -> None:  # fmt: skip
    """The rows from `at` (batch, head, query) on, divided by their sums, and the logarithms of these, to their places."""
    (memory, acc), (b, h, q0), wide, cols = types, at, vector(types[1], n), 2 * n
    with f.loop(0, count, n) as c:
        total, top = f.load(wide, x["sum"], c), f.load(wide, x["top"], c)
        nothing = top == -inf
        f.store(f.value(1, wide) / f.select(nothing, 1, total), x["sum"], c)  # a row that sees no key is 0
        log = pen.apply(f, vecmath.log, total, fma=fma)
        f.store(f.select(nothing, -inf, f.fma(top, f.value(LN2, wide), log)), x["top"], c)
    with f.loop(0, count, cols) as c:
        to = f.gep(memory, w["out"], b * w["ob"] + h * w["oh"] + (q0 + c) * w["ot"])
        f.call("void", "unstage", f.gep(acc, x["o"], c * ve), f.value(cols, "i64"), to, w["ot"], f.min(count - c, cols), w["e"],
               f.gep(acc, x["sum"], c))  # fmt: skip
    with f.loop(0, count) as t:
        f.store(f.load(acc, x["top"], t), f.gep(acc, w["lse"], b * w["lb"] + h * w["lh"] + (q0 + t) * w["lt"]))


def scratch_sizes(d: Any, ve: Any, block: Any, n: int) -> dict[str, Any]:
    """Elements of each part of a thread's scratch memory; numbers, or values of a function. A block is whole tiles."""
    return {"q": d * block, "k": d * KEYS, "v": ve * KEYS, "o": ve * block, "s": KEYS * 2 * n, "mask": KEYS * 2 * n, "top": block,
            "sum": block, "decay": 2 * n}  # fmt: skip


def block_of(heads: int, tq: int) -> int:
    """Queries of a chunk: more pack keys less often, fewer make chunks for more threads."""
    return next((n for n in (256, 128) if n < 2 * tq and heads * -(-tq // n) >= CHUNKS), 64)


CHUNKS = 16


@cache
def kernel(dtype: str, mask: str) -> Code:
    native = engine()
    parts = [("kernel", "attention"), ("dtype", dtype), ("mask", mask)]
    return native.load(lambda: str(text(native.target, dtype, mask)), ["k"], parts=parts, level=LIGHT)


# -- plans ------------------------------------------------------------------------------------------------------------


def elements(x: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    """Strides in elements; None where they are no whole ones."""
    n = x.itemsize
    return None if any([s % n for s in x.strides]) else tuple([s // n for s in x.strides])


def suits(arrays: Sequence[np.ndarray[Any, Any]], mask: np.ndarray[Any, Any] | None) -> bool:
    """Whether kernels can walk the arrays, and know their dtypes."""
    good = all([x.ndim == 4 and x.size and x.dtype in HELD and elements(x) is not None for x in arrays])
    return good and (mask is None or (elements(mask) is not None and (mask.dtype in HELD or mask.dtype.kind == "b")))


def forward_plan(q: np.ndarray[Any, Any], k: np.ndarray[Any, Any], v: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None,
                 causal: bool, steps: tuple[int, ...] | None = None) -> Plan | None:  # fmt: skip
    """The plan of attention over (batch, heads, length, width): results, `steps` bytes apart, and logarithms of the sums."""
    if not suits((q, k, v), mask):
        return None
    (b, h, tq, d), (tk, e) = q.shape, v.shape[2:]
    dtype, kind = q.dtype.name, "" if mask is None else mask.dtype.name
    acc = TYPES[dtype][1]
    n, _ = shape(engine().target, acc)
    steps = dense_like(q.strides, (b, h, tq, e), q.itemsize) if steps is None else steps
    over = (0, 0, 0, 0) if mask is None else elements(np.broadcast_to(mask, (b, h, tq, tk)))
    strides = [*elements(q), *elements(k), *elements(v), *over, *(s // q.itemsize for s in steps[:3]), tq * h, 1, h]  # type: ignore[misc]
    block = block_of(b * h, tq)
    sizes = [h, h // k.shape[1], tq, tk, d, e, int(causal), block]
    args = [(OUT, 0), (OUT, 1), (ARG, 0), (ARG, 1), (ARG, 2), (CONST, 0) if mask is None else (ARG, 4)]
    code = kernel(dtype, kind)
    scratch = sum(scratch_sizes(d, -(-e // n) * n, block, n).values()) * size(acc)
    chunks = b * h * -(-tq // block)
    work = Launch(code["k"], (*args, *((CONST, x) for x in (*sizes, *strides)), (ARG, 3)), chunks, scratch)
    wide = np.dtype(np.float64 if acc == "double" else np.float32)
    sums = Result(wide, (b, h, tq), (tq * h * wide.itemsize, wide.itemsize, h * wide.itemsize))
    return Plan((Result(q.dtype, (b, h, tq, e), steps), sums), (work,), release=b * h * tq * tk > 1 << 13, keep=(code,))


def attention(q: np.ndarray[Any, Any], k: np.ndarray[Any, Any], v: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None,
              causal: bool, scale: float) -> tuple[Any, Any] | None:  # fmt: skip
    """(result, logarithms of the sums of exponentials), or None where the kernel has no form for it."""
    args = (q, k, v, float(scale)) if mask is None else (q, k, v, float(scale), mask)
    found: tuple[Any, Any] | None = planned(("attention", causal), args, lambda: forward_plan(q, k, v, mask, causal))
    return found
