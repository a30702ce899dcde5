"""From recorded expressions to a kernel: moves become index arithmetic, reductions become stages. Sizes are still numbers.

An expression is pulled from its outputs: `value(e, idx)` is the scalar at an index. Each reduction met becomes an
accumulator of the outer axes on which its index depends; all reductions of one kernel must depend on the same ones.
Where that fails, `Cut` names the expression to be computed by a kernel of its own first. How the loops are ordered,
merged and vectorised is `schedule.py`'s business.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flambeau._kernel.index import (
    At,
    Axis,
    Div,
    Index,
    Mod,
    atoms,
    contiguous,
    flat,
    limit,
    number,
    unflatten,
    variable,
)
from flambeau._kernel.ir import (
    ABSENT,
    FLOAT_WORDS,
    FLOATS,
    INTS,
    MEMORY,
    WORDS,
    Buffer,
    Kernel,
    Scalar,
    Stage,
    Statement,
    Store,
    Update,
    change,
    const,
    identity,
    indices,
    kept,
    load,
    walk,
    word,
)
from flambeau._kernel.record import FOLD, SCAN, Expr, Record
from flambeau._kernel.simplify import simplified

POINT = WORDS - {"cast"}
REAL = (FLOAT_WORDS | {"pow"}) - {"floor", "ceil", "round", "trunc", "fma"}
WHOLE = {"invert", "bitwise_and", "bitwise_or", "bitwise_xor", "lshift", "rshift"}
K = Record()


class Cut(Exception):
    """The expression needs a kernel of its own before this one, and so do more of them: in the order in which they were met."""

    def __init__(self, expr: Expr, *more: Expr) -> None:
        super().__init__(f"{expr} must be computed first")
        self.expr = expr
        self.every = (expr, *more)


@dataclass(frozen=True)
class Layout:
    """Where an array's elements are: strides in elements. `scalar`: a number passed by value."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    scalar: bool = False

    @staticmethod
    def dense(dtype: str, shape: Sequence[int]) -> Layout:
        return Layout(dtype, tuple(shape), contiguous(tuple(shape)))


@dataclass
class Fold:
    """A reduction found on the way: one accumulator."""

    name: str
    op: str
    value: Scalar
    axes: tuple[Axis, ...]
    over: frozenset[str]  # the outer axes it depends on
    level: int
    scan: bool
    expr: Expr
    at: tuple[Index, ...]


def lower(roots: Sequence[Expr], known: Mapping[Expr, tuple[str, Layout]], outs: Sequence[Layout]) -> Kernel:
    """The kernel that computes `roots` into `outs`; `known` are the expressions that are already in memory, by buffer name."""
    factors: dict[Any, tuple[int, ...]] = {}
    while True:
        lowering = Lowering(roots, known, outs, factors)
        try:
            kernel = lowering.kernel()
        except (Cut, NotImplementedError):
            if not lowering.apart:
                raise
        if lowering.apart:
            raise Cut(*lowering.apart)
        more = False
        for key, n in splits(kernel, lowering.origin):
            chain = sorted({*factors.get(key, ()), n})
            if n not in factors.get(key, ()) and all(b % a == 0 for a, b in itertools.pairwise(chain)):
                factors[key], more = tuple(chain), True
        if not more:
            for f in lowering.folds.values():
                if any(isinstance(a, Div | Mod) for i in f.at for a in atoms(i)):
                    raise Cut(f.expr)  # it would be folded again and again, for outer points that share it
            return kernel


