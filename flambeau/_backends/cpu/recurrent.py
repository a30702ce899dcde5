"""Recurrent layers as one generated kernel: the loop over time, with the product by the hidden weights and the cell in it.

A chunk is a few sequences of the batch, for all times: threads never wait for one another. The hidden weights are packed
once, in panels of two vectors of units; of each such group of units the gates' sums are computed for all rows and the cell
follows while they are in cache. The derivative walks back over what was saved, in the same manner; gradients of weights and
inputs are large products over all times and not made here. Where there will be none, nothing is saved, and the cells are those of
the last step that a sequence has seen.

Rows lie as in packed sequences: `sizes[t]` of them at time t, the first at `starts[t]`, longest sequences first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu import pen, vecmath
from flambeau._backends.cpu.attention import fused, product, shape, stage, up, words, zero
from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.emit import APART, Function, Module, V, size, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result, planned
from flambeau._backends.cpu.pack import packer

ROWS = 8  # sequences of a chunk, at most
AHEAD = 32  # steps of a product by which weights are fetched: they come from the second-level cache or from beyond
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}
SAVED = {
    "lstm": 4,
    "gru": 4,
    "tanh": 0,
    "relu": 0,
}  # vectors of units that the derivative needs: gates, and of a GRU W h
SIZES = ("times", "units", "batch", "rows", "back")  # rows of a chunk; back: time runs backwards
FORWARD = ("out", "saved", "cells", "x", "h0", "c0", "bias", "sizes", "starts", "panels", *SIZES)
BACKWARD = (
    "dx",
    "dh",
    "dh0",
    "dc0",
    "g",
    "gh",
    "gc",
    "out",
    "saved",
    "cells",
    "h0",
    "c0",
    "sizes",
    "starts",
    "panels",
    *SIZES,
)
PACK = ("panels", "weight", "units", "depth", "lane", "step", "gates")


class Row:
    """Vectors of units of one row, of which the last may be partial: reads 0 and writes nothing past the end."""

    def __init__(self, f: Function, type: str, at: V, mask: V) -> None:
        self.f, self.type, self.at, self.mask = f, type, at, mask

    def load(self, row: V, offset: V | int = 0) -> V:
        kind = self.type[1:].split()[2].rstrip(">")
        return self.f.mload(self.type, self.f.gep(kind, row, self.at + offset), self.mask)

    def store(self, value: V, row: V, offset: V | int = 0) -> None:
        kind = self.type[1:].split()[2].rstrip(">")
        self.f.mstore(value, self.f.gep(kind, row, self.at + offset), self.mask)


def pack(m: Module, acc: str, n: int) -> None:
    """The kernel `pack`: a chunk is a panel, of the lanes of one group of units and one gate (or all)."""
    cols = 2 * n
    f = m.function("void pack(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, _ = f.params
    w = words(f, args, PACK, 2)
    with f.loop(begin, end) as chunk:
        group, gate = chunk // w["gates"], chunk % w["gates"]
        to, count = f.gep(acc, w["panels"], chunk * w["depth"] * cols), f.min(w["units"] - group * cols, cols)
        with f.when(count < cols):
            zero(f, acc, to, w["depth"] * cols, n)
        src = f.gep(acc, w["weight"], (gate * w["units"] + group * cols) * w["lane"])
        stage(f, "turn", to, cols, src, count, w["depth"], w["lane"], w["step"], (acc, acc), n)


def text(target: Target, dtype: str, kind: str, keep: bool = True) -> Module:
    """IR of the kernels `pack` and `k`: a layer forward."""
    acc = TYPES[dtype][1]
    n, _ = shape(target, acc)
    m = Module(f"recurrent {kind} {dtype}{'' if keep else ' forgets'}")
    packer(m, "turn", acc, acc, n)
    pack(m, acc, n)
    product(m, "mul", acc, n, ROWS, True, AHEAD)
    cell(m, kind, acc, n, target, keep)
    cols, gates, kept = 2 * n, GATES[kind], SAVED[kind] if keep else 0
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, sums = f.params
    w = words(f, args, FORWARD, 10)
    units, none, number = w["units"], f.value(0, "ptr"), lambda i: f.value(i, "i64")
    with f.loop(begin, end) as chunk, f.loop(0, w["times"]) as s:
        r0 = chunk * w["rows"]
        here = moment(f, w, s, r0)
        with f.when(here.count > 0), f.loop(0, units, cols) as u:
            with f.loop(0, here.count) as i:  # what the cell will read lies apart: it is on its way while sums are made
                for gate in range(gates):
                    for o in range(0, cols, 64 // size(acc)):
                        f.prefetch(f.gep(acc, w["x"], (here.now + i) * (units * gates) + units * gate + u + o))
            for gate in range(gates):
                panel = f.gep(acc, w["panels"], (u * gates + gate * cols) * units)
                to = f.gep(acc, sums, gate * ROWS * cols)
                f.call("void", "mul", f.gep(acc, w["out"], here.before * units), units, panel, number(cols), units, here.old, to,
                       number(cols), none)  # fmt: skip
                f.call("void", "mul", f.gep(acc, w["h0"], (r0 + here.old) * units), units, panel, number(cols), units,
                       here.count - here.old, f.gep(acc, to, here.old * cols), number(cols), none)  # fmt: skip
            with f.loop(0, here.count) as i:
                at, first, row = here.now + i, i < here.old, lambda name, place: f.gep(acc, w[name], place * units)
                own = r0 + i
                before, cells = (here.before + i, at) if keep else (own, own)
                h = f.select(first, row("out", here.before + i), row("h0", own))
                c = f.select(first, row("cells", before), row("c0", own))
                f.call("void", "cell", f.gep(acc, sums, i * cols), f.gep(acc, w["x"], at * (units * gates)), w["bias"],
                       f.gep(acc, w["saved"], at * (units * kept)), h, row("out", at), c, row("cells", cells), u,
                       units)  # fmt: skip
    return m


class Moment:
    """Rows of a chunk at one time: `count` of them from `now` on, the first `old` of which were there before, at `before`."""

    count: V
    old: V
    now: V
    before: V


def moment(f: Function, w: dict[str, V], s: V, r0: V) -> Moment:
    """Step s of the walk over time."""
    m = Moment()
    t = f.select(w["back"] != 0, w["times"] - 1 - s, s)
    p = f.min(f.max(f.select(w["back"] != 0, t + 1, t - 1), 0), w["times"] - 1)
    at = lambda name, i: f.load("i64", w[name], i)
    m.count = f.max(f.min(at("sizes", t) - r0, w["rows"]), 0)
    m.old = f.select(s == 0, 0, f.max(f.min(at("sizes", p) - r0, m.count), 0))
    m.now, m.before = at("starts", t) + r0, at("starts", p) + r0
    return m


def cell(m: Module, kind: str, acc: str, n: int, target: Target, keep: bool) -> None:
    """Defines cell(sums, x, bias, saved, h, out, c, cell, u, units): one row's group of units, one step."""
    f = m.function(
        "internal void cell(ptr sums, ptr x, ptr bias, ptr saved, ptr h, ptr out, ptr c, ptr cell, i64 u, i64 units)",
        APART,
    )
    sums, x, bias, saved, h, out, c, cells, u, units = f.params
    lanes = 2 * n  # of both vectors at once: what waits in one goes on in the other
    wide = vector(acc, lanes)
    row = Row(f, wide, u, f.lane_mask(lanes, units - u))
    sigmoid, tanh = (
        lambda x, of=of: pen.apply(f, of, x, fma=fused(target), scale=target.scales)
        for of in (vecmath.sigmoid, vecmath.tanh)
    )
    total = [f.load(wide, sums, gate * (ROWS * lanes)) + row.load(bias, units * gate) for gate in range(GATES[kind])]
    given = [row.load(x, units * gate) for gate in range(GATES[kind])]
    if kind == "lstm":
        i, f_, g, o = (a + b for a, b in zip(given, total, strict=True))
        i, f_, g, o = sigmoid(i), sigmoid(f_), tanh(g), sigmoid(o)
        new = f.fma(f_, row.load(c), i * g)
        row.store(new, cells)
        row.store(o * tanh(new), out)
        made = [i, f_, g, o]
    elif kind == "gru":
        r, z = sigmoid(given[0] + total[0]), sigmoid(given[1] + total[1])
        new = tanh(f.fma(r, total[2], given[2]))
        row.store(f.fma(z, row.load(h) - new, new), out)
        made = [r, z, new, total[2]]
    else:
        pre = given[0] + total[0]
        row.store(tanh(pre) if kind == "tanh" else f.select(pre < 0, 0, pre), out)
        made = []
    for j, value in enumerate(made if keep else ()):
        row.store(value, saved, units * j)


