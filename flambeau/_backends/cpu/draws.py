"""Random numbers in native code: blocks of Mersenne Twister words, and what distributions make of words, bit for bit.

`_values/sampling.py` says what each function computes; these do the same over threads, in place where word and number are
of one size. The twister itself is one stream: a thread advances it, a vector at a time.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu import box_muller
from flambeau._backends.cpu.emit import Function, Module, V, vector
from flambeau._backends.cpu.engine import Code, Target, available, engine
from flambeau._backends.cpu.launch import ARG, CONST, Launch, Plan, Table, bits
from flambeau._backends.cpu.threads import pool
from flambeau._values import mt19937

Array = np.ndarray[Any, Any]
N, M = 624, 397  # words of a state, and the distance of the recurrence
GRAIN = 1 << 14  # numbers of a chunk
AHEAD = 32  # swaps of a shuffle whose memory is asked for in advance
FRACTION = (1 << 53) - 1


def twister(m: Module, n: int) -> None:
    """Defines twist(key, out, blocks): advances a state of 624 words, and writes the words of each block."""
    f = m.function("void twist(ptr noalias key, ptr noalias out, i64 blocks)")
    key, out, blocks = f.params

    def step(i: V | int, partner: V | int, following: V | int, lanes: int) -> None:
        wide = vector("i32", lanes)
        at = lambda j: f.load(wide, f.gep("i32", key, j))
        y = (at(i) & -(1 << 31)) | (at(following) & 0x7FFFFFFF)
        odd = f.select((y & 1) != 0, f.value(0x9908B0DF - (1 << 32), wide), 0)
        f.store(at(partner) ^ (y >> 1) ^ odd, f.gep("i32", key, i))

    with f.loop(0, blocks) as block:
        for first, last, far in ((0, N - M, M), (N - M, N - 1, M - N)):
            whole = first + (last - first) // n * n
            with f.loop(first, whole, n) as i:
                step(i, i + far, i + 1, n)
            with f.loop(whole, last) as i:
                step(i, i + far, i + 1, 1)
        step(N - 1, M - 1, 0, 1)
        to = f.gep("i32", out, block * N)
        with f.loop(0, N, n) as i:
            y = f.load(vector("i32", n), f.gep("i32", key, i))
            y = y ^ (y >> 11)
            y = y ^ ((y << 7) & (0x9D2C5680 - (1 << 32)))
            y = y ^ ((y << 15) & (0xEFC60000 - (1 << 32)))
            f.store(y ^ (y >> 18), f.gep("i32", to, i))


def begin(m: Module, name: str, reals: int = 0, numbers: int = 0) -> tuple[Function, list[V]]:
    """A kernel over (source, result, count, reals..., numbers...); yields those words, then the chunk's first and last."""
    f = m.function(f"void {name}(ptr args, i64 begin, i64 end, ptr scratch)")
    kinds = ["ptr", "ptr", "i64", *["double"] * reals, *["i64"] * numbers]
    words = [f.load(kind, f.gep("i64", f.params[0], i)) for i, kind in enumerate(kinds)]
    return f, [*words, f.params[1] * GRAIN, f.min(f.params[2] * GRAIN, words[2])]


def fraction(f: Function, word: V, lanes: int) -> V:
    """Two words, the high one first, as a double in [0, 1)."""
    turned = (word << 32) | (word >> 32)
    return f.convert("uitofp", turned & FRACTION, vector("double", lanes)) * 2.0**-53


