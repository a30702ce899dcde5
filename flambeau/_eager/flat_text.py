"""Pieces of which flat functions are made: what they see, how they are called, and conditions that several lanes ask for."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from flambeau._backends.cpu.arrays import ERRORS, QUIET, K, loud, quiet
from flambeau._backends.cpu.layouts import room, walked
from flambeau._eager import arguments, call, create, derived, large, promotion, record, results, traced, writes
from flambeau._eager.graph import node_of, saved_alias, serial
from flambeau._eager.modes import MODES, STATE
from flambeau._eager.views import view
from flambeau._operators.op import REQUIRED, Op, Param
from flambeau._tensor import LAYOUTS, new
from flambeau._values import default_device, dtype as dtypes
from flambeau._values.device import CPU, memory_format as MemoryFormat
from flambeau._values.shape import Size

F32, F64 = np.dtype("f4"), np.dtype("f8")
SIZES = frozenset((int, tuple, list, Size))
SIZES_ALONE = SIZES - {int}
_unique = count()
# What every generated function can see; operators add their own names, which are unique.
SCOPE: dict[str, Any] = {
    **derived.SCOPE, "general": call.general, "MODES": MODES, "STATE": STATE, "F64": F64, "new": new, "node_of": node_of,
    "saved_alias": saved_alias, "serial": serial, "view": view, "quiet": quiet, "loud": loud, "QUIET": QUIET, "ERRORS": ERRORS,
    "MISSING": REQUIRED, "create": create.create, "require": create.require, "here": default_device.get, "on_cpu": create.on_cpu, "LAYOUTS": LAYOUTS, "CPU": CPU, "beside": promotion.beside, "of_type": dtypes.of_type, "ndarray": np.ndarray, "asarray": np.asarray, "record": record.record, "finish": results.finish, "viewed": results.viewed, "walked": walked, "room": room, "stored": writes.stored, "BOOL": dtypes.bool_.np, "DTYPE": dtypes.dtype, "packed": results.packed, "packed_tensor": results.packed_tensor, "next": next, "K": K, "misused": arguments.misused, "alone": arguments.alone, "SIZES": SIZES, "SIZES_ALONE": SIZES_ALONE, "memory_format_": MemoryFormat, "SIZES_OR_NONE": SIZES | {type(None)},
    "may_share": np.may_share_memory, "LARGE": large.LARGE, "spread": large.spread, "HALVES": dtypes.HALVES, "structured": large.structured, "fused": traced.composite,
}  # fmt: skip


def bind(op: Op, what: str, value: Any) -> str:
    """A name of its own in the common scope."""
    name = f"{what}_{op.overload.replace('.', '_')}_{next(_unique)}"
    SCOPE[name] = value
    return name


_LITERALS = (bool, int, float, str, type(None))


def default(op: Op, p: Param) -> str:
    """The default of a parameter, as text."""
    if p.name in op.told:
        return "MISSING"
    return plain_default(op, p)


def plain_default(op: Op, p: Param) -> str:
    if isinstance(p.called, _LITERALS):
        return derived.literal(p.called)
    return bind(op, p.name.upper(), p.default)


def header(op: Op, out: bool) -> str:
    """The parameters of a function, between its brackets."""
    parts, starred = [], False
    for p in op.params:
        if p.keyword and not starred:
            parts.append("*")
            starred = True
        parts.append(p.name if p.default is REQUIRED else f"{p.name}={default(op, p)}")
    if out:
        parts += [] if starred else ["*"]
        parts.append("out=None")
    return ", ".join(parts)


def as_tuple(op: Op) -> str:
    """What the general lane is given: all arguments, in order."""
    return "(" + "".join(p.name + ", " for p in op.params) + ")"


def at_defaults(op: Op) -> list[str]:
    """Conditions under which the static arguments have their defaults.

    CPython has each small integer once: identity tells 1 from True and 1.0, which equality does not.
    """
    return [
        f"{p.name} is {p.default}"
        if p.default is None or isinstance(p.default, bool)
        else f"{p.name} is {bind(op, p.name.upper(), p.default)}"
        if type(p.default) is int and -5 <= p.default <= 256
        else f"{p.name} == {plain_default(op, p)}"
        for p in op.params
        if not p.is_tensor
    ]


def usual_types(op: Op) -> list[str]:
    """Conditions under which the static arguments are of the usual types."""
    out = []
    for i, types in op.usual:
        name, taken = op.params[i].name, [t.__name__ + "_" * (t is MemoryFormat) for t in types if t is not type(None)]
        if len(types) > 2 and "tuple" in taken:
            known = "SIZES_ALONE" if int not in types else "SIZES_OR_NONE" if types[-1] is type(None) else "SIZES"
            out.append(f"type({name}) in {known}")
            continue
        one = (
            f"{name} is True or {name} is False"
            if taken == ["bool"]
            else " or ".join(f"type({name}) is {t}" for t in taken)
        )
        out.append(f"({name} is None or {one})" if type(None) in types else f"({one})" if " or " in one else one)
    return out


def without_history(op: Op) -> list[str]:
    """Conditions under which tensors that must not have a history have none."""
    return [
        f"({p.name} is None or {p.name}._node is None and {p.name}._base is None)" if p.is_optional
        else f"{p.name}._node is None and {p.name}._base is None"
        for p in op.params if p.name in op.fixed
    ]  # fmt: skip


def guarded(op: Op, me: str, lane: list[str]) -> list[str]:
    """A lane of an operator that takes lists: where it fails, its arguments are looked at before anything else is said."""
    if not any(p.annotation.startswith(("Shape", "Dims", "Ints", "Sequence", "Any")) for p in op.params):
        return lane
    return ["    try:", *("    " + line for line in lane), "    except Exception:", f"        misused({me}, {as_tuple(op)})",
            "        raise"]  # fmt: skip


def passed(op: Op, names: dict[str, str]) -> str:
    """The arguments of a call of the body, some under other names."""
    return ", ".join((f"{p.name}=" if p.keyword else "") + names.get(p.name, p.name) for p in op.params)


def checked(op: Op) -> str:
    """The call that refuses bad arguments."""
    return f"{bind(op, 'CHECK', op.check)}({', '.join(f'{p.name}={p.name}' for p in op.params)})"


def unexpanded(a: str) -> str:
    """The condition that no elements of an array share memory, as those of an expanded tensor do: others are for the general lane."""
    return f"({a}.base is None or 0 not in {a}.strides)"


def known(op: Op, d: str) -> str:
    """The condition that an operator has a routine for a dtype, and a derivative."""
    lacking = bind(op, "LACKING", frozenset(x.np for x in dtypes.ALL if op.routine(x) or (op.real and x.kind == "c")))
    return f"({d} is F32 or {d} is F64 or {d} not in {lacking})"
