"""How a tensor lies on the ranks of a mesh's dimension: in parts (`Shard`), whole on each (`Replicate`), or as terms of a sum (`Partial`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flambeau

__all__ = ["Partial", "Placement", "Replicate", "Shard"]


class Placement:
    """How a tensor lies along one dimension of a mesh."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether each rank has a part (of this dimension)."""
        return False

    def is_replicate(self) -> bool:
        """Whether each rank has all of it."""
        return False

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Whether ranks have terms that are still to be combined."""
        return False


@dataclass(frozen=True)
class Shard(Placement):
    """Each rank has a chunk of a dimension of the tensor, as `torch.chunk` cuts it: the last ones may be smaller, or empty."""

    dim: int

    def is_shard(self, dim: int | None = None) -> bool:
        return dim is None or dim == self.dim

    @staticmethod
    def local_shard_size_and_offset(curr_local_size: int, num_chunks: int, rank: int) -> tuple[int, int]:
        """The size of a rank's chunk, and where it starts.

        >>> [Shard.local_shard_size_and_offset(5, 3, rank) for rank in range(3)]
        [(2, 0), (2, 2), (1, 4)]
        """
        full = -(-curr_local_size // num_chunks)
        start = min(full * rank, curr_local_size)
        return min(full, curr_local_size - start), start

    _local_shard_size_and_offset = local_shard_size_and_offset

    def _split_tensor(self, tensor: Any, num_chunks: int, *, with_padding: bool = True, contiguous: bool = True) -> tuple[list[Any], list[int]]:  # fmt: skip
        """The chunks of a tensor for all ranks, and how much each was padded."""
        sizes = [self.local_shard_size_and_offset(tensor.size(self.dim), num_chunks, r)[0] for r in range(num_chunks)]
        parts: Sequence[Any] = tensor.split(sizes, self.dim)
        pads = [sizes[0] - s for s in sizes] if with_padding else []
        if with_padding:
            parts = [flambeau.cat([p, p.new_zeros([n if d == self.dim else s for d, s in enumerate(p.shape)])], self.dim) if n else p for p, n in zip(parts, pads, strict=True)]  # fmt: skip
        return [p.contiguous() if contiguous else p for p in parts], pads

    def __repr__(self) -> str:
        return f"Shard(dim={self.dim})"

    def __str__(self) -> str:
        return f"S({self.dim})"


@dataclass(frozen=True)
class _StridedShard(Shard):
    """Each rank has one chunk of each of `split_factor` groups along a dimension."""

    split_factor: int = 1

    def __repr__(self) -> str:
        return f"_StridedShard(dim={self.dim}, sf={self.split_factor})"


@dataclass(frozen=True)
class Replicate(Placement):
    """Each rank has the whole tensor."""

    def is_replicate(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "Replicate()"

    def __str__(self) -> str:
        return "R"


@dataclass(frozen=True)
class Partial(Placement):
    """Each rank has a term; all of them combined (`reduce_op`: "sum", "avg", "min", "max", ...) are the tensor."""

    reduce_op: str = "sum"

    def is_partial(self, reduce_op: str | None = None) -> bool:
        return reduce_op is None or reduce_op == self.reduce_op

    def __repr__(self) -> str:
        return f"Partial({self.reduce_op})"

    def __str__(self) -> str:
        return f"P({self.reduce_op})"
