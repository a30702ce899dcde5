"""Arrays from nothing, and from other data."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

import flambeau
from flambeau import Tensor, dtype as DType
from flambeau.array_api._types import WIDE, by_numpy

Shape = int | tuple[int, ...]


def _shape(shape: Shape) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _default(value: Any) -> DType:
    """The dtype of an array of one Python number."""
    if isinstance(value, bool):
        return flambeau.bool
    if isinstance(value, int):
        return flambeau.int64
    real = flambeau.get_default_dtype()
    return real.to_complex() if isinstance(value, complex) else real


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """start, start + step, ... below stop; 0, 1, ... below `start` where it is alone. Empty where nothing lies between."""
    if stop is None:
        start, stop = 0, start
    if dtype is None:
        dtype = _default(start + stop + step)
    if (step > 0 and stop <= start) or (step < 0 and stop >= start):
        return flambeau.empty(0, dtype=dtype, device=device)
    if dtype in WIDE:
        return by_numpy(np.arange, start, stop, step, dtype=dtype).to(device)
    return flambeau.arange(start, stop, step, dtype=dtype, device=device)


def asarray(obj: Any, /, *, dtype: DType | None = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """An array of numbers, nested sequences of them, or anything with a buffer; `copy=False` raises ValueError where one is needed."""
    if copy is False and isinstance(obj, (bool, int, float, complex, list, tuple)):
        raise ValueError("Python numbers and sequences cannot become an array without a copy")
    if copy is False and isinstance(obj, Tensor) and dtype is not None and obj.dtype != dtype:
        raise ValueError(f"an array of dtype {obj.dtype} cannot become one of {dtype} without a copy")
    if isinstance(obj, Tensor):  # with its history, which PyTorch's function takes away
        return obj.to(device=device, dtype=dtype, copy=bool(copy))
    if isinstance(obj, (list, tuple)) and any(isinstance(o, Tensor) for o in obj):
        return flambeau.stack([asarray(o, dtype=dtype, device=device) for o in obj])
    if not hasattr(obj, "__dlpack__") and _is_buffer(obj):
        obj = np.asarray(obj)
    return flambeau.asarray(obj, dtype=dtype, device=device, copy=copy)


def _is_buffer(obj: Any) -> bool:
    try:
        memoryview(obj)
    except TypeError:
        return False
    return True


def empty(shape: Shape, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """An array of whatever was in memory."""
    return flambeau.empty(_shape(shape), dtype=dtype, device=device)


def empty_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """`empty` with x's shape, dtype and device, unless given."""
    return flambeau.empty(tuple(x.shape), dtype=dtype or x.dtype, device=x.device if device is None else device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Ones on the k-th diagonal (above the main one where k > 0), zeros elsewhere."""
    n_cols = n_rows if n_cols is None else n_cols
    out = flambeau.zeros((n_rows, n_cols), dtype=dtype, device=device)
    if -n_rows < k < n_cols:
        out.diagonal(k).fill_(1)
    return out


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """An array over the memory of any object that speaks DLPack, or a copy of it."""
    out = flambeau.from_dlpack(x)
    if copy is False and device is not None and flambeau.device(device) != out.device:
        raise ValueError("moving to another device takes a copy")
    return out.to(device=out.device if device is None else device, copy=bool(copy))


def full(shape: Shape, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """One number everywhere."""
    return flambeau.full(_shape(shape), fill_value, dtype=dtype or _default(fill_value), device=device)


def full_like(x: Tensor, /, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """`full` with x's shape, dtype and device, unless given."""
    return flambeau.full(
        tuple(x.shape), fill_value, dtype=dtype or x.dtype, device=x.device if device is None else device
    )


def linspace(start: Any, stop: Any, /, num: int, *, dtype: DType | None = None, device: Any = None,
             endpoint: bool = True) -> Tensor:  # fmt: skip
    """num evenly spaced numbers from start to stop, which is among them if `endpoint`."""
    if dtype is None:
        real = flambeau.get_default_dtype()
        dtype = real.to_complex() if isinstance(start, complex) or isinstance(stop, complex) else real
    if dtype.is_floating_point or dtype.is_complex:
        if endpoint:
            return flambeau.linspace(start, stop, num, dtype=dtype, device=device)
        return flambeau.linspace(start, stop, num + 1, dtype=dtype, device=device)[:-1]
    return by_numpy(np.linspace, start, stop, num, dtype=dtype, endpoint=endpoint).to(device)


def meshgrid(*arrays: Tensor, indexing: Literal["xy", "ij"] = "xy") -> tuple[Tensor, ...]:
    """Coordinate matrices of 1-d arrays; with "xy" the first two axes change places."""
    if len({a.dtype for a in arrays}) > 1:
        raise ValueError("meshgrid inputs must all have the same dtype")
    return tuple(flambeau.meshgrid(*arrays, indexing=indexing)) if arrays else ()


def ones(shape: Shape, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Ones."""
    return flambeau.ones(_shape(shape), dtype=dtype, device=device)


def ones_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """`ones` with x's shape, dtype and device, unless given."""
    return flambeau.ones(tuple(x.shape), dtype=dtype or x.dtype, device=x.device if device is None else device)


def _triangle(x: Tensor, k: int, upper: bool) -> Tensor:
    if x.ndim < 2:
        raise ValueError(f"a triangle is taken of matrices: x has {x.ndim} dimensions")
    k = max(-x.shape[-2], min(k, x.shape[-1]))  # all or nothing beyond the corners, however far
    if x.dtype in WIDE:
        return by_numpy(np.triu if upper else np.tril, x, k)
    return x.triu(k) if upper else x.tril(k)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The elements on and below the k-th diagonal of each matrix, zeros elsewhere."""
    return _triangle(x, k, False)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The elements on and above the k-th diagonal of each matrix, zeros elsewhere."""
    return _triangle(x, k, True)


def zeros(shape: Shape, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """Zeros."""
    return flambeau.zeros(_shape(shape), dtype=dtype, device=device)


def zeros_like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """`zeros` with x's shape, dtype and device, unless given."""
    return flambeau.zeros(tuple(x.shape), dtype=dtype or x.dtype, device=x.device if device is None else device)
