"""Operators that refuse what tensors hold (an index out of range, a matrix that is singular), and what a program does then.

A compiled call leaves what eager code leaves, and eager code raises in the middle, with all effects up to there. So a program in which
something is refused takes nothing back half way: it ends with nothing written, says REFUSED, and eager code runs instead, which raises,
or handles the error. Native programs look before they write (`schedule`); graphs that run operator by operator keep what they overwrite
(`retreat`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flambeau._ops import OpOverload

if TYPE_CHECKING:
    from flambeau._capture.recorder import Value

DIVISIONS = frozenset(("floor_divide", "remainder", "fmod", "div"))  # which refuse integers that are 0
# Operators of these modules refuse arguments for their shapes and dtypes alone. What is not listed costs a little more, no more.
_BY_SHAPE = frozenset(
    ("activation", "attention", "compare", "complex", "contract", "conv", "create", "dropout", "elementary", "fft", "grid", "join", "kinds",
     "matrix", "norm", "normalize", "pad", "pointwise", "primitives", "reduce", "resample", "rnn", "scan", "special", "view", "view_copies")
)  # fmt: skip


def refuses(target: Any, made: Any) -> bool:
    """Whether a call may raise for what its tensors hold. `made`: what it gives, with or without elements, or its (shape, dtype, ...)."""
    if not isinstance(target, OpOverload):
        return False
    op = target.op
    if asserts(target):
        return True
    if op.aten in DIVISIONS:
        dtype = made[1] if isinstance(made, tuple) and len(made) > 1 else getattr(made, "dtype", None)
        return dtype is None or dtype.kind in "iub"
    return not (op.view or op.kind == "pointwise" or op.module.rpartition(".")[2] in _BY_SHAPE)


def asserts(target: Any) -> bool:
    """Whether a call does nothing but refuse."""
    return isinstance(target, OpOverload) and target.op.aten.startswith("_assert_async")


def looks(target: Any, made: Any) -> bool:
    """Whether a call looks for what it refuses (indices, divisors) even where nobody uses what it gives."""
    return refuses(target, made) and bool(target.op.indices or target.op.aten in DIVISIONS)


def may_refuse(lines: Iterable[Value]) -> bool:
    """Whether there is such a call among what a recorder noted."""
    return any(v.kind == "call" and refuses(v.target, v.sample) for v in lines)


__all__ = ["DIVISIONS", "asserts", "looks", "may_refuse", "refuses"]
