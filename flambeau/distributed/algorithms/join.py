"""Ranks with unequal numbers of batches: those that are done answer the collectives of those that are not."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flambeau
from flambeau import distributed as dist

__all__ = ["Join", "JoinHook", "Joinable"]


class JoinHook:
    """What a rank that is done does for the others."""

    def main_hook(self) -> None:
        """Answer the collectives of one of their iterations."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """When all ranks are done."""


class Joinable(ABC):
    """Something whose iterations have collectives, and that can answer them when it has no more."""

    def __init__(self) -> None:
        super().__init__()
        self._join_config = _Config(False, False, True)

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What it does when it is done."""

    @property
    @abstractmethod
    def join_device(self) -> Any:
        """Where its tensors are."""

    @property
    @abstractmethod
    def join_process_group(self) -> Any:
        """The group of its collectives."""


@dataclass
class _Config:
    enable: bool
    throw_on_early_termination: bool
    is_first_joinable: bool


class Join:
    """A block in which ranks may have different numbers of iterations.

    Args:
        joinables: what has collectives in them; the first one must call `Join.notify_join_context` in every iteration.
        enable: whether to do anything.
        throw_on_early_termination: raise on all ranks as soon as one is done.
    """

    def __init__(self, joinables: Sequence[Joinable], enable: bool = True, throw_on_early_termination: bool = False, **kwargs: Any) -> None:  # fmt: skip
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables, self._enable, self._throw = list(joinables), enable, throw_on_early_termination
        self._hooks = [j.join_hook(**kwargs) for j in joinables]
        groups = {id(j.join_process_group) for j in joinables}
        if len(groups) > 1:
            raise ValueError("Using join context manager with multiple process groups")
        self._group, self._device = joinables[0].join_process_group, joinables[0].join_device
        self._rank = dist.get_rank(self._group)
        for i, j in enumerate(joinables):
            j._join_config = _Config(enable, throw_on_early_termination, i == 0)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if not self._enable or kind:
            return
        last, rounds = True, 0
        while (running := _total(0, self._group)) > 0:
            if self._throw:
                _total(1, self._group)
                raise RuntimeError(f"Rank {self._rank} exhausted all inputs.")
            last = False
            rounds += 1
            if rounds == 1000:
                warnings.warn(f"rank {self._rank} has waited for {running} others through 1000 of their iterations", stacklevel=2)  # fmt: skip
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(last)

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Any:
        """Say that this rank begins another iteration; called by the first joinable before its collectives."""
        config = joinable._join_config
        if not config.is_first_joinable or not config.enable:
            return None
        group = joinable.join_process_group
        work: Any = dist.all_reduce(flambeau.ones(1, dtype=flambeau.int64), group=group, async_op=True)
        if config.throw_on_early_termination and _total(0, group):
            raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
        return work


def _total(own: int, group: Any) -> int:
    """The sum of what all ranks give."""
    count = flambeau.tensor([own])
    dist.all_reduce(count, group=group)
    return int(count.item())
