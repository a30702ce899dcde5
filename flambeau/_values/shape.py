"""Sizes, strides, broadcasting, dimension wrapping: arithmetic on tuples of ints, with PyTorch's errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Shape = tuple[int, ...]


class Size(tuple[int, ...]):
    """The sizes of a tensor: a tuple of ints that prints as `torch.Size([2, 3])`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    __str__ = __repr__

    def numel(self) -> int:
        """How many elements a tensor of these sizes has."""
        return math.prod(self)

    def __getitem__(self, i: Any) -> Any:
        item = tuple.__getitem__(self, i)
        return Size(item) if isinstance(i, slice) else item

    def __add__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented
        return Size(other + tuple(self))

    def __mul__(self, n: Any) -> Size:
        return Size(tuple.__mul__(self, n))

    __rmul__ = __mul__

    def __reduce__(self) -> Any:
        return Size, (tuple(self),)


Size.__module__ = "flambeau"


def whole(n: Any) -> int:
    """A number as an integer. One that is an integer stays what it is: a capture may follow it."""
    return n if isinstance(n, int) else int(n)


def symbolic(n: Any) -> bool:
    """Whether a number is an integer that is known only as an expression: it stands for more than one value."""
    return isinstance(n, int) and not issubclass(type(n), int)


def spelled(x: Any) -> Any:
    """A constant as its text, which tells 0.0 from -0.0 and 1 from True. Expressions that read alike are of one capture, or differ."""
    owner = _owner(x)
    return repr(x) if owner is None else (repr(x), owner)


def _owner(x: Any) -> int | None:
    """By which capture (or plan) the symbolic numbers in a constant are, as an identity."""
    kind = type(x)
    if kind is tuple:
        return next((o for y in x if type(y) is not int and (o := _owner(y)) is not None), None)
    if kind in (int, float, str, bool):
        return None
    return id(getattr(x, "symbols", None)) if symbolic(x) else None


def through(fn: Callable[..., Sequence[int]], count: int, *numbers: Any) -> Sequence[int]:
    """`count` integers, as a function gives them that decides nothing but these: of expressions it makes expressions."""
    known = next((n for n in numbers if symbolic(n)), None)
    return fn(*numbers) if known is None else known.through(fn, count, numbers)


def wrap_dim(dim: int, rank: int, scalar: bool = True) -> int:
    """`dim` counted from the front; a 0-d tensor counts as having one dimension when `scalar`."""
    if rank == 0:
        if not scalar:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        rank = 1
    if 0 <= dim < rank:
        return dim
    if -rank <= dim < 0:
        return dim + rank
    if not -(2**63) <= dim < 2**63:
        raise ValueError("Overflow when unpacking long long")
    raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")


def wrap_dims(dims: int | Iterable[int] | None, rank: int, empty_is_all: bool = True) -> Shape:
    """Distinct dimensions, counted from the front, in the order given; None (or an empty list) means all of them."""
    if isinstance(dims, int):
        return (wrap_dim(dims, rank),) if rank else (wrap_dim(dims, rank),)[:0]
    if dims is None:
        return tuple(range(rank))
    given = tuple(dims)
    if not given and empty_is_all:
        return tuple(range(rank))
    out: list[int] = []
    for d in given:
        d = wrap_dim(d, rank)
        if d in out:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        out.append(d)
    return tuple(out) if rank else ()


def contiguous_strides(shape: Sequence[int]) -> Shape:
    """Strides, in elements, of a row-major tensor; a size of 0 counts as 1."""
    return strides_in_order(shape, range(len(shape) - 1, -1, -1))


def strides_in_order(shape: Sequence[int], order: Iterable[int]) -> Shape:
    """Strides of an array without gaps whose dims are in this order, fastest first; a size of 0 counts as 1."""
    strides, step = [0] * len(shape), 1
    for d in order:
        strides[d] = step
        step *= max(shape[d], 1)
    return tuple(strides)


