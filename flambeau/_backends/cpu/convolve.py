"""Convolutions to call: forward, transposed and for the weights, each a table of plans. The kernels are elsewhere.

Pooling is not here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from flambeau._backends.cpu.conv_plan import forward_plan, transposed_plan
from flambeau._backends.cpu.conv_weight import weight_plan
from flambeau._backends.cpu.launch import planned

Array = np.ndarray[Any, Any]


class Convolution(NamedTuple):
    """How to convolve; its methods are functions of arrays, None where the template has no form for them."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def forward(self, x: Array, w: Array, bias: Array | None = None) -> Array | None:
        """x * w + bias."""
        args = (x, w) if bias is None else (x, w, bias)
        found: Array | None = planned(("convolution", self), args, lambda: forward_plan(x, w, bias, *self))
        return found

    def transposed(self, g: Array, w: Array, spatial: tuple[int, ...], bias: Array | None = None) -> Array | None:
        """The gradient for the input, of spatial extents `spatial`; also conv_transpose, with a bias."""
        args, key = (g, w) if bias is None else (g, w, bias), ("convolution transposed", self, spatial)
        found: Array | None = planned(key, args, lambda: transposed_plan(g, w, bias, spatial, *self))
        return found

    def weight(self, x: Array, g: Array, shape: tuple[int, ...]) -> Array | None:
        """The gradient for weights of a shape, from the input and the gradient of the output."""
        key = ("convolution for weights", self, shape)
        found: Array | None = planned(key, (x, g), lambda: weight_plan(x, g, shape, *self))
        return found
