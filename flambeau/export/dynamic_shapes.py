"""Sizes that may differ from call to call: how they are named, and how a graph is found that holds for all of them.

A model is traced several times, with other sizes in each dynamic dimension. The graphs must be alike node by node; a number that
differs between them is a polynomial of the sizes, found from the traces and confirmed by one more that had no say in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

import flambeau
from flambeau._dynamo.exc import UserError
from flambeau.fx.experimental.symbolic_shapes import ConstraintViolationError
from flambeau.utils import _pytree as pytree


class Dim:
    """A named size, between `min` and `max`; `Dim.DYNAMIC`, `Dim.AUTO` and `Dim.STATIC` are sizes without a name.

    >>> from flambeau.export import Dim
    >>> Dim("batch", min=1, max=64)
    Dim('batch', min=1, max=64)
    """

    AUTO: Any
    STATIC: Any
    DYNAMIC: Any

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        if not name.isidentifier():
            raise AssertionError(f"Dim name must be a valid identifier, got {name}")
        self.__name__ = name
        self.min = 0 if min is None else min
        self.max = math.inf if max is None else max
        if self.max <= self.min:
            raise AssertionError(f"Cannot create Dim with inconsistent min={min}, max={max}")

    def _derived(self, factor: int, offset: int) -> DerivedDim:
        return DerivedDim(self, factor, offset)

    def _number(self, n: Any, how: str, positive: bool = False) -> int:
        if type(n) is not int or (positive and n <= 0):
            raise NotImplementedError(
                f"{how}, where {'a positive' if positive else 'an'} integer was expected. (Only increasing linear operations with integer "
                "coefficients are supported.)"
            )
        return n

    def __add__(self, other: Any) -> DerivedDim:
        return self._derived(1, self._number(other, f"Attempted to add {other} to {self.__name__}"))

    def __radd__(self, other: Any) -> DerivedDim:
        return self + other

    def __sub__(self, other: Any) -> DerivedDim:
        return self._derived(1, -self._number(other, f"Attempted to subtract {other} from {self.__name__}"))

    def __rsub__(self, other: Any) -> DerivedDim:
        raise NotImplementedError(
            f"Attempted to negate {self.__name__}. (Only increasing linear operations with integer coefficients are supported.)"
        )

    def __mul__(self, other: Any) -> DerivedDim:
        return self._derived(self._number(other, f"Attempted to multiply {other} with {self.__name__}", True), 0)

    def __rmul__(self, other: Any) -> DerivedDim:
        return self * other

    def __repr__(self) -> str:
        return f"Dim('{self.__name__}', min={self.min}, max={'inf' if self.max == math.inf else self.max})"


def _linear(name: str, factor: int, offset: int) -> str:
    """A size and a number of it, as people write it: `2*n + 1`."""
    product = name if factor == 1 else f"{factor}*{name}"
    return product if not offset else f"{product} {'+' if offset > 0 else '-'} {abs(offset)}"


class DerivedDim(Dim):
    """A size that is a multiple of another and a number: `2 * Dim("n") + 1`."""

    def __init__(self, root: Dim, factor: int, offset: int) -> None:
        self.root, self.factor, self.offset = root, factor, offset
        self.__name__ = _linear(root.__name__, factor, offset)

    @property
    def min(self) -> int:  # type: ignore[override]
        least = self.factor * self.root.min + self.offset
        if least < 0:
            raise AssertionError(
                f"Expected derived min value of {self.__name__} to be >= 0. Please specify an appropriate min value for {self.root.__name__} "
                f"(currently {self.root.min})."
            )
        return least

    @property
    def max(self) -> float:  # type: ignore[override]
        return self.factor * self.root.max + self.offset

    def _derived(self, factor: int, offset: int) -> DerivedDim:
        return DerivedDim(self.root, self.factor * factor, self.offset * factor + offset)

    def __repr__(self) -> str:
        return self.__name__


class _Hint:
    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __repr__(self) -> str:
        return f"Dim.{self.__name__}"


Dim.AUTO, Dim.STATIC, Dim.DYNAMIC = _Hint("AUTO"), _Hint("STATIC"), _Hint("DYNAMIC")


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several named sizes with the same bounds."""
    return tuple(Dim(name, min=min, max=max) for name in names)