def elementwise_strides(shape: Shape, operands: Sequence[tuple[Shape, Shape]]) -> Shape:
    """How the result of an elementwise operation lies: in the order in which its operands, each a shape and strides, are walked.

    The first of them whose strides tell two dims apart decides; dims that none tells apart stay as they are.

    >>> elementwise_strides((2, 3), [((3,), (1,)), ((2, 3), (1, 2))])
    (1, 2)
    """
    if operands and all(s == shape for s, _ in operands):
        last = strides_in_order(shape, (1, 3, 2, 0)) if len(shape) == 4 else ()
        if last and all(a == b for _, t in operands for n, a, b in zip(shape, t, last, strict=True) if n != 1):
            return last
        first = operands[0][1]
        if all(t == first for _, t in operands) and is_dense(shape, first):
            return first
    steps = [_walked(shape, s, t) for s, t in operands if len(s)]
    order = list(reversed(range(len(shape))))  # fastest first; dims that are ambiguous are passed over, not sorted
    for i in range(1, len(order)):
        at = i
        for j in reversed(range(i)):
            slower = _slower(order[j], order[at], steps, shape)
            if slower > 0:
                order[j], order[at], at = order[at], order[j], j
            elif slower < 0:
                break
    return strides_in_order(shape, order)


def _walked(shape: Shape, own: Shape, strides: Shape) -> Shape:
    """An operand's strides over the result's dims: 0 where it is repeated."""
    lead = len(shape) - len(own)
    spread = (0 if n == 1 and shape[lead + i] != 1 else s for i, (n, s) in enumerate(zip(own, strides, strict=True)))
    return (0,) * lead + tuple(spread)


def _slower(d: int, other: int, steps: Sequence[Shape], shape: Shape) -> int:
    """1 if dim d is walked slower than the other, -1 if faster, 0 if no operand says."""
    for s in steps:
        if s[d] == 0 or s[other] == 0:
            continue
        if s[d] != s[other]:
            return 1 if s[d] > s[other] else -1
        if shape[d] > shape[other]:
            return 1
    return 0


def is_dense(shape: Shape, strides: Shape, step: int = 1) -> bool:
    """Whether elements, each a step, fill one run of memory, in some order of dims."""
    for s, n in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n != 1):
        if s != step:
            return False
        step *= n
    return True


def broadcast(*shapes: Sequence[int]) -> Shape:
    """The common shape, or PyTorch's error naming the first dimension (from the back) that does not fit."""
    out: list[int] = []
    for shape in shapes:
        a, b = out, list(shape)
        rank = max(len(a), len(b))
        a, b = [1] * (rank - len(a)) + a, [1] * (rank - len(b)) + b
        for i in range(rank - 1, -1, -1):
            if a[i] != b[i] and a[i] != 1 and b[i] != 1:
                raise RuntimeError(
                    f"The size of tensor a ({a[i]}) must match the size of tensor b ({b[i]}) at non-singleton dimension {i}"
                )
        out = [y if x == 1 else x for x, y in zip(a, b, strict=True)]
    return tuple(out)


def check_fills(into: Shape, shape: Shape) -> None:
    """Raise where sizes `shape` do not broadcast to sizes `into`, which stay."""
    if shape != into and (whole := broadcast(into, shape)) != into:
        raise RuntimeError(f"output with shape {list(into)} doesn't match the broadcast shape {list(whole)}")


def infer(shape: Sequence[int], numel: int) -> Shape:
    """`shape` with its one -1 worked out so that it holds `numel` elements."""
    shape = tuple(shape)
    known, unknown = 1, None
    for i, n in enumerate(shape):
        if n == -1:
            if unknown is not None:
                raise RuntimeError("only one dimension can be inferred")
            unknown = i
        elif n < 0:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(shape)}")
        else:
            known *= n
    if unknown is None:
        if known != numel:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
        return shape
    if known == 0:
        if numel == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified "
                f"dimension size -1 can be any value and is ambiguous"
            )
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
    if numel % known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
    return (*shape[:unknown], numel // known, *shape[unknown + 1 :])


def view_strides(shape: Sequence[int], strides: Sequence[int], new: Sequence[int]) -> Shape | None:
    """Strides with which the same memory has the new shape, or None where it must be copied."""
    numel = math.prod(shape)
    if numel == 0:
        return tuple(strides) if tuple(shape) == tuple(new) else contiguous_strides(new)
    if not shape:
        return (1,) * len(new)
    out = [0] * len(new)
    i = len(new) - 1
    base, chunk, seen = strides[-1], 1, 1
    for d in range(len(shape) - 1, -1, -1):
        chunk *= shape[d]
        if d == 0 or (shape[d - 1] != 1 and strides[d - 1] != chunk * base):  # a run of dims that lie densely ends here
            while i >= 0 and (seen < chunk or new[i] == 1):
                out[i] = seen * base
                seen *= new[i]
                i -= 1
            if seen != chunk:
                return None
            if d > 0:
                base, chunk, seen = strides[d - 1], 1, 1
    return tuple(out) if i == -1 else None
