"""Rprop, and its functional form."""

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
    _check_capturable,
    _check_lr,
    _check_steps,
    _evaluate,
    _expect,
    _get_value,
    _modernise,
    _options,
    _reals,
    _scalar,
    _to_scalar,
    _use_grad_for_differentiable,
    _zeros,
)

__all__ = ["Rprop", "rprop"]


class Rprop(Optimizer):
    r"""Goes by the sign of the gradient alone; an entry's step grows while its sign stays and shrinks when it turns.

    .. math::
        \eta_t = \operatorname{clamp}(\eta_{t-1} \cdot \{\eta_+, \eta_-, 1\},\ \Gamma_{\min}, \Gamma_{\max})
        \quad \text{as } g_{t-1} g_t \text{ is positive, negative or zero} \qquad
        \theta_t = \theta_{t-1} - \eta_t \operatorname{sign}(g_t)

    After a turn the gradient counts as zero once.

    Args:
        params: parameters, named parameters, or groups of them
        lr: the first step size
        etas: :math:`\eta_-` and :math:`\eta_+`
        step_sizes: smallest and largest step
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check_lr(lr)
        _expect(0.0 < etas[0] < 1.0 < etas[1], f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(self, "step", foreach=None, maximize=False, differentiable=False, capturable=False)

    def _new_state(self, p, group):
        lr = _get_value(_to_scalar(group["lr"]))
        size = flambeau.full_like(p.grad, complex(lr, lr) if p.is_complex() else lr)
        return {"step": _scalar(0.0, p, group), "prev": _zeros(p), "step_size": size}

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lists = self._collect(group, "prev", "step_size", "step")
            etaminus, etaplus = group["etas"]
            smallest, largest = group["step_sizes"]
            rprop(
                *lists,
                **_options(group, "foreach", "maximize", "differentiable", "capturable"),
                step_size_min=smallest,
                step_size_max=largest,
                etaminus=etaminus,
                etaplus=etaplus,
            )
        return loss


def rprop(
    params: list[Tensor],
    grads: list[Tensor],
    prevs: list[Tensor],
    step_sizes: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    capturable: bool = False,
    maximize: bool = False,
    differentiable: bool = False,
    has_complex: bool = False,
    *,
    step_size_min: float,
    step_size_max: float,
    etaminus: float,
    etaplus: float,
) -> None:
    """One step of `Rprop` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    for param, grad, prev, step_size, step in zip(params, grads, prevs, step_sizes, state_steps, strict=True):
        _check_capturable(capturable, param, step)
        step += 1
        grad = -grad if maximize else grad
        if param.is_complex():
            param, grad, prev, step_size = _reals(param, grad, prev, step_size)
        sign = grad.mul(prev.clone() if differentiable else prev).sign()
        factor = flambeau.where(sign > 0, etaplus, flambeau.where(sign < 0, etaminus, 1 + 0 * sign))
        step_size.mul_(factor).clamp_(step_size_min, step_size_max)
        grad = grad.masked_fill(sign < 0, 0)  # the sign turned: the last step was too long, stay once
        param.addcmul_(grad.sign(), step_size, value=-1)
        prev.copy_(grad)
