"""Convolutions to call: forward, transposed and for the weights, each a table of plans. The kernels are elsewhere.

Pooling is not here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from flambeau._backends.cpu.conv_plan import forward_plan, transposed_plan
from flambeau._backends.cpu.conv_weight import weight_plan
from flambeau._backends.cpu.launch import Table


class Convolution:
    """Convolutions with fixed stride, padding, dilation and groups: the functions of arrays to call."""

    def __init__(
        self, stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], groups: int
    ) -> None:
        self.how = (stride, padding, dilation, groups)
        self.tables: dict[Any, Table] = {}

    def forward(
        self, x: np.ndarray[Any, Any], w: np.ndarray[Any, Any], bias: np.ndarray[Any, Any] | None = None
    ) -> np.ndarray[Any, Any] | None:
        """x * w + bias, or None where the template has no form for it."""
        args = (x, w) if bias is None else (x, w, bias)
        return self.run("forward", args, lambda: forward_plan(x, w, bias, *self.how))

    def transposed(
        self,
        g: np.ndarray[Any, Any],
        w: np.ndarray[Any, Any],
        spatial: tuple[int, ...],
        bias: np.ndarray[Any, Any] | None = None,
    ) -> np.ndarray[Any, Any] | None:
        """The gradient for the input, of spatial extents `spatial`; also conv_transpose, with a bias."""
        args = (g, w) if bias is None else (g, w, bias)
        return self.run(("input", spatial), args, lambda: transposed_plan(g, w, bias, spatial, *self.how))

    def weight(
        self, x: np.ndarray[Any, Any], g: np.ndarray[Any, Any], shape: tuple[int, ...]
    ) -> np.ndarray[Any, Any] | None:
        """The gradient for weights of a shape, from the input and the gradient of the output."""
        return self.run(shape, (x, g), lambda: weight_plan(x, g, shape, *self.how))

    def run(self, name: Any, args: tuple[Any, ...], make: Any) -> np.ndarray[Any, Any] | None:
        table = self.tables.get(name)
        if table is None:
            table = self.tables[name] = Table("convolution")
        out = table.call(*args)
        if out is None:
            plan = make()
            if plan is None:
                return None
            table.add(args, plan)
            out = table.call(*args)
        return out


@cache
def convolution(
    stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> Convolution:
    return Convolution(stride, padding, dilation, groups)
