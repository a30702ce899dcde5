"""How each primitive maps over a batch dimension that is the first of what batched tensors hold.

A rule gets the operator and its arguments, where `Batch(value)` stands for a batched tensor, and gives the results with the batch
first. Pointwise operators have one rule, composites need none (their parts are mapped); a primitive without a rule is run sample by
sample. Classes of primitives share a rule; the tables of this folder's files, one for each family, say which belong to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._eager import call
from flambeau._ground.errors import DynamicShape
from flambeau._operators.op import Op
from flambeau._tensor import Tensor
from flambeau.func._batch_rules import along, indexing, layers, products, shapes  # they fill the table
from flambeau.func._batch_rules.elementwise import align, aligned, filled, source_of
from flambeau.func._batch_rules.table import RULES, Batch, Same, VmapInfo, each, full, one_by_one, samples, stacked

__all__ = ["Batch", "Same", "VmapInfo", "apply", "check", "each", "samples", "stacked", "write"]


def apply(op: Op, values: Sequence[Any], level: Any) -> Any:
    """The operator over a batch."""
    if op.custom is not None and op.custom.vmap is not None:
        return _custom(op, values, level)
    found = RULES.get(op.overload)
    if found is None:
        found = aligned if op.kind == "pointwise" else one_by_one
    return found(op, list(values), level)


_ASK = "Please file an issue at https://github.com/pytorch/pytorch/issues if you need this feature."
_REFUSED = {
    "equal": "Batching rule not implemented for aten::equal. We could not generate a fallback.",
    "allclose": f"vmap over torch.allclose isn't supported yet. {_ASK}",
}
_STATISTICS = ("Batch norm got a batched tensor as input while the running_mean or running_var, which will be updated in place, were not "
               "batched.\nIf you are using a module and do not need eval mode, please set `track_running_stats` to be False.If you are "
               "using a prebuilt module and do not need eval mode, please see the functorch website for resources on how to patch your "
               "module to work with vmap")  # fmt: skip
_DYNAMIC = {name: f"vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over aten::{shown}. {_ASK}"
            for name, shown in (("nonzero", "nonzero"), ("_unique2", "_unique2"), ("unique_dim", "unique_dim"),
                                ("_unique_runs", "unique_consecutive"))}  # fmt: skip
_DYNAMIC["masked_select"] = ("vmap: Attempted to vmap over `mask` in torch.masked_select(self, mask) We cannot support this because for "
                             f"each batch this would return a differently shaped Tensor. {_ASK}")  # fmt: skip


def check(op: Op, values: Sequence[Any]) -> None:
    """Refuse what has no meaning, or no one shape, for a batch."""
    if op.overload in _REFUSED:
        raise RuntimeError(_REFUSED[op.overload])
    if op.overload in _DYNAMIC:
        from flambeau.func._batched import BatchedTensor

        if op.overload != "masked_select" or type(values[1]) is BatchedTensor:
            raise DynamicShape(_DYNAMIC[op.overload])
    if op.overload == "batch_norm" and values[5]:
        from flambeau.func._batched import BatchedTensor

        if type(values[0]) is BatchedTensor and isinstance(values[3], Tensor) and type(values[3]) is not BatchedTensor:
            raise RuntimeError(_STATISTICS)
    if op.overload == "one_hot" and values[1] == -1:
        raise RuntimeError(
            "When vmap-ing torch.nn.functional.one_hot, please provide an explicit positive num_classes argument."
        )


def _custom(op: Op, values: Sequence[Any], level: Any) -> Any:
    """A user's operator by the rule that was registered for it."""
    info = VmapInfo(level.size, level.randomness)
    dims = tuple(0 if type(v) is Batch else None for v in values)
    out, where = op.custom.vmap(info, dims, *[v.value if type(v) is Batch else v for v in values])
    if isinstance(out, Tensor):
        return out if where == 0 else out.movedim(where, 0) if where is not None else full(out, level.size)
    wheres = where if isinstance(where, (tuple, list)) else (where,) * len(out)
    return type(out)(
        o.movedim(d, 0) if d is not None else full(o, level.size) for o, d in zip(out, wheres, strict=True)
    )


def write(op: Op, values: Sequence[Any], level: Any) -> None:
    """The in-place form over a batch: into the value of the first argument."""
    target = values[op.receiver_at].value
    if op.kind == "pointwise" or RULES.get(op.overload) is aligned:
        ranked = align(op, list(values))
        if ranked[op.receiver_at] is target:
            call.general(op, tuple(ranked), None, True)
            return
    if RULES.get(op.overload) is filled and isinstance(values[1], (Batch, Tensor)):
        target.copy_(source_of(list(values), level))
        return
    if RULES.get(op.overload) is filled:
        call.general(op, tuple(v.value if type(v) is Batch else v for v in values), None, True)
        return
    target.copy_(apply(op, values, level))
