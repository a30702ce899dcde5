"""cond: one of two functions, by a truth value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from flambeau import Tensor


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """`true_fn(*operands)` where `pred` holds, else `false_fn(*operands)`.

    >>> import flambeau as torch
    >>> cond(torch.tensor(True), torch.sin, torch.cos, (torch.zeros(()),))
    tensor(0.)
    """
    if not isinstance(pred, (bool, Tensor)):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(f"Expect operands to be a tuple of possibly nested dict/list/tuple that only consists of tensor leaves, but got {operands}.")  # fmt: skip
    return branch(pred, true_fn, false_fn, operands)


def branch(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any) -> Any:
    """One of two calls; while a graph is recorded, both, as graphs of their own."""
    tracing = sys.modules.get("flambeau.fx.experimental.proxy_tensor")
    mode = tracing.get_proxy_mode() if tracing is not None else None
    if mode is not None and not mode.running and isinstance(pred, Tensor):
        return mode.branch(pred, true_fn, false_fn, operands)
    return (true_fn if bool(pred) else false_fn)(*operands)


class HigherOrderOperator:
    """An operator that takes functions, as graphs call it: `torch.ops.higher_order.cond`."""

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        self.__name__ = self.__qualname__ = self._name = name
        self.__module__ = "flambeau.ops.higher_order"
        self.__doc__ = fn.__doc__
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def name(self) -> str:
        """The name in graphs."""
        return self._name

    def __repr__(self) -> str:
        return self._name

    def __deepcopy__(self, memo: Any = None) -> HigherOrderOperator:
        return self

    def __reduce__(self) -> Any:
        return operator, (self._name,)


OPERATORS = {"cond": HigherOrderOperator("cond", branch)}


def operator(name: str) -> HigherOrderOperator | None:
    """The operator of a name, if there is one."""
    return OPERATORS.get(name)
