"""Caches of compiled code, as PyTorch's tools ask for them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from flambeau._ground import flags


@contextlib.contextmanager
def fresh_cache(cache_entries: dict[str, Any] | None = None, dir: str | None = None, delete: bool = True) -> Iterator[None]:  # fmt: skip
    """A block with an empty cache of kernels on disk, which is deleted after it."""
    import flambeau

    flambeau.compiler.reset()
    folder = tempfile.mkdtemp(dir=dir)
    try:
        with flags.override("cache_dir", folder):
            yield
    finally:
        flambeau.compiler.reset()
        if delete:
            shutil.rmtree(folder, ignore_errors=True)


fresh_inductor_cache = fresh_cache
