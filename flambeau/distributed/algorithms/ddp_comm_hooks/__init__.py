"""Hooks for `DistributedDataParallel.register_comm_hook`, by name: gradients in halves, means within groups of ranks."""

from __future__ import annotations

import enum
from functools import partial
from typing import Any

from . import debugging_hooks, default_hooks

__all__ = ["DDPCommHookType", "register_ddp_comm_hook"]


def _register(hook: Any, model: Any, state: Any) -> None:
    model.register_comm_hook(state, hook)


class DDPCommHookType(enum.Enum):
    """The hooks."""

    ALLREDUCE = enum.member(partial(_register, default_hooks.allreduce_hook))
    FP16_COMPRESS = enum.member(partial(_register, default_hooks.fp16_compress_hook))
    BF16_COMPRESS = enum.member(partial(_register, default_hooks.bf16_compress_hook))
    NOOP = enum.member(partial(_register, debugging_hooks.noop_hook))

    def __call__(self, model: Any, state: Any) -> None:
        self.value(model, state)


def register_ddp_comm_hook(comm_hook_type: DDPCommHookType, model: Any, state: Any = None) -> None:
    """Let a model average its gradients by a hook; `state` is its group, None for the default one."""
    comm_hook_type(model=model, state=state)
