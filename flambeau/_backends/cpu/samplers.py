"""Rejection samplers in native code, and libm over arrays: `_values/rejection.py` and `rounding.py`, to the same bits.

How many words a number takes depends on the words, so a sampler is given some and stops where they run out, before the number
that would need more; what is left comes first the next time. At the end the stream is set back to what was used.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.draws import GRAIN
from flambeau._backends.cpu.emit import Module, V, Variable
from flambeau._backends.cpu.engine import Code, available, engine
from flambeau._backends.cpu.launch import bits
from flambeau._backends.cpu.threads import pool
from flambeau._values import rejection, rounding

Array = np.ndarray[Any, Any]
FUNCTIONS = ("exp", "log", "log1p", "tan", "sin", "cos")
WORDS = 32 * 624  # drawn at a time
FRACTION = (1 << 53) - 1


class Sampler:
    """A function that draws numbers for elements x (and y), as far as its words go.

    `begin(state, words, count, x, y, out, n)`; state is (element, words used, whether a normal number waits, that number).
    """

    def __init__(self, m: Module, name: str, real: str, pairs: bool) -> None:
        self.real = real
        f = self.f = m.function(f"void {name}_{real}(ptr state, ptr words, i64 count, ptr x, ptr y, ptr out, i64 n)")
        self.state, self.words, self.count, x, y, out, n = f.params
        self.at, self.waits = f.var("i64", 0), f.var("i64", f.load("i64", self.state, 2))
        self.waiting = f.var("double", f.load("double", f.gep("i64", self.state, 3)))
        mark, waits, waiting = f.var("i64", 0), f.var("i64", 0), f.var("double", 0.0)
        with f.loop(f.load("i64", self.state), n) as i:
            f.store(i, self.state)
            mark.set(self.at.get())
            waits.set(self.waits.get())
            waiting.set(self.waiting.get())
            read = lambda p: self.wide(f.load(real, p, i))
            found = getattr(self, name)(read(x), *([read(y)] if pairs else []))
            f.store(found if real == "double" else f.convert("fptrunc", found, real), out, i)
        f.store(n, self.state)
        self.leave(self.at.get(), self.waits.get(), self.waiting.get())
        f.ret()
        f.label_after("short")
        self.leave(mark.get(), waits.get(), waiting.get())

    def leave(self, at: V, waits: V, waiting: V) -> None:
        """Says how far it has come."""
        f = self.f
        f.store(at, self.state, 1)
        f.store(waits, self.state, 2)
        f.store(waiting, f.gep("i64", self.state, 3))

    # -- words ------------------------------------------------------------------------------------------------------

    def wide(self, x: V) -> V:
        return x if self.real == "double" else self.f.convert("fpext", x, "double")

    def narrow(self, x: V) -> V:
        """What storing a double in a variable of the elements' type leaves of it."""
        return x if self.real == "double" else self.wide(self.f.convert("fptrunc", x, self.real))

    def c(self, x: float) -> V:
        return self.f.value(x, "double")

    def call(self, name: str, *xs: V) -> V:
        return self.f.call("double", name, *xs)

    def root(self, x: V) -> V:
        return self.call("llvm.sqrt.f64", x)

    def floor(self, x: V) -> V:
        return self.call("llvm.floor.f64", x)

    def size(self, x: V) -> V:
        return self.call("llvm.fabs.f64", x)

    def uniform(self) -> V:
        f, at = self.f, self.at.get()
        with f.when(at + 2 > self.count):
            f.jump("short")
        high, low = (f.convert("zext", f.load("i32", self.words, at + i), "i64") for i in (0, 1))
        self.at.set(at + 2)
        return f.convert("uitofp", ((high << 32) | low) & FRACTION, "double") * 2.0**-53

    def normal(self) -> V:
        f, out = self.f, self.f.var("double", 0.0)
        with f.either(self.waits.get() != 0) as otherwise:
            out.set(self.waiting.get())
            self.waits.set(0)
            otherwise()
            u1, u2 = self.uniform(), self.uniform()
            radius, angle = self.root(self.call("log1p", 0.0 - u2) * -2.0), u1 * (2.0 * math.pi)
            self.waiting.set(radius * self.call("sin", angle))
            self.waits.set(1)
            out.set(radius * self.call("cos", angle))
        return out.get()

    # -- distributions: see `_values/rejection.py` ------------------------------------------------------------------

    def poisson(self, rate: V) -> V:
        f, out = self.f, self.f.var("double", 0.0)
        with f.when(rate != 0.0), f.either(rate < 10.0) as otherwise:
            bound, product = self.call("exp", 0.0 - rate), f.var("double", 1.0)
            with f.forever() as done:
                product.set(product.get() * self.uniform())
                with f.when(product.get() <= bound):
                    f.jump(done)
                out.set(out.get() + 1.0)
            otherwise()
            log_rate, b = self.call("log", rate), self.root(rate) * 2.53 + 0.931
            a = b * 0.02483 + -0.059
            log_inverse = self.call("log", self.c(1.1328) / (b - 3.4) + 1.1239)
            corner = 0.9277 - self.c(3.6224) / (b - 2.0)

            def accepts(us: V, v: V, k: V) -> V:
                left = self.call("log", v) + log_inverse - self.call("log", a / (us * us) + b)
                return left <= 0.0 - rate + k * log_rate - self.call("lgamma", k + 1.0)

            self.reject(out, a, b, rate, 0.43, corner, None, accepts)
        return f.select(self.size(out.get()) < rejection.LEAST, out.get(), -rejection.LEAST)

    def reject(self, out: Variable, a: V, b: V, mean: V, more: float, corner: V, most: V | None, accepts: Any) -> None:
        """Transformed rejection: candidates until one is accepted."""
        f = self.f
        with f.forever() as done:
            u, v = self.uniform() - 0.5, self.uniform()
            us = 0.5 - self.size(u)
            k = self.floor((a * 2.0 / us + b) * u + mean + more if more else (a * 2.0 / us + b) * u + mean)
            k = k if most is None else self.narrow(k)
            inside = (us >= 0.07) & (v <= corner)
            if most is None:
                bad = (k < 0.0) | ((us < 0.013) & (v > us))
            else:
                bad, inside = (k < 0.0) | (k > most), inside & (k >= 0.0) & (k <= most)
            with f.when(inside):
                out.set(k)
                f.jump(done)
            with f.either(bad) as otherwise:
                otherwise()
                with f.when(accepts(us, v, k)):
                    out.set(k)
                    f.jump(done)

    def gamma(self, alpha: V) -> V:
        f, out = self.f, self.f.var("double", 0.0)
        scale, shape = f.var("double", 1.0), f.var("double", alpha)
        with f.when(alpha != 0.0):
            with f.when(alpha < 1.0):
                scale.set(self.call("pow", 1.0 - self.uniform(), self.narrow(self.c(1.0) / alpha)))
                shape.set(self.narrow(alpha + 1.0))
            d = self.narrow(shape.get() - rejection.THIRD)
            c = f.select(d > 0.0, self.c(1.0) / self.root(d * 9.0), math.nan)
            with f.forever() as done:
                x, y = f.var("double", 0.0), f.var("double", 0.0)
                with f.forever() as positive:
                    x.set(self.normal())
                    y.set(c * x.get() + 1.0)
                    with f.when(f.emit("i1", f"fcmp ugt {y.get()}, {self.c(0.0).name}")):
                        f.jump(positive)
                v, u = y.get() * y.get() * y.get(), 1.0 - self.uniform()
                xx = x.get() * x.get()
                good = f.var("i1", u < 1.0 - xx * rejection.PRESS * xx)
                with f.either(good.get()) as otherwise:
                    otherwise()
                    good.set(self.call("log", u) < xx * 0.5 + d * (1.0 - v + self.call("log", v)))
                with f.when(good.get()):
                    out.set(self.narrow(scale.get() * d * v))
                    f.jump(done)
        return out.get()

    def binomial(self, n: V, p: V) -> V:
        f, out = self.f, self.f.var("double", 0.0)
        with f.when((n > 0.0) & (p > 0.0)), f.either(p >= 1.0) as otherwise:
            out.set(n)
            otherwise()
            rare = p <= 0.5
            few = self.few(n, f.select(rare, p, self.narrow(1.0 - p)))
            out.set(f.select(rare, few, n - few))
        unknown = f.emit("i1", f"fcmp uno {n}, {p.name}") & ((n <= 0.0) == 0) & ((p <= 0.0) == 0)
        return f.select(unknown, math.nan, out.get())

    def few(self, n: V, p: V) -> V:
        f, out = self.f, self.f.var("double", 0.0)
        with f.either(self.narrow(n * p) >= 10.0) as otherwise:
            self.transformed(out, n, p)
            otherwise()
            log_failure, waited = self.narrow(self.call("log1p", 0.0 - p)), f.var("double", 0.0)
            with f.forever() as done:
                waited.set(waited.get() + self.call("llvm.ceil.f64", self.call("log", self.uniform()) / log_failure))
                with f.when(waited.get() > n):
                    f.jump(done)
                out.set(out.get() + 1.0)
        return out.get()

    def transformed(self, out: Variable, n: V, p: V) -> None:
        narrow, log = self.narrow, lambda x: self.call("log", x)
        deviation = narrow(self.root(narrow(narrow(n * p) * narrow(1.0 - p))))
        b = deviation * 2.53 + 1.15
        a = b * 0.0248 + -0.0873 + p * 0.01
        corner = 0.92 - self.c(4.2) / b
        r, alpha = narrow(p / narrow(1.0 - p)), (self.c(5.1) / b + 2.83) * deviation
        m = self.floor(narrow(narrow(n + 1.0) * p))

        def accepts(us: V, v: V, k: V) -> V:
            bound = (m + 0.5) * log((m + 1.0) / (r * (n - m + 1.0)))
            bound = bound + narrow(n + 1.0) * log((n - m + 1.0) / narrow(n - k + 1.0))
            bound = bound + (k + 0.5) * log(r * narrow(n - k + 1.0) / narrow(k + 1.0))
            bound = bound + self.tail(m) + self.tail(n - m) - self.tail(k) - self.tail(n - k)
            return log(v * alpha / (a / (us * us) + b)) <= bound

        self.reject(out, a, b, narrow(n * p) + 0.5, 0.0, corner, n, accepts)

    def tail(self, k: V) -> V:
        """log k! less Stirling's formula for it."""
        f = self.f
        small = k <= 9.0
        place = f.convert("fptosi", f.select(small, k, 0.0), "i64")
        square = (k + 1.0) * (k + 1.0)
        more = 1 / 12 - (1 / 360 - self.c(1 / 1260) / square) / square
        return f.select(small, f.load("double", V(f, "ptr", "@tails"), place), more / (k + 1.0))


