"""Derivatives of tensors that were written through one of their views, in moves that a program has.

Eager code finds a view's part of a gradient by strides. Here it is reached as views usually are: dims in the order of memory, cut or
joined, a slice of each, and those in the view's order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flambeau._capture.breaks import Break
from flambeau._eager.graph import Node
from flambeau._eager.views import CopySlices, Part
from flambeau._tensor import Tensor
from flambeau._values.device import contiguous_format
from flambeau.autograd.function import BackwardCFunction

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Way:
    """From a tensor whose dims lie in order to a view of it: cut dims, slices of them, their order, and the view's shape."""

    dims: Ints
    slices: tuple[tuple[int, int, int], ...]
    order: Ints
    shape: Ints

    def view(self, whole: Any) -> Any:
        part = whole.view(self.dims)
        for d, (start, stop, step) in enumerate(self.slices):
            if (start, stop, step) != (0, self.dims[d], 1):
                part = part[(slice(None),) * d + (slice(start, stop, step),)]
        return part.permute(self.order).view(self.shape)


def through(tracer: Any, node: Any, g: Tensor) -> Sequence[Any]:
    """The gradients of what a node of `_eager.views` goes back to."""
    order, way = _found(tracer, node)
    shape = tuple(node.base.shape[d] for d in order)
    back = tuple(order.index(d) for d in range(len(order)))
    if not isinstance(node, CopySlices):
        whole = g.new_zeros(shape)
        way.view(whole).copy_(g)
        return (whole.permute(back),)
    fn: Node = node.fn
    if isinstance(fn, BackwardCFunction) or fn.outs > 1 or fn.pre or fn.post or fn.watched:
        raise Break("backward() through a tensor that a custom function, or one with hooks, wrote through a view")
    whole = g.permute(order).clone(memory_format=contiguous_format)
    into, *others = fn.tensors(way.view(whole).clone())
    part = way.view(whole)
    if into is None:
        part.zero_()
    else:
        part.copy_(into)
    return (whole.permute(back), *others)


def _found(tracer: Any, node: Any) -> tuple[Ints, Way]:
    refused = Break("backward() through a tensor that was written through one of its views")
    if tracer.symbols is not None:
        raise refused  # where stand-ins lie tells nothing
    base, part = node.base, Part(node.view, node.base)
    n = base.dtype.itemsize
    if part.halves or part.pairs or part.conjugate or part.negative or not base.size:
        raise refused
    strides = [s // n for s in base.strides]
    order = tuple(sorted(range(base.ndim), key=lambda d: (-strides[d], d)))
    shape = tuple(base.shape[d] for d in order)
    step = 1
    for d in reversed(order):
        if base.shape[d] != 1:
            if strides[d] != step:
                raise refused
            step *= base.shape[d]
    way = found_way(shape, part.shape, part.strides, part.offset)
    if way is None:
        raise refused
    return order, way


def found_way(base: Ints, shape: Ints, strides: Ints, offset: int) -> Way | None:
    """The way to a view of a tensor whose dims lie in order."""
    size = math.prod(base)
    cut: list[int] = []
    left = size
    walked = sorted({t for n, t in zip(shape, strides) if n != 1}, reverse=True)
    for t in walked:  # as the view is cut
        if t <= 0 or left % t:
            cut = []
            break
        cut.append(left // t)
        left = t
    ways = [tuple(n for n in base if n != 1) or (1,)] + ([(*cut, left)] if cut else [])
    return next((w for dims in ways if (w := _along(dims, shape, strides, offset)) is not None), None)


def _along(dims: Ints, shape: Ints, strides: Ints, offset: int) -> Way | None:
    """The way by given dims, if each dim of the view is a slice of one of them."""
    steps, t = [], 1
    for n in reversed(dims):
        steps.append(t)
        t *= n
    steps.reverse()
    taken: dict[int, tuple[int, int]] = {}  # dim -> how many of it, and how far apart
    order = []
    for n, t in zip(shape, strides, strict=True):
        if n == 1:
            continue
        d = next((d for d, s in enumerate(steps) if t >= s > 0 and t % s == 0 and d not in taken), None)
        if d is None or t < steps[d]:
            return None
        taken[d] = n, t // steps[d]
        order.append(d)
    slices = []
    for d, s in enumerate(steps):
        start, offset = divmod(offset, s)
        n, step = taken.get(d, (1, 1))
        stop = start + (n - 1) * step + 1
        if stop > dims[d]:
            return None
        slices.append((start, stop, step))
    return Way(dims, tuple(slices), (*order, *(d for d in range(len(dims)) if d not in taken)), shape)
