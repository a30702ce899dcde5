"""Sampling images and volumes at the places that a grid names.

A sample is a sum of taps: elements of the input by weights that follow from the grid. Where the elements are and what they weigh
is the same in all channels, and a product over the dims; the sums are three operators that are each other's derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._kernel.language import Index, Kernel, T
from flambeau._operators.flat import flat_in, still
from flambeau._operators.join import stack
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
    n, spatial = input.ndim - 2, input.shape[2:]
    at = grid.flatten(1, -2)
    taps = (_linear, _nearest, _cubic)[mode]
    cells = 1
    for e in spatial:
        cells *= e
    place: Any = None
    weight: Any = None
    step = cells
    for d, e in enumerate(spatial):  # the grid gives x first
        step //= e
        where, weights = taps(
            _unnormalise(at[:, :, n - 1 - d], e, align),
            lambda x, e=e: _placed(x, e, padding, align, 0 if n == 2 else e - 1),  # type: ignore[misc]
        )
        offset = _cells(where, e, step, cells >= -OUTSIDE)
        place = offset if place is None else (place.unsqueeze(2) + offset.unsqueeze(1)).flatten(1, 2)
        if weights is not None:
            weight = weights if weight is None else (weight.unsqueeze(2) * weights.unsqueeze(1)).flatten(1, 2)
    weight = place.new_ones(place.shape, dtype=input.dtype) if weight is None else weight
    if n == 3:  # of volumes, what is outside weighs nothing, even where its weight is no number
        weight = weight.masked_fill(place.lt(0), 0)
    out = taps_read(input.flatten(2), place, weight).reshape(*input.shape[:2], *grid.shape[1:-1])
    return flat_in(out, still(grid)) if mode == 1 and grid.requires_grad else out


Taps = tuple[Any, Any]  # whole coordinates (n, taps, points) along one dim, and weights, None where all are 1


def _nearest(x: Tensor, placed: Callable[[Tensor], Tensor]) -> Taps:
    return placed(x.detach()).round().unsqueeze(1), None


def _linear(x: Tensor, placed: Callable[[Tensor], Tensor]) -> Taps:
    x = placed(x)
    low = x.detach().floor()
    part = x - low
    return _each([low, low + 1]), _each([low + 1 - x, part])


def _cubic(x: Tensor, placed: Callable[[Tensor], Tensor]) -> Taps:
    a = -0.75
    low = x.detach().floor()
    t = x - low
    far: Callable[[Tensor], Tensor] = lambda x: ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    near: Callable[[Tensor], Tensor] = lambda x: ((a + 2) * x - (a + 3)) * x * x + 1
    return placed(_each([low - 1, low, low + 1, low + 2])), _each([far(t + 1), near(t), near(1 - t), far(2 - t)])


def _each(xs: Sequence[Tensor]) -> Any:
    return stack(xs, 1)


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
