"""Tensor methods that few programs call: elements through Python functions, diagonals in place, questions about memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau._eager import views
from flambeau._eager.graph import bump, node_of
from flambeau._tensor import Tensor


def _python(self: Any, name: str) -> None:
    if node_of(self) is not None:
        raise RuntimeError(f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead.")
    if self.device.type != "cpu":
        raise TypeError(f"{name} is only implemented on CPU tensors")


def apply_(self: Any, callable: Callable[[Any], Any]) -> Any:
    """Replace each element by what a Python function makes of it. Slow.

    >>> torch.tensor([1.0, 2.0]).apply_(lambda v: v * v)
    tensor([1., 4.])
    """
    _python(self, "apply_")
    for i in np.ndindex(self._a.shape):
        self._a[i] = callable(self._a[i].item())
    bump(self)
    return self


def map_(self: Any, tensor: Any, callable: Callable[[Any, Any], Any]) -> Any:
    """Replace each element by what a Python function makes of it and the other tensor's element. Slow."""
    _python(self, "map_")
    other = np.broadcast_to(tensor._a, self._a.shape)
    for i in np.ndindex(self._a.shape):
        self._a[i] = callable(self._a[i].item(), other[i].item())
    bump(self)
    return self


def map2_(self: Any, x: Any, y: Any, callable: Callable[[Any, Any, Any], Any]) -> Any:
    """Replace each element by what a Python function makes of it and two other tensors' elements. Slow."""
    _python(self, "map2_")
    a, b = np.broadcast_to(x._a, self._a.shape), np.broadcast_to(y._a, self._a.shape)
    for i in np.ndindex(self._a.shape):
        self._a[i] = callable(self._a[i].item(), a[i].item(), b[i].item())
    bump(self)
    return self


def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Write a number onto the main diagonal; with `wrap`, again below it in a tall matrix.

    >>> torch.zeros(2, 2).fill_diagonal_(3)
    tensor([[3., 0.],
            [0., 3.]])
    """
    shape = tuple(self.shape)
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    step = sum(self.stride())
    n = min(shape)
    part = self.as_strided((n,), (step,), self.storage_offset())
    part.fill_(fill_value)
    if wrap and len(shape) == 2 and shape[0] > shape[1] + 1:
        first = shape[1] + 1
        for start in range(first, shape[0], first):
            rows = min(shape[1], shape[0] - start)
            self.narrow(0, start, rows).as_strided(
                (rows,), (step,), self.storage_offset() + start * self.stride(0)
            ).fill_(fill_value)
    return self


def is_set_to(self: Any, tensor: Any) -> bool:
    """Whether both tensors are the same memory, seen with the same sizes and strides."""
    return views.geometry(self) == views.geometry(tensor)


def resize(self: Any, *sizes: Any) -> Any:
    """Deprecated: `resize_` in place, or `reshape`."""
    return self.clone().resize_(*sizes)


def resize_as(self: Any, tensor: Any) -> Any:
    """Deprecated: `resize_as_` in place."""
    return self.clone().resize_as_(tensor)


def dim_order(self: Any, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The dimensions by falling stride: how they lie in memory."""
    strides = self.stride()
    return tuple(sorted(range(self.ndim), key=lambda d: (-strides[d], d)))


def const_data_ptr(self: Any) -> int:
    """The address of the first element, for reading."""
    return self.data_ptr()


def to_sparse_coo(self: Any) -> Any:
    """The tensor in coordinates: `to_sparse()`."""
    return self.to_sparse()


for _fn in (
    to_sparse_coo,
    apply_,
    map_,
    map2_,
    fill_diagonal_,
    is_set_to,
    resize,
    resize_as,
    dim_order,
    const_data_ptr,
):
    setattr(Tensor, _fn.__name__, _fn)
__all__ = ["apply_", "fill_diagonal_", "map_"]
