"""Values of one or many lanes, and the builder that vector mathematics and kernels are written with.

A `Value` is an LLVM value of element type i1, i8..i64, f32 or f64 and of 1 or W lanes; operators emit instructions, and a
uniform operand is spread over the lanes of its partner. Integers wrap around. Text goes to the current scope: a list of
lines, so that what does not depend on a loop is written before it. (`emit.py` is the pen for hand-written functions.)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from flambeau._backends.cpu.emit import literal

LLVM = {"f32": "float", "f64": "double", "f16": "half"}
BITS = {"f32": 32, "f64": 64, "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}
INT_OF = {"f32": "i32", "f64": "i64"}
FLOAT_OF = {"i32": "f32", "i64": "f64"}


def spell(type: str, n: int) -> str:
    """The LLVM type of n lanes."""
    one = LLVM.get(type, type)
    return one if n == 1 else f"<{n} x {one}>"


def immediate(type: str, n: int, value: Any) -> str:
    """A constant, the same in every lane."""
    one = LLVM.get(type, type)
    if type[0] == "i":
        bits = BITS[type]
        value = int(value) & ((1 << bits) - 1)
        text = str(value - (1 << bits) if bits > 1 and value >> (bits - 1) else value)
    elif type == "f32" and not math.isinf(value) and abs(value) > 3.4028235677973366e38:
        text = literal(one, math.copysign(math.inf, value))
    else:
        text = literal(one, float(value))
    return text if n == 1 else f"splat ({one} {text})"


class Value:
    """An SSA value; arithmetic on it writes code."""

    __slots__ = ("b", "lanes", "name", "type")

    def __init__(self, b: Builder, type: str, lanes: int, name: str) -> None:
        self.b, self.type, self.lanes, self.name = b, type, lanes, name

    def __str__(self) -> str:
        return f"{spell(self.type, self.lanes)} {self.name}"

    @property
    def real(self) -> bool:
        return self.type[0] == "f"

    def _two(self, real: str, integer: str, left: Any, right: Any) -> Value:
        x, y = self.b.agree(left, right)
        return self.b.emit(x.type, x.lanes, f"{real if x.real else integer} {x}, {y.name}")

    def _test(self, real: str, integer: str, y: Any) -> Value:
        x, y = self.b.agree(self, y)
        return self.b.emit("i1", x.lanes, f"{f'fcmp {real}' if x.real else f'icmp {integer}'} {x}, {y.name}")

    def __add__(self, y: Any) -> Value:
        return self._two("fadd", "add", self, y)

    def __radd__(self, y: Any) -> Value:
        return self._two("fadd", "add", y, self)

    def __sub__(self, y: Any) -> Value:
        return self._two("fsub", "sub", self, y)

    def __rsub__(self, y: Any) -> Value:
        return self._two("fsub", "sub", y, self)

    def __mul__(self, y: Any) -> Value:
        return self._two("fmul", "mul", self, y)

    def __rmul__(self, y: Any) -> Value:
        return self._two("fmul", "mul", y, self)

    def __truediv__(self, y: Any) -> Value:
        return self._two("fdiv", "sdiv", self, y)

    def __rtruediv__(self, y: Any) -> Value:
        return self._two("fdiv", "sdiv", y, self)

    def __neg__(self) -> Value:
        return self.b.emit(self.type, self.lanes, f"fneg {self}") if self.real else 0 - self

    def __and__(self, y: Any) -> Value:
        return self._two("and", "and", self, y)

    def __or__(self, y: Any) -> Value:
        return self._two("or", "or", self, y)

    def __xor__(self, y: Any) -> Value:
        return self._two("xor", "xor", self, y)

    def __invert__(self) -> Value:
        return self ^ (1 if self.type == "i1" else -1)

    def __lshift__(self, y: Any) -> Value:
        return self._two("shl", "shl", self, y)

    def __rshift__(self, y: Any) -> Value:
        """Arithmetic; `b.lshr` fills with zeros."""
        return self._two("ashr", "ashr", self, y)

    def __lt__(self, y: Any) -> Value:
        return self._test("olt", "slt", y)

    def __le__(self, y: Any) -> Value:
        return self._test("ole", "sle", y)

    def __gt__(self, y: Any) -> Value:
        return self._test("ogt", "sgt", y)

    def __ge__(self, y: Any) -> Value:
        return self._test("oge", "sge", y)

    def __eq__(self, y: Any) -> Value:  # type: ignore[override]
        return self._test("oeq", "eq", y)

    def __ne__(self, y: Any) -> Value:  # type: ignore[override]
        return self._test("une", "ne", y)

    __hash__ = object.__hash__


class Builder:
    """Writes the body of one function. `scope` is where lines go; `slots` are stack slots at its entry."""

    def __init__(self, fma: bool = True, scale: bool = False) -> None:
        self.fma_unit, self.scale_unit = fma, scale
        self.scope: list[str] = []
        self.slots: list[str] = []
        self.declared: dict[str, str] = {}
        self.functions: dict[str, str] = {}  # out-of-line code for rare arguments
        self.count = 0

    # ---- plumbing ----

    def fresh(self, stem: str = "t") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def line(self, text: str) -> None:
        self.scope.append("  " + text)

    def emit(self, type: str, lanes: int, text: str) -> Value:
        name = f"%{self.fresh()}"
        self.scope.append(f"  {name} = {text}")
        return Value(self, type, lanes, name)

    def const(self, value: Any, like: Value) -> Value:
        return self.number(value, like.type, like.lanes)

    def number(self, value: Any, type: str, lanes: int = 1) -> Value:
        return Value(self, type, lanes, immediate(type, lanes, value))

    def agree(self, x: Any, y: Any) -> tuple[Value, Value]:
        """Two operands of one type and number of lanes."""
        if not isinstance(x, Value):
            return self.const(x, y), y
        if not isinstance(y, Value):
            return x, self.const(y, x)
        n = max(x.lanes, y.lanes)
        return self.spread(x, n), self.spread(y, n)

    def spread(self, x: Value, n: int) -> Value:
        """The value in every one of n lanes."""
        if x.lanes == n:
            return x
        if x.name[0] != "%":  # an immediate
            return Value(self, x.type, n, f"splat ({spell(x.type, 1)} {x.name})")
        kind = spell(x.type, n)
        one = self.emit(x.type, n, f"insertelement {kind} poison, {x}, i64 0")
        return self.emit(x.type, n, f"shufflevector {one}, {kind} poison, <{n} x i32> zeroinitializer")

    def call(self, type: str, lanes: int, name: str, *args: Any) -> Value:
        """An intrinsic or function, declared at first use; arguments that are text are passed as they are."""
        kinds = [spell(a.type, a.lanes) if isinstance(a, Value) else a.rsplit(" ", 1)[0] for a in args]
        self.declared.setdefault(name, f"declare {spell(type, lanes)} @{name}({', '.join(kinds)})")
        return self.emit(type, lanes, f"call {spell(type, lanes)} @{name}({', '.join(map(str, args))})")

    def suffix(self, x: Value) -> str:
        return x.type if x.lanes == 1 else f"v{x.lanes}{x.type}"

    def unary(self, name: str, x: Value) -> Value:
        return self.call(x.type, x.lanes, f"llvm.{name}.{self.suffix(x)}", x)

    def alloca(self, kind: str, align: int = 64) -> str:
        name = f"%{self.fresh('slot')}"
        self.slots.append(f"  {name} = alloca {kind}, align {align}")
        return name

    # ---- operations ----

    def fma(self, x: Any, y: Any, z: Any) -> Value:
        """x * y + z, rounded once where the machine can."""
        v = next(a for a in (x, y, z) if isinstance(a, Value))
        n = max(a.lanes for a in (x, y, z) if isinstance(a, Value))
        x, y, z = (self.spread(a, n) if isinstance(a, Value) else self.number(a, v.type, n) for a in (x, y, z))
        if not self.fma_unit:
            return x * y + z
        return self.call(x.type, n, f"llvm.fma.{self.suffix(x)}", x, y, z)

    def poly(self, x: Value, coefficients: Any) -> Value:
        """Horner's scheme, highest power first."""
        first, *rest = coefficients
        out: Any = first
        for c in rest:
            out = self.fma(out, x, c)
        return out

    def select(self, c: Value, x: Any, y: Any) -> Value:
        x, y = self.agree(x, y)
        n = max(c.lanes, x.lanes)
        c, x, y = self.spread(c, n), self.spread(x, n), self.spread(y, n)
        return self.emit(x.type, n, f"select {c}, {x}, {y}")

    def abs(self, x: Value) -> Value:
        if x.real:
            return self.unary("fabs", x)
        return self.call(x.type, x.lanes, f"llvm.abs.{self.suffix(x)}", x, "i1 false")

    def sqrt(self, x: Value) -> Value:
        return self.unary("sqrt", x)

    def floor(self, x: Value) -> Value:
        return self.unary("floor", x)

    def ceil(self, x: Value) -> Value:
        return self.unary("ceil", x)

    def trunc(self, x: Value) -> Value:
        return self.unary("trunc", x)

    def rint(self, x: Value) -> Value:
        """To the nearest integer, ties to even."""
        return self.unary("roundeven", x)

    def copysign(self, x: Any, s: Value) -> Value:
        x, s = self.agree(x, s)
        return self.call(x.type, x.lanes, f"llvm.copysign.{self.suffix(x)}", x, s)

    def smaller(self, x: Any, y: Any) -> Value:
        """x < y ? x : y: y where either is NaN."""
        x, y = self.agree(x, y)
        return self.select(x < y, x, y)

    def larger(self, x: Any, y: Any) -> Value:
        """x > y ? x : y: y where either is NaN."""
        x, y = self.agree(x, y)
        return self.select(x > y, x, y)

    def isnan(self, x: Value) -> Value:
        return self.emit("i1", x.lanes, f"fcmp uno {x}, {x.name}")

    def below(self, x: Value, y: Any) -> Value:
        """Unsigned x < y: for an extent, also 0 <= x."""
        x, y = self.agree(x, y)
        return self.emit("i1", x.lanes, f"icmp ult {x}, {y.name}")

    def lshr(self, x: Value, n: Any) -> Value:
        return x._two("lshr", "lshr", x, n)

    def udiv(self, x: Any, y: Any) -> Value:
        x, y = self.agree(x, y)
        return x._two("udiv", "udiv", x, y)

    def urem(self, x: Any, y: Any) -> Value:
        x, y = self.agree(x, y)
        return x._two("urem", "urem", x, y)

    def srem(self, x: Any, y: Any) -> Value:
        x, y = self.agree(x, y)
        return x._two("frem", "srem", x, y)

    def smin(self, x: Any, y: Any) -> Value:
        x, y = self.agree(x, y)
        return self.call(x.type, x.lanes, f"llvm.smin.{self.suffix(x)}", x, y)

    def scaled(self, x: Value, n: Value, where: Value | None = None) -> Value:
        """x * 2**n for a whole n (or the whole number below it), rounded once, and 0 but `where`, for nothing; only where `scale_unit`
        says that there is such an instruction."""
        wide = max(2, 16 // (BITS[INT_OF[x.type]] // 8), x.lanes)  # the narrowest register that has it
        full = min(wide, 512 // BITS[INT_OF[x.type]])
        bits, masks = BITS[INT_OF[x.type]] * full, max(8, full)
        kind = "ps" if x.type == "f32" else "pd"
        zero = f"{spell(x.type, full)} zeroinitializer"
        rounding = ["i32 4"] if bits == 512 else []
        name = f"llvm.x86.avx512.mask.scalef.{kind}.{bits}"
        out = []
        for j in range(0, wide, full):
            mask: Any = f"i{masks} -1"
            if where is not None:
                mask = self.emit(f"i{masks}", 1, f"bitcast {self.part(where, j, masks)} to i{masks}")
            out.append(
                self.call(x.type, full, name, self.part(x, j, full), self.part(n, j, full), zero, mask, *rounding)
            )
        return self.joined(out, x.lanes)

    def whole(self, x: Value) -> bool:
        """Whether x fills registers of AVX-512, for the instructions below; only where `scale_unit`."""
        return self.scale_unit and x.real and x.lanes * BITS[INT_OF[x.type]] % 512 == 0

    def _each(self, word: str, *operands: Value | str) -> Value:
        """An instruction of AVX-512 on each register of its operands, all lanes of which take part."""
        x = next(v for v in operands if isinstance(v, Value))
        full = 512 // BITS[INT_OF[x.type]]
        name = f"llvm.x86.avx512.mask.{word}.{'ps' if x.type == 'f32' else 'pd'}.512"
        out = []
        for j in range(0, x.lanes, full):
            parts = [v if isinstance(v, str) or v.lanes == full else self.part(v, j, full) for v in operands]
            out.append(self.call(x.type, full, name, *parts))
        return self.joined(out, x.lanes)

    def split_exponent(self, x: Value) -> tuple[Value, Value]:
        """(e, m) with |x| == 2**e * |m| and 1 <= |m| < 2, denormals too; only where `whole`."""
        full = 512 // BITS[INT_OF[x.type]]
        zero, every = f"{spell(x.type, full)} zeroinitializer", f"i{full} -1"
        return self._each("getexp", x, zero, every, "i32 4"), self._each("getmant", x, "i32 0", zero, every, "i32 4")

    def repaired(self, y: Value, x: Value, table: int) -> Value:
        """y, but for some kinds of x something else. A digit for each kind, least first: quiet and signaling NaN, zero, one, -inf,
        inf, negative, positive; 0 leaves y, 2 gives x as a NaN, 3 a NaN, 4 -inf, 5 inf. Only where `whole`."""
        full = 512 // BITS[INT_OF[x.type]]
        kinds = self.number(table, INT_OF[x.type], full)
        return self._each("fixupimm", y, x, kinds, "i32 0", f"i{full} -1", "i32 4")

    def lookup(self, table: Sequence[float], i: Value) -> Value:
        """table[i], of 16 or 32 numbers of float32; higher bits of i are not looked at. Only where `scale_unit`."""
        held = [", ".join(f"float {literal('float', v)}" for v in table[n : n + 16]) for n in range(0, len(table), 16)]
        parts = [Value(self, "f32", 16, f"<{numbers}>") for numbers in held]
        wide = -(-i.lanes // 16) * 16
        which = (self.part(i, j, 16) for j in range(0, wide, 16))
        if len(parts) == 1:
            out = [self.call("f32", 16, "llvm.x86.avx512.permvar.sf.512", parts[0], w) for w in which]
        else:
            out = [self.call("f32", 16, "llvm.x86.avx512.vpermi2var.ps.512", parts[0], w, parts[1]) for w in which]
        return self.joined(out, i.lanes)

    def part(self, x: Value, start: int, n: int) -> Value:
        """n lanes from `start` on; those beyond the last are whatever they are."""
        if x.lanes == n and start == 0:
            return x
        if x.lanes == 1:
            return self.spread(x, n)
        return self.shuffle(x, [min(start + i, x.lanes - 1) for i in range(n)])

    def joined(self, parts: list[Value], n: int) -> Value:
        """The first n lanes of several values side by side."""
        while len(parts) > 1:
            w = parts[0].lanes
            parts = [self.shuffle(a, list(range(2 * w)), b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        v = parts[0]
        return v if v.lanes == n else self.lane(v, 0) if n == 1 else self.shuffle(v, list(range(n)))

    # ---- changes of type ----

    def convert(self, code: str, x: Value, type: str) -> Value:
        return self.emit(type, x.lanes, f"{code} {x} to {spell(type, x.lanes)}")

    def bits(self, x: Value) -> Value:
        """A float's bits as an integer."""
        return self.convert("bitcast", x, INT_OF[x.type])

    def from_bits(self, i: Value) -> Value:
        return self.convert("bitcast", i, FLOAT_OF[i.type])

    def widen(self, x: Value) -> Value:
        return x if x.type == "f64" else self.convert("fpext", x, "f64")

    def narrow(self, x: Value) -> Value:
        return x if x.type == "f32" else self.convert("fptrunc", x, "f32")

    def to_float(self, i: Value) -> Value:
        return self.convert("sitofp", i, FLOAT_OF[i.type])

    # ---- across lanes ----

    def iota(self, n: int, type: str = "i64") -> Value:
        if n == 1:
            return self.number(0, type)
        return Value(self, type, n, "<" + ", ".join(f"{type} {i}" for i in range(n)) + ">")

    def flags(self, lanes: list[bool]) -> Value:
        """A truth value for each lane."""
        return Value(self, "i1", len(lanes), "<" + ", ".join(f"i1 {str(bit).lower()}" for bit in lanes) + ">")

    def shuffle(self, x: Value, order: list[int], y: Value | None = None) -> Value:
        kind, n = spell(x.type, x.lanes), len(order)
        other = f"{kind} poison" if y is None else str(y)
        mask = ", ".join(f"i32 {i}" for i in order)
        out = self.emit(x.type, n, f"shufflevector {x}, {other}, <{n} x i32> <{mask}>")
        return out

    def lane(self, x: Value, i: int) -> Value:
        return self.emit(x.type, 1, f"extractelement {x}, i64 {i}") if x.lanes > 1 else x

    def any(self, c: Value) -> Value:
        return c if c.lanes == 1 else self.call("i1", 1, f"llvm.vector.reduce.or.v{c.lanes}i1", c)

    @contextlib.contextmanager
    def when(self, c: Value) -> Iterator[None]:
        """A branch around what is rarely needed; results leave it through `alloca` slots."""
        name = self.fresh("if")
        self.line(f"br {c}, label %{name}.yes, label %{name}.end")
        self.scope.append(f"{name}.yes:")
        yield
        self.line(f"br label %{name}.end")
        self.scope.append(f"{name}.end:")

    def keep(self, v: Value, slot: str | None = None) -> str:
        """Leaves a value in memory, which a branch may write anew."""
        slot = self.alloca(spell(v.type, v.lanes)) if slot is None else slot
        self.line(f"store {v}, ptr {slot}")
        return slot

    def kept(self, like: Value, slot: str) -> Value:
        return self.emit(like.type, like.lanes, f"load {spell(like.type, like.lanes)}, ptr {slot}")

    def rarely(self, c: Value, x: list[Value], usual: Value, function: str) -> Value:
        """`usual` but, in lanes where c, `function` of the scalars x: an out-of-line function called lane by lane."""
        n = usual.lanes
        kind = spell(usual.type, n)
        slot = self.alloca(kind)
        self.line(f"store {usual}, ptr {slot}")
        with self.when(self.any(c)):
            sources = [self.alloca(spell(v.type, n)) for v in x]
            for s, v in zip(sources, x, strict=True):
                self.line(f"store {self.spread(v, n)}, ptr {s}")
            mask = self.alloca(f"[{n} x i8]")
            self.line(f"store {self.convert('zext', self.spread(c, n), 'i8')}, ptr {mask}")
            self.lane_loop(function, spell(usual.type, 1), len(x))
            listed = ", ".join([f"ptr {slot}", f"ptr {mask}", *(f"ptr {s}" for s in sources), f"i64 {n}"])
            self.line(f"call void @{function}.lanes({listed})")
        return self.emit(usual.type, n, f"load {kind}, ptr {slot}")

    def outline(self, name: str, type: str, operands: int, body: Any) -> str:
        """Defines `name(x...)` over scalars, once, as `body(b, x...)`; returns the name."""
        if name not in self.functions:
            self.functions[name] = ""  # being written: it may not call itself
            inner = Builder(self.fma_unit, self.scale_unit)
            inner.declared, inner.functions = self.declared, self.functions
            xs = [Value(inner, type, 1, f"%x{i}") for i in range(operands)]
            result = body(inner, *xs)
            one = spell(type, 1)
            head = f"define internal {one} @{name}({', '.join(map(str, xs))}) noinline cold nounwind {{"
            self.functions[name] = "\n".join([head, "entry:", *inner.slots, *inner.scope, f"  ret {result}", "}"])
        return name

    def lane_loop(self, function: str, one: str, operands: int) -> None:
        """`function.lanes(out, mask, xs..., n)`: out[i] = function(xs[i]...) where mask[i]."""
        name = f"{function}.lanes"
        if name in self.functions:
            return
        params = "".join(f"ptr %x{j}, " for j in range(operands))
        loads = "".join(
            f"  %p{j} = getelementptr {one}, ptr %x{j}, i64 %i\n  %v{j} = load {one}, ptr %p{j}\n"
            for j in range(operands)
        )
        args = ", ".join(f"{one} %v{j}" for j in range(operands))
        self.functions[name] = (
            f"define internal void @{name}(ptr %out, ptr %mask, {params}i64 %n) noinline cold nounwind {{\n"
            "entry:\n  br label %head\nhead:\n  %i = phi i64 [ 0, %entry ], [ %next, %latch ]\n"
            "  %pm = getelementptr i8, ptr %mask, i64 %i\n  %m = load i8, ptr %pm\n  %on = icmp ne i8 %m, 0\n"
            "  br i1 %on, label %do, label %latch\ndo:\n"
            f"{loads}  %r = call {one} @{function}({args})\n"
            f"  %po = getelementptr {one}, ptr %out, i64 %i\n  store {one} %r, ptr %po\n  br label %latch\n"
            "latch:\n  %next = add i64 %i, 1\n  %go = icmp ult i64 %next, %n\n  br i1 %go, label %head, label %exit\n"
            "exit:\n  ret void\n}"
        )
