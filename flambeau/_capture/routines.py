"""Steps that have kernels of their own: products and windows, as launches. Those without one run on the array library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu import library
from flambeau._backends.cpu.conv import forward_plan, transposed_plan
from flambeau._backends.cpu.conv_weight import weight_plan
from flambeau._backends.cpu.launch import Plan
from flambeau._backends.cpu.matmul import matmul_plan
from flambeau._backends.cpu.pool import max_pool_plan
from flambeau._capture.expressions import Step
from flambeau._capture.place import Strided


def plan(step: Step, operands: Sequence[Strided]) -> Plan | None:
    """The launches of a step for operands like these; None where there are none."""
    if step.kind == "call" or any(0 in s.shape for s in operands) or any(0 in o.expr.shape for o in step.outs):
        return None
    arrays = [stand_in(s) for s in operands]
    made = _make(step, arrays)
    if made is None or any(r.strides is not None for r in made.results):
        return None
    return made


def _make(step: Step, xs: list[Any]) -> Plan | None:
    if step.kind == "product":
        return matmul_plan(*xs)
    p = step.params
    how = (p["stride"], p["padding"], p["dilation"])
    match step.target:
        case "conv_forward":
            return forward_plan(*xs, None, *map(tuple, how), p["groups"])
        case "conv_input":
            return transposed_plan(*xs, None, tuple(p["size"][2:]), *map(tuple, how), p["groups"])
        case "conv_weight":
            return weight_plan(xs[1], xs[0], tuple(p["size"]), *map(tuple, how), p["groups"])
        case "max_pool":
            return max_pool_plan(*xs, p["size"], *how, p["out"])
    return None


def stand_in(s: Strided) -> Any:
    """An array of a view's shape, strides and dtype, whose elements are never read."""
    cell = np.zeros(1, s.core.dtype.np)
    return np.lib.stride_tricks.as_strided(cell, s.shape, tuple(t * cell.itemsize for t in s.strides))


def by_library(step: Step) -> Any:
    """The step as a function of arrays."""
    if step.kind == "product":
        return lambda x, y: np.matmul(x, y)
    routine = library.find(step.target)
    return lambda *xs: routine(*xs, **step.params)
