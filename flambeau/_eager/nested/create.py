"""Nested tensors that are made after others: filled with one value, or with random numbers."""

from __future__ import annotations

from typing import Any

from flambeau._backends.nested_arrays import JaggedArray
from flambeau._eager import create as lane
from flambeau._eager.nested import refused
from flambeau._eager.nested.jagged import again
from flambeau._operators.op import Op
from flambeau._tensor import around, wrap

_STRIDED = frozenset(("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like"))


def created(op: Op, values: tuple[Any, ...], layout: Any, like: Any) -> Any:
    """`zeros_like(nested)` and its kind: the same structure, other elements."""
    if like is None:
        raise refused(op, values)
    jagged = type(like._a) is JaggedArray
    if op.aten.startswith("new_"):
        size = dict(zip((p.name for p in op.params), values, strict=True))["size"]
        if not jagged:
            raise refused(op, values)
        if len((size,) if isinstance(size, int) else size):
            raise RuntimeError("new_empty() not supported for NJT with shape != ()")
    if not jagged and op.aten not in _STRIDED:
        raise refused(op, values)
    made = lane.create(op, (wrap(like._a.values), *values[1:]), None, None, None, False, False)
    if op.aten.startswith("new_"):
        return made
    return again(made, like._a.ragged) if jagged else around(like._a.with_values(made._a))
