"""Adamax, and its functional form."""

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
    _add_quotient,
    _check_betas,
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

__all__ = ["Adamax", "adamax"]


class Adamax(Optimizer):
    r"""Adam with the decaying maximum of the gradient's sizes in place of its mean square.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t \qquad u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon) \qquad
        \theta_t = \theta_{t-1} - \frac{\gamma}{1-\beta_1^t}\, \frac{m_t}{u_t}

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        betas: how much of the mean and of the maximum is kept at each step
        eps: keeps the division finite
        weight_decay: adds this times the parameter to the gradient
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        _check_lr(lr)
        _expect(eps >= 0.0, f"Invalid epsilon value: {eps}")
        _check_betas(betas)
        _expect(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
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
        return {"step": _scalar(0.0, p, group), "exp_avg": _zeros(p), "exp_inf": _zeros(p)}

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lists = self._collect(group, "exp_avg", "exp_inf", "step")
            beta1, beta2 = group["betas"]
            options = ("eps", "lr", "weight_decay", "foreach", "maximize", "differentiable", "capturable")
            adamax(*lists, **_options(group, *options), beta1=beta1, beta2=beta2)
        return loss


def adamax(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_infs: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    *,
    eps: float,
    beta1: float,
    beta2: float,
    lr: float,
    weight_decay: float,
) -> None:
    """One step of `Adamax` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    lr = _to_scalar(lr)
    for param, grad, exp_avg, exp_inf, step_t in zip(params, grads, exp_avgs, exp_infs, state_steps, strict=True):
        _check_capturable(capturable, param, step_t)
        step_t += 1
        grad = -grad if maximize else grad
        if weight_decay != 0:
            grad = grad.add(param, alpha=weight_decay)
        if param.is_complex():
            param, grad, exp_avg, exp_inf = _reals(param, grad, exp_avg, exp_inf)
        exp_avg.lerp_(grad, 1 - beta1)
        if differentiable:
            exp_inf.copy_(flambeau.maximum(exp_inf.mul_(beta2).clone(), grad.abs().add_(eps)))
        else:
            flambeau.maximum(exp_inf.mul_(beta2), grad.abs().add_(eps), out=exp_inf)
        if capturable:
            param.addcdiv_(exp_avg, exp_inf * (beta1**step_t - 1).div_(lr))
        else:
            rate = lr / (1 - beta1 ** _get_value(step_t))
            _add_quotient(param, exp_avg, exp_inf, -_get_value(rate))
