"""Reading 2: record a body as Expr, the nodes of the kernel IR.

A node is immutable, and its shape and dtype are facts of construction: no pass fills them in. A constant is 0-d and takes the
dtype of what it meets. Equal nodes are one node (hash-consing), so identity is equality and common subexpressions are shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from flambeau._kernel.arrays import windowed
from flambeau._kernel.language import BINARY, TERNARY, TO_BOOL, TO_REAL, UNARY
from flambeau._values.dtype import bool_, dtype as DType, held, int64, promote_types, wrapped
from flambeau._values.shape import broadcast, contiguous_strides, infer, spelled, whole

Shape = tuple[int, ...]
# Reductions and scans, each with the operation that joins two partial results.
FOLD = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "logical_or", "all": "logical_and"}
SCAN = {"cumsum": "add", "cumprod": "mul", "cummax": "maximum", "cummin": "minimum", "logcumsumexp": "logaddexp"}
_POINTWISE = frozenset((*UNARY, *BINARY, *TERNARY))


class Expr:
    """One node: `op` applied to `src`, with static `arg`; `shape` and `dtype` of its value."""

    __slots__ = ("__weakref__", "arg", "dtype", "op", "shape", "src")
    op: str
    src: tuple[Expr, ...]
    arg: Any
    shape: Shape
    dtype: DType

    def __new__(cls, op: str, src: tuple[Expr, ...], arg: Any, shape: Shape, dtype: DType) -> Expr:
        key = (op, src, spelled(arg), shape, dtype)
        found = _TABLE.get(key)
        if found is None:
            found = object.__new__(cls)
            for name, value in zip(("op", "src", "arg", "shape", "dtype"), (op, src, arg, shape, dtype), strict=True):
                object.__setattr__(found, name, value)
            _TABLE[key] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("an Expr is immutable")

    def __repr__(self) -> str:
        return f"<{self.op} {self.dtype.name}{list(self.shape)}>"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, at: Any) -> Expr:
        if at is not Ellipsis:
            raise TypeError("an Expr is indexed by words of the language: slice, take, gather")
        return self

    def __add__(self, o: Any) -> Expr:
        return pointwise("add", self, o)

    def __radd__(self, o: Any) -> Expr:
        return pointwise("add", o, self)

    def __sub__(self, o: Any) -> Expr:
        return pointwise("sub", self, o)

    def __rsub__(self, o: Any) -> Expr:
        return pointwise("sub", o, self)

    def __mul__(self, o: Any) -> Expr:
        return pointwise("mul", self, o)

    def __rmul__(self, o: Any) -> Expr:
        return pointwise("mul", o, self)

    def __truediv__(self, o: Any) -> Expr:
        return pointwise("div", self, o)

    def __rtruediv__(self, o: Any) -> Expr:
        return pointwise("div", o, self)

    def __neg__(self) -> Expr:
        return pointwise("neg", self)

    def __invert__(self) -> Expr:
        return pointwise("invert", self)

    def __and__(self, o: Any) -> Expr:
        return pointwise("bitwise_and", self, o)

    def __or__(self, o: Any) -> Expr:
        return pointwise("bitwise_or", self, o)

    def __lt__(self, o: Any) -> Expr:
        return pointwise("lt", self, o)

    def __le__(self, o: Any) -> Expr:
        return pointwise("le", self, o)

    def __gt__(self, o: Any) -> Expr:
        return pointwise("gt", self, o)

    def __ge__(self, o: Any) -> Expr:
        return pointwise("ge", self, o)


_TABLE: WeakValueDictionary[Any, Expr] = WeakValueDictionary()


def parameter(i: int, shape: Shape, dtype: DType) -> Expr:
    """The i-th input of a recorded body."""
    return Expr("param", (), i, tuple(shape), dtype)


def constant(value: Any, dtype: DType) -> Expr:
    """A 0-d constant, as the dtype holds it; a number that is an input takes on the dtype."""
    if isinstance(value, Expr):
        return cast(value, dtype)
    if dtype.itemsize < 4 and dtype.kind == "f":
        value = held(value, dtype)
    elif dtype.kind == "i" and type(value) is int:
        value = wrapped(value, dtype)
    return Expr("const", (), value, (), dtype)


def pointwise(op: str, *xs: Any) -> Expr:
    """`op` over broadcast operands of one dtype (shifts and `where` aside); numbers become constants of that dtype."""
    values = xs[1:] if op == "where" else xs
    kinds = [x.dtype for x in values if isinstance(x, Expr)]
    common = kinds[0] if kinds else xs[0].dtype
    for d in kinds[1:]:
        common = promote_types(common, d)
    src = [x if isinstance(x, Expr) else constant(x, common) for x in xs]
    if op not in ("ldexp", "lshift", "rshift"):
        first = 1 if op == "where" else 0
        src[first:] = [cast(x, common) for x in src[first:]]
    shape = broadcast(*(x.shape for x in src))
    out = (
        bool_
        if op in TO_BOOL
        else common.to_real()
        if op in TO_REAL
        else common.to_complex()
        if op == "complex"
        else common
    )
    return Expr(op, tuple(expand(x, shape) for x in src), None, shape, out)


def cast(x: Expr, dtype: DType) -> Expr:
    if x.dtype is dtype:
        return x
    return constant(x.arg, dtype) if x.op == "const" else Expr("cast", (x,), dtype, x.shape, dtype)


def same(x: Shape, y: Shape) -> bool:
    """Whether two shapes are one. A size that is known only as an expression is never taken for a number."""
    return len(x) == len(y) and all(type(n) is type(m) and n == m for n, m in zip(x, y))


def expand(x: Expr, shape: Shape) -> Expr:
    return x if same(x.shape, shape) else Expr("expand", (x,), tuple(shape), tuple(shape), x.dtype)


class Record:
    """Interprets a body by recording it; operands that were widened are of the dtype `narrow`."""

    def __init__(self, narrow: DType | None = None) -> None:
        self.narrow = narrow

    def __getattr__(self, op: str) -> Any:
        if op in _POINTWISE:
            return lambda *xs: pointwise(op, *xs)
        raise AttributeError(f"the kernel language has no word {op!r}")

    def cast(self, x: Expr, dtype: DType) -> Expr:
        return cast(x, dtype)

    def nextafter(self, x: Any, y: Any) -> Expr:
        if self.narrow is not None:
            raise Opaque("nextafter")  # of widened operands it is another number
        return pointwise("nextafter", x, y)

    def rounded(self, x: Any) -> Any:
        if self.narrow is None:
            return x
        return cast(cast(x, self.narrow), x.dtype) if isinstance(x, Expr) else held(x, self.narrow)

    def like(self, value: Any, x: Expr) -> Expr:
        return constant(value, x.dtype)

    def full(self, shape: Shape, value: Any, dtype: DType) -> Expr:
        return expand(constant(value, dtype), tuple(shape))

    def iota(self, n: int, dtype: DType) -> Expr:
        return Expr("iota", (), n, (n,), dtype)

    # ---- reductions ----

    def _reduce(self, op: str, x: Expr, dims: Sequence[int], dtype: DType) -> Expr:
        axes = tuple(sorted(d % x.ndim for d in dims))
        return Expr(op, (x,), axes, tuple(1 if i in axes else n for i, n in enumerate(x.shape)), dtype)

    def sum(self, x: Expr, dims: Sequence[int]) -> Expr:
        return self._reduce("sum", x, dims, x.dtype)

    def prod(self, x: Expr, dims: Sequence[int]) -> Expr:
        return self._reduce("prod", x, dims, x.dtype)

    def max(self, x: Expr, dims: Sequence[int]) -> Expr:
        return self._reduce("max", x, dims, x.dtype)

    def min(self, x: Expr, dims: Sequence[int]) -> Expr:
        return self._reduce("min", x, dims, x.dtype)

    def any(self, x: Expr, dims: Sequence[int]) -> Expr:
        return self._reduce("any", x, dims, bool_)

    def all(self, x: Expr, dims: Sequence[int]) -> Expr:
        return self._reduce("all", x, dims, bool_)

    def argmax(self, x: Expr, dim: int) -> Expr:
        return self._reduce("argmax", x, [dim], int64)

    def argmin(self, x: Expr, dim: int) -> Expr:
        return self._reduce("argmin", x, [dim], int64)

    def cumsum(self, x: Expr, dim: int) -> Expr:
        return Expr("cumsum", (x,), dim % x.ndim, x.shape, x.dtype)

    def cumprod(self, x: Expr, dim: int) -> Expr:
        return Expr("cumprod", (x,), dim % x.ndim, x.shape, x.dtype)

    def cummax(self, x: Expr, dim: int) -> Expr:
        return Expr("cummax", (x,), dim % x.ndim, x.shape, x.dtype)

    def cummin(self, x: Expr, dim: int) -> Expr:
        return Expr("cummin", (x,), dim % x.ndim, x.shape, x.dtype)

    def logcumsumexp(self, x: Expr, dim: int) -> Expr:
        return Expr("logcumsumexp", (x,), dim % x.ndim, x.shape, x.dtype)

    # ---- moves ----

    def reshape(self, x: Expr, shape: Shape) -> Expr:
        shape = infer(shape, math.prod(x.shape))
        return x if same(shape, x.shape) else Expr("reshape", (x,), shape, shape, x.dtype)

    def permute(self, x: Expr, dims: Sequence[int]) -> Expr:
        dims = tuple(d % x.ndim for d in dims)
        if dims == tuple(range(x.ndim)):
            return x
        return Expr("permute", (x,), dims, tuple(x.shape[d] for d in dims), x.dtype)

    def expand(self, x: Expr, shape: Shape) -> Expr:
        return expand(x, tuple(shape))

    def slice(self, x: Expr, dim: int, start: int, stop: int, step: int = 1) -> Expr:
        dim %= x.ndim
        start, stop, n = part(start, stop, step, x.shape[dim])
        shape = (*x.shape[:dim], n, *x.shape[dim + 1 :])
        return x if shape == x.shape and step == 1 else Expr("slice", (x,), (dim, start, stop, step), shape, x.dtype)

    def flip(self, x: Expr, dims: Sequence[int]) -> Expr:
        return Expr("flip", (x,), tuple(sorted(d % x.ndim for d in dims)), x.shape, x.dtype) if dims else x

    def pad(self, x: Expr, widths: Sequence[tuple[int, int]], value: Any = 0) -> Expr:
        widths = tuple((whole(a), whole(b)) for a, b in widths)
        if not any(a or b for a, b in widths):
            return x
        shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
        return Expr("pad", (x,), (widths, value), shape, x.dtype)

    def windows(self, x: Expr, size: Shape, stride: Shape, dilation: Shape) -> Expr:
        m = x.ndim - len(size)
        shape = x.shape[:m] + windowed(x.shape[m:], size, stride, dilation) + tuple(size)
        return Expr("windows", (x,), (tuple(size), tuple(stride), tuple(dilation)), shape, x.dtype)

    # ---- indexed reads, products, the library ----

    def take(self, x: Expr, dim: int, index: Expr) -> Expr:
        dim %= x.ndim
        return Expr("take", (x, index), dim, x.shape[:dim] + index.shape + x.shape[dim + 1 :], x.dtype)

    def gather(self, x: Expr, dim: int, index: Expr) -> Expr:
        return Expr("gather", (x, index), dim % x.ndim, index.shape, x.dtype)

    def matmul(self, x: Expr, y: Expr) -> Expr:
        batch = broadcast(x.shape[:-2], y.shape[:-2])
        return Expr("matmul", (x, y), None, (*batch, x.shape[-2], y.shape[-1]), x.dtype)

    def library(self, name: str, *xs: Expr, **params: Any) -> Any:
        raise Opaque(name)


def part(start: int, stop: int, step: int, n: int) -> tuple[int, int, int]:
    """Where a slice of n elements begins and ends, and how many it has."""
    if all(type(i) is int or i is None for i in (start, stop, n)):
        start, stop, step = slice(start, stop, step).indices(n)
        return start, stop, len(range(start, stop, step))
    start, stop = (0 if start is None else start), (n if stop is None else stop)
    start, stop = (min(max(i + n if i < 0 else i, 0), n) for i in (start, stop))
    return start, stop, max(stop - start + (step - 1), 0) // step if step > 1 else max(stop - start, 0)


class Opaque(Exception):
    """A body called a routine of the array library: it runs, but cannot be recorded as one expression."""


def toposort(*roots: Expr) -> list[Expr]:
    """Every node reachable from the roots, sources first."""
    seen: dict[Expr, None] = {}
    stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        e, done = stack.pop()
        if e in seen:
            continue
        if done:
            seen[e] = None
        else:
            stack.append((e, True))
            stack.extend((s, False) for s in reversed(e.src))
    return list(seen)


def evaluate(k: Any, roots: Sequence[Expr], args: Sequence[Any]) -> list[Any]:
    """Re-reads recorded nodes with another kernel: the IR is itself a body."""
    env: dict[Expr, Any] = {}
    for e in toposort(*roots):
        xs = [env[s] for s in e.src]
        match e.op:
            case "param":
                env[e] = args[e.arg]
            case "const":
                env[e] = k.full((), e.arg, e.dtype)
            case "iota":
                env[e] = k.iota(e.arg, e.dtype)
            case "slice" | "windows" | "pad":
                env[e] = getattr(k, e.op)(xs[0], *e.arg)
            case "take" | "gather":
                env[e] = getattr(k, e.op)(xs[0], e.arg, xs[1])
            case "argmax" | "argmin":
                env[e] = getattr(k, e.op)(xs[0], e.arg[0])
            case _:
                env[e] = getattr(k, e.op)(*xs, *([e.arg] if e.arg is not None else []))
    return [env[r] for r in roots]


__all__ = [
    "Expr",
    "Opaque",
    "Record",
    "constant",
    "contiguous_strides",
    "evaluate",
    "parameter",
    "pointwise",
    "toposort",
]
