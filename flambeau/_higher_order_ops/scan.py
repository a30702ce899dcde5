"""scan: a function carried along a dimension, one slice after the other."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau.utils import _pytree as pytree


def scan(combine_fn: Callable[..., Any], init: Any, xs: Any, *, dim: int = 0, reverse: bool = False) -> tuple[Any, Any]:
    """The last state and the outputs, stacked, of `state, output = combine_fn(state, slice)` along `dim`.

    >>> import flambeau as torch
    >>> scan(lambda s, x: (s + x, s + x), torch.zeros(()), torch.arange(3.0))
    (tensor(3.), tensor([0., 1., 3.]))
    """
    leaves, spec = pytree.tree_flatten(xs)
    if not leaves:
        raise RuntimeError("Expected at least one xs leaf")
    slices = [x.movedim(dim, 0) for x in leaves]
    state, outputs = init, []
    steps = range(slices[0].shape[0])
    for i in builtins.reversed(steps) if reverse else steps:
        state, output = combine_fn(state, pytree.tree_unflatten([x[i] for x in slices], spec))
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return state, pytree.tree_map(lambda *parts: flambeau.stack(parts), *outputs)
