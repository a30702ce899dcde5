"""Operators over runs of a tensor: reductions of segments, chunks laid side by side, masked indexing, and a hash of the bits."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from flambeau._kernel.language import Dims, Dims1, Kernel, Scalar, T
from flambeau._operators.create import arange
from flambeau._operators.index import index
from flambeau._operators.op import FUNCTION, composite, op
from flambeau._operators.pad import constant_pad_nd
from flambeau._tensor import Tensor
from flambeau._values.dtype import SPOKEN, int32, int64
from flambeau._values.shape import wrap_dim

_EMPTY = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "amax": float("-inf"), "amin": float("inf")}


@composite(
    "segment_reduce", variants=("function", "out"), names=("_segment_reduce",), lacks=("bic", "_segment_reduce_cpu")
)
def segment_reduce(
    data: Tensor,
    reduce: str,
    *,
    lengths: Tensor | None = None,
    indices: Tensor | None = None,
    offsets: Tensor | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: Scalar | None = None,
) -> Tensor:
    """The sum, mean, product, maximum or minimum of each run along `axis`, given by lengths or by where runs begin."""
    reduce = {"max": "amax", "min": "amin"}.get(reduce, reduce)
    if reduce not in _EMPTY:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    axis = wrap_dim(axis, data.ndim)
    starts: Tensor | None = None
    if offsets is not None:  # which may leave out what stands before, between rows and behind
        _check_ends(data, offsets, axis, "offsets")
        lengths, starts = offsets.diff(dim=-1), offsets[..., :-1]
    elif lengths is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    else:
        _check_ends(data, lengths, axis, "lengths")
        if not unsafe:
            if int(lengths.min()) < 0:
                raise RuntimeError("lengths contains negative value!")
            if not bool((lengths.sum(-1) == data.shape[axis]).all()):
                raise RuntimeError(
                    "segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when "
                    "!unsafe."
                )
    lead, rest = tuple(data.shape[:axis]), tuple(data.shape[axis + 1 :])
    segments = lengths.shape[-1]
    each = lengths.reshape(-1)
    runs = arange(each.numel())
    at = runs.repeat_interleave(each)
    rows = data.reshape(prod(lead) * data.shape[axis], *rest)
    if unsafe or starts is not None:  # runs need not follow one another
        starts = lengths.cumsum(-1) - lengths if starts is None else starts
        begin = starts.reshape(-1) + runs // max(segments, 1) * data.shape[axis]
        place = arange(at.numel()) + (begin - (each.cumsum(0) - each)).index_select(0, at)
        rows = rows.index_select(0, place)
    start = _EMPTY[reduce] if initial is None else initial
    out = data.new_full((each.numel(), *rest), start)
    if reduce in ("sum", "mean"):
        out = out.index_add(0, at, rows)
    else:
        out = out.scatter_reduce(0, at.reshape(-1, *(1,) * len(rest)).expand(rows.shape), rows, reduce)
    if reduce == "mean":
        count = each.reshape(-1, *(1,) * len(rest)).to(data.dtype)
        if initial is not None:  # what an empty run gives
            out = out / count.clamp(min=1)
        else:
            out = out / count
    return out.reshape(*lead, segments, *rest)


def _check_ends(data: Tensor, given: Tensor, axis: int, what: str) -> None:
    """What lengths or offsets must be."""
    if given.dtype not in (int32, int64):
        raise NotImplementedError(f"\"_segment_reduce_{what}_cpu_kernel1\" not implemented for '{SPOKEN[given.dtype]}'")
    if axis != given.ndim - 1:
        raise RuntimeError(f"segment_reduce(): Expected axis to be the last dimension of {what} but got {axis}.")
    if what == "offsets" and given.shape[-1] > 1:
        if int(given.diff(dim=-1).min()) < 0:
            raise RuntimeError(
                "Expected segment_length >= 0 to be true, but got false.  (Could this error message be improved?  If so, please report "
                "an enhancement request to PyTorch.)"
            )
        if int(given.min()) < 0 or int(given.max()) > data.shape[axis]:  # PyTorch reads what lies beyond
            raise RuntimeError(
                f"segment_reduce(): offsets lie outside of the {data.shape[axis]} elements along axis {axis}."
            )
    if tuple(given.shape[:-1]) != tuple(data.shape[:axis]):
        raise RuntimeError(
            f"segment_reduce(): {what} of size {list(given.shape)} do not fit data of size {list(data.shape)} along axis {axis}."
        )


@composite("_chunk_cat", variants=("function", "out"))
def _chunk_cat(tensors: Sequence[Tensor], dim: int, num_chunks: int) -> Tensor:
    """Each tensor in equal chunks along dim (padded with zeros), flattened; chunk by chunk side by side."""
    from flambeau._operators.join import cat

    if num_chunks < 1:
        raise RuntimeError("_chunk_cat expects positive num_chunks")
    if not tensors:
        raise RuntimeError("_chunk_cat expects a non-empty input tensor list")
    first = tensors[0]
    for t in tensors:
        if t.dtype is not first.dtype:
            raise RuntimeError("_chunk_cat expects all input tensors with the same dtype")
        if not t.numel():
            raise RuntimeError("_chunk_cat expects non-empty tensor")
    if dim < 0:
        if any(t.ndim != first.ndim for t in tensors):
            raise RuntimeError("_chunk_cat expects non-negative dim when input tensors have different ndims")
        dim = wrap_dim(dim, first.ndim)
    for t in tensors:
        if dim >= t.ndim:
            raise RuntimeError("_chunk_cat expects dim < ndim for all input tensors")
        if tuple(t.shape[:dim]) != tuple(first.shape[:dim]):
            raise RuntimeError("_chunk_cat expects same sizes of 0,...,dim-1 dimensions for all tensors")
    parts = []
    for t in tensors:
        missing = -t.shape[dim] % num_chunks
        t = constant_pad_nd(t, (0, 0) * (t.ndim - dim - 1) + (0, missing)) if missing else t
        parts.append(t.reshape(*t.shape[:dim], num_chunks, -1))
    return cat(parts, dim + 1)


def _clamped(input: Tensor, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Indices in bounds, for elements that a mask leaves out anyway."""
    return [None if i is None else i.clamp(-input.shape[d], input.shape[d] - 1) for d, i in enumerate(indices)]


