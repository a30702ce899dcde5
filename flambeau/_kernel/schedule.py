"""How a kernel's loops are walked: axes merged and ordered, one of them vectorised, rows kept, long reductions cut, sizes named.

Every pass is a function from kernel to kernel that changes no result but for the order of additions, and decides by sizes,
dtypes and strides alone. `bind` comes last: it replaces numbers by names, so that one kernel serves many shapes.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flambeau._kernel.index import At, Atom, Axis, Div, Index, Mod, Size, Span, contiguous, flat, limit, variable
from flambeau._kernel.ir import (
    COSTLY,
    Buffer,
    Kernel,
    Scalar,
    Stage,
    Store,
    Update,
    change,
    const,
    indices,
    kept,
    load,
    rewrite,
    scanned,
    walk,
)
from flambeau._values.shape import symbolic, through, whole

WORK = 32768  # scalar steps in a chunk: some ten microseconds
BLOCK = 16384  # steps of one partial result, where a long reduction is cut
ROW_LIMIT = 65536  # elements of a row that is kept rather than computed again
LANES = 64  # at most this many columns are computed side by side
NEAR = 8  # steps up to this are read as whole vectors, of which some lanes are kept
TILE = 64  # steps of the tile axis that make a row of work
ITEMSIZE = {"float64": 8, "int64": 8, "uint64": 8, "float32": 4, "int32": 4, "uint32": 4, "float16": 2, "bfloat16": 2, "int16": 2,
            "uint16": 2, "int8": 1, "uint8": 1, "bool": 1}  # fmt: skip


@dataclass(frozen=True)
class Access:
    """One place where a stage reads, writes or computes with an index."""

    index: Index
    stage: int
    kind: str  # load, store, index, guard
    buffer: str = ""


def accesses(kernel: Kernel) -> list[Access]:
    out: list[Access] = []
    for n, s in enumerate(kernel.stages):
        for b in s.body:
            if isinstance(b, Store):
                out.append(Access(b.index, n, "store", b.buffer))
        for e in walk(*(b.value for b in s.body)):
            for i in indices(e):
                out.append(Access(i, n, e.op, e.arg[0] if e.op == "load" else ""))
    return list(dict.fromkeys(out))


def extents(axes: Sequence[Axis]) -> int:
    return math.prod(limit(a.extent) for a in axes)


# ---------------------------------------------------------------- merging and ordering


def collapse(kernel: Kernel) -> Kernel:
    """Axes that every access walks as one become one."""
    while True:
        pair = next(mergeable(kernel), None)
        if pair is None:
            return kernel
        a, b = pair
        one = Axis(b.name, a.extent * b.extent)
        put = {a.name: Index(), b.name: variable(one)}

        def axes(old: tuple[Axis, ...], a: Axis = a, b: Axis = b, one: Axis = one) -> tuple[Axis, ...]:
            return tuple(one if x.name == b.name else x for x in old if x.name != a.name)

        kernel = change(kernel, kept, lambda i, f, put=put: i.substitute(put, f))
        kernel = replace(
            kernel, outer=axes(kernel.outer), stages=tuple(replace(s, axes=axes(s.axes)) for s in kernel.stages)
        )


def mergeable(kernel: Kernel) -> Any:
    """Pairs (slow, fast) with slow's step equal to fast's whole extent wherever they occur."""
    every = [a.index for a in accesses(kernel)]
    groups = [kernel.outer, *(s.axes for s in kernel.stages)]
    for group in groups:
        for a in group:
            for b in group:
                if a is b or isinstance(a.extent, Span) or isinstance(b.extent, Span):
                    continue
                fits = all(
                    i.affine_in(a.name)
                    and i.affine_in(b.name)
                    and i.coefficient(a.name) == i.coefficient(b.name) * b.extent  # type: ignore[operator]
                    for i in every
                    if a.name in i.variables or b.name in i.variables
                )
                together = all((a in g) == (b in g) for g in groups)
                scans = any(isinstance(x, Update) and x.acc in x2.value.variables
                            for s in kernel.stages if a in s.axes for x in s.body for x2 in s.body if x2 is not x)  # fmt: skip
                if fits and together and not scans:
                    yield a, b


def order(kernel: Kernel) -> Kernel:
    """Large steps outermost: those of the stores first, then those of the loads."""
    every = accesses(kernel)

    def step(a: Axis) -> tuple[int, int]:
        stores = [abs(x.index.coefficient(a.name)) for x in every if x.kind == "store"]  # type: ignore[arg-type]
        loads = [abs(x.index.coefficient(a.name)) for x in every if x.kind == "load"]  # type: ignore[arg-type]
        return -max(stores, default=0), -sum(loads)

    stages = tuple(replace(s, axes=tuple(sorted(s.axes, key=step))) for s in kernel.stages)
    return replace(kernel, outer=tuple(sorted(kernel.outer, key=step)), stages=stages)


def canonical(kernel: Kernel) -> Kernel:
    """Outer axes i0, i1...; inner axes j0, j1..., the same name for the same position and extent in every stage."""
    put = {a.name: variable(Axis(f"i{n}", a.extent)) for n, a in enumerate(kernel.outer)}
    outer = tuple(Axis(f"i{n}", a.extent) for n, a in enumerate(kernel.outer))
    taken: dict[str, Any] = {}
    stages = []
    for s in kernel.stages:
        axes = []
        for n, a in enumerate(s.axes):
            name = f"j{n}"
            while taken.setdefault(name, a.extent) != a.extent:
                name += "x"
            axes.append(Axis(name, a.extent))
        here = put | {old.name: variable(new) for old, new in zip(s.axes, axes, strict=True)}
        one = change(Kernel((), (), (), (s,)), kept, lambda i, f, here=here: i.substitute(here, f))
        stages.append(Stage(tuple(axes), one.stages[0].body))
    return replace(kernel, outer=outer, stages=tuple(stages))


# ---------------------------------------------------------------- the vector axis


def vectorise(kernel: Kernel) -> Kernel:
    """The axis whose steps are neighbours in memory most often; stages that walk it have it last."""
    every = accesses(kernel)
    outer = {a.name for a in kernel.outer}
    weight = [extents(s.axes) for s in kernel.stages]
    heaviest = max(weight, default=1)
    best, least = "", math.inf
    for a in reversed(kernel.axes):
        n = limit(a.extent)
        walked = [a in s.axes for s in kernel.stages]
        if isinstance(a.extent, Span) and a.name in outer:
            continue
        # Sums along the lanes of a vector cost some steps more than sums side by side.
        price = 2.0 * any(w and scanned(s) for w, s in zip(walked, kernel.stages, strict=True))
        for x in every:
            share = weight[x.stage] / heaviest
            if a.name not in outer and not walked[x.stage]:
                price += 4 * share  # that stage is left scalar
            elif not x.index.affine_in(a.name):
                price += 4 * share
            else:
                price += share * walking(limit(x.index.coefficient(a.name)), x.kind)
        price += 10 * (1 - n / 16) if n < 16 else 0
        if price < least:
            best, least = a.name, price
    if best and limit(next(a.extent for a in kernel.axes if a.name == best)) == 1:
        best = ""

    def last(s: Stage) -> Stage:
        own = along(s, best, outer)
        return replace(s, axes=tuple(sorted(s.axes, key=lambda a: a.name == own)))

    return replace(kernel, stages=tuple(last(s) for s in kernel.stages), vector=best, tile=crossing(kernel, best))


def along(s: Stage, vector: str, outer: Container[str] = ()) -> str:
    """The axis along which a stage is vectorised: the kernel's, or, where it is an inner one that this stage does not walk, the
    stage's own that is dense in all it reads."""
    if not vector or vector in outer or any(a.name == vector for a in s.axes):
        return vector
    every = [x.index for x in accesses(Kernel((), (), (), (s,)))]
    for a in reversed(s.axes):
        if all(i.affine_in(a.name) and i.coefficient(a.name) in (0, 1) for i in every):
            return a.name
    return ""


