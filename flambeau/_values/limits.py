"""finfo and iinfo: the numerical limits of a dtype."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from flambeau._values.dtype import dtype, get_default_dtype


class finfo:
    """Limits of a floating dtype: bits, eps, min, max, tiny, smallest_normal, resolution.

    >>> finfo().eps
    1.1920928955078125e-07
    """

    def __init__(self, type: dtype | None = None) -> None:
        d = get_default_dtype() if type is None else type
        if not isinstance(d, dtype):
            raise TypeError(f"finfo(): argument 'type' (position 1) must be torch.dtype, not {d.__class__.__name__}")
        if d.kind not in "fc":
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{'torch.finfo'}'"
            )
        d = d.to_real()
        describe: Any = ml_dtypes.finfo  # untyped there
        info = describe(d.np)
        self.dtype = d.name
        self.bits = d.itemsize * 8
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution = float(info.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: bits, min, max."""

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype):
            raise TypeError(f"iinfo(): argument 'type' (position 1) must be torch.dtype, not {type.__class__.__name__}")
        if type.kind == "b":
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if type.kind != "i":
            raise TypeError(
                "torch.iinfo() requires an integer input type. Use torch.finfo to handle '" + str(type) + "'"
            )
        info = np.iinfo(type.np)
        self.dtype, self.bits, self.min, self.max = type.name, info.bits, int(info.min), int(info.max)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


finfo.__module__ = iinfo.__module__ = "flambeau"
