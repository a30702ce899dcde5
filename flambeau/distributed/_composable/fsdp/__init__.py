"""`fully_shard` under its older path."""

from flambeau.distributed.fsdp import (
    FSDPModule as FSDPModule,
    fully_shard as fully_shard,
    register_fsdp_forward_method as register_fsdp_forward_method,
)
from flambeau.distributed.fsdp.api import (
    CPUOffloadPolicy as CPUOffloadPolicy,
    MixedPrecisionPolicy as MixedPrecisionPolicy,
    OffloadPolicy as OffloadPolicy,
)
