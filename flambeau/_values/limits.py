"""finfo and iinfo: the numerical limits of a dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from flambeau._values.dtype import dtype as dtype_, get_default_dtype, of_type


@dataclass(frozen=True, slots=True, init=False, repr=False)
class finfo:
    """Limits of a floating dtype: bits, eps, min, max, tiny, smallest_normal, resolution.

    >>> finfo().eps
    1.1920928955078125e-07
    """

    bits: int
    eps: float
    max: float
    min: float
    tiny: float
    smallest_normal: float
    resolution: float
    dtype: str

    def __init__(self, type: dtype_ | None = None) -> None:
        d = get_default_dtype() if type is None else of_type(type)
        if not isinstance(d, dtype_):
            raise TypeError(f"finfo(): argument 'type' (position 1) must be torch.dtype, not {d.__class__.__name__}")
        if d.kind not in "fc":
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{'torch.finfo'}'"
            )
        d = d.to_real()
        describe: Any = ml_dtypes.finfo  # untyped there
        info = describe(d.np)
        eps, smallest = float(info.eps), float(info.smallest_normal)
        digits = int(
            -math.log2(eps) * math.log10(2)
        )  # decimal digits that survive, as C++'s numeric_limits counts them
        if d.name == "float8_e5m2fnuz":
            eps = 0.125  # what PyTorch answers
        _fill(
            self,
            d.itemsize * 8,
            eps,
            float(info.max),
            float(info.min),
            smallest,
            smallest,
            float(f"1e-{digits}"),
            d.name,
        )

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


@dataclass(frozen=True, slots=True, init=False, repr=False)
class iinfo:
    """Limits of an integer dtype: bits, min, max."""

    bits: int
    max: int
    min: int
    dtype: str

    def __init__(self, type: dtype_) -> None:
        type = of_type(type)
        if not isinstance(type, dtype_):
            raise TypeError(f"iinfo(): argument 'type' (position 1) must be torch.dtype, not {type.__class__.__name__}")
        if type.kind == "b":
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if type.kind not in "iq":
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        info = np.iinfo(type.np if type.kind == "i" else type.np[0])  # of a quantized dtype, its codes
        _fill(self, info.bits, int(info.max), int(info.min), type.name)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def _fill(limits: Any, *values: Any) -> None:
    """Set the fields of a frozen dataclass, in order."""
    for name, value in zip(limits.__slots__, values, strict=True):
        object.__setattr__(limits, name, value)


finfo.__module__ = iinfo.__module__ = "flambeau"
