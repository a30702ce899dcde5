"""How states of spread models are given: options, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from flambeau.distributed.fsdp import (
    BackwardPrefetch as BackwardPrefetch,
    CPUOffload as CPUOffload,
    MixedPrecision as MixedPrecision,
    ShardingStrategy as ShardingStrategy,
)


class StateDictType(Enum):
    """Whole tensors, each rank's own, or parts."""

    FULL_STATE_DICT = auto()
    LOCAL_STATE_DICT = auto()
    SHARDED_STATE_DICT = auto()


@dataclass
class StateDictConfig:
    """What all of them have."""

    offload_to_cpu: bool = False


@dataclass
class FullStateDictConfig(StateDictConfig):
    """Whole tensors, perhaps on rank 0 only."""

    rank0_only: bool = False


@dataclass
class LocalStateDictConfig(StateDictConfig):
    """Each rank's own."""


@dataclass
class ShardedStateDictConfig(StateDictConfig):
    """Parts."""

    _use_dtensor: bool = False


@dataclass
class OptimStateDictConfig:
    """The same for optimizers."""

    offload_to_cpu: bool = True


@dataclass
class FullOptimStateDictConfig(OptimStateDictConfig):
    """Whole tensors, perhaps on rank 0 only."""

    rank0_only: bool = False


@dataclass
class LocalOptimStateDictConfig(OptimStateDictConfig):
    """Each rank's own."""

    offload_to_cpu: bool = False


@dataclass
class ShardedOptimStateDictConfig(OptimStateDictConfig):
    """Parts."""

    _use_dtensor: bool = False


@dataclass
class StateDictSettings:
    """What is in force."""

    state_dict_type: StateDictType
    state_dict_config: StateDictConfig
    optim_state_dict_config: OptimStateDictConfig


class OptimStateKeyType(Enum):
    """Parameters by their names, or by their numbers."""

    PARAM_NAME = auto()
    PARAM_ID = auto()
