"""associative_scan: all partial combinations along a dimension, in a logarithmic number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau
from flambeau.utils import _pytree as pytree

Leaves = list[Any]


def associative_scan(
    combine_fn: Callable[..., Any], xs: Any, dim: int, reverse: bool = False, combine_mode: str = "pointwise"
) -> Any:
    """`[x0, x0 * x1, x0 * x1 * x2, ...]` along `dim`, with an associative function for `*`.

    Neighbours are combined, the half as long scan of those gives every second result, and one more step the others
    (Blelloch, "Prefix sums and their applications", 1990).

    >>> import flambeau as torch
    >>> associative_scan(lambda a, b: a + b, torch.arange(4.0), 0)
    tensor([0., 1., 3., 6.])
    """
    if not callable(combine_fn):
        raise ValueError(f"Combine_fn must be a callable, but got {combine_fn}")
    if not isinstance(dim, int):
        raise ValueError("Dim must be an int, but got " + str(type(dim)))
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(f"Combine_mode must either 'pointwise' or 'generic', but got {combine_mode}")
    leaves, spec = pytree.tree_flatten(xs)
    if not leaves:
        raise ValueError("Expected at least one xs leaf")
    if dim < 0:
        dim += leaves[0].ndim

    def combine(a: Leaves, b: Leaves) -> Leaves:
        return pytree.tree_leaves(combine_fn(pytree.tree_unflatten(a, spec), pytree.tree_unflatten(b, spec)))

    if reverse:
        leaves = [x.flip(dim) for x in leaves]
    out = _scan(combine, leaves, dim)
    if reverse:
        out = [x.flip(dim) for x in out]
    return pytree.tree_unflatten(out, spec)


def _every_second(xs: Leaves, dim: int, start: int, end: int) -> Leaves:
    where = (slice(None),) * dim + (slice(start, end, 2),)
    return [x[where] for x in xs]


def _scan(combine: Callable[[Leaves, Leaves], Leaves], xs: Leaves, dim: int) -> Leaves:
    n = xs[0].shape[dim]
    if n < 2:
        return xs
    odd = _scan(combine, combine(_every_second(xs, dim, 0, n - 1), _every_second(xs, dim, 1, n)), dim)
    before = odd if n % 2 else [x.narrow(dim, 0, x.shape[dim] - 1) for x in odd]
    even = [x.narrow(dim, 0, 1) for x in xs]
    if n > 2:
        rest = combine(before, _every_second(xs, dim, 2, n))
        even = [flambeau.cat([a, b], dim) for a, b in zip(even, rest, strict=True)]
    return [_interleaved(a, b, n, dim) for a, b in zip(even, odd, strict=True)]


def _interleaved(even: Any, odd: Any, n: int, dim: int) -> Any:
    if n % 2:
        odd = flambeau.cat([odd, odd.narrow(dim, 0, 1)], dim)  # a slice that falls off again below
    return flambeau.stack([even, odd], dim + 1).flatten(dim, dim + 1).narrow(dim, 0, n)
