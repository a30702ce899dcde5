"""Autocast: inside its blocks, products take their operands in a lower precision, and delicate operators in float32.

Operators say which they are (`autocast=` of an `Op`). Casts of float32 leaves that need a gradient are remembered until the
outermost block ends, since a weight is cast once for each use otherwise.
"""

from __future__ import annotations

from typing import Any

from flambeau import overrides
from flambeau._eager import call, modes
from flambeau._eager.graph import node_of
from flambeau._eager.modes import STATE
from flambeau._operators.op import Op
from flambeau._tensor import Tensor
from flambeau._values.dtype import dtype, float32, float64

_cache: dict[int, tuple[Any, Tensor]] = {}
_depth = [0]


def enabled(kind: str) -> bool:
    """Whether autocast is on for a type of device."""
    return bool(STATE.autocast and STATE.autocast.get(kind))


def switch(kind: str, to: dtype | None) -> None:
    """Turn autocast on, with its lower dtype, or off (None)."""
    had = bool(STATE.autocast)
    rest = {k: d for k, d in (STATE.autocast or {}).items() if k != kind}
    STATE.autocast = {**rest, kind: to} if to is not None else rest or None
    has = bool(STATE.autocast)
    if has and not had:
        if _operator not in overrides.EXTRA:
            overrides.EXTRA.insert(0, _operator)
        modes.enter("autocast")
    elif had and not has:
        modes.leave("autocast")


def nest(by: int) -> int:
    """Enter (1) or leave (-1) a block; how many are open then. The remembered casts end with the outermost."""
    _depth[0] += by
    return _depth[0]


def clear() -> None:
    """Forget the remembered casts."""
    _cache.clear()


def put(found: Any) -> None:
    """Turn autocast to what it was at another time: `STATE.autocast`."""
    had, has = bool(STATE.autocast), bool(found)
    STATE.autocast = found
    if has and not had:
        modes.enter("autocast")
    elif had and not has:
        modes.leave("autocast")


def remember(casts: dict[int, tuple[Any, Tensor]]) -> dict[int, tuple[Any, Tensor]]:
    """Have these for the remembered casts; those that were there."""
    before = dict(_cache)
    _cache.clear()
    _cache.update(casts)
    return before


class off:
    """The block in which autocast does nothing: an operator whose operands have been cast."""

    def __enter__(self) -> None:
        self.before = STATE.autocast
        STATE.autocast = None

    def __exit__(self, *exc: object) -> None:
        STATE.autocast = self.before


def _cast(t: Any, to: dtype) -> Any:
    if not isinstance(t, Tensor):
        return t
    d = t.dtype
    if d is to or not d.is_floating_point or d is float64 or not enabled(t.device.type):
        return t
    node = node_of(t)
    if (
        d is float32
        and to is not float32
        and node is not None
        and node.leaf
        and t._base is None
        and STATE.autocast_cache
    ):
        found = _cache.get(id(t))
        if found is None or found[0] is not t:
            found = _cache[id(t)] = (t, t.to(to))
        return found[1]
    return t.to(to)


def _operator(op: Op, values: Any, out: Any, into: bool) -> Any:
    """What the general lane asks: the operator on operands that were cast, or NotImplemented where it is of no such kind."""
    if not STATE.autocast or into or out is not None:
        return NotImplemented
    if op.autocast == "lower":
        kind = next((v.device.type for v in values if isinstance(v, Tensor)), "cpu")
        to = STATE.autocast.get(kind)
        if to is None:
            return NotImplemented
    elif op.autocast == "float32":
        to = float32
    elif op.autocast == "widest":
        to = _widest(values)
        if to is None:
            return NotImplemented
    elif op.kind == "composite" and op.autocast != "open":
        with off():
            return call.composite(op, values, None, False)
    else:
        return NotImplemented
    given = tuple(
        type(v)(_cast(x, to) for x in v)
        if isinstance(v, (list, tuple)) and any(isinstance(x, Tensor) for x in v)
        else _cast(v, to)
        for v in values
    )
    with off():
        return call.general(op, given)


def _widest(values: Any) -> dtype | None:
    tensors = [t for v in values for t in (v if isinstance(v, (list, tuple)) else (v,)) if isinstance(t, Tensor)]
    kinds = {t.device.type for t in tensors}
    lower = next((d for k in kinds if (d := STATE.autocast.get(k)) is not None), None)
    if lower is None:
        return None
    widest = lower
    for t in tensors:
        if not t.dtype.is_floating_point or t.dtype is float64:  # a double stays one, and the operator promotes
            continue
        if float32 in (widest, t.dtype):
            widest = float32
        elif t.dtype is not lower:
            raise RuntimeError("Unexpected floating ScalarType in at::autocast::prioritize")
    return widest
