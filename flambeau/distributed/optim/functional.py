"""Optimizers that are given the gradients instead of finding them at the parameters."""

from __future__ import annotations

from typing import Any

from flambeau import optim

__all__ = ["as_functional_optim", "functional_optim_map"]


class _Functional:
    """An optimizer's steps, for gradients that are given; each parameter has an optimizer of its own."""

    kind: type[optim.Optimizer]

    def __init__(self, params: list[Any], *args: Any, _allow_empty_param_list: bool = False, **kwargs: Any) -> None:
        if not params and not _allow_empty_param_list:
            raise ValueError("optimizer got an empty parameter list")
        self.param_group = {"params": list(params)}
        self.state: dict[Any, Any] = {}
        self._make = lambda p: self.kind([p], *args, **kwargs)
        self._each: dict[Any, optim.Optimizer] = {}

    def step_param(self, param: Any, grad: Any) -> None:
        """Change one parameter."""
        each = self._each.get(param)
        if each is None:
            each = self._each[param] = self._make(param)
        before, param.grad = param.grad, grad
        try:
            each.step()
        finally:
            param.grad = before
        self.state[param] = each.state[param]

    def step(self, gradients: list[Any]) -> None:
        """Change all parameters; None stands for no gradient."""
        params = self.param_group["params"]
        if len(params) != len(gradients):
            raise ValueError(
                "the gradients passed in does not equal to the size of the parameters!"
                f"Params length: {len(params)}. Gradients length: {len(gradients)}"
            )
        for param, grad in zip(params, gradients, strict=True):
            if grad is not None:
                self.step_param(param, grad)


functional_optim_map: dict[type[optim.Optimizer], type[_Functional]] = {
    kind: type(
        f"_Functional{kind.__name__}",
        (_Functional,),
        {"kind": kind, "__doc__": f"`{kind.__name__}` for gradients that are given."},
    )
    for kind in (
        optim.Adagrad,
        optim.Adam,
        optim.AdamW,
        optim.SGD,
        optim.Adadelta,
        optim.RMSprop,
        optim.Rprop,
        optim.Adamax,
    )
}


def as_functional_optim(optim_cls: type, *args: Any, **kwargs: Any) -> Any:
    """An optimizer of this class without parameters yet: `step_param(param, grad)` changes one."""
    if optim_cls not in functional_optim_map:
        raise ValueError(f"Optimizer {optim_cls} does not have a functional counterpart!")
    return functional_optim_map[optim_cls]([], *args, **kwargs, _allow_empty_param_list=True)
