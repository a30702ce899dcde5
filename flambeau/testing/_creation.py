"""make_tensor: random tensors for tests."""

from __future__ import annotations

import math
from typing import Any

import flambeau as torch


def make_tensor(*shape: Any, dtype: Any, device: Any, low: float | None = None, high: float | None = None, requires_grad: bool = False,
                noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None) -> Any:  # fmt: skip
    """A tensor of numbers drawn evenly from [low, high).

    Arguments:
        shape: sizes, one by one or as a sequence.
        low, high: default [0, 2) for bool, [-9, 10) for floating, complex and signed integer dtypes, [0, 10) for unsigned ones.
        noncontiguous: every second element of a larger tensor.
        exclude_zero: zeros become the smallest positive number.

    >>> import flambeau as torch
    >>> torch.testing.make_tensor(2, 3, dtype=torch.float32, device="cpu").shape
    torch.Size([2, 3])
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else tuple(shape)
    if noncontiguous and memory_format is not None:
        raise ValueError(
            f"The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got {noncontiguous=} and {memory_format=}"
        )
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype=}")
    drawn = (*sizes[:-1], 2 * sizes[-1]) if noncontiguous and sizes else sizes
    t = _drawn(drawn, dtype, device, low, high)
    if noncontiguous and sizes:
        t = t[..., ::2]
    elif memory_format is not None:
        t = t.clone(memory_format=memory_format)
    if exclude_zero:
        t[t == 0] = torch.finfo(dtype).tiny if dtype.is_floating_point or dtype.is_complex else 1
    return t.requires_grad_() if requires_grad else t


def _bounds(
    low: Any, high: Any, least: float, most: float, default: tuple[float, float], dtype: Any
) -> tuple[float, float]:
    low, high = default[0] if low is None else low, default[1] if high is None else high
    if any(isinstance(v, float) and math.isnan(v) for v in (low, high)):
        raise ValueError(f"`low` and `high` cannot be NaN, but got {low=} and {high=}")
    if low > high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    return max(low, least), min(high, most)


def _drawn(sizes: tuple[int, ...], dtype: Any, device: Any, low: Any, high: Any) -> Any:
    if dtype is torch.bool:
        low, high = _bounds(low, high, 0, 2, (0, 2), dtype)
        return torch.randint(math.floor(low), math.ceil(high), sizes, dtype=dtype, device=device)
    if not (dtype.is_floating_point or dtype.is_complex):
        info = torch.iinfo(dtype)
        low, high = _bounds(low, high, info.min, info.max + 1, (-9 if info.min < 0 else 0, 10), dtype)
        return torch.randint(math.floor(low), math.ceil(high), sizes, dtype=torch.int64, device=device).to(dtype)
    info = torch.finfo(dtype)
    low, high = _bounds(low, high, info.min, info.max, (-9, 9), dtype)
    if dtype.is_complex:
        part = torch.empty(
            (*sizes, 2), dtype=torch.float64 if dtype is torch.complex128 else torch.float32, device=device
        )
        return torch.view_as_complex(part.uniform_(low, high)).to(dtype)
    if dtype in (torch.float16, torch.bfloat16) or dtype.itemsize == 1:
        return torch.empty(sizes, dtype=torch.float32, device=device).uniform_(low, high).to(dtype)
    return torch.empty(sizes, dtype=dtype, device=device).uniform_(low, high)
