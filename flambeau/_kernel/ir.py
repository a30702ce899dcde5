"""The loop IR: scalar expressions, stages and kernels. What they are; not how they are made (`loops`), checked
(`verify`), printed (`show`) or run (`_backends`).

A kernel runs its stages, in order, for every point of its outer (parallel) axes. A stage walks its inner axes and runs
its statements at every step: a `Store` writes a scalar to a buffer, an `Update` folds a scalar into an accumulator.
Accumulators and `row` buffers belong to one outer point: later stages read what earlier ones left. An accumulator
read in the stage that updates it is a running one (cumulative sums).

    kernel  := buffers, sizes, outer axes, stages
    stage   := axes, statements
    stmt    := Store(buffer, index, scalar) | Update(acc, op, scalar)
    scalar  := load(buffer)[index] | const | acc | index(index) | guard(tests)(scalar, other) | word(scalar, ...)

`guard` is `scalar if every 0 <= index < extent else other`: nothing out of bounds is read. Arithmetic is in the dtype
of the node: float16 and bfloat16 exist in memory and in casts, and are float32 in arithmetic; bool is a truth value.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from flambeau._kernel import language
from flambeau._kernel.index import At, Axis, Index, Size, Span, atoms
from flambeau._values.shape import spelled, symbolic

FLOATS = {"float32": 32, "float64": 64}
INTS = {f"{u}int{n}": n for u in ("", "u") for n in (8, 16, 32, 64)}
HALVES = {"float16", "bfloat16"}  # memory only
MEMORY = {*FLOATS, *INTS, *HALVES, "bool"}

FLOAT_WORDS = set(
    [
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "sigmoid",
        "erf",
        "erfc",
        "erfinv",
        "lgamma",
        "digamma",
        "sqrt",
        "rsqrt",
        "reciprocal",
        "floor",
        "ceil",
        "round",
        "trunc",
        "div",
        "atan2",
        "hypot",
        "copysign",
        "nextafter",
        "ldexp",
        "fma",
    ]
)
LOGIC = {"logical_and", "logical_or", "logical_xor", "logical_not"}
ABSENT = {"conj", "real", "imag", "complex", "polygamma", "zeta"}  # words that have no native code
WORDS = {*language.UNARY, *language.BINARY, *language.TERNARY, "cast"} - ABSENT
FOLDS = {"add", "mul", "maximum", "minimum", "logical_and", "logical_or", "logaddexp"}
# Worth keeping rather than computing again.
COSTLY = FLOAT_WORDS - set(
    ["floor", "ceil", "round", "trunc", "sqrt", "div", "reciprocal", "copysign", "nextafter", "fma"]
) | {
    "pow",
    "fmod",
    "remainder",
}


class Scalar:
    """One node of a scalar expression. Equal nodes are the same object, so a shared subexpression is found by identity."""

    __slots__ = ("__weakref__", "arg", "dtype", "op", "operands", "src", "variables")

    op: str
    src: tuple[Scalar, ...]
    arg: Any
    dtype: str
    variables: frozenset[str]  # the axes and accumulators it depends on
    operands: tuple[Scalar, ...]  # the sources, and the gathered values inside the indices

    _known: weakref.WeakValueDictionary[tuple[Any, ...], Scalar] = weakref.WeakValueDictionary()

    def __new__(cls, op: str, src: tuple[Scalar, ...] = (), arg: Any = None, dtype: str = "float32") -> Scalar:
        shown = spelled(arg) if op == "const" else arg  # 0.0 == -0.0 and nan != nan: constants are told apart by text
        key = (op, src, shown, dtype)
        known = cls._known.get(key)
        if known is not None:
            return known
        self = super().__new__(cls)
        self.op, self.src, self.arg, self.dtype = op, src, arg, dtype
        own: frozenset[str] = frozenset()
        match op:
            case "load":
                own = arg[1].variables
            case "index":
                own = arg.variables
            case "acc":
                own = frozenset((arg,))
            case "guard":
                own = frozenset().union(*(i.variables for i, _ in arg))
        self.variables = own.union(*(s.variables for s in src))
        self.operands = src
        if op in ("load", "index", "guard"):
            self.operands = (*(a.value for i in indices(self) for a in gathered(i)), *src)
        return cls._known.setdefault(key, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Scalar, (self.op, self.src, self.arg, self.dtype)

    def __repr__(self) -> str:
        return f"<{self.op} {self.dtype}>"


def const(value: Any, dtype: str) -> Scalar:
    """A number of the dtype; a name is a run-time size, as is an integer that is known only as an expression."""
    if isinstance(value, str) or symbolic(value):
        return Scalar("const", (), value, dtype)
    value = bool(value) if dtype == "bool" else int(value) if dtype in INTS else float(value)
    return Scalar("const", (), value, dtype)


def load(buffer: str, index: Index, dtype: str) -> Scalar:
    """A read; halves arrive as float32."""
    return Scalar("load", (), (buffer, index), "float32" if dtype in HALVES else dtype)


def word(op: str, *src: Scalar, dtype: str = "") -> Scalar:
    """A word of the language; its dtype follows from its operands, but for a cast."""
    if op == "cast":
        return Scalar("cast", src, dtype, "float32" if dtype in HALVES else dtype)
    return Scalar(op, src, None, result(op, src))


def result(op: str, src: tuple[Scalar, ...]) -> str:
    """The rule by which `verify` re-derives a node's dtype."""
    if op in language.TO_BOOL:
        return "bool"
    return src[0].dtype if op in ("ldexp", "lshift", "rshift") else src[-1].dtype


@dataclass(frozen=True)
class Buffer:
    """`role`: out (written), in (read), scalar (its slot holds the value), row (scratch of one outer point)."""

    name: str
    dtype: str
    role: str
    size: Size = 0  # of a row, in elements


