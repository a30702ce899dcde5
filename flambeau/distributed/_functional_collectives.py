"""Collectives that give a new tensor instead of writing into one. Each has ended when it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau
from flambeau import distributed as dist
from flambeau._tensor import Tensor
from flambeau.distributed._reduce_op import ReduceOp


class AsyncCollectiveTensor(Tensor):
    """A result that is waited for when it is used. None is made: results are there at once."""


def _group(group: Any) -> Any:
    """A group, from one of the ways to name it: itself, its name, a list of ranks, a mesh, a mesh and a dimension."""
    if isinstance(group, tuple) and len(group) == 2 and hasattr(group[0], "get_group"):
        return group[0].get_group(group[1])
    if hasattr(group, "get_group"):
        return group.get_group()
    if isinstance(group, str):
        return dist.distributed_c10d._resolve_process_group(group)
    if isinstance(group, (list, tuple)):
        ranks = list(group[0]) if group and isinstance(group[0], (list, tuple)) else list(group)
        if ranks == list(range(dist.get_world_size())):
            return None
        raise NotImplementedError(
            "torch.distributed._functional_collectives over a list of some ranks: make a group of them"
        )
    return group


def _op(name: Any) -> Any:
    return getattr(ReduceOp, name.upper()) if isinstance(name, str) else name


def wait_tensor(tensor: Tensor) -> Tensor:
    """The tensor, when it is there: it is."""
    return tensor


def all_reduce(self: Tensor, reduceOp: str, group: Any, tag: str = "") -> Tensor:
    """All ranks' tensors combined."""
    out: Any = self.clone(memory_format=flambeau.contiguous_format)  # type: ignore[attr-defined]
    dist.all_reduce(out, _op(reduceOp), _group(group))
    return out


def broadcast(self: Tensor, src: int, group: Any, tag: str = "") -> Tensor:
    """Rank `src`'s tensor."""
    out: Any = self.clone(memory_format=flambeau.contiguous_format)  # type: ignore[attr-defined]
    dist.broadcast(out, group=_group(group), group_src=src)
    return out


def all_gather_tensor(self: Any, gather_dim: int, group: Any, tag: str = "") -> Tensor:
    """Every rank's tensor, joined along a dimension."""
    group = _group(group)
    n = dist.get_world_size(group)
    out = self.new_empty((n * self.size(0), *self.shape[1:]))
    dist.all_gather_into_tensor(out, self.contiguous(), group)
    return out if gather_dim == 0 else flambeau.cat(out.chunk(n), gather_dim)


def reduce_scatter_tensor(self: Any, reduceOp: str, scatter_dim: int, group: Any, tag: str = "") -> Tensor:
    """All ranks' tensors combined: each rank its chunk of a dimension."""
    group = _group(group)
    n = dist.get_world_size(group)
    if self.size(scatter_dim) % n:
        raise AssertionError(
            f"input dimension {scatter_dim} ({self.size(scatter_dim)}) must be a multiple of group_size {n}"
        )
    whole = self if scatter_dim == 0 else flambeau.cat(self.chunk(n, scatter_dim))
    out = whole.new_empty((whole.size(0) // n, *whole.shape[1:]))
    dist.reduce_scatter_tensor(out, whole.contiguous(), _op(reduceOp), group)
    return out


def all_to_all_single(self: Any, output_split_sizes: Sequence[int] | None, input_split_sizes: Sequence[int] | None, group: Any, tag: str = "") -> Tensor:  # fmt: skip
    """Each rank's tensor in parts: the r-th goes to rank r."""
    rows = sum(output_split_sizes) if output_split_sizes else self.size(0)
    out = self.new_empty((rows, *self.shape[1:]))
    dist.all_to_all_single(out, self.contiguous(), output_split_sizes, input_split_sizes, _group(group))
    return out


def all_to_all_single_autograd(self: Any, output_split_sizes: Sequence[int] | None, input_split_sizes: Sequence[int] | None, group: Any, tag: str = "") -> Tensor:  # fmt: skip
    """The same, with gradients."""
    from flambeau.distributed.nn import functional

    rows = sum(output_split_sizes) if output_split_sizes else self.size(0)
    out = self.new_empty((rows, *self.shape[1:]))
    return functional.all_to_all_single(out, self.contiguous(), output_split_sizes, input_split_sizes, _group(group))


def all_gather_tensor_autograd(self: Any, gather_dim: int, group: Any, tag: str = "") -> Tensor:
    """`all_gather_tensor`, with gradients."""
    from flambeau.distributed.nn import functional

    return flambeau.cat(functional.all_gather(self.contiguous(), _group(group)), gather_dim)


def reduce_scatter_tensor_autograd(self: Any, reduceOp: str, scatter_dim: int, group: Any, tag: str = "") -> Tensor:
    """`reduce_scatter_tensor`, with gradients."""
    from flambeau.distributed.nn import functional

    parts = self.chunk(dist.get_world_size(_group(group)), scatter_dim)
    return functional.reduce_scatter(flambeau.empty_like(parts[0]), list(parts), _op(reduceOp), _group(group))
