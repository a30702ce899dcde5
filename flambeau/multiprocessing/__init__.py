"""`multiprocessing`, with tensors sent by reference: the receiver sees the sender's memory.

The whole interface of the standard module is here.  Tensors lie in anonymous files in memory that are handed over as
descriptors, so neither sharing strategy leaves anything behind, and both are the same.
"""

import multiprocessing
import sys
import threading
from multiprocessing import *  # noqa: F403

from flambeau._ground.submodules import on_demand

from .reductions import init_reductions
from .spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = ["set_sharing_strategy", "get_sharing_strategy", "get_all_sharing_strategies"]
__all__ += multiprocessing.__all__

_all_sharing_strategies = {"file_system"} if sys.platform in ("darwin", "win32") else {"file_descriptor", "file_system"}
_sharing_strategy = "file_descriptor" if "file_descriptor" in _all_sharing_strategies else "file_system"


def set_sharing_strategy(new_strategy):
    """Takes note of the strategy; descriptors are what is used."""
    global _sharing_strategy
    if new_strategy not in _all_sharing_strategies:
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}, expected one of {_all_sharing_strategies}")
    _sharing_strategy = new_strategy


def get_sharing_strategy():
    """The strategy that was set.

    >>> flambeau.multiprocessing.get_sharing_strategy() in flambeau.multiprocessing.get_all_sharing_strategies()
    True
    """
    return _sharing_strategy


def get_all_sharing_strategies():
    """The strategies that can be set."""
    return _all_sharing_strategies


def _set_thread_name(name):
    """The name of this thread, as debuggers and `top` show it."""
    threading.current_thread().name = name


def _get_thread_name():
    return threading.current_thread().name


init_reductions()

__getattr__ = on_demand(__name__, "pool", "queue")
