"""The generated builtin behind every table: reads its arguments' structs, finds their plan, runs it.

`flambeau_call` is written here in LLVM IR with the pen of `emit.py`, one function of this file a phase. What a table and a plan
look like in memory is said here; `launch.py` writes them.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu import memory
from flambeau._backends.cpu.emit import Function, Module, V, Variable
from flambeau._backends.cpu.engine import Code, engine
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
    USED_FLAGS,
    MethodDef,
    layout,
)
from flambeau._backends.cpu.threads import LIVE, THREADS, pool

CONST, ARG, OUT, TEMP = range(4)  # where a slot's eight bytes come from
GATE = 0  # the address of a launch that is no kernel but ends the call where a byte is not 0
FLOAT_ARG, INT_ARG = 1, 2  # signature words of Python numbers; an array's first word is its dtype's address
PLAN = ("hash", "nargs", "words", "nouts", "nlaunches", "release", "temp", "slots", "written")  # header of a plan block
TABLE = ("mask", "buckets", "busy")  # header of a table block
NEW_FROM_DESCR = 94  # PyArray_NewFromDescr in NumPy's table of API functions, the same since 1.0
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
        native.provide("object_false", id(False))
        native.provide("flambeau_start", id(self.starter(threads)))
        for name in PYTHON_API:
            native.provide(name, ctypes.cast(getattr(api, name), ctypes.c_void_p).value or 0)
        module = entry_module()
        self.code: Code = native.load(str(module), ["flambeau_call"], module.imports, needs=(threads.code,))
        self.method = MethodDef(
            b"kernel",
            self.code["flambeau_call"],
            METH_FASTCALL,
            b"Runs the plan of its arguments' signature, or returns None, or False where a gate ended it.",
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
    words, count, hashed, values = read_arguments(f, args, nargs)
    plan = find_plan(f, table, words, count, hashed, nargs)
    extents = plan + (f.load("i64", header(f, plan, "words")) + len(PLAN)) * 8
    cursor = f.var("ptr", extents + nargs * 16)  # goes through the plan's results, then through its launches

    # written arguments may be the same view as another one, and may not overlap it in any other way
    written = f.load("i64", header(f, plan, "written"))
    with f.when(written != 0):
        bad = f.call("i64", "clash", written, nargs, values, extents, args)
        with f.when(bad != 0):
            decline(f)

    nouts = f.load("i64", header(f, plan, "nouts"))
    outs = allocate(f, nouts, cursor)
    stopped = run_launches(f, table, plan, cursor, values, nouts, outs)
    with f.when(stopped != 0):
        drop(f, nouts, outs)
        false = f.module.external(f, "object_false")
        f.call("void", "Py_IncRef", false)
        f.ret(false)
    give_back(f, nouts, outs)
    clash(m)
    return m


def read_arguments(f: Function, args: V, nargs: V) -> tuple[V, Variable, Variable, V]:
    """(words of the signature, how many, their hash, and for each argument the address of its elements, or its bits)."""
    ndarray, pyfloat, pyint = (f.module.external(f, n) for n in ("type_ndarray", "type_float", "type_int"))
    total = f.var("i64", 1)
    with f.loop(0, nargs) as i:
        x = f.load("ptr", args, i)
        words = f.var("i64", 1)
        with f.when(f.load("ptr", x + OB_TYPE) == ndarray):
            nd = f.convert("zext", f.load("i32", x + NDIM), "i64")
            words.set(nd * 2 + 2)
        total.set(total.get() + words.get())
    sig = room(f, "sig", "i64", total.get())
    values = room(f, "values", "i64", nargs + 1)
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
    return sig, at, h, values


def find_plan(f: Function, table: V, sig: V, count: Variable, hash: Variable, nargs: V) -> V:
    """The plan block of a signature; the call is declined where there is none."""
    hashed = hash.get() ^ hash.get() >> 29
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
            & (f.load("i64", header(f, p, "words")) == count.get())
            & (f.load("i64", header(f, p, "nargs")) == nargs)
        ):
            differs = f.var("i64", 0)
            with f.loop(0, count.get()) as i:
                differs.set(differs.get() | (f.load("i64", sig, i) ^ f.load("i64", p + 8 * len(PLAN), i)))
            with f.when(differs.get() == 0):
                f.jump(found)
        place.set((place.get() + 1) & mask)
    return plan.get()


def allocate(f: Function, nouts: V, cursor: Variable) -> V:
    """The results: new arrays, as the plan says."""
    outs = room(f, "outs", "ptr", nouts + 1)
    with f.loop(0, nouts) as i:
        spec = cursor.get()
        descr, nd = f.load("ptr", spec), f.load("i64", spec + 8)
        f.call("void", "Py_IncRef", descr)
        zero32, null = f.value(0, "i32"), f.value(0, "ptr")
        made = f.call(
            "ptr",
            "PyArray_NewFromDescr",
            f.module.external(f, "type_ndarray"),
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
            drop(f, i, outs)
            f.ret(0)
        cursor.set(spec + (nd * 16 + 16))
    return outs


def drop(f: Function, count: V, outs: V) -> None:
    """Results that nobody will see."""
    with f.loop(0, count) as i:
        f.call("void", "Py_DecRef", f.load("ptr", outs, i))


def run_launches(f: Function, table: V, plan: V, cursor: Variable, values: V, nouts: V, outs: V) -> V:
    """Every launch of a plan, on temporary memory of its own, without the interpreter's lock where the plan says so; not 0 where a gate ended it."""
    temp = f.var("ptr", 0)
    temp_bytes = f.load("i64", header(f, plan, "temp"))
    with f.when(temp_bytes != 0):
        null = f.value(0, "ptr")
        pooled = memory.install() is not None
        size = temp_bytes + 64
        temp.set(f.call("ptr", "flambeau_malloc", null, size) if pooled else f.call("ptr", "malloc", size))
        with f.when(temp.get() == 0):
            drop(f, nouts, outs)
            decline(f)
    temp_start = (f.convert("ptrtoint", temp.get(), "i64") + 63) & -64
    release = f.load("i64", header(f, plan, "release"))
    state = f.var("ptr", 0)
    slots = room(f, "slots", "i64", f.load("i64", header(f, plan, "slots")))
    with f.when(release != 0):
        start_workers(f)
        f.store(f.load("i64", table + 16) + 1, table + 16)
        state.set(f.call("ptr", "PyEval_SaveThread"))
    stopped = f.var("i64", 0)
    left = f.var("i64", f.load("i64", header(f, plan, "nlaunches")))
    with f.forever() as done:
        with f.when(left.get() == 0):
            f.jump(done)
        left.set(left.get() - 1)
        run_launch(f, cursor, slots, values, outs, temp_start, stopped)
        with f.when(stopped.get() != 0):
            f.jump(done)
    with f.when(release != 0):
        f.call("void", "PyEval_RestoreThread", state.get())
        f.store(f.load("i64", table + 16) - 1, table + 16)
    with f.when(temp.get() != 0):
        if pooled:
            f.call("void", "flambeau_free", f.value(0, "ptr"), temp.get(), temp_bytes + 64)
        else:
            f.call("void", "free", temp.get())
    return stopped.get()


