"""Recurrent layers whose steps are launches of their own: a chunk is a group of units, of all sequences.

Threads meet after each step. For that each of them reads its own part of the weights only, from step to step the same one, which stays
in its caches: what counts where few sequences share what is read. Where there are more of them, where weights are small or sequences end
at different times, `recurrent` walks over time within a chunk. Both give the same bits.
"""

from __future__ import annotations

from functools import cache

from flambeau._backends.cpu.attention import fused, product, shape, up, words
from flambeau._backends.cpu.contract import TYPES
from flambeau._backends.cpu.emit import Function, Module, V, size, vector
from flambeau._backends.cpu.engine import LIGHT, Code, Target, engine
from flambeau._backends.cpu.launch import ARG, CONST, OUT, TEMP, Launch, Plan, Result
from flambeau._backends.cpu.pack import packer
from flambeau._backends.cpu.recurrent import AHEAD, GATES, ROWS, SAVED, Array, Row, cell, cell_back, pack, suits

LONGEST = 512  # steps, each of which is a launch of the plan
HEAVY = 1 << 19  # bytes of a weight from which reading a part of it saves more than threads lose when they meet
FORWARD = ("h", "out", "c", "cells", "saved", "x", "bias", "panels", "units", "rows")
BACKWARD = ("source", "dh", "dc", "g", "gh", "gc", "dh0", "dc0", "saved", "out", "h", "cell", "c", "dx", "dhs", "panels", "units",
            "rows", "next", "first", "last")  # fmt: skip


