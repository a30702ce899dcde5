"""Means over all ranks at first, later over small groups alone; `PeriodicModelAverager` averages the models now and then."""

from __future__ import annotations

from typing import Any

from flambeau import distributed as dist

from .debugging_hooks import noop_hook
from .default_hooks import _mean

__all__ = ["PostLocalSGDState", "post_localSGD_hook"]


class PostLocalSGDState:
    """The groups, and how many steps are taken with all ranks.

    Args:
        process_group: all ranks (None: the default group).
        subgroup: the ranks whose gradients are averaged later (None: those of this machine).
        start_localSGD_iter: from which step on.
        post_local_gradient_allreduce: whether gradients are averaged then at all.
    """

    def __init__(
        self, process_group: Any, subgroup: Any, start_localSGD_iter: int, post_local_gradient_allreduce: bool = True
    ) -> None:
        self.process_group, self.subgroup, self.start_localSGD_iter = process_group, subgroup, start_localSGD_iter
        self.post_local_gradient_allreduce, self.iter = post_local_gradient_allreduce, 0

    def maybe_increase_iter(self, bucket: Any) -> None:
        """Count a step at its last bucket."""
        if bucket.is_last():
            self.iter += 1


def post_localSGD_hook(state: PostLocalSGDState, bucket: Any) -> Any:
    """Average over all ranks in the first steps, over the subgroup afterwards."""
    local = state.iter >= state.start_localSGD_iter
    state.maybe_increase_iter(bucket)
    if not local:
        return _mean(state.process_group, bucket.buffer())
    if not state.post_local_gradient_allreduce:
        return noop_hook(None, bucket)
    if state.subgroup is None:
        state.subgroup, _ = dist.new_subgroups()
    return _mean(state.subgroup, bucket.buffer())
