"""Sampling images and volumes at the places that a grid names.

A sample is a sum of taps: elements of the input by weights that follow from the grid. Where the elements are and what they weigh
is the same in all channels, and a product over the dims; the sums are three operators that are each other's derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

from flambeau._kernel.language import Index, IntList, Kernel, T
from flambeau._operators._factors import same_dtypes
from flambeau._operators.flat import flat_in, still
from flambeau._operators.op import composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import int32, int64

OUTSIDE = -(1 << 29)  # the sum of three, and of any cell, is still negative, in 32 bits


@op("_taps_read", variants=(), promote="none")
def taps_read(k: Kernel[T], input: T, place: Index, weight: T) -> T:
    """Of (n, c, cells), by (n, taps, points): at each point the sum over its taps; a place below 0 is none."""
    return k.library("taps_read", input, place, weight)


@op("_taps_spread", variants=(), promote="none")
def taps_spread(k: Kernel[T], grad: T, place: Index, weight: T, cells: int) -> T:
    """What `taps_read` gets from each cell: (n, c, cells)."""
    return k.library("taps_spread", grad, place, weight, cells=cells)


@op("_taps_weigh", variants=(), promote="none")
def taps_weigh(k: Kernel[T], input: T, place: Index, grad: T) -> T:
    """What `taps_read` gets by each weight: (n, taps, points)."""
    return k.library("taps_weigh", input, place, grad)


taps_read.known_as("GridSampler2DBackward0", event="grid_sampler_2d").vjp(
    input=lambda g, input_shape, place, weight: taps_spread(g, place, weight, input_shape[2]),
    weight=lambda g, input, place: taps_weigh(input, place, g),
)
taps_spread.vjp(
    grad=lambda g, place, weight: taps_read(g, place, weight),
    weight=lambda g, grad, place: taps_weigh(g, place, grad),
)
taps_weigh.vjp(
    input=lambda g, input_shape, place, grad: taps_spread(grad, place, g, input_shape[2]),
    grad=lambda g, input, place: taps_read(input, place, g),
)


@op("_grid_cells", variants=(), promote="none", differentiable=False, native=True)
def _cells(k: Kernel[T], input: T, size: int, step: int, wide: bool) -> T:
    """Whole coordinates along a dim as offsets; those outside it are far below 0."""
    there = k.logical_and(k.ge(input, k.like(0, input)), k.lt(input, k.like(size, input)))
    at = k.cast(k.where(there, input, k.like(0, input)), int64 if wide else int32)
    return k.where(there, at * k.like(step, at), k.like(OUTSIDE << 30 if wide else OUTSIDE, at))


def _unnormalise(x: Tensor, size: int, align: bool) -> Tensor:
    return (x + 1) / 2 * (size - 1) if align else ((x + 1) * size - 1) / 2


def _reflect(x: Tensor, lo2: int, hi2: int) -> Tensor:
    """x mirrored at lo2/2 and hi2/2 until it lies between them."""
    if lo2 == hi2:
        return x * 0
    low, span = lo2 / 2, (hi2 - lo2) / 2
    x = (x - low).abs()
    extra = x.detach().fmod(span)
    flips = ((x.detach() - extra) / span).round()
    x = x - flips * span  # the same as fmod, with the derivative 1
    even = flips.fmod(2).eq(0)
    return x.where(even, span - x) + low


def _placed(x: Tensor, size: int, padding: int, align: bool, unknown: int) -> Tensor:
    """Where a coordinate is read: as it is, or at the edge, or mirrored; what is no number is read at `unknown`. At the edge, and
    beyond, nothing moves with the coordinate."""
    if padding == 0:
        return x
    if padding == 2:
        x = _reflect(x, 0, 2 * (size - 1)) if align else _reflect(x, -1, 2 * size - 1)
    there = x.detach()
    edge = there.clamp(0, size - 1).masked_fill(there.ne(there), unknown)
    return x.where(there.gt(0).logical_and(there.lt(size - 1)), edge)


def _check(input: Any, grid: Any, mode: int) -> None:
    n = input.ndim - 2
    if grid.ndim != input.ndim:
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes {list(input.shape)} and "
            f"grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            f"grid_sampler(): expected grid and input to have same batch size, but got input with sizes {list(input.shape)} and grid with sizes "
            f"{list(grid.shape)}"
        )
    if grid.shape[-1] != n:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension, but got grid with sizes {list(grid.shape)}"
        )
    if any(e <= 0 for e in input.shape[2:]):
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes {list(input.shape)} with dimension 2 "
            "being empty"
        )
    if mode == 2 and n != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def _grid_sample(input: Any, grid: Any, mode: int, padding: int, align: bool) -> Any:
    _check(input, grid, mode)
    same_dtypes(input, grid)
    n, spatial = input.ndim - 2, tuple(input.shape[2:])
    at = grid.flatten(1, -2)
    cells = prod(spatial)
    taps = at.new_tensor(list(product(range(TAPS[mode]), repeat=n))).mT  # of each tap, which it is along each dim
    place: Any = _grid_places(at.detach(), taps, spatial, mode, padding, align, cells >= -OUTSIDE)
    if mode == 1:
        weight: Any = place.new_ones(place.shape, dtype=input.dtype)
    else:
        weight = _grid_weights(at, taps, spatial, mode, padding, align)
    if n == 3:  # of volumes, what is outside weighs nothing, even where its weight is no number
        weight = weight.masked_fill(place.lt(0), 0)
    out = taps_read(input.flatten(2), place, weight).reshape(*input.shape[:2], *grid.shape[1:-1])
    return flat_in(out, still(grid)) if mode == 1 and grid.requires_grad else out


TAPS = (2, 1, 4)  # along a dim: linear, nearest, cubic


def _along(grid: Tensor, d: int, spatial: IntList, padding: int, align: bool) -> tuple[Any, Callable[[Any], Any]]:
    """The coordinates of all points along a dim, (n, 1, points); and where such a coordinate is read."""
    n, e = len(spatial), spatial[d]
    x: Any = grid.select(2, n - 1 - d).unsqueeze(1)  # the grid gives x first
    return _unnormalise(x, e, align), lambda x: _placed(x, e, padding, align, 0 if n == 2 else e - 1)


@composite("_grid_places", variants=(), native=True)
def _grid_places(
    grid: Tensor, taps: Tensor, spatial: IntList, mode: int, padding: int, align: bool, wide: bool
) -> Tensor:
    """Which cells of an image or volume the points of a grid (n, points, dims) read: (n, taps, points)."""
    out: Any = None
    step = prod(spatial)
    for d, e in enumerate(spatial):
        step //= e
        x, placed = _along(grid, d, spatial, padding, align)
        tap = taps.select(0, d).reshape(1, -1, 1)
        if mode == 2:
            where = placed(x.floor() - 1 + tap)
        else:
            where = placed(x).round() if mode == 1 else placed(x).floor() + tap
        offset = _cells(where, e, step, wide)
        out = offset if out is None else out + offset
    return out


@composite("_grid_weights", variants=(), native=True)
def _grid_weights(grid: Tensor, taps: Tensor, spatial: IntList, mode: int, padding: int, align: bool) -> Tensor:
    """What those cells weigh."""
    out: Any = None
    for d in range(len(spatial)):
        x, placed = _along(grid, d, spatial, padding, align)
        tap = taps.select(0, d).reshape(1, -1, 1)
        weight = _cubic(x, tap) if mode == 2 else _linear(placed(x), tap)
        out = weight if out is None else out * weight
    return out


def _linear(x: Any, tap: Any) -> Any:
    low = x.detach().floor()
    return (low + 1 - x).where(tap.eq(0), x - low)


def _cubic(x: Any, tap: Any) -> Any:
    a = -0.75
    t = x - x.detach().floor()
    far = tap.eq(0).logical_or(tap.eq(3))
    x = (t + 1 - tap).where(tap.lt(2), tap - 1 - t)  # how far away it is
    return (((a * x - 5 * a) * x + 8 * a) * x - 4 * a).where(far, ((a + 2) * x - (a + 3)) * x * x + 1)


@composite(
    "grid_sampler",
    variants=("function",),
    receiver="input",
    lacks=("bic", "grid_sampler_2d_cpu_kernel_impl"),
    autocast="float32",
)
def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """Samples input (n, c, ...) at grid (n, ..., dims), whose last dim holds positions from -1 to 1, x first."""
    return _grid_sample(input, grid, interpolation_mode, padding_mode, align_corners)


@composite(
    "grid_sampler_2d",
    variants=("function",),
    receiver="input",
    lacks=("bic", "grid_sampler_2d_cpu_kernel_impl"),
    autocast="float32",
)
def grid_sampler_2d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sampler` of images."""
    return _grid_sample(input, grid, interpolation_mode, padding_mode, align_corners)


@composite(
    "grid_sampler_3d", variants=("function",), receiver="input", lacks=("bic", "grid_sampler3d_cpu"), autocast="float32"
)
def grid_sampler_3d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`grid_sampler` of volumes."""
    return _grid_sample(input, grid, interpolation_mode, padding_mode, align_corners)
