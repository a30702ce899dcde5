"""Collectives as operators, `torch.ops._c10d_functional`: results are new tensors, and groups are given by their names."""

from __future__ import annotations

from typing import Any

from flambeau import Tensor, distributed as dist, library
from flambeau.distributed import _functional_collectives as collectives

_lib = library.Library("_c10d_functional", "DEF")


def _operator(schema: str) -> Any:
    return lambda fn: _lib.impl(_lib.define(schema), fn, "CompositeExplicitAutograd")


@_operator("all_gather_into_tensor(Tensor input, int group_size, str group_name) -> Tensor")
def all_gather_into_tensor(input: Tensor, group_size: int, group_name: str) -> Tensor:
    """Every rank's tensor, joined."""
    return collectives.all_gather_tensor(input, 0, group_name)


@_operator("reduce_scatter_tensor(Tensor input, str reduce_op, int group_size, str group_name) -> Tensor")
def reduce_scatter_tensor(input: Tensor, reduce_op: str, group_size: int, group_name: str) -> Tensor:
    """Ranks' tensors combined: each rank its chunk."""
    return collectives.reduce_scatter_tensor(input, reduce_op, 0, group_name)


@_operator("all_reduce(Tensor input, str reduce_op, str group_name) -> Tensor")
def all_reduce(input: Tensor, reduce_op: str, group_name: str) -> Tensor:
    """Ranks' tensors combined, on all ranks."""
    return collectives.all_reduce(input, reduce_op, group_name)


@_operator("broadcast(Tensor input, int src, str group_name) -> Tensor")
def broadcast(input: Tensor, src: int, group_name: str) -> Tensor:
    """One rank's tensor, on all ranks."""
    return collectives.broadcast(input, src, group_name)


@_operator("wait_tensor(Tensor tensor) -> Tensor")
def wait_tensor(tensor: Tensor) -> Tensor:
    """The tensor: the others have ended when they return."""
    return tensor.clone()


# With gradients, and without waiting: the tensor is there.
_lib.impl(_lib.define("_wrap_tensor_autograd(Tensor input) -> Tensor"), lambda input: input.view_as(input), "CompositeImplicitAutograd")  # fmt: skip


_inner = library.Library("c10d", "DEF")


def scatter_(outputs: Any, inputs: Any, process_group: Any, root_rank: int, asyncOp: bool = True, timeout: int = -1) -> None:  # fmt: skip
    """Each rank its tensor of the root's list. It has ended when this returns: there is no work to wait for."""
    src = dist.get_global_rank(process_group, root_rank)
    dist.scatter(outputs[0], inputs[0] if dist.get_rank() == src else None, src, process_group)


_inner.impl(_inner.define("scatter_(Tensor(a!)[] output_tensors, Any input_tensors, Any process_group, int root_rank, bool asyncOp=True, int timeout=-1) -> ()"), scatter_, "CompositeExplicitAutograd")  # fmt: skip

# The older operators name a group by its ranks.
_older = library.Library("c10d_functional", "DEF")
for _schema, _fn in (
    ("all_gather_into_tensor(Tensor shard, str tag, int[] ranks, int group_size) -> Tensor",
     lambda shard, tag, ranks, group_size: collectives.all_gather_tensor(shard, 0, ranks)),
    ("reduce_scatter_tensor(Tensor input, str reduceOp, str tag, int[] ranks, int group_size) -> Tensor",
     lambda input, reduceOp, tag, ranks, group_size: collectives.reduce_scatter_tensor(input, reduceOp, 0, ranks)),
    ("all_reduce(Tensor self, str reduceOp, str tag, int[] ranks, int group_size) -> Tensor",
     lambda self, reduceOp, tag, ranks, group_size: collectives.all_reduce(self, reduceOp, ranks)),
    ("broadcast(Tensor self, int src, str tag, int[] ranks, int group_size) -> Tensor",
     lambda self, src, tag, ranks, group_size: collectives.broadcast(self, src, ranks)),
    ("wait_tensor(Tensor self) -> Tensor", lambda self: self.clone()),
):  # fmt: skip
    _older.impl(_older.define(_schema), _fn, "CompositeExplicitAutograd")
