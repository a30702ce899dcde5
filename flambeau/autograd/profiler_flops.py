"""What `with_flops` says of an operator: the operations that its formula counts, by the shapes of what it was given.

As in PyTorch, only matrix products, two-dimensional convolutions, `add` and `mul` have formulas; a product with a sum counts the product.
"""

from __future__ import annotations

import math
from typing import Any

from flambeau._tensor import Tensor

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
PREFIXES = ("", "K", "M", "G", "T", "P")


def count(name: str, values: Any) -> int:
    """Floating point operations of one call; 0 where there is no formula."""
    if name in PRODUCTS:
        return _product(name, values)
    if name == "aten::conv2d":
        return _conv2d(*values)
    if name in ("aten::add", "aten::mul") and isinstance(values[0], Tensor):
        return math.prod(values[0].shape)
    return 0


def _product(name: str, values: Any) -> int:
    shapes = [tuple(v.shape) for v in values if isinstance(getattr(v, "shape", None), tuple)]
    if ("add" in name and len(shapes[-1]) == 1) or (
        len(values) == 3 and values[-1] is None
    ):  # within `linear`: input, weight, bias
        return 2 * math.prod(shapes[0]) * shapes[1][0]
    return 2 * math.prod(shapes[-2]) * shapes[-1][-1]


def _conv2d(input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> int:
    if isinstance(padding, str) or input.dim() != 4:
        return 0
    (stride, padding, dilation), positions = map(_pair, (stride, padding, dilation)), 1
    for i in (0, 1):
        reach = dilation[i] * (weight.shape[2 + i] - 1)
        positions *= (input.shape[2 + i] + 2 * padding[i] - reach - 1) // stride[i] + 1
    return 2 * input.shape[0] * positions * math.prod(weight.shape[2:]) * input.shape[1] * weight.shape[0] // groups


def _pair(given: Any) -> tuple[int, int]:
    if isinstance(given, int):
        return given, given
    return tuple(given) * (2 // len(given))


def scale(least: int) -> tuple[float, str]:
    """The factor and the unit in which the least of some counts is a number of one to three digits."""
    power = min(int(math.log10(least) / 3), len(PREFIXES) - 1) if least > 0 else 0
    return 10.0 ** (-3 * power), f"{PREFIXES[power]}FLOPs"