def text() -> Module:
    """IR of the samplers, and of libm's functions over arrays."""
    m = Module("samplers")
    listed = ", ".join(f"double 0x{bits(t):016X}" for t in rejection.TAILS)
    m.globals.append(f"@tails = private constant [{len(rejection.TAILS)} x double] [{listed}]")
    for real in ("float", "double"):
        for name, pairs in (("poisson", False), ("gamma", False), ("binomial", True)):
            Sampler(m, name, real, pairs)
    for name in (*FUNCTIONS, "fma"):
        f = m.function(f"void all_{name}(ptr args, i64 begin, i64 end, ptr scratch)")
        kinds = ("ptr", "ptr", "i64", "double", "double")
        x, out, count, b, c = (f.load(kind, f.gep("i64", f.params[0], i)) for i, kind in enumerate(kinds))
        with f.loop(f.params[1] * GRAIN, f.min(f.params[2] * GRAIN, count)) as i:
            a = f.load("double", x, i)
            f.store(f.fma(a, b, c) if name == "fma" else f.call("double", name, a), out, i)
    return m


class Samplers:
    """What `rejection` and `rounding` use in place of Python."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def over(self, name: str, x: Array, b: float = 0.0, c: float = 0.0) -> Array:
        """A function of libm, or x * b + c rounded once, of contiguous doubles."""
        out = np.empty(x.shape)
        pool().start()
        slots = (ctypes.c_int64 * 5)(x.ctypes.data, out.ctypes.data, x.size, bits(b), bits(c))
        pool().parallel(self.code[f"all_{name}"], ctypes.addressof(slots), -(-x.size // GRAIN), 0)
        return out

    def draw(self, name: str, gen: Any, *xs: Array) -> Array:
        """A number for each element (or pair of elements) of contiguous float32 or float64 arrays; the lock is held."""
        real = "float" if xs[0].dtype == np.float32 else "double"
        sampler = self.code.function(f"{name}_{real}", None, *[ctypes.c_void_p] * 2, ctypes.c_int64, *[ctypes.c_void_p] * 3, ctypes.c_int64)  # fmt: skip
        out, x, y = np.empty(xs[0].shape, xs[0].dtype), xs[0], xs[-1]
        waiting = gen.next_double
        state = np.array([0, 0, waiting is not None, bits(waiting or 0.0)], np.int64)
        stream, words = gen.engine, np.empty(0, np.uint32)
        before, old = None, 0
        while True:
            sampler(state.ctypes.data, words.ctypes.data, words.size, x.ctypes.data, y.ctypes.data, out.ctypes.data, x.size)  # fmt: skip
            used = int(state[1])
            if state[0] == x.size:
                break
            left = words[used:]
            before, old = (stream.key().copy(), *stream.place()), left.size
            words = np.concatenate([left, stream.take(WORDS)])
        if before is not None:  # the last draw was needed: more than what was left before it is used
            stream.restore(*before)
            stream.take(used - old)
        gen.next_double = float(state[3:].view(np.float64)[0]) if state[2] else None
        return out


@cache
def samplers() -> Samplers | None:
    """The functions; None where there is no native code."""
    if not available():
        return None
    native = engine()
    names = [f"{name}_{real}" for name in ("poisson", "gamma", "binomial") for real in ("float", "double")]
    names += [f"all_{name}" for name in (*FUNCTIONS, "fma")]
    found = Samplers(native.load(lambda: str(text()), names, parts=[("kernel", "samplers")]))
    rounding.accelerate(found.over)
    return found
