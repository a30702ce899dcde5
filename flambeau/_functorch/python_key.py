"""The decompositions that graphs are recorded with where none are named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flambeau.fx.experimental.proxy_tensor import make_fx as make_fx

__all__ = ["make_fx", "pythonkey_decompose"]

CURRENT_DECOMPOSITION_TABLE: dict[Any, Any] = {}


@contextmanager
def pythonkey_decompose(decomposition_table: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
    """A block in which `aot_function` takes operators apart by this table."""
    global CURRENT_DECOMPOSITION_TABLE
    before, CURRENT_DECOMPOSITION_TABLE = CURRENT_DECOMPOSITION_TABLE, decomposition_table
    try:
        yield decomposition_table
    finally:
        CURRENT_DECOMPOSITION_TABLE = before