def walking(step: int, kind: str) -> float:
    """The price of one access along an axis of such a step."""
    if abs(step) <= 1:
        return 0.0 if step else 0.1
    return 6.0 if kind == "store" else 1.0 if 1 < step <= NEAR else 3.0


def crossing(kernel: Kernel, vector: str) -> str:
    """The outer axis along which most loads are dense that are not so along the vector axis, in a pointwise kernel."""
    every = accesses(kernel)
    width = next((limit(a.extent) for a in kernel.outer if a.name == vector), 0)
    if (
        width < 8
        or any(s.axes for s in kernel.stages)
        or any(x.kind == "guard" or not x.index.affine_in(vector) for x in every)
    ):
        return ""
    across = [x for x in every if x.kind == "load" and abs(x.index.coefficient(vector)) > 1]  # type: ignore[arg-type]
    counts = {
        a.name: sum(x.index.coefficient(a.name) == 1 for x in across) for a in kernel.outer if limit(a.extent) >= 8
    }
    counts.pop(vector, 0)
    return max(counts, key=lambda n: counts[n]) if any(counts.values()) else ""


# ---------------------------------------------------------------- rows that are kept


def spill(kernel: Kernel) -> Kernel:
    """A costly value of one stage that a later stage needs again is kept in a row."""
    stages = list(kernel.stages)
    buffers = list(kernel.buffers)
    for later in range(1, len(stages)):
        for earlier in range(later):
            if not stages[later].axes or stages[earlier].axes != stages[later].axes:
                continue
            if extents(stages[later].axes) > ROW_LIMIT:
                continue
            have = set(walk(*(b.value for b in stages[earlier].body)))
            inner = {a.name for a in stages[later].axes}
            for e in wanted([b.value for b in stages[later].body], have, inner):
                name = f"row{sum(b.role == 'row' for b in buffers)}"
                buffers.append(Buffer(name, e.dtype, "row", extents(stages[later].axes)))
                axes = stages[later].axes
                at = flat(tuple(variable(a) for a in axes), contiguous(tuple(limit(a.extent) for a in axes)))
                stages[earlier] = replace(stages[earlier], body=(Store(name, at, e), *stages[earlier].body))
                again = load(name, at, e.dtype)
                for n in range(later, len(stages)):
                    if stages[n].axes == axes:
                        stages[n] = substituted(stages[n], e, again)
    return replace(kernel, stages=tuple(stages), buffers=tuple(buffers))


