"""What new nodes inherit from the node that is being run: its `meta`, where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_current: ContextVar[dict[str, Any]] = ContextVar("current_meta")
_preserve: ContextVar[bool] = ContextVar("preserve_node_meta", default=False)


@contextmanager
def preserve_node_meta(enable: bool = True) -> Iterator[None]:
    """Within the block, nodes made while another one runs take over its meta."""
    token = _preserve.set(enable)
    try:
        yield
    finally:
        _preserve.reset(token)


def has_preserved_node_meta() -> bool:
    """Whether nodes take over meta now."""
    return _preserve.get()


@contextmanager
def set_current_meta(node: Any, pass_name: str = "") -> Iterator[None]:
    """Within the block, `node` is the one that runs."""
    token = _current.set(dict(node.meta) if _preserve.get() else {})
    try:
        yield
    finally:
        _current.reset(token)


def get_current_meta() -> dict[str, Any]:
    """The meta of the node that runs."""
    return _current.get({})


@contextmanager
def annotate(annotation: dict[str, Any]) -> Iterator[None]:
    """Within the block, new nodes carry `meta["custom"]` with these entries."""
    meta = dict(_current.get({}))
    meta["custom"] = {**meta.get("custom", {}), **annotation}
    token = _current.set(meta)
    try:
        yield
    finally:
        _current.reset(token)
