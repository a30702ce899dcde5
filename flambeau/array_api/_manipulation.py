"""Arrays in another shape or order, and whole slices of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import flambeau
from flambeau import Tensor
from flambeau.array_api._types import WIDE, axes_of, by_numpy, meet

Axes = int | tuple[int, ...]


def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """The arrays, all in the shape in which they meet; dtypes stay."""
    return tuple(flambeau.broadcast_tensors(*arrays)) if arrays else ()


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """x in a larger shape, without copying."""
    return flambeau.broadcast_to(x, tuple(shape))


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Arrays one after another along an axis; flattened first where it is None."""
    if axis is None:
        arrays, axis = [a.reshape(-1) for a in arrays], 0
    met = meet(*arrays)
    axes_of(axis, met[0].ndim)
    return flambeau.cat(met, axis)


def expand_dims(x: Tensor, /, axis: int = 0) -> Tensor:
    """x with a new axis of size one at that place of the result."""
    axes_of(axis, x.ndim + 1)
    return x.unsqueeze(axis)


def flip(x: Tensor, /, *, axis: Axes | None = None) -> Tensor:
    """Elements in reverse along axes (all by default)."""
    axes = axes_of(axis, x.ndim)
    if x.dtype in WIDE:
        return by_numpy(np.flip, x, axes)
    return flambeau.flip(x, axes)


def moveaxis(x: Tensor, source: Axes, destination: Axes, /) -> Tensor:
    """Axes moved to other places; the rest keep their order."""
    return flambeau.movedim(x, source, destination)


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """The axes in another order."""
    return x.permute(tuple(axes))


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element (or slice along axis) so many times in a row; of x flattened where axis is None."""
    if x.dtype in WIDE:
        return by_numpy(np.repeat, x, repeats, axis=axis)
    if isinstance(repeats, Tensor):
        repeats = repeats.to(flambeau.int64)
    return flambeau.repeat_interleave(x, repeats, axis)


def reshape(x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape; `copy=False` raises ValueError where the layout takes a copy."""
    if copy is False:
        try:
            return x.view(tuple(shape))
        except RuntimeError as error:
            raise ValueError(f"this array cannot take the shape {tuple(shape)} without a copy") from error
    return (x.clone() if copy else x).reshape(tuple(shape))


def roll(x: Tensor, /, shift: Axes, *, axis: Axes | None = None) -> Tensor:
    """Elements moved on along axes, those that fall off the end come in at the start."""
    if axis is None:
        return flambeau.roll(x, shift)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)  # one may come up twice
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    return flambeau.roll(x, shifts, axes)


def squeeze(x: Tensor, /, axis: Axes) -> Tensor:
    """x without those axes of size one; ValueError where one is larger."""
    axes = axes_of(axis, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError("only axes of size one can be squeezed")
    return x.squeeze(axes)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape along a new axis."""
    return flambeau.stack(meet(*arrays), axis)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Whole slices at 1-d indices along an axis, which may be left out for 1-d arrays."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError("axis must be given where x has not one dimension")
        axis = 0
    (axis,) = axes_of(axis, x.ndim)
    indices = indices.to(flambeau.int64)
    indices = flambeau.where(indices < 0, indices + x.shape[axis], indices)
    return x[(slice(None),) * axis + (indices,)] if x.dtype in WIDE else flambeau.index_select(x, axis, indices)


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """One element along the axis for each index; the other axes broadcast."""
    if x.dtype in WIDE:
        return by_numpy(np.take_along_axis, x, indices, axis)
    indices = indices.to(flambeau.int64)
    return flambeau.take_along_dim(x, flambeau.where(indices < 0, indices + x.shape[axis], indices), axis)


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """x so many times over along each axis."""
    return flambeau.tile(x, tuple(repetitions))


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis."""
    if x.ndim == 0:
        raise ValueError("an array of no dimensions has no slices")
    return tuple(x.unbind(axis))
