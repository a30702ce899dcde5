"""Switches of PyTorch's fusers. Operators are fused when they run, whatever these say; they are kept for programs that set them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_strategy: list[tuple[str, int]] = [("STATIC", 2), ("DYNAMIC", 10)]
_optimized = True


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """Whether programs are optimised in this block."""
    global _optimized
    before, _optimized = _optimized, should_optimize
    try:
        yield
    finally:
        _optimized = before


@contextlib.contextmanager
def fuser(name: str) -> Iterator[None]:
    """The fuser to use in this block: "fuser0" to "fuser3", or none."""
    if name not in ("fuser0", "fuser1", "fuser2", "fuser3", ""):
        raise Exception(f"unrecognized fuser option (name: {name})")
    yield


def set_fusion_strategy(strategy: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """How often programs are specialised for sizes; gives what was set before."""
    global _strategy
    for kind, _ in strategy:
        if kind not in ("STATIC", "DYNAMIC"):
            raise RuntimeError(f"FusionBehavior only supported 'STATIC' or 'DYNAMIC', got: {kind}")
    before, _strategy = _strategy, list(strategy)
    return before


_onednn = False


def enable_onednn_fusion(enabled: bool) -> None:
    """Accepted: oneDNN is not used."""
    global _onednn
    _onednn = enabled


def onednn_fusion_enabled() -> bool:
    return _onednn


class strict_fusion:
    """Marks a block that a fuser has to take whole: in Python it does nothing."""

    def __init__(self) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, type: object, value: object, tb: object) -> None:
        pass
