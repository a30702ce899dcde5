"""What was registered for an operator and a class of tensors, under PyTorch's path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau._library.definition import Definition


def find_torch_dispatch_rule(op: Any, torch_dispatch_class: type) -> Callable[..., Any] | None:
    """What `torch.library.register_torch_dispatch` was given for an overload and a class; None if nothing."""
    definition = getattr(op, "_fn", None)
    return definition.dispatch.get(torch_dispatch_class) if isinstance(definition, Definition) else None
