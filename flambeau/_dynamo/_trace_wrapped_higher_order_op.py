"""Indexing with positions that are tensors, as functions of scores and masks do it."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau.overrides import TorchFunctionMode
from flambeau.utils import _pytree as pytree

__all__ = ["TransformGetItemToIndex", "mod_index"]


def mod_index(x: Any, indices: Any) -> Any:
    """The elements of x at tensors of positions; their gradient adds up where positions meet."""
    return flambeau.ops.aten.index(x, list(indices))


class TransformGetItemToIndex(TorchFunctionMode):
    """Inside, `x[i]` with 0-dim tensors gathers, where it would else read i and give a view: positions may be mapped over."""

    _sees_members = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is flambeau.Tensor.__getitem__:
            x, given = args[0], pytree.tree_leaves(args[1])
            if all(isinstance(i, (flambeau.Tensor, int)) for i in given):
                at = [flambeau.tensor(i, device=x.device) if isinstance(i, int) else i for i in given]
                return mod_index(x, at)
        return func(*args, **(kwargs or {}))
