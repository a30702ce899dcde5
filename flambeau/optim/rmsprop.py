"""RMSprop, and its functional form."""

from itertools import repeat

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

__all__ = ["RMSprop", "rmsprop"]


class RMSprop(Optimizer):
    r"""Scales each entry of the gradient by the root of its mean square.

    .. math::
        v_t = \alpha v_{t-1} + (1-\alpha) g_t^2 \qquad
        b_t = \mu b_{t-1} + \frac{g_t}{\sqrt{v_t} + \epsilon} \qquad
        \theta_t = \theta_{t-1} - \gamma b_t

    with the variance :math:`v_t - \bar g_t^2` for :math:`v_t` if `centered`.

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        alpha: how much of the mean square is kept
        eps: keeps the division finite
        weight_decay: adds this times the parameter to the gradient
        momentum: :math:`\mu`
        centered: divide by the standard deviation instead
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        _check_lr(lr)
        _expect(eps >= 0.0, f"Invalid epsilon value: {eps}")
        _expect(momentum >= 0.0, f"Invalid momentum value: {momentum}")
        _expect(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        _expect(alpha >= 0.0, f"Invalid alpha value: {alpha}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        options = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}
        _modernise(self, "step", momentum=0, centered=False, **options)

    def _new_state(self, p, group):
        state = {"step": _scalar(0.0, p, group), "square_avg": _zeros(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = _zeros(p)
        if group["centered"]:
            state["grad_avg"] = _zeros(p)
        return state

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lists = self._collect(group, "square_avg", "grad_avg", "momentum_buffer", "step")
            options = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered", "foreach", "maximize")
            rmsprop(*lists, **_options(group, *options, "differentiable", "capturable"))
        return loss


def rmsprop(
    params: list[Tensor],
    grads: list[Tensor],
    square_avgs: list[Tensor],
    grad_avgs: list[Tensor],
    momentum_buffer_list: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> None:
    """One step of `RMSprop` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    lr = _get_value(_to_scalar(lr))
    means = grad_avgs if centered else repeat(None)
    buffers = momentum_buffer_list if momentum > 0 else repeat(None)
    lists = (params, grads, square_avgs, means, buffers, state_steps)
    for param, grad, square_avg, grad_avg, buffer, step in zip(*lists):
        _check_capturable(capturable, param, step)
        step += 1
        grad = -grad if maximize else grad
        if weight_decay != 0:
            grad = grad.add(param, alpha=weight_decay)
        if param.is_complex():
            param, grad, square_avg, grad_avg, buffer = _reals(param, grad, square_avg, grad_avg, buffer)
        square_avg.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)
        if grad_avg is None:
            scale = square_avg.sqrt()
        else:
            grad_avg.lerp_(grad, 1 - alpha)
            scale = square_avg.addcmul(grad_avg, grad_avg, value=-1).sqrt_()
        scale = scale.add(eps) if differentiable else scale.add_(eps)
        if buffer is None:
            param.addcdiv_(grad, scale, value=-lr)
        else:
            buffer.mul_(momentum).addcdiv_(grad, scale)
            param.add_(buffer, alpha=-lr)
