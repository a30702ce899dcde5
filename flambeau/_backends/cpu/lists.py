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
from flambeau._backends.cpu.emit import Function, Module, V, Variable
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
    """IR of `flambeau_lists(self, args, nargs)`; `self` holds the address of the words that `compiled` writes."""
    m = Module("lists")
    job(m)
    f = m.function("ptr flambeau_lists(ptr self, ptr args, i64 nargs)")
    call = Call(f)
    call.check_lists()
    call.read_rows()
    call.cut_jobs()
    call.run()
    return m


def job(m: Module) -> None:
    """Defines run(plan, begin, end, scratch): jobs, each a run of pieces; a piece is a chunk of a row.

    The plan is (kernel, rows' slots, words per row, first piece of each job, pieces before each row, number of rows).
    """
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


class Call:
    """Writes `flambeau_lists`, a phase a method."""

    def __init__(self, f: Function) -> None:
        self.f = f
        here, self.args, self.nargs = f.params
        self.table = f.load("ptr", here + BYTES_VALUE)
        self.nlists, self.descr, self.kernel, self.scratch, self.columns, self.nslots = (self.word(i) for i in range(6))

    def word(self, i: int) -> V:
        """A word of the table: what `compiled` calls its head."""
        return self.f.load("i64", self.table + 8 * i)

    def array(self, i: V | int, row: V) -> V:
        """The array of a list in a row."""
        return self.f.load("ptr", self.f.load("ptr", self.f.load("ptr", self.args, i) + ITEMS), row)

    def refuse(self) -> None:
        """Returns None, once there is memory to free."""
        self.f.call("void", "free", self.memory)
        decline(self.f)

    def check_lists(self) -> None:
        """Lists of one length, then floats."""
        f, args = self.f, self.args
        listtype, self.ndarray, pyfloat = (f.module.external(f, n) for n in ("type_list", "type_ndarray", "type_float"))
        with f.when(self.nargs != self.word(6)):
            decline(f)
        self.spec = self.table + 56
        with f.loop(0, self.nlists) as i:
            with f.when(f.load("ptr", f.load("ptr", args, i) + OB_TYPE) != listtype):
                decline(f)
        self.rows = f.load("i64", f.load("ptr", args) + SIZE)
        with f.loop(0, self.nlists) as i, f.when(f.load("i64", f.load("ptr", args, i) + SIZE) != self.rows):
            decline(f)
        with f.loop(self.nlists, self.nargs) as i, f.when(f.load("ptr", f.load("ptr", args, i) + OB_TYPE) != pyfloat):
            decline(f)

    def read_rows(self) -> None:
        """Fills the slots of every row, or refuses them."""
        f = self.f
        # room for the rows' slots, the pieces before each row, and where the first list's arrays begin and end
        self.memory = f.call("ptr", "malloc", (self.rows * self.nslots + self.rows * 3 + 1) * 8)
        with f.when(self.memory == 0):
            decline(f)
        self.before = f.gep("i64", self.memory, self.rows * self.nslots)
        spans = f.gep("i64", self.before, self.rows + 1)
        self.total, self.pieces = f.var("i64", 0), f.var("i64", 0)
        low = f.alloca("i64", 16, 16)
        with f.loop(0, self.rows) as r:
            n = self.check_row(r, low)
            start = f.load("i64", low)
            end = start + n.get() * self.word(7)
            with f.loop(0, r) as q:  # rows run side by side: none may write where another does
                with f.when((start < f.load("i64", spans, q * 2 + 1)) & (f.load("i64", spans, q * 2) < end)):
                    self.refuse()
            f.store(start, spans, r * 2)
            f.store(end, spans, r * 2 + 1)
            self.fill_slots(r, low, n)
            f.store(self.pieces.get(), self.before, r)
            self.pieces.set(self.pieces.get() + (n.get() + (self.columns - 1)) // self.columns)
            self.total.set(self.total.get() + n.get())
        f.store(self.pieces.get(), self.before, self.rows)

    def check_row(self, r: V, low: V) -> Variable:
        """Arrays of one shape and order, writeable and dense; `low` gets their addresses. The number of their elements."""
        f = self.f
        lead = self.array(0, r)
        n = f.var("i64", 1)
        with f.loop(0, self.nlists) as i:
            x = self.array(i, r)
            with f.when(f.load("ptr", x + OB_TYPE) != self.ndarray):
                self.refuse()
            flags = f.load("i32", x + FLAGS)
            dense = f.emit("i32", f"and {flags}, {0x500}") == 0x500  # aligned, writeable
            dense = dense & (f.emit("i32", f"and {flags}, {0x3}") != 0)  # C or Fortran order
            nd = f.load("i32", x + NDIM)
            fits = dense & (f.load("i64", x + DESCR) == self.descr) & (nd == f.load("i32", lead + NDIM))
            with f.when(f.emit("i1", f"xor {fits}, true")):
                self.refuse()
            with f.loop(0, f.convert("zext", nd, "i64")) as d:
                size = f.load("i64", f.load("ptr", x + DIMS), d)
                with f.when(size != f.load("i64", f.load("ptr", lead + DIMS), d)):
                    self.refuse()
                step, other = (f.load("i64", f.load("ptr", y + STRIDES), d) for y in (x, lead))
                with f.when((size > 1) & (step != other)):
                    self.refuse()
                with f.when(i == 0):
                    n.set(n.get() * size)
            at = f.load("i64", x + DATA)
            bytes = n.get() * self.word(7)
            with f.loop(0, i) as j:  # the same memory or apart from one another
                gap = at - f.load("i64", low, j)
                with f.when((gap != 0) & (gap < bytes) & (gap > 0 - bytes)):
                    self.refuse()
            f.store(at, low, i)
        return n

    def fill_slots(self, r: V, low: V, n: Variable) -> None:
        """What the kernel gets for a row."""
        f = self.f
        slots = f.gep("i64", self.memory, r * self.nslots)
        with f.loop(0, self.nslots) as s:
            kind, which = (f.load("i64", self.spec + 8, s * 2 + part) for part in (0, 1))
            value = f.var("i64", 1)
            with f.when(kind == LIST):
                value.set(f.load("i64", low, which))
            with f.when(kind == NUMBER):
                value.set(f.load("i64", f.load("ptr", self.args, self.nlists + which) + FLOAT_VALUE))
            with f.when(kind == COUNT):
                value.set(n.get())
            with f.when(kind == GRAIN):
                value.set(self.columns)
            f.store(value.get(), slots, s)

    def cut_jobs(self) -> None:
        """Jobs: as many pieces as make up one full one."""
        f, columns = self.f, self.columns
        self.jobs = f.call("ptr", "malloc", (self.pieces.get() + 1) * 8)
        with f.when(self.jobs == 0):
            self.refuse()
        self.count, held = f.var("i64", 0), f.var("i64", 0)
        f.store(f.value(0, "i64"), self.jobs)
        with f.loop(0, self.rows) as r:
            size = f.var("i64", 0)
            with f.loop(0, self.nslots) as s, f.when(f.load("i64", self.spec + 8, s * 2) == COUNT):
                size.set(f.load("i64", f.gep("i64", self.memory, r * self.nslots), s))
            with f.loop(f.load("i64", self.before, r), f.load("i64", self.before, r + 1)) as piece:
                held.set(held.get() + f.min(size.get(), columns))
                size.set(size.get() - columns)
                with f.when(held.get() >= columns):
                    self.count.set(self.count.get() + 1)
                    f.store(piece + 1, self.jobs, self.count.get())
                    held.set(0)
        with f.when(held.get() > 0):
            self.count.set(self.count.get() + 1)
            f.store(self.pieces.get(), self.jobs, self.count.get())

    def run(self) -> None:
        """The jobs, over the pool where there are several; the answer is True."""
        f, count = self.f, self.count
        plan = f.alloca("i64", 6, 16)
        memory, jobs, before = (f.convert("ptrtoint", p, "i64") for p in (self.memory, self.jobs, self.before))
        for i, value in enumerate((self.kernel, memory, self.nslots, jobs, before, self.rows)):
            f.store(value, plan, i)
        state = f.var("ptr", 0)
        with f.when(self.total.get() >= RELEASE):
            state.set(f.call("ptr", "PyEval_SaveThread"))
        with f.either(count.get() > 1) as otherwise:
            f.call("void", "flambeau_parallel", V(f, "ptr", "@run"), plan, count.get(), self.scratch)
            otherwise()
            with f.when(count.get() == 1):
                f.call("void", "run", plan, f.value(0, "i64"), f.value(1, "i64"), f.value(0, "ptr"))
        with f.when(self.total.get() >= RELEASE):
            f.call("void", "PyEval_RestoreThread", state.get())
        f.call("void", "free", self.jobs)
        f.call("void", "free", self.memory)
        true = f.module.external(f, "object_true")
        f.call("void", "Py_IncRef", true)
        f.ret(true)


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
    return entry.new(ctypes.addressof(entry.method), struct.pack("<q", table.ctypes.data), keep)