def wanted(roots: list[Scalar], have: set[Scalar], inner: set[str]) -> list[Scalar]:
    """The largest expressions in `roots` that are known elsewhere and cost something."""
    out: list[Scalar] = []
    todo = list(roots)
    while todo:
        e = todo.pop()
        if e in have and e.variables & inner and any(n.op in COSTLY and n.variables & inner for n in walk(e)):
            out.append(e)
        elif e.op != "guard":
            todo.extend(e.src)
    return list(dict.fromkeys(out))


def substituted(s: Stage, e: Scalar, by: Scalar) -> Stage:
    values = rewrite([b.value for b in s.body], lambda n: by if n is e else None, lambda i, f: i.substitute({}, f))
    return replace(s, body=tuple(replace(b, value=v) for b, v in zip(s.body, values, strict=True)))


# ---------------------------------------------------------------- cutting long reductions


@dataclass(frozen=True)
class Pieces:
    """A reduction in two kernels: partial results in `parts`, of `size` elements each, and their combination."""

    first: Kernel
    second: Kernel
    parts: tuple[Buffer, ...]
    size: int


def reducing(kernel: Kernel) -> Stage | None:
    """The only stage that walks anything, where it folds and nothing else."""
    heads = [s for s in kernel.stages if s.axes]
    if len(heads) != 1 or not all(isinstance(b, Update) for b in heads[0].body) or scanned(heads[0]):
        return None
    return heads[0]