def text(target: Target) -> Module:
    """IR of the twister and of what distributions make of words."""
    n, half = target.vector_bytes // 4, target.vector_bytes // 8
    m = Module("draws")
    twister(m, n)
    for name, real, lanes in (("uniform32", "float", half), ("uniform64", "double", half)):
        f, (src, out, _, low, span, high, first, last) = begin(m, name, 3)
        for width, start, stop in (
            (lanes, first, last - (last - first) % lanes),
            (1, last - (last - first) % lanes, last),
        ):
            with f.loop(start, stop, width) as i:
                if real == "float":
                    word = f.load(vector("i32", width), f.gep("i32", src, i)) & 0xFFFFFF
                    x = f.convert("uitofp", word, vector("double", width)) * f.splat(span, width)
                    x = f.convert("fptrunc", x + f.splat(low, width), vector("float", width))
                    top, bottom = (f.splat(f.convert("fptrunc", v, "float"), width) for v in (high, low))
                else:
                    x = fraction(f, f.load(vector("i64", width), f.gep("i64", src, i), align=4), width)
                    x = f.fma(x, f.splat(span, width), f.splat(low, width))
                    top, bottom = f.splat(high, width), f.splat(low, width)
                f.store(f.select(x >= top, bottom, x), f.gep(real, out, i))
    for name, result in (("less8", "i8"), ("less32", "float"), ("less64", "double")):
        f, (src, out, _, p, first, last) = begin(m, name, 1)
        cut = last - (last - first) % half
        for width, start, stop in ((half, first, cut), (1, cut, last)):
            with f.loop(start, stop, width) as i:
                x = fraction(f, f.load(vector("i64", width), f.gep("i64", src, i), align=4), width)
                yes = x < f.splat(p, width)
                f.store(
                    f.convert("zext" if result == "i8" else "uitofp", yes, vector(result, width)), f.gep(result, out, i)
                )
    f, (src, out, _, low, span, first, last) = begin(m, "remainder32", 0, 2)
    with f.loop(first, last) as i:
        rest = f.load("i32", src, i) % f.convert("trunc", span, "i32")
        f.store(f.emit("i64", f"add {f.convert('zext', rest, 'i64')}, {low.name}"), out, i)
    f, (src, out, _, low, span, first, last) = begin(m, "remainder64", 0, 2)
    with f.loop(first, last) as i:
        word = f.load("i64", src, i, align=4)  # words begin anywhere in a block
        f.store(f.emit("i64", f"add {((word << 32) | (word >> 32)) % span}, {low.name}"), out, i)
    f, (src, out, _, mean, std, first, last) = begin(m, "normal64", 2)
    with f.loop(first, last, 16) as block, f.loop(0, 8) as lane:
        i = block + lane
        radius = f.call("double", "log", 1.0 - fraction(f, f.load("i64", src, i), 1)) * -2.0
        radius = f.call("double", "llvm.sqrt.f64", radius)
        theta = fraction(f, f.load("i64", src, i + 8), 1) * (2.0 * np.pi)
        for name, place in (("cos", i), ("sin", i + 8)):
            f.store(f.fma(radius * f.call("double", name, theta), std, mean), out, place)
    f, (src, out, count, first, last) = begin(m, "partners")
    with f.loop(first, last) as i:  # the place that the i-th of count + 1 elements changes with
        rest = f.load("i32", src, i) % f.convert("trunc", count + 1 - i, "i32")
        f.store(rest + f.convert("trunc", i, "i32"), out, i)
    f, (partners, out, count, _, _) = begin(m, "shuffle")
    with f.loop(0, count + 1) as i:
        f.store(f.convert("trunc", i, "i32"), out, i)
    place = lambda i: f.convert("zext", f.load("i32", partners, i), "i64")
    write, near, data = (f.value(v, "i32") for v in (1, 3, 1))
    with f.loop(0, count) as i:
        soon = f.gep("i32", out, place(f.min(i + AHEAD, count - 1)))
        f.call("void", "llvm.prefetch.p0", soon, write, near, data)
        p, q = f.gep("i32", out, i), f.gep("i32", out, place(i))
        x, y = f.load("i32", p), f.load("i32", q)
        f.store(y, p)
        f.store(x, q)
    return m