def backward_text(target: Target, dtype: str, kind: str) -> Module:
    """IR of the kernels `pack` and `k`: a layer's gradients of the sums, for all times."""
    acc = TYPES[dtype][1]
    n, _ = shape(target, acc)
    m = Module(f"recurrent {kind} backward {dtype}")
    packer(m, "turn", acc, acc, n)
    pack(m, acc, n)
    product(m, "mul", acc, n, ROWS, True, AHEAD)
    cell_back(m, kind, acc, n, fused(target))
    cols, gates, kept, wide = 2 * n, GATES[kind], SAVED[kind], vector(acc, n)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, scratch = f.params
    w = words(f, args, BACKWARD, 15)
    units, number = w["units"], lambda i: f.value(i, "i64")
    padded = up(units, cols)
    dh, dc = scratch, f.gep(acc, scratch, padded * ROWS)
    ones = f.gep(acc, dc, padded * ROWS)
    for v in range(2):
        f.store(f.value(1, wide), ones, v * n)
    with f.loop(begin, end) as chunk:
        r0 = chunk * w["rows"]
        mine = f.min(w["batch"] - r0, w["rows"])
        zero(f, acc, scratch, padded * (2 * ROWS), n)
        for name, to in (("gh", dh), ("gc", dc)):
            with f.loop(0, mine) as i, f.loop(0, units) as j:
                f.store(f.load(acc, w[name], (r0 + i) * units + j), to, i * padded + j)
        with f.loop(0, w["times"]) as back:
            here = moment(f, w, w["times"] - 1 - back, r0)
            next = moment(f, w, f.max(w["times"] - 2 - back, 0), r0)
            with f.when(here.count > 0):
                with f.loop(0, here.count) as i:
                    at, first = here.now + i, i < here.old
                    prior = lambda all, start, i=i, first=first: f.select(
                        first, f.gep(acc, w[all], (here.before + i) * units), f.gep(acc, w[start], (r0 + i) * units)
                    )
                    f.call("void", "cell", f.gep(acc, w["g"], at * units), f.gep(acc, dh, i * padded), f.gep(acc, dc, i * padded),
                           f.gep(acc, w["saved"], at * (units * kept)), f.gep(acc, w["out"], at * units), prior("out", "h0"),
                           f.gep(acc, w["cells"], at * units), prior("cells", "c0"), f.gep(acc, w["dx"], at * (units * gates)),
                           f.gep(acc, w["dh"], at * (units * gates)), units, number(0), units)  # fmt: skip
                # what the rows were fed back goes on to the step before
                source = f.gep(acc, w["dh"], here.now * (units * gates))
                with f.loop(0, units, cols) as u:
                    with f.loop(0, next.count) as i:  # what the cells of that step will read is on its way meanwhile
                        at = next.now + i
                        for o in range(0, cols, 64 // size(acc)):
                            for gate in range(kept):
                                f.prefetch(f.gep(acc, w["saved"], at * (units * kept) + units * gate + u + o), level=2)
                            for name in ("g", "out" if kind != "lstm" else "cells"):
                                f.prefetch(f.gep(acc, w[name], at * units + u + o), level=2)
                    f.call("void", "mul", source, units * gates, f.gep(acc, w["panels"], u * (units * gates)), number(cols),
                           units * gates, here.count, f.gep(acc, dh, u), padded, ones)  # fmt: skip
        for name, source in (("dh0", dh), ("dc0", dc)):
            with f.loop(0, mine) as i, f.loop(0, units) as j:
                f.store(f.load(acc, source, i * padded + j), w[name], (r0 + i) * units + j)
    return m


def cell_back(m: Module, kind: str, acc: str, n: int, fma: bool) -> None:
    """Defines cell(g, dh, dc, saved, out, h, cell, c, dx, dhs, units, begin, end): one row of one step, some of its units.

    dh and dc come from the step after and leave for the step before, dh without what goes through the weights.
    """
    f = m.function(
        "internal void cell(ptr g, ptr dh, ptr dc, ptr saved, ptr out, ptr h, ptr cell, ptr c, ptr dx, ptr dhs, i64 units,"
        " i64 begin, i64 end)",
        APART,
    )
    g, dh, dc, saved, out, h, cells, c, dx, dhs, units, begin, end = f.params
    wide = vector(acc, n)
    with f.loop(begin, end, n) as at:
        row = Row(f, wide, at, f.lane_mask(n, units - at))
        d = row.load(g) + f.load(wide, dh, at)
        left = f.value(0, wide)
        one = f.value(1, wide)
        if kind == "lstm":
            i, f_, g_, o = (row.load(saved, units * j) for j in range(4))
            t = pen.apply(f, vecmath.tanh, row.load(cells), fma=fma)
            e = f.fma(d * o, one - t * t, f.load(wide, dc, at))
            f.store(e * f_, dc, at)
            sums = [
                e * g_ * i * (one - i),
                e * row.load(c) * f_ * (one - f_),
                e * i * (one - g_ * g_),
                d * t * o * (one - o),
            ]
            inner = sums
        elif kind == "gru":
            r, z, new, fed = (row.load(saved, units * j) for j in range(4))
            dn = d * (one - z) * (one - new * new)
            sums = [dn * fed * r * (one - r), d * (row.load(h) - new) * z * (one - z), dn]
            inner = [*sums[:2], dn * r]
            left = d * z
        else:
            y = row.load(out)
            sums = inner = [d * (one - y * y) if kind == "tanh" else f.select(y <= 0, 0, d)]
        f.store(left, dh, at)
        for j, value in enumerate(inner):
            row.store(value, dhs, units * j)
        if inner is not sums:
            for j, value in enumerate(sums):
                row.store(value, dx, units * j)


@cache
def kernel(dtype: str, kind: str, back: bool, keep: bool) -> Code:
    native = engine()
    parts = [("kernel", "recurrent"), ("dtype", dtype), ("kind", kind), ("back", back), ("keep", keep)]
    write = (
        (lambda: backward_text(native.target, dtype, kind)) if back else lambda: text(native.target, dtype, kind, keep)
    )
    return native.load(
        lambda: str(write()),
        ["pack", "k"],
        parts=parts,
        level=LIGHT,
    )


# -- plans ------------------------------------------------------------------------------------------------------------

Array = np.ndarray[Any, Any]


def rows_of(batch: int) -> int:
    """Sequences of a chunk: few enough that there are two chunks, if there are two sequences."""
    return max(1, min(ROWS, -(-batch // 2)))


def plan(kind: str, back: bool, x: Array, batch: int, times: int, reverse: bool, weight: Array, at: int, results: Sequence[Result],
         args: Sequence[tuple[int, int]], keep: bool = True) -> Plan:  # fmt: skip
    """Packing, and the walk; `weight` is argument `at`."""
    dtype, gates, units = x.dtype.name, GATES[kind], weight.shape[1]
    code = kernel(dtype, kind, back, keep)
    acc = TYPES[dtype][1]
    n, _ = shape(engine().target, acc)
    cols, word = 2 * n, size(acc)
    groups = -(-units // cols)
    rows = rows_of(batch)
    # forward: a panel for each group and gate, of `units` steps; backward: one for each group, of all gates' steps
    form = (units, gates * units, 1, units, 1) if back else (units, units, units, 1, gates)
    pack_slots = ((TEMP, 0), (ARG, at), *((CONST, v) for v in form))
    panels = groups * cols * gates * units * word
    scratch = ((2 * ROWS * groups * cols + cols) if back else gates * ROWS * cols) * word
    slots = (*args, (TEMP, 0), *((CONST, v) for v in (times, units, batch, rows, int(reverse))))
    work = (
        Launch(code["pack"], pack_slots, groups * (1 if back else gates)),
        Launch(code["k"], slots, -(-batch // rows), scratch),
    )
    return Plan(tuple(results), work, temp=panels, release=True, keep=(code,))


def suits(*arrays: Array) -> bool:
    d = arrays[0].dtype
    return d.char in "fd" and all([a.dtype is d and a.flags.c_contiguous and a.size for a in arrays])


def forward_plan(kind: str, x: Array, h0: Array, c0: Array, weight: Array, bias: Array, times: int, reverse: bool,
                 keep: bool) -> Plan | None:  # fmt: skip
    """The plan of `forward`."""
    if not suits(x, h0, c0, weight, bias):
        return None
    rows, units = len(x), weight.shape[1]
    kept, cells = SAVED[kind] * units if keep else 0, units if kind == "lstm" else 0
    shapes = ((rows, units), (rows, kept), (rows if keep else len(h0), cells))
    results = [Result(x.dtype, s) for s in shapes]
    slots = [*((OUT, i) for i in range(3)), *((ARG, i) for i in (0, 1, 2, 4, 5, 6))]
    return plan(kind, False, x, len(h0), times, reverse, weight, 3, results, slots, keep)


def forward(kind: str, x: Array, h0: Array, c0: Array, weight: Array, bias: Array, sizes: Array, starts: Array,
            reverse: bool, keep: bool = True) -> tuple[Array, Array, Array] | None:  # fmt: skip
    """(hidden states, what the derivative needs, cell states) of rows x of gates' sums, one layer and direction.

    With nothing to `keep`, the second is empty and the third has the last cells only.
    """
    args = (x, h0, c0, weight, bias, sizes, starts)
    make = lambda: forward_plan(kind, *args[:5], len(sizes), reverse, keep)
    found: tuple[Array, Array, Array] | None = planned(("recurrent", kind, reverse, keep), args, make)
    return found


def backward_plan(kind: str, g: Array, gh: Array, gc: Array, out: Array, saved: Array, cells: Array, h0: Array, c0: Array,
                  weight: Array, times: int, reverse: bool) -> Plan | None:  # fmt: skip
    """The plan of `backward`; the first result is empty where it would be the second."""
    if not suits(g, gh, gc, out, h0, c0, weight) or not all(a.flags.c_contiguous for a in (saved, cells)):
        return None
    sums = Result(g.dtype, (len(g), GATES[kind] * weight.shape[1]))
    results = [
        Result(g.dtype, (len(g), 0)) if kind != "gru" else sums,
        sums,
        *(Result(g.dtype, h.shape) for h in (h0, c0)),
    ]
    slots = [*((OUT, i) for i in range(4)), *((ARG, i) for i in (0, 1, 2, 3, 4, 5, 6, 7, 9, 10))]
    return plan(kind, True, g, len(h0), times, reverse, weight, 8, results, slots)


def backward(kind: str, g: Array, gh: Array, gc: Array, out: Array, saved: Array, cells: Array, h0: Array, c0: Array, weight: Array,
             sizes: Array, starts: Array, reverse: bool) -> tuple[Array, Array, Array, Array] | None:  # fmt: skip
    """Gradients of the rows of sums, of the part of them that the weights made, of h0 and of c0."""
    args = (g, gh, gc, out, saved, cells, h0, c0, weight, sizes, starts)
    make = lambda: backward_plan(kind, *args[:9], len(sizes), reverse)
    found = planned(("recurrent backward", kind, reverse), args, make)
    if found is None:
        return None
    return (found[0] if kind == "gru" else found[1], *found[1:])
