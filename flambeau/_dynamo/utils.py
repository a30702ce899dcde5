"""Small questions about the compiler that other libraries ask."""

from __future__ import annotations

import collections
import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

warn_once_cache: set[str] = set()

counters: collections.defaultdict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
"""What was compiled so far: "frames" (functions and what follows a break), "stats" (graphs and their operators), "graph_break" (why)."""


def count_graph(operators: int) -> None:
    """One more graph."""
    counters["stats"]["calls_captured"] += operators
    counters["stats"]["unique_graphs"] += 1


def warn_once(msg: str, stacklevel: int = 1) -> None:
    """Warn of something that was not warned of before."""
    if msg not in warn_once_cache:
        warn_once_cache.add(msg)
        warnings.warn(msg, stacklevel=stacklevel + 1)


def is_compile_supported(device_type: Any) -> bool:
    """Whether functions on a type of device can be compiled."""
    return str(device_type).partition(":")[0] == "cpu"


@contextlib.contextmanager
def disable_cache_limit() -> Iterator[None]:
    """A block in which a function may be compiled as often as it asks for."""
    from flambeau._dynamo import config

    with config.patch(recompile_limit=sys.maxsize, accumulated_recompile_limit=sys.maxsize):
        yield


def is_compiling() -> bool:
    """Whether this runs while a function is captured."""
    from flambeau._capture.control import is_dynamo_compiling

    return is_dynamo_compiling()
