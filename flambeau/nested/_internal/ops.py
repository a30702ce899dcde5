"""Questions about the structure of jagged nested tensors."""

from __future__ import annotations

from flambeau._eager.nested.jagged import same_structure as raggedness_matches
from flambeau._values.shape import wrap_dim as _wrap_dim

__all__ = ["extract_kwargs", "raggedness_matches"]


def extract_kwargs(arg):
    """What, beside values, makes a jagged tensor like another."""
    return {
        "offsets": arg.offsets(),
        "lengths": arg.lengths(),
        "_metadata_cache": arg._metadata_cache,
        "_ragged_idx": arg._ragged_idx,
    }


def _outer_to_inner_dim(ndim, dim, ragged_dim, canonicalize=False):
    """The dimension (or dimensions) of the values that one of the whole is."""
    if isinstance(dim, (tuple, list)):
        return type(dim)(dict.fromkeys(_outer_to_inner_dim(ndim, d, ragged_dim, canonicalize) for d in dim))
    dim = _wrap_dim(dim, ndim) if canonicalize else dim
    return ragged_dim - 1 if dim == 0 else dim - 1
