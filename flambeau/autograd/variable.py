"""The old name of a tensor."""

from __future__ import annotations

from typing import Any

from flambeau._eager.graph import queue_callback
from flambeau._tensor import Tensor


class ImperativeEngine:
    """The engine that runs backward passes, as libraries reach it: `Variable._execution_engine`."""

    queue_callback = staticmethod(queue_callback)


class _VariableMeta(type):
    def __instancecheck__(cls, other: object) -> bool:
        return isinstance(other, Tensor)


class Variable(metaclass=_VariableMeta):
    """A tensor: `Variable(t, requires_grad=True)` gives a tensor over the same memory."""

    _execution_engine = ImperativeEngine()

    def __new__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Any:
        out = data.detach()
        if requires_grad:
            out.requires_grad_(True)
        return out
