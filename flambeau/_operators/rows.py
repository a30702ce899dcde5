"""Norms of slices: weight normalisation, and the distances between the rows of a matrix."""

from __future__ import annotations

from flambeau._operators.create import triu_indices
from flambeau._operators.op import FUNCTION, composite
from flambeau._operators.statistics import pairwise
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN
from flambeau._values.shape import wrap_dim


@composite("norm_except_dim", variants=FUNCTION)
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norm over all dims but one, kept; dim -1 leaves none."""
    if not (v.dtype.is_floating_point or v.dtype.is_complex):
        raise RuntimeError(
            f"norm(): input dtype should be either floating point or complex. Got {SPOKEN[v.dtype]} instead."
        )
    if dim == -1:
        return v.norm(pow)
    kept = wrap_dim(dim, v.ndim)
    rest = [d for d in range(v.ndim) if d != kept]
    return v.norm(pow, rest, keepdim=True) if rest else v.abs()


@composite("_weight_norm", variants=FUNCTION)
def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g v / |v|, a norm for each slice of `dim`."""
    return v * (g / norm_except_dim(v, 2, dim))


@composite("pdist", variants=FUNCTION, lacks=("h", "pdist"))
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norms of the differences between rows i < j of a matrix, in the order (0, 1), (0, 2), ..."""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not input.dtype.is_floating_point:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    rows = input.shape[0]
    if rows < 2:
        return input.reshape(-1)[:0]
    if not input.shape[1]:
        return input.new_zeros((rows * (rows - 1) // 2,)) + input.sum()
    earlier, later = triu_indices(rows, rows, 1).unbind(0)
    return pairwise(input, input, p).flatten().index_select(0, earlier * rows + later)
