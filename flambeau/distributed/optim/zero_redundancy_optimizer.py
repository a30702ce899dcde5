"""ZeRO (Rajbhandari et al. 2020), its first stage: each rank has the state of its part of the parameters, and steps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau
from flambeau import distributed as dist
from flambeau.distributed.algorithms.join import Join, Joinable, JoinHook
from flambeau.optim import Optimizer

__all__ = ["ZeroRedundancyOptimizer"]


class _Steps(JoinHook):
    """A rank without further batches still takes the others' steps."""

    def __init__(self, zero: ZeroRedundancyOptimizer) -> None:
        super().__init__()
        self.zero = zero

    def main_hook(self) -> None:
        self.zero.step()


class ZeroRedundancyOptimizer(Optimizer, Joinable):
    """An optimizer whose state is spread over the ranks of a group. All ranks have the same parameters and gradients.

    Args:
        params: the parameters, or groups of them.
        optimizer_class: what steps each rank's part.
        process_group: the group; all ranks without one.
        parameters_as_bucket_view: accepted: parameters keep their memory.
        defaults: what the optimizer takes: `lr=`, ...
    """

    def __init__(
        self, params: Any, optimizer_class: type[Optimizer], process_group: Any = None, parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False, **defaults: Any,
    ) -> None:  # fmt: skip
        if overlap_with_ddp:
            raise NotImplementedError("ZeroRedundancyOptimizer(overlap_with_ddp=True)")
        Joinable.__init__(self)
        self.process_group = dist.group.WORLD if process_group is None else process_group
        self.world_size, self.rank = dist.get_world_size(self.process_group), dist.get_rank(self.process_group)
        self._optim_constructor, self._optim_defaults = optimizer_class, defaults
        self._all_state_dicts: list[Any] = []
        self.initialized = False
        Optimizer.__init__(self, params, defaults)
        self._begin()
        self.initialized = True

    def _begin(self) -> None:
        """Share the parameters out: the largest first, each to the rank that has least."""
        sizes = [0] * self.world_size
        self._owner: dict[Any, int] = {}
        for group in self.param_groups:
            for param in sorted(group["params"], key=lambda p: p.numel(), reverse=True):
                rank = min(range(self.world_size), key=sizes.__getitem__)
                self._owner[param] = rank
                sizes[rank] += param.numel()
        state = self.optim.state if self.initialized else {}
        self.optim: Any = self._optim_constructor(
            [{**self._options(group), "params": self._mine(group)} for group in self.param_groups],
            **self._optim_defaults,
        )
        self.optim.state.update({p: s for p, s in state.items() if self._owner[p] == self.rank})
        self._exchange_options(self.optim.param_groups, self.param_groups)

    def _mine(self, group: dict[str, Any], rank: int | None = None) -> list[Any]:
        return [p for p in group["params"] if self._owner[p] == (self.rank if rank is None else rank)]

    @staticmethod
    def _options(group: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in group.items() if name != "params"}

    def _exchange_options(self, source: list[Any], target: list[Any]) -> None:
        for a, b in zip(source, target, strict=True):
            b.update(self._options(a))

    @property
    def _numbers(self) -> dict[Any, int]:
        return {p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimize further parameters."""
        Optimizer.add_param_group(self, param_group)
        if self.initialized:
            self._begin()

    def step(self, closure: Callable[[], float] | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Step this rank's part, and take over the others'."""
        Join.notify_join_context(self)
        self._exchange_options(self.param_groups, self.optim.param_groups)  # a scheduler may have changed them
        loss = self.optim.step(closure=closure, **kwargs) if closure is not None else self.optim.step(**kwargs)
        with flambeau.no_grad():
            for param, owner in self._owner.items():
                dist.broadcast(param.detach(), group=self.process_group, group_src=owner)
        self._exchange_options(self.optim.param_groups, self.param_groups)
        return loss

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Gather the whole state on a rank. All ranks call this."""
        self._exchange_options(self.param_groups, self.optim.param_groups)
        every: Any = [None] * self.world_size if self.rank == to else None
        dist.gather_object(self.optim.state_dict(), every, group=self.process_group, group_dst=to)
        self._all_state_dicts = every or []

    def state_dict(self) -> dict[str, Any]:
        """The whole state, after `consolidate_state_dict`."""
        if not self._all_state_dicts:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. "
                f"Please call `consolidate_state_dict(to={self.rank})` on all ranks beforehand if you meant to save the global state."
            )
        found = Optimizer.state_dict(self)
        numbers, state = self._numbers, {}
        for rank, local in enumerate(self._all_state_dicts):
            params = [p for group in self.param_groups for p in self._mine(group, rank)]
            for i, value in local["state"].items():
                state[numbers[params[i]]] = value
        found["state"] = dict(sorted(state.items()))
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the whole state; each rank keeps its part."""
        Optimizer.load_state_dict(self, state_dict)
        self.optim.state.clear()
        self.optim.state.update({p: s for p, s in self.state.items() if self._owner[p] == self.rank})
        self.state.clear()
        self._exchange_options(self.param_groups, self.optim.param_groups)

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What a rank without further batches does."""
        return _Steps(self)

    @property
    def join_device(self) -> Any:
        """Where joining is counted."""
        return flambeau.device("cpu")

    @property
    def join_process_group(self) -> Any:
        """The group."""
        return self.process_group
