"""Compiled programs as bytes, to be carried to another process or machine of the same kind."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

KIND = "inductor"  # all entries are of one kind here: kernels as object code, and programs that call them


@dataclass
class CacheInfo:
    """Which entries of the cache were saved or loaded: kind -> keys."""

    artifacts: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def inductor_artifacts(self) -> list[str]:
        """Keys of kernels and programs."""
        return self.artifacts[KIND]

    def add(self, artifact: Any) -> None:
        """Note an entry, by its key."""
        self.artifacts[KIND].append(artifact)

    def clear(self) -> None:
        """Forget all."""
        self.artifacts.clear()

    def empty(self) -> bool:
        """Whether there is none."""
        return not self.artifacts


def save_cache_artifacts() -> tuple[bytes, CacheInfo] | None:
    """What this process compiled, or took from the cache on disk, as bytes for `load_cache_artifacts`; None if that is nothing.

    >>> import flambeau as torch
    >>> saved = torch.compiler.save_cache_artifacts()
    >>> saved is None or isinstance(saved[0], bytes)
    True
    """
    from flambeau._backends.cpu.engine import engine

    try:
        archive, names = engine().store.archive()
    except ImportError:  # no llvmlite: nothing is compiled
        return None
    return (archive, CacheInfo(defaultdict(list, {KIND: names}))) if names else None


def load_cache_artifacts(serialized_artifacts: bytes) -> CacheInfo | None:
    """Puts what another process saved into this machine's cache.

    Entries are found by what they were compiled from and for (graph, processor, versions): those of another kind of machine are never used.
    They are native code: take them only from where you would take a program from.

    Raises:
        ValueError: the bytes are no such archive.
    """
    from flambeau._backends.cpu.engine import engine

    try:
        names = engine().store.restore(serialized_artifacts)
    except ImportError:
        return None
    return CacheInfo(defaultdict(list, {KIND: names})) if names else None
