"""Masked tensors from data and mask: as leaves, and with the history of their data."""

from __future__ import annotations

from .core import MaskedTensor

__all__ = ["as_masked_tensor", "masked_tensor"]


def masked_tensor(data, mask, requires_grad=False):
    """A masked tensor that is a leaf, as `torch.tensor` makes one."""
    return MaskedTensor(data, mask, requires_grad)


def as_masked_tensor(data, mask):
    """A masked tensor through which gradients flow back to `data`."""
    return MaskedTensor._from_values(data, mask)
