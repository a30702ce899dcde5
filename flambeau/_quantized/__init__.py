"""`torch.ops.quantized`: operators that compute on codes, with the rounding of PyTorch's kernels for x86 (docs/quantization.md).

Each is one function under its schema. They load when the namespace is first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from flambeau._library.infer_schema import SCHEMA
from flambeau._tensor import Tensor
from flambeau.library import _define

LINEAR = "__torch__.torch.classes.quantized.LinearPackedParamsBase"
CONV2 = "__torch__.torch.classes.quantized.Conv2dPackedParamsBase"
CONV3 = "__torch__.torch.classes.quantized.Conv3dPackedParamsBase"
ROWS = "__torch__.torch.classes.quantized.EmbeddingPackedParamsBase"
CELL = "__torch__.torch.classes.rnn.CellParamsBase"


def operator(*schemas: str, namespace: str = "quantized") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a function operators of the namespace, by their schemas."""

    def add(fn: Callable[..., Any]) -> Callable[..., Any]:
        for text in schemas:
            m = SCHEMA.match(text)
            if m is None:
                raise TypeError(f"no schema: {text}")
            made = _define(f"{namespace}::{m[2]}", m[4].strip(), m[5], m[3] or "")
            made.composite = _numbers(fn, made.parameters)
        return fn

    return add


def _numbers(fn: Callable[..., Any], parameters: Any) -> Callable[..., Any]:
    """The function, which is given numbers where its schema says so, also of tensors: modules keep scales as buffers."""
    at = [i for i, p in enumerate(parameters) if p.type in ("float", "int", "float?", "int?", "Scalar", "Scalar?")]
    if not at:
        return fn

    def run(*args: Any, **given: Any) -> Any:
        if any(isinstance(args[i], Tensor) for i in at):
            args = tuple(a.item() if i in at and isinstance(a, Tensor) else a for i, a in enumerate(args))  # type: ignore[attr-defined]
        return fn(*args, **given)

    return run


for _name in ("products", "elements", "normalizations", "embeddings", "recurrent", "sparse"):
    importlib.import_module(f"{__name__}.{_name}")
