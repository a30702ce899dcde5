"""map: a function of each slice along the first dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau
from flambeau.utils import _pytree as pytree


def map(f: Callable[..., Any], xs: Any, *args: Any) -> Any:
    """`f(x, *args)` of every slice x of the tensors in `xs`, stacked.

    >>> import flambeau as torch
    >>> map(lambda x, y: x.sum() + y, torch.ones(2, 3), torch.ones(()))
    tensor([4., 4.])
    """
    leaves, spec = pytree.tree_flatten(xs)
    if len({x.shape[0] for x in leaves}) > 1:
        raise RuntimeError(
            f"Leading dimensions of mapped xs must be consistent. Got shapes {[x.shape for x in leaves]}."
        )
    rows = [f(pytree.tree_unflatten([x[i] for x in leaves], spec), *args) for i in range(leaves[0].shape[0])]
    return pytree.tree_map(lambda *parts: flambeau.stack(parts), *rows)