@dataclass(frozen=True)
class Store:
    buffer: str
    index: Index
    value: Scalar


@dataclass(frozen=True)
class Update:
    acc: str
    op: str
    value: Scalar


Statement: TypeAlias = "Store | Update"


@dataclass(frozen=True)
class Stage:
    axes: tuple[Axis, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Kernel:
    """`vector` names the axis whose steps are computed side by side ("" for none), `tile` an outer axis along which some
    buffers are dense that are not so along `vector`: they are read by squares. Facts of schedule, not of meaning.
    """

    buffers: tuple[Buffer, ...]
    sizes: tuple[str, ...]
    outer: tuple[Axis, ...]
    stages: tuple[Stage, ...]
    vector: str = ""
    tile: str = ""

    def buffer(self, name: str) -> Buffer:
        return next(b for b in self.buffers if b.name == name)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Outer axes, then every inner axis once."""
        return tuple({a.name: a for a in (*self.outer, *(a for s in self.stages for a in s.axes))}.values())

    @property
    def arguments(self) -> tuple[Buffer, ...]:
        """The buffers that have a slot: all but rows."""
        return tuple(b for b in self.buffers if b.role != "row")


def identity(op: str, dtype: str) -> Any:
    """What an accumulator starts from."""
    match op:
        case "add" | "logical_or":
            return False if dtype == "bool" else 0 if dtype in INTS else 0.0
        case "mul" | "logical_and":
            return True if dtype == "bool" else 1 if dtype in INTS else 1.0
    low = op in ("maximum", "logaddexp")
    if dtype == "bool":
        return not low
    if dtype in FLOATS:
        return -math.inf if low else math.inf
    bits = INTS[dtype]
    if dtype.startswith("u"):
        return 0 if low else 2**bits - 1
    return -(2 ** (bits - 1)) if low else 2 ** (bits - 1) - 1


def scanned(s: Stage) -> bool:
    """Whether a stage reads its own accumulator as it runs."""
    own = {b.acc for b in s.body if isinstance(b, Update)}
    return any(own & b.value.variables for b in s.body)


def walk(*roots: Scalar) -> list[Scalar]:
    """Every node once, operands first."""
    seen: dict[Scalar, None] = {}
    stack: list[tuple[Scalar, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        e, done = stack.pop()
        if e in seen:
            continue
        if done:
            seen[e] = None
        else:
            stack.append((e, True))
            stack.extend((s, False) for s in reversed(e.operands))
    return list(seen)


def unguarded(root: Scalar) -> list[Scalar]:
    """The nodes that are computed whatever the guards say, operands first."""
    seen: dict[Scalar, None] = {}
    stack: list[tuple[Scalar, bool]] = [(root, False)]
    while stack:
        e, done = stack.pop()
        if e in seen:
            continue
        if done or e.op == "guard":
            seen[e] = None
        else:
            stack.append((e, True))
            stack.extend((s, False) for s in reversed(e.src))
    return list(seen)


def indices(e: Scalar) -> tuple[Index, ...]:
    match e.op:
        case "load":
            return (e.arg[1],)
        case "index":
            return (e.arg,)
        case "guard":
            return tuple(i for i, _ in e.arg)
    return ()


def gathered(index: Index) -> Iterator[Any]:
    return (a for a in atoms(index) if isinstance(a, At))


def kept(_: Scalar) -> None:
    """The leaf map that replaces nothing."""


def rewrite(roots: list[Scalar], leaf: Any, index: Any, extent: Any = None) -> list[Scalar]:
    """Rebuilds expressions: `leaf(node)` may replace a node (None leaves it to be rebuilt), `index(i, value)` maps every
    index (`value` maps what it gathers), `extent(i, n)` the bounds of guards."""
    done: dict[Scalar, Scalar] = {}
    for e in walk(*roots):
        new = leaf(e)
        done[e] = rebuilt(e, done, index, extent) if new is None else new
    return [done[r] for r in roots]


def rebuilt(e: Scalar, done: Mapping[Scalar, Scalar], index: Any, extent: Any = None) -> Scalar:
    """One node with `done` for its operands."""

    def mapped(i: Index) -> Index:
        found: Index = index(i, lambda v: done[v])
        return found

    src = tuple(done[s] for s in e.src)
    match e.op:
        case "load":
            arg: Any = (e.arg[0], mapped(e.arg[1]))
        case "index":
            arg = mapped(e.arg)
        case "guard":
            arg = tuple((mapped(i), n if extent is None else extent(i, n)) for i, n in e.arg)
        case _:
            arg = e.arg
    return Scalar(e.op, src, arg, e.dtype)


def same(i: Index, value: Any) -> Index:
    """The index map that changes gathered values only."""
    return i.substitute({}, value) if any(True for _ in gathered(i)) else i


def change(kernel: Kernel, leaf: Any = kept, index: Any = same, extent: Any = None) -> Kernel:
    """`rewrite` for every expression and store index of a kernel."""
    stages = []
    for s in kernel.stages:
        values = rewrite([b.value for b in s.body], leaf, index, extent)
        body: list[Statement] = []
        for b, v in zip(s.body, values, strict=True):
            at = index(b.index, lambda e: rewrite([e], leaf, index, extent)[0]) if isinstance(b, Store) else None
            body.append(replace(b, value=v) if at is None else Store(b.buffer, at, v))  # type: ignore[union-attr]
        stages.append(replace(s, body=tuple(body)))
    return replace(kernel, stages=tuple(stages))


__all__ = ["Axis", "Buffer", "Index", "Kernel", "Scalar", "Size", "Span", "Stage", "Store", "Update"]
