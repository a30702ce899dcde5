"""Kernels -> LLVM IR text, for any CPU target. Knows no array, no thread and no cache.

The native signature of every kernel (the contract with launch, threads and cache):

    void k(ptr args, i64 begin, i64 end, ptr scratch)

- `args` points to 8-byte slots, in the order of the kernel's own fields:
    1. one slot per `kernel.buffers`: the address of the view's first element (index 0 in every dimension, whatever the
       signs of the strides). Outputs come first. A buffer of kind "scalar" holds the value itself, as the bits of a
       float64 (floating dtypes) or an int64 (integers, bool), so that Python numbers need no array;
    2. one slot per `kernel.sizes`: extents and strides (in elements, not bytes) as int64, from the binding.
    3. two slots more: rows per chunk, columns per chunk (int64), from the binding (`Launch.grain`).
- `begin`, `end` are a range of chunks out of `Launch.chunks`. Chunks are cut by size alone, never by the number of
  threads; each writes elements no other chunk writes, so any partition of range(chunks) over any threads, in any
  order, gives the same bits. `begin == end` is allowed and does nothing.
- `scratch` is private to the call: at least `Launch.scratch` bytes, aligned to 64; may be null when that is 0. Nothing
  in it survives the call.

A kernel never calls back, allocates, raises or touches thread-local state, and may run without the GIL. Several
launches of one program run in order: all chunks of one end before the next begins (partial results of a reduction are
combined by a second, small launch in a fixed order). An output may be the very same view as an input (in-place);
other overlap is the caller's business to avoid. Buffers need only the alignment of their element.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flambeau._backends.cpu import squares, words
from flambeau._backends.cpu.lanes import Builder, Value, immediate, spell
from flambeau._kernel.index import At, Axis, Div, Index, Mod, Size, Span
from flambeau._kernel.ir import (
    COSTLY,
    HALVES,
    Kernel,
    Scalar,
    Stage,
    Store,
    Update,
    identity,
    scanned,
    unguarded,
    walk,
)
from flambeau._kernel.schedule import NEAR, TILE, accesses, along


@dataclass(frozen=True)
class Machine:
    """What generation depends on: bytes of a vector register, and which operations are one instruction."""

    vector: int = 32
    fma: bool = True
    scale: bool = False  # whether x * 2**n is one instruction, of AVX-512
    registers: int = 16  # for vectors


@dataclass
class Scope:
    """A stretch of code: its lines, what it has computed, and the axes and accumulators it binds."""

    lines: list[str] = field(default_factory=list)
    memo: dict[tuple[Scalar, str], Value] = field(default_factory=dict)
    shadowed: dict[str, Any] = field(default_factory=dict)


def lanes_for(kernel: Kernel, machine: Machine) -> int:
    """How many elements are computed side by side: a register's worth of the widest dtype in the arithmetic."""
    if not kernel.vector:
        return 1
    if kernel.tile:
        return squares.SIDE
    nodes = walk(*(b.value for s in kernel.stages for b in s.body))
    used = [e.dtype for e in nodes] + ["float32" if b.dtype in HALVES else b.dtype for b in kernel.buffers]
    widest = max(
        4 if dtype == "int64" else words.BYTES[dtype] for dtype in used
    )  # int64 is mostly an index: two registers
    along = all(a.name != kernel.vector for a in kernel.outer)
    vector = min(machine.vector, SCANNED) if along and any(map(scanned, kernel.stages)) else machine.vector
    return max(2, vector // widest)


def cost(*stages: Stage) -> int:
    nodes = walk(*(b.value for s in stages for b in s.body))
    return sum(12 if e.op in COSTLY else 1 for e in nodes if e.op not in ("const", "acc"))


def copies_for(price: int) -> int:
    """How many vectors a step takes: where it is short, several, so that results need not wait for one another."""
    return 4 if price <= 10 else 2 if price <= 40 else 1


SCANNED = 32  # bytes of a vector whose lanes take in one another: twice as many take a round more, of shuffles across the halves
MANY = 32  # vector registers, of which two vectors' chains of work may be held at once
BARE = 2  # what a step of a reduction costs that does little but read: its columns are walked in strips twice as wide


def generate(kernel: Kernel, machine: Machine, name: str = "k") -> str:
    """The kernel as a module of LLVM IR text that defines `name`."""
    return Writer(kernel, machine, name).module()


class Writer:
    def __init__(self, kernel: Kernel, machine: Machine, name: str) -> None:
        self.kernel, self.name = kernel, name
        self.b = Builder(machine.fma, machine.scale)
        self.registers = machine.registers
        self.lanes = lanes_for(kernel, machine)
        self.unroll = copies_for(cost(*kernel.stages))
        self.strips = 1  # how many times the lanes columns are walked by, as long as these are whole
        self.outer_vector = any(a.name == kernel.vector for a in kernel.outer)
        reduces = any(isinstance(b, Update) for s in kernel.stages for b in s.body)
        spaced = any(
            a.kind == "load" and a.index.coefficient(kernel.vector) in range(2, NEAR + 1) for a in accesses(kernel)
        )
        if self.outer_vector and reduces and not spaced:  # columns side by side: their sums wait for one another
            self.lanes, self.unroll = self.lanes * self.unroll, 1
            self.strips = 2 if cost(*kernel.stages) <= BARE and all(b.role != "row" for b in kernel.buffers) else 1
        self.vector = (
            kernel.vector if self.outer_vector else ""
        )  # the axis along which the lanes lie: an outer one, or the stage's
        self.scopes: list[Scope] = []
        self.where: dict[str, int] = {}  # axis or accumulator -> depth of the scope that binds it
        self.bound: dict[str, Value] = {}  # axis -> scalar index of the first lane; accumulator -> value
        self.mask: Value | None = None  # the lanes that exist, in the last step along the vector axis
        self.guard: Value | None = None  # the lanes whose reads are in bounds
        self.guard_depth = 0
        self.roles = {b.name: b for b in kernel.buffers}
        self.squares: dict[Scalar, str] = {}  # transposed loads -> where their squares lie, by rows
        self.first_row: Value | None = None
        self.pointers: dict[str, Value] = {}
        self.sizes: dict[str, Value] = {}

    # ---- scopes ----

    @contextlib.contextmanager
    def block(self, **bind: Value) -> Iterator[Scope]:
        """A new scope in line with its parent."""
        scope = Scope()
        for n, v in bind.items():
            scope.shadowed[n] = self.where.get(n), self.bound.get(n)
            self.where[n], self.bound[n] = len(self.scopes), v
        self.scopes.append(scope)
        saved, self.b.scope = self.b.scope, scope.lines
        yield scope
        self.scopes.pop()
        self.b.scope = saved
        saved.extend(scope.lines)
        for n, (depth, v) in scope.shadowed.items():
            if depth is None:
                self.where.pop(n)
                self.bound.pop(n)
            else:
                self.where[n], self.bound[n] = depth, v

    @contextlib.contextmanager
    def loop(self, axis: str, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """for axis in range(start, stop, step)."""
        b, n = self.b, self.b.fresh("loop")
        i = Value(b, "i64", 1, f"%{n}.i")
        head = [f"  br label %{n}.pre", f"{n}.pre:", f"  br label %{n}.head", f"{n}.head:",
                f"  {i.name} = phi i64 [ {start.name}, %{n}.pre ], [ {i.name}n, %{n}.latch ]",
                f"  {i.name}c = icmp slt i64 {i.name}, {stop.name}",
                f"  br i1 {i.name}c, label %{n}.body, label %{n}.done", f"{n}.body:"]  # fmt: skip
        with self.block(**{axis: i}) as scope:
            yield i
            scope.lines[:0] = head  # last, so that what was put before the loop stays before it
            scope.lines += [f"  br label %{n}.latch", f"{n}.latch:", f"  {i.name}n = add nsw i64 {i.name}, {step}",
                            f"  br label %{n}.head", f"{n}.done:"]  # fmt: skip

    def depth(self, variables: Any) -> int:
        return max((self.where[v] for v in variables), default=0)

    @contextlib.contextmanager
    def at(self, depth: int) -> Iterator[None]:
        """Lines go to an enclosing scope: before the loops inside it."""
        saved, self.b.scope = self.b.scope, self.scopes[depth].lines
        yield
        self.b.scope = saved

    def bind(self, name: str, v: Value) -> None:
        """An accumulator's result, known from here to the end of the scope."""
        self.scopes[-1].shadowed.setdefault(name, (self.where.get(name), self.bound.get(name)))
        self.where[name], self.bound[name] = len(self.scopes) - 1, v

    # ---- sizes and indices ----

    def size(self, n: Size) -> Value:
        return self.b.number(n, "i64") if isinstance(n, int) else self.sizes[n]

    def extent(self, n: Size | Span) -> Value:
        if not isinstance(n, Span):
            return self.size(n)
        with self.at(self.depth((n.axis,))):
            start = self.bound[n.axis] * self.size(n.size)
            return self.b.smin(self.size(n.size), self.size(n.total) - start)

    def varies(self, variables: Any) -> bool:
        if self.lanes == 1:
            return False
        return self.vector in variables or (self.outer_vector and any(v.startswith("acc") for v in variables))

    def index(self, i: Index, lanes: bool = False) -> Value:
        """The index as i64: of the first lane, or of every lane. Sums grow from the outermost scope inwards."""
        total: Value | None = None if i.const == 0 else self.size(i.const)
        deep = 0
        terms = [(self.deep(a), a, c) for a, c in i.terms]
        for d, a, c in sorted(terms, key=lambda t: t[0]):
            deep = max(deep, d)
            with self.at(d):
                v = self.atom(a, lanes)
                v = v if c == 1 else v * self.size(c)
            with self.at(deep):
                total = v if total is None else total + v
        return self.b.number(0, "i64") if total is None else total

    def atom(self, a: Any, lanes: bool) -> Value:
        match a:
            case Axis():
                v = self.bound[a.name]
                if lanes and self.varies((a.name,)):
                    return v + self.b.iota(self.lanes)
                return v
            case At():
                return self.convert64(self.value(a.value), a.value.dtype)
        inner = self.index(a.index, lanes)
        by = self.size(a.by)  # floor division: the index may be negative where a guard will mask it
        q, r = inner / by, self.b.srem(inner, by)
        if isinstance(a, Div):
            return self.b.select(r < 0, q - 1, q)
        return self.b.select(r < 0, r + by, r)

    def convert64(self, v: Value, dtype: str) -> Value:
        if v.type == "i64":
            return v
        return self.b.convert("zext" if dtype.startswith(("u", "b")) else "sext", v, "i64")

    # ---- memory ----

    def active(self, lanes: int) -> Value | None:
        """The mask of a memory access with so many lanes."""
        mask = self.mask if lanes > 1 else None
        if self.guard is None:
            return mask
        guard = (
            self.guard
            if lanes == self.guard.lanes
            else self.b.spread(self.guard, lanes)
            if lanes > 1
            else self.b.any(self.guard)
        )
        return guard if mask is None else guard & mask

    def address(self, name: str, i: Index, loading: bool = False) -> tuple[str, Value, int]:
        """(kind, pointer, step): one element, lanes side by side, in reverse, every few elements, or a vector of pointers."""
        role = self.roles[name]
        kind, base = words.MEMORY[role.dtype], self.pointers[name]
        vector = self.vector
        if role.role == "row" and self.outer_vector and self.lanes > 1:
            v = self.index(i) * self.lanes
            return "lanes", self.gep(kind, base, v, i), 1
        if not self.varies(i.variables):
            return "one", self.gep(kind, base, self.index(i), i), 0
        steady = all(isinstance(x, Axis) or not self.varies(_names(x)) for x, _ in i.terms)  # but for the axis itself
        c = i.coefficient(vector) if steady else None
        if c == 1 or c == -1:
            at = self.index(i)
            if c == -1:
                at = at - (self.lanes - 1)
            return ("lanes" if c == 1 else "reverse"), self.gep(kind, base, at, i), 1
        if loading and isinstance(c, int) and 1 < c <= NEAR and c * self.lanes * words.BYTES[role.dtype] <= 512:
            return "every", self.gep(kind, base, self.index(i), i), c
        offsets = self.index(i, lanes=True)
        p = self.b.emit("ptr", self.lanes, f"getelementptr {kind}, {base}, {offsets}")
        return "scatter", p, 0

    def gep(self, kind: str, base: Value, v: Value, i: Index) -> Value:
        with self.at(max((self.deep(a) for a, _ in i.terms), default=0)):
            return self.b.emit("ptr", 1, f"getelementptr {kind}, {base}, {v}")

    def deep(self, a: Any) -> int:
        """The outermost scope that knows a term of an index; what is gathered is read where the guard is known."""
        d = self.depth(_names(a))
        return max(d, self.guard_depth) if self.guard is not None and gathers(a) else d

    def load(self, e: Scalar) -> Value:
        name, i = e.arg
        role, b = self.roles[name], self.b
        if role.role == "scalar":
            return self.pointers[name]
        if e in self.squares:
            return squares.row(self, e)
        how, p, step = self.address(name, i, loading=True)
        kind, size, n = words.MEMORY[role.dtype], words.BYTES[role.dtype], 1 if how == "one" else self.lanes
        mask = self.active(n)
        vec = spell(kind, n)
        type = words.MEMORY_TYPES.get(kind, kind)
        if how == "one":
            if mask is not None:
                p = b.emit("ptr", 1, f"select {mask}, {p}, ptr @zeros")
            v = b.emit(type, 1, f"load {kind}, {p}, align {size}")
        elif how == "scatter":
            m = mask if mask is not None else b.number(1, "i1", n)
            v = b.call(type, n, f"llvm.masked.gather.v{n}{type}.v{n}p0", p, f"i32 {size}", m, f"{vec} zeroinitializer")
        elif how == "every":
            wide = n * step
            lanes = b.spread(mask if mask is not None else b.number(1, "i1"), n)
            spaced = b.shuffle(lanes, [j // step if j % step == 0 else n for j in range(wide)], b.number(0, "i1", n))
            zero = f"{spell(kind, wide)} zeroinitializer"
            v = b.call(type, wide, f"llvm.masked.load.v{wide}{type}.p0", p, f"i32 {size}", spaced, zero)
            v = b.shuffle(v, list(range(0, wide, step)))
        elif mask is None or role.role == "row":
            v = b.emit(type, n, f"load {vec}, {p}, align {size}")
        else:
            if how == "reverse":
                mask = b.shuffle(mask, list(range(n))[::-1])
            v = b.call(type, n, f"llvm.masked.load.v{n}{type}.p0", p, f"i32 {size}", mask, f"{vec} zeroinitializer")
        if how == "reverse":
            v = b.shuffle(v, list(range(n))[::-1])
        return words.from_memory(b, v, role.dtype)

    def store(self, s: Store) -> None:
        role, b = self.roles[s.buffer], self.b
        v = words.to_memory(b, self.value(s.value), role.dtype)
        how, p, _ = self.address(s.buffer, s.index)
        size, n = words.BYTES[role.dtype], 1 if how == "one" else self.lanes
        type = v.type
        if how == "one":
            b.line(f"store {v}, {p}, align {size}")
            return
        v, mask = b.spread(v, n), self.active(n)
        if how == "reverse":
            v = b.shuffle(v, list(range(n))[::-1])
            mask = b.shuffle(mask, list(range(n))[::-1]) if mask is not None else None
        if how == "scatter":
            m = mask if mask is not None else b.number(1, "i1", n)
            name = f"llvm.masked.scatter.v{n}{type}.v{n}p0"
            b.declared.setdefault(name, f"declare void @{name}({spell(type, n)}, <{n} x ptr>, i32, <{n} x i1>)")
            b.line(f"call void @{name}({v}, {p}, i32 {size}, {m})")
        elif mask is None or role.role == "row":
            b.line(f"store {v}, {p}, align {size}")
        else:
            name = f"llvm.masked.store.v{n}{type}.p0"
            b.declared.setdefault(name, f"declare void @{name}({spell(type, n)}, ptr, i32, <{n} x i1>)")
            b.line(f"call void @{name}({v}, {p}, i32 {size}, {mask})")

    # ---- values ----

    def value(self, e: Scalar) -> Value:
        """Computes a node once, in the outermost scope that knows what it depends on."""
        if e.op == "acc":
            return self.bound[e.arg]
        if e.op == "const" and not isinstance(e.arg, str):
            return self.b.number(e.arg, words.TYPES[e.dtype])
        key = (e, "" if self.guard is None else self.guard.name)
        for scope in reversed(self.scopes):
            if key in scope.memo:
                return scope.memo[key]
        d = self.depth(e.variables)
        if self.guard is not None:
            d = max(d, self.guard_depth)
        with self.at(d):
            v = self.compute(e)
        self.scopes[d].memo[key] = v
        return v

    def compute(self, e: Scalar) -> Value:
        match e.op:
            case "load":
                return self.load(e)
            case "index":
                return self.index(e.arg, lanes=True)
            case "const":
                return words.cast(self.b, self.size(e.arg), "int64", e.dtype)
            case "guard":
                return self.guarded(e)
        return words.word(self.b, e, [self.value(s) for s in e.src])

    def guarded(self, e: Scalar) -> Value:
        b = self.b
        test: Value | None = None
        # The test stands where its own indices are known: what it guards may, too.
        deep = max((self.deep(a) for i, _ in e.arg for a, _ in i.terms), default=0)
        deep = deep if self.guard is None else max(deep, self.guard_depth)
        saved = self.guard, self.guard_depth
        with self.at(deep):
            for i, n in e.arg:
                inside = b.below(self.index(i, lanes=True), self.size(n))
                if test is None:
                    test = inside
                else:
                    test, inside = b.agree(test, inside)
                    test = test & inside
            assert test is not None
            both = test
            if self.guard is not None:
                x, y = b.agree(self.guard, test)
                both = x & y
        other = self.value(e.src[1])
        self.guard, self.guard_depth = both, deep
        v = self.value(e.src[0])
        self.guard, self.guard_depth = saved
        return b.select(test, v, other)

    # ---- stages ----

    def stage(self, s: Stage) -> None:
        updates = [b for b in s.body if isinstance(b, Update)]
        if not self.outer_vector:
            self.vector = along(s, self.kernel.vector)
        inner = self.lanes > 1 and not self.outer_vector and any(a.name == self.vector for a in s.axes)
        wide = self.lanes if inner or self.outer_vector else 1
        running = scanned(s)
        copies = copies_for(cost(s)) if inner and not running else 1
        slots: dict[str, list[str]] = {}
        for u in updates:
            type = words.TYPES[u.value.dtype]
            start = immediate(type, wide, identity(u.op, u.value.dtype))
            slots[u.acc] = [self.b.alloca(spell(type, wide)) for _ in range(copies)]
            for slot in slots[u.acc]:
                self.b.line(f"store {spell(type, wide)} {start}, ptr {slot}")
        with contextlib.ExitStack() as loops:
            axes = s.axes[:-1] if inner else s.axes
            for a in axes:
                loops.enter_context(self.loop(a.name, self.b.number(0, "i64"), self.extent(a.extent)))
            if inner:
                axis = s.axes[-1]
                self.steps(
                    axis.name,
                    self.b.number(0, "i64"),
                    self.extent(axis.extent),
                    lambda i: self.body(s, slots, i, wide),
                    copies,
                    0 if not isinstance(axis.extent, Span) else self.depth((axis.extent.axis,)),
                )
            else:
                self.body(s, slots, 0, wide)
        for u in updates:
            self.bind(u.acc, self.combined(u, slots[u.acc], inner and not running, wide))
        if not self.outer_vector:
            self.vector = ""

    def steps(self, axis: str, start: Value, stop: Value, body: Any, unroll: int, deep: int | None = None) -> None:
        """Walks an axis by whole vectors, `unroll` at a time, then one at a time, then the lanes that are left.

        Where they end is computed once, in the scope `deep` that knows start and stop.
        """
        b, w = self.b, self.lanes
        done, deep = start, len(self.scopes) - 1 if deep is None else deep
        for copies in (unroll, 1) if unroll > 1 else (1,):
            step = w * copies
            with self.at(deep):
                end = done + b.udiv(stop - done, step) * step
            with self.loop(axis, done, end, step) as i:
                if copies == 1:
                    body(0)
                else:
                    self.abreast(axis, [i + u * w for u in range(copies)], body)
            done = end
        with self.loop(axis, done, stop, w) as i:
            left = b.convert("trunc", stop - i, "i32")
            self.mask = b.iota(w, "i32") < left
            body(0)
            self.mask = None

    def abreast(self, axis: str, starts: Sequence[Value], body: Any) -> None:
        """A copy of the body from each start on, a line of each in turn: none waits for what another computes.

        Where there are branches, or few registers, one after the other."""
        lines, copies = self.scopes[-1].lines, []
        for u, start in enumerate(starts):
            first = len(lines)
            with self.block(**{axis: start}):
                body(u)
            copies.append(lines[first:])
            del lines[first:]
        if self.registers < MANY or any(not text.startswith("  ") or text.startswith("  br ") for text in copies[0]):
            lines += itertools.chain(*copies)
        else:
            lines += (text for texts in itertools.zip_longest(*copies) for text in texts if text)

    def body(self, s: Stage, slots: Mapping[str, list[str]], copy: int, wide: int) -> None:
        b, running = self.b, scanned(s)
        for st in s.body:
            for e in unguarded(st.value):  # in order, so that no chain is too long for Python's stack
                self.value(e)
            if isinstance(st, Store):
                self.store(st)
                continue
            v = b.spread(self.value(st.value), wide)
            slot = slots[st.acc][copy]
            kind = spell(v.type, wide)
            old = b.emit(v.type, wide, f"load {kind}, ptr {slot}")
            if running and wide > 1 and not self.outer_vector:
                v = self.prefix(st, v)
                last = b.shuffle(v, [wide - 1] * wide)  # the next step waits for no more than one fold of these
                b.line(f"store {words.fold(b, st.op, old, last, st.value.dtype)}, ptr {slot}")
                self.bind(st.acc, words.fold(b, st.op, old, v, st.value.dtype))
                continue
            new = words.fold(b, st.op, old, v, st.value.dtype)
            if self.mask is not None and not self.outer_vector and wide > 1:
                new = b.select(self.mask, new, old)
            b.line(f"store {new}, ptr {slot}")
            self.bind(st.acc, new)  # a running value, for what follows in this step

    def prefix(self, u: Update, v: Value) -> Value:
        """Running folds of the lanes: of each 2, 4, 8... the second half takes in the last lane of the first."""
        b, n = self.b, v.lanes
        if self.mask is not None:
            v = b.select(self.mask, v, b.number(identity(u.op, u.value.dtype), v.type, n))
        half = 1
        while half < n:
            last = b.shuffle(v, [i // (2 * half) * 2 * half + half - 1 for i in range(n)])
            second = b.flags([i & half != 0 for i in range(n)])
            v = b.select(second, words.fold(b, u.op, last, v, u.value.dtype), v)
            half *= 2
        return v

    def combined(self, u: Update, slots: list[str], inner: bool, wide: int) -> Value:
        """The copies, then the lanes, folded in a fixed order: halves onto halves."""
        b, type = self.b, words.TYPES[u.value.dtype]
        parts = [b.emit(type, wide, f"load {spell(type, wide)}, ptr {slot}") for slot in slots]
        while len(parts) > 1:
            parts = [words.fold(b, u.op, x, y, u.value.dtype) for x, y in zip(parts[::2], parts[1::2], strict=True)]
        v = parts[0]
        if inner:
            n = wide
            while n > 2:
                n //= 2
                v = words.fold(
                    b, u.op, b.shuffle(v, list(range(n))), b.shuffle(v, list(range(n, 2 * n))), u.value.dtype
                )
            v = words.fold(b, u.op, b.lane(v, 0), b.lane(v, 1), u.value.dtype)
        return v

    # ---- the function ----

    def module(self) -> str:
        b = self.b
        entry = Scope()
        self.scopes.append(entry)
        b.scope = entry.lines
        self.prologue()
        self.chunks()
        head = f"define void @{self.name}(ptr %args, i64 %begin, i64 %end, ptr %scratch) nounwind {{"
        lines = [head, "entry:", *b.slots, *entry.lines, "  ret void", "}"]
        declared = [d for n, d in b.declared.items() if n not in b.functions]
        return (
            "\n".join(["@zeros = internal constant [8 x i8] zeroinitializer", *declared, *b.functions.values(), *lines])
            + "\n"
        )

    def slot(self, n: int, type: str) -> Value:
        p = self.b.emit("ptr", 1, f"getelementptr i64, ptr %args, i64 {n}")
        return self.b.emit(type, 1, f"load {spell(type, 1)}, {p}, align 8")

    def prologue(self) -> None:
        k, b = self.kernel, self.b
        n = 0
        for buffer in k.arguments:
            if buffer.role == "scalar":
                wide = "f64" if buffer.dtype in HALVES or buffer.dtype.startswith("float") else "i64"
                held = self.slot(n, wide)
                as_loaded = "float32" if buffer.dtype in HALVES else buffer.dtype
                self.pointers[buffer.name] = words.cast(b, held, "float64" if wide == "f64" else "int64", as_loaded)
            else:
                self.pointers[buffer.name] = self.slot(n, "ptr")
            n += 1
        for name in k.sizes:
            self.sizes[name] = self.slot(n, "i64")
            n += 1
        self.rows_per_chunk, self.columns_per_chunk = self.slot(n, "i64"), self.slot(n + 1, "i64")
        offset = b.number(0, "i64")
        for buffer in k.buffers:
            if buffer.role == "row":
                self.pointers[buffer.name] = b.emit("ptr", 1, f"getelementptr i8, ptr %scratch, {offset}")
                elements = self.size(buffer.size) * (self.lanes if self.outer_vector else 1)
                offset = (offset + elements * words.BYTES[buffer.dtype] + (63 + 64 * 4)) & -64

    def chunks(self) -> None:
        """Chunk c is a group of rows (all outer axes but the vector's) and a block of columns (the vector axis, if outer)."""
        b, k = self.b, self.kernel
        columns = next((a for a in k.outer if a.name == k.vector), None)
        rows = [a for a in k.outer if a is not columns]
        rows.sort(key=lambda a: a.name == k.tile)
        one, zero = b.number(1, "i64"), b.number(0, "i64")
        total = one
        steps = {
            a.name: b.udiv(self.extent(a.extent) + TILE - 1, TILE) if a.name == k.tile else self.extent(a.extent)
            for a in rows
        }
        for a in rows:
            total = total * steps[a.name]
        width = self.extent(columns.extent) if columns else one
        blocks = self.b.udiv(width + self.columns_per_chunk - 1, self.columns_per_chunk) if columns else one
        begin, end = Value(b, "i64", 1, "%begin"), Value(b, "i64", 1, "%end")
        with self.loop(".chunk", begin, end) as c:
            group, part = (b.udiv(c, blocks), b.urem(c, blocks)) if columns else (c, zero)
            first = group * self.rows_per_chunk
            with self.loop(".row", first, b.smin(first + self.rows_per_chunk, total)) as r:
                bind, rest = {}, r
                for a in reversed(rows[1:]):
                    e = steps[a.name]
                    bind[a.name], rest = b.urem(rest, e), b.udiv(rest, e)
                if rows:
                    bind[rows[0].name] = rest
                block = bind.pop(k.tile, zero)
                with self.block(**bind):
                    start = part * self.columns_per_chunk
                    if k.tile:
                        squares.tiles(self, block * TILE, start, width)
                    elif columns:
                        stop = b.smin(start + self.columns_per_chunk, width)
                        if self.strips > 1:
                            start = self.wide(k.vector, start, stop)
                        self.steps(k.vector, start, stop, self.point, self.unroll)
                    else:
                        self.point(0)

    def wide(self, axis: str, start: Value, stop: Value) -> Value:
        """Walks an outer axis in strips of several times the lanes, as far as these are whole; where the rest begins.

        Columns are summed one row after the other whatever their number: the bits are the same, and memory is read in longer runs.
        """
        b, narrow = self.b, self.lanes
        self.lanes = narrow * self.strips
        done = start + b.udiv(stop - start, self.lanes) * self.lanes
        with self.loop(axis, start, done, self.lanes):
            self.point(0)
        self.lanes = narrow
        return done

    def point(self, _: int) -> None:
        """Every stage, at one outer point (or at the lanes of one, where the vector axis is an outer one)."""
        with self.block():
            for s in self.kernel.stages:
                self.stage(s)


def gathers(a: Any) -> bool:
    """Whether a term of an index reads memory."""
    return isinstance(a, At) or (isinstance(a, Div | Mod) and any(gathers(x) for x, _ in a.index.terms))


def _names(a: Any) -> frozenset[str]:
    match a:
        case Axis():
            return frozenset((a.name,))
        case At():
            return frozenset(a.value.variables)
    assert isinstance(a, Div | Mod)
    return a.index.variables
