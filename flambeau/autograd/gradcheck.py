"""`torch.autograd.gradcheck` as a module: what programs import from it. The checks are in `_check`, read when first asked for."""

from __future__ import annotations

import importlib
from typing import Any

_CHECK = "flambeau.autograd._check"


def gradcheck(func: Any, inputs: Any, **options: Any) -> bool:
    """Whether the gradients of `func(*inputs)` agree with finite differences."""
    return importlib.import_module(_CHECK).gradcheck(func, inputs, **options)


def gradgradcheck(func: Any, inputs: Any, grad_outputs: Any = None, **options: Any) -> bool:
    """Whether the second derivatives agree with finite differences of the first."""
    return importlib.import_module(_CHECK).gradgradcheck(func, inputs, grad_outputs, **options)


def __getattr__(name: str) -> Any:
    if name in ("GradcheckError", "get_numerical_jacobian"):
        return getattr(importlib.import_module(_CHECK), name)
    raise AttributeError(f"module 'flambeau.autograd.gradcheck' has no attribute '{name}'")
