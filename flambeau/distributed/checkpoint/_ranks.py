"""Steps that all ranks take together: each its part, then one rank what concerns all, then each gets its share. A failure on one is raised on all."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from flambeau import distributed as dist
from flambeau.distributed.checkpoint.api import CheckpointException


class Ranks:
    """The ranks of a process group, or this process alone."""

    def __init__(self, group: Any = None, alone: bool = False, coordinator: int = 0) -> None:
        self.group = group
        self.alone = alone or not dist.is_initialized()
        self.rank = 0 if self.alone else dist.get_rank(group)
        self.size = 1 if self.alone else dist.get_world_size(group)
        self.coordinator = coordinator
        self.is_coordinator = self.rank == coordinator

    def gathered(self, value: Any) -> list[Any]:
        """Every rank's value, on all ranks."""
        if self.alone:
            return [value]
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, value, group=self.group)
        return out

    def from_coordinator(self, value: Any) -> Any:
        """The coordinator's value, on all ranks."""
        if self.alone:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=self.coordinator, group=self.group)
        return box[0]

    def each(self, step: Callable[[], Any]) -> list[Any]:
        """Run a step on every rank; all results, on all ranks."""
        results = self.gathered(_attempt(step))
        self._raise("each", {rank: r for rank, r in enumerate(results) if isinstance(r, _Failure)})
        return results

    def one(self, step: Callable[[], Any]) -> Any:
        """Run a step on the coordinator; its result, on all ranks."""
        result = self.from_coordinator(_attempt(step) if self.is_coordinator else None)
        self._raise("one", {self.coordinator: result} if isinstance(result, _Failure) else {})
        return result

    def _raise(self, what: str, failures: dict[int, _Failure]) -> None:
        if failures:
            raise CheckpointException(what, {rank: (f.error, f.stack) for rank, f in failures.items()}) from failures[min(failures)].error  # fmt: skip


class _Failure:
    """An exception on its way to other ranks."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.stack = error, traceback.extract_tb(error.__traceback__)

    def __getstate__(self) -> dict[str, Any]:
        return {"error": self.error.with_traceback(None), "stack": self.stack}


def _attempt(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Exception as error:
        return _Failure(error)
