"""`torch.nn.parallel.comm` under its older name."""

from flambeau.nn.parallel.comm import (
    broadcast as broadcast,
    broadcast_coalesced as broadcast_coalesced,
    gather as gather,
    reduce_add as reduce_add,
    reduce_add_coalesced as reduce_add_coalesced,
    scatter as scatter,
)

__all__ = ["broadcast", "broadcast_coalesced", "gather", "reduce_add", "reduce_add_coalesced", "scatter"]
