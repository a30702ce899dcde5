"""Adadelta, and its functional form."""

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

__all__ = ["Adadelta", "adadelta"]


class Adadelta(Optimizer):
    r"""Scales each entry of the gradient by the ratio of the recent sizes of its changes and of its gradients.

    .. math::
        v_t = \rho v_{t-1} + (1-\rho) g_t^2 \qquad
        \Delta_t = \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}}\, g_t \qquad
        u_t = \rho u_{t-1} + (1-\rho) \Delta_t^2 \qquad
        \theta_t = \theta_{t-1} - \gamma \Delta_t

    Args:
        params: parameters, named parameters, or groups of them
        lr: scales the change, :math:`\gamma`
        rho: how much of the means is kept
        eps: keeps the division finite
        weight_decay: adds this times the parameter to the gradient
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check_lr(lr)
        _expect(0.0 <= rho <= 1.0, f"Invalid rho value: {rho}")
        _expect(eps >= 0.0, f"Invalid epsilon value: {eps}")
        _expect(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(self, "step", foreach=None, maximize=False, differentiable=False, capturable=False)

    def _new_state(self, p, group):
        return {"step": _scalar(0.0, p, group), "square_avg": _zeros(p), "acc_delta": _zeros(p)}

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lists = self._collect(group, "square_avg", "acc_delta", "step")
            options = ("lr", "rho", "eps", "weight_decay", "foreach", "maximize", "differentiable", "capturable")
            adadelta(*lists, **_options(group, *options))
        return loss


def adadelta(
    params: list[Tensor],
    grads: list[Tensor],
    square_avgs: list[Tensor],
    acc_deltas: list[Tensor],
    state_steps: list[Tensor],
    capturable: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    has_complex: bool = False,
    *,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """One step of `Adadelta` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    lr = _get_value(_to_scalar(lr))
    for param, grad, square_avg, acc_delta, step in zip(
        params, grads, square_avgs, acc_deltas, state_steps, strict=True
    ):
        _check_capturable(capturable, param, step, supports_xla=False)
        step += 1
        grad = -grad if maximize else grad
        if weight_decay != 0:
            grad = grad.add(param, alpha=weight_decay)
        if param.is_complex():
            param, grad, square_avg, acc_delta = _reals(param, grad, square_avg, acc_delta)
        square_avg.mul_(rho).addcmul_(grad, grad, value=1 - rho)
        std = square_avg.add(eps).sqrt_()
        delta = acc_delta.add(eps).sqrt_()
        if differentiable:
            delta = delta.clone()
        delta.div_(std).mul_(grad)
        acc_delta.mul_(rho).addcmul_(delta, delta, value=1 - rho)
        param.add_(delta, alpha=-lr)
