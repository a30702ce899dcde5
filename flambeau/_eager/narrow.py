"""How operands meet in float16 and bfloat16, for every reading: what is rounded to them before anything is computed, and what is not.

Bodies see float32. As PyTorch's kernels do on the CPU, numbers and 0-d tensors are rounded to the dtype in which operands meet; but
one number in the place that an operator names as its `single` is used in float32 as it is, and then no step is rounded either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flambeau._kernel.record import Expr, cast, constant
from flambeau._operators.op import Op
from flambeau._values.dtype import ALL, NARROW, dtype, float32


def is_one(x: Any) -> bool:
    """Whether an operand is one number for all elements: a Python number, or a tensor of one element."""
    return all(type(n) is int and n == 1 for n in getattr(x, "shape", ()))


class Way(NamedTuple):
    """How the operands of a call meet. `steps`: what `k.rounded` rounds to (None: nothing is rounded); `wide`: the operand that is not."""

    steps: dtype | None = None
    wide: int = -1


PLAIN = Way()
ROUNDED = {d: Way(d) for d in ALL if d.np in NARROW}


def way(op: Op, operands: Sequence[Any], common: dtype | None) -> Way:
    """How these operands (arrays, expressions, numbers) meet."""
    if common is None or common.np not in NARROW:
        return PLAIN
    if not op.single and not op.scalar:
        return ROUNDED[common]
    for i, (p, x) in enumerate(zip(op.params, operands, strict=True)):
        if p.name == op.single and is_one(x):
            return Way(None, i)
        if p.name == op.scalar and not hasattr(x, "shape"):
            return Way(common, i)
    return ROUNDED[common]


def expressions(operands: list[Any], meeting: Sequence[int], common: dtype, how: Way) -> None:
    """Replace the operands that meet (numbers and expressions, or what holds one) by what a body sees."""
    compute = float32 if common.np in NARROW else common
    for i in meeting:
        x = getattr(operands[i], "expr", operands[i])
        d = compute if i == how.wide else common
        operands[i] = cast(narrowed(x, d) if isinstance(x, Expr) else constant(x, d), compute)


def narrowed(e: Expr, d: dtype) -> Expr:
    """In another dtype; a widened value of that very dtype is itself."""
    if (
        e.op == "cast"
        and e.src[0].dtype is d
        and e.dtype.is_floating_point
        and d.is_floating_point
        and e.dtype.itemsize >= d.itemsize
    ):
        return e.src[0]
    return cast(e, d)
