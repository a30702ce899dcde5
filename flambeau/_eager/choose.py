"""Which overload a call means: `max(x)`, `max(x, dim)` or `max(x, y)`, by the number, names and types of its arguments.

The choice depends on types alone, so it is remembered for each combination of them.
"""

from __future__ import annotations

from inspect import Parameter, Signature
from types import CodeType
from typing import Any

import numpy as np

from flambeau._operators.kinds import NUMBERS, takes
from flambeau._operators.op import REQUIRED, Op
from flambeau._tensor import PLAIN, Tensor

RENAMED = {
    "axis": "dim",
    "keepdims": "keepdim",
    "x": "input",
    "from": "from_",
    "x1": "input",
    "x2": "other",
    "self": "input",
    "axes": "dims",
    "a": "input",
}
FACTORY = frozenset(("layout", "device", "pin_memory", "requires_grad"))
_INT = (int, np.integer)
LONG = 16  # elements of a list that are looked at
SIMPLE = frozenset((int, float, bool, str, type(None)))


def matches(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any], spread: bool) -> bool:
    """Whether a call fits an overload."""
    params = op.params
    if (
        spread
        and len(params) > 1
        and params[1].annotation in ("Shape", "Dims")
        and all(p.keyword for p in params[2:])
        and len(args) > 1
        and isinstance(args[1], _INT)
    ):
        args = (args[0], args[1:])
    positional = [p for p in params if not p.keyword]
    if len(args) > len(positional):
        return False
    names = {p.name: p for p in params}
    given = {p.name for p in positional[: len(args)]}
    for n, v in kwargs.items():
        if (n == "out" and "out" in op.variants) or (n in FACTORY and "factory" in op.variants):
            continue
        if n not in names or n in given or not takes(names[n], v):
            return False
    for i, (p, v) in enumerate(zip(positional, args, strict=False)):
        if not takes(p, v) and (i or not op.number_first or not isinstance(v, NUMBERS)):
            return False
    return all(p.name in given or p.name in kwargs or p.default is not REQUIRED for p in params)


def description(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the choice depends on beside the types of arguments: those of lists' elements. None where more matters: a tensor of
    one element may stand for a number."""
    found: list[Any] = []
    for v in (*args, *kwargs.values()) if kwargs else args:
        kind = type(v)
        if kind in PLAIN:
            if type(v._a) is not np.ndarray or v._a.size == 1:
                return None
        elif kind is list or kind is tuple:
            if len(v) > LONG:
                return None
            for x in v:
                if type(x) not in SIMPLE and (type(x) not in PLAIN or type(x._a) is not np.ndarray or x._a.size == 1):
                    return None
            found.append(tuple(map(type, v)))
        elif isinstance(v, (Tensor, list, tuple)):
            return None
    return tuple(found)


def chooser(name: str, ops: list[Op], forms: list[Any], method: bool) -> Any:
    """One function for several overloads."""
    known: dict[Any, Any] = {}

    def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for op, fn in zip(ops, forms, strict=True):
            if matches(op, args, kwargs, method):
                return fn
        return None

    def overloaded(*args: Any, **kwargs: Any) -> Any:
        key = (tuple(map(type, args)), tuple((n, type(v)) for n, v in kwargs.items()) if kwargs else ())
        fn = known.get(key)
        if fn is None:
            described = description(args, kwargs)
            if described is not None:
                fn = known.get((key, described))
        if fn is None:
            fn = choose(args, kwargs)
            if fn is None and kwargs:
                renamed = {RENAMED.get(n, n): v for n, v in kwargs.items()}
                fn = choose(args, renamed)
                if fn is not None:
                    return fn(*args, **renamed)
            if fn is None:
                from flambeau._eager import signatures  # late: a program that is right needs no words

                space = ops[0].namespace
                called = name if space in ("", "nn") or method else f"{space}_{name}"
                raise TypeError(signatures.refusal(called, ops, args[1:] if method else args, kwargs, method))
            # Only what the types decide may be remembered: not the contents of lists, nor a 0-d tensor for a number.
            if not any(isinstance(v, (list, tuple, Tensor)) for v in (*args[1:], *kwargs.values())) or _only_tensors(
                ops
            ):
                known[key] = fn
            elif described is not None:
                known[key, described] = fn
        return fn(*args, **kwargs)

    overloaded.__name__ = overloaded.__qualname__ = name
    overloaded.__module__ = forms[0].__module__
    overloaded.__doc__ = ops[0].body.__doc__
    overloaded.__op__ = ops[0]  # type: ignore[attr-defined]
    shown = signature(name, ops, method)
    if shown is not None:
        overloaded.__signature__ = shown  # type: ignore[attr-defined]
    return overloaded


OVERLOADED = next(c for c in chooser.__code__.co_consts if isinstance(c, CodeType) and c.co_name == "overloaded")


def signature(name: str, ops: list[Op], method: bool) -> Signature | None:
    """How all overloads can be called, for `inspect` and `help`: None where their places have different names (`max`)."""
    places = sorted(([p for p in op.params if not p.keyword] for op in ops), key=len)
    longest = places[-1]
    if any(p.name != q.name for one in places for p, q in zip(one, longest, strict=False)):
        return None
    shown: list[Parameter] = []
    for i, p in enumerate(longest):
        needed = i < len(places[0]) and all(one[i].default is REQUIRED for one in places)
        default = Parameter.empty if needed else None if p.default is REQUIRED else p.default
        called = "self" if method and not i else p.name
        shown.append(Parameter(called, Parameter.POSITIONAL_OR_KEYWORD, default=default))
    placed = {p.name for p in longest}  # `sort` has its dim by place in one overload, by name in the other
    named = {
        p.name: None if p.default is REQUIRED else p.default
        for op in ops
        for p in op.params
        if p.keyword and p.name not in placed
    }
    if not method and not name.endswith("_") and any("out" in op.variants for op in ops):
        named["out"] = None
    return Signature(shown + [Parameter(n, Parameter.KEYWORD_ONLY, default=d) for n, d in named.items()])


def _only_tensors(ops: list[Op]) -> bool:
    return not any(
        p.annotation.removesuffix(" | None") in ("Scalar", "int", "Dim", "float") for op in ops for p in op.params
    )
