"""Fake tensors sent through a graph: what each node would give, without elements."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau import fx
from flambeau._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from flambeau.utils import _pytree as pytree

__all__ = ["FakeTensorProp"]


class FakeTensorProp(fx.Interpreter):
    """Runs a graph with fake tensors, and notes what each node gives as its `meta["val"]`.

    Args:
        module: the graph; its parameters are fake, or there are none.
        mode: whose fake tensors they are.
    """

    def __init__(self, module: Any, mode: Any = None) -> None:
        super().__init__(module)
        self._mode = FakeTensorMode() if mode is None else mode

    def run_node(self, n: Any) -> Any:
        """Run a node, and note what it gives."""
        result = super().run_node(n)
        n.meta["val"] = pytree.tree_map(lambda x: x.detach() if isinstance(x, FakeTensor) else x, result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Run the graph with fake tensors that stand for the arguments."""
        fake = lambda x: self._mode.from_tensor(x) if isinstance(x, flambeau.Tensor) else x
        return self.propagate_dont_convert_inputs(*pytree.tree_map(fake, args))

    def propagate_dont_convert_inputs(self, *args: Any) -> Any:
        """Run the graph with arguments that are fake already."""
        with self._mode:
            return super().run(*args)
