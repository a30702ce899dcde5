"""out_dtype: an operator of ATen, computed in a dtype wide enough for its result, and its result in that dtype."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau._ops import OpOverload
from flambeau.utils import _pytree as pytree

_ALLOWED = (
    "linear.default", "mm.default", "conv2d.default", "convolution.default", "mul.Tensor", "mul.Scalar", "div.Tensor", "div.Scalar"
)  # fmt: skip


def out_dtype(op: Any, output_dtype: flambeau.dtype, *args: Any) -> Any:
    """`op(*args)` of tensors in the dtype in which they meet `output_dtype`, cast to it.

    >>> import flambeau as torch
    >>> x = torch.full((2, 2), 100, dtype=torch.int8)
    >>> out_dtype(torch.ops.aten.mul.Tensor, torch.int32, x, x)[0]
    tensor([10000, 10000], dtype=torch.int32)
    """
    if not isinstance(op, OpOverload):
        raise ValueError("out_dtype's first argument must be an OpOverload")
    if op._schema.is_mutable:
        raise ValueError("out_dtype's first argument needs to be a functional operator")
    returns = op._schema.returns
    if len(returns) != 1 or str(returns[0].type) != "Tensor":
        raise ValueError(
            f"out_dtype's can only apply to ops that return a single tensorInstead got [{', '.join(str(r.type) for r in returns)}]"
        )
    allowed = [_overload(name) for name in _ALLOWED]
    if op not in allowed:
        raise ValueError(f"out_dtype only allows the following operators: {allowed}.")
    leaves = [x for x in pytree.tree_leaves(args) if isinstance(x, (flambeau.Tensor, int, float, complex))]
    wide = flambeau.ones(1, dtype=output_dtype)
    met = wide.dtype
    for x in leaves:
        met = flambeau.promote_types(met, flambeau.result_type(wide, x))
    cast = pytree.tree_map(lambda x: x.to(met) if isinstance(x, flambeau.Tensor) else x, args)
    return op(*cast).to(output_dtype)


def _overload(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(flambeau.ops.aten, packet), overload)
