"""The functions of `functorch`, which warn that they are those of `torch.func` now."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from flambeau import func as _func
from flambeau._functorch import make_functional as _models


def get_warning(api: str, new_api: str | None = None, replace_newlines: bool = False) -> str:
    """What is said of a name."""
    text = (
        "We've integrated functorch into PyTorch. As the final step of the \n"
        f"integration, `functorch.{api}` is deprecated as of PyTorch \n"
        "2.0 and will be deleted in a future version of PyTorch >= 2.3. \n"
        f"Please use `{new_api or f'torch.func.{api}'}` instead; see the PyTorch 2.0 release notes \n"
        "and/or the `torch.func` migration guide for more details \n"
        "https://pytorch.org/docs/main/func.migrating.html"
    )
    return text.replace("\n", "") if replace_newlines else text


def warn_deprecated(api: str, new_api: str | None = None) -> None:
    """Say it."""
    warnings.warn(get_warning(api, new_api, replace_newlines=True), FutureWarning, stacklevel=3)


def _old(fn: Callable[..., Any], new_api: str | None = None) -> Callable[..., Any]:
    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        warn_deprecated(fn.__name__, new_api)
        return fn(*args, **kwargs)

    called.__module__ = __name__
    return called


vmap = _old(_func.vmap, "torch.vmap")
grad, grad_and_value, vjp, jvp = _old(_func.grad), _old(_func.grad_and_value), _old(_func.vjp), _old(_func.jvp)
jacrev, jacfwd, hessian, functionalize = _old(_func.jacrev), _old(_func.jacfwd), _old(_func.hessian), _old(_func.functionalize)  # fmt: skip
make_functional = _old(_models.make_functional, "torch.func.functional_call")
make_functional_with_buffers = _old(_models.make_functional_with_buffers, "torch.func.functional_call")
combine_state_for_ensemble = _old(_models.combine_state_for_ensemble, "torch.func.stack_module_state")
