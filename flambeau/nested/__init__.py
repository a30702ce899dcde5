"""`torch.nested`: batches whose members differ in size (docs/nested.md)."""

from __future__ import annotations

import numpy as _np

import flambeau
from flambeau import Tensor
from flambeau._eager.nested.classes import DimRange as _DimRange

from ._internal import nested_tensor as _jagged

__all__ = [
    "as_nested_tensor",
    "masked_select",
    "narrow",
    "nested_tensor",
    "nested_tensor_from_jagged",
    "to_padded_tensor",
]

flambeau.serialization.add_safe_globals([_jagged.NestedTensor, _jagged._rebuild_njt, _DimRange])
_NestedTensor = _jagged.NestedTensor


def nested_tensor(tensor_list, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A nested tensor with copies of a list's tensors (or what `torch.tensor` takes) as members, without history.

    >>> nt = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged)
    >>> nt.shape[2], len(nt.unbind())
    (3, 2)
    """
    layout = flambeau.strided if layout is None else layout
    if layout not in (flambeau.strided, flambeau.jagged):
        raise RuntimeError(f"Specified layout is unsupported for nested tensors: {layout}")
    if layout is flambeau.strided and not isinstance(tensor_list, (list, tuple)):
        raise TypeError("Only lists (List[Tensor] and List[List...[Scalar]]) are accepted in nested_tensor")
    members = [t if isinstance(t, Tensor) else flambeau.tensor(t) for t in tensor_list]
    with flambeau.no_grad():
        if layout is flambeau.strided:
            nt = _jagged.strided_from_list(members, dtype, device)
        else:
            nt, _ = _jagged.jagged_from_list(members, offsets=None, device=device, dtype=dtype)
    nt.requires_grad_(requires_grad)
    return nt.pin_memory() if pin_memory else nt


def as_nested_tensor(ts, dtype=None, device=None, layout=None):
    """A nested tensor of a list's tensors, or of the rows of one tensor, through which gradients flow back to them."""
    is_list = isinstance(ts, (list, tuple)) and all(isinstance(t, Tensor) for t in ts)
    if not isinstance(ts, Tensor) and not is_list:
        raise TypeError("as_nested_tensor(): Expected first argument to be a tensor or a list / tuple of tensors ")
    if isinstance(ts, Tensor) and ts.dim() < 2:
        raise RuntimeError("as_nested_tensor(): Expected tensor argument to have dim() > 1")
    if isinstance(ts, Tensor) and ts.is_nested:
        if layout == ts.layout:
            return ts.to(device=device, dtype=dtype)
        raise RuntimeError("as_nested_tensor(): Converting between nested tensor layouts is not supported")
    layout = flambeau.strided if layout is None else layout
    if layout is flambeau.strided:
        if isinstance(ts, Tensor):
            sizes = _np.array([tuple(ts.shape[1:])] * ts.shape[0], _np.int64).reshape(ts.shape[0], ts.dim() - 1)
            return _jagged.strided_over(ts.reshape(-1).to(device=device, dtype=dtype), sizes)
        return _jagged.strided_from_list(list(ts), dtype, device)
    if layout is not flambeau.jagged:
        raise RuntimeError(f"Specified layout is unsupported for nested tensors: {layout}")
    if not isinstance(ts, Tensor):
        return _jagged.jagged_from_list(list(ts), offsets=None, device=device, dtype=dtype)[0]
    values = ts.contiguous().flatten(0, 1).to(device=device, dtype=dtype)
    rows, length = ts.shape[:2]
    offsets = (
        flambeau.arange(0, rows * length + 1, length) if length else flambeau.zeros(rows + 1, dtype=flambeau.int64)
    )
    return _jagged.nested_view_from_values_offsets(values, offsets, min_seqlen=length, max_seqlen=length)


def to_padded_tensor(input, padding, output_size=None, out=None):
    """The members of a nested tensor one below the other, filled up with `padding` to the size of the largest.

    >>> torch.nested.to_padded_tensor(torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), 0.0)
    tensor([[1., 0.],
            [1., 1.]])
    """
    result = input.to_padded_tensor(padding, output_size)
    return result if out is None else out.resize_(result.shape).copy_(result)


def narrow(tensor, dim, start, length, layout=flambeau.strided):
    """Of each row of a tensor, the elements from `start` on, `length` of them; both may differ by row (jagged layout)."""
    if not isinstance(start, (int, flambeau.SymInt, Tensor)):
        raise RuntimeError("start must be an integer or a tensor")
    if not isinstance(length, (int, flambeau.SymInt, Tensor)):
        raise RuntimeError("length must be an integer or a tensor")
    if layout is flambeau.strided:
        if isinstance(start, Tensor) or isinstance(length, Tensor):
            raise RuntimeError("start and length must be integers for the strided layout NT impl")
        return as_nested_tensor(flambeau.unbind(tensor), layout=flambeau.strided).narrow(dim, start, length)
    if layout is not flambeau.jagged:
        raise RuntimeError(f"Specified layout is unsupported for nested narrow: {layout}")
    if dim != 1:
        raise RuntimeError("jagged layout only supports dim=1")
    start, length = (x if isinstance(x, Tensor) else flambeau.tensor([x]) for x in (start, length))
    return _jagged.jagged_from_tensor_and_lengths(tensor, start, length)[0]


def nested_tensor_from_jagged(values, offsets=None, lengths=None, jagged_dim=None, min_seqlen=None, max_seqlen=None):
    """The jagged nested tensor over `values`, a view of them: where members begin (and end), or how long they are, or both.

    >>> nt = torch.nested.nested_tensor_from_jagged(torch.arange(6.0), torch.tensor([0, 2, 6]))
    >>> nt.unbind()
    (tensor([0., 1.]), tensor([2., 3., 4., 5.]))
    """
    if offsets is None:
        if lengths is None:
            raise RuntimeError("nested_tensor_from_jagged(): At least one of offsets or lengths is required.")
        offsets, lengths = flambeau.nn.functional.pad(lengths.cumsum(0), (1, 0)), None
    if jagged_dim is None:
        jagged_dim = 1
    elif jagged_dim < 1:
        raise ValueError(f"Expected jagged_dim >=1, but got {jagged_dim}.")
    return _jagged.nested_view_from_values_offsets_lengths(
        values, offsets, lengths, ragged_idx=jagged_dim, min_seqlen=min_seqlen, max_seqlen=max_seqlen
    )


def masked_select(tensor, mask):
    """The elements of a tensor where a mask is true, as a jagged nested tensor: a member for each row of the last dimension."""
    for name, t in (("tensor", tensor), ("mask", mask)):
        if t.layout is not flambeau.strided:
            said = (
                f"requires a strided tensor, given {t.layout}"
                if name == "tensor"
                else f"requires a strided mask, given: {t.layout}"
            )
            raise RuntimeError(f"torch.nested.masked_select {said}")
    lengths = mask.expand(tensor.shape).sum(dim=tensor.ndim - 1).view(-1)
    offsets = flambeau.nn.functional.pad(lengths.cumsum(dim=0), (1, 0))
    return _jagged.nested_view_from_values_offsets(tensor.masked_select(mask), offsets)
