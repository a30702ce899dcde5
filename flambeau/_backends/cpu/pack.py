"""Copying the operands of a product into panels: what a micro-kernel reads front to back."""

from __future__ import annotations

from flambeau._backends.cpu.emit import APART, Module, V, size, vector
from flambeau._backends.cpu.registers import transpose, widen

AHEAD = 16  # rows by which lines are fetched before they are packed, where they are far apart


def packer(m: Module, name: str, memory: str, acc: str, n: int, how: str = "") -> None:
    """Defines name(dst, step, src, lanes, depth, lane_stride, k_stride): dst[k * step + lane] = src[lane, k].

    Writes whole vectors of n lanes: lanes past `lanes` are rubbish, and nothing past them is read. Rows are written in
    order of k, so with a step below n each row overwrites the rubbish of the one before. `how` promises strides: "lines",
    that of lanes is 1, "rows", that of k, "any", neither; without it all three are written and one is chosen when called.
    """
    f = m.function(
        f"internal void {name}(ptr noalias dst, i64 step, ptr noalias src, i64 count, i64 depth, i64 sl, i64 sk)", APART
    )
    dst, step, src, count, depth, sl, sk = f.params
    count = f.min(count, n)
    at = lambda lane, k: f.gep(memory, src, lane * sl + k * sk)
    put = lambda x, k: f.store(widen(f, x, acc), dst, k * step)
    wide = vector(memory, n)
    start = f.var("i64", 0)
    if how in ("", "lines"):
        with f.when(sl == 1 if not how else f.value(1, "i1")):  # a row of the panel is contiguous
            with f.when(count >= n):
                with f.loop(0, depth) as k:
                    put(f.load(wide, f.gep(memory, src, k * sk)), k)
                f.ret()
            mask = f.lane_mask(n, count)
            with f.loop(0, depth) as k:
                put(f.mload(wide, f.gep(memory, src, k * sk), mask), k)
            f.ret()
    if how in ("", "rows"):
        with f.when(sk == 1 if not how else f.value(1, "i1")):  # blocks of n x n are transposed in registers
            last = count - 1
            lane = [f.gep(memory, src, f.min(f.value(i, "i64"), last) * sl) for i in range(n)]
            full = depth & -n
            with f.loop(0, full, n) as k:
                rows = transpose(f, [widen(f, f.load(wide, p, k), acc) for p in lane])
                for i, row in enumerate(rows):
                    put(row, k + i)
            start.set(full)
            if memory == acc:  # the rest likewise, as far as it goes
                with f.when(full < depth):
                    mask = f.lane_mask(n, depth - full)
                    rows = transpose(f, [f.mload(wide, f.gep(memory, p, full), mask) for p in lane])
                    for i, row in enumerate(rows[:-1]):
                        with f.when(full + i < depth):
                            put(row, full + i)
                start.set(depth)
    with f.loop(start.get(), depth) as k:
        with f.loop(0, count) as i:
            f.store(widen(f, f.load(memory, at(i, k)), acc), dst, k * step + i)


def panels_packer(m: Module, name: str, memory: str, acc: str, n: int, rows: int, most: int) -> None:
    """Defines name(dst, step, src, panels, depth, k_stride): dst[panel * step + k * rows + i] = src[panel * rows + i, k].

    Lanes lie side by side, those of one panel after those of another: a line of memory is read once for all panels on it, which
    may be `most`. Rows that are a page apart fall onto one another in the caches, and would not be found there again. Each panel
    is followed by rubbish of up to n elements.
    """
    f = m.function(
        f"internal void {name}(ptr noalias dst, i64 step, ptr noalias src, i64 panels, i64 depth, i64 sk)", APART
    )
    dst, step, src, panels, depth, sk = f.params
    each = 64 // size(memory)  # of a line

    def row(k: V, panel: V | int) -> None:
        for g in range(0, rows, n):  # what is written past the row is overwritten by what follows
            left = min(rows - g, n)
            lanes = 1 << (left - 1).bit_length()  # no more than that takes: what crosses a line is written twice
            at = f.gep(memory, src, k * sk + panel * rows + g)
            wide = vector(memory, lanes)
            x = f.load(wide, at) if left == lanes else f.mload(wide, at, f.lane_mask(lanes, f.value(left, "i64")))
            f.store(widen(f, x, acc), dst, k * rows + panel * step + g)

    with f.either(panels == most) as otherwise:
        with f.loop(0, depth) as k:
            for o in range(0, rows * most + each - 1, each):
                f.prefetch(f.gep(memory, src, (k + AHEAD) * sk + o))
            for panel in range(most):
                row(k, panel)
        otherwise()
        with f.loop(0, depth) as k:
            with f.loop(0, panels * rows + (each - 1), each) as o:
                f.prefetch(f.gep(memory, src, (k + AHEAD) * sk + o))
            with f.loop(0, panels) as panel:
                row(k, panel)


def pair_packer(m: Module, name: str, n: int) -> None:
    """As `packer`, for bfloat16 in pairs: dst[(k // 2) * step + lane] holds src[lane, k] and src[lane, k + 1].

    A last odd k is paired with 0.
    """
    f = m.function(
        f"internal void {name}(ptr noalias dst, i64 step, ptr noalias src, i64 count, i64 depth, i64 sl, i64 sk)", APART
    )
    dst, step, src, count, depth, sl, sk = f.params
    count = f.min(count, n)
    even = depth & -2
    with f.either((sk == 1) & (sl != 1)) as otherwise:  # pairs are whole in memory: they travel as 32-bit words
        last = count - 1
        lane_at = [f.gep("bfloat", src, f.min(f.value(i, "i64"), last) * sl) for i in range(n)]
        full = depth & (-2 * n)
        with f.loop(0, full, 2 * n) as k:
            rows = transpose(f, [f.load(f"<{n} x i32>", f.gep("bfloat", p, k), align=2) for p in lane_at])
            for i, row in enumerate(rows):
                f.store(row, dst, ((k >> 1) + i) * step)
        with f.loop(full, even, 2) as k, f.loop(0, count) as i:
            f.store(f.load("i32", f.gep("bfloat", src, i * sl + k), align=2), dst, (k >> 1) * step + i)
        otherwise()
        with f.either((sl == 1) & (count >= n)) as otherwise2:
            with f.loop(0, even, 2) as k:
                x, y = (f.load(f"<{n} x i16>", f.gep("bfloat", src, (k + i) * sk)) for i in (0, 1))
                f.store(
                    f.shuffle(x, y, [i // 2 + n * (i % 2) for i in range(2 * n)]), f.gep("i32", dst, (k >> 1) * step)
                )
            otherwise2()
            with f.loop(0, even, 2) as k, f.loop(0, count) as i:
                x, y = (
                    f.convert("zext", f.load("i16", f.gep("bfloat", src, i * sl + (k + j) * sk)), "i32") for j in (0, 1)
                )
                f.store(x | y << 16, dst, (k >> 1) * step + i)
    with f.when(even < depth), f.loop(0, count) as i:
        x = f.convert("zext", f.load("i16", f.gep("bfloat", src, i * sl + even * sk)), "i32")
        f.store(x, dst, (even >> 1) * step + i)
