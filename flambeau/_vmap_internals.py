"""`vmap` as it was before `torch.func`: libraries of numerical methods still map derivatives through `_vmap`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from typing_extensions import deprecated

from flambeau._ground.tree import tree_flatten, tree_unflatten
from flambeau.func import vmap as _mapped

in_dims_t = int | tuple[Any, ...]
out_dims_t = int | tuple[int, ...]


@deprecated("Please use `torch.vmap` instead of `torch._vmap_internals.vmap`.", category=FutureWarning)
def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0) -> Callable[..., Any]:
    """`torch.vmap` under its older name."""
    return _vmap(func, in_dims, out_dims)


def _vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, allow_none_pass_through: bool = False
) -> Callable[..., Any]:
    """`func` for each sample of a batch. With `allow_none_pass_through` results may be None, as gradients are by what was not used."""
    if not allow_none_pass_through:
        return functools.wraps(func)(lambda *args: _mapped(func, in_dims, out_dims)(*args))

    @functools.wraps(func)
    def wrapped(*args: Any) -> Any:
        seen: list[Any] = []

        def tensors_alone(*samples: Any) -> tuple[Any, ...]:
            flat, spec = tree_flatten(func(*samples))
            seen[:] = [spec, [x is None for x in flat]]
            return tuple(x for x in flat if x is not None)

        found = iter(_mapped(tensors_alone, in_dims)(*args))
        spec, empty = seen
        dims = [out_dims] * len(empty) if isinstance(out_dims, int) else list(out_dims)
        results = [None if none else next(found).movedim(0, dim) for none, dim in zip(empty, dims, strict=True)]
        return tree_unflatten(results, spec)

    return wrapped
