"""Sizes that change: integers which know the expression that gives them at a later call, as polynomials over what is read outside.

A `SymInt` is no int for C code, which asks for `__index__` and so fixes it (its value becomes a guard); for Python it is one.
Arithmetic gives new ones, equal ones have one form, a comparison that bounds do not decide is a guard. A capture that meets such
sizes runs on arrays that have no elements, whose sizes are these: `run` reads an operator's body to find those of its result.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends import meta
from flambeau._backends.cpu import compile as native
from flambeau._backends.cpu.arrays import K
from flambeau._backends.cpu.library_memory import format_order
from flambeau._backends.meta import MetaArray
from flambeau._capture import readings
from flambeau._capture.breaks import Break
from flambeau._capture.expressions import Builder, Recorder
from flambeau._capture.numbers import Tracked, TrackedFloat, applied
from flambeau._capture.sources import Source
from flambeau._eager import bodies, results
from flambeau._eager.views import address, memory_of
from flambeau._ground import dumps
from flambeau._kernel.record import Expr, Opaque, Record, parameter
from flambeau._operators.op import Op
from flambeau._operators.part import select
from flambeau._values.device import CPU, preserve_format
from flambeau._values.dtype import int64, of
from flambeau._values.shape import broadcast, contiguous_strides, elementwise_strides, strides_in_order
from flambeau._values.symbolic import SymInt as Public

Poly = dict[tuple["Atom", ...], int]  # monomial -> coefficient; the empty monomial is the constant


class Atom:
    """What polynomials are made of: a number read outside, or a quotient or remainder of two. `low`: it is never less (None: unknown)."""

    __slots__ = ("low", "order", "source", "value")

    def __init__(self, order: int, source: Source, value: int, low: int | None) -> None:
        self.order, self.source, self.value, self.low = order, source, value, low


class Symbols:
    """The atoms of one capture."""

    def __init__(self, tracer: Any) -> None:
        self.tracer, self.closed = tracer, False
        self.made: dict[Any, Atom] = {}
        self.marked: list[Atom] = []  # sizes that the user says change

    def check_marks(self) -> None:
        """Refuse a capture that fixes what was marked as changing."""
        from flambeau.fx.experimental.symbolic_shapes import ConstraintViolationError

        for a in self.marked:
            if self.tracer.guards.assumed("equal", a.source):
                name = a.source.spoken()
                raise ConstraintViolationError(
                    f'Constraints violated ({name})! For more information, run with FLAMBEAU_LOGS="dynamic".\n  - You marked {name} as dynamic '
                    f"but your code specialized it to be a constant ({a.value}). If you're using mark_dynamic, either remove it or use "
                    "maybe_mark_dynamic."
                )

    def atom(self, source: Source, value: int, low: int | None) -> Atom:
        found = self.made.get(id(source))
        if found is None:
            found = self.made[id(source)] = Atom(len(self.made), source, value, low)
        return found

    def symbol(self, source: Source, value: int, low: int | None = None) -> SymInt:
        """A number read outside."""
        return SymInt(self, {(self.atom(source, value, low),): 1}, value)

    def apart(self, text: str, x: Any, y: Any, value: int) -> SymInt:
        """`x // y` or `x % y` where the polynomials do not tell."""
        nonnegative = _bounds(_poly(x))[0], _bounds(_poly(y))[0]
        low = 0 if all(b is not None and b >= 0 for b in nonnegative) else None
        return self.symbol(self.tracer.sources.expression(text, _source(x), _source(y)), value, low)

    def outcome(self, text: str, x: Any, y: Any, value: bool) -> bool:
        return value if self.closed else bool(self.tracer.outcome(text, (_source(x), _source(y)), value))


class SymInt(Tracked, Public):
    """An integer that may be another one at each call."""

    __slots__ = ("poly", "symbols", "value")

    def __init__(self, symbols: Symbols, poly: Poly, value: int) -> None:
        self.symbols, self.poly, self.value = symbols, poly, value

    __class__ = property(lambda self: int)  # what isinstance sees

    @property
    def raw(self) -> int:
        return self.value

    @property
    def tracer(self) -> Any:
        return self.symbols.tracer

    @property
    def source(self) -> Source:  # type: ignore[override]
        """Where the number comes from, as one expression."""
        if list(self.poly.values()) == [1] and len(next(iter(self.poly))) == 1:
            return next(iter(self.poly))[0].source
        terms, operands = [], []
        for atoms, c in sorted(self.poly.items(), key=lambda t: [a.order for a in t[0]]):
            terms.append("*".join([*(["{}"] * len(atoms)), *([] if c == 1 and atoms else [str(c)])]))
            operands += [a.source for a in atoms]
        return self.tracer.sources.expression(" + ".join(terms), *operands)

    @property
    def atoms(self) -> set[Atom]:
        return {t for a in self.poly for t in a}

    @property
    def key(self) -> frozenset[Any]:
        return frozenset(self.poly.items())

    def fixed(self) -> int:
        if not self.symbols.closed:
            self.tracer.guards.equal(self.source, self.value)
        return self.value

    @property
    def node(self) -> SymInt:
        return self

    @property
    def hint(self) -> int:
        return self.value

    def through(self, fn: Any, count: int, numbers: tuple[Any, ...]) -> Any:
        """What a function gives of numbers like this."""
        values = fn(*(n.hint if type(n) is SymInt else n for n in numbers))
        sources = self.tracer.calls(fn, count, *map(_source, numbers))
        return tuple([self.symbols.symbol(s, v, 0) for s, v in zip(sources, values, strict=True)])

    def __repr__(self) -> str:
        return self.source.spoken()

    def __hash__(self) -> int:
        return hash(self.key)

    def __bool__(self) -> bool:
        return self != 0  # type: ignore[comparison-overlap]

    def __neg__(self) -> Any:
        return _made(self.symbols, {a: -c for a, c in self.poly.items()}, -self.value)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self  # type: ignore[operator]

    def __round__(self, *digits: Any) -> Any:
        return self

    def __trunc__(self) -> Any:
        return self

    __floor__ = __ceil__ = __trunc__

    def __pow__(self, n: Any) -> Any:
        if type(n) is int and 0 <= n <= 8:
            return math.prod([self] * n, start=1)  # type: ignore[list-item]
        return applied(self.tracer, operator.pow, "{} ** {}", (self, n))

    def __rpow__(self, n: Any) -> Any:
        return applied(self.tracer, operator.pow, "{} ** {}", (n, self))


def _raw(x: Any) -> Any:
    return x.raw if isinstance(x, Tracked) else x


def _source(x: Any) -> Any:
    return x.source if isinstance(x, Tracked) else x


def _poly(x: Any) -> Poly:
    return x.poly if type(x) is SymInt else {(): int(x)} if x else {}


def _made(symbols: Symbols, poly: Poly, value: int) -> Any:
    poly = {a: c for a, c in poly.items() if c}
    if not any(poly):  # no atom is left
        return poly.get((), 0)
    return SymInt(symbols, poly, value)


def _sum(x: Poly, y: Poly, sign: int = 1) -> Poly:
    out = dict(x)
    for a, c in y.items():
        out[a] = out.get(a, 0) + sign * c
    return {a: c for a, c in out.items() if c}


def _product(x: Poly, y: Poly) -> Poly:
    out: Poly = {}
    for a, c in x.items():
        for b, d in y.items():
            m = tuple(sorted((*a, *b), key=lambda t: t.order))
            out[m] = out.get(m, 0) + c * d
    return {a: c for a, c in out.items() if c}


def _quotient(x: Poly, y: Poly) -> tuple[Poly, Poly] | None:
    """(q, r) with x == y * q + r, where y is one term: r what it does not divide."""
    if len(y) != 1:
        return None
    ((by, n),) = y.items()
    q: Poly = {}
    r: Poly = {}
    for a, c in x.items():
        left = list(a)
        for t in by:
            if t not in left:
                break
            left.remove(t)
        else:
            if c % n == 0:
                q[tuple(left)] = c // n
                continue
        r[a] = c
    return q, r


def _bounds(p: Poly) -> tuple[float | None, float | None]:
    """The least and the greatest value, where the atoms' bounds tell."""
    terms = [(a, c) for a, c in p.items() if a]
    if any(t.low is None or t.low < 0 for a, _ in terms for t in a):
        return None, None
    least = p.get((), 0) + sum(c * math.prod(t.low for t in a) for a, c in terms)  # type: ignore[misc]
    low = least if all(c > 0 for _, c in terms) else None
    high = least if all(c < 0 for _, c in terms) else None
    return low, high


