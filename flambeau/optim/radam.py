"""RAdam, and its functional form."""

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
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

__all__ = ["RAdam", "radam"]


class RAdam(Optimizer):
    r"""Adam that trusts its scaling of the gradient only as far as its variance is known.

    .. math::
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1-\beta_2^t}, \quad \rho_\infty = \frac{2}{1-\beta_2} - 1 \qquad
        r_t = \sqrt{\frac{(\rho_t-4)(\rho_t-2)\rho_\infty}{(\rho_\infty-4)(\rho_\infty-2)\rho_t}}

        \theta_t = \theta_{t-1} - \gamma \frac{m_t}{1-\beta_1^t}
        \begin{cases} r_t \sqrt{1-\beta_2^t} / (\sqrt{v_t} + \epsilon) & \rho_t > 5 \\ 1 & \text{else} \end{cases}

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        betas: how much of the two means is kept at each step
        eps: keeps the division finite
        weight_decay: adds this times the parameter to the gradient (or see `decoupled_weight_decay`)
        decoupled_weight_decay: shrink the parameter instead of changing the gradient
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(
            self,
            "step",
            foreach=None,
            maximize=False,
            differentiable=False,
            decoupled_weight_decay=False,
            capturable=False,
        )

    def _new_state(self, p, group):
        return {"step": _scalar(0.0, p, group), "exp_avg": _zeros(p), "exp_avg_sq": _zeros(p)}

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lists = self._collect(group, "exp_avg", "exp_avg_sq", "step")
            beta1, beta2 = group["betas"]
            options = ("lr", "weight_decay", "eps", "maximize", "foreach", "capturable", "differentiable")
            radam(*lists, **_options(group, *options, "decoupled_weight_decay"), beta1=beta1, beta2=beta2)
        return loss


def radam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    decoupled_weight_decay: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    maximize: bool = False,
    *,
    beta1: float,
    beta2: float,
    lr: float,
    weight_decay: float,
    eps: float,
) -> None:
    """One step of `RAdam` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    lr = _to_scalar(lr)
    limit = 2 / (1 - beta2) - 1  # the length that the moving average of squares approaches
    for param, grad, exp_avg, exp_avg_sq, step_t in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps, strict=True):
        _check_capturable(capturable, param, step_t)
        step_t += 1
        step = step_t if capturable else _get_value(step_t)
        grad = -grad if maximize else grad
        if param.is_complex():
            param, grad, exp_avg, exp_avg_sq = _reals(param, grad, exp_avg, exp_avg_sq)
        if weight_decay != 0:
            if decoupled_weight_decay:
                param.mul_(1 - lr * weight_decay)
            else:
                grad = grad.add(param, alpha=weight_decay)
        exp_avg.lerp_(grad, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        correction2 = 1 - beta2**step
        length = limit - 2 * step * beta2**step / correction2
        change = exp_avg / (1 - beta1**step) * lr
        if isinstance(step, Tensor):  # which step it is, is not known to Python
            update = flambeau.where(
                length > 5.0, _rectification(length, limit) * _scale(exp_avg_sq, correction2, eps, differentiable), 1.0
            )
            param.add_(change * update, alpha=-1.0)
        elif length > 5.0:
            change = change * _scale(exp_avg_sq, correction2, eps, differentiable) * _rectification(length, limit)
            param.add_(change, alpha=-1.0)
        else:
            param.add_(change, alpha=-1.0)


def _rectification(length, limit):
    return ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) ** 0.5


def _scale(exp_avg_sq, correction2, eps, differentiable):
    root = exp_avg_sq.sqrt()
    return correction2**0.5 / (root.add(eps) if differentiable else root.add_(eps))
