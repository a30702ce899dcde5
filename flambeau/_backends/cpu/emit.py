"""Write LLVM IR text as Python reads: values with operators, loops and branches with `with`. Not a kernel generator.

The launcher, the thread pool and the contraction templates are hand-written native code; this is the pen they are
written with. A function is written top to bottom, mutable variables are stack slots (LLVM's SROA turns them into
registers), and nothing is checked here: LLVM's verifier does that.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import TypeAlias

Operand: TypeAlias = "V | int | float"


APART = "nounwind noinline"  # inlined into one large function, these would compete for registers and compile slowly


def lane(type: str) -> str:
    """The element type: `float` of `<16 x float>`, and of `float` itself."""
    return type.rpartition(" ")[2].rstrip(">") if type.startswith("<") else type


def lanes(type: str) -> int:
    return int(type[1:].split()[0]) if type.startswith("<") else 1


def vector(type: str, n: int) -> str:
    return f"<{n} x {type}>" if n > 1 else type


def floating(type: str) -> bool:
    return lane(type) in ("half", "bfloat", "float", "double")


WIDTH = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "ptr": 8, "half": 2, "bfloat": 2, "float": 4, "double": 8}


def size(type: str) -> int:
    """Bytes of a type in memory."""
    return WIDTH[lane(type)] * lanes(type)


def literal(type: str, value: float) -> str:
    """A constant as LLVM writes it; floats by their bits, so nothing is rounded twice."""
    kind = lane(type)
    if kind == "ptr":
        text = "null"
    elif not floating(type):
        text = str(int(value))
    elif kind == "half":
        text = f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    elif kind == "bfloat":
        text = f"0xR{struct.unpack('<I', struct.pack('<f', value))[0] >> 16:04X}"
    else:
        value = struct.unpack("<f", struct.pack("<f", value))[0] if kind == "float" else value
        text = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    return text if lanes(type) == 1 else "<" + ", ".join([f"{kind} {text}"] * lanes(type)) + ">"


class V:
    """A value of a function being written. Operators emit instructions; integers are signed."""

    __slots__ = ("fn", "name", "type")

    def __init__(self, fn: Function, type: str, name: str) -> None:
        self.fn, self.type, self.name = fn, type, name

    def __str__(self) -> str:
        return f"{self.type} {self.name}"

    def _binary(self, other: Operand, integer: str, real: str) -> V:
        other = self.fn.value(other, self.type)
        return self.fn.emit(self.type, f"{real if floating(self.type) else integer} {self}, {other.name}")

    def _compare(self, other: Operand, integer: str, real: str) -> V:
        other = self.fn.value(other, self.type)
        code = f"fcmp {real}" if floating(self.type) else f"icmp {integer}"
        return self.fn.emit(vector("i1", lanes(self.type)), f"{code} {self}, {other.name}")

    def __add__(self, other: Operand) -> V:
        if self.type == "ptr":  # byte arithmetic
            return self.fn.gep("i8", self, other)
        return self._binary(other, "add nsw", "fadd")

    __radd__ = __add__

    def __sub__(self, other: Operand) -> V:
        return self._binary(other, "sub nsw", "fsub")

    def __rsub__(self, other: Operand) -> V:
        return self.fn.value(other, self.type) - self

    def __mul__(self, other: Operand) -> V:
        return self._binary(other, "mul nsw", "fmul")

    __rmul__ = __mul__

    def __floordiv__(self, other: Operand) -> V:
        """Quotient of non-negative integers."""
        return self._binary(other, "udiv", "fdiv")

    def __truediv__(self, other: Operand) -> V:
        return self._binary(other, "sdiv", "fdiv")

    def __mod__(self, other: Operand) -> V:
        return self._binary(other, "urem", "frem")

    def __and__(self, other: Operand) -> V:
        return self._binary(other, "and", "and")

    def __or__(self, other: Operand) -> V:
        return self._binary(other, "or", "or")

    def __xor__(self, other: Operand) -> V:
        return self._binary(other, "xor", "xor")

    def __lshift__(self, other: Operand) -> V:
        return self._binary(other, "shl", "shl")

    def __rshift__(self, other: Operand) -> V:
        return self._binary(other, "lshr", "lshr")

    def __lt__(self, other: Operand) -> V:
        return self._compare(other, "slt", "olt")

    def __le__(self, other: Operand) -> V:
        return self._compare(other, "sle", "ole")

    def __gt__(self, other: Operand) -> V:
        return self._compare(other, "sgt", "ogt")

    def __ge__(self, other: Operand) -> V:
        return self._compare(other, "sge", "oge")

    def __eq__(self, other: Operand) -> V:  # type: ignore[override]
        return self._compare(other, "eq", "oeq")

    def __ne__(self, other: Operand) -> V:  # type: ignore[override]
        return self._compare(other, "ne", "une")

    __hash__ = None  # type: ignore[assignment]


class Variable:
    """A mutable stack slot; `get` and `set`."""

    __slots__ = ("fn", "slot", "type")

    def __init__(self, fn: Function, type: str, slot: V) -> None:
        self.fn, self.type, self.slot = fn, type, slot

    def get(self) -> V:
        return self.fn.load(self.type, self.slot)

    def set(self, value: Operand) -> None:
        self.fn.store(self.fn.value(value, self.type), self.slot)


class Function:
    """One function definition. `Function(module, "void k(ptr args, i64 begin)")` names its parameters."""

    def __init__(self, module: Module, signature: str, attributes: str = "nounwind") -> None:
        head, _, tail = signature.partition("(")
        linkage, _, name = head.strip().rpartition(" ")
        self.module, self.name, self.returns = module, name, linkage.split()[-1]
        names = [p.strip().rsplit(" ", 1) for p in tail.rstrip(") ").split(",") if p.strip()]
        self.params = tuple(
            V(self, type.split()[0] if not type.startswith("<") else type, "%" + n) for type, n in names
        )
        listed = ", ".join(f"{t} %{n}" for t, n in names)
        self.head = f"define {linkage} @{name}({listed}) {attributes} {{"
        self.slots: list[str] = []
        self.lines: list[str] = []
        self.count = 0
        self.closed = False  # the current block has ended
        module.functions.append(self)

    # -- plumbing ---------------------------------------------------------------------------------------------------

    def fresh(self, stem: str = "t") -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def do(self, text: str) -> None:
        if not self.closed:
            self.lines.append("  " + text)

    def emit(self, type: str, text: str) -> V:
        name = "%" + self.fresh()
        self.do(f"{name} = {text}")
        return V(self, type, name)

    def value(self, x: Operand, type: str) -> V:
        return x if isinstance(x, V) else V(self, type, literal(type, x))

    def label(self, name: str) -> None:
        if not self.closed:
            self.lines.append(f"  br label %{name}")
        self.lines.append(f"{name}:")
        self.closed = False

    def jump(self, name: str) -> None:
        self.do(f"br label %{name}")
        self.closed = True

    def branch(self, cond: V, yes: str, no: str) -> None:
        self.do(f"br {cond}, label %{yes}, label %{no}")
        self.closed = True

    def ret(self, value: Operand | None = None) -> None:
        self.do("ret void" if value is None else f"ret {self.value(value, self.returns)}")
        self.closed = True

    # -- memory -----------------------------------------------------------------------------------------------------

    def gep(self, type: str, p: V, index: Operand) -> V:
        return self.emit("ptr", f"getelementptr {type}, {p}, {self.value(index, 'i64')}")

    def load(self, type: str, p: V, index: Operand | None = None, align: int | None = None, tail: str = "") -> V:
        """The value of `type` at p, or at the index-th element (of the vector's lane type) past p."""
        p = p if index is None else self.gep(lane(type), p, index)
        return self.emit(type, f"load {type}, {p}, align {align or WIDTH[lane(type)]}{tail}")

    def store(self, value: V, p: V, index: Operand | None = None, align: int | None = None, tail: str = "") -> None:
        p = p if index is None else self.gep(lane(value.type), p, index)
        self.do(f"store {value}, {p}, align {align or WIDTH[lane(value.type)]}{tail}")

    def mload(self, type: str, p: V, mask: V) -> V:
        """Masked load; lanes that are off read 0 and touch no memory."""
        if lane(type) == "bfloat":  # machines without bfloat16 would move it by way of float
            return self.convert("bitcast", self.mload(vector("i16", lanes(type)), p, mask), type)
        kind = suffix(type)
        align = self.value(WIDTH[lane(type)], "i32")
        zero = V(self, type, "zeroinitializer")
        return self.call(type, f"llvm.masked.load.{kind}.p0", p, align, mask, zero)

    def mstore(self, value: V, p: V, mask: V) -> None:
        if lane(value.type) == "bfloat":
            value = self.convert("bitcast", value, vector("i16", lanes(value.type)))
        kind = suffix(value.type)
        align = self.value(WIDTH[lane(value.type)], "i32")
        self.call("void", f"llvm.masked.store.{kind}.p0", value, p, align, mask)

    def get(self, type: str, p: V, mask: V | None) -> V:
        """A load, masked where there is a mask."""
        return self.load(type, p) if mask is None else self.mload(type, p, mask)

    def put(self, value: V, p: V, mask: V | None) -> None:
        """A store, masked where there is a mask."""
        self.store(value, p) if mask is None else self.mstore(value, p, mask)

    def prefetch(self, p: V, write: bool = False, level: int = 1) -> None:
        """Asks for a line of memory to be in a cache soon, maybe to `write` it; any address will do."""
        self.module.declare("void", "llvm.prefetch.p0", ["ptr", "i32", "i32", "i32"])
        self.do(f"call void @llvm.prefetch.p0({p}, i32 {int(write)}, i32 {4 - level}, i32 1)")

    def alloca(self, type: str, count: int = 1, align: int = 8) -> V:
        name = "%" + self.fresh("slot")
        self.slots.append(f"  {name} = alloca {type}, i64 {count}, align {align}")
        return V(self, "ptr", name)

    def var(self, type: str, init: Operand | None = None) -> Variable:
        v = Variable(self, type, self.alloca(type, align=max(8, size(type))))
        if init is not None:
            v.set(init)
        return v

    # -- operations -------------------------------------------------------------------------------------------------

    def call(self, type: str, name: str, *args: V) -> V:
        """Calls a function of this module, an intrinsic, or a symbol the engine imports (declared on first use)."""
        self.module.declare(type, name, [a.type for a in args])
        listed = ", ".join(str(a) for a in args)
        if type == "void":
            self.do(f"call void @{name}({listed})")
            return V(self, "void", "")
        return self.emit(type, f"call {type} @{name}({listed})")

    def call_pointer(self, type: str, f: V, *args: V) -> V:
        listed = ", ".join(str(a) for a in args)
        if type == "void":
            self.do(f"call void {f.name}({listed})")
            return V(self, "void", "")
        return self.emit(type, f"call {type} {f.name}({listed})")

    def select(self, cond: V, a: Operand, b: Operand, type: str | None = None) -> V:
        type = type or (a.type if isinstance(a, V) else b.type)  # type: ignore[union-attr]
        a, b = self.value(a, type), self.value(b, type)
        return self.emit(type, f"select {cond}, {a}, {b}")

    def min(self, a: V, b: Operand) -> V:
        return self.call(a.type, f"llvm.smin.{suffix(a.type)}", a, self.value(b, a.type))

    def max(self, a: V, b: Operand) -> V:
        return self.call(a.type, f"llvm.smax.{suffix(a.type)}", a, self.value(b, a.type))

    def convert(self, code: str, x: V, type: str) -> V:
        return self.emit(type, f"{code} {x} to {type}")

    def splat(self, x: V, n: int) -> V:
        if n == 1:
            return x
        type = vector(x.type, n)
        one = self.emit(type, f"insertelement {type} poison, {x}, i64 0")
        return self.emit(type, f"shufflevector {one}, {type} poison, <{n} x i32> zeroinitializer")

    def shuffle(self, a: V, b: V, order: list[int]) -> V:
        mask = ", ".join(f"i32 {i}" for i in order)
        return self.emit(vector(lane(a.type), len(order)), f"shufflevector {a}, {b}, <{len(order)} x i32> <{mask}>")

    def fma(self, a: V, b: V, c: V) -> V:
        """a * b + c, rounded once where it is floating."""
        if not floating(a.type):
            return a * b + c
        return self.call(a.type, f"llvm.fma.{suffix(a.type)}", a, b, c)

    def lane_mask(self, n: int, count: V) -> V:
        """<n x i1>: lane i is on where i < count."""
        steps = V(self, f"<{n} x i64>", "<" + ", ".join(f"i64 {i}" for i in range(n)) + ">")
        return steps < self.splat(count, n)

    # -- control ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def loop(self, begin: Operand, end: Operand, step: Operand = 1) -> Iterator[V]:
        """for i in range(begin, end, step), with a positive step."""
        n = self.fresh("loop")
        counter = self.var("i64", begin)
        self.label(f"{n}.head")
        i = counter.get()
        self.branch(i < self.value(end, "i64"), f"{n}.body", f"{n}.done")
        self.label(f"{n}.body")
        yield i
        counter.set(i + step)
        if not self.closed:
            self.jump(f"{n}.head")
        self.label_after(f"{n}.done")

    @contextlib.contextmanager
    def forever(self) -> Iterator[str]:
        """while True; leave with `jump(name)` of the yielded label."""
        n = self.fresh("loop")
        self.label(f"{n}.head")
        yield f"{n}.done"
        self.jump(f"{n}.head") if not self.closed else None
        self.label_after(f"{n}.done")

    @contextlib.contextmanager
    def when(self, cond: V) -> Iterator[None]:
        n = self.fresh("if")
        self.branch(cond, f"{n}.then", f"{n}.end")
        self.label_after(f"{n}.then")
        yield
        if not self.closed:
            self.jump(f"{n}.end")
        self.label_after(f"{n}.end")

    @contextlib.contextmanager
    def either(self, cond: V) -> Iterator[Otherwise]:
        """with f.either(c) as orelse: ...; orelse(); ..."""
        n = self.fresh("if")
        self.branch(cond, f"{n}.then", f"{n}.else")
        self.label_after(f"{n}.then")
        yield Otherwise(self, n)
        if not self.closed:
            self.jump(f"{n}.end")
        self.label_after(f"{n}.end")

    def label_after(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.closed = False

    def __str__(self) -> str:
        end = [] if self.closed else ["  ret void"]
        return "\n".join([self.head, "entry:", *self.slots, *self.lines, *end, "}"])


class Otherwise:
    """Ends the first arm of `either` and begins the second."""

    def __init__(self, fn: Function, name: str) -> None:
        self.fn, self.name = fn, name

    def __call__(self) -> None:
        if not self.fn.closed:
            self.fn.jump(f"{self.name}.end")
        self.fn.label_after(f"{self.name}.else")


class Words:
    """A kernel's arguments by name."""

    def __init__(self, f: Function, pointers: str, numbers: str) -> None:
        names = [*pointers.split(), *numbers.split()]
        self.all = {
            name: f.load("ptr" if i < len(pointers.split()) else "i64", f.gep("i64", f.params[0], i))
            for i, name in enumerate(names)
        }

    def __getitem__(self, name: str) -> V:
        return self.all[name]


def atomic_add(f: Function, p: V, value: int, type: str = "i64") -> V:
    """Adds to a word that other threads change too; the old value."""
    return f.emit(type, f"atomicrmw add {p}, {f.value(value, type)} seq_cst")


SHORT = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}


def suffix(type: str) -> str:
    """How intrinsics name a type: `f32`, `v16f32`, `i64`."""
    kind = SHORT.get(lane(type), lane(type))
    return kind if lanes(type) == 1 else f"v{lanes(type)}{kind}"


class Module:
    """Functions and the declarations they need; `str(module)` is the IR text.

    `rounds_bfloat`: the machine has an instruction that rounds to bfloat16; without one LLVM would call a routine.
    """

    def __init__(self, name: str, rounds_bfloat: bool = True) -> None:
        self.name, self.rounds_bfloat = name, rounds_bfloat
        self.functions: list[Function] = []
        self.declared: dict[str, str] = {}
        self.globals: list[str] = []

    def function(self, signature: str, attributes: str = "nounwind") -> Function:
        return Function(self, signature, attributes)

    def declare(self, type: str, name: str, args: list[str]) -> None:
        self.declared.setdefault(name, f"declare {type} @{name}({', '.join(args)})")

    def external(self, f: Function, name: str) -> V:
        """The address of a foreign object."""
        self.declared.setdefault(name, f"@{name} = external global i8")
        return V(f, "ptr", f"@{name}")

    @property
    def imports(self) -> list[str]:
        """Names that the engine must supply."""
        own = {f.name for f in self.functions}
        return [n for n in self.declared if n not in own and not n.startswith("llvm.")]

    def __str__(self) -> str:
        own = {f.name for f in self.functions}
        heads = [d for n, d in self.declared.items() if n not in own]
        return "\n".join([f"; {self.name}", *self.globals, *heads, *(str(f) for f in self.functions)]) + "\n"
