"""`rearrange`: dimensions by name, in einops' notation."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

Group = tuple[str, ...]  # the names (or lengths) that share one dimension
_TOKEN = re.compile(r"\s*(\.\.\.|\w+|[()])")


def _groups(side: str, pattern: str) -> list[Group]:
    """The dimensions of one side of a pattern."""
    groups: list[Group] = []
    inside: list[str] | None = None
    at, side = 0, side.strip()
    while at < len(side):
        found = _TOKEN.match(side, at)
        if found is None:
            raise ValueError(f"Invalid character in rearrange pattern: {pattern!r}")
        at, token = found.end(), found.group(1)
        if token == "(":
            if inside is not None:
                raise ValueError(f"brackets inside brackets are not allowed in a rearrange pattern: {pattern!r}")
            inside = []
        elif token == ")":
            if inside is None:
                raise ValueError(f"brackets are not balanced in rearrange pattern: {pattern!r}")
            groups.append(tuple(inside))
            inside = None
        elif inside is not None:
            inside.append(token)
        else:
            groups.append((token,))
    if inside is not None:
        raise ValueError(f"brackets are not balanced in rearrange pattern: {pattern!r}")
    names = [n for g in groups for n in g if not n.isdigit()]
    if len(set(names)) < len(names):
        raise ValueError(f"an identifier stands twice on one side of rearrange pattern: {pattern!r}")
    return [tuple(n for n in g if n != "1") for g in groups]


@lru_cache(256)
def _parsed(pattern: str) -> tuple[list[Group], list[Group]]:
    left, arrow, right = pattern.partition("->")
    if not arrow or "->" in right:
        raise ValueError("Pattern must contain exactly one '->' separator")
    sides = _groups(left, pattern), _groups(right, pattern)
    before, after = ({n for g in side for n in g} for side in sides)
    if any(n.isdigit() for n in before | after):
        raise ValueError(f"dimensions of a given length other than 1 are not supported in rearrange: {pattern!r}")
    if before != after:
        raise ValueError(f"Identifiers only on one side of expression (should be on both): {before ^ after}")
    if any("..." in g and len(g) > 1 for g in sides[0]):
        raise ValueError(f"an ellipsis inside brackets stands on the right side only: {pattern!r}")
    return sides


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """A tensor (or a list of equal ones, as a first dimension) with its dimensions split, moved and joined as a pattern says.

    Args:
        pattern: names of dimensions before and after: `"b (h w) c -> b c h w"`. Names in brackets share a dimension, `1` is a dimension of
            one element, `...` stands for all dimensions that are not named.
        axes_lengths: lengths of names that share a dimension, all but one of them.

    >>> import flambeau as torch
    >>> torch.func.rearrange(torch.arange(6), "(a b) -> b a", a=2)
    tensor([[0, 3],
            [1, 4],
            [2, 5]])
    """
    import flambeau

    if not isinstance(tensor, flambeau.Tensor):
        tensor = flambeau.stack(list(tensor))
    left, right = _parsed(pattern)
    names = {n for g in left for n in g}
    for name in axes_lengths:
        if name not in names:
            raise ValueError(f"Axis {name} is not in rearrange pattern {pattern!r}")
    extra = tensor.ndim - len(left) + 1
    if ("...",) in left and extra < 0:
        raise ValueError(f"Number of dimensions in pattern ({len(left) - 1}) must be less than or equal to the number of dimensions in the tensor ({tensor.ndim})")  # fmt: skip
    if ("...",) not in left and extra != 1:
        raise ValueError(f"Number of dimensions in pattern ({len(left)}) must be equal to the number of dimensions in the tensor ({tensor.ndim})")  # fmt: skip
    rest = [f"...{i}" for i in range(extra)] if ("...",) in left else []
    spread = [g for group in left for g in ([(n,) for n in rest] if group == ("...",) else [group])]
    sizes = dict(axes_lengths)
    for group, size in zip(spread, tensor.shape, strict=True):
        unknown = [n for n in group if n not in sizes]
        known = math.prod(sizes[n] for n in group if n in sizes)
        if len(unknown) > 1:
            raise ValueError(f"Could not infer the lengths of {unknown} in rearrange pattern {pattern!r}")
        if unknown and known and size % known == 0:
            sizes[unknown[0]] = size // known
        elif unknown or known != size:
            raise ValueError(f"A dimension of {size} elements cannot be {' x '.join(f'{n}={sizes.get(n)}' for n in group) or '1'}")  # fmt: skip
    flat = [n for g in spread for n in g]
    joined = [tuple(m for n in g for m in (rest if n == "..." else [n])) for g in right]
    joined = [g for group, g0 in zip(joined, right, strict=True) for g in ([(n,) for n in rest] if g0 == ("...",) else [group])]  # fmt: skip
    order = [flat.index(n) for g in joined for n in g]
    split = tensor.reshape([sizes[n] for n in flat])
    return split.permute(order).reshape([math.prod(sizes[n] for n in g) for g in joined])


rearrange.__module__ = "flambeau.func"
