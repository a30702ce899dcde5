"""`torch.distributed.tensor`'s placements, and what is known of a spread tensor, under their older path."""

from flambeau.distributed.tensor._dtensor_spec import DTensorSpec as DTensorSpec, TensorMeta as TensorMeta
from flambeau.distributed.tensor.placement_types import (
    Partial as Partial,
    Placement as Placement,
    Replicate as Replicate,
    Shard as Shard,
)
