"""What shares a scale: a tensor, a row, a block; and how ranges map to codes. For observers that are written against these words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from flambeau import nn
from flambeau.ao.quantization.partial import _with_args


class MappingType(Enum):
    """How a range is mapped to codes: to both sides of zero alike, the same without clipping either side, or as it is."""

    SYMMETRIC = auto()
    SYMMETRIC_NO_CLIPPING_ERR = auto()
    ASYMMETRIC = auto()


class ZeroPointDomain(Enum):
    """What zero points are: codes, floats, or nothing."""

    INT = auto()
    FLOAT = auto()
    NONE = auto()


class TorchAODType(Enum):
    """Integers of few bits, by name."""

    INT1 = auto()
    INT2 = auto()
    INT3 = auto()
    INT4 = auto()
    INT5 = auto()
    INT6 = auto()
    INT7 = auto()


@dataclass(frozen=True)
class Granularity:
    """What shares a scale."""


@dataclass(frozen=True)
class PerBlock(Granularity):
    """Blocks of that size."""

    block_size: tuple[int, ...]


@dataclass(frozen=True)
class PerTensor(Granularity):
    """The whole tensor."""


@dataclass(frozen=True)
class PerAxis(Granularity):
    """Each index of a dimension."""

    axis: int


@dataclass(frozen=True)
class PerGroup(Granularity):
    """Groups of so many elements of a row."""

    group_size: int


class PerRow(Granularity):
    """Each row."""


class PerToken(Granularity):
    """Each token: the last dimension."""


def get_block_size(input_shape: tuple[int, ...], granularity: Granularity) -> tuple[int, ...]:
    """The size of what shares a scale, in a tensor of that shape.

    >>> get_block_size((8, 16), PerGroup(4))
    (1, 4)
    """
    if not isinstance(granularity, Granularity):
        raise AssertionError("Please provide an instance of Granularity, not subclass of it")
    match granularity:
        case PerTensor():
            return input_shape
        case PerAxis():
            axis = granularity.axis % len(input_shape)
            return tuple(1 if d == axis else n for d, n in enumerate(input_shape))
        case PerRow() | PerToken():
            return (1,) * (len(input_shape) - 1) + (input_shape[-1],)
        case PerGroup():
            if len(input_shape) != 2:
                raise AssertionError(
                    f"Expecting input shape dim to be 2 for per group quantization, gotinput shape: {input_shape}"
                )
            return (1, granularity.group_size)
    raise ValueError(f"Unsupported Granularity: {granularity}")


class AffineQuantizedObserverBase(ABC, nn.Module):
    """Observers of what shares a scale; to be derived from.

    Arguments:
        mapping_type: how ranges are mapped to codes.
        target_dtype: what is to be quantized to.
        granularity: what shares a scale.
    """

    with_args = classmethod(_with_args)

    def __init__(self, mapping_type: MappingType, target_dtype: Any, granularity: Granularity, quant_min: int | None = None,
                 quant_max: int | None = None, eps: float | None = None, scale_dtype: Any = None, zero_point_dtype: Any = None,
                 preserve_zero: bool = True, zero_point_domain: ZeroPointDomain | None = ZeroPointDomain.INT, **kwargs: Any) -> None:  # fmt: skip
        super().__init__()
        if granularity is None:
            raise AssertionError("granularity is None")
        self.mapping_type, self.target_dtype, self.granularity = mapping_type, target_dtype, granularity
        self.quant_min, self.quant_max, self.eps = quant_min, quant_max, eps
        self.scale_dtype, self.zero_point_dtype = scale_dtype, zero_point_dtype
        self.preserve_zero, self.zero_point_domain = preserve_zero, zero_point_domain
        self.block_size = self.original_dtype = None  # known once something has come by

    @abstractmethod
    def forward(self, input: Any) -> Any:
        """Watch input, and give it back."""

    @abstractmethod
    def calculate_qparams(self) -> tuple[Any, Any]:
        """Scale and zero point."""

    def convert(self, model: Any, observer_node: Any) -> None:
        """Put operators of `torch.ops.pt2e_quant` where the observer stands in a graph."""
        raise NotImplementedError("AffineQuantizedObserverBase.convert: torch.ops.pt2e_quant is not implemented")
