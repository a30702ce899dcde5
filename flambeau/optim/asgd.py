"""Averaged stochastic gradient descent, and its functional form."""

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
    _check_capturable,
    _check_lr,
    _evaluate,
    _expect,
    _get_scalar_dtype,
    _get_value,
    _modernise,
    _options,
    _reals,
    _to_scalar,
    _use_grad_for_differentiable,
    _zeros,
)

__all__ = ["ASGD", "asgd"]


class ASGD(Optimizer):
    r"""Descends along the gradient with a falling rate, and averages the parameters from step :math:`t_0` on.

    .. math::
        \theta_t = (1 - \lambda \eta_t)\, \theta_{t-1} - \eta_t g_t \qquad
        \eta_t = \frac{\gamma}{(1 + \lambda \gamma t)^\alpha} \qquad
        \bar\theta_t = \bar\theta_{t-1} + \frac{\theta_t - \bar\theta_{t-1}}{\max(1, t - t_0)}

    The average is `state[p]["ax"]`.

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        lambd: decay :math:`\lambda`
        alpha: power of the rate's decay
        t0: step at which averaging starts
        weight_decay: adds this times the parameter to the gradient
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        _check_lr(lr)
        _expect(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(self, "step", "eta", "mu", foreach=None, maximize=False, differentiable=False, capturable=False)

    def _new_state(self, p, group):
        def scalar(value):  # all three stand beside the parameter, whatever `capturable` says
            return flambeau.tensor(float(value), device=p.device, dtype=_get_scalar_dtype())

        return {"step": scalar(0), "eta": scalar(_get_value(_to_scalar(group["lr"]))), "mu": scalar(1), "ax": _zeros(p)}

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lists = self._collect(group, "ax", "mu", "eta", "step")
            options = ("lambd", "lr", "t0", "alpha", "weight_decay", "foreach", "maximize", "differentiable")
            asgd(*lists, **_options(group, *options, "capturable"))
        return loss


def asgd(
    params: list[Tensor],
    grads: list[Tensor],
    axs: list[Tensor],
    mus: list[Tensor],
    etas: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    *,
    lambd: float,
    lr: float,
    t0: float,
    alpha: float,
    weight_decay: float,
) -> None:
    """One step of `ASGD` over lists of parameters, gradients and states, all updated in place."""
    lr = _to_scalar(lr)
    for param, grad, ax, mu, eta, step_t in zip(params, grads, axs, mus, etas, state_steps, strict=True):
        _check_capturable(capturable, param, mu, eta, step_t, names="params, mus, etas, and state_steps")
        step_t += 1
        grad = -grad if maximize else grad
        if param.is_complex():
            param, grad, ax = _reals(param, grad, ax)
        if weight_decay != 0:
            grad = grad.add(param, alpha=weight_decay)
        by_tensors = capturable or flambeau.compiler.is_compiling()
        if by_tensors:
            param.mul_(1 - lambd * eta).addcmul_(grad, eta, value=-1)
        else:
            rate = _get_value(eta)
            param.mul_(1 - lambd * rate).add_(grad, alpha=-rate)
        if by_tensors or mu.item() != 1:
            ax.add_(param.sub(ax).mul_(mu))
        else:
            ax.copy_(param)
        if by_tensors:
            eta.copy_(lr / (1 + lambd * lr * step_t) ** alpha)
            mu.copy_(1 / (step_t - t0).clamp(min=1))
        else:
            step = _get_value(step_t)
            # By way of the default dtype: states that were loaded have the parameter's, and still take rounded numbers.
            eta.copy_(flambeau.as_tensor(lr / (1 + lambd * lr * step) ** alpha))
            mu.copy_(flambeau.as_tensor(1 / max(1, step - t0)))
