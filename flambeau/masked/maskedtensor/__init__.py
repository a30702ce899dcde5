"""Tensors some of whose elements are unspecified."""

from __future__ import annotations

from .core import MaskedTensor as MaskedTensor, is_masked_tensor as is_masked_tensor
from .creation import as_masked_tensor as as_masked_tensor, masked_tensor as masked_tensor
