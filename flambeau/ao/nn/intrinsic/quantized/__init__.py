"""Fused quantized modules."""

import importlib
from types import ModuleType

from .modules import (
    BNReLU2d,
    BNReLU3d,
    ConvAdd2d,
    ConvAddReLU2d,
    ConvReLU1d,
    ConvReLU2d,
    ConvReLU3d,
    LinearLeakyReLU,
    LinearReLU,
    LinearTanh,
)

__all__ = [
    "BNReLU2d",
    "BNReLU3d",
    "ConvReLU1d",
    "ConvReLU2d",
    "ConvReLU3d",
    "LinearReLU",
    "LinearLeakyReLU",
    "LinearTanh",
    "ConvAdd2d",
    "ConvAddReLU2d",
]


def __getattr__(name: str) -> ModuleType:
    if name == "dynamic":
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.ao.nn.intrinsic.quantized' has no attribute {name!r}")
