"""`fully_shard` under its older path."""

from flambeau.distributed.fsdp import (
    FSDPModule as FSDPModule,
    MixedPrecisionPolicy as MixedPrecisionPolicy,
    fully_shard as fully_shard,
)