NAMES = (
    "twist", "uniform32", "uniform64", "less8", "less32", "less64", "remainder32", "remainder64", "normal64", "partners", "shuffle",
)  # fmt: skip
FLOAT32 = np.dtype(np.float32)
LESS = {np.dtype(np.bool_): "less8", np.dtype(np.float32): "less32", np.dtype(np.float64): "less64"}


class Draws:
    """What `sampling` uses in place of NumPy: contiguous arrays of words in, numbers out."""

    ones = LESS  # dtypes that `less` writes

    def __init__(self, code: Code, normals: Code) -> None:
        self.code, self.normals = code, normals
        self.tables: dict[str, Table] = {}  # for draws of one chunk
        self.twist = code.function("twist", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)

    def _run(self, name: str, src: Array, out: Array, count: int, *numbers: float, grain: int = GRAIN) -> None:
        """A kernel over source and result; `numbers` are floats and 64-bit integers."""
        code = self.normals if name == "normals" else self.code
        if count <= grain:  # hot: most draws are small, and theirs are few shapes
            table = self.tables.get(name) or self.tables.setdefault(name, Table(name))
            args = (src, out, *numbers)
            if table.call(*args):
                return
            slots = ((ARG, 0), (ARG, 1), (CONST, count), *((ARG, 2 + i) for i in range(len(numbers))))
            table.add(args, Plan((), (Launch(code[name], slots),), keep=(code,)))
            if table.call(*args):
                return
        threads, chunks = pool(), -(-count // grain)
        if chunks > 1:
            threads.start()
        words = [bits(x) if isinstance(x, float) else x for x in numbers]
        slots = (ctypes.c_int64 * (3 + len(words)))(src.ctypes.data, out.ctypes.data, count, *words)
        threads.parallel(code[name], ctypes.addressof(slots), chunks, 0)

    def normal(self, words: Array, out: Array, mean: float, std: float) -> None:
        """Blocks of sixteen floats."""
        self._run("normals", words, out, words.size // 16, mean, std, grain=box_muller.GRAIN)

    def normal64(self, words: Array, out: Array, mean: float, std: float) -> None:
        """Blocks of sixteen doubles, of two words each."""
        self._run("normal64", words, out, out.size, mean, std)

    def uniform(self, words: Array, out: Array, low: float, high: float, below: float) -> None:
        """Floats or doubles from low to high; those not under `below` are low."""
        if out.dtype == FLOAT32:
            if low == 0.0 and high == below == 1.0:
                first, span, last = 0.0, 2.0**-24, 1.0
            else:
                first, last = float(np.float32(low)), float(np.float32(below))
                span = 2.0**-24 * float(np.float32(high) - np.float32(low))
            self._run("uniform32", words, out, out.size, first, span, last)
        else:
            self._run("uniform64", words, out, out.size, low, high - low, below)

    def less(self, words: Array, out: Array, p: float) -> None:
        """1 where a double is less than p; the result is boolean, float32 or float64."""
        self._run(LESS[out.dtype], words, out, out.size, p)

    def remainder(self, words: Array, out: Array, low: int, span: int) -> None:
        """Words (of 32 bits, or pairs of them), modulo span, from low on."""
        name = "remainder32" if words.size == out.size else "remainder64"
        self._run(name, words, out, out.size, low, span - (span >> 63 << 64))

    def permutation(self, words: Array, out: Array) -> None:
        """0 ... n - 1, shuffled by n - 1 words, which are overwritten; int32."""
        if words.size:
            self._run("partners", words, words, words.size)
        slots = (ctypes.c_int64 * 3)(words.ctypes.data, out.ctypes.data, words.size)
        pool().parallel(self.code["shuffle"], ctypes.addressof(slots), 1, 0)


@cache
def draws() -> Draws | None:
    """The functions; None where there is no native code or no fused multiply-add."""
    if not available():
        return None
    native = engine()
    normals = box_muller.code()
    if normals is None:
        return None
    found = Draws(native.load(lambda: str(text(native.target)), NAMES, parts=[("kernel", "draws")]), normals)
    mt19937.accelerate(found.twist)
    return found
