"""A pass over a graph, as a class."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

from flambeau.fx.graph_module import GraphModule

__all__ = ["PassBase", "PassResult"]


class PassResult(NamedTuple):
    """What a pass gives: the module, and whether it changed."""

    graph_module: Any
    modified: bool


class PassBase(abc.ABC):
    """A pass: `call` does the work, `requires` and `ensures` check what comes in and what goes out."""

    def __call__(self, graph_module: GraphModule) -> PassResult | None:
        self.requires(graph_module)
        result = self.call(graph_module)
        self.ensures(graph_module)
        return result

    @abc.abstractmethod
    def call(self, graph_module: GraphModule) -> PassResult | None:
        """The pass itself."""

    def requires(self, graph_module: GraphModule) -> None:  # noqa: B027  one that checks nothing is a pass, too
        """Checks that run before."""

    def ensures(self, graph_module: GraphModule) -> None:  # noqa: B027
        """Checks that run after."""
