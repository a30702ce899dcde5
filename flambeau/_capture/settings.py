"""The switches of `flambeau.compiler.config`, as the floor below reads them."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

_found: list[Any] = [  # a module, or what stands for it until it is there
    SimpleNamespace(cache_key_tag="", force_disable_caches=False, dynamic_sources="")
]


def register(module: ModuleType) -> None:
    """The module that holds them."""
    _found[0] = module


def cache_tag() -> str | None:
    """Under which tag programs are kept; None where they are not."""
    tag: str = _found[0].cache_key_tag
    return None if _found[0].force_disable_caches else tag


def dynamic_sources() -> str:
    """The inputs whose sizes are said to change."""
    found: str = _found[0].dynamic_sources
    return found
