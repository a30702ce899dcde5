"""How values of several ranks become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np


class RedOpType(IntEnum):
    """The ways, by number."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8

    def __repr__(self) -> str:
        return f"<RedOpType.{self.name}: {int(self)}>"

    def __str__(self) -> str:
        return f"RedOpType.{self.name}"


class ReduceOp:
    """A way to combine: `ReduceOp.SUM`, `AVG`, `PRODUCT`, `MIN`, `MAX`, `BAND`, `BOR`, `BXOR`."""

    RedOpType = RedOpType
    SUM, AVG, PRODUCT, MIN, MAX = RedOpType.SUM, RedOpType.AVG, RedOpType.PRODUCT, RedOpType.MIN, RedOpType.MAX
    BAND, BOR, BXOR, PREMUL_SUM = RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR, RedOpType.PREMUL_SUM

    def __init__(self, op: Any) -> None:
        self.op = RedOpType(op)

    def __eq__(self, other: object) -> bool:
        return self.op == (other.op if isinstance(other, ReduceOp) else other)

    def __hash__(self) -> int:
        return hash(self.op)


ReduceOp.__module__ = "torch.distributed"

_FUNCTIONS: dict[RedOpType, Callable[..., Any]] = {
    RedOpType.SUM: np.add, RedOpType.AVG: np.add, RedOpType.PRODUCT: np.multiply, RedOpType.MIN: np.minimum, RedOpType.MAX: np.maximum,
    RedOpType.BAND: np.bitwise_and, RedOpType.BOR: np.bitwise_or, RedOpType.BXOR: np.bitwise_xor,
}  # fmt: skip


_NAMES = {"int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool"}


def _kind(op: Any) -> RedOpType:
    return op.op if isinstance(op, ReduceOp) else RedOpType(op)


def check(op: Any, tensor: Any, what: str) -> None:
    """Refuse what cannot be combined so, before any rank is asked: the others need not fail with this one."""
    kind = _kind(op)
    if kind is RedOpType.PREMUL_SUM:
        raise NotImplementedError("torch.distributed.ReduceOp.PREMUL_SUM")
    if tensor.is_complex() and kind not in (RedOpType.SUM, RedOpType.AVG):
        raise ValueError(f"{what} does not support {kind} on complex tensors")
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    if kind in (RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR) and not whole:
        raise RuntimeError(f"Cannot use ReduceOp.{kind.name} with non-integral dtype")
    if kind is RedOpType.AVG and whole:
        name = str(tensor.dtype).removeprefix("torch.")
        raise RuntimeError(f"result type Float can't be cast to the desired output type {_NAMES.get(name, name)}")


def combine(parts: Sequence[Any], op: Any) -> Any:
    """Arrays of all ranks as one, added up in the order of ranks."""
    kind = _kind(op)
    fn = _FUNCTIONS[kind]
    out = np.array(parts[0])
    for p in parts[1:]:
        fn(out, p, out=out, casting="unsafe")
    if kind is RedOpType.AVG:
        out = (out / len(parts)).astype(out.dtype)
    return out
