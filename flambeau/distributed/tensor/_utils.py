"""Which part of a tensor a rank has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.distributed.tensor.placement_types import Placement, Shard


def _compute_local_shape_and_global_offset(global_shape: Sequence[int], mesh_shape: Sequence[int], coordinate: Sequence[int] | None,
                                           placements: Sequence[Placement]) -> tuple[tuple[int, ...], tuple[int, ...]]:  # fmt: skip
    if coordinate is None:
        return (0,) * len(global_shape), (0,) * len(global_shape)
    shape, offset = list(global_shape), [0] * len(global_shape)
    for n, at, placement in zip(mesh_shape, coordinate, placements, strict=True):
        if isinstance(placement, Shard):
            size, start = Shard.local_shard_size_and_offset(shape[placement.dim], n, at)
            shape[placement.dim] = size
            offset[placement.dim] += start
    return tuple(shape), tuple(offset)


def compute_local_shape_and_global_offset(global_shape: Sequence[int], mesh: Any, placements: Sequence[Placement], skip_offset: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:  # fmt: skip
    """The shape of this rank's part, and where in the whole tensor it starts."""
    shape, offset = _compute_local_shape_and_global_offset(global_shape, mesh.shape, mesh.get_coordinate(), placements)
    return (shape, ()) if skip_offset else (shape, offset)


def compute_local_shape(global_shape: Sequence[int], mesh: Any, placements: Sequence[Placement]) -> tuple[int, ...]:
    """The shape of this rank's part."""
    return compute_local_shape_and_global_offset(global_shape, mesh, placements)[0]
