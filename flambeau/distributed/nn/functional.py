"""Collectives that gradients flow through: the derivative of each is the collective that goes the other way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau
from flambeau import distributed as dist
from flambeau._tensor import Tensor
from flambeau.autograd import Function
from flambeau.distributed._reduce_op import ReduceOp
from flambeau.distributed.distributed_c10d import group

__all__ = ["Function", "ReduceOp", "all_gather", "all_reduce", "all_to_all", "all_to_all_single", "broadcast", "gather", "group", "reduce",
           "reduce_scatter", "scatter"]  # fmt: skip


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """Rank `src`'s tensor, on all ranks; gradients add up on `src`."""
    return _Broadcast.apply(src, group, tensor)


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """Every rank's tensor, on rank `dst`; zeros elsewhere."""
    return _Gather.apply(dst, group, tensor)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """One of rank `src`'s tensors for each rank."""
    return _Scatter.apply(src, group, *tensors)


def reduce(tensor: Tensor, dst: int, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """All ranks' tensors combined, on rank `dst`."""
    return _Reduce.apply(dst, op, group, tensor)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """All ranks' lists combined entry by entry: each rank its entry."""
    return _ReduceScatter.apply(op, group, output, *input_list)


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """Every rank's tensor, on all ranks."""
    return _AllGather.apply(group, tensor)


def all_to_all(output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None) -> tuple[Tensor, ...]:  # fmt: skip
    """Each rank's r-th tensor goes to rank r."""
    return _AllToAll.apply(group, [tuple(t.shape) for t in output_tensor_list], *input_tensor_list)


def all_to_all_single(output: Tensor, input: Tensor, output_split_sizes: Any = None, input_split_sizes: Any = None, group: Any = None) -> Tensor:  # fmt: skip
    """Each rank's tensor in parts: the r-th goes to rank r."""
    return _AllToAllSingle.apply(group, output, output_split_sizes, input_split_sizes, input)


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """All ranks' tensors combined, on all ranks."""
    return _AllReduce.apply(op, group, tensor)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        ctx.src, ctx.group = src, group
        tensor = tensor.clone()
        dist.broadcast(tensor, src, group=group)
        return tensor

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        out = _Reduce.apply(ctx.src, ReduceOp.SUM, ctx.group, g)
        return None, None, out if dist.get_rank() == ctx.src else flambeau.zeros_like(out)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, dst: int, group: Any, tensor: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        ctx.dst, ctx.group = dst, group
        parts = [flambeau.zeros_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.gather(tensor.contiguous(), parts if dist.get_rank() == dst else None, dst, group=group)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> Any:  # type: ignore[override]
        return None, None, _Scatter.apply(ctx.dst, ctx.group, *gs)


class _Scatter(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Any, *tensors: Tensor) -> Tensor:  # type: ignore[override]
        ctx.src, ctx.group = src, group
        out = flambeau.zeros_like(tensors[0])
        dist.scatter(out, list(tensors) if dist.get_rank() == src else None, src, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        return (None, None, *_Gather.apply(ctx.src, ctx.group, g))


class _Reduce(Function):
    @staticmethod
    def forward(ctx: Any, dst: int, op: Any, group: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        ctx.dst, ctx.group = dst, group
        tensor = tensor.clone()
        dist.reduce(tensor, dst, op=op, group=group)
        return tensor

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        return None, None, None, _Broadcast.apply(ctx.dst, ctx.group, g)


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, group: Any, tensor: Tensor, *inputs: Tensor) -> Tensor:  # type: ignore[override]
        ctx.group = group
        out = flambeau.empty_like(tensor)
        dist.reduce_scatter(out, [t.contiguous() for t in inputs], op=op, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        return (None, None, None, *_AllGather.apply(ctx.group, g))


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, tensor: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        ctx.group = group
        out = [flambeau.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(out, tensor.contiguous(), group=group)
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> Any:  # type: ignore[override]
        rank = dist.get_rank(ctx.group)
        return None, _ReduceScatter.apply(ReduceOp.SUM, ctx.group, flambeau.empty_like(gs[rank]), *gs)


class _AllToAll(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, shapes: Any, *tensors: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        ctx.group, ctx.shapes = group, [tuple(t.shape) for t in tensors]
        out = [tensors[0].new_empty(s) for s in shapes]
        dist.all_to_all(out, [t.contiguous() for t in tensors], group=group)
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> Any:  # type: ignore[override]
        return (None, None, *_AllToAll.apply(ctx.group, ctx.shapes, *gs))


class _AllToAllSingle(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, output: Tensor, output_splits: Any, input_splits: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        ctx.group, ctx.shape, ctx.splits = group, tensor.shape, (output_splits, input_splits)
        out = flambeau.empty_like(output)
        dist.all_to_all_single(out, tensor.contiguous(), output_splits, input_splits, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        back = _AllToAllSingle.apply(ctx.group, g.new_empty(ctx.shape), ctx.splits[1], ctx.splits[0], g)
        return None, None, None, None, back


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, group: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        ctx.group, ctx.op = group, op
        tensor = tensor.clone()
        dist.all_reduce(tensor, op=op, group=group)
        return tensor

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        return None, None, _AllReduce.apply(ctx.op, ctx.group, g)
