"""The derivative of attention as one generated kernel: the scores are computed again, block by block (Dao et al. 2022).

With p the softmax, recomputed from the logarithms of the sums, and g the gradient of the result o:

    dv = p' g        ds = p * (g v' - sum(g * o))        dq = ds k * scale        dk = ds' q * scale

A chunk is one head of k and v and a share of its keys, in blocks; all queries that see them pass by. Scores lie transposed
as in `attention.py`: keys x queries. The gradient of q is summed over the shares of keys by the caller, in order; so the
bits of every result depend on shapes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf
from typing import Any

import numpy as np

from flambeau._backends.cpu import pen
from flambeau._backends.cpu.attention import (
    KEYS,
    LOG2E,
    blank,
    elements,
    fused,
    mask_kinds,
    masked,
    product,
    shape,
    stage,
    suits,
    unstage,
    up,
    words,
    zero,
)
from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.emit import APART, Module, V, Variable, size, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, Launch, Plan, Result, planned
from flambeau._backends.cpu.pack import packer
from flambeau._backends.cpu.registers import narrow

QUERIES = 64  # of a block
POINTERS = ("dq", "dk", "dv", "g", "q", "k", "v", "o", "lse", "mask")
SIZES = ("heads", "group", "tq", "tk", "d", "e", "causal", "shares", "share")  # heads of k; keys of a share
STRIDES = tuple(x + d for x, dims in (("q", "bhtd"), ("k", "bhtd"), ("v", "bhtd"), ("g", "bhtd"), ("o", "bhtd"), ("m", "bhqk"),
                ("l", "bht"), ("x", "sbht"), ("y", "bht"), ("z", "bht")) for d in dims)  # x, y, z: of dq, dk, dv  # fmt: skip
SLOTS = (*POINTERS, *SIZES, *STRIDES, "scale")


def scores(m: Module, acc: str, n: int, mask: str, fma: bool) -> None:
    """Defines scores(s, ds, rows, count, off, lse, delta, mask): s becomes p and ds becomes p * (ds - delta); rows of QUERIES lanes, of which
    `count` matter.

    lse is in base 2. Query lane t sees keys 0..off + t only.
    """
    f = m.function(
        "internal void scores(ptr noalias s, ptr noalias ds, i64 rows, i64 count, i64 off, ptr noalias lse, ptr noalias delta, ptr noalias mask)", APART
    )  # fmt: skip
    s, ds, rows, count, off, lse, delta, masks = f.params
    wide = vector(acc, n)
    seen = f.max(f.min(rows, off + 1), 0)
    index = V(f, f"<{n} x i64>", "<" + ", ".join(f"i64 {i}" for i in range(n)) + ">")
    with f.loop(0, count, n) as c:
        base, less = f.load(wide, lse, c), f.load(wide, delta, c)
        for begin, end, cut in ((0, seen, False), (seen, rows, True)):
            with f.loop(begin, end) as i:
                at = i * QUERIES + c
                x = f.load(wide, s, at)
                if mask:
                    x = masked(f, x, masks, at, mask)
                if cut:
                    x = f.select(index >= f.splat(i - off - c, n), x, -inf)
                p = pen.apply(f, pen.decay, x - base, fma=fma)
                f.store(p, s, at)
                f.store(p * (f.load(wide, ds, at) - less), ds, at)


def writer(m: Module, memory: str, acc: str, n: int) -> None:
    """Defines write(src, src_step, dst, dst_step, rows, cols, factor): dst[i, j] = src[i, j] * factor."""
    f = m.function(
        f"internal void write(ptr noalias src, i64 src_step, ptr noalias dst, i64 dst_step, i64 rows, i64 cols, {acc} factor)",
        APART,
    )
    src, src_step, dst, dst_step, rows, cols, factor = f.params
    by = f.splat(factor, n)
    whole, at = cols & -n, lambda i, j: f.gep(memory, dst, i * dst_step + j)
    value = lambda i, j: narrow(f, f.load(vector(acc, n), src, i * src_step + j) * by, memory)
    with f.loop(0, rows) as i, f.loop(0, whole, n) as j:
        f.store(value(i, j), at(i, j))
    with f.when(whole < cols):
        mask = f.lane_mask(n, cols - whole)
        with f.loop(0, rows) as i:
            f.mstore(value(i, whole), at(i, whole), mask)


def text(target: Target, dtype: str, mask: str, partial: bool) -> Module:
    """IR of the kernel, `k`. With `partial`, dq is a sum of shares, in the dtype of sums."""
    memory, acc = TYPES[dtype]
    n, most = shape(target, acc)
    cols, fma = 2 * n, fused(target)
    m = Module(f"attention backward {dtype} {mask}")
    packer(m, "pack", memory, acc, n)
    if mask:
        packer(m, "pack_mask", *mask_kinds(mask, acc), n)
    product(m, "mul", acc, n, most, False)
    product(m, "across", acc, n, most, True)
    scores(m, acc, n, mask, fma)
    writer(m, memory, acc, n)
    unstage(m, acc if partial else memory, acc, n)
    Backward(m, memory, acc, n, cols, mask, partial).write()
    return m


class Backward:
    """Writes `k`, a part a method. `w` are its words, `x` the parts of a thread's scratch memory."""

    def __init__(self, m: Module, memory: str, acc: str, n: int, cols: int, mask: str, partial: bool) -> None:
        self.f = f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
        self.memory, self.acc, self.n, self.cols, self.mask, self.partial = memory, acc, n, cols, mask, partial
        args, self.begin, self.end, scratch = f.params
        self.w = w = words(f, args, SLOTS, len(POINTERS))
        self.none = f.value(0, "ptr")
        self.dw, self.ew = up(w["d"], cols), up(w["e"], cols)
        at: V = scratch
        self.x: dict[str, V] = {}
        for name, count in scratch_sizes(w["d"], w["e"], self.dw, self.ew, up(w["tq"], QUERIES), w["share"], n).items():
            self.x[name] = at
            at = f.gep(acc, at, count)

    def real(self, x: V) -> V:
        """A double as the dtype of sums."""
        return x if self.acc == "double" else self.f.convert("fptrunc", x, self.acc)

    def start(self, name: str, letter: str, b: V, h: V, t: V) -> V:
        """Where the row t of a head lies."""
        w = self.w
        return self.f.gep(self.memory, w[name], b * w[letter + "b"] + h * w[letter + "h"] + t * w[letter + "t"])

    def pack(self, dst: V, step: Any, src: V, rows: V, cols: V, across: V, down: V) -> None:
        """Elements of memory as those of sums, one after the other."""
        stage(self.f, "pack", dst, step, src, rows, cols, across, down, (self.memory, self.acc), self.n)

    def write(self) -> None:
        f, w, x = self.f, self.w, self.x
        with f.loop(0, QUERIES, self.n) as i:
            f.store(f.splat(f.value(1, self.acc), self.n), x["ones"], i)
            f.store(f.splat(self.real(w["scale"]), self.n), x["scales"], i)
        with f.loop(self.begin, self.end) as chunk:
            share, rest = chunk % w["shares"], chunk // w["shares"]
            hk, b = rest % w["heads"], rest // w["heads"]
            key0 = share * w["share"]
            key1 = f.min(key0 + w["share"], w["tk"])
            with f.loop(0, w["group"]) as member:
                h = hk * w["group"] + member
                for name, width, padded in (("qn", "d", self.dw), ("gn", "e", self.ew)):
                    with f.when(w[width] < padded):
                        zero(f, self.acc, x[name], up(w["tq"], QUERIES) * padded, self.n)
                with f.loop(0, w["tq"], QUERIES) as q0:
                    self.read_queries(b, h, q0)
                with f.loop(key0, key1, KEYS) as j0:
                    self.keys(b, h, hk, member, j0, key0, key1)
                with f.loop(0, w["tq"], QUERIES) as q0:
                    self.write_queries(b, h, share, q0)
            self.write_keys(b, hk, key0, key1)

    def read_queries(self, b: V, h: V, q0: V) -> None:
        """Of a block of queries: q and g turned, and as they lie; the sums that the softmax's derivative subtracts."""
        f, w, x, acc, n = self.f, self.w, self.x, self.acc, self.n
        wide = vector(acc, n)
        count = f.min(w["tq"] - q0, QUERIES)
        qt, gt = f.gep(acc, x["qt"], q0 * w["d"]), f.gep(acc, x["gt"], q0 * w["e"])
        self.pack(qt, QUERIES, self.start("q", "q", b, h, q0), count, w["d"], w["qt"], w["qd"])
        self.pack(gt, QUERIES, self.start("g", "g", b, h, q0), count, w["e"], w["gt"], w["gd"])
        qn, gn = (x["qn"], q0 * self.dw), (x["gn"], q0 * self.ew)
        self.pack(f.gep(acc, *qn), self.dw, self.start("q", "q", b, h, q0), w["d"], count, w["qd"], w["qt"])
        self.pack(f.gep(acc, *gn), self.ew, self.start("g", "g", b, h, q0), w["e"], count, w["gd"], w["gt"])
        self.pack(x["s"], QUERIES, self.start("o", "o", b, h, q0), count, w["e"], w["ot"], w["od"])
        unseen = f.splat(self.real(w["scale"] * LOG2E), n)
        blank(f, acc, qt, QUERIES, w["d"], count, up(count, self.cols), n, unseen)
        with f.when(count < QUERIES):
            blank(f, acc, gt, QUERIES, w["e"], count, up(count, self.cols), n, f.value(1, wide))
        with f.loop(0, count, n) as c:
            total = f.var(wide, 0)
            with f.loop(0, w["e"]) as i:
                g, o = (f.load(wide, part, i * QUERIES + c) for part in (gt, x["s"]))
                total.set(f.fma(g, o, total.get()))
            f.store(total.get(), x["delta"], q0 + c)
        zero(f, acc, f.gep(acc, x["lse"], q0), QUERIES, n)
        with f.loop(0, count) as t:
            lse = f.load(acc, w["lse"], b * w["lb"] + h * w["lh"] + (q0 + t) * w["lt"])
            # nothing is seen: all are exp(-inf)
            f.store(f.select(lse == -inf, 0, lse * LOG2E), x["lse"], q0 + t)
        zero(f, acc, f.gep(acc, x["dq"], q0 * w["d"]), w["d"] * QUERIES, n)

    def keys(self, b: V, h: V, hk: V, member: V, j0: V, key0: V, key1: V) -> None:
        """A block of keys: all queries that see them pass by."""
        f, w, x, acc = self.f, self.w, self.x, self.acc
        keys = f.min(key1 - j0, KEYS)
        self.pack(x["kt"], KEYS, self.start("k", "k", b, hk, j0), keys, w["d"], w["kt"], w["kd"])
        self.pack(x["kn"], self.dw, self.start("k", "k", b, hk, j0), w["d"], keys, w["kd"], w["kt"])
        self.pack(x["vt"], KEYS, self.start("v", "v", b, hk, j0), keys, w["e"], w["vt"], w["vd"])
        first = f.select(member == 0, self.none, x["ones"])
        j = j0 - key0
        dk, dv = f.gep(acc, x["dk"], j * self.dw), f.gep(acc, x["dv"], j * self.ew)
        fresh = f.var("ptr", first)  # the first block of queries overwrites
        seeing = f.select(w["causal"] != 0, j0 // QUERIES * QUERIES, 0, "i64")
        with f.when(seeing >= w["tq"]), f.when(member == 0):  # keys that no query sees
            for dst, count in ((dk, self.dw), (dv, self.ew)):
                zero(f, acc, dst, keys * count, self.n)
        with f.loop(seeing, w["tq"], QUERIES) as q0:
            self.meet(b, h, q0, j0, keys, dk, dv, fresh)

    def meet(self, b: V, h: V, q0: V, j0: V, keys: V, dk: V, dv: V, fresh: Variable) -> None:
        """A block of queries and a block of keys: the scores, their derivative, and what both add to dq, dk and dv."""
        f, w, x, acc, cols, dw, ew = self.f, self.w, self.x, self.acc, self.cols, self.dw, self.ew
        number = lambda i: f.value(i, "i64")
        count = f.min(w["tq"] - q0, QUERIES)
        off = f.select(w["causal"] != 0, q0 - j0, 1 << 40, "i64")
        qt, gt = f.gep(acc, x["qt"], q0 * w["d"]), f.gep(acc, x["gt"], q0 * w["e"])
        if self.mask:
            kind = mask_kinds(self.mask, acc)
            src = f.gep(kind[0], w["mask"], b * w["mb"] + h * w["mh"] + q0 * w["mq"] + j0 * w["mk"])
            with f.when(count < QUERIES):
                zero(f, kind[1], x["mask"], KEYS * QUERIES, self.n)
            stage(f, "pack_mask", x["mask"], QUERIES, src, count, keys, w["mq"], w["mk"], kind, self.n)
        lse, delta = f.gep(acc, x["lse"], q0), f.gep(acc, x["delta"], q0)
        # Blocks are as long as one another: each tile of queries sees some of the keys. The last tile is computed for all of them.
        seen = lambda c: f.select(c + cols >= count, keys, f.min(keys, off + c + cols))
        with f.loop(0, count, cols) as c:
            rows, s, ds = seen(c), f.gep(acc, x["s"], c), f.gep(acc, x["ds"], c)
            f.call("void", "mul", x["kt"], number(KEYS), f.gep(acc, qt, c), number(QUERIES), w["d"], rows, s, number(QUERIES),
                   self.none)  # fmt: skip
            f.call("void", "mul", x["vt"], number(KEYS), f.gep(acc, gt, c), number(QUERIES), w["e"], rows, ds, number(QUERIES),
                   self.none)  # fmt: skip
            masks = f.gep(mask_kinds(self.mask, acc)[1], x["mask"], c) if self.mask else x["mask"]
            f.call("void", "scores", s, ds, rows, f.min(count - c, cols), off + c, f.gep(acc, lse, c), f.gep(acc, delta, c), masks)  # fmt: skip
        with f.loop(0, count, cols) as tile:  # keys that this tile is the first to see
            begin = f.select(tile == 0, 0, seen(tile - cols), "i64")
            rows = seen(tile) - begin
            with f.when(rows > 0):
                for scores_, queries, width, padded, dst in (
                    (x["s"], x["gn"], "e", ew, dv),
                    (x["ds"], x["qn"], "d", dw, dk),
                ):
                    with f.loop(0, w[width], cols) as c:
                        f.call("void", "across", f.gep(acc, scores_, begin * QUERIES + tile), number(QUERIES),
                               f.gep(acc, queries, (q0 + tile) * padded + c), padded, count - tile, rows,
                               f.gep(acc, dst, begin * padded + c), padded, fresh.get())  # fmt: skip
        fresh.set(x["ones"])
        with f.loop(0, count, cols) as c:
            f.call("void", "mul", x["kn"], dw, f.gep(acc, x["ds"], c), number(QUERIES), seen(c), w["d"],
                   f.gep(acc, x["dq"], q0 * w["d"] + c), number(QUERIES), x["ones"])  # fmt: skip

    def write_queries(self, b: V, h: V, share: V, q0: V) -> None:
        """The gradient of a block of queries, from this share of the keys."""
        f, w, x, acc = self.f, self.w, self.x, self.acc
        at = share * w["xs"] + b * w["xb"] + h * w["xh"] + q0 * w["xt"]
        dst = f.gep(acc if self.partial else self.memory, w["dq"], at)
        src, rows = f.gep(acc, x["dq"], q0 * w["d"]), f.min(w["tq"] - q0, QUERIES)
        f.call("void", "unstage", src, f.value(QUERIES, "i64"), dst, w["xt"], rows, w["d"], x["scales"])

    def write_keys(self, b: V, hk: V, key0: V, key1: V) -> None:
        """The gradients of a share of the keys and values."""
        f, w, x = self.f, self.w, self.x
        rows = key1 - key0
        for name, letter, step, width, by in (
            ("dk", "y", self.dw, "d", self.real(w["scale"])),
            ("dv", "z", self.ew, "e", f.value(1, self.acc)),
        ):
            with f.when(rows > 0):
                dst = self.start(name, letter, b, hk, key0)
                f.call("void", "write", x[name], step, dst, w[letter + "t"], rows, w[width], by)


def scratch_sizes(d: Any, e: Any, dw: Any, ew: Any, tq: Any, keys: Any, n: int) -> dict[str, Any]:
    """Elements of each part of a thread's scratch memory but for dk and dv; tq and keys are whole blocks."""
    widest = d + e  # room for a block of turned results where the scores will be
    return {"qt": tq * d, "gt": tq * e, "qn": tq * dw, "gn": tq * ew, "dq": tq * d + n * QUERIES, "delta": tq, "lse": tq,
            "kt": d * KEYS, "vt": e * KEYS, "kn": dw * KEYS, "s": (widest + KEYS) * QUERIES, "ds": KEYS * QUERIES,
            "mask": KEYS * QUERIES, "ones": QUERIES, "scales": QUERIES, "dk": keys * dw, "dv": keys * ew}  # fmt: skip


@cache
def kernel(dtype: str, mask: str, partial: bool) -> Code:
    native = engine()
    parts = [("kernel", "attention backward"), ("dtype", dtype), ("mask", mask), ("partial", partial)]
    return native.load(lambda: str(text(native.target, dtype, mask, partial)), ["k"], parts=parts, level=LIGHT)


SHARES = 8  # chunks below which the keys of a head are shared out, if each has
LEAST = 4 * KEYS  # keys at least


def shared_out(heads: int, keys: int) -> tuple[int, int]:
    """(into how many shares the keys of each of the heads are divided, how long a share is)."""
    blocks, most = -(-keys // KEYS), max(1, min(-(-SHARES // heads), keys // LEAST))
    share = -(-blocks // most) * KEYS
    return -(-keys // share), share


def turned(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of (batch, heads, length, width), heads of a place side by side."""
    _, heads, length, width = shape
    return length * heads * width, width, heads * width, 1


def backward_plan(g: np.ndarray[Any, Any], q: np.ndarray[Any, Any], k: np.ndarray[Any, Any], v: np.ndarray[Any, Any],
                  o: np.ndarray[Any, Any], lse: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None, causal: bool,
                  joined: bool = False) -> Plan | None:  # fmt: skip
    """The plan of the derivative: dq (with a leading dim of shares, to be summed, where there are several), dk, dv.

    With `joined` these are parts of one result: (batch, length, all of q's heads, then k's, then v's).
    """
    if not suits((q, k, v, g, o), mask) or elements(lse) is None:
        return None
    (b, h, tq, d), (hk, tk, e) = q.shape, v.shape[1:]
    dtype, kind = q.dtype.name, "" if mask is None else mask.dtype.name
    acc = TYPES[dtype][1]
    n, _ = shape(engine().target, acc)
    shares, share = shared_out(b * hk, tk)
    word = size(acc)
    wide = np.dtype(np.float64 if acc == "double" else np.float32)
    steps = lambda shape: tuple(s * q.itemsize for s in turned(shape))
    ways = [turned(q.shape)[:3], turned(k.shape)[:3], turned(v.shape)[:3]]
    places: list[tuple[int, ...]] = [(OUT, i) for i in range(3)]
    results: tuple[Result, ...]
    if joined:
        if shares > 1 or tq != tk:
            return None
        row = (h + hk) * d + hk * e
        results = (Result(q.dtype, (b, tq, row)),)
        ways = [(tq * row, width, row) for width in (d, d, e)]
        places = [(OUT, 0, n * q.itemsize) for n in (0, h * d, (h + hk) * d)]
        dq_strides = (0, *ways[0])
    elif shares > 1:
        dq = Result(wide, (shares, b, h, tq, d))
        dq_strides = (b * h * tq * d, h * tq * d, tq * d, d)
    else:
        dq = Result(q.dtype, q.shape, steps(q.shape))
        dq_strides = (0, *ways[0])
    if not joined:
        results = (dq, *(Result(q.dtype, x.shape, steps(x.shape)) for x in (k, v)))
    over = (0, 0, 0, 0) if mask is None else elements(np.broadcast_to(mask, (b, h, tq, tk)))
    strides = [*elements(q), *elements(k), *elements(v), *elements(g), *elements(o), *over, *elements(lse), *dq_strides,  # type: ignore[misc]
               *ways[1], *ways[2]]  # fmt: skip
    sizes = [hk, h // hk, tq, tk, d, e, int(causal), shares, share]
    args = [*places, *((ARG, i) for i in range(6)), (CONST, 0) if mask is None else (ARG, 7)]
    code = kernel(dtype, kind, shares > 1)
    round_up = lambda x, to: -(-x // to) * to
    parts = scratch_sizes(d, e, round_up(d, 2 * n), round_up(e, 2 * n), round_up(tq, QUERIES), share, n)
    work = Launch(
        code["k"],
        (*args, *((CONST, x) for x in (*sizes, *strides)), (ARG, 6)),
        b * hk * shares,
        sum(parts.values()) * word,
    )
    return Plan(results, (work,), release=b * h * tq * tk > 1 << 13, keep=(code,))


def backward(g: np.ndarray[Any, Any], q: np.ndarray[Any, Any], k: np.ndarray[Any, Any], v: np.ndarray[Any, Any],
             o: np.ndarray[Any, Any], lse: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None, causal: bool,
             scale: float) -> tuple[Any, Any, Any] | None:  # fmt: skip
    """(dq, dk, dv), or None where the kernel has no form for it."""
    args = (g, q, k, v, o, lse, float(scale)) if mask is None else (g, q, k, v, o, lse, float(scale), mask)
    out = planned(("attention backward", causal), args, lambda: backward_plan(g, q, k, v, o, lse, mask, causal))
    if out is None:
        return None
    dq, dk, dv = out
    return (dq.sum(0).astype(q.dtype, copy=False) if dq.ndim > 4 else dq), dk, dv