def splits(kernel: Kernel, origin: Mapping[str, tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Axes that would be rid of a `//` or `%` if they were two: (axis key, where to cut it)."""
    found: list[tuple[Any, int]] = []
    for s in kernel.stages:
        every = [i for b in s.body for e in walk(b.value) for i in indices(e)]
        every += [b.index for b in s.body if isinstance(b, Store)]
        for i in every:
            for a in atoms(i):
                if not isinstance(a, Div | Mod) or len(a.index.terms) != 1 or a.index.const:
                    continue
                axis, c = a.index.terms[0]
                if isinstance(axis, Axis) and c == 1 and limit(axis.extent) % limit(a.by) == 0 and axis.name in origin:
                    key, step = origin[axis.name]
                    found.append((key, step * limit(a.by)))
    return found


def peeled(root: Expr) -> Expr:
    """Without a last reshape: a dense output has the same elements in the same order."""
    while root.op == "reshape":
        root = root.src[0]
    return root


class Lowering:
    def __init__(self, roots: Sequence[Expr], known: Mapping[Expr, tuple[str, Layout]], outs: Sequence[Layout],
                 factors: Mapping[Any, tuple[int, ...]]) -> None:  # fmt: skip
        self.roots, self.known, self.outs, self.factors = roots, dict(known), outs, factors
        self.apart: dict[
            Expr, None
        ] = {}  # reductions inside others: gone on from as if they were in memory, to find all at once
        self.origin: dict[str, tuple[Any, int]] = {}  # axis name -> what it is a part of, and from where
        self.memo: dict[tuple[Expr, tuple[Index, ...]], Scalar] = {}
        self.folds: dict[str, Fold] = {}
        self.buffers: dict[str, Buffer] = {}
        self.count = 0
        self.guarded = 0

    # ---- axes ----

    def axis(self, stem: str, key: Any, extent: int) -> tuple[Index, tuple[Axis, ...]]:
        """A new axis (or several, where it is to be split) as one index."""
        if extent == 1:
            return Index(), ()
        axes: list[Axis] = []
        out, step = Index(), 1
        for n in (*self.factors.get(key, ()), extent):  # where it is cut, innermost first
            if n > step:
                axes.append(Axis(f"{stem}_{len(axes)}", n // step))
                self.origin[axes[-1].name] = key, step
                out = out + variable(axes[-1]) * step
                step = n
        return out, tuple(reversed(axes))

    def kernel(self) -> Kernel:
        bodies = [
            peeled(r) if o.strides == contiguous(o.shape) else r for r, o in zip(self.roots, self.outs, strict=True)
        ]
        rank = max(r.ndim for r in bodies)
        if any(r.ndim not in (rank, 0) for r in bodies):
            raise Cut(self.roots[-1])
        dims = [
            self.axis(f"o{d}", d, max((r.shape[d] for r in bodies if r.ndim == rank), default=1)) for d in range(rank)
        ]
        stores: list[Store] = []
        self.buffers = {f"out{n}": Buffer(f"out{n}", layout.dtype, "out") for n, layout in enumerate(self.outs)}
        for n, (body, layout) in enumerate(zip(bodies, self.outs, strict=True)):
            name = f"out{n}"
            idx = tuple(
                i if s != 1 else Index() for (i, _), s in zip(dims[rank - body.ndim :], body.shape, strict=True)
            )
            if any(s not in (1, i.bounds[1] + 1) for i, s in zip(idx, body.shape, strict=True) if s != 0):
                raise Cut(self.roots[-1])
            strides = layout.strides if body is self.roots[n] else contiguous(body.shape)
            stores.append(Store(name, flat(idx, strides), self.value(body, idx)))
        stores = [replace(s, value=simplified(self.to_memory(s.value, self.buffers[s.buffer].dtype))) for s in stores]
        return self.assemble(stores, [a for _, axes in dims for a in axes])

    def to_memory(self, v: Scalar, dtype: str) -> Scalar:
        want = "float32" if dtype in ("float16", "bfloat16") else dtype
        return v if v.dtype == want else word("cast", v, dtype=want)

    def assemble(self, stores: list[Store], axes: list[Axis]) -> Kernel:
        """Stages by level, reductions of like axes side by side, then the stores."""
        live: dict[str, Fold] = {}
        todo = [s.value for s in stores]
        while todo:
            for e in walk(*todo):
                if e.op == "acc" and e.arg in self.folds:
                    live.setdefault(e.arg, self.folds[e.arg])
            todo = [f.value for f in live.values() if f.value not in todo and not self.seen(f, live)]
        folds = sorted(live.values(), key=lambda f: int(f.name[3:]))
        outer = frozenset().union(*(f.over for f in folds)) if folds else frozenset(a.name for a in axes)
        for f in folds:
            if f.over != outer:
                raise Cut(f.expr)
        scans = [f for f in folds if f.scan]
        stages: list[Stage] = []
        for level in sorted({f.level for f in folds if not f.scan}):
            groups: dict[tuple[int, ...], list[Statement]] = {}
            where: dict[tuple[int, ...], tuple[Axis, ...]] = {}
            for f in folds:
                if f.level == level and not f.scan:
                    extents = tuple(limit(a.extent) for a in f.axes)
                    onto = where.setdefault(extents, f.axes)
                    put = {a.name: variable(b) for a, b in zip(f.axes, onto, strict=True)}
                    groups.setdefault(extents, []).append(Update(f.name, f.op, moved(f.value, put)))
            stages += [Stage(where[n], tuple(body)) for n, body in groups.items()]
        rest = [a for a in axes if a.name not in outer]
        inner = [s for s in stores if uses(s, rest)]
        if inner or scans:
            body = [Update(f.name, f.op, f.value) for f in scans] + inner
            if any(f.axes != tuple(rest) for f in scans):
                raise Cut(scans[0].expr)
            stages.append(Stage(tuple(rest), tuple(body)))
        once = [s for s in stores if not uses(s, rest)]
        if once and scans:
            raise Cut(scans[0].expr)
        if once:
            stages.append(Stage((), tuple(once)))
        return Kernel(tuple(self.buffers.values()), (), tuple(a for a in axes if a.name in outer), tuple(stages))

    def seen(self, f: Fold, live: dict[str, Fold]) -> bool:
        """Whether everything the fold reads is already live."""
        return all(e.arg in live for e in walk(f.value) if e.op == "acc" and e.arg in self.folds)

    # ---- values ----

    def value(self, e: Expr, idx: tuple[Index, ...]) -> Scalar:
        """The scalar of `e` at an index; long chains of words are followed without recursion."""
        stack = [e]
        while stack:
            top = stack[-1]
            wait = (
                [s for s in top.src if (s, idx) not in self.memo] if top.op in POINT and top not in self.known else []
            )
            if wait:
                stack += reversed(wait)
                continue
            if (top, idx) not in self.memo:
                self.memo[top, idx] = self.pull(top, idx)
            stack.pop()
        return self.memo[e, idx]

    def pull(self, e: Expr, idx: tuple[Index, ...]) -> Scalar:
        if e in self.known:
            return self.read(*self.known[e], idx)
        match e.op:
            case "const":
                return const(e.arg, scalar_dtype(e))
            case "iota":
                return self.cast(Scalar("index", (), idx[0], "int64"), e.dtype.name)
            case "cast":
                return self.cast(self.value(e.src[0], idx), e.arg.name)
            case "take" | "gather":
                return self.gathered(e, idx)
            case "pad":
                return self.pad(e, idx)
            case "argmax" | "argmin":
                return self.value(arg_extreme(e), idx)
            case "cumsum" | "cumprod" | "cummax" | "cummin" | "logcumsumexp":
                return self.scan(e, idx)
            case "conj" | "real" if not e.src[0].dtype.is_complex:
                return self.value(e.src[0], idx)
            case "imag" if not e.src[0].dtype.is_complex:
                return const(0, scalar_dtype(e))
        if e.op in FOLD:
            return self.fold(e, idx)
        move = MOVES.get(e.op)
        if move is not None:
            return self.value(e.src[0], move(e, idx))
        if e.op not in POINT or e.dtype.is_complex or any(s.dtype.is_complex for s in e.src) or e.op in ABSENT:
            raise NotImplementedError(f"{e.op} of {e.dtype.name} in a native kernel")
        src = [self.value(s, idx) for s in e.src]
        if e.op in REAL and src[-1].dtype not in FLOATS:
            raise NotImplementedError(f"{e.op} of {src[-1].dtype} in a native kernel")
        if e.op in WHOLE and src[0].dtype in FLOATS:
            raise NotImplementedError(f"{e.op} of {src[0].dtype} in a native kernel")
        if e.op in ("logical_and", "logical_or", "logical_xor", "logical_not"):
            src = [s if s.dtype == "bool" else self.cast(s, "bool") for s in src]
        return word(e.op, *src)

    def read(self, name: str, layout: Layout, idx: tuple[Index, ...]) -> Scalar:
        if layout.dtype not in MEMORY:
            raise NotImplementedError(f"{layout.dtype} in a native kernel")
        self.buffers.setdefault(name, Buffer(name, layout.dtype, "scalar" if layout.scalar else "in"))
        return load(name, flat(idx, layout.strides), layout.dtype)

    def cast(self, v: Scalar, dtype: str) -> Scalar:
        if dtype not in MEMORY:
            raise NotImplementedError(f"{dtype} in a native kernel")
        return v if v.dtype == dtype else word("cast", v, dtype=dtype)

    def gathered(self, e: Expr, idx: tuple[Index, ...]) -> Scalar:
        x, index = e.src
        at = self.value(index, idx[e.arg : e.arg + index.ndim] if e.op == "take" else idx)
        at = at if at.dtype in INTS else self.cast(at, "int64")
        after = e.arg + (index.ndim if e.op == "take" else 1)
        return self.value(x, (*idx[: e.arg], Index(((At(at), 1),)), *idx[after:]))

    def pad(self, e: Expr, idx: tuple[Index, ...]) -> Scalar:
        (widths, filler), x = e.arg, e.src[0]
        if math.prod(x.shape) == 0:
            return const(filler, scalar_dtype(e))
        put = tuple(i - a for i, (a, _) in zip(idx, widths, strict=True))
        tests = tuple(
            (i, n) for i, n in zip(put, x.shape, strict=True) if not (i.bounds[0] >= 0 and i.bounds[1] < n)
        )  # fmt: skip
        v = self.value(x, put)
        if not tests:
            return v
        if any(n.op == "acc" for n in walk(v)):
            raise Cut(x)
        return Scalar("guard", (v, const(filler, v.dtype)), tests, v.dtype)

    # ---- reductions ----

    def fold(self, e: Expr, idx: tuple[Index, ...]) -> Scalar:
        x = e.src[0]
        if 0 in (x.shape[d] for d in e.arg):
            return const(identity(FOLD[e.op], scalar_dtype(e)), scalar_dtype(e))
        n = self.count
        self.count += 1
        inner, axes = list(idx), list[Axis]()
        for d in e.arg:
            inner[d], new = self.axis(f"r{n}d{d}", ("r", n, d), x.shape[d])
            axes += new
        v = self.value(x, tuple(inner))
        if e.op in ("any", "all"):
            v = v if v.dtype == "bool" else self.cast(v, "bool")
        if not axes:
            return v
        return self.later(e, idx) if within(idx) else self.accumulate(e, FOLD[e.op], v, tuple(axes), idx, scan=False)

    def scan(self, e: Expr, idx: tuple[Index, ...]) -> Scalar:
        """A running fold: only along an axis of the output itself. float32 runs in float64, as it does in PyTorch."""
        i = idx[e.arg]
        axes = tuple(a for a, c in i.terms if isinstance(a, Axis) and a.name.startswith("o"))
        if (
            len(axes) != 1
            or i != variable(axes[0])
            or any(j.variables & i.variables for d, j in enumerate(idx) if d != e.arg)
        ):
            if i == Index() and e.shape[e.arg] == 1:
                return self.value(e.src[0], idx)
            raise Cut(e)
        v = self.value(e.src[0], idx)
        op = SCAN[e.op]
        wide = "float64" if v.dtype == "float32" and op not in ("maximum", "minimum") else v.dtype
        rest = tuple(Index() if d == e.arg else j for d, j in enumerate(idx))
        if within(rest):
            return self.later(e, idx)
        acc = self.accumulate(e, op, self.cast(v, wide), axes, rest, scan=True)
        return self.cast(acc, v.dtype)

    def later(self, e: Expr, idx: tuple[Index, ...]) -> Scalar:
        """A reduction inside another, and different at every step of it: it must be in memory, and is read as if it were."""
        self.apart[e] = None
        self.known[e] = f"apart{len(self.apart)}", Layout.dense(e.dtype.name, e.shape)
        return self.read(*self.known[e], idx)

    def accumulate(
        self, e: Expr, op: str, v: Scalar, axes: tuple[Axis, ...], idx: tuple[Index, ...], scan: bool
    ) -> Scalar:
        v = simplified(v)
        over = variables(idx)
        inside = [self.folds[a.arg] for a in walk(v) if a.op == "acc"]
        for f in inside:  # a running value of the same walk is there as it runs; any other is only there at its end
            if f.scan and not (scan and f.axes == axes and f.over == over):
                raise Cut(f.expr)
        level = 1 + max((f.level for f in inside), default=0)
        name = f"acc{len(self.folds)}"
        self.folds[name] = Fold(name, op, v, axes, over, level, scan, e, idx)
        return Scalar("acc", (), name, v.dtype)


def variables(idx: Sequence[Index]) -> frozenset[str]:
    return frozenset().union(*(i.variables for i in idx))


def within(idx: Sequence[Index]) -> bool:
    """Whether an index is of a step of a reduction."""
    return any(not a.startswith("o") for a in variables(idx))


def scalar_dtype(e: Expr) -> str:
    name = e.dtype.name
    if name in ("float16", "bfloat16"):
        return "float32"
    if name not in MEMORY:
        raise NotImplementedError(f"{name} in a native kernel")
    return str(name)


def uses(s: Store, axes: Sequence[Axis]) -> bool:
    return any(a.name in s.index.variables or a.name in s.value.variables for a in axes)


def moved(v: Scalar, put: Mapping[str, Index]) -> Scalar:
    """The same expression over other axes."""
    one = Kernel((), (), (), (Stage((), (Store("", Index(), v),)),))
    out = change(one, kept, lambda i, f: i.substitute(put, f))
    return out.stages[0].body[0].value


def arg_extreme(e: Expr) -> Expr:
    """The first position of the largest (smallest) element, or of the first NaN: the least index that holds it."""
    x, (dim,) = e.src[0], e.arg
    n = x.shape[dim]
    best = (K.max if e.op == "argmax" else K.min)(x, [dim])
    hit = K.eq(x, K.expand(best, x.shape))
    if x.dtype.is_floating_point:
        hit = K.logical_or(hit, K.isnan(x))
    along = K.reshape(K.iota(n, e.dtype), tuple(n if d == dim else 1 for d in range(x.ndim)))
    return K.min(K.where(hit, K.expand(along, x.shape), K.full(x.shape, n, e.dtype)), [dim])


# ---------------------------------------------------------------- moves: the index in the source


def _expand(e: Expr, idx: tuple[Index, ...]) -> tuple[Index, ...]:
    src = e.src[0]
    return tuple(number(0) if s == 1 else i for s, i in zip(src.shape, idx[len(idx) - src.ndim :], strict=True))


def _flip(e: Expr, idx: tuple[Index, ...]) -> tuple[Index, ...]:
    return tuple(number(s - 1) - i if d in e.arg else i for d, (i, s) in enumerate(zip(idx, e.shape, strict=True)))


def _windows(e: Expr, idx: tuple[Index, ...]) -> tuple[Index, ...]:
    (size, stride, dilation), m = e.arg, e.src[0].ndim - len(e.arg[0])
    n = len(size)
    return (*idx[:m], *(idx[m + j] * stride[j] + idx[m + n + j] * dilation[j] for j in range(n)))


def _slice(e: Expr, idx: tuple[Index, ...]) -> tuple[Index, ...]:
    dim, start, _, step = e.arg
    return (*idx[:dim], idx[dim] * step + start, *idx[dim + 1 :])


MOVES = {
    "expand": _expand,
    "permute": lambda e, idx: tuple(idx[e.arg.index(d)] for d in range(len(idx))),
    "flip": _flip,
    "reshape": lambda e, idx: unflatten(flat(idx, contiguous(e.shape)), e.src[0].shape),
    "windows": _windows,
    "slice": _slice,
}
