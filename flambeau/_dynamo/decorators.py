"""What files name that was marked as changing in size: jagged nested tensors are."""

from __future__ import annotations

from flambeau._eager.nested.classes import DimRange as _DimRange

__all__ = ["_DimRange"]
