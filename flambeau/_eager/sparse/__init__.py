"""Operators on sparse tensors: the general lane's other half (docs/sparse.md).

An operator has one definition; here it may have a *reading* for layouts that are not strided: a function of its arguments that
makes the result, without history. The call is recorded under the operator's own derivative, which is written in tensor operations
and so reads sparse gradients as it reads dense ones. Where there is no reading, the operator is refused in PyTorch's words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau._backends.sparse_arrays import CompressedArray, CooArray, SparseArray, spoken
from flambeau._eager import bodies, call as lane, record, writes
from flambeau._eager.graph import bump, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.readings import Table, entering, refusal, spelled
from flambeau._eager.views import check_writable, rebase
from flambeau._operators import load
from flambeau._operators.op import Op
from flambeau._tensor import LAYOUTS, Tensor

READINGS: Table = {}
IN_PLACE: Table = {}  # what writes into its first tensor, where that is no plain replacement
reading = entering(READINGS)  # for tensors that are not all strided; `composed`: of operators that record themselves
writing = entering(IN_PLACE)  # is given an operator's arguments and changes the first


def call(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """Call an operator some of whose tensors are sparse (or that exists for sparse tensors)."""
    fn = READINGS.get(op.overload)
    if into:
        return _in_place(op, values, fn)
    if fn is None:
        if op.kind == "composite":
            return lane.composite(op, values, out, into)
        if op.kind == "pointwise" and backend_of(values) == "SparseCsrCPU":
            raise RuntimeError(f"unsupported tensor layout: {_layout_in(values)}")
        raise refused(op, values, "")
    if out is not None:
        return _out(op, values, out, fn)
    if fn.__dict__.get("composed"):
        return bodies.call_body(op, fn, (), values)
    result = _without_history(op, fn, values)
    if STATE.grad and op.differentiable and isinstance(result, Tensor) and record.any_history(op, values):
        if any(result is v for v in values):  # nothing to do, and nothing to record
            return result
        record.record(op, (result,), values)
    return result


def _without_history(op: Op, fn: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    grad, STATE.grad = STATE.grad, False
    try:
        return bodies.call_body(op, fn, (), values)
    finally:
        STATE.grad = grad


def _in_place(op: Op, values: tuple[Any, ...], fn: Callable[..., Any] | None) -> Any:
    target = values[op.receiver_at]
    write = IN_PLACE.get(op.overload)
    if fn is None and write is None:
        if op.kind == "composite":
            return lane.composite(op, values, None, True)
        raise refused(op, values, "_")
    tracked = STATE.grad and op.differentiable and record.any_history(op, values)
    if tracked and node_of(target) is not None:
        check_writable(target)
    before = record.before_write(op, values) if tracked else None
    if write is not None:
        _without_history(op, write, values)
    else:
        replace(target, _without_history(op, fn, values))  # type: ignore[arg-type]
    bump(target)
    if tracked:
        rebase(target, record.record_write(op, target, values, before))
    return target


def replace(target: Tensor, made: Tensor) -> None:
    """Put the elements of a result into a tensor of the same layout."""
    a, b = target._a, made._a
    if isinstance(a, SparseArray) and type(a) is type(b):
        if b.values.dtype != a.values.dtype:
            b = made.to(target.dtype)._a
        a.become(b)
    elif isinstance(a, SparseArray) or isinstance(b, SparseArray):
        target._a = b
    else:
        writes.assign(a, b)


def _out(op: Op, values: tuple[Any, ...], out: Any, fn: Callable[..., Any]) -> Any:
    made = bodies.call_body(op, fn, (), values) if fn.__dict__.get("composed") else _without_history(op, fn, values)
    if isinstance(made._a, SparseArray) or isinstance(out._a, SparseArray):
        replace(out, made)
        bump(out)
    else:
        writes.write_out(out, made._a, made.dtype, op.name)
    return out


def refused(op: Op | str, values: Sequence[Any], suffix: str) -> NotImplementedError:
    """The error for an operator that has no reading for its arguments."""
    name = op if isinstance(op, str) else spelled(op, values, suffix)
    return refusal(name, backend_of(values))


def _layout_in(values: Sequence[Any]) -> str:
    return next(spoken(v._a) for v in values if isinstance(v, Tensor) and isinstance(v._a, CompressedArray))


def backend_of(values: Sequence[Any]) -> str:
    """The backend that PyTorch names in its errors."""
    for v in values:
        for t in v if isinstance(v, (list, tuple)) else (v,):
            if isinstance(t, Tensor) and isinstance(t._a, SparseArray):
                return "SparseCPU" if isinstance(t._a, CooArray) else "SparseCsrCPU"
    return "CPU"


load()  # readings stand beside definitions
LAYOUTS.update({CooArray: "sparse", CompressedArray: "sparse"})
from flambeau._eager.sparse import (
    convert as _convert,
    create as _create,
    move as _move,
    pointwise as _pointwise,
    product as _product,
    reduce as _reduce,
)

__all__ = ["_convert", "_create", "_move", "_pointwise", "_product", "_reduce"]
