"""Operators on quantized tensors: what the general lane hands over (docs/quantization.md).

As with sparse layouts, an operator has one definition and may have a *reading* here: a function of its arguments that makes the
result. Views need none: the array library makes them, and they keep what the codes mean. Nothing is recorded: gradients do not
flow through integers. Where there is no reading, the operator is refused in PyTorch's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._backends.cpu.arrays import K
from flambeau._backends.quantized_arrays import QuantizedArray, codes, quantized
from flambeau._eager import bodies, call as lane, writes
from flambeau._eager.graph import bump
from flambeau._eager.modes import STATE
from flambeau._eager.readings import Table, entering, refusal, spelled
from flambeau._eager.views import view
from flambeau._operators import load
from flambeau._operators.op import Op
from flambeau._tensor import LAYOUTS, Tensor, wrap

READINGS: Table = {}
IN_PLACE: Table = {}  # what writes into its first tensor
reading = entering(READINGS)
writing = entering(IN_PLACE)  # is given an operator's arguments and changes the first


def call(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """Call an operator some of whose tensors are quantized (or that exists for quantized tensors)."""
    before, STATE.grad = STATE.grad, False
    try:
        return _call(op, values, out, into)
    finally:
        STATE.grad = before


def _call(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    fn = READINGS.get(op.overload)
    if into:
        return _in_place(op, values, fn)
    if fn is None and op.kind == "composite":
        return lane.composite(op, values, out, into)
    if fn is None and op.view:
        return moved(op, values)
    if fn is None:
        raise refused(op, values, ".out" if "out" in op.variants else "")
    result = bodies.call_body(op, fn, (), values)
    if out is not None:
        return _out(op, result, out)
    return result


def _in_place(op: Op, values: tuple[Any, ...], fn: Callable[..., Any] | None) -> Any:
    target = values[op.receiver_at]
    write = IN_PLACE.get(op.overload)
    if write is not None:
        bodies.call_body(op, write, (), values)
    elif op.view:
        target._a = moved(op, values)._a
    elif fn is not None:
        target._a[...] = bodies.call_body(op, fn, (), values)._a
    elif op.kind == "composite":
        return lane.composite(op, values, None, True)
    else:
        raise refused(op, values, "_")
    bump(target)
    return target


def _out(op: Op, result: Any, out: Any) -> Any:
    outs, made = (out, result) if isinstance(out, tuple) else ((out,), (result,))
    for o, r in zip(outs, made, strict=True):
        if isinstance(r._a, QuantizedArray):
            o._a[...] = r._a
            bump(o)
        else:
            writes.write_out(o, r._a, r.dtype, op.name)
    return out


def moved(op: Op, values: tuple[Any, ...]) -> Any:
    """A view: the operator's own text over the array, which says no more about its elements than where they are."""
    source = values[op.receiver_at]
    a = source._a
    if a.quantizer.axis is not None:
        raise RuntimeError("Setting strides is possible only on uniformly quantized tensor")
    arrays = tuple(v._a if isinstance(v, Tensor) else v for v in values)
    r = bodies.call_body(op, op.run, (K,), arrays)
    if isinstance(r, (tuple, list)):
        return tuple(_view(source, x) for x in r)
    return _view(source, r)


def _view(source: Any, r: Any, quantizer: Any = None) -> Any:
    if type(r) is not QuantizedArray:
        r = r.view(QuantizedArray)
        r.quantizer = source._a.quantizer
    if quantizer is not None:
        r.quantizer = quantizer
    return view(source, r)


def codes_of(t: Any) -> Any:
    """The codes of a quantized tensor, as a tensor of integers over the same memory."""
    return wrap(codes(t._a))


def like(t: Any, integers: Any) -> Any:
    """The quantized tensor with these integers, which mean what those of t mean."""
    return wrap(quantized(integers._a, t.dtype, t._a.quantizer))


def refused(op: Op | str, values: Any, suffix: str) -> NotImplementedError:
    """The error for an operator that has no reading for its arguments."""
    name = op if isinstance(op, str) else spelled(op, values, "" if suffix == ".out" else suffix)
    if suffix == ".out":  # PyTorch's functions of these operators are written over their out= forms
        base, _, overload = name.partition(".")
        overload = {"dim_IntList": "IntList"}.get(overload, overload)
        name = base + (".out" if overload in ("", "Tensor") else f".{overload}_out")
    kind = "QuantizedCPU" if LAYOUTS and lane.laid_out_otherwise(tuple(values), None) == "quantized" else "CPU"
    return refusal(name, kind, "dtypes")


load()  # readings stand beside definitions
LAYOUTS[QuantizedArray] = "quantized"
from flambeau._eager.quantized import (
    convert as _convert,
    create as _create,
    move as _move,
    pointwise as _pointwise,
    pool as _pool,
)

__all__ = ["_convert", "_create", "_move", "_pointwise", "_pool"]
