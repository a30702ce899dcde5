"""The switches of `flambeau.compiler.config`, as the floor below reads them."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

_found: list[ModuleType | SimpleNamespace] = [
    SimpleNamespace(cache_key_tag="", force_disable_caches=False, dynamic_sources="")
]


def register(module: ModuleType) -> None:
    """The module that holds them."""
    _found[0] = module


def cache_tag() -> str | None:
    """Under which tag programs are kept; None where they are not."""
    return None if _found[0].force_disable_caches else _found[0].cache_key_tag


def dynamic_sources() -> str:
    """The inputs whose sizes are said to change."""
    return _found[0].dynamic_sources
