"""Reductions."""

from __future__ import annotations

from flambeau._kernel.language import Dims, DType, Kernel, T
from flambeau._operators.op import op
from flambeau._values.shape import wrap_dims


@op("sum.dim_IntList", "sum", promote="none", variants=("function", "method", "out"))
def sum(k: Kernel[T], input: T, dim: Dims | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> T:
    """The sum over `dim` (all dimensions where it is None)."""
    dims = wrap_dims(dim, input.ndim)
    if dtype is not None:
        input = k.cast(input, dtype)
    out = k.sum(input, dims)
    return out if keepdim else k.reshape(out, tuple(n for i, n in enumerate(input.shape) if i not in dims))


sum.vjp(input=lambda g, input_shape, dim, keepdim: g.expand(input_shape))