def text(target: Target, dtype: str, kind: str, keep: bool) -> Module:
    """IR of the kernels `pack` and `k`: one step forward."""
    acc = TYPES[dtype][1]
    n, _ = shape(target, acc)
    m = Module(f"recurrent step {kind} {dtype}{'' if keep else ' forgets'}")
    packer(m, "turn", acc, acc, n)
    pack(m, acc, n)
    product(m, "mul", acc, n, ROWS, True, AHEAD)
    cell(m, kind, acc, n, target, keep)
    cols, gates, kept = 2 * n, GATES[kind], SAVED[kind] if keep else 0
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, sums = f.params
    w = words(f, args, FORWARD, 8)
    units, none, number = w["units"], f.value(0, "ptr"), lambda i: f.value(i, "i64")
    with f.loop(begin * cols, f.min(end * cols, units), cols) as u, f.loop(0, w["rows"], ROWS) as r0:
        count = f.min(w["rows"] - r0, ROWS)
        with f.loop(0, count) as i:  # what the cell will read lies apart: it is on its way while sums are made
            for gate in range(gates):
                for o in range(0, cols, 64 // size(acc)):
                    f.prefetch(f.gep(acc, w["x"], (r0 + i) * (units * gates) + units * gate + u + o))
        for gate in range(gates):
            panel = f.gep(acc, w["panels"], (u * gates + gate * cols) * units)
            f.call("void", "mul", f.gep(acc, w["h"], r0 * units), units, panel, number(cols), units, count,
                   f.gep(acc, sums, gate * ROWS * cols), number(cols), none)  # fmt: skip
        with f.loop(0, count) as i:
            row = lambda name, width, at=r0 + i: f.gep(acc, w[name], at * (units * width))
            f.call("void", "cell", f.gep(acc, sums, i * cols), row("x", gates), w["bias"], row("saved", kept), row("h", 1),
                   row("out", 1), row("c", 1), row("cells", 1), u, units)  # fmt: skip
    return m


def backward_text(target: Target, dtype: str, kind: str) -> Module:
    """IR of the kernels `pack` and `k`: of one step what the one after it was fed, and the gradients of its sums."""
    acc = TYPES[dtype][1]
    n, _ = shape(target, acc)
    m = Module(f"recurrent step {kind} backward {dtype}")
    packer(m, "turn", acc, acc, n)
    pack(m, acc, n)
    product(m, "mul", acc, n, ROWS, True, AHEAD)
    cell_back(m, kind, acc, n, fused(target))
    cols, gates, kept, wide = 2 * n, GATES[kind], SAVED[kind], vector(acc, n)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    args, begin, end, ones = f.params
    w = words(f, args, BACKWARD, 16)
    units, number = w["units"], lambda i: f.value(i, "i64")
    padded, lead = up(units, cols), units * gates
    for v in range(2):
        f.store(f.value(1, wide), ones, v * n)
    with f.loop(begin * cols, f.min(end * cols, units), cols) as u, f.loop(0, w["rows"], ROWS) as r0:
        count, stop = f.min(w["rows"] - r0, ROWS), f.min(u + cols, units)
        place = Row(f, vector(acc, cols), u, f.lane_mask(cols, units - u))
        line = lambda name, i: f.gep(acc, w[name], i * padded)
        with f.either(w["first"] != 0) as otherwise:
            with f.loop(r0, r0 + count) as i:
                for name, to in (("gh", "dh"), ("gc", "dc")):
                    f.store(place.load(f.gep(acc, w[name], i * units)), f.gep(acc, line(to, i), u))
            otherwise()
            ahead(f, w, acc, kept, kind, u, r0, count, cols)
            f.call("void", "mul", f.gep(acc, w["source"], r0 * lead), lead, f.gep(acc, w["panels"], u * lead), number(cols),
                   lead, count, f.gep(acc, line("dh", r0), u), padded, ones)  # fmt: skip
        with f.loop(r0, r0 + count) as i, f.either(w["last"] != 0) as otherwise2:
            for name, to in (("dh", "dh0"), ("dc", "dc0")):
                place.store(f.load(vector(acc, cols), f.gep(acc, line(name, i), u)), f.gep(acc, w[to], i * units))
            otherwise2()
            row = lambda name, width=1, i=i: f.gep(acc, w[name], i * (units * width))
            f.call("void", "cell", row("g"), line("dh", i), line("dc", i), row("saved", kept), row("out"), row("h"), row("cell"),
                   row("c"), row("dx", gates), row("dhs", gates), units, u, stop)  # fmt: skip
    return m


def ahead(f: Function, w: dict[str, V], acc: str, kept: int, kind: str, u: V, r0: V, count: V, cols: int) -> None:
    """Fetches what the cells of the next step will read, `next` rows away."""
    with f.loop(r0 + w["next"], r0 + w["next"] + count) as at:
        for o in range(0, cols, 64 // size(acc)):
            for gate in range(kept):
                f.prefetch(f.gep(acc, w["saved"], at * (w["units"] * kept) + w["units"] * gate + u + o), level=2)
            for name in ("g", "out" if kind != "lstm" else "cell"):
                f.prefetch(f.gep(acc, w[name], at * w["units"] + u + o), level=2)


@cache
def kernel(dtype: str, kind: str, back: bool, keep: bool) -> Code:
    native = engine()
    parts = [("kernel", "recurrent step"), ("dtype", dtype), ("kind", kind), ("back", back), ("keep", keep)]
    write = backward_text if back else text
    how = (native.target, dtype, kind) if back else (native.target, dtype, kind, keep)
    return native.load(lambda: str(write(*how)), ["pack", "k"], parts=parts, level=LIGHT)


# -- plans ------------------------------------------------------------------------------------------------------------


def fit(weight: Array, batch: int, times: int) -> bool:
    """Whether steps are worth a launch each."""
    return batch < ROWS and weight.nbytes >= HEAVY and times <= LONGEST


def panels(kind: str, back: bool, weight: Array, at: int, code: Code) -> tuple[int, int, Launch]:
    """Groups of units, bytes of the packed weight, and the launch that packs argument `at`."""
    units, gates = weight.shape[1], GATES[kind]
    cols = 2 * shape(engine().target, TYPES[weight.dtype.name][1])[0]
    groups = -(-units // cols)
    form = (units, gates * units, 1, units, 1) if back else (units, units, units, 1, gates)
    slots = ((TEMP, 0), (ARG, at), *((CONST, v) for v in form))
    return (
        groups,
        groups * cols * gates * units * weight.itemsize,
        Launch(code["pack"], slots, groups * (1 if back else gates)),
    )


def forward_plan(kind: str, x: Array, h0: Array, c0: Array, weight: Array, bias: Array, times: int, reverse: bool,
                 keep: bool) -> Plan | None:  # fmt: skip
    """As `recurrent.forward_plan`."""
    if not suits(x, h0, c0, weight, bias) or not fit(weight, len(h0), times):
        return None
    (batch, units), item, code = h0.shape, x.itemsize, kernel(x.dtype.name, kind, False, keep)
    kept, cells = SAVED[kind] if keep else 0, int(kind == "lstm")
    groups, temp, packing = panels(kind, False, weight, 3, code)
    scratch = GATES[kind] * ROWS * -(-temp // (groups * GATES[kind] * units))
    results = tuple(
        Result(x.dtype, s)
        for s in ((len(x), units), (len(x), kept * units), (len(x) if keep else batch, cells * units))
    )
    at = lambda slot, t, width=1: (*slot, t * batch * units * width * item)
    launches = [packing]
    before = -1
    for t in reversed(range(times)) if reverse else range(times):
        h = (ARG, 1) if before < 0 else at((OUT, 0), before)
        c = (ARG, 2) if before < 0 or not cells else at((OUT, 2), before * keep)
        to = at((OUT, 2), t * keep) if cells else (CONST, 0)
        slots = (h, at((OUT, 0), t), c, to, at((OUT, 1), t, kept), at((ARG, 0), t, GATES[kind]), (ARG, 4), (TEMP, 0))
        launches.append(Launch(code["k"], (*slots, (CONST, units), (CONST, batch)), groups, scratch))
        before = t
    return Plan(results, tuple(launches), temp=temp, release=True, keep=(code,))


def backward_plan(kind: str, g: Array, gh: Array, gc: Array, out: Array, saved: Array, cells: Array, h0: Array, c0: Array,
                  weight: Array, times: int, reverse: bool) -> Plan | None:  # fmt: skip
    """As `recurrent.backward_plan`."""
    if not suits(g, gh, gc, out, h0, c0, weight) or not all(a.flags.c_contiguous for a in (saved, cells)):
        return None
    if not fit(weight, len(h0), times):
        return None
    (batch, units), item, code = h0.shape, g.itemsize, kernel(g.dtype.name, kind, True, True)
    gates = GATES[kind]
    groups, size_, packing = panels(kind, True, weight, 8, code)
    wide = size_ // (gates * units)  # bytes of a row of units
    size_ += -size_ % 64
    sums = Result(g.dtype, (len(g), gates * units))
    results = (
        sums if kind == "gru" else Result(g.dtype, (len(g), 0)),
        sums,
        *(Result(g.dtype, h.shape) for h in (h0, c0)),
    )
    at = lambda slot, t, width=1: (*slot, t * batch * units * width * item)
    cell_at = lambda t: at((ARG, 5), t) if kind == "lstm" else (ARG, 5)
    dh, dc = (TEMP, size_), (TEMP, size_ + batch * wide)
    order = list(range(times)) if reverse else list(range(times))[::-1]
    launches = [packing]
    for k, t in enumerate([*order, -1]):
        source = at((OUT, 1), order[k - 1], gates) if k else (CONST, 0)
        now = max(t, 0)
        first = t == order[-1]  # in time
        before = order[min(k + 1, times - 1)]
        h, c = ((ARG, 6), (ARG, 7)) if first else (at((ARG, 3), before), cell_at(before))
        slots = (source, dh, dc, at((ARG, 0), now), (ARG, 1), (ARG, 2), (OUT, 2), (OUT, 3), at((ARG, 4), now, SAVED[kind]),
                 at((ARG, 3), now), h, cell_at(now), c, at((OUT, 0), now, gates * (kind == "gru")), at((OUT, 1), now, gates),
                 (TEMP, 0))  # fmt: skip
        numbers = (units, batch, 0 if t < 0 else batch if reverse else -batch, int(k == 0), int(t < 0))
        launches.append(Launch(code["k"], (*slots, *((CONST, v) for v in numbers)), groups, wide))
    return Plan(results, tuple(launches), temp=size_ + 2 * batch * wide, release=True, keep=(code,))
