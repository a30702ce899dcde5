"""From Python to a kernel in a tenth of a microsecond: builtin functions, generated, that read arrays' structs.

A `Plan` is a kernel bound to one signature (the dtype, shape and strides of each argument): which addresses and numbers
go into which slots, how many chunks, what to allocate for the results. A `Table` is a function of arrays that finds the
plan of its arguments by hashing their signature, runs it and returns the results, or returns None: then the caller
makes a plan, adds it and calls again. `table.call` is a C function in CPython's fast-call convention, written here in
LLVM IR; where the structs of CPython or NumPy are not as expected (checked once against arrays that are known), or
there is no llvmlite, the same class works in Python through ctypes.

Not here: what kernels compute, when they are worth it, and who cuts the chunks.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu import memory
from flambeau._backends.cpu.emit import Function, Module, V
from flambeau._backends.cpu.engine import Code, engine
from flambeau._backends.cpu.threads import LIVE, THREADS, pool

# Where a slot's eight bytes come from.
CONST, ARG, OUT, TEMP = range(4)

# PyArrayObject_fields (numpy/ndarraytypes.h) and PyObject, 64-bit with the GIL. `layout` checks them.
OB_TYPE, DATA, NDIM, DIMS, STRIDES, DESCR, FLAGS = 8, 16, 24, 32, 40, 56, 64
FLOAT_VALUE = 16  # PyFloatObject.ob_fval
BYTES_VALUE = 32  # PyBytesObject.ob_sval
USED_FLAGS = 0x500  # NPY_ARRAY_ALIGNED | NPY_ARRAY_WRITEABLE: part of a signature
NEW_FROM_DESCR = 94  # PyArray_NewFromDescr in NumPy's table of API functions, the same since 1.0
METH_FASTCALL = 0x80
FLOAT_ARG, INT_ARG = 1, 2  # signature words of Python numbers; an array's first word is its dtype's address

PLAN = ("hash", "nargs", "words", "nouts", "nlaunches", "release", "temp", "slots", "written")  # header of a plan block
TABLE = ("mask", "buckets", "busy")  # header of a table block
MAX_PLANS = 4096  # a table that has seen more signatures starts again


@dataclass(frozen=True)
class Launch:
    """One kernel call: its address, chunks, scratch bytes per thread, and what goes into each slot.

    A slot is (source, value) or (source, value, offset): a constant; the address of an argument's or a result's first
    element, or the bits of an argument that is a number; bytes into the temporary memory. The offset is added, in bytes.
    """

    address: int
    slots: tuple[tuple[int, ...], ...]
    chunks: int = 1
    scratch: int = 0


@dataclass(frozen=True)
class Result:
    """An array to allocate; strides in bytes, or None for C order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Plan:
    """What to do for one signature. `written` are the arguments that the launches write."""

    results: tuple[Result, ...]
    launches: tuple[Launch, ...]
    temp: int = 0  # bytes of memory shared by the launches
    release: bool = False  # give up the GIL: worth it from about 20 us of work
    written: tuple[int, ...] = ()
    keep: tuple[Any, ...] = field(default=(), compare=False)  # Code and whatever else must outlive the plan