def cut(kernel: Kernel) -> Pieces | None:
    """A reduction too long for its few outer points, by blocks; None where it is not."""
    stage = reducing(kernel)
    if stage is None:
        return None
    n, points = extents(stage.axes), extents(kernel.outer)
    column = next((a for a in kernel.outer if a.name == kernel.vector), None)
    units = points if column is None else points // limit(column.extent) * -(-limit(column.extent) // LANES)
    side = 1 if column is None else min(LANES, limit(column.extent))
    if n * side < 4 * BLOCK or (units >= 64 and n * side < 64 * BLOCK):
        return None
    axis = max(stage.axes, key=lambda a: limit(a.extent))
    length = limit(axis.extent)
    size = max(1, BLOCK // side // (n // length))
    blocks = -(-length // size)
    if blocks < 2:
        return None
    block = Axis("b0", blocks)
    within = Axis(axis.name, Span(size, length, block.name))
    at = variable(block) * size + variable(within) if size > 1 else variable(block)
    return parted(kernel, stage, axis, block, within if size > 1 else None, at)


def widen(kernel: Kernel) -> Pieces | None:
    """A reduction over many rows of few columns: several rows are made one, and their columns folded at the end."""
    stage = reducing(kernel)
    if stage is None:
        return None
    every = [x for x in accesses(kernel) if x.kind == "load"]
    for column in kernel.outer:
        width = limit(column.extent)
        for axis in stage.axes if width < LANES // 2 else ():
            rows = next((n for n in (2, 4, 8, 16, 32) if n * width >= LANES // 2), 0)
            length = limit(axis.extent)
            dense = all(
                x.index.coefficient(column.name) == 1 and x.index.coefficient(axis.name) == width for x in every
            )
            if (
                rows
                and dense
                and length % rows == 0
                and length >= 64 * rows
                and all(x.index.affine_in(axis.name) for x in every)
            ):
                block, within = Axis("b0", rows), Axis(axis.name, length // rows)
                return parted(kernel, stage, axis, block, within, variable(within) * rows + variable(block))
    return None


def parted(kernel: Kernel, stage: Stage, axis: Axis, block: Axis, within: Axis | None, at: Index) -> Pieces:
    """One partial result for each step of `block`; `axis` becomes `within`, its index `at`."""
    put = {axis.name: at}
    axes = tuple(a for a in (within if x is axis else x for x in stage.axes) if a is not None)
    one = change(replace(kernel, stages=(stage,)), kept, lambda i, f: i.substitute(put, f)).stages[0]
    grid = (block, *kernel.outer)
    place = flat(tuple(variable(a) for a in grid), contiguous(tuple(limit(a.extent) for a in grid)))
    updates = [b for b in one.body if isinstance(b, Update)]
    taken = sum(b.name.startswith("part") for b in kernel.buffers)
    parts = tuple(Buffer(f"part{taken + n}", b.value.dtype, "out") for n, b in enumerate(updates))
    stores = tuple(
        Store(p.name, place, Scalar("acc", (), b.acc, b.value.dtype)) for p, b in zip(parts, updates, strict=True)
    )
    read = used(replace(kernel, stages=(one,)))
    first = Kernel((*parts, *read), (), grid, (Stage(axes, one.body), Stage((), stores)), kernel.vector)
    again = tuple(Update(b.acc, b.op, load(p.name, place, p.dtype)) for p, b in zip(parts, updates, strict=True))
    second = replace(kernel, stages=(Stage((block,), again), *(s for s in kernel.stages if s is not stage)))
    ins = tuple(replace(p, role="in") for p in parts)
    second = replace(second, buffers=tuple(b for b in used(second) if b not in ins) + ins)
    return Pieces(first, vectorise(replace(second, vector="")), parts, extents(grid))


def used(kernel: Kernel) -> tuple[Buffer, ...]:
    """The buffers that the stages name, in order."""
    names = {e.arg[0] for s in kernel.stages for e in walk(*(b.value for b in s.body)) if e.op == "load"}
    names |= {b.buffer for s in kernel.stages for b in s.body if isinstance(b, Store)}
    return tuple(b for b in kernel.buffers if b.name in names)


# ---------------------------------------------------------------- sizes become arguments


@dataclass(frozen=True)
class Bound:
    """A kernel whose sizes are names, their values, and how its work is cut."""

    kernel: Kernel
    sizes: tuple[int, ...]
    grain: tuple[int, int]  # rows, columns per chunk
    chunks: int
    scratch: int


def bind(kernel: Kernel) -> Bound:
    """Names every number that only says how large or where something is; 0 and steps of 1 along the vector axis stay."""
    binder = Binder(kernel)
    bound = binder.kernel()
    rows, columns, chunks = grain(kernel)
    lanes = LANES if any(a.name == kernel.vector for a in kernel.outer) else 1
    scratch = sum(limit(b.size) * lanes * ITEMSIZE[b.dtype] + 384 for b in kernel.buffers if b.role == "row")
    return Bound(bound, tuple(binder.values), (rows, columns), chunks, scratch)


def grain(kernel: Kernel) -> tuple[int, int, int]:
    """(rows per chunk, columns per chunk, chunks): whole vectors of columns, then as many rows as make up the work."""
    inner = sum(extents(s.axes) * price(s) for s in kernel.stages)
    column = next((a for a in kernel.outer if a.name == kernel.vector), None)
    rows = math.prod(
        -(-limit(a.extent) // TILE) if a.name == kernel.tile else limit(a.extent)
        for a in kernel.outer
        if a is not column
    )
    inner *= TILE if kernel.tile else 1
    return through(cuts, 3, inner, rows, limit(column.extent) if column else -1)  # type: ignore[return-value]


def cuts(inner: int, rows: int, width: int) -> tuple[int, int, int]:
    """The same of numbers: the steps of one point, rows of points, and columns (-1: none are side by side)."""
    if width < 0:
        per = even(max(1, WORK // max(inner, 1)), rows)
        return per, 1, -(-rows // per)
    columns = min(max(LANES, round_up(WORK // max(inner, 1), LANES)), round_up(width, LANES))
    per = 1 if columns < width else even(max(1, WORK // max(inner * min(columns, width), 1)), rows)
    return per, columns, -(-rows // per) * -(-width // columns)


def even(per: int, rows: int) -> int:
    """Rows of a chunk, about `per`, so that all chunks have as many: a few that are left over are not worth one of their own."""
    return per if rows <= per else -(-rows // -(-rows // (per + per // 4)))


def price(s: Stage) -> int:
    """A stage's step in units of a cheap one."""
    costly = sum(e.op in COSTLY for e in walk(*(b.value for b in s.body)))
    return 1 + 2 * costly


def round_up(n: int, to: int) -> int:
    return -(-n // to) * to


def sizes_among(kernel: Kernel, numbers: set[Any]) -> set[Scalar]:
    """The constants that are sizes: one of these numbers, and nothing but numbers of elements. Others may be as large by chance."""
    likely, others = set[Scalar](), set[Scalar]()
    for e in walk(*(b.value for s in kernel.stages for b in s.body)) if numbers else ():
        found = elements(e)
        likely.update(found)
        others.update(x for x in e.src if x not in found)
    return {e for e in likely - others if e.op == "const" and type(e.arg) in (int, float) and e.arg in numbers}


def elements(e: Scalar) -> tuple[Scalar, ...]:
    """The operands that may be numbers of elements: what a mean divides by, and what stands for no index."""
    if e.op == "div":
        return e.src[1:]
    if e.op == "where" and any(x.op == "index" for x in e.src[1:]):
        return tuple(x for x in e.src[1:] if x.op != "index")
    return ()


class Binder:
    """Gives names, in order of appearance, to the numbers of a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self.old = kernel
        self.values: list[int] = []
        self.names: list[str] = []
        self.counts: dict[str, int] = {}
        self.known: dict[tuple[str, Any], str] = {}
        self.axes: dict[tuple[str, Any], Axis] = {}
        names = {a.name for a in kernel.outer}
        self.dense = {kernel.vector, *(along(s, kernel.vector, names) for s in kernel.stages)} - {""}
        lengths = [a.extent for a in kernel.axes if not isinstance(a.extent, Span)]
        over = {extents(s.axes) for s in kernel.stages if s.axes}
        self.sizes = sizes_among(
            kernel, {n + d for n in {*lengths, *over} if type(n) is int and n > 4 for d in (0, -1)}
        )

    def name(self, kind: str, value: Size, key: Any) -> Size:
        if isinstance(value, str):
            return value
        if (kind, key) not in self.known:
            n = self.counts.get(kind, 0)
            self.counts[kind] = n + 1
            self.known[kind, key] = f"{kind}{n}"
            self.names.append(f"{kind}{n}")
            self.values.append(value)
        return self.known[kind, key]

    def axis(self, a: Axis) -> Axis:
        if (a.name, a.extent) not in self.axes:
            e = a.extent
            if isinstance(e, Span):
                new: Any = Span(
                    self.name("n", e.size, (a.name, "size")), self.name("n", e.total, (a.name, "total")), e.axis
                )
            else:
                new = self.name("n", e, a.name)
            self.axes[a.name, a.extent] = Axis(a.name, new)
        return self.axes[a.name, a.extent]

    def atom(self, a: Atom, value: Any) -> Atom:
        match a:
            case Axis():
                return self.axis(a)
            case At():
                return At(value(a.value))
        kind = Div if isinstance(a, Div) else Mod
        return kind(self.index(a.index, value), self.name("d", a.by, (kind, a)))

    def index(self, i: Index, value: Any) -> Index:
        terms = []
        for a, c in i.terms:
            new = self.atom(a, value)
            name = a.name if isinstance(a, Axis) else None
            plain = (name in self.dense and c in range(-1, NEAR + 1)) or (name == self.old.tile and c == 1)
            terms.append((new, c if plain else self.name("s", c, (i, a))))
        return Index(tuple(terms), self.name("c", i.const, i) if i.const else 0)

    def leaf(self, e: Scalar) -> Scalar | None:
        if e.op == "const" and (symbolic(e.arg) or e in self.sizes):
            return const(self.name("m", whole(e.arg), e.arg), e.dtype)
        return None

    def kernel(self) -> Kernel:
        old = self.old
        outer = tuple(self.axis(a) for a in old.outer)
        stages = []
        for s in old.stages:
            axes = tuple(self.axis(a) for a in s.axes)
            one = change(Kernel((), (), (), (s,)), self.leaf, self.index, lambda i, n: self.name("g", n, (i, n)))
            stages.append(replace(one.stages[0], axes=axes))
        buffers = tuple(replace(b, size=self.name("n", b.size, b.name)) if b.role == "row" else b for b in old.buffers)
        return replace(old, buffers=buffers, sizes=tuple(self.names), outer=outer, stages=tuple(stages))


def scheduled(kernel: Kernel) -> Kernel:
    """Every pass but `cut` and `bind`."""
    return spill(vectorise(canonical(order(collapse(kernel)))))
