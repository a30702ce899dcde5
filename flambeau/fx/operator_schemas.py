"""Arguments of a call by name, with defaults: what `Node.normalized_arguments` asks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau._operators.op import REQUIRED
from flambeau._ops import OpOverload


class ArgsKwargsPair(NamedTuple):
    """Arguments of a call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def normalize_function(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, arg_types: Any = None,
                       kwarg_types: Any = None, normalize_to_only_use_kwargs: bool = False) -> ArgsKwargsPair | None:  # fmt: skip
    """The arguments of a function by the names of its parameters, defaults filled in; None where it has no signature."""
    op = target.op if isinstance(target, OpOverload) else getattr(target, "__op__", None)
    if op is not None:
        names = [p.name for p in op.params]
        bound = dict(zip(names, args)) | {("input" if k == "self" else k): v for k, v in (kwargs or {}).items()}
        full = {p.name: bound.get(p.name, p.default) for p in op.params if p.name in bound or p.default is not REQUIRED}
        if normalize_to_only_use_kwargs:
            return ArgsKwargsPair((), full)
        positional = [p.name for p in op.params if not p.keyword and p.name in full]
        return ArgsKwargsPair(
            tuple(full[n] for n in positional), {n: v for n, v in full.items() if n not in positional}
        )
    try:
        signature = inspect.signature(inspect.unwrap(target))
    except (TypeError, ValueError):
        return None
    return _bound(signature, args, kwargs or {}, normalize_to_only_use_kwargs)


def normalize_module(root: Any, target: str, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None,
                     normalize_to_only_use_kwargs: bool = False) -> ArgsKwargsPair | None:  # fmt: skip
    """The arguments of a call of a submodule by the names of its forward's parameters."""
    module = root.get_submodule(target)
    return _bound(inspect.signature(module.forward), args, kwargs or {}, normalize_to_only_use_kwargs)


def _bound(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], only_kwargs: bool
) -> ArgsKwargsPair | None:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    if only_kwargs and not any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
        return ArgsKwargsPair((), dict(bound.arguments))
    return ArgsKwargsPair(bound.args, bound.kwargs)
