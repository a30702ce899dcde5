"""The state of modules that FullyShardedDataParallel wraps: of none, here, but libraries ask whether a module has one."""

from flambeau.distributed._composable_state import _State


class _FSDPState(_State):
    """What FullyShardedDataParallel knows of a module."""