def _arithmetic(name: str, text: str, fn: Any, swap: bool) -> Any:
    def method(self: SymInt, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        x, y = (other, self) if swap else (self, other)
        plainly = isinstance(other, float) or any(isinstance(v, Tracked) and type(v) is not SymInt for v in (x, y))
        if plainly or name == "truediv" or (name in ("floordiv", "mod") and _raw(y) == 0):
            return applied(self.tracer, fn, text, (x, y))
        value = fn(_raw(x), _raw(y))
        p, q = _poly(x), _poly(y)
        match name:
            case "add":
                return _made(self.symbols, _sum(p, q), value)
            case "sub":
                return _made(self.symbols, _sum(p, q, -1), value)
            case "mul":
                return _made(self.symbols, _product(p, q), value)
        parts = _quotient(p, q)
        if parts is not None:
            whole, rest = parts
            low, high = _bounds(rest)
            by = _bounds(q)[0]
            if not rest:
                return _made(self.symbols, whole, value) if name == "floordiv" else 0
            if (
                low is not None and high is not None and by is not None and low >= 0 and high < by
            ):  # a small constant is left
                return _made(self.symbols, whole if name == "floordiv" else rest, value)
            if name == "mod":
                p = rest
                x = _made(self.symbols, rest, sum(c * math.prod(t.value for t in a) for a, c in rest.items()))
            elif whole and type(y) is int:  # (q * y + r) // y == q + r // y
                least = sum(c * math.prod(t.value for t in a) for a, c in rest.items())
                return _made(self.symbols, whole, value - least // y) + _made(self.symbols, rest, least) // y
        return self.symbols.apart(text, x, y, value)

    return method


def _compared(name: str, text: str, fn: Any) -> Any:
    def method(self: SymInt, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        if isinstance(other, float):
            return self.symbols.outcome(text, self, other, fn(self.value, _raw(other)))
        if isinstance(other, Tracked) and type(other) is not SymInt:  # type: ignore[comparison-overlap]
            return self.symbols.outcome(text, self, other, fn(self.value, _raw(other)))
        d = _sum(self.poly, _poly(other), -1)
        if not any(d):
            return fn(d.get((), 0), 0)
        low, high = _bounds(d)
        if (low is not None and low > 0) or (high is not None and high < 0):
            return fn(1 if low is not None and low > 0 else -1, 0)
        if (low == 0 and name in ("ge", "lt")) or (high == 0 and name in ("le", "gt")):
            return name in ("ge", "le")
        return self.symbols.outcome(text, self, other, fn(self.value, _raw(other)))

    return method


def _define() -> None:
    from flambeau._capture.numbers import _ARITHMETIC, _COMPARISONS

    for name, text in _ARITHMETIC.items():
        if name != "pow":
            setattr(SymInt, f"__{name}__", _arithmetic(name, text, getattr(operator, name), False))
            setattr(SymInt, f"__r{name}__", _arithmetic(name, text, getattr(operator, name), True))
    for name, text in _COMPARISONS.items():
        setattr(SymInt, f"__{name}__", _compared(name, text, getattr(operator, name)))
    for name in ("and", "or", "xor", "lshift", "rshift"):
        fn = getattr(operator, f"{name}_" if name in ("and", "or") else name)
        setattr(SymInt, f"__{name}__", lambda self, other, fn=fn: fn(self.fixed(), other))
        setattr(SymInt, f"__r{name}__", lambda self, other, fn=fn: fn(other, self.fixed()))
    SymInt.__hash__ = lambda self: hash(self.key)  # type: ignore[method-assign]


_define()


# ---------------------------------------------------------------- at a later call


def evaluate(x: Any, values: dict[Atom, int]) -> Any:
    """A size for other values of its atoms; containers of sizes likewise."""
    if type(x) is SymInt:
        return sum(c * math.prod(values[t] for t in a) for a, c in x.poly.items())
    if isinstance(x, (tuple, list)):
        return type(x)(evaluate(y, values) for y in x)
    return x


def atoms(x: Any) -> set[Atom]:
    """The atoms that a size, or a container of sizes, depends on."""
    if type(x) is SymInt:
        return x.atoms
    if isinstance(x, (tuple, list)):
        return set().union(*map(atoms, x)) if x else set()
    return set()


# ---------------------------------------------------------------- arrays without elements


def standing(shape: Any, d: Any, strides: Any = None, base: Any = None) -> MetaArray:
    """An array of the CPU that has no elements."""
    made = MetaArray(shape, d, strides)
    made.torch_device, made.base = CPU, base
    return made


def stand_in(a: Any, shape: tuple[Any, ...]) -> MetaArray:
    """In the place of an array from outside: strides are functions of the sizes where they are dense, and numbers otherwise."""
    item = a.dtype.itemsize
    order = sorted(range(a.ndim), key=lambda d: (-a.strides[d], d))
    strides: list[Any] = [0] * a.ndim
    for d, s in zip(order, contiguous_strides(tuple(shape[d] for d in order)), strict=True):
        strides[d] = s * item
    dense = all(_raw(s) == t for s, t in zip(strides, a.strides, strict=True))
    made = standing(shape, a.dtype, strides if dense else a.strides)
    made.start = address(a) - address(memory_of(a))
    return made


_LIBRARY: dict[str, Any] = {  # what routines of the array library give that programs call as operators
    "placed": lambda x, shape, **_: parameter(-1, tuple(shape), x.dtype),
    "roll": lambda x, **_: x,
    "sort": lambda x, **_: (x, parameter(-1, x.shape, int64)),
    "tile": lambda x, repeats: parameter(-1, _tiled(x.shape, tuple(repeats)), x.dtype),
}


def _tiled(shape: tuple[Any, ...], repeats: tuple[Any, ...]) -> tuple[Any, ...]:
    shape = (1,) * (len(repeats) - len(shape)) + tuple(shape)
    return tuple(n * r for n, r in zip(shape, repeats, strict=True))


def _indexed(b: Any, x: Expr, indices: list[Any]) -> Expr:
    at = [d for d, i in enumerate(indices) if i is not None]
    if any(indices[d].dtype.kind == "b" for d in at):
        raise Opaque("index")
    found = broadcast(*(indices[d].shape for d in at))
    first = at[0] if at == list(range(at[0], at[-1] + 1)) else 0
    rest = [n for d, n in enumerate(x.shape) if d not in at]
    return parameter(-1, (*rest[:first], *found, *rest[first:]), x.dtype)


def _selected(b: Any, x: Expr, dim: int, index: Any) -> Any:
    """`select`, where that the index is in range must be said."""
    n = x.shape[dim] if -x.ndim <= dim < x.ndim else 0
    if not -n <= index < n:
        raise Opaque("select")
    return bodies.call_body(select, select.body, (b.k,), (x, dim, index))


_OPERATORS: dict[str, Any] = {"index": _indexed, "alias": lambda b, x: x, "select": _selected}


class ShapeRecorder(Recorder):
    """Reads what bodies call of the library, too."""

    def library(self, name: str, *xs: Any, **params: Any) -> Any:
        known = _LIBRARY.get(name)
        return super().library(name, *xs, **params) if known is None else known(*xs, **params)


class Shapes(Builder):
    """Reads bodies for the sizes of their results alone."""

    def __init__(self) -> None:
        super().__init__(readings.ROUTINES, readings.OPERATORS)
        self.k = ShapeRecorder(self)

    def product(self, x: Expr, y: Expr) -> Expr:
        if x.shape[-1] != y.shape[-2]:
            raise Opaque("matmul")
        return Record.matmul(self.k, x, y)

    def check(self, bad: Expr) -> None:
        """Elements are not looked at."""


def run(op: Op, arrays: tuple[Any, ...]) -> Any:
    """What an operator gives on arrays without elements; where its body does not tell, sizes are fixed."""
    if op.custom is not None:
        raise Break(f"'{op.aten}', whose code is its user's, needs elements")
    try:
        return _read(op, arrays)
    except (Opaque, NotImplementedError, AttributeError, KeyError, TypeError) as problem:
        if dumps.wanted("dynamic"):
            dumps.say(f"# the sizes of what '{op.aten}' gives are fixed: {problem!r}")
        return _concrete(op, arrays)


def _read(op: Op, arrays: tuple[Any, ...]) -> Any:
    if op.draws or (op.module.endswith(".create") and any(p.name == "size" for p in op.params)):
        return _drawn(op, arrays)
    b = Shapes()
    held: dict[Expr, Any] = {}

    def take(v: Any) -> Any:
        if isinstance(v, (MetaArray, np.ndarray)):
            item = v.dtype.itemsize
            e = b.leaf(v.shape, of(v.dtype), tuple(s // item for s in v.strides)).expr
            held[e] = v
            return e
        if op.kind == "pointwise" and isinstance(v, TrackedFloat):  # no size hangs on what it is now
            return v.raw
        return (
            [take(x) for x in v]
            if type(v) in (list, tuple) and any(isinstance(x, (MetaArray, np.ndarray)) for x in v)
            else v
        )

    values = tuple(take(v) for v in arrays)
    known = _OPERATORS.get(op.aten) or readings.OPERATORS.get(op.aten)
    made = known(b, *values) if known is not None else bodies.call_body(op, op.body, (b.k,), values)
    if isinstance(made, Expr) and op.module.endswith(".create") and isinstance(arrays[0], MetaArray):
        return _alike(op, arrays, made.dtype.np)
    several = isinstance(made, (tuple, list))
    found: Any = (
        type(made)(None if e is None else _array(op, e, b, held) for e in made)
        if several
        else _array(op, made, b, held)
    )
    if not (op.view or op.kind == "pointwise" or op.packed in (True, "operands")):
        _lay(op, arrays, found if several else (found,))
    return found


def _alike(op: Op, arrays: tuple[Any, ...], d: Any) -> MetaArray:
    """What is made like the first array: `empty_like`, `rand_like`. Where it may be told how to lie, it lies as that one unless told."""
    a = arrays[0]
    asked = [v for p, v in zip(op.params, arrays, strict=True) if p.name == "memory_format"]
    if not asked:
        return standing(a.shape, d)
    if asked[0] not in (None, preserve_format):
        order = strides_in_order(a.shape, reversed(format_order(len(a.shape), asked[0].name)))
    else:
        order = elementwise_strides(a.shape, [(a.shape, tuple(t // a.dtype.itemsize for t in a.strides))])
    return standing(a.shape, d, tuple(t * np.dtype(d).itemsize for t in order))


def _array(op: Op, e: Any, b: Builder, held: dict[Expr, Any]) -> MetaArray:
    if not isinstance(e, Expr):
        raise Opaque(op.name)
    item = e.dtype.np.itemsize
    if op.view:
        from flambeau._capture.place import strided

        s = strided(e, {leaf.expr: leaf for leaf in b.leaves})
        if s.core not in held:
            raise Opaque(op.name)
        made = standing(e.shape, e.dtype.np, tuple(t * item for t in s.strides), held[s.core])
        made.start = held[s.core].start + s.offset * item
        return made
    if op.kind == "pointwise":
        layout = native.result_layout(e, list(held.values()))
        return standing(e.shape, e.dtype.np, tuple(t * item for t in layout.strides))
    return standing(e.shape, e.dtype.np)


# ---- how they lie


def _lay(op: Op, arrays: tuple[Any, ...], made: Sequence[Any]) -> None:
    """Gives results the order of dims that they have at the sizes of now: the operator is asked, on arrays that lie as its operands do.

    It is not where all lie in order, unless it is told, or by itself gives another order.
    """
    given = [
        x for v in arrays for x in (v if type(v) in (list, tuple) else (v,)) if isinstance(x, (MetaArray, np.ndarray))
    ]
    told = any(p.name == "memory_format" and v is not None for p, v in zip(op.params, arrays, strict=True))
    if not told and not op.module.endswith(".attention") and all(map(_in_order, given)):
        return
    found = _now(op, arrays)[1]
    for a, r in zip(made, found if isinstance(found, (tuple, list)) else (found,), strict=True):
        if a is not None:
            a.strides = _ordered(op, a, np.asarray(r))


def _in_order(x: Any) -> bool:
    steps = contiguous_strides(tuple(map(_raw, x.shape)))
    return tuple(map(_raw, x.strides)) == tuple(s * x.dtype.itemsize for s in steps)


def _ordered(op: Op, a: MetaArray, r: Any) -> tuple[Any, ...]:
    """Strides of an array, with the order of dims that a real one has at the sizes of now. Where that says nothing about others: refused."""
    shape = tuple(map(_raw, a.shape))
    if 0 in shape:
        return a.strides
    order = sorted(range(r.ndim), key=lambda d: (r.strides[d], shape[d] != 1, -d))
    dense = tuple(s * r.itemsize for s in strides_in_order(shape, order))
    if r.shape != shape or r.strides != dense or any(type(n) is SymInt and n.value == 1 for n in a.shape):
        raise Opaque(op.name)
    return tuple(s * a.dtype.itemsize for s in strides_in_order(a.shape, order))


TOUCHED = 1 << 20  # elements of the largest memory that is filled with ones


def _now(op: Op, arrays: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """The arguments at the sizes of now, and what the operator gives of them: arrays of ones, or of zeros, where they are indices or only looked at."""

    def taken(v: Any, element: int) -> Any:
        if isinstance(v, Tracked):
            return v.raw
        if isinstance(v, (list, tuple)):
            return (list if type(v) is list else tuple)(taken(x, element) for x in v)
        if not isinstance(v, MetaArray):
            return v
        shape, strides, d = tuple(map(_raw, v.shape)), tuple(map(_raw, v.strides)), meta.bare(v.dtype)
        count = 1 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) // d.itemsize
        memory = np.full(count, 1, d) if element and count <= TOUCHED else np.zeros(count, d)
        return np.ndarray(shape, d, memory, 0, strides)

    values = tuple(taken(v, not op.view and i not in op.indices) for i, v in enumerate(arrays))
    try:
        with np.errstate(all="ignore"):
            made = bodies.call_body(op, op.run, (K,), values)
    except Exception as problem:
        raise Break(f"what '{op.aten}' gives hangs on elements: {problem}") from problem
    return values, results.packed(made, op.packed, values[0]) if op.packed and op.packed != "operands" else made


def _drawn(op: Op, arrays: tuple[Any, ...]) -> MetaArray:
    """What is drawn or filled: as large as it says, or as its first array."""
    arrays = tuple(v.raw if isinstance(v, TrackedFloat) else v for v in arrays)
    at = next((i for i, p in enumerate(op.params) if p.name == "size"), None)
    if at is not None and isinstance(arrays[0], MetaArray) and not op.draws:
        arrays = (np.empty((0,), np.dtype(arrays[0].dtype.str)), *arrays[1:])  # only its dtype matters
    if at is None:
        if not isinstance(arrays[0], MetaArray) or any(isinstance(x, MetaArray) for x in arrays[1:]):
            raise Opaque(op.name)
        size = arrays[0].shape
        small = bodies.call_body(
            op, op.run, (K,), (np.empty((0,) * len(size), np.dtype(arrays[0].dtype.str)), *arrays[1:])
        )
        return _alike(op, arrays, np.asarray(small).dtype)
    else:
        size = arrays[at]
        size = (size,) if isinstance(size, int) else tuple(size)
        if any(n < 0 for n in size) or any(isinstance(x, MetaArray) for x in arrays):
            raise Opaque(op.name)
        small = bodies.call_body(op, op.run, (K,), (*arrays[:at], (0,) * max(1, len(size)), *arrays[at + 1 :]))
    return standing(size, np.asarray(small).dtype)


def _concrete(op: Op, arrays: tuple[Any, ...]) -> Any:
    """On real stand-ins: every size of an operand becomes a guard."""

    def plain(v: Any) -> Any:
        if isinstance(v, Tracked):
            return v.fixed()
        if isinstance(v, MetaArray):
            plain((*v.shape, *v.strides))
            return v
        return (list if type(v) is list else tuple)(map(plain, v)) if isinstance(v, (list, tuple)) else v

    if op.aten == "_as_strided":  # it looks beyond its operand's shape, where stand-ins have no memory
        x, shape, strides, offset = arrays[0], *map(plain, arrays[1:4])
        made = standing(shape, x.dtype, tuple(s * x.dtype.itemsize for s in strides), x)
        made.start = offset * x.dtype.itemsize
        return made
    fixed = tuple(map(plain, arrays))
    given, found = _now(op, fixed)
    source = next(((x, y) for x, y in zip(arrays, given, strict=True) if isinstance(x, MetaArray)), None)

    def settle(r: Any) -> Any:
        if isinstance(r, (tuple, list)):
            return type(r)(map(settle, r)) if not hasattr(r, "_fields") else type(r)(*map(settle, r))
        if not isinstance(r, (np.ndarray, np.generic)):
            return r
        made = standing(r.shape, r.dtype, r.strides)
        if op.view and source is not None:
            made.base, made.start = source[0], source[0].start + address(r) - address(source[1])
        return made

    return settle(found)
