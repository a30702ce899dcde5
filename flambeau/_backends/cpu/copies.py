"""Copies of large arrays by kernels, over threads.

Where rows lie in order on both sides, one kernel copies them, whatever the sizes; copies that turn dims about have a plan for
each pair of layouts. Bits are moved, not numbers: an array is seen as one of numbers of its element's size. Overlapping memory is
left to NumPy.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flambeau._backends.cpu.emit import Module
    from flambeau._backends.cpu.engine import Code, Target
    from flambeau._backends.cpu.launch import Launch

LARGE = 1 << 17  # bytes: a copy of fewer is over before a kernel has begun
TURNED = 1 << 14  # the same where dims are turned about, which takes longer
SEEN_AS = {1: np.dtype("i1"), 2: np.dtype("i2"), 4: np.dtype("f4"), 8: np.dtype("f8")}
NARROW, BLOCK = 64, 1 << 16  # bytes that a row has at least, and that are copied at a time
MOST = 64  # chunks


@cache
def _table() -> Any:
    """The table of copies; None where kernels cannot be generated."""
    from flambeau._backends.cpu.engine import available

    if not available():
        return None
    from flambeau._backends.cpu.launch import Table

    return Table("copy")


def copy_into(out: Any, x: Any) -> None:
    """out[...] = x, for arrays of one dtype; x may be broadcast."""
    if out.nbytes >= TURNED and x.shape == out.shape and out.dtype.kind != "O" and _table() is not None:
        turned = _turned(out, x)
        if not turned and out.nbytes < LARGE:
            out[...] = x
            return
        if turned:
            d = SEEN_AS.get(x.itemsize)
            if d is not None and x.dtype.kind in "fiucbV":
                if _launched(out if out.dtype is d else out.view(d), x if x.dtype is d else x.view(d)):
                    return
        elif _rows(out, x):
            return
    out[...] = x


def _turned(out: Any, x: Any) -> bool:
    """Whether the dim that lies innermost on one side does not on the other, or runs backwards."""
    steps = [(abs(a), abs(b), b) for a, b, n in zip(out.strides, x.strides, x.shape, strict=True) if n > 1]
    if not steps:
        return False
    _, inner, signed = min(steps)
    return signed < 0 or inner != min(b for _, b, _ in steps)


# -- rows ---------------------------------------------------------------------------------------------------------------


def _rows(out: Any, x: Any) -> bool:
    """Whether the kernel copied, row by row."""
    from flambeau._backends.cpu.launch import ARG, CONST, Launch, Plan, planned

    walk = _walk(out, x)
    if walk is None or not out.flags.writeable or np.may_share_memory(out, x):
        return False
    shape, to, source, width = walk
    chunks = _chunks(shape, width)
    words = (out.ctypes.data, x.ctypes.data, *shape, *to, *source, width)

    def make() -> Plan:
        code = _kernel()
        slots = (*((ARG, i) for i in range(len(words))), (CONST, chunks))
        return Plan((), (Launch(code["k"], slots, chunks),), release=True, keep=(code,))

    return planned(("rows", chunks), words, make) is not None


def rows_launch(out: Any, x: Any, to: tuple[int, int], source: tuple[int, int]) -> Launch | None:
    """The launch, for plans, that copies an array like x, row by row, into one like `out`, from one slot into another; or None."""
    from flambeau._backends.cpu.launch import CONST, Launch

    walk = _walk(out, x)
    if walk is None:
        return None
    shape, *steps, width = walk
    chunks = _chunks(shape, width)
    words = (*shape, *(s for side in steps for s in side), width, chunks)
    return Launch(_kernel()["k"], (to, source, *((CONST, w) for w in words)), chunks)


def _chunks(shape: tuple[int, ...], width: int) -> int:
    rows = shape[0] * shape[1] * shape[2]
    units, chunks = rows * -(-width // BLOCK), 1
    while chunks < MOST and chunks * BLOCK < rows * width and chunks < units:
        chunks *= 2
    return chunks


def _walk(out: Any, x: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int] | None:
    """(extents of three outer dims, their strides on either side, bytes of a row), or None where that does not describe the arrays."""
    dims = [(n, a, b) for n, a, b in zip(x.shape, out.strides, x.strides, strict=True) if n > 1]
    dims.sort(key=lambda d: -abs(d[1]))
    folded: list[tuple[int, int, int]] = []
    for n, a, b in dims:
        if folded and folded[-1][1] == n * a and folded[-1][2] == n * b:
            folded[-1] = (folded[-1][0] * n, a, b)
        else:
            folded.append((n, a, b))
    if not folded or folded[-1][1:] != (x.itemsize, x.itemsize) or len(folded) > 4:
        return None
    (n, _, _), outer = folded[-1], folded[:-1]
    width = n * x.itemsize
    if width < NARROW and outer:
        return None
    outer = [(1, 0, 0)] * (3 - len(outer)) + outer
    extents, to, source = zip(*outer, strict=True)
    return extents, to, source, width


def text(target: Target) -> Module:
    """IR of `k`, which copies its part of the blocks of all rows."""
    from flambeau._backends.cpu.emit import Module, Words
    from flambeau._backends.cpu.gather import copier

    m = Module("copy of rows")
    copier(m, "i8", target.vector_bytes)
    f = m.function("void k(ptr args, i64 begin, i64 end, ptr scratch)")
    w = Words(f, "out x", "n0 n1 n2 a0 a1 a2 b0 b1 b2 width chunks")
    blocks = (w["width"] + (BLOCK - 1)) // BLOCK
    units = w["n0"] * w["n1"] * w["n2"] * blocks
    begin, end = units * f.params[1] // w["chunks"], units * f.params[2] // w["chunks"]
    row = begin // blocks
    rest = row // w["n2"]
    places = [rest // w["n1"], rest % w["n1"], row % w["n2"], begin % blocks * BLOCK]
    at = [
        f.var("i64", v) for v in places
    ]  # three indices and a byte: counted on, since divisions would cost more than short rows
    with f.loop(begin, end):
        i0, i1, i2, first = (v.get() for v in at)
        to = w["out"] + (i0 * w["a0"] + i1 * w["a1"] + i2 * w["a2"] + first)
        source = w["x"] + (i0 * w["b0"] + i1 * w["b1"] + i2 * w["b2"] + first)
        f.call("void", "copy", to, source, f.min(w["width"] - first, BLOCK))
        at[3].set(first + BLOCK)
        with f.when(at[3].get() >= w["width"]):
            at[3].set(0)
            at[2].set(i2 + 1)
            with f.when(at[2].get() == w["n2"]):
                at[2].set(0)
                at[1].set(i1 + 1)
                with f.when(at[1].get() == w["n1"]):
                    at[1].set(0)
                    at[0].set(i0 + 1)
    return m


@cache
def _kernel() -> Code:
    from flambeau._backends.cpu.engine import engine

    native = engine()
    return native.load(lambda: str(text(native.target)), ["k"], parts=[("kernel", "rows")])


# -- dims turned about --------------------------------------------------------------------------------------------------


def _launched(out: Any, x: Any) -> bool:
    table = _table()
    if table.call(out, x) is not None:
        return True
    from flambeau._backends.cpu.compile import RELEASE, fits, layout, native, recorded
    from flambeau._backends.cpu.launch import ARG, CONST, Launch, Plan, overlapping
    from flambeau._kernel.fuse import fuse

    if not (fits(out) and fits(x)) or x.shape != out.shape or 0 in out.strides or overlapping((out, x), (0,)):
        return False
    program = fuse([recorded(x, 0)], [layout(x)], [layout(out)])
    launches, codes = [], []
    for step in program.launches:
        code = native(step.kernel)
        codes.append(code)
        slots = [(ARG, 1 if kind == "in" else 0) for kind, _ in step.operands]
        slots += [(CONST, n) for n in (*step.sizes, *step.grain)]
        launches.append(Launch(code["k"], tuple(slots), step.chunks, step.scratch))
    table.add((out, x), Plan((), tuple(launches), 0, x.size >= RELEASE, (0,), tuple(codes)))
    return table.call(out, x) is not None
