"""FullyShardedDataParallel and its options under the path where PyTorch has them."""

from flambeau.distributed.fsdp import (
    BackwardPrefetch as BackwardPrefetch,
    CPUOffload as CPUOffload,
    FullyShardedDataParallel as FullyShardedDataParallel,
    MixedPrecision as MixedPrecision,
    ShardingStrategy as ShardingStrategy,
)
from flambeau.distributed.fsdp.api import (
    FullOptimStateDictConfig as FullOptimStateDictConfig,
    FullStateDictConfig as FullStateDictConfig,
    LocalOptimStateDictConfig as LocalOptimStateDictConfig,
    LocalStateDictConfig as LocalStateDictConfig,
    OptimStateDictConfig as OptimStateDictConfig,
    OptimStateKeyType as OptimStateKeyType,
    ShardedOptimStateDictConfig as ShardedOptimStateDictConfig,
    ShardedStateDictConfig as ShardedStateDictConfig,
    StateDictConfig as StateDictConfig,
    StateDictSettings as StateDictSettings,
    StateDictType as StateDictType,
)
