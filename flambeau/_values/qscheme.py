"""How quantized tensors are quantized: the schemes, and what the quantized dtypes hold."""

from __future__ import annotations

from typing import Any

from flambeau._values import dtype as dtypes


class qscheme:
    """A way of quantizing, such as `per_tensor_affine`; two are equal only if they are the same object."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> Any:
        return named, (self.name,)


qscheme.__module__ = "flambeau"

per_tensor_affine, per_channel_affine, per_tensor_symmetric, per_channel_symmetric, per_channel_affine_float_qparams = (
    qscheme(name)
    for name in ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric",
                 "per_channel_affine_float_qparams")
)  # fmt: skip
ALL = (
    per_tensor_affine,
    per_channel_affine,
    per_tensor_symmetric,
    per_channel_symmetric,
    per_channel_affine_float_qparams,
)
_BY_NAME = {q.name: q for q in ALL}


def named(name: str) -> qscheme:
    """The scheme of that name: what pickles call."""
    return _BY_NAME[name]


# What a quantized dtype holds: (the integer dtype of its codes, the least and the greatest code).
CODES = {
    dtypes.qint8: ("i1", -128, 127),
    dtypes.quint8: ("u1", 0, 255),
    dtypes.qint32: ("i4", -(2**31), 2**31 - 1),
    dtypes.BY_NAME["quint4x2"]: ("u1", 0, 15),
    dtypes.BY_NAME["quint2x4"]: ("u1", 0, 3),
}
PACKED = {dtypes.BY_NAME["quint4x2"]: 2, dtypes.BY_NAME["quint2x4"]: 4}  # how many elements share a byte