def bits(value: float) -> int:
    """A slot holding a floating number."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def signature(args: Sequence[Any]) -> list[int] | None:
    """The words by which plans are found; None where an argument is of no kind that a plan takes."""
    words: list[int] = []
    for x in args:
        if type(x) is np.ndarray:
            flags = x.flags.aligned * 0x100 | x.flags.writeable * 0x400
            words += [id(x.dtype), x.ndim | flags << 16, *x.shape, *x.strides]
        elif type(x) is float:
            words.append(FLOAT_ARG)
        elif type(x) is int and -(1 << 63) <= x < 1 << 63:
            words.append(INT_ARG)
        else:
            return None
    return words


def mix(words: Sequence[int]) -> int:
    """The hash that the generated code computes: FNV-1a over 64-bit words, folded."""
    h = 0xCBF29CE484222325
    for w in words:
        h = ((h ^ (w & M64)) * 0x100000001B3) & M64
    return h ^ h >> 29


M64 = (1 << 64) - 1


def extent(x: Any) -> tuple[int, int]:
    """Bytes before and after its address that an array touches."""
    if not isinstance(x, np.ndarray) or x.size == 0:
        return 0, 0
    low = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if s < 0)
    high = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if s > 0)
    return low, high + x.itemsize


class Table:
    """A function of arrays and Python numbers with one plan per signature; `call(*args)` is None where there is none."""

    def __init__(self, name: str = "kernel") -> None:
        self.name = name
        self.plans: dict[tuple[int, ...], Plan] = {}
        self.retired: list[Any] = []
        entry = native_entry()
        if entry is None:
            self.call = self.slow
            return
        self.blocks: list[np.ndarray[Any, Any]] = []
        self.head = np.zeros(len(TABLE), np.int64)
        self.resize(16)
        self.call = entry.builtin(self.head.ctypes.data, self)

    def resize(self, n: int) -> None:
        """A power of two of buckets, each the address of a plan block or 0; linear probing."""
        self.retired.append(getattr(self, "buckets", None))
        self.buckets = np.zeros(n, np.int64)
        for block in self.blocks:
            self.place(block)
        self.head[0], self.head[1] = n - 1, self.buckets.ctypes.data

    def place(self, block: np.ndarray[Any, Any]) -> None:
        i = int(block[0]) & (len(self.buckets) - 1)
        while self.buckets[i]:
            i = (i + 1) & (len(self.buckets) - 1)
        self.buckets[i] = block.ctypes.data

    def add(self, args: Sequence[Any], plan: Plan) -> None:
        """From now on `call` with arguments like these runs the plan."""
        words = signature(args)
        if words is None:
            raise TypeError("a plan takes arrays, floats and 64-bit ints")
        if len(self.plans) >= MAX_PLANS:
            self.clear()
        if tuple(words) in self.plans:
            return
        self.plans[tuple(words)] = plan
        if self.call != self.slow:
            self.blocks.append(block_of(words, plan, [extent(x) for x in args]))
            if 2 * len(self.blocks) > len(self.buckets):
                self.resize(2 * len(self.buckets))
            else:
                self.place(self.blocks[-1])

    def clear(self) -> None:
        """Forgets every plan; memory that a running call may still read is kept until the next time."""
        self.retired = [self.plans, self.blocks] if self.call != self.slow and self.head[2] else []
        self.plans, self.blocks = {}, []
        if self.call != self.slow:
            self.resize(16)

    def slow(self, *args: Any) -> Any:
        """`call` in Python: the same contract, about 10 us more."""
        words = signature(args)
        plan = None if words is None else self.plans.get(tuple(words))
        if plan is None or overlapping(args, plan.written):
            return None
        outs = [empty(r) for r in plan.results]
        temp = np.empty(plan.temp + 64, np.uint8)
        start = (temp.ctypes.data + 63) & -64
        for launch in plan.launches:
            slots = (ctypes.c_int64 * max(1, len(launch.slots)))()
            for i, (source, value, *offset) in enumerate(launch.slots):
                if source == ARG:
                    x = args[value]
                    value = x.ctypes.data if isinstance(x, np.ndarray) else bits(x) if type(x) is float else x
                elif source == OUT:
                    value = outs[value].ctypes.data
                elif source == TEMP:
                    value += start
                slots[i] = value + sum(offset)
            run(launch, slots)
        return True if not outs else outs[0] if len(outs) == 1 else tuple(outs)


def run(launch: Launch, slots: Any) -> None:
    """Every chunk of a launch, on the pool where there is one."""
    parallel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)(pool().code["flambeau_parallel"])
    parallel(launch.address, ctypes.addressof(slots), launch.chunks, launch.scratch)


def empty(r: Result) -> np.ndarray[Any, Any]:
    if r.strides is None:
        return np.empty(r.shape, r.dtype)
    return np.ndarray(r.shape, r.dtype, np.empty(int(np.prod(r.shape)) * r.dtype.itemsize, np.uint8), 0, r.strides)


def overlapping(args: Sequence[Any], written: Sequence[int]) -> bool:
    """Whether a written argument shares memory with another one in any way but being the very same view."""
    spans = [
        (x.ctypes.data + extent(x)[0], x.ctypes.data + extent(x)[1]) if isinstance(x, np.ndarray) else (0, 0)
        for x in args
    ]
    for i in written:
        for j, (low, high) in enumerate(spans):
            if j != i and low < spans[i][1] and spans[i][0] < high:
                same = args[i].ctypes.data == args[j].ctypes.data and args[i].strides == args[j].strides
                if not (same and args[i].shape == args[j].shape and args[i].dtype == args[j].dtype):
                    return True
    return False


def block_of(words: list[int], plan: Plan, extents: list[tuple[int, int]]) -> np.ndarray[Any, Any]:
    """The plan as the generated code reads it: header, signature, extents, results, launches."""
    written = sum(1 << i for i in plan.written)
    slots = max([1, *(len(x.slots) for x in plan.launches)])
    body: list[int] = [*words]
    body += [w for e in extents for w in e]
    for r in plan.results:
        strides = r.strides if r.strides is not None else c_strides(r)
        body += [id(r.dtype), len(r.shape), *r.shape, *strides]
    for x in plan.launches:
        body += [x.address, x.chunks, x.scratch, len(x.slots), *(w for slot in x.slots for w in (*slot, 0)[:3])]
    head = [
        mix(words),
        len(extents),
        len(words),
        len(plan.results),
        len(plan.launches),
        int(plan.release),
        plan.temp,
        slots,
        written,
    ]
    return np.array([w & M64 for w in head + body], np.uint64).view(np.int64)


def c_strides(r: Result) -> tuple[int, ...]:
    strides, n = [], r.dtype.itemsize
    for size in reversed(r.shape):
        strides.append(n)
        n *= max(size, 1)
    return tuple(reversed(strides))


# -- the generated entry ------------------------------------------------------------------------------------------------


def layout() -> bool:
    """Whether arrays, floats and bytes lie in memory as this file believes; read from objects that are known."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or hasattr(sys, "gettotalrefcount"):  # longer object headers
        return False
    word = lambda x, at: ctypes.c_int64.from_address(id(x) + at).value
    a = np.zeros((3, 5, 7), np.float32)
    for x in (a, a[1:, ::2, ::-1], a.T, np.zeros((), np.int64)):
        dims, strides = word(x, DIMS), word(x, STRIDES)
        good = (
            word(x, OB_TYPE) == id(np.ndarray)
            and word(x, DATA) == x.ctypes.data
            and ctypes.c_int32.from_address(id(x) + NDIM).value == x.ndim
            and tuple(ctypes.c_int64.from_address(dims + 8 * i).value for i in range(x.ndim)) == x.shape
            and tuple(ctypes.c_int64.from_address(strides + 8 * i).value for i in range(x.ndim)) == x.strides
            and word(x, DESCR) == id(x.dtype)
            and ctypes.c_int32.from_address(id(x) + FLAGS).value & USED_FLAGS == 0x500
        )
        if not good:
            return False
    number, text = 2.5, b"flambeau"
    return (
        ctypes.c_double.from_address(id(number) + FLOAT_VALUE).value == 2.5
        and ctypes.string_at(id(text) + BYTES_VALUE, 8) == text
    )


