"""Memory that is written and meets itself, or what is read meanwhile: refused in PyTorch's words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from flambeau._values.shape import is_dense
from flambeau._values.storage import root


def overlaps(a: Any) -> bool:
    """Whether elements of an array share memory (an expanded tensor)."""
    return 0 in a.strides and a.size > 0 and any(s == 0 and n > 1 for s, n in zip(a.strides, a.shape, strict=True))


def check_overlap(a: Any) -> None:
    """Raise where elements of an array to be written share memory."""
    if overlaps(a):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please clone() the "
            "tensor before performing the operation."
        )


def warn_overlap(a: Any, name: str, syntax: str) -> None:
    """Say that it will not be permitted for long."""
    if overlaps(a):
        warnings.warn(
            f"Use of {name} on expanded tensors is deprecated. Please clone() the tensor before performing this operation. This also applies "
            f"to advanced indexing e.g. {syntax}",
            UserWarning,
            stacklevel=5,
        )


def check_apart(a: Any, sources: Any, elementwise: bool) -> None:
    """Raise where an array to be written shares memory with one that is read; elementwise, they may be the same elements."""
    for x in sources:
        if type(x) is list:
            check_apart(a, x, elementwise)
        elif (
            isinstance(x, np.ndarray)
            and isinstance(a, np.ndarray)
            and (x is not a or not elementwise)
            and (x is a or ((a.base is not None or x.base is not None) and np.may_share_memory(a, x)))
        ):
            if x is a or (not (elementwise and are_same(a, x)) and _dense(a) and _dense(x)):
                raise RuntimeError(
                    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory location. "
                    "Please clone() the tensor before performing the operation."
                )


def are_same(a: Any, x: Any) -> bool:
    """Whether two arrays are the same elements in the same order."""
    if not isinstance(a, np.ndarray) or not isinstance(x, np.ndarray) or a.shape != x.shape or a.strides != x.strides:
        return False
    return a is x or a.__array_interface__["data"] == x.__array_interface__["data"]


def offset(a: Any) -> int:
    """Where an array begins in the memory that it lies in, in bytes."""
    if not isinstance(a, np.ndarray):
        return getattr(a, "start", None) or 0
    begins: int = a.__array_interface__["data"][0] - root(a).__array_interface__["data"][0]
    return begins


def _dense(a: Any) -> bool:
    """Whether the elements fill one run of memory."""
    return not a.size or is_dense(a.shape, a.strides, a.itemsize)
