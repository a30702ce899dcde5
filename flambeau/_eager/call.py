"""The general lane: what every call means, whatever its arguments are. The flat functions of `derive` are its shortcuts.

A call is: overrides and modes, one device, promotion (`promotion`), refusals, the body (`bodies`), wrapping and history (`results`), or a
write into what is there (`writes`).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from flambeau._backends.pending_arrays import PendingArray
from flambeau._eager import arguments, bodies, large, promotion, record, results, writes
from flambeau._eager.graph import node_of
from flambeau._eager.modes import MODES, STATE
from flambeau._eager.views import check_writable
from flambeau._operators.op import Op
from flambeau._tensor import LAYOUTS, PLAIN, Tensor, wrap
from flambeau._values import dtype as dtypes

# filled by the floors above: "override": fn(op, values, out, into) -> result or NotImplemented, by overrides and autograd; "planned" by `planned`
HOOKS: dict[str, Any] = {}


def general(op: Op, values: tuple[Any, ...], out: Any = None, into: bool = False) -> Any:
    """Call an operator with its arguments in the order of its parameters. `into`: write the result over `input`."""
    if not MODES:
        known = HOOKS["planned"](op, values, out, into)
        if known is not None:
            return known
    for i in op.numbers:
        if isinstance(values[i], Tensor):
            arguments.check(op, values, into)
            values = (*values[:i], values[i].item(), *values[i + 1 :])
    if op.number_first and isinstance(values[0], promotion.NUMBERS):
        values = (_lifted(*values[:2]), *values[1:])
    if MODES or not is_plain(op, values):
        if STATE.tracing:
            return HOOKS["trace"](op, values, out, into)
        result = HOOKS["override"](op, values, out, into)
        if result is not NotImplemented:
            return result
        room = laid_out_otherwise(values, out) if LAYOUTS else ""
        if not room and op.layouts and op.kind != "composite":
            room = "sparse" if op.layouts is True else op.layouts
        if room:  # they load with the first tensor that needs them
            values = tuple(v.clone() if isinstance(v, Tensor) and type(v._a) is PendingArray else v for v in values)
            return importlib.import_module(f"flambeau._eager.{room}").call(op, values, out, into)
    try:
        for i, types in op.usual:
            if type(values[i]) not in types:
                arguments.check(op, values, into)
                values = arguments.plain(op, values)
                break
        if op.fixed and STATE.grad:
            arguments.fixed(op, values)
        if op.alike:
            arguments.alike(op, values, into)
        if op.kind == "composite":
            for i, (p, v) in enumerate(zip(op.params, values, strict=True)):
                if p.is_tensor and not p.takes_number and not arguments.fits(p, v):
                    raise TypeError(promotion.misfit(op, values, i))
            if op.lacks:
                promotion.refuse_first(op, values)
            return composite(op, values, out, into)
        if op.lacks and op.promote == "none":
            promotion.refuse_first(op, values)
        if op.check is not None:
            try:
                op.check(**{p.name: v for p, v in zip(op.params, values, strict=True)})
            except AttributeError:  # it met a number where a tensor should be
                promotion.meet(op, values)
                raise
        if into or out is not None:
            return writes.write(op, values, out, into)
        return computed(op, values) if STATE.known is None else STATE.known.result(op, values)
    except Exception:
        arguments.misused(op, values, into)
        raise


def computed(op: Op, values: tuple[Any, ...]) -> Any:
    """What a primitive operator gives for arguments that are checked."""
    met = promotion.meet(op, values)
    r = large.call(op, *promotion.settled(*met)) if op.native and large.enough(met[0]) else None
    if r is not None:
        return results.finish(op, values, r, None)
    given = (
        [a for p, a in zip(op.params, met[0], strict=True) if p.is_tensor and hasattr(a, "strides")]
        if op.kind == "pointwise" or op.packed == "operands"
        else None
    )
    arrays, result_dtype, steps = promotion.converted(op, *met)
    r = bodies.run(op, arrays, steps)
    return results.finish(op, values, r, result_dtype, given)


def _lifted(number: Any, other: Any) -> Tensor:
    """A number before a tensor or another number (`torch.add(1, x)`), as a 0-d tensor that changes no dtype that the number would not."""
    d = promotion.result_type([number, other]) if isinstance(other, Tensor) else dtypes.of_number(number)
    return wrap(np.array(number, d.np))


def is_plain(op: Op, values: tuple[Any, ...]) -> bool:
    if op.layouts and op.kind != "composite":
        return False
    for p, v in zip(op.params, values, strict=True):
        if p.is_tensor:
            if type(v) in PLAIN:
                if type(v._a) in LAYOUTS:
                    return False
            elif v is not None and not isinstance(v, promotion.NUMBERS):
                return False
        elif p.is_list and v is not None:
            for x in v:
                if (type(x) not in PLAIN and x is not None) or (x is not None and type(x._a) in LAYOUTS):
                    return False
        elif isinstance(v, Tensor):
            return False
    return True


def laid_out_otherwise(values: tuple[Any, ...], out: Any) -> str:
    """The room for the first tensor that is more than strided memory, if there is one."""
    for v in (*values, out):
        for t in v if type(v) in (list, tuple) else (v,):
            if isinstance(t, Tensor) and LAYOUTS.get(type(t._a)):
                return LAYOUTS[type(t._a)]
    return ""


def composite(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    if into or out is not None:
        target = values[op.receiver_at] if into else out
        tracked = into and STATE.grad and record.any_history(op, values)
        if tracked:  # what the body saves must not be what is overwritten
            at = op.receiver_at
            values = (*values[:at], target.clone(), *values[at + 1 :])
        result = _composed(op, values)
        if into and result is values[op.receiver_at]:  # as it was: nothing is written, as dropout_ does in evaluation
            return target
        if tracked and node_of(target) is not None:
            check_writable(target)
        return writes.store(op, target, result, into)
    result = _composed(op, values)
    if op.packed:
        result = results.packed_tensor(result, op.packed, results.first_operand(op, values))
    return record.named(op)(result) if op.outputs and isinstance(result, tuple) else result


def _composed(op: Op, values: tuple[Any, ...]) -> Any:
    """What the body of a composite gives."""
    try:
        return bodies.call_body(op, op.body, (), values)
    except AttributeError:  # it met None where a tensor should be
        for i, (p, v) in enumerate(zip(op.params, values, strict=True)):
            if v is None and p.is_tensor and not p.is_optional:
                raise TypeError(promotion.misfit(op, values, i)) from None
        raise