class MethodDef(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("meth", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


class Entry:
    """The one generated function behind every table, and how builtins are made of it."""

    def __init__(self) -> None:
        native = engine()
        threads = pool()
        api = ctypes.pythonapi
        memory.install()
        native.provide(
            "PyArray_NewFromDescr", ctypes.c_int64.from_address(memory.numpy_api() + 8 * NEW_FROM_DESCR).value
        )
        native.provide("type_ndarray", id(np.ndarray))
        native.provide("type_float", id(float))
        native.provide("type_int", id(int))
        native.provide("object_none", id(None))
        native.provide("object_true", id(True))
        native.provide("flambeau_start", id(self.starter(threads)))
        for name in PYTHON_API:
            native.provide(name, ctypes.cast(getattr(api, name), ctypes.c_void_p).value or 0)
        module = entry_module()
        self.code: Code = native.load(str(module), ["flambeau_call"], module.imports, needs=(threads.code,))
        self.method = MethodDef(
            b"kernel",
            self.code["flambeau_call"],
            METH_FASTCALL,
            b"Runs the plan of its arguments' signature, or returns None.",
        )
        self.new = api.PyCFunction_NewEx
        self.new.restype, self.new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]

    def starter(self, threads: Any) -> Any:
        """Called by native code when workers are missing, after a fork."""
        self.start = threads.start
        return self.start

    def builtin(self, address: int, owner: Any) -> Any:
        """A builtin function for the table block at an address; `self` is the address, as bytes."""
        return self.new(ctypes.addressof(self.method), struct.pack("<q", address), (self, owner))


PYTHON_API = (
    "PyTuple_New",
    "PyTuple_SetItem",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
    "PyLong_AsLongLong",
    "PyErr_Clear",
    "PyErr_Occurred",
    "Py_IncRef",
    "Py_DecRef",
    "PyObject_CallNoArgs",
)


@cache
def native_entry() -> Entry | None:
    """The generated entry, or None where structs differ from what it reads."""
    return Entry() if layout() else None


def entry_module() -> Module:
    """IR of `flambeau_call(self, args, nargs)`: signature, lookup, allocation, launches, results."""
    m = Module("launcher")
    f = m.function("ptr flambeau_call(ptr self, ptr args, i64 nargs)")
    self, args, nargs = f.params
    table = f.load("ptr", self + BYTES_VALUE)
    ndarray, pyfloat, pyint = (m.external(f, n) for n in ("type_ndarray", "type_float", "type_int"))

    # how many words the signature has
    total = f.var("i64", 1)
    with f.loop(0, nargs) as i:
        x = f.load("ptr", args, i)
        words = f.var("i64", 1)
        with f.when(f.load("ptr", x + OB_TYPE) == ndarray):
            nd = f.convert("zext", f.load("i32", x + NDIM), "i64")
            words.set(nd * 2 + 2)
        total.set(total.get() + words.get())
    sig = V(f, "ptr", "%" + f.fresh("sig"))
    f.do(f"{sig.name} = alloca i64, {total.get()}, align 16")
    values = V(f, "ptr", "%" + f.fresh("values"))
    f.do(f"{values.name} = alloca i64, {nargs + 1}, align 16")

    at, h = f.var("i64", 0), f.var("i64", 0xCBF29CE484222325 - (1 << 64))

    def push(word: V) -> None:
        f.store(word, sig, at.get())
        at.set(at.get() + 1)
        h.set(f.emit("i64", f"mul {h.get() ^ word}, {0x100000001B3}"))

    with f.loop(0, nargs) as i:
        x = f.load("ptr", args, i)
        kind = f.load("ptr", x + OB_TYPE)
        with f.either(kind == ndarray) as otherwise:
            f.store(f.load("i64", x + DATA), values, i)
            nd = f.convert("zext", f.load("i32", x + NDIM), "i64")
            flags = f.convert("zext", f.load("i32", x + FLAGS), "i64")
            push(f.load("i64", x + DESCR))
            push(nd | (flags & USED_FLAGS) << 16)
            for field_ in (DIMS, STRIDES):
                numbers = f.load("ptr", x + field_)
                with f.loop(0, nd) as d:
                    push(f.load("i64", numbers, d))
            otherwise()
            with f.either(kind == pyfloat) as otherwise:
                f.store(f.load("i64", x + FLOAT_VALUE), values, i)
                push(f.value(FLOAT_ARG, "i64"))
                otherwise()
                with f.either(kind == pyint) as otherwise:
                    n = f.call("i64", "PyLong_AsLongLong", x)
                    with f.when(n == -1), f.when(f.call("ptr", "PyErr_Occurred") != 0):  # longer than 64 bits
                        f.call("void", "PyErr_Clear")
                        decline(f)
                    f.store(n, values, i)
                    push(f.value(INT_ARG, "i64"))
                    otherwise()
                    decline(f)

    # find the plan
    hashed = h.get() ^ h.get() >> 29
    mask, buckets = f.load("i64", table), f.load("ptr", table + 8)
    place = f.var("i64", hashed & mask)
    plan = f.var("ptr", 0)
    with f.forever() as found:
        plan.set(f.load("ptr", buckets, place.get()))
        with f.when(plan.get() == 0):
            decline(f)
        p = plan.get()
        with f.when(
            (f.load("i64", p) == hashed)
            & (f.load("i64", header(f, p, "words")) == at.get())
            & (f.load("i64", header(f, p, "nargs")) == nargs)
        ):
            differs = f.var("i64", 0)
            with f.loop(0, at.get()) as i:
                differs.set(differs.get() | (f.load("i64", sig, i) ^ f.load("i64", p + 8 * len(PLAN), i)))
            with f.when(differs.get() == 0):
                f.jump(found)
        place.set((place.get() + 1) & mask)
    p = plan.get()
    extents = p + (f.load("i64", header(f, p, "words")) + len(PLAN)) * 8
    cursor = f.var("ptr", extents + nargs * 16)

    # written arguments may be the same view as another one, and may not overlap it in any other way
    written = f.load("i64", header(f, p, "written"))
    with f.when(written != 0):
        bad = f.call("i64", "clash", written, nargs, values, extents, args)
        with f.when(bad != 0):
            decline(f)

    # results
    nouts = f.load("i64", header(f, p, "nouts"))
    outs = V(f, "ptr", "%" + f.fresh("outs"))
    f.do(f"{outs.name} = alloca ptr, {nouts + 1}, align 16")
    with f.loop(0, nouts) as i:
        spec = cursor.get()
        descr, nd = f.load("ptr", spec), f.load("i64", spec + 8)
        f.call("void", "Py_IncRef", descr)
        zero32, null = f.value(0, "i32"), f.value(0, "ptr")
        made = f.call(
            "ptr",
            "PyArray_NewFromDescr",
            ndarray,
            descr,
            f.convert("trunc", nd, "i32"),
            spec + 16,
            spec + (nd * 8 + 16),
            null,
            zero32,
            null,
        )
        f.store(made, outs, i)
        with f.when(made == 0):
            with f.loop(0, i) as j:
                f.call("void", "Py_DecRef", f.load("ptr", outs, j))
            f.ret(0)
        cursor.set(spec + (nd * 16 + 16))

    # launches
    temp = f.var("ptr", 0)
    temp_bytes = f.load("i64", header(f, p, "temp"))
    with f.when(temp_bytes != 0):
        null = f.value(0, "ptr")
        pooled = memory.install() is not None
        size = temp_bytes + 64
        temp.set(f.call("ptr", "flambeau_malloc", null, size) if pooled else f.call("ptr", "malloc", size))
        with f.when(temp.get() == 0):
            decline(f)
    temp_start = (f.convert("ptrtoint", temp.get(), "i64") + 63) & -64
    release = f.load("i64", header(f, p, "release"))
    state = f.var("ptr", 0)
    slots = V(f, "ptr", "%" + f.fresh("slots"))
    f.do(f"{slots.name} = alloca i64, {f.load('i64', header(f, p, 'slots'))}, align 16")
    with f.when(release != 0):
        live, threads = m.external(f, "flambeau_pool") + LIVE, m.external(f, "flambeau_pool") + THREADS
        with f.when(f.load("i64", live) + 1 < f.load("i64", threads)):  # after a fork, workers are missing
            started = f.call("ptr", "PyObject_CallNoArgs", m.external(f, "flambeau_start"))
            with f.either(started == 0) as otherwise:
                f.call("void", "PyErr_Clear")
                otherwise()
                f.call("void", "Py_DecRef", started)
        f.store(f.load("i64", table + 16) + 1, table + 16)
        state.set(f.call("ptr", "PyEval_SaveThread"))
    with f.loop(0, f.load("i64", header(f, p, "nlaunches"))):
        spec = cursor.get()
        address, chunks, scratch, count = (f.load("i64", spec + 8 * i) for i in range(4))
        with f.loop(0, count) as i:
            source, value, offset = (f.load("i64", spec + (32 + 8 * part), i * 3) for part in range(3))
            word = f.var("i64", value)
            with f.when(source == ARG):
                word.set(f.load("i64", values, value))
            with f.when(source == OUT):
                word.set(f.load("i64", f.load("ptr", outs, value) + DATA))
            with f.when(source == TEMP):
                word.set(temp_start + value)
            f.store(word.get() + offset, slots, i)
        kernel = f.convert("inttoptr", address, "ptr")
        with f.either((chunks > 1) | (scratch != 0)) as otherwise:
            f.call("void", "flambeau_parallel", kernel, slots, chunks, scratch)
            otherwise()
            f.call_pointer("void", kernel, slots, f.value(0, "i64"), chunks, f.value(0, "ptr"))
        cursor.set(spec + (count * 24 + 32))
    with f.when(release != 0):
        f.call("void", "PyEval_RestoreThread", state.get())
        f.store(f.load("i64", table + 16) - 1, table + 16)
    with f.when(temp.get() != 0):
        if pooled:
            f.call("void", "flambeau_free", f.value(0, "ptr"), temp.get(), temp_bytes + 64)
        else:
            f.call("void", "free", temp.get())

    with f.when(nouts == 1):
        f.ret(f.load("ptr", outs))
    with f.when(nouts == 0):
        true = m.external(f, "object_true")
        f.call("void", "Py_IncRef", true)
        f.ret(true)
    result = f.call("ptr", "PyTuple_New", nouts)
    with f.when(result == 0):
        f.ret(0)
    with f.loop(0, nouts) as i:
        f.call("i32", "PyTuple_SetItem", result, i, f.load("ptr", outs, i))
    f.ret(result)
    clash(m)
    return m


def header(f: Function, plan: V, name: str) -> V:
    return plan + 8 * PLAN.index(name)


def decline(f: Function) -> None:
    """return None"""
    none = f.module.external(f, "object_none")
    f.call("void", "Py_IncRef", none)
    f.ret(none)


def clash(m: Module) -> None:
    """Defines clash(written, n, values, extents, args): 1 where a written argument overlaps another that is not the same view."""
    f = m.function("internal i64 clash(i64 written, i64 n, ptr values, ptr extents, ptr args)")
    written, n, values, extents, args = f.params
    span = lambda i: tuple(f.load("i64", values, i) + f.load("i64", extents, i * 2 + side) for side in (0, 1))
    with f.loop(0, n) as i, f.when((written >> i & 1) != 0):
        low, high = span(i)
        with f.loop(0, n) as j:
            low2, high2 = span(j)
            with f.when((i != j) & (low < high2) & (low2 < high)):
                x, y = f.load("ptr", args, i), f.load("ptr", args, j)
                same = (f.load("i64", values, i) == f.load("i64", values, j)) & (
                    f.load("i64", x + DESCR) == f.load("i64", y + DESCR)
                )
                nd = f.load("i32", x + NDIM)
                with f.when(f.emit("i1", f"xor {same & (nd == f.load('i32', y + NDIM))}, true")):
                    f.ret(1)
                with f.loop(0, f.convert("zext", nd, "i64")) as d:
                    for numbers in (DIMS, STRIDES):
                        with f.when(
                            f.load("i64", f.load("ptr", x + numbers), d) != f.load("i64", f.load("ptr", y + numbers), d)
                        ):
                            f.ret(1)
    f.ret(0)
