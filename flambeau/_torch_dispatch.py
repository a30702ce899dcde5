"""`__torch_dispatch__`: modes, and subclasses, that take over primitive operators, below autograd.

They see what is left of a call when composites have been taken apart, derivatives are being recorded elsewhere, and batches and tangents
are gone. Inside, nothing is recorded; what comes back gets the history of the call.
"""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau import overrides
from flambeau._backends.meta import MetaArray
from flambeau._eager import bodies, call, create, derive, modes, record, writes
from flambeau._eager.getitem import through_operators
from flambeau._eager.graph import DISPATCHED, node_of
from flambeau._eager.modes import STATE
from flambeau._eager.views import check_writable
from flambeau._operators import load, overloads
from flambeau._operators.op import REGISTRY, Op
from flambeau._tensor import Tensor, new
from flambeau._values import default_device
from flambeau._values.device import CPU, device as Device
from flambeau._values.dtype import get_default_dtype


class _Disabled:
    """The `__torch_dispatch__` of classes that take no part."""

    __name__ = "_disabled_torch_dispatch_impl"

    def __call__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


disabled = _Disabled()


def takes_over(t: Any) -> bool:
    """Whether t's type brings a `__torch_dispatch__` of its own."""
    return getattr(type(t), "__torch_dispatch__", disabled) is not disabled


class WrapperArray(MetaArray):
    """What a wrapper subclass shows: sizes, strides and a dtype on a device, and no elements."""

    __slots__ = ("torch_device",)

    def __init__(self, shape: Any, dtype: Any, strides: Any, device: Any) -> None:
        super().__init__(shape, dtype, strides)
        self.torch_device = device


def make_wrapper_subclass(cls: type, size: Any, *, strides: Any = None, storage_offset: Any = None, memory_format: Any = None,
                          dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
                          requires_grad: bool = False, dispatch_sizes_strides_policy: Any = None, dispatch_device: bool = False,
                          dispatch_layout: bool = False, **_: Any) -> Any:  # fmt: skip
    """A tensor of a subclass that holds no elements itself: its `__torch_dispatch__` knows where they are."""
    if not takes_over(new(cls)):
        raise RuntimeError(
            f"Cannot construct a wrapper subclass from {cls}: the subclass must define a __torch_dispatch__ method"
        )
    d = (get_default_dtype() if dtype is None else dtype).np
    t = new(cls)
    t._a = WrapperArray(
        size,
        d,
        None if strides is None else [s * d.itemsize for s in strides],
        CPU if device is None else Device(device),
    )
    if requires_grad:
        t.requires_grad = True  # type: ignore[attr-defined]
    return t


def enter(mode: Any) -> None:
    """Offer every primitive operator to a mode first."""
    STATE.dispatch_modes = (*STATE.dispatch_modes, mode)
    modes.enter("dispatch")


def leave() -> None:
    STATE.dispatch_modes = STATE.dispatch_modes[:-1]
    modes.leave("dispatch")


def overload_of(op: Op, values: Any, into: bool) -> Any:
    """`torch.ops.aten.<name>.<overload>`."""
    ops = flambeau.ops

    if op.custom is not None:
        packet = getattr(getattr(ops, op.custom.namespace), op.custom.name)
        return getattr(packet, op.custom.overload or "default")
    base, _, overload = overloads.chosen(op, values).partition(".")
    base += "_" * (into and not base.endswith("_"))
    return getattr(getattr(ops.aten, base), overload or "default")


def _operator(op: Op, values: Any, out: Any, into: bool) -> Any:
    """What the general lane asks: what the mode or the subclass makes of the call."""
    if (not op.is_primitive and op.seen_as is None) or (op.view and op.is_flat):  # a mark of ours
        return NotImplemented
    own: list[Any] = []
    for v in (*values, out):
        kind = type(v)
        if kind is list or kind is tuple or isinstance(v, (list, tuple)):
            own += [t for t in v if type(t) is not Tensor and isinstance(t, Tensor) and takes_over(t)]
        elif kind is not Tensor and isinstance(v, Tensor) and takes_over(v):
            own.append(v)
    if not STATE.dispatch_modes and (not own or STATE.no_dispatch):
        return NotImplemented
    if op.seen_as is not None:
        return NotImplemented if into or out is not None else bodies.call_body(op, op.seen_as, (), values)
    if op.kind == "composite" and (into or out is not None):
        return NotImplemented
    target = values[op.receiver_at] if into else None
    tracked = STATE.grad and (op.leaves_trace if into else op.differentiable) and record.any_history(op, values)
    if tracked and op.kind == "composite" and not op.seen_rules:
        return NotImplemented  # its parts have derivatives
    before = None
    if into and tracked:
        check_writable(target)
        before = record.before_write(op, values)
    result = _asked(op, values, out, into, own)
    if op.view and not STATE.grad and not STATE.below:
        for o in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(o, Tensor) and o._base is not None:
                o._created = "inference" if STATE.inference else "no_grad"
    if into:
        if tracked:
            writes.written(op, target, values, True, before)
            _mark(own, (target, target._base))
        return target
    if tracked and out is None:
        outs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if all(o is None or isinstance(o, Tensor) for o in outs):
            for o in outs:
                if o is not None and node_of(o) is not None and not op.view:
                    o._node, o._nr = None, 0
            record.record(op, outs, values, type(result) is list, bool(op.seen_rules))
            _mark(own, outs)
    return result