def start_workers(f: Function) -> None:
    """After a fork, workers are missing: Python starts them."""
    live, threads = f.module.external(f, "flambeau_pool") + LIVE, f.module.external(f, "flambeau_pool") + THREADS
    with f.when(f.load("i64", live) + 1 < f.load("i64", threads)):
        started = f.call("ptr", "PyObject_CallNoArgs", f.module.external(f, "flambeau_start"))
        with f.either(started == 0) as otherwise:
            f.call("void", "PyErr_Clear")
            otherwise()
            f.call("void", "Py_DecRef", started)


def run_launch(f: Function, cursor: Variable, slots: V, values: V, outs: V, temp: V, stopped: Variable) -> None:
    """The launch at the cursor: fill its slots, call its kernel, here or over the pool; or see whether it is a gate that is shut."""
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
            word.set(temp + value)
        f.store(word.get() + offset, slots, i)
    kernel = f.convert("inttoptr", address, "ptr")
    with f.either((chunks > 1) | (scratch != 0)) as otherwise:
        f.call("void", "flambeau_parallel", kernel, slots, chunks, scratch)
        otherwise()
        with f.either(address == GATE) as otherwise:
            status = f.load("i8", f.convert("inttoptr", f.load("i64", slots), "ptr"))
            stopped.set(f.convert("zext", status, "i64"))
            otherwise()
            f.call_pointer("void", kernel, slots, f.value(0, "i64"), chunks, f.value(0, "ptr"))
    cursor.set(spec + (count * 24 + 32))


def give_back(f: Function, nouts: V, outs: V) -> None:
    """The function returns True, the result, or a tuple of results."""
    with f.when(nouts == 1):
        f.ret(f.load("ptr", outs))
    with f.when(nouts == 0):
        true = f.module.external(f, "object_true")
        f.call("void", "Py_IncRef", true)
        f.ret(true)
    result = f.call("ptr", "PyTuple_New", nouts)
    with f.when(result == 0):
        f.ret(0)
    with f.loop(0, nouts) as i:
        f.call("i32", "PyTuple_SetItem", result, i, f.load("ptr", outs, i))
    f.ret(result)


def room(f: Function, name: str, type: str, count: V) -> V:
    """An array on the stack."""
    made = V(f, "ptr", "%" + f.fresh(name))
    f.do(f"{made.name} = alloca {type}, {count}, align 16")
    return made


def header(f: Function, plan: V, name: str) -> V:
    """The address of a field of the plan."""
    return plan + 8 * PLAN.index(name)


def decline(f: Function) -> None:
    """The function returns None: there is no plan for these arguments."""
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
