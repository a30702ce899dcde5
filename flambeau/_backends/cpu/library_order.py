"""Routines that order and search: sorting, selection, uniqueness, binary search."""

from __future__ import annotations

from typing import Any

import numpy as np


def sort(x: Any, *, dim: int, descending: bool) -> Any:
    """Stable; NaN counts as the largest value. Returns (values, indices)."""
    if x.ndim == 0:
        return x.copy(), np.zeros((), np.int64)
    source = np.flip(x, dim) if descending else x
    if source.dtype.kind == "V":  # narrow floats sort as float32
        source = source.astype(np.float32)
    order = np.argsort(source, axis=dim, kind="stable")
    if descending:  # ties keep their order: sort the reversed array, then count from its end
        order = np.flip(x.shape[dim] - 1 - order, dim)
    return np.take_along_axis(x, order, dim), order