def _mark(own: list[Any], outs: Any) -> None:
    """Backward is to know that subclasses had part in what gave these their history."""
    if own:
        DISPATCHED.update(n for n in (None if o is None else node_of(o) for o in outs) if n is not None)


def _asked(op: Op, values: Any, out: Any, into: bool, own: list[Any], extra: Any = None) -> Any:
    func = overload_of(op, values, into)
    args, kwargs = overloads.arguments(op, overloads.chosen(op, values), values)
    args = [list(a) if isinstance(a, tuple) else a for a in args]  # sizes and dims arrive as lists
    kwargs = {k: list(v) if isinstance(v, tuple) else v for k, v in kwargs.items()} | (extra or {})
    if extra and "memory_format" in kwargs:  # which schemas have last
        kwargs["memory_format"] = kwargs.pop("memory_format")
    if out is not None:
        kwargs["out"] = out
    types = tuple(dict.fromkeys(type(t) for t in own))
    (grad, below), STATE.grad, STATE.below = (STATE.grad, STATE.below), False, True
    try:
        if STATE.dispatch_modes:
            stack, STATE.dispatch_modes = STATE.dispatch_modes, STATE.dispatch_modes[:-1]
            try:
                result = stack[-1].__torch_dispatch__(func, types, tuple(args), kwargs)
            finally:
                STATE.dispatch_modes = stack
            if result is not NotImplemented:
                return result
        for t in sorted(own, key=lambda t: -len(type(t).__mro__)):
            result = type(t).__torch_dispatch__(func, types, tuple(args), kwargs)  # type: ignore[attr-defined]
            if result is not NotImplemented:
                return result
    finally:
        STATE.grad, STATE.below = grad, below
    raise TypeError(
        f"Multiple dispatch failed for '{func}'; all __torch_dispatch__ handlers returned NotImplemented:\n\n"
        + "\n".join(f"  - tensor subclass {t}" for t in types)
    )


def dispatched(func: Any, args: tuple[Any, ...]) -> Any:
    """What the innermost mode makes of a call that is no operator's: where a range of a profile begins or ends."""
    stack, STATE.dispatch_modes = STATE.dispatch_modes, STATE.dispatch_modes[:-1]
    try:
        return stack[-1].__torch_dispatch__(func, (), args, {}) if stack else func(*args)
    finally:
        STATE.dispatch_modes = stack


def _create(op: Op, values: Any, out: Any, extra: Any) -> Any:
    """The same for creation operators, which take where and how besides."""
    own = [t for t in values if isinstance(t, Tensor) and type(t) is not Tensor and takes_over(t)]
    if out is not None or not (STATE.dispatch_modes or (own and not STATE.no_dispatch)):
        return NotImplemented
    given = {k: extra[k] for k in ("dtype", "layout", "device") if extra.get(k) is not None}
    if "device" in given:
        given["device"] = Device(given["device"])
    elif not any(isinstance(v, Tensor) for v in values):
        given["device"] = default_device.get()
    given["pin_memory"] = bool(extra.get("pin_memory"))
    result = _asked(op, values, None, False, own, given)
    if extra["requires_grad"]:
        result.requires_grad_(True)
    return result


def _method(fn: Any, args: Any, kwargs: Any) -> Any:
    """`x[i]` and `x[i] = y`, as operators that can be seen."""
    name = getattr(fn, "__name__", "").strip("_")
    if name not in ("getitem", "setitem"):
        return NotImplemented
    if STATE.dispatch_modes or (not STATE.no_dispatch and any(isinstance(a, Tensor) and takes_over(a) for a in args)):
        return through_operators(name, *args)
    return NotImplemented


def _member(name: str, t: Any) -> Any:
    """A method that is no operator here, as the one that is seen."""
    if STATE.dispatch_modes or (takes_over(t) and not STATE.no_dispatch):
        load()
        return derive.function(REGISTRY[name])(t)
    return NotImplemented


call.HOOKS["seen"] = _member
overrides.BELOW.append(_operator)
overrides.BELOW_METHODS.append(_method)
create.HOOKS.append(_create)
Tensor.__torch_dispatch__ = disabled  # type: ignore[attr-defined]
Tensor._make_wrapper_subclass = staticmethod(make_wrapper_subclass)  # type: ignore[attr-defined]
