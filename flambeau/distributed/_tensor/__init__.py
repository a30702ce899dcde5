"""`torch.distributed.tensor` under its older path."""

from flambeau.distributed.device_mesh import DeviceMesh as DeviceMesh, init_device_mesh as init_device_mesh
from flambeau.distributed.tensor import (
    DTensor as DTensor,
    Partial as Partial,
    Placement as Placement,
    Replicate as Replicate,
    Shard as Shard,
    distribute_module as distribute_module,
    distribute_tensor as distribute_tensor,
)
