"""One elementwise body over lists of arrays, all rows in one native launch: how optimizers step their parameters.

A row is one array of each list, of one shape and dtype, dense and in one order; rows differ in size. The work of all rows
is laid end to end and cut into jobs of one size, so that threads share small rows and large ones alike. Elements do not
meet, so nothing depends on where the cuts are. What rows compute is a kernel made as any other; here is who calls it.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.compile import native
from flambeau._backends.cpu.emit import Module, V
from flambeau._backends.cpu.engine import engine
from flambeau._backends.cpu.entry import decline, native_entry
from flambeau._backends.cpu.objects import (
    BYTES_VALUE,
    DATA,
    DESCR,
    DIMS,
    FLAGS,
    FLOAT_VALUE,
    METH_FASTCALL,
    NDIM,
    OB_TYPE,
    STRIDES,
    MethodDef,
)  # fmt: skip
from flambeau._kernel.fuse import fuse
from flambeau._kernel.loops import Layout
from flambeau._kernel.record import Record, cast, parameter
from flambeau._values.dtype import float64, of

RELEASE = 1 << 15  # elements from which the interpreter's lock is given up
SIZE, ITEMS = 16, 24  # PyVarObject.ob_size, PyListObject.ob_item
LIST, NUMBER, COUNT, ONE, GRAIN = range(5)  # where a slot's eight bytes come from
LONG = 1 << 24  # elements of the array that a kernel is recorded for: its grain is that of all long rows


def lists_module() -> Module:
    """IR of `flambeau_lists(self, args, nargs)`; `self` holds the address of the words that `Lists` writes."""
    m = Module("lists")
    # a job is a run of pieces, a piece a chunk of a row: (kernel, words per row, first piece of each job, pieces before each row)
    f = m.function("internal void run(ptr plan, i64 begin, i64 end, ptr scratch)")
    plan, begin, end, scratch = f.params
    kernel, rows, slots, jobs, before, count = (
        f.load("ptr" if i not in (2, 5) else "i64", plan + 8 * i) for i in range(6)
    )
    piece, last = f.var("i64", f.load("i64", jobs, begin)), f.load("i64", jobs, end)
    low, high = f.var("i64", 0), f.var("i64", count)
    with f.forever() as found:  # the row: before[low] <= piece < before[high]
        with f.when(high.get() - low.get() <= 1):
            f.jump(found)
        middle = (low.get() + high.get()) >> 1
        with f.either(f.load("i64", before, middle) <= piece.get()) as otherwise:
            low.set(middle)
            otherwise()
            high.set(middle)
    with f.forever() as done:
        with f.when(piece.get() >= last):
            f.jump(done)
        first, beyond = f.load("i64", before, low.get()), f.load("i64", before, low.get() + 1)
        stop = f.min(last, beyond)
        with f.when(stop > piece.get()):
            args = f.gep("i64", rows, low.get() * slots)
            f.call_pointer("void", kernel, args, piece.get() - first, stop - first, scratch)
        piece.set(stop)
        low.set(low.get() + 1)

    f = m.function("ptr flambeau_lists(ptr self, ptr args, i64 nargs)")
    self, args, nargs = f.params
    table = f.load("ptr", self + BYTES_VALUE)
    word = lambda i: f.load("i64", table + 8 * i)
    nlists, descr, kernel, scratch, columns, nslots = (word(i) for i in range(6))
    listtype, ndarray, pyfloat = (m.external(f, n) for n in ("type_list", "type_ndarray", "type_float"))
    with f.when(nargs != word(6)):
        decline(f)
    spec = table + 56
    with f.loop(0, nlists) as i:
        with f.when(f.load("ptr", f.load("ptr", args, i) + OB_TYPE) != listtype):
            decline(f)
    rows = f.load("i64", f.load("ptr", args) + SIZE)
    with f.loop(0, nlists) as i, f.when(f.load("i64", f.load("ptr", args, i) + SIZE) != rows):
        decline(f)
    with f.loop(nlists, nargs) as i, f.when(f.load("ptr", f.load("ptr", args, i) + OB_TYPE) != pyfloat):
        decline(f)

    # room for the rows' slots, the pieces before each row, and where the first list's arrays begin and end
    memory = f.call("ptr", "malloc", (rows * nslots + rows * 3 + 1) * 8)
    with f.when(memory == 0):
        decline(f)

    def refuse() -> None:
        f.call("void", "free", memory)
        decline(f)

    before = f.gep("i64", memory, rows * nslots)
    spans = f.gep("i64", before, rows + 1)
    total, pieces = f.var("i64", 0), f.var("i64", 0)
    low = f.alloca("i64", 16, 16)
    with f.loop(0, rows) as r:
        lead = f.load("ptr", f.load("ptr", f.load("ptr", args) + ITEMS), r)
        n = f.var("i64", 1)
        with f.loop(0, nlists) as i:
            x = f.load("ptr", f.load("ptr", f.load("ptr", args, i) + ITEMS), r)
            with f.when(f.load("ptr", x + OB_TYPE) != ndarray):
                refuse()
            flags = f.load("i32", x + FLAGS)
            dense = f.emit("i32", f"and {flags}, {0x500}") == 0x500  # aligned, writeable
            dense = dense & (f.emit("i32", f"and {flags}, {0x3}") != 0)  # C or Fortran order
            nd = f.load("i32", x + NDIM)
            with f.when(
                f.emit(
                    "i1",
                    f"xor {dense & (f.load('i64', x + DESCR) == descr) & (nd == f.load('i32', lead + NDIM))}, true",
                )
            ):
                refuse()
            with f.loop(0, f.convert("zext", nd, "i64")) as d:
                size = f.load("i64", f.load("ptr", x + DIMS), d)
                with f.when(size != f.load("i64", f.load("ptr", lead + DIMS), d)):
                    refuse()
                step, other = (f.load("i64", f.load("ptr", y + STRIDES), d) for y in (x, lead))
                with f.when((size > 1) & (step != other)):
                    refuse()
                with f.when(i == 0):
                    n.set(n.get() * size)
            at = f.load("i64", x + DATA)
            bytes = n.get() * word(7)
            with f.loop(0, i) as j:  # the same memory or apart from one another
                gap = at - f.load("i64", low, j)
                with f.when((gap != 0) & (gap < bytes) & (gap > 0 - bytes)):
                    refuse()
            f.store(at, low, i)
        start = f.load("i64", low)
        end = start + n.get() * word(7)
        with f.loop(0, r) as q:  # rows run side by side: none may write where another does
            with f.when((start < f.load("i64", spans, q * 2 + 1)) & (f.load("i64", spans, q * 2) < end)):
                refuse()
        f.store(start, spans, r * 2)
        f.store(end, spans, r * 2 + 1)
        slots = f.gep("i64", memory, r * nslots)
        with f.loop(0, nslots) as s:
            kind, which = (f.load("i64", spec + 8, s * 2 + part) for part in (0, 1))
            value = f.var("i64", 1)
            with f.when(kind == LIST):
                value.set(f.load("i64", low, which))
            with f.when(kind == NUMBER):
                value.set(f.load("i64", f.load("ptr", args, nlists + which) + FLOAT_VALUE))
            with f.when(kind == COUNT):
                value.set(n.get())
            with f.when(kind == GRAIN):
                value.set(columns)
            f.store(value.get(), slots, s)
        f.store(pieces.get(), before, r)
        pieces.set(pieces.get() + (n.get() + (columns - 1)) // columns)
        total.set(total.get() + n.get())
    f.store(pieces.get(), before, rows)

    # jobs: as many pieces as make up one full one
    jobs = f.call("ptr", "malloc", (pieces.get() + 1) * 8)
    with f.when(jobs == 0):
        refuse()
    count, held = f.var("i64", 0), f.var("i64", 0)
    f.store(f.value(0, "i64"), jobs)
    with f.loop(0, rows) as r:
        size = f.var("i64", 0)
        with f.loop(0, nslots) as s, f.when(f.load("i64", spec + 8, s * 2) == COUNT):
            size.set(f.load("i64", f.gep("i64", memory, r * nslots), s))
        with f.loop(f.load("i64", before, r), f.load("i64", before, r + 1)) as piece:
            held.set(held.get() + f.min(size.get(), columns))
            size.set(size.get() - columns)
            with f.when(held.get() >= columns):
                count.set(count.get() + 1)
                f.store(piece + 1, jobs, count.get())
                held.set(0)
    with f.when(held.get() > 0):
        count.set(count.get() + 1)
        f.store(pieces.get(), jobs, count.get())

    plan = f.alloca("i64", 6, 16)
    integer = lambda p: f.convert("ptrtoint", p, "i64")
    for i, value in enumerate((kernel, integer(memory), nslots, integer(jobs), integer(before), rows)):
        f.store(value, plan, i)
    state = f.var("ptr", 0)
    with f.when(total.get() >= RELEASE):
        state.set(f.call("ptr", "PyEval_SaveThread"))
    with f.either(count.get() > 1) as otherwise:
        f.call("void", "flambeau_parallel", V(f, "ptr", "@run"), plan, count.get(), scratch)
        otherwise()
        with f.when(count.get() == 1):
            f.call("void", "run", plan, f.value(0, "i64"), f.value(1, "i64"), f.value(0, "ptr"))
    with f.when(total.get() >= RELEASE):
        f.call("void", "PyEval_RestoreThread", state.get())
    f.call("void", "free", jobs)
    f.call("void", "free", memory)
    true = m.external(f, "object_true")
    f.call("void", "Py_IncRef", true)
    f.ret(true)
    return m


class Entry:
    """The compiled function, once for all bodies."""

    def __init__(self) -> None:
        entry = native_entry()
        assert entry is not None, "the launcher is not there"
        e = engine()
        e.provide("type_list", id(list))
        module = lists_module()
        self.new = entry.new
        self.code = e.load(str(module), ["flambeau_lists"], module.imports, needs=(entry.code,))
        self.method = MethodDef(b"lists", self.code["flambeau_lists"], METH_FASTCALL, b"One body over lists, or None.")


@cache
def the_entry() -> Entry:
    return Entry()


def compiled(body: Callable[..., tuple[Any, ...]], width: int, numbers: int, written: Sequence[int], dtype: np.dtype[Any]) -> Callable[..., Any] | None:  # fmt: skip
    """`call(list, ..., number, ...)`, which writes what `body` computes over the lists at `written`; its answer is None
    where the lists are not such that one launch will do. None instead of a function where the body is no single kernel.
    """
    if native_entry() is None:
        return None
    d = of(dtype)
    xs = [parameter(i, (LONG,), d) for i in range(width)]
    scalars = [cast(parameter(width + i, (), float64), d) for i in range(numbers)]
    dense, number = Layout.dense(d.name, (LONG,)), Layout("float64", (), (), scalar=True)
    program = fuse(body(Record(), *xs, *scalars), [dense] * width + [number] * numbers, [dense] * len(written))
    if program.temps or len(program.launches) != 1 or len(program.launches[0].sizes) != 1 or width > 16:
        return None
    (step,) = program.launches
    if step.scratch or step.grain[0] != 1:
        return None
    code = native(step.kernel)
    slots = []
    for kind, n in step.operands:
        at = n if kind == "in" else written[n]
        slots.append((LIST, at) if at < width else (NUMBER, at - width))
    slots += [(COUNT, 0), (ONE, 0), (GRAIN, 0)]
    head = [width, id(dtype), code["k"], 0, step.grain[1], len(slots), width + numbers, dtype.itemsize]
    table = np.array([*head, *(w for slot in slots for w in slot)], np.int64)
    entry = the_entry()
    keep = (entry, code, table, dtype)
    return entry.new(ctypes.addressof(entry.method), struct.pack("<q", table.ctypes.data), keep)  # type: ignore[no-any-return]
