"""Affine indices, simplified as they are built, and the axes they run over. Not values: those are in `loops.py`.

An index is a sum of atoms with coefficients. The extents of axes decide every `//` and `%` that can be decided, so
pads, windows, flips and reshapes become plain arithmetic. Coefficients, extents and divisors are numbers while a kernel
is being built; `loops.bind` replaces them by the names of run-time arguments, so that one kernel serves many shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Size: TypeAlias = "int | str"  # a number, or the name of a run-time argument


@dataclass(frozen=True)
class Span:
    """The extent of block `axis` when `total` steps are cut into blocks of `size`: the last one may be short."""

    size: Size
    total: Size
    axis: str

    def __str__(self) -> str:
        return f"min({self.size}, {self.total} - {self.axis} * {self.size})"


@dataclass(frozen=True)
class Axis:
    """One loop variable: `name` runs over range(extent)."""

    name: str
    extent: Size | Span

    @property
    def bounds(self) -> tuple[int, int]:
        return 0, limit(self.extent) - 1


@dataclass(frozen=True)
class Div:
    """`index // by`, where it could not be decided."""

    index: Index
    by: Size

    @property
    def bounds(self) -> tuple[int, int]:
        (lo, hi), n = self.index.bounds, limit(self.by)
        return lo // n, hi // n


@dataclass(frozen=True)
class Mod:
    """`index % by`, where it could not be decided."""

    index: Index
    by: Size

    @property
    def bounds(self) -> tuple[int, int]:
        return 0, limit(self.by) - 1


@dataclass(frozen=True)
class At:
    """An index read from memory: a scalar expression of integer dtype (a gather)."""

    value: Any  # an ir.Scalar; this file does not look inside

    @property
    def bounds(self) -> tuple[int, int]:
        return -(1 << 62), 1 << 62


Atom: TypeAlias = "Axis | Div | Mod | At"


def limit(size: Size | Span) -> int:
    """The largest value of an extent that is a number; names have no bounds and are not asked for them."""
    size = size.size if isinstance(size, Span) else size
    if isinstance(size, str):
        raise TypeError(f"the run-time size {size} has no bounds")
    return size


@dataclass(frozen=True)
class Index:
    """sum(coefficient * atom) + const."""

    terms: tuple[tuple[Atom, Size], ...] = ()
    const: Size = 0

    def __add__(self, other: Index | int) -> Index:
        other = other if isinstance(other, Index) else Index((), other)
        total: dict[Atom, Size] = dict(self.terms)
        for atom, c in other.terms:
            total[atom] = total.get(atom, 0) + c  # type: ignore[operator]
        terms, more = rejoin(tuple((a, c) for a, c in total.items() if c))
        return Index(terms, self.const + other.const + more)  # type: ignore[operator]

    def __sub__(self, other: Index | int) -> Index:
        return self + other * -1

    def __mul__(self, n: int) -> Index:
        return Index(tuple((a, c * n) for a, c in self.terms), self.const * n) if n else Index()

    def split(self, n: int) -> tuple[Index, Index]:
        """self == n * whole + rest, with whole as large as divisibility allows."""
        whole = tuple((a, c // n) for a, c in self.terms if c % n == 0)  # type: ignore[operator]
        rest = tuple((a, c) for a, c in self.terms if c % n)
        return Index(whole, self.const // n), Index(rest, self.const % n)  # type: ignore[operator]

    def grain(self, n: int) -> tuple[int, Index, Index] | None:
        """(g, q, r) with self == g * q + r, 0 <= r < g and g a divisor of n: then self // n is q // (n / g)."""
        for g in sorted({c for _, c in self.terms if c > 1 and n % c == 0}, reverse=True):  # type: ignore[operator]
            q, r = self.split(g)  # type: ignore[arg-type]
            lo, hi = r.bounds
            if lo >= 0 and hi < g:  # type: ignore[operator]
                return g, q, r  # type: ignore[return-value]
        return None

    def __floordiv__(self, n: int) -> Index:
        whole, rest = self.split(n)
        lo, hi = rest.bounds
        if lo // n == hi // n:
            return whole + lo // n
        coarse = rest.grain(n)
        if coarse is not None:
            g, q, _ = coarse
            return whole + q // (n // g)
        if len(rest.terms) == 1 and rest.const == 0 and rest.terms[0][1] == 1:  # (x // a) // n == x // (a * n)
            atom = rest.terms[0][0]
            if isinstance(atom, Div):
                return whole + atom.index // (atom.by * n)  # type: ignore[operator]
        return whole + Index(((Div(rest, n), 1),))

    def __mod__(self, n: int) -> Index:
        _, rest = self.split(n)
        lo, hi = rest.bounds
        if lo // n == hi // n:
            return rest - lo // n * n
        coarse = rest.grain(n)
        if coarse is not None:
            g, q, r = coarse
            return q % (n // g) * g + r
        if len(rest.terms) == 1 and rest.const == 0 and rest.terms[0][1] == 1:  # (x % (a * n)) % n == x % n
            atom = rest.terms[0][0]
            if isinstance(atom, Mod) and atom.by % n == 0:
                return atom.index % n
        return Index(((Mod(rest, n), 1),))

    @property
    def bounds(self) -> tuple[int, int]:
        lo = hi = self.const
        for a, c in self.terms:
            low, high = a.bounds
            lo, hi = lo + min(c * low, c * high), hi + max(c * low, c * high)  # type: ignore[operator]
        return lo, hi  # type: ignore[return-value]

    def coefficient(self, axis: str) -> Size:
        """The factor of the axis where it stands alone; 0 where it does not."""
        return next((c for a, c in self.terms if isinstance(a, Axis) and a.name == axis), 0)

    def affine_in(self, axis: str) -> bool:
        """Whether the axis stands in no // or % and in no gathered index."""
        return all(isinstance(a, Axis) or axis not in names(a) for a, _ in self.terms)

    @property
    def variables(self) -> frozenset[str]:
        return frozenset().union(*(names(a) for a, _ in self.terms)) if self.terms else frozenset()

    def substitute(self, put: Mapping[str, Index], value: Callable[[Any], Any] = lambda v: v) -> Index:
        """Replaces axes by indices (and gathered values by `value` of them), simplifying again."""
        out = Index((), self.const)
        for a, c in self.terms:
            match a:
                case Axis():
                    new = put.get(a.name, Index(((a, 1),)))
                case Div():
                    new = a.index.substitute(put, value) // a.by  # type: ignore[operator]
                case Mod():
                    new = a.index.substitute(put, value) % a.by  # type: ignore[operator]
                case At():
                    new = Index(((At(value(a.value)), 1),))
            out = out + new * c  # type: ignore[operator]
        return out


def names(a: Atom) -> frozenset[str]:
    """The axes an atom depends on."""
    match a:
        case Axis():
            return frozenset((a.name,))
        case At():
            return a.value.variables
    return a.index.variables


def rejoin(terms: tuple[tuple[Atom, Size], ...]) -> tuple[tuple[tuple[Atom, Size], ...], int]:
    """x // n * (n * c) + x % n * c == x * c: the pieces of a reshape come together again. Terms, and what x adds to the constant."""
    for a, c in terms:
        if not isinstance(a, Mod):
            continue
        whole = a.index // a.by  # type: ignore[operator]
        if len(whole.terms) != 1 or whole.const != 0:
            continue
        pair = (whole.terms[0][0], whole.terms[0][1] * a.by * c)  # type: ignore[operator]
        if pair in terms:
            left = Index(tuple(t for t in terms if t not in ((a, c), pair)))
            joined = left + a.index * c  # type: ignore[operator]
            return joined.terms, joined.const  # type: ignore[return-value]
    return terms, 0


def number(v: Size) -> Index:
    return Index((), v)


def variable(axis: Axis) -> Index:
    """The axis as an index; an axis of one step is the number 0."""
    return Index() if axis.extent == 1 else Index(((axis, 1),))


def flat(idx: tuple[Index, ...], strides: tuple[int, ...]) -> Index:
    out = Index()
    for i, s in zip(idx, strides, strict=True):
        out = out + i * s
    return out


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    out: list[int] = []
    step = 1
    for s in reversed(shape):
        out.append(step)
        step *= max(s, 1)
    return tuple(reversed(out))


def unflatten(lin: Index, shape: tuple[int, ...]) -> tuple[Index, ...]:
    """The indices of a shape whose row-major position is `lin`."""
    out: list[Index] = []
    for s in reversed(shape):
        out.append(lin % s if s else Index())
        lin = lin // s if s else Index()
    return tuple(reversed(out))


def atoms(index: Index) -> Iterator[Atom]:
    for a, _ in index.terms:
        yield a
        if isinstance(a, Div | Mod):
            yield from atoms(a.index)
