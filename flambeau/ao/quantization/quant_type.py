"""When ranges are found."""

import enum

__all__ = ["QuantType"]


class QuantType(enum.IntEnum):
    """When the ranges of activations are found: when the model runs, beforehand, in training, never."""

    DYNAMIC = 0
    STATIC = 1
    QAT = 2
    WEIGHT_ONLY = 3


def _get_quant_type_to_str(quant_type: QuantType) -> str:
    return quant_type.name.lower()


def _quant_type_from_str(name: str) -> QuantType:
    for kind in QuantType:
        if name == kind.name.lower():
            return kind
    raise ValueError(f"Unknown QuantType name '{name}'")
