"""Indexing by tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._operators.op import Op
from flambeau._tensor import Tensor
from flambeau.func._batch_rules.table import Batch, behind, full, one_by_one, rank, rule, run

MASK = ("vmap: We do not support batching operators that can support dynamic shape. Attempting to batch over indexing with a boolean "
         "mask.")  # fmt: skip


def _arange(n: int, rank: int) -> Any:
    from flambeau._eager.names import public

    return public("arange")(n).reshape(n, *(1,) * rank)


@rule("index.Tensor")
def index(op: Op, values: list[Any], level: Any) -> Any:
    x, indices = values
    where = [k for k, i in enumerate(indices) if i is not None]
    adjacent = where == list(range(where[0], where[-1] + 1))
    if any(type(i) is not Batch and i is not None and i.dtype.kind == "b" for i in indices):
        indices = _without_masks(indices)
        where = [k for k, i in enumerate(indices) if i is not None]
    batched_index = any(type(i) is Batch for i in indices)
    depth = max(rank(i) for i in indices if i is not None)
    if not batched_index:
        out = run(op, (x.value, [None, *indices]))
        return out if adjacent else out.movedim(depth, 0)
    if any(type(i) is Batch and i.value.dtype.kind == "b" for i in indices):
        raise RuntimeError(MASK)
    t = full(x, level.size)
    spread = [None if i is None else behind(i, depth) for i in indices]
    out = run(op, (t, [_arange(level.size, depth), *spread]))
    lead = where[0]
    if adjacent and lead:  # the indexed dimensions came first: put them back behind those that lead
        out = out.movedim(tuple(range(1, depth + 1)), tuple(range(lead + 1, lead + depth + 1)))
    return out


def _without_masks(indices: Sequence[Any]) -> list[Any]:
    out: list[Any] = []
    for i in indices:
        out += list(i.nonzero(as_tuple=True)) if isinstance(i, Tensor) and i.dtype.kind == "b" else [i]
    return out


@rule("index_put")
def index_put(op: Op, values: list[Any], level: Any) -> Any:
    x, indices, source, accumulate = values
    if any(type(i) is Batch and i.value.dtype.kind == "b" for i in indices):
        raise RuntimeError(MASK)
    indices = _without_masks(indices)
    where = [k for k, i in enumerate(indices) if i is not None]
    if where[0] != 0 or where != list(range(len(where))):
        return one_by_one(op, values, level)
    depth = max(rank(i) for i in indices if i is not None)
    t = full(x, level.size)
    spread = [behind(i, depth) for i in indices]
    n = depth + rank(x) - len(where)
    return run(op, (t, [_arange(level.size, depth), *spread], behind(source, n), accumulate))
