"""Loss scaling where gradients are spread over ranks: an overflow on one is one on all."""

from __future__ import annotations

from typing import Any

from flambeau import distributed as dist
from flambeau.amp import GradScaler


class ShardedGradScaler(GradScaler):
    """`GradScaler` whose ranks agree on whether a gradient overflowed."""

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, backoff_factor: float = 0.5, growth_factor: float = 2.0,
                 growth_interval: int = 2000, enabled: bool = True, process_group: Any = None) -> None:  # fmt: skip
        super().__init__(device, init_scale, growth_factor, backoff_factor, growth_interval, enabled)
        self.process_group = process_group

    def unscale_(self, optimizer: Any) -> None:
        super().unscale_(optimizer)
        if self._enabled and dist.is_initialized():
            for found in self._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values():
                dist.all_reduce(found, group=self.process_group)
