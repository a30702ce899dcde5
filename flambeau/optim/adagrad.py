"""Adagrad, for dense and sparse gradients, and its functional form."""

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
    _add_quotient,
    _check_fused,
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
    _unscale,
    _use_grad_for_differentiable,
)

__all__ = ["Adagrad", "adagrad"]


class Adagrad(Optimizer):
    r"""Scales each entry of the gradient by the root of the sum of all its squares so far.

    .. math::
        s_t = s_{t-1} + g_t^2 \qquad
        \theta_t = \theta_{t-1} - \frac{\gamma}{1 + (t-1)\eta}\, \frac{g_t}{\sqrt{s_t} + \epsilon}

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        lr_decay: :math:`\eta`
        weight_decay: adds this times the parameter to the gradient (which must then be dense)
        initial_accumulator_value: :math:`s_0`
        eps: keeps the division finite
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        _check_lr(lr)
        _expect(lr_decay >= 0.0, f"Invalid lr_decay value: {lr_decay}")
        _expect(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        _expect(
            initial_accumulator_value >= 0.0, f"Invalid initial_accumulator_value value: {initial_accumulator_value}"
        )
        _expect(eps >= 0.0, f"Invalid epsilon value: {eps}")
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        _check_fused(self, fused, differentiable, foreach)
        for group in self.param_groups:  # unlike the others, at once: so that `share_memory` finds them
            for p in group["params"]:
                self.state[p].update(self._new_state(p, group))

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(self, "step", foreach=None, maximize=False, differentiable=False, fused=None)

    def _new_state(self, p, group):
        value = self.defaults["initial_accumulator_value"]
        value = complex(value, value) if p.is_complex() else value
        sums = flambeau.full_like(p, value, memory_format=flambeau.preserve_format)
        return {"step": _scalar(0.0, p, group), "sum": sums}

    def _check_sparse(self, group):
        """Sparse gradients are welcome."""

    def share_memory(self) -> None:
        """Moves the state into shared memory, so that several processes can train the same parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["sum"].share_memory_()

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            options = ("lr", "weight_decay", "lr_decay", "eps", "foreach", "maximize", "differentiable", "fused")
            adagrad(
                *self._collect(group, "sum", "step"),
                **_options(group, *options),
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=getattr(self, "found_inf", None),
            )
        return loss


def adagrad(
    params: list[Tensor],
    grads: list[Tensor],
    state_sums: list[Tensor],
    state_steps: list[Tensor],
    fused: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    has_sparse_grad: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    has_complex: bool = False,
    *,
    lr: float,
    weight_decay: float,
    lr_decay: float,
    eps: float,
    maximize: bool,
) -> None:
    """One step of `Adagrad` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    if not _unscale(grads, grad_scale, found_inf):
        return
    lr = _to_scalar(lr)
    for param, grad, state_sum, step_t in zip(params, grads, state_sums, state_steps, strict=True):
        step_t += 1
        grad = -grad if maximize else grad
        rate = _get_value(lr / (1 + (_get_value(step_t) - 1) * lr_decay))
        if grad.is_sparse:
            if weight_decay != 0:
                raise RuntimeError("weight_decay option is not compatible with sparse gradients")
            _update_sparse(param, grad.coalesce(), state_sum, rate, eps)
            continue
        if weight_decay != 0:
            grad = grad.add(param, alpha=weight_decay)
        if param.is_complex():
            param, grad, state_sum = _reals(param, grad, state_sum)
        state_sum.addcmul_(grad, grad, value=1)
        std = state_sum.sqrt() + eps if differentiable else state_sum.sqrt().add_(eps)
        _add_quotient(param, grad, std, -rate)


def _update_sparse(param, grad, state_sum, rate, eps):
    """Updates the rows that a coalesced sparse gradient names; the others keep parameter and sum."""

    def sparse(values):
        return flambeau.sparse_coo_tensor(grad._indices(), values, grad.size())

    values = grad._values()
    state_sum.add_(sparse(values.pow(2)))
    std = state_sum.sparse_mask(grad)._values().sqrt_().add_(eps)
    param.add_(sparse(values / std), alpha=-rate)
