"""Routines that bodies call with `k.library(name, ...)`: sorting, searching, linear algebra. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np


def sort(x: Any, *, dim: int, descending: bool) -> Any:
    """Stable; NaN counts as the largest value. Returns (values, indices)."""
    source = np.flip(x, dim) if descending else x
    order = np.argsort(source, axis=dim, kind="stable")
    if descending:  # ties keep their order: sort the reversed array, then count from its end
        order = np.flip(x.shape[dim] - 1 - order, dim)
    return np.take_along_axis(x, order, dim), order
