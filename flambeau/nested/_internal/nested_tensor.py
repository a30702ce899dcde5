"""Jagged nested tensors by their parts, under the names that PyTorch's own parts have."""

from __future__ import annotations

import flambeau
import flambeau._eager.nested  # readings of operators on nested tensors
from flambeau._eager.nested.classes import (
    NestedTensor,
    _rebuild_njt,
    size_of as get_tensor_symint,
    structure as _structure,
)
from flambeau._eager.nested.jagged import again as _again, from_list as _from_list, packed as _packed
from flambeau._eager.nested.strided import from_members as strided_from_list, over as strided_over

__all__ = [
    "NestedTensor",
    "_rebuild_njt",
    "buffer_from_jagged",
    "get_tensor_symint",
    "jagged_from_list",
    "jagged_from_tensor_and_lengths",
    "nested_from_padded",
    "nested_view_from_values_offsets",
    "nested_view_from_values_offsets_lengths",
    "strided_from_list",
    "strided_over",
]


def nested_view_from_values_offsets_lengths(values, offsets, lengths, ragged_idx=1, min_seqlen=None, max_seqlen=None):
    """The jagged tensor over values, by where its members begin and how long they are."""
    return _again(values, _structure(offsets, lengths, ragged_idx, _known(min_seqlen, max_seqlen)))


def _known(min_seqlen, max_seqlen):
    return {k: v for k, v in (("min_seqlen", min_seqlen), ("max_seqlen", max_seqlen)) if v is not None}


def nested_view_from_values_offsets(values, offsets, ragged_idx=1, min_seqlen=None, max_seqlen=None):
    """The jagged tensor over values, by where its members begin."""
    return nested_view_from_values_offsets_lengths(values, offsets, None, ragged_idx, min_seqlen, max_seqlen)


def nested_from_padded(padded, offsets, ragged_idx=1, min_seqlen=None, max_seqlen=None, sum_S=None):
    """The jagged tensor whose members are the beginnings of dense rows."""
    ragged = _structure(offsets, None, ragged_idx, _known(min_seqlen, max_seqlen))
    return _again(_packed(padded, ragged), ragged)


def buffer_from_jagged(jagged):
    """The values of a jagged tensor."""
    return jagged.values()


def jagged_from_list(tensors, offsets, dtype=None, device=None):
    """(the jagged tensor whose members are these tensors, its offsets)."""
    nt = _from_list(list(tensors), dtype, device)
    if offsets is not None:
        nt = _again(nt.values(), _structure(offsets, None, nt._ragged_idx, dict(nt._a.ragged.seqlens)))
    return nt, nt.offsets()


def jagged_from_tensor_and_lengths(tensor, starts, lengths):
    """(the jagged view of parts of a tensor's rows, its offsets, its lengths where there are holes)."""
    rows = tensor.shape[0]
    if any(t.dim() > 1 or (t.dim() == 1 and t.shape[0] not in (1, rows)) for t in (starts, lengths)):
        raise RuntimeError(
            "When constructing a jagged nested tensor using narrow(), your start and length must be Tensors that broadcast to "
            "input.shape[0]"
        )
    if tensor.dim() < 2:
        raise AssertionError("tensor must at least be 2D for the nested narrow op to work")
    first, count = starts.expand(rows), lengths.expand(rows)
    width = tensor.shape[1]
    begin = first + width * flambeau.arange(rows)
    offsets = flambeau.cat([begin, (begin[-1] + count[-1]).unsqueeze(0)])
    values = tensor.view(-1, *tensor.shape[2:])
    known = {"min_seqlen": int(lengths.min().item()), "max_seqlen": int(lengths.max().item())}
    # What is without holes: full rows in between, of which the first may begin late and the last end early.
    whole = (
        not (count[1:-1] != width).any()
        and not (offsets[1:-2].diff() != width).any()
        and offsets[0] + count[0] == width
    )
    if whole:
        nt = nested_view_from_values_offsets(values[offsets[0] : offsets[-1]], offsets - offsets[0], **known)
        return nt, nt.offsets(), None
    nt = nested_view_from_values_offsets_lengths(values, offsets, count, **known)
    return nt, offsets, count
