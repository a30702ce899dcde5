"""Facts about sizes and strides, by the names that libraries know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flambeau as torch
from flambeau._values.shape import contiguous_strides, wrap_dim


def suggest_memory_format(x: Any) -> torch.memory_format:
    """Which layout a tensor has: channels last, or in order."""
    for rank, found in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if (
            x.layout is torch.strided
            and x.ndim == rank
            and x.is_contiguous(memory_format=found)
            and not x.is_contiguous()
        ):
            return found
    return torch.contiguous_format


def make_contiguous_strides_for(shape: Sequence[int], row_major: bool = True) -> tuple[int, ...]:
    """Strides of a tensor in order (of one whose last two dims are in the order of columns, unless `row_major`)."""
    strides = [*contiguous_strides(shape)]
    if not row_major and len(strides) > 1:
        strides[-2:] = 1, max(shape[-2], 1)
    return tuple(strides)


def is_contiguous(a: Any) -> bool:
    """Whether the elements lie in order, without gaps."""
    return bool(a.is_contiguous())


def is_integer_dtype(dtype: torch.dtype) -> bool:
    """Whether a dtype is of integers."""
    return not dtype.is_floating_point and not dtype.is_complex and dtype is not torch.bool


def is_float_dtype(dtype: torch.dtype) -> bool:
    """Whether a dtype is of real numbers."""
    return dtype.is_floating_point


def is_complex_dtype(dtype: torch.dtype) -> bool:
    """Whether a dtype is of complex numbers."""
    return dtype.is_complex


def is_boolean_dtype(dtype: torch.dtype) -> bool:
    """Whether a dtype is of truth values."""
    return dtype is torch.bool


def canonicalize_dim(rank: int, idx: int, wrap_scalar: bool = True) -> int:
    """A dim counted from the front."""
    return wrap_dim(idx, rank, wrap_scalar)


def prod(xs: Sequence[int]) -> int:
    """The product of sizes."""
    return math.prod(xs)
