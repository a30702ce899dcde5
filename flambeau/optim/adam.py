"""Adam, and its functional form; AdamW (`adamw.py`) is the same with decoupled weight decay."""

from itertools import repeat

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
    _check_betas,
    _check_capturable,
    _check_fused,
    _check_lr,
    _check_steps,
    _evaluate,
    _expect,
    _get_value,
    _modernise,
    _options,
    _plain,
    _reals,
    _scalar,
    _to_scalar,
    _unscale,
    _use_grad_for_differentiable,
    _zeros,
)

__all__ = ["Adam", "adam"]


class Adam(Optimizer):
    r"""Descends along the mean gradient, each entry scaled by its own recent size.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2 \qquad
        \theta_t = \theta_{t-1} - \gamma \frac{m_t / (1-\beta_1^t)}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon}

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        betas: how much of the two means is kept at each step
        eps: keeps the division finite
        weight_decay: adds this times the parameter to the gradient (or see `decoupled_weight_decay`)
        amsgrad: divide by the largest :math:`v` so far
        maximize: ascend instead
        decoupled_weight_decay: shrink the parameter instead of changing the gradient, as AdamW does

    >>> p = flambeau.nn.Parameter(flambeau.ones(2))
    >>> optimizer = flambeau.optim.Adam([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.9000, 0.9000])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        tensors_allowed = capturable or not foreach
        if isinstance(lr, Tensor) and not tensors_allowed:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        _check_lr(lr)
        _expect(eps >= 0.0, f"Invalid epsilon value: {eps}")
        _check_betas(betas)
        _expect(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        kinds = [float if isinstance(beta, float) else Tensor if isinstance(beta, Tensor) else None for beta in betas]
        _expect(kinds[0] is kinds[1] is not None, "betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor):
                where = f"betas[{i}]"
                _expect(tensors_allowed, f"{where} as a Tensor is not supported for capturable=False and foreach=True")
                _expect(beta.numel() == 1, f"Tensor {where} must be 1-element")
        defaults = {
            "lr": lr,
            "betas": tuple(map(_to_scalar, betas)),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        _check_fused(self, fused, differentiable, foreach)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(
            self,
            "step",
            amsgrad=False,
            maximize=False,
            foreach=None,
            capturable=False,
            differentiable=False,
            decoupled_weight_decay=False,
            fused=None,
        )

    def _new_state(self, p, group):
        state = {"step": _scalar(0.0, p, group), "exp_avg": _zeros(p), "exp_avg_sq": _zeros(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = _zeros(p)
        return state

    def _check_sparse(self, group):
        raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            params, grads, means, squares, largest, steps = self._collect(
                group, "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"
            )
            if group["differentiable"] and any(step.requires_grad for step in steps):
                raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
            if group["foreach"] and isinstance(group["lr"], Tensor) and not group["capturable"]:
                raise RuntimeError("lr as a Tensor is not supported for capturable=False and foreach=True")
            beta1, beta2 = group["betas"]
            options = ("amsgrad", "lr", "weight_decay", "eps", "maximize", "foreach", "capturable", "differentiable")
            adam(
                params,
                grads,
                means,
                squares,
                largest,
                steps,
                **_options(group, *options, "fused", "decoupled_weight_decay"),
                beta1=beta1,
                beta2=beta2,
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=getattr(self, "found_inf", None),
            )
        return loss


def adam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    max_exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    has_complex: bool = False,
    decoupled_weight_decay: bool = False,
    *,
    amsgrad: bool,
    beta1: float | Tensor,
    beta2: float | Tensor,
    lr: float | Tensor,
    weight_decay: float,
    eps: float,
    maximize: bool,
) -> None:
    """One step of `Adam` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    if not _unscale(grads, grad_scale, found_inf):
        return
    beta1, beta2, lr = map(_to_scalar, (beta1, beta2, lr))
    compiling = flambeau.compiler.is_compiling()
    if not (capturable or differentiable or compiling) and isinstance(beta1, float) and _plain(params):
        flambeau._foreach_add_(state_steps, 1)
        (flambeau._fused_adamw_ if decoupled_weight_decay else flambeau._fused_adam_)(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            max_exp_avg_sqs if amsgrad else [],
            state_steps,
            lr=_get_value(lr),
            beta1=beta1,
            beta2=beta2,
            weight_decay=_get_value(weight_decay),
            eps=eps,
            amsgrad=amsgrad,
            maximize=maximize,
        )
        return
    largest = max_exp_avg_sqs if amsgrad else repeat(None)
    for tensors in zip(params, grads, exp_avgs, exp_avg_sqs, largest, state_steps):
        _update(
            *tensors,
            beta1=beta1,
            beta2=beta2,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            decoupled_weight_decay=decoupled_weight_decay,
        )


def _update(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    step_t,
    *,
    beta1,
    beta2,
    lr,
    weight_decay,
    eps,
    maximize,
    capturable,
    differentiable,
    decoupled_weight_decay,
):
    _check_capturable(capturable, param, step_t)
    step_t += 1
    grad = -grad if maximize else grad
    if weight_decay != 0:
        if decoupled_weight_decay:
            param.mul_(1 - lr * weight_decay)
        elif differentiable and isinstance(weight_decay, Tensor) and weight_decay.requires_grad:
            grad = grad.addcmul(param.clone(), weight_decay)
        else:
            grad = grad.add(param, alpha=weight_decay)
    if param.is_complex():
        param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq = _reals(param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq)
    weight = 1 - beta1
    exp_avg.lerp_(grad, weight.to(param.device, param.dtype) if isinstance(weight, Tensor) else weight)
    if differentiable and isinstance(beta2, Tensor) and beta2.requires_grad:
        exp_avg_sq.lerp_(grad.square(), 1 - beta2)
    else:
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=_get_value(1 - beta2))
    square = exp_avg_sq
    compiling = flambeau.compiler.is_compiling()
    if (
        capturable or differentiable or compiling
    ):  # the step count stays a tensor; no operand of a gradient is overwritten
        step = step_t.double() if compiling else step_t.clone()
        step_size = (lr / (1 - beta1**step)).neg()
        correction = (1 - beta2**step).sqrt()
        if max_exp_avg_sq is not None:
            square = max_exp_avg_sq.copy_(flambeau.maximum(max_exp_avg_sq.clone(), exp_avg_sq))
        denom = (square.sqrt() / (correction * step_size)).add_(eps / step_size)
        param.addcdiv_(exp_avg.clone() if differentiable else exp_avg, denom)
        return
    step = _get_value(step_t)
    step_size = lr / (1 - beta1**step)
    correction = (1 - beta2**step) ** 0.5
    if max_exp_avg_sq is not None:
        square = flambeau.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
    denom = (square.sqrt() / correction).add_(eps)
    param.addcdiv_(exp_avg, denom, value=_get_value(-step_size))
