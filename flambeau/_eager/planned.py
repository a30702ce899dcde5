"""Short ways for calls that come again: what the general lane finds out about one from the kinds of its arguments alone, written down.

Which operands meet and in what dtype, whether there is a routine for it and what the result is like do not change while small plain tensors
have the same dtypes, numbers the same types, and the other arguments are the same. From its `AFTER`th call on, such a call runs a function of
its own, as the flat functions of `derive` are for one floating dtype and default arguments. Its answer is None where something else matters
(large operands, memory that is shared, history of what is written): then the general lane goes on, and says what is to be said.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau._backends.cpu import small
from flambeau._backends.cpu.arrays import QUIET, K, loud, quiet
from flambeau._backends.cpu.casts import astype
from flambeau._backends.cpu.layouts import walked
from flambeau._eager import call, derived, large, narrow, promotion, record, results
from flambeau._eager.graph import bump
from flambeau._eager.modes import STATE
from flambeau._ground.source import build
from flambeau._kernel.record import Opaque
from flambeau._operators.op import Op
from flambeau._tensor import PLAIN, Tensor, new
from flambeau._values import dtype as dtypes

AFTER = 8  # calls of one kind from which on it has a function
MOST = 128  # functions, and kinds that are counted, of an operator: beyond them it starts again
DTYPES = frozenset(d.np for d in dtypes.ALL if d.kind in "bif" and d.np in large.HELD and d.np not in dtypes.NARROW)
FIXED = frozenset((bool, str, dtypes.dtype))  # types of arguments that a function is made for
Key = tuple[Any, ...]


class Lane:
    """The calls of one operator: how often kinds were met, and the functions of those that come often (None: there is none)."""

    __slots__ = ("plans", "seen", "tensors")

    def __init__(self, op: Op) -> None:
        self.tensors = tuple(p.is_tensor for p in op.params)
        self.plans: dict[Key, Any] = {}
        self.seen: dict[Key, int] = {}

    def key(self, values: tuple[Any, ...], out: Any, into: bool) -> Key | None:
        """The kind of a call; None where there is more to it than plain tensors and numbers."""
        key: list[Any] = [into, dtypes.get_default_dtype()]
        for tensor, v in zip(self.tensors, values):
            kind = type(v)
            if kind in PLAIN:
                a = v._a
                if not tensor or type(a) is not np.ndarray:
                    return None
                key.append(a.dtype if a.ndim else (a.dtype,))
            elif kind is float or kind is int:
                key.append(kind if tensor else (kind, v or repr(v)))
            elif v is None or kind in FIXED or (kind is tuple and not tensor and all(type(n) is int for n in v)):
                key.append((kind, v))
            else:
                return None
        if out is not None:
            if type(out) not in PLAIN or type(out._a) is not np.ndarray:
                return None
            key.append(out._a.dtype)
        return tuple(key)


_lanes: dict[Op, Lane | None] = {}


def planned(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """The result of a call that has a function of its own; None where the general lane must do it. No mode is active."""
    lane = _lanes.get(op, _lanes)
    if lane is _lanes:
        lane = _lanes[op] = Lane(op) if _suits(op) else None
    if lane is None:
        return None
    key = lane.key(values, out, into)  # type: ignore[union-attr]
    if key is None:
        return None
    plan = lane.plans.get(key, lane)  # type: ignore[union-attr]
    if plan is lane:
        plan = _noticed(op, lane, key, values, out, into)
    if plan is None:
        return None
    return plan(*values) if out is None else plan(*values, out)


call.HOOKS["planned"] = planned


def _suits(op: Op) -> bool:
    """Whether what a call of an operator means follows from kinds of arguments."""
    return (
        op.kind != "composite"
        and op.promote != "none"
        and not (op.view or op.layouts or op.custom or "factory" in op.variants)
        and not any(p.is_list for p in op.params)
        and any(p.is_tensor for p in op.params)
    )


def _noticed(op: Op, lane: Lane, key: Key, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """Count a call of a kind that has no function yet; the function, where it was the last one to wait for."""
    count = lane.seen.get(key, 0) + 1
    if count < AFTER:
        if len(lane.seen) >= MOST:
            lane.seen.clear()
        lane.seen[key] = count
        return None
    if len(lane.plans) >= MOST:
        lane.plans.clear()
    lane.seen.pop(key, None)
    made = lane.plans[key] = _made(op, values, out, into)
    return made


def _made(op: Op, values: tuple[Any, ...], out: Any, into: bool) -> Any:
    """The function of calls like this one; None where they are not for it."""
    if op.number_first and not isinstance(values[0], Tensor):
        return None
    if any(type(values[i]) not in types for i, types in op.usual) or (into and (op.write is not None or op.promote == "sum")):  # fmt: skip
        return None
    try:
        _, meeting, common, how = promotion.meet(op, values)
    except Exception:  # the general lane says so, at each call
        return None
    arrays = [v._a for v in values if isinstance(v, Tensor)]
    if common is None or common.np not in DTYPES or how is not narrow.PLAIN or any(a.dtype not in DTYPES or a.dtype.metadata for a in arrays):  # fmt: skip
        return None
    result = dtypes.bool_ if op.promote == "bool" else common
    target = values[op.receiver_at] if into else out
    if target is not None and (not arrays or target._a.dtype != result.np):
        return None
    return _Text(op, values, meeting, common, result, into, out is not None).function()


class _Text:
    """Writes the function of a kind of calls."""

    def __init__(self, op: Op, values: tuple[Any, ...], meeting: list[int], common: dtypes.dtype, result: dtypes.dtype, into: bool, out: bool) -> None:  # fmt: skip
        self.op, self.values, self.meeting, self.common, self.result, self.into, self.out = op, values, meeting, common, result, into, out  # fmt: skip
        self.names = [p.name for p in op.params]
        self.real = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        self.given = {i: f"a{i}" for i in self.real}  # operands as they are given; `self.met`: as the body sees them
        self.met = {i: f"b{i}" if i in meeting and values[i]._a.dtype is not common.np else f"a{i}" for i in self.real}
        self.scope: dict[str, Any] = {
            "OP": op, "RUN": op.run, "CHECK": op.check, "D": common.np, "COMMON": common, "RESULT": result.np, "STATE": STATE, "K": K,
            "MEANT": None if op.promote == "bool" else common, "LARGE": large.LARGE, "PLAIN": PLAIN, "Tensor": Tensor, "QUIET": QUIET, "quiet": quiet, "loud": loud, "ndarray": np.ndarray,
            "asarray": np.asarray, "astype": astype, "spread": large.spread, "walked": walked, "new": new, "finish": results.finish, "number": promotion.number,
            "constant": derived.constant, "record": record.record, "bump": bump, "may_share": np.may_share_memory, "packed": results.packed,
        }  # fmt: skip

    def function(self) -> Any:
        lines = [
            *self.operands(),
            *self.target(),
            *([f"CHECK({', '.join(f'{n}={n}' for n in self.names)})"] if self.op.check is not None else []),
            *self.computed(),
            *self.delivered(),
        ]
        head = ", ".join([*self.names, *(["out"] if self.out else [])])
        said = ", ".join(str(v._a.dtype) if isinstance(v, Tensor) else repr(v) for v in self.values)
        text = f"def {self.op.name}({head}):\n" + f'    """{self.op.aten}: {said}"""\n'.replace("\\", "\\\\")
        return build(self.op.name, text + "".join(f"    {line}\n" for line in lines), self.scope)

    def operands(self) -> list[str]:
        """Lines that fetch arrays; large ones are for kernels."""
        op, arrays = self.op, list(self.given.values())
        lines = [f"a{i} = {self.names[i]}._a" for i in self.real]
        big = [f"{a}.size >= LARGE" for a in arrays]
        if op.kind == "pointwise":
            big += [f"{arrays[0]}.shape != {a}.shape and spread({', '.join(arrays)})" for a in arrays[1:]]
        return [*lines, f"if {' or '.join(big)}: return None"]

    def target(self) -> list[str]:
        """Conditions under which what is computed may be written over the first operand, or into `out`."""
        if not (self.into or self.out):
            return []
        t = "out" if self.out else self.names[self.op.receiver_at]
        tensors = [self.names[i] for i in self.real] + ["out"] * self.out
        free = " and ".join(f"{n}._node is None and {n}._base is None" for n in tensors)
        apart = "".join(
            f" or {a} is not w and ({a}.base is not None or w.base is not None) and may_share({a}, w)"
            for a in self.given.values()
        )
        return [
            f"w = {t}._a",
            f"if {t}._inference or not w.flags.c_contiguous or STATE.grad and not ({free}){apart}: return None",
        ]

    def computed(self) -> list[str]:
        """Lines that compute `r`."""
        op, numbers = self.op, {}
        lines = [
            f"{b} = astype({self.given[i]}, D)" for i, b in self.met.items() if b != self.given[i]
        ]  # only from here on: it takes time
        for i in self.meeting:
            if i not in self.real:
                exact = self.common.is_floating_point and type(self.values[i]) in (int, float)
                numbers[i] = f"c{i}"
                lines.append(
                    f"c{i} = {'constant' if exact else 'number'}({self.names[i]}, {'D' if exact else 'COMMON'})"
                )
        passed = {**self.met, **numbers}
        run = ", ".join((f"{p.name}=" if p.keyword else "") + passed.get(i, p.name) for i, p in enumerate(op.params))
        body = ["token = quiet(QUIET)", "try:", f"    r = RUN(K, {run})", "except ValueError:", "    return None", "finally:", "    loud(token)"]  # fmt: skip
        if self.builtin():
            order = [passed[i] for i, p in enumerate(op.params) if p.is_tensor and i in passed]
            body = [f"r = SMALL({', '.join(order)})", "if r is None:", *(f"    {line}" for line in body)]
        return [*lines, *body]

    def builtin(self) -> bool:
        """Puts NumPy's loops together for the body of a pointwise operator on floating numbers, where that can be done."""
        op = self.op
        if op.kind != "pointwise" or op.run is not op.body or self.common.np not in small.DTYPES or self.result is not self.common:  # fmt: skip
            return False
        if any(p.is_free for p in op.params):
            return False
        statics = {p.name: v for p, v in zip(op.params, self.values, strict=True) if not p.is_tensor}
        present = [p.name for p, v in zip(op.params, self.values, strict=True) if p.is_tensor and v is not None]
        try:
            root, ps = derived.trace(op, statics, present, self.common)  # limits are those of the dtype
        except (TypeError, ValueError, RuntimeError, NotImplementedError, Opaque):
            return False
        small.install(self.scope, "SMALL", root, ps, large.available)
        return True

    def delivered(self) -> list[str]:
        """Lines that make a tensor of `r`, or write it."""
        op, values = self.op, "(" + "".join(n + ", " for n in self.names) + ")"
        elementwise = op.kind == "pointwise" or op.packed == "operands"
        arrays = list(self.given.values())
        walk = f"[{', '.join(arrays)}]" if elementwise else "None"
        lines = ["if type(r) is not ndarray and type(r) is not tuple and type(r) is not list: r = asarray(r)"]
        if self.into or self.out:
            t = "out" if self.out else self.names[op.receiver_at]
            return [*lines, "if type(r) is not ndarray or r.dtype is not RESULT or r.shape != w.shape: return None", "w[...] = r", f"bump({t})", f"return {t}"]  # fmt: skip
        lines.append(
            f"if type(r) is not ndarray or r.dtype is not RESULT: return finish(OP, {values}, r, MEANT, {walk})"
        )
        if elementwise:
            lines.append(f"if r.ndim > 1 and not ({derived.in_order(arrays)}): r = walked(r, {', '.join(arrays)})")
        elif op.packed:
            lines.append(f"r = packed(r, {op.packed!r}, {arrays[0]})")
        lines += ["o = new(Tensor)", "o._a = r"]
        if op.differentiable:
            some = " or ".join(
                f"{self.names[i]}._node is not None or {self.names[i]}._base is not None" for i in self.real
            )
            lines.append(f"if STATE.grad and ({some}): record(OP, (o,), {values})")
        return [*lines, "return o"]
