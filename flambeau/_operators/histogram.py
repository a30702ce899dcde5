"""Counts of elements: by value, and in bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau._kernel.language import Kernel, Scalar, Size, T
from flambeau._operators.op import FUNCTION, OUT, composite, op
from flambeau._tensor import Tensor
from flambeau._values.dtype import FLOAT8, SPOKEN, complex64, complex128, uint16, uint32, uint64


@op("bincount", promote="none", differentiable=False, lacks=("uhC", "bincount_cpu"), by_data="shape")
def bincount(k: Kernel[T], input: T, weights: T | None = None, minlength: Size = 0) -> T:
    """How often each of 0, 1, 2, ... occurs; with `weights`, their sums."""
    return k.library("bincount", input, weights, minlength=minlength)


@bincount.errors
def _(input: Tensor, weights: Any, minlength: int) -> None:
    if input._a.dtype.kind in "fcb":
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{SPOKEN[input.dtype]}'")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.ndim != 1 or (input._a.size and input._a.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights._a.shape != input._a.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")


@op("histc", promote="none", variants=OUT, differentiable=False)
def histc(k: Kernel[T], input: T, bins: int = 100, min: Scalar = 0, max: Scalar = 0) -> T:
    """How many elements lie in each of `bins` equal parts of [min, max] (of the range of the elements where both are equal)."""
    return k.library("histc", input, bins=bins, low=min, high=max)


@histc.errors
def _(input: Tensor, bins: int, min: Any, max: Any) -> None:
    if not input.dtype.is_floating_point:
        bare = input.dtype.kind in "bc" and SPOKEN[input.dtype] not in ("ComplexFloat", "ComplexDouble")
        routine = "linspace_cpu" if bare else "histogram_cpu"
        raise NotImplementedError(f"\"{routine}\" not implemented for '{SPOKEN[input.dtype]}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if max < min:
        raise RuntimeError("torch.histc: max must be larger than min")


def _check(input: Any, bins: Sequence[Any], bounds: Any) -> None:
    d = input.dtype
    if not d.is_floating_point or d in FLOAT8:
        if not all(isinstance(b, int) for b in bins):  # edges are given
            name = "histogram_cpu"
        elif bounds is None:  # where they lie is looked for first,
            name = "histogramdd"
        else:  # or they are spread over the range, in a dtype that has none
            spread = (d.kind == "i" and d not in (uint16, uint32, uint64)) or d in (complex64, complex128)
            name = "histogram_cpu" if spread else "linspace_cpu"
        raise NotImplementedError(f"\"{name}\" not implemented for '{SPOKEN[d]}'")
    for d, b in enumerate(bins):
        if isinstance(b, int) and b <= 0:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {b} for dimension {d}")


@op(
    "histogram.bin_ct",
    promote="none",
    variants=OUT,
    outputs=("hist", "bin_edges"),
    differentiable=False,
    lacks=("h", "histogramdd"),
    by_data="values",
)
def histogram(k: Kernel[T], input: T, bins: int = 100, *, range: Sequence[float] | None = None, weight: T | None = None,
              density: bool = False) -> tuple[T, T]:  # fmt: skip
    """Counts in `bins` equal parts of a range (that of the elements where none is given), and the edges of the parts."""
    counts, edges = k.library(
        "histogram", k.reshape(input, (-1, 1)), weight, bins=(bins,), bounds=range, density=density
    )
    return counts, edges[0]


@histogram.errors
def _(input: Any, bins: int, range: Any, weight: Any, density: bool) -> None:
    _check(input, (bins,), range)


@op("histogram.bins_tensor", promote="none", variants=OUT, outputs=("hist", "bin_edges"), differentiable=False)
def histogram_edges(k: Kernel[T], input: T, bins: T, *, weight: T | None = None, density: bool = False) -> tuple[T, T]:
    """Counts in parts with given edges; and the edges."""
    counts, edges = k.library(
        "histogram", k.reshape(input, (-1, 1)), weight, bins=(bins,), bounds=None, density=density
    )
    return counts, edges[0]


@histogram_edges.errors
def _(input: Any, bins: Any, weight: Any, density: bool) -> None:
    _check(input, (bins,), None)


@op("_counted", promote="none", variants=(), differentiable=False)
def _counted(
    k: Kernel[T], input: T, bins: Any, range: Any = None, weight: T | None = None, density: bool = False
) -> Any:
    """Counts in a grid, and its edges one after the other."""
    counts, edges = k.library("histogram", input, weight, bins=bins, bounds=range, density=density)
    return (counts, *edges)


@composite(
    "histogramdd(Tensor self, int[] bins, float[]? range=None, Tensor? weight=None, bool density=False) -> (Tensor hist, Tensor[] bin_edges)",
    "histogramdd.int_bins(Tensor self, int bins, float[]? range=None, Tensor? weight=None, bool density=False) -> (Tensor hist, Tensor[] bin_edges)",
    "histogramdd.TensorList_bins(Tensor self, Tensor[] bins, float[]? range=None, Tensor? weight=None, bool density=False) -> (Tensor hist, Tensor[] bin_edges)",
    variants=FUNCTION,
    outputs=("hist", "bin_edges"),
)
def histogramdd(
    input: Tensor, bins: Any, range: Sequence[float] | None = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """Counts of points (the last dim has their coordinates) in a grid; and the edges along each coordinate."""
    x: Any = input
    x = x.reshape(-1, x.shape[-1])
    if not isinstance(bins, int) and len(bins) != x.shape[1]:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    bins = (bins,) * x.shape[1] if isinstance(bins, int) else tuple(b._a if isinstance(b, Tensor) else b for b in bins)
    _check(x, bins, range)
    counts, *edges = _counted(x, bins, range, weight, density)
    return counts, tuple(edges)
