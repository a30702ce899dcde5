"""Kernels run in plain Python, slowly and obviously: what every other backend is tested against.

A kernel is read off the page: loops are loops, an accumulator is a variable, a buffer is a list of elements. Words are the
array reading's, on scalars. Nothing is split or vectorised, and every read and write is checked against its buffer.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._kernel.arrays import SPECIAL, Arrays
from flambeau._kernel.fuse import Launch, Program
from flambeau._kernel.index import At, Axis, Div, Index, Mod, Size, Span
from flambeau._kernel.ir import Kernel, Scalar, Stage, Store, Update, identity
from flambeau._values.dtype import BY_NAME


def special(word: str) -> Any:
    import scipy.special  # only where a kernel needs it

    return getattr(scipy.special, SPECIAL[word])


WORDS = Arrays(np, special, lambda name: None)
FOLDS: dict[str, Any] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "logical_and": lambda x, y: x & y,
    "logical_or": lambda x, y: x | y,
    "logaddexp": np.logaddexp,
}


def numpy_dtype(name: str) -> Any:
    return BY_NAME[name].np


class Memory:
    """The elements of a strided array, by their distance from the first one."""

    def __init__(self, a: np.ndarray[Any, Any]) -> None:
        low, high = np.lib.array_utils.byte_bounds(a)
        size = a.itemsize
        raw = (ctypes.c_char * (high - low)).from_address(low) if a.size else b""
        self.owner = a
        self.flat = np.ndarray(((high - low) // size if a.size else 0,), a.dtype, raw)  # type: ignore[arg-type]
        self.first = (a.ctypes.data - low) // size

    def place(self, i: int) -> int:
        at = self.first + int(i)
        if not 0 <= at < len(self.flat):
            raise IndexError(f"element {i} is outside its buffer")
        return at

    def __getitem__(self, i: int) -> Any:
        return self.flat[self.place(i)]

    def __setitem__(self, i: int, v: Any) -> None:
        self.flat[self.place(i)] = v


class Run:
    """One launch: a kernel, its memories and its sizes."""

    def __init__(self, kernel: Kernel, memories: dict[str, Any], sizes: dict[str, int]) -> None:
        self.kernel, self.memories, self.sizes = kernel, memories, sizes
        self.axes: dict[str, int] = {}
        self.accs: dict[str, Any] = {}

    def size(self, n: Size | Span) -> int:
        if isinstance(n, Span):
            return min(self.size(n.size), self.size(n.total) - self.axes[n.axis] * self.size(n.size))
        return self.sizes[n] if isinstance(n, str) else n

    def walk(self, axes: tuple[Axis, ...]) -> Any:
        """Every point of the axes, bound in turn."""
        for point in itertools.product(*(range(self.size(a.extent)) for a in axes)):
            self.axes.update({a.name: i for a, i in zip(axes, point, strict=True)})
            yield

    def run(self) -> None:
        with np.errstate(all="ignore"):
            for _ in self.walk(self.kernel.outer):
                for b in self.kernel.buffers:
                    if b.role == "row":
                        self.memories[b.name] = Memory(np.empty(self.size(b.size), numpy_dtype(b.dtype)))
                for s in self.kernel.stages:
                    self.stage(s)

    def stage(self, s: Stage) -> None:
        for b in s.body:
            if isinstance(b, Update):
                self.accs[b.acc] = numpy_dtype(b.value.dtype).type(identity(b.op, b.value.dtype))
        for _ in self.walk(s.axes):
            known: dict[Scalar, Any] = {}
            for b in s.body:
                if isinstance(b, Store):
                    self.memories[b.buffer][self.index(b.index, known)] = self.value(b.value, known)
                else:
                    self.accs[b.acc] = FOLDS[b.op](self.accs[b.acc], self.value(b.value, known))

    def index(self, i: Index, known: dict[Scalar, Any]) -> int:
        return self.size(i.const) + sum(self.atom(a, known) * self.size(c) for a, c in i.terms)

    def atom(self, a: Any, known: dict[Scalar, Any]) -> int:
        match a:
            case Axis():
                return self.axes[a.name]
            case At():
                return int(self.value(a.value, known))
            case Div():
                return self.index(a.index, known) // self.size(a.by)
        assert isinstance(a, Mod)
        return self.index(a.index, known) % self.size(a.by)

    def value(self, e: Scalar, known: dict[Scalar, Any]) -> Any:
        if e.op == "acc":
            return self.accs[e.arg]
        if e not in known:
            v = self.compute(e, known)
            known[e] = v if getattr(v, "dtype", None) == numpy_dtype(e.dtype) else numpy_dtype(e.dtype).type(v)
        return known[e]

    def compute(self, e: Scalar, known: dict[Scalar, Any]) -> Any:
        match e.op:
            case "const":
                return self.sizes[e.arg] if isinstance(e.arg, str) else e.arg
            case "index":
                return self.index(e.arg, known)
            case "load":
                memory = self.memories[e.arg[0]]
                return memory[self.index(e.arg[1], known)] if isinstance(memory, Memory) else memory
            case "guard":
                inside = all(0 <= self.index(i, known) < self.size(n) for i, n in e.arg)
                return self.value(e.src[0 if inside else 1], known)
            case "cast":
                return np.asarray(self.value(e.src[0], known)).astype(numpy_dtype(e.arg))[()]
        return getattr(WORDS, e.op)(*(self.value(s, known) for s in e.src))


def launch(step: Launch, arrays: dict[tuple[str, int], Any]) -> None:
    kernel = step.kernel
    memories: dict[str, Any] = {}
    for b, place in zip(kernel.arguments, step.operands, strict=True):
        a = arrays[place]
        memories[b.name] = numpy_dtype(b.dtype).type(a) if b.role == "scalar" else Memory(a)
    Run(kernel, memories, dict(zip(kernel.sizes, step.sizes, strict=True))).run()


def run(program: Program, inputs: Sequence[Any], outs: Sequence[Any]) -> None:
    """Runs a program on arrays; scalars are numbers."""
    arrays: dict[tuple[str, int], Any] = {("in", n): a for n, a in enumerate(inputs)}
    arrays |= {("out", n): a for n, a in enumerate(outs)}
    arrays |= {("temp", n): np.empty(size, numpy_dtype(dtype)) for n, (dtype, size) in enumerate(program.temps)}
    for step in program.launches:
        launch(step, arrays)
