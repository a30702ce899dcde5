"""ShapeProp: runs a graph on example inputs and writes down what flows through it."""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

import flambeau
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.node import Node, map_aggregate


class TensorMetadata(NamedTuple):
    """What is known of a tensor without its elements."""

    shape: flambeau.Size
    dtype: flambeau.dtype
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: flambeau.memory_format | None
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: flambeau.Tensor, include_contiguity: bool = True) -> TensorMetadata:
    """The metadata of a tensor."""
    layout = None
    for candidate in (flambeau.contiguous_format, flambeau.channels_last, flambeau.channels_last_3d):
        if include_contiguity and result.is_contiguous(memory_format=candidate):
            layout = candidate
            break
    return TensorMetadata(result.shape, result.dtype, result.requires_grad, result.stride(), layout, False, {})


class ShapeProp(Interpreter):
    """Runs the graph node by node; `meta["tensor_meta"]` gets each result's shape, dtype and strides."""

    def __init__(self, gm: Any, fake_mode: Any = None) -> None:
        super().__init__(gm)

    def run_node(self, n: Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:
            traceback.print_exc()
            raise RuntimeError(f"ShapeProp error for: node={n.format_node()} with meta={n.meta}") from error
        found = False

        def extract(x: Any) -> Any:
            nonlocal found
            if isinstance(x, flambeau.Tensor):
                found = True
                return _extract_tensor_metadata(x)
            return x

        meta = map_aggregate(result, extract)
        if found:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Run, and return what the graph returns."""
        return super().run(*args)
