"""Stochastic gradient descent with momentum, and its functional form."""

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
    _check_fused,
    _device_dtype_check_for_fused,
    _evaluate,
    _expect,
    _get_value,
    _modernise,
    _options,
    _plain,
    _to_scalar,
    _unscale,
    _use_grad_for_differentiable,
)

__all__ = ["SGD", "sgd"]


class SGD(Optimizer):
    r"""Descends along the gradient, or along its decaying sum.

    .. math::
        b_t = \mu b_{t-1} + (1-\tau) g_t \qquad \theta_t = \theta_{t-1} - \gamma b_t

    with :math:`g_t + \mu b_t` for :math:`b_t` in the second if `nesterov`, and :math:`b_1 = g_1`.

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        momentum: how much of the sum is kept, :math:`\mu`
        dampening: :math:`\tau`
        weight_decay: adds this times the parameter to the gradient
        nesterov: look ahead along the momentum
        maximize: ascend instead

    >>> p = flambeau.nn.Parameter(flambeau.ones(2))
    >>> optimizer = flambeau.optim.SGD([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.5000, 0.5000])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        _expect(not isinstance(lr, Tensor) or lr.numel() == 1, "Tensor lr must be 1-element")
        _expect(not lr < 0.0, f"Invalid learning rate: {lr}")
        _expect(not momentum < 0.0, f"Invalid momentum value: {momentum}")
        _expect(not weight_decay < 0.0, f"Invalid weight_decay value: {weight_decay}")
        _expect(
            not nesterov or (momentum > 0 and dampening == 0),
            "Nesterov momentum requires a momentum and zero dampening",
        )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        _check_fused(self, fused, differentiable, foreach)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(self, nesterov=False, maximize=False, foreach=None, differentiable=False, fused=False)

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if group["fused"]:
                for p in params:
                    _device_dtype_check_for_fused(p)
            momentum = group["momentum"] != 0
            buffers = [self.state[p].get("momentum_buffer") for p in params] if momentum else []
            options = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize", "foreach", "fused")
            sgd(
                params,
                [p.grad for p in params],
                buffers,
                **_options(group, *options),
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=getattr(self, "found_inf", None),
            )
            if momentum:
                for p, buffer in zip(params, buffers, strict=True):
                    self.state[p]["momentum_buffer"] = buffer
        return loss


def sgd(
    params: list[Tensor],
    d_p_list: list[Tensor],
    momentum_buffer_list: list[Tensor | None],
    has_sparse_grad: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    *,
    weight_decay: float,
    momentum: float,
    lr: float,
    dampening: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """One step of `SGD` over lists of parameters, gradients and momentum buffers, all updated in place."""
    if not _unscale(d_p_list, grad_scale, found_inf):
        return
    lr = _to_scalar(lr)
    if _listed(params, d_p_list, momentum_buffer_list if momentum != 0 else (), lr, weight_decay):
        first = momentum != 0 and momentum_buffer_list[0] is None
        if first:
            momentum_buffer_list[:] = [flambeau.empty_like(g) for g in d_p_list]
        flambeau._fused_sgd_(
            params,
            d_p_list,
            list(momentum_buffer_list) if momentum != 0 else [],
            weight_decay=weight_decay,
            momentum=momentum,
            lr=lr,
            dampening=dampening,
            nesterov=nesterov,
            maximize=maximize,
            is_first_step=first,
        )
        return
    for i, (param, grad) in enumerate(zip(params, d_p_list, strict=True)):
        buffer = momentum_buffer_list[i] if momentum != 0 else None
        options = (weight_decay, momentum, lr, dampening, nesterov, maximize)
        buffer = _update(param, grad, buffer, *options)
        if momentum != 0:
            momentum_buffer_list[i] = buffer


def _listed(params, grads, buffers, lr, weight_decay):  # hot: once per training step
    """Can all parameters be stepped in one call?"""
    if flambeau.compiler.is_compiling():  # the compiler has the parameters updated together in any case
        return False
    if flambeau.is_grad_enabled() or isinstance(lr, Tensor) or isinstance(weight_decay, Tensor):
        return False
    first = bool(buffers) and buffers[0] is None
    if any((b is None) != first for b in buffers):
        return False
    return _plain(params) and all(g.layout is flambeau.strided and g.dtype is p.dtype for p, g in zip(params, grads))


def _update(param, grad, buffer, weight_decay, momentum, lr, dampening, nesterov, maximize):
    """Updates one parameter and returns its momentum buffer."""
    grad = -grad if maximize else grad
    if isinstance(weight_decay, Tensor) and weight_decay.requires_grad:
        grad = grad.addcmul(param.clone(), weight_decay)
    elif weight_decay != 0:
        grad = grad.add(param, alpha=_get_value(weight_decay))
    if momentum != 0:
        if buffer is None:
            buffer = grad.detach().clone()
        else:
            buffer.mul_(momentum).add_(grad, alpha=1 - dampening)
        grad = grad.add(buffer, alpha=momentum) if nesterov else buffer
    if isinstance(lr, Tensor) and lr.requires_grad:
        param.addcmul_(grad, lr, value=-1)
    else:
        param.add_(grad, alpha=-_get_value(lr))
    return buffer
