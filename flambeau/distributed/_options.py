"""Options and levels by the names that programs take for granted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any

from flambeau.distributed._group import ProcessGroup
from flambeau.distributed._reduce_op import ReduceOp
from flambeau.distributed.constants import default_pg_timeout


class DebugLevel(IntEnum):
    """How much is checked and told: by TORCH_DISTRIBUTED_DEBUG."""

    OFF = 0
    INFO = 1
    DETAIL = 2


class BuiltinCommHookType(IntEnum):
    """Ways of averaging gradients that DistributedDataParallel knows."""

    ALLREDUCE = 0
    FP16_COMPRESS = 1


_level = [DebugLevel.OFF]


def get_debug_level() -> DebugLevel:
    """The level in force."""
    return _level[0]


def set_debug_level(level: DebugLevel) -> None:
    """Change it."""
    _level[0] = DebugLevel(level)


def set_debug_level_from_env() -> None:
    """Read it from TORCH_DISTRIBUTED_DEBUG."""
    name = os.environ.get("TORCH_DISTRIBUTED_DEBUG", "OFF").upper()
    if name not in DebugLevel.__members__:
        raise RuntimeError(f"The value of TORCH_DISTRIBUTED_DEBUG must be OFF, INFO, or DETAIL. It is {name}.")
    set_debug_level(DebugLevel[name])


set_debug_level_from_env()


@dataclass
class _Options:
    timeout: timedelta = default_pg_timeout
    asyncOp: bool = True


@dataclass
class _Rooted(_Options):
    rootRank: int = 0


@dataclass
class AllreduceOptions(_Options):
    """How to combine."""

    reduceOp: Any = ReduceOp.SUM


@dataclass
class AllreduceCoalescedOptions(AllreduceOptions):
    """How to combine several tensors."""


@dataclass
class ReduceOptions(AllreduceOptions):
    """How to combine, and for whom."""

    rootRank: int = 0
    rootTensor: int = 0


@dataclass
class ReduceScatterOptions(AllreduceOptions):
    """How to combine parts."""


@dataclass
class BroadcastOptions(_Rooted):
    """Whose tensor."""

    rootTensor: int = 0


@dataclass
class GatherOptions(_Rooted):
    """For whom."""


@dataclass
class ScatterOptions(_Rooted):
    """From whom."""


@dataclass
class AllToAllOptions(_Options):
    """Nothing but the time."""


@dataclass
class BarrierOptions(_Options):
    """On which devices."""

    device_ids: Any = None
    device: Any = None


ProcessGroupGloo = ProcessGroup


def __getattr__(name: str) -> Any:
    if name in ("GradBucket", "Logger", "Reducer"):
        from flambeau.nn.parallel import _reducer

        return getattr(_reducer, name)
    raise AttributeError(name)
