"""Operators on nested tensors: what the general lane hands over (docs/nested.md).

As with sparse layouts an operator has one definition and may have a *reading* here, a function of tensors. Readings are written over
the elements: they take a nested tensor apart, call the same operator (or others) on its values or members, which record themselves,
and put the result together. So a derivative is that of the dense operator. Pointwise operators need no reading of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._backends.nested_arrays import JaggedArray, NestedArray, StridedArray
from flambeau._eager import bodies, call as lane, writes
from flambeau._eager.derive import function
from flambeau._eager.graph import bump, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.readings import Table, entering, refusal, spelled
from flambeau._eager.views import check_writable
from flambeau._operators import load
from flambeau._operators.op import Op
from flambeau._tensor import CLASSES, LAYOUTS, Tensor

JAGGED: Table = {}
STRIDED: Table = {}
jagged_reading = entering(JAGGED)  # a reading that `needs_op` is given the operator, too
strided_reading = entering(STRIDED)
PLAIN_ONES: dict[type, Callable[..., Any]] = {}  # kind of array -> the reading of pointwise operators
ELEMENTWISE = frozenset(("clone", "frexp.Tensor", "i0", "igamma", "igammac", "ldexp.Tensor", "masked_fill.Scalar", "angle", "native_dropout_backward"))  # fmt: skip


def call(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """Call an operator some of whose tensors are nested (or that exists for nested tensors)."""
    kind = kind_of(values, out)
    fn = (JAGGED if kind is JaggedArray else STRIDED).get(op.overload)
    if fn is None and op.kind == "composite" and op.overload not in ELEMENTWISE:
        return lane.composite(op, values, out, into)
    if fn is None:
        if op.kind != "pointwise" and op.overload not in ELEMENTWISE and not op.overload.startswith("special_"):
            raise refused(op, values, "_" if into else "")
        result = PLAIN_ONES[kind](op, values)
    else:
        bound = dict(zip((p.name for p in op.params), values, strict=True))
        result = fn(op, **bound) if fn.__dict__.get("needs_op") else fn(**bound)
    if into:
        return _into(values[op.receiver_at], result)
    if out is not None:
        return _into(out, result)
    return result


def _into(target: Any, result: Any) -> Any:
    """Write a result over a tensor, which takes on its history."""
    if result is target:
        return target
    tracked = STATE.grad and node_of(result) is not None
    if STATE.grad and (tracked or node_of(target) is not None):
        check_writable(target)
    a, r = target._a, result._a
    if type(a) is type(r) and not isinstance(a, StridedArray):
        if a.shape != r.shape:
            raise RuntimeError(f"output with shape {list(a.shape)} doesn't match the broadcast shape {list(r.shape)}")
        writes.assign(a.values, r.values)
    elif isinstance(a, StridedArray):
        for x, y in zip(a.members(), r.members(), strict=True):
            writes.assign(x, y)
    else:
        writes.assign(a, r)
    bump(target)
    if tracked:
        target._node, target._nr = result._node, result._nr
    return target


def kind_of(values: Any, out: Any = None) -> type:
    """The kind of the nested arrays in a call; jagged where there is none (what makes one)."""
    for v in (*values, out):
        for t in v if type(v) in (list, tuple) else (v,):
            if isinstance(t, Tensor) and isinstance(t._a, NestedArray):
                return type(t._a)
    return JaggedArray


def is_nested(t: Any) -> bool:
    """Whether something is a nested tensor."""
    return isinstance(t, Tensor) and isinstance(t._a, NestedArray)


def is_jagged(t: Any) -> bool:
    """Whether something is a nested tensor of the jagged layout."""
    return isinstance(t, Tensor) and type(t._a) is JaggedArray


def dense(op: Op, values: tuple[Any, ...]) -> Any:
    """The public function of an operator, of arguments in the order of its parameters."""
    return bodies.call_body(op, function(op), (), values)


def refused(op: Op | str, values: Any, suffix: str = "") -> Exception:
    """The error for an operator that has no reading for its arguments."""
    name = op if isinstance(op, str) else spelled(op, values, suffix)
    if kind_of(values) is JaggedArray:
        return NotImplementedError(f"aten.{name if '.' in name else name + '.default'}")
    return refusal(name, "NestedTensorCPU")


load()  # readings stand beside definitions
LAYOUTS.update({JaggedArray: "nested", StridedArray: "nested"})
from flambeau._eager.nested import (
    classes as _classes,
    create as _create,
    jagged as _jagged,
    products as _products,
    reduce as _reduce,
    strided as _strided,
)

CLASSES.update({JaggedArray: _classes.NestedTensor, StridedArray: _classes.StridedNestedTensor})
__all__ = ["_create", "_jagged", "_products", "_reduce", "_strided"]