@composite("_unsafe_masked_index", variants=FUNCTION)
def _unsafe_masked_index(input: Tensor, mask: Tensor, indices: Sequence[Tensor | None], fill: Scalar) -> Tensor:
    """input[indices] where the mask holds, `fill` elsewhere; there indices may lie anywhere."""
    return index(input, _clamped(input, indices)).masked_fill(mask.logical_not(), fill)


@composite("_unsafe_masked_index_put_accumulate", variants=FUNCTION)
def _unsafe_masked_index_put_accumulate(
    input: Tensor, mask: Tensor, indices: Sequence[Tensor | None], values: Tensor
) -> Tensor:
    """`values` added to input[indices] where the mask holds."""
    return input.index_put(_clamped(input, indices), values.masked_fill(mask.logical_not(), 0), accumulate=True)


@op(
    "hash_tensor",
    promote="none",
    variants=("function", "method", "out"),
    differentiable=False,
    lacks=("u", "xor_sum_cpu"),
)
def hash_tensor(k: Kernel[T], input: T, dim: Dims1 = (), *, keepdim: bool = False, mode: int = 0) -> T:
    """The exclusive or of the bits of all elements, or of those along dims, widened to 64 bits."""
    return k.library("hash_bits", input, dim=dim, keepdim=keepdim)


@hash_tensor.errors
def _(input: Tensor, dim: Dims, keepdim: bool, mode: int) -> None:
    if mode != 0:
        raise RuntimeError(f"Unknown hash_tensor mode: {mode}")
    if input.is_complex():
        raise RuntimeError("hash_tensor does not support complex dtypes")
    for d in (dim,) if isinstance(dim, int) else dim:
        wrap_dim(d, input.ndim)
