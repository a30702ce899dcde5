"""What is known of a tensor that is spread over a mesh: where its parts are, and its sizes as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class TensorMeta(NamedTuple):
    """Sizes, strides and dtype of the whole."""

    shape: Any
    stride: tuple[int, ...]
    dtype: Any


@dataclass
class DTensorSpec:
    """A mesh, how the tensor lies along each of its dims, and what the tensor is."""

    mesh: Any
    placements: tuple[Any, ...]
    tensor_meta: TensorMeta | None = None

    @property
    def ndim(self) -> int:
        """The number of dims of the whole."""
        return len(self.shape)

    @property
    def shape(self) -> Any:
        """The sizes of the whole."""
        if self.tensor_meta is None:
            raise ValueError("tensor_meta is not set")
        return self.tensor_meta.shape

    @property
    def dim_map(self) -> list[int]:
        """For each of the tensor's dims the dim of the mesh along which it is spread, or -1."""
        found = [-1] * self.ndim
        for i, p in enumerate(self.placements):
            if p.is_shard():
                found[p.dim] = i
        return found

    def is_replicated(self) -> bool:
        """Whether every rank has all of it."""
        return all(p.is_replicate() for p in self.placements)

    def is_sharded(self) -> bool:
        """Whether some rank has a part."""
        return any(p.is_shard() for p in self.placements)
