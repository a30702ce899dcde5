"""Which of an operator's overloads a call is, and the call's arguments as that overload has them.

A body takes the arguments of all overloads that it serves: `sum` one `dim` that may be missing. PyTorch's graphs tell `sum` from
`sum.dim_IntList`; here that is read off the schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from flambeau._operators._schema import schema
from flambeau._operators.kinds import is_of
from flambeau._operators.op import Op
from flambeau._tensor import Tensor

if TYPE_CHECKING:
    from flambeau._ground.function_schema import Argument


@cache
def arguments_of(op: Op, overload: str) -> tuple[tuple[Argument, int], ...]:
    """The arguments of an overload's schema, each with the position of the body's parameter that takes it."""
    from flambeau._ground.function_schema import function_schema  # late: import flambeau needs no parser

    positions = {p.name: i for i, p in enumerate(op.params)}
    out: list[tuple[Argument, int]] = []
    for i, a in enumerate(function_schema(schema(op, overload)).arguments):
        name = op.renamed.get(overload, {}).get(a.name, a.name)
        at = positions.get(name, positions.get(name + "_"))
        if at is None and not a.kwarg_only:  # the receiver, or one that has a name of its own here
            at = op.receiver_at if a.name in ("self", op.receiver) else i
        if at is not None and at < len(op.params):
            out.append((a, at))
    return tuple(out)


def _fits(type_: str, value: Any) -> bool:
    """Whether a value in a graph is of a schema's type: a 0-d tensor is no number there."""
    return is_of(type_, value) and not (isinstance(value, Tensor) and not type_.startswith("Tensor"))


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, (list, tuple)) and default is not None:  # one number stands for a list of it
        every = default if isinstance(default, (list, tuple)) else [default] * len(value)
        return len(value) == len(every) > 0 and all(map(_is_default, value, every))
    return value is default or (
        isinstance(value, (int, float, str)) and type(value) is type(default) and value == default
    )


def chosen(op: Op, values: Sequence[Any]) -> str:
    """The overload that takes these values (in the order of the body's parameters) in the fewest arguments."""
    if len(op.overloads) == 1 or op.wraps:
        return op.overload
    best, fewest = op.overload, 0.0
    for name in op.overloads:
        if not covers(op, name, values):
            continue
        taken = arguments_of(op, name)
        if all(
            _fits(a.type, values[at]) or (a.has_default and _is_default(values[at], op.params[at].default))
            for a, at in taken
        ):
            # one number for a list of them fits, too, but an overload for a number is meant
            cost = (
                len(taken) + sum(a.type.endswith(("[]", "[]?")) and isinstance(values[at], int) for a, at in taken) / 2
            )
            if not fewest or cost < fewest:
                best, fewest = name, cost
    return best


def covers(op: Op, overload: str, values: Sequence[Any]) -> bool:
    """Whether an overload takes all of these values that are not defaults."""
    taken = {at for _, at in arguments_of(op, overload)}
    return all(i in taken or _is_default(v, p.default) for i, (p, v) in enumerate(zip(op.params, values, strict=True)))


def arguments(op: Op, overload: str, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a call of this overload, without the defaults at the end."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    keep = 0
    for a, at in arguments_of(op, overload):
        value = values[at]
        default = a.has_default and _is_default(value, op.params[at].default)
        if a.kwarg_only:
            if not default:
                kwargs[a.name] = value
            continue
        if "[" in a.type and type(value) is int:
            length = a.type.partition("[")[2].partition("]")[0]
            value = [value] * int(length or 1)
        args.append(value)
        if not default:
            keep = len(args)
    return args[:keep], kwargs


def bound(op: Op, overload: str, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call written for this overload's schema, as keywords of the body."""
    taken = arguments_of(op, overload)
    positional = [at for a, at in taken if not a.kwarg_only]
    if len(args) > len(positional):
        raise RuntimeError(
            f"aten::{overload.partition('.')[0]}() expected at most {len(taken)} argument(s) but received {len(args) + len(kwargs)} argument(s). "
            f"Declaration: aten::{overload}{schema(op, overload).partition(overload)[2]}"
        )
    named = {a.name: at for a, at in taken}
    out = {op.params[at].name: v for at, v in zip(positional, args, strict=False)}
    out |= {(op.params[named[k]].name if k in named else k): v for k, v in kwargs.items()}
    return out
