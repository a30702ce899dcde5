"""cond: one of two functions, by a truth value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import Tensor
from flambeau.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


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
    try:
        holds = bool(pred)
    except GuardOnDataDependentSymNode as why:
        raise NotImplementedError("torch.cond in torch.export with a predicate that differs from call to call") from why
    return (true_fn if holds else false_fn)(*operands)
