"""Changes of graphs that compilers share."""

from __future__ import annotations

from typing import Any

from flambeau._ops import OpOverload

__all__ = ["strip_overloads"]


def strip_overloads(gm: Any) -> None:
    """Call operators by name alone: `aten.add` for `aten.add.Tensor`."""
    for node in gm.graph.nodes:
        if isinstance(node.target, OpOverload):
            node.target = node.target.overloadpacket
    gm.recompile()