class ShapesCollection:
    """Dynamic shapes by tensor: filled like a dict, spread over the arguments by `dynamic_shapes`."""

    def __init__(self) -> None:
        self._shapes: dict[int, Any] = {}

    def __setitem__(self, t: Any, shape: Any) -> None:
        if not isinstance(t, flambeau.Tensor):
            raise AssertionError(f"Cannot assign shape to non-tensor type {type(t)}")
        if id(t) in self._shapes and self._shapes[id(t)] != shape:
            raise AssertionError(f"Shapes assigned to tensor do not match: expected {self._shapes[id(t)]}, got {shape}")
        self._shapes[id(t)] = shape

    def __getitem__(self, t: Any) -> Any:
        return self._shapes.setdefault(id(t), {})

    def __len__(self) -> int:
        return len(self._shapes)

    def dynamic_shapes(self, m: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """The shapes in the structure of the arguments."""
        return pytree.tree_map(lambda x: self._shapes.get(id(x)), (*args, *(kwargs or {}).values()))


class AdditionalInputs:
    """Dynamic shapes by example: a dimension varies if it has another size in one of the inputs that are added."""

    def __init__(self) -> None:
        self._examples: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def add(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """Further inputs that the program shall take."""
        if type(args) is not tuple:
            raise AssertionError(f"Representative args {args} must be a tuple")
        if kwargs is not None and type(kwargs) is not dict:
            raise AssertionError(f"Representative kwargs {kwargs} must be None or a dict")
        self._examples.append((args, kwargs or {}))

    def dynamic_shapes(self, m: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """`Dim.DYNAMIC` or None, for every dimension and every number, in the structure of the arguments."""
        examples = [(*a, *k.values()) for a, k in [(args, kwargs or {}), *self._examples]]
        (first, spec), *others = [pytree.tree_flatten(e) for e in examples]
        if any(other_spec != spec for _, other_spec in others):
            raise ValueError("The representative inputs are not all of one structure")
        return pytree.tree_unflatten([_varies(*column) for column in zip(first, *(o for o, _ in others), strict=True)], spec)  # fmt: skip

    def verify(self, ep: Any) -> None:
        """Raises what the program raises for inputs that it does not take, of each example."""
        from flambeau.export.exported_program import check

        for args, kwargs in self._examples:
            check(ep, args, kwargs)


def _varies(first: Any, *others: Any) -> Any:
    if any(type(o) is not type(first) for o in others):
        raise ValueError(f"The following inputs were found to have differing types, so they cannot be marked as dynamic: {(first, *others)}.")  # fmt: skip
    if isinstance(first, flambeau.Tensor):
        if any(o.ndim != first.ndim for o in others):
            raise ValueError("The following inputs were found to have differing numbers of dimensions, so they cannot be marked as dynamic: "
                             f"{tuple(tuple(t.shape) for t in (first, *others))}.")  # fmt: skip
        return tuple(None if len(set(column)) == 1 else Dim.DYNAMIC for column in zip(first.shape, *(o.shape for o in others), strict=True))  # fmt: skip
    if all(o == first for o in others):
        return None
    if isinstance(first, int) and not isinstance(first, bool):
        return Dim.DYNAMIC
    raise ValueError(f"The following inputs were found to have differing values, but they cannot be marked as dynamic: {(first, *others)}.")  # fmt: skip


class Symbol:
    """One size that varies: its name, its value in the example, its bounds, and where it is read: (input, dim)."""

    def __init__(self, name: str, hint: int, low: int, high: float, place: tuple[int, int]) -> None:
        self.name, self.hint, self.low, self.high, self.place = name, hint, low, high, place
        self.through: Derived | None = None  # what is read at its place, where that is not the size itself

    def __repr__(self) -> str:
        return self.name

    @property
    def symbol(self) -> Symbol:
        """The size that varies."""
        return self

    def of(self, n: Any) -> Any:
        """What is read where the size is n."""
        return n

    def root_of(self, n: int) -> int | None:
        """The size where n is read; None where none gives that."""
        return n


class Derived:
    """What a dimension is in terms of a size that varies: a multiple of it and a number."""

    def __init__(self, symbol: Symbol, factor: int, offset: int) -> None:
        self.symbol, self.factor, self.offset = symbol, factor, offset

    @property
    def name(self) -> str:
        """As people write it: `2*n + 1`."""
        return _linear(self.symbol.name, self.factor, self.offset)

    __repr__ = name.fget  # type: ignore[assignment]

    def of(self, n: Any) -> Any:
        """What is read where the size is n."""
        return self.factor * n + self.offset

    def root_of(self, n: int) -> int | None:
        """The size where n is read; None where none gives that."""
        size, rest = divmod(n - self.offset, self.factor)
        return None if rest else size


Constraint = Symbol | Derived  # what was found of a size that varies


class Size:
    """A number that depends on dynamic sizes: a sum of products, [(coefficient, (size, ...)), ...]."""

    def __init__(self, terms: list[tuple[Fraction, tuple[Symbol, ...]]], hint: int) -> None:
        self.terms, self.hint = terms, hint

    def __str__(self) -> str:
        """The sum, as people write it: `2*s0 + 1`."""
        parts = []
        for factor, names in sorted(self.terms, key=lambda t: (-len(t[1]), [s.name for s in t[1]])):
            product = "*".join(sorted(s.name for s in names)) or "1"
            parts.append(product if factor == 1 else f"{factor}" if not names else f"{factor}*{product}")
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__

    @property
    def linear(self) -> Symbol | Derived | None:
        """The size that this is a multiple of, and the number that is added, where that is all."""
        if self.symbol is not None:
            return self.symbol
        found = {names: factor for factor, names in self.terms}
        offset = found.pop((), Fraction(0))
        if len(found) != 1:
            return None
        ((names, factor),) = found.items()
        if len(names) != 1 or factor.denominator != 1 or offset.denominator != 1 or factor < 1:
            return None
        return Derived(names[0], int(factor), int(offset))

    @property
    def symbol(self) -> Symbol | None:
        """The size itself, where it is one and nothing more."""
        return self.terms[0][1][0] if len(self.terms) == 1 and self.terms[0][0] == 1 and len(self.terms[0][1]) == 1 else None  # fmt: skip


_DerivedDim = DerivedDim  # as PyTorch calls it


def symbols(leaves: Sequence[Any], shapes: Sequence[Any], tied: bool = False) -> tuple[list[Symbol], dict[tuple[int, int], Any]]:  # fmt: skip
    """The sizes that vary, and for each dynamic (input, dim) which of them it is.

    Args:
        leaves: the example inputs.
        shapes: per input a dict, sequence or None.
        tied: sizes without a name that are equal in the example are one size.
    """
    found: dict[Any, Symbol] = {}
    where: dict[tuple[int, int], Any] = {}
    named: dict[str, Dim] = {}
    derived: list[tuple[int, int, int, DerivedDim]] = []
    for i, (x, spec) in enumerate(zip(leaves, shapes, strict=True)):
        if isinstance(x, int) and isinstance(spec, _Hint) and spec is not Dim.STATIC:
            raise NotImplementedError(f"torch.export with numbers as inputs that vary (input {i})")
        if spec is None or not isinstance(x, flambeau.Tensor):
            continue
        entries = spec.items() if isinstance(spec, dict) else enumerate(spec)
        for d, dim in entries:
            if dim is None or dim is Dim.STATIC or isinstance(dim, int):
                if isinstance(dim, int) and not isinstance(dim, bool) and dim != x.shape[d]:
                    raise ConstraintViolationError(
                        f"Static shape constraint of {dim} does not match input size of {x.shape[d]}, for input {i}.size()[{d}]"
                    )
                continue
            if isinstance(dim, DerivedDim):
                derived.append((i, d, x.shape[d], dim))
                continue
            if isinstance(dim, Dim):
                if not dim.min <= x.shape[d] <= dim.max:
                    raise ConstraintViolationError(f"{x.shape[d]} not in range [{dim.min}, {dim.max}]")
                other = named.setdefault(dim.__name__, dim)
                if (other.min, other.max) != (dim.min, dim.max):
                    raise UserError(
                        f"Found different definitions {other} and {dim} for the same symbolic dimension {dim}!"
                    )
            key = dim.__name__ if isinstance(dim, Dim) else x.shape[d] if tied else (i, d)
            if key not in found:
                name = dim.__name__ if isinstance(dim, Dim) else f"s{len(found)}"
                low, high = (dim.min, dim.max) if isinstance(dim, Dim) else (0, math.inf)
                found[key] = Symbol(name, x.shape[d], int(low), high, (i, d))
            s = found[key]
            if s.hint != x.shape[d]:
                raise RuntimeError(
                    f"Constraints violated ({s.name})! dimension {d} of an input is {x.shape[d]}, where {s.name} was {s.hint} before"
                )
            where[i, d] = s
    for i, d, n, dim in derived:
        root = dim.root
        form = Derived(
            found.get(root.__name__) or Symbol(root.__name__, 0, int(root.min), root.max, (i, d)),
            dim.factor,
            dim.offset,
        )
        s = form.symbol
        size = form.root_of(n)
        if root.__name__ not in found:
            if size is None:
                raise UserError(
                    f"Expected shape[{d}] = {n} of input Tensor to be of the form {dim}, where {root.__name__} is an integer"
                )
            if not root.min <= size <= root.max:
                raise ConstraintViolationError(f"{n} not in range [{dim.min}, {dim.max}]")
            s.hint, s.through = size, form
            found[root.__name__] = s
        elif size != s.hint:
            raise UserError(
                f"Expected input {i}.size()[{d}] to be equal to {dim}, where {root.__name__} = {s.hint}, but got {n}"
            )
        where[i, d] = form
    return list(found.values()), where


def without_automatic(given: Sequence[Any]) -> list[Any]:
    """The shapes, where sizes that may vary or not (`Dim.AUTO`) do not."""

    def one(dim: Any) -> Any:
        return Dim.STATIC if dim is Dim.AUTO else dim

    return [
        {d: one(n) for d, n in spec.items()} if isinstance(spec, dict) else None if spec is None else type(spec)(map(one, spec))
        if isinstance(spec, (list, tuple)) else spec
        for spec in given
    ]  # fmt: skip


def resized(leaves: Sequence[Any], where: dict[tuple[int, int], Any], sizes: dict[Symbol, int]) -> list[Any]:
    """Example inputs with other sizes: the example's elements again and again."""
    out = list(leaves)
    for i, x in enumerate(leaves):
        changed = {d: s.of(sizes[s.symbol]) for (j, d), s in where.items() if j == i}
        if changed:
            for d, n in changed.items():
                index = flambeau.arange(n) % max(x.shape[d], 1)
                x = x.index_select(d, index)
            out[i] = x.detach().clone().requires_grad_(leaves[i].requires_grad)
    return out


def samples(varying: Sequence[Symbol]) -> list[dict[Symbol, int]]:
    """Sizes to trace with, besides the example's: enough to tell products and sums of them apart, and one to confirm."""
    out = []
    for shift in (1, 2, 4, 7):
        sizes = {}
        for k, s in enumerate(varying):
            n = s.hint + shift * (k + 1) + k
            n = int(min(n, s.high))
            sizes[s] = max(n, s.low, 2 if s.hint > 1 else 1)
        out.append(sizes)
    for k, s in enumerate(varying if len(varying) > 1 else ()):
        out.append({t: t.hint + (3 + k if t is s else 0) for t in varying})
    return out


def polynomial(varying: Sequence[Symbol], points: Sequence[dict[Symbol, int]], values: Sequence[int]) -> list[tuple[Fraction, tuple[Symbol, ...]]] | None:  # fmt: skip
    """values as a sum of products of sizes, each size at most once (twice where there is one only); None if they are none."""
    monomials: list[tuple[Symbol, ...]] = [()]
    for n in range(1, len(varying) + 1):
        monomials += list(itertools.combinations(varying, n))
    if len(varying) == 1:
        monomials.append((varying[0],) * 2)
    table = [[math.prod(p[s] for s in m) for m in monomials] for p in points]
    for count in (1, 2, 3):  # the shortest that fits is the one that was meant
        for chosen in itertools.combinations(range(len(monomials)), count):
            a = np.array([[row[c] for c in chosen] for row in table], float)
            fit, *_ = np.linalg.lstsq(a, np.array(values, float), rcond=None)
            exact = [Fraction(float(f)).limit_denominator(4096) for f in fit]
            sums = [sum(f * row[c] for f, c in zip(exact, chosen, strict=True)) for row in table]
            if all(got == want for got, want in zip(sums, values, strict=True)):
                return [(f, monomials[c]) for f, c in zip(exact, chosen, strict=True) if f]
    return None


class Bounds:
    """The smallest and largest value of a size; prints as PyTorch's ranges do."""

    def __init__(self, lower: int, upper: float) -> None:
        self.lower, self.upper = lower, upper

    def __repr__(self) -> str:
        return f"VR[{self.lower}, {'int_oo' if self.upper == math.inf else self.upper}]"
