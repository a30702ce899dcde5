"""Functions of functions, as JAX has them: `vmap`, `grad`, `vjp`, `jvp`, Jacobians, and modules called as functions."""

from typing import Any

from flambeau.func._modules import functional_call, replace_all_batch_norm_modules_, stack_module_state
from flambeau.func._rearrange import rearrange
from flambeau.func._transforms import (
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    vjp,
)
from flambeau.func._vmap import vmap

__all__ = [
    "debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "rearrange",
    "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip


def debug_unwrap(tensor: Any, *, recurse: bool = True) -> Any:
    """The tensor that a transform's tensor stands for (all samples, inside `vmap`); to look at, not to compute with."""
    from flambeau._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
        if not recurse:
            break
    return tensor
