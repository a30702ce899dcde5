"""Adafactor, and its functional form."""

import flambeau
from flambeau import Tensor

from .optimizer import (
    Optimizer,
    ParamsT,
    _check_lr,
    _evaluate,
    _expect,
    _get_scalar_dtype,
    _get_value,
    _modernise,
    _options,
    _to_scalar,
    _zeros,
)

__all__ = ["Adafactor", "adafactor"]


class Adafactor(Optimizer):
    r"""Adam without momentum whose squares of matrices are kept as a row and a column instead of in full.

    .. math::
        \beta_t = 1 - t^{\tau} \qquad
        R_t = \beta_t R_{t-1} + (1-\beta_t) \overline{G_t^2}^{\text{rows}} \qquad
        C_t = \beta_t C_{t-1} + (1-\beta_t) \overline{G_t^2}^{\text{columns}} \qquad
        U_t = G_t \Big/ \sqrt{\frac{R_t C_t}{\overline{R_t}}}

        \theta_t = \theta_{t-1} - \max(\epsilon_2, \mathrm{RMS}(\theta_{t-1})) \min(\gamma, 1/\sqrt t)
                   \frac{U_t}{\max(1, \mathrm{RMS}(U_t) / d)}

    Args:
        params: parameters, named parameters, or groups of them
        lr: largest relative step, :math:`\gamma`
        beta2_decay: :math:`\tau`
        eps: :math:`\epsilon_1` (the dtype's own if None), which keeps the division finite, and :math:`\epsilon_2`
        d: where updates are clipped
        weight_decay: shrinks the parameter
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        _check_lr(lr, "Learning rate should be >= 0 but is: ")
        _expect(beta2_decay <= 0.0, f"beta2_decay should be <= 0 but is: {beta2_decay}")
        _expect(eps[0] is None or eps[0] >= 0.0, f"epsilon1 should be >= 0 but is: {eps[0]}")
        _expect(eps[1] >= 0.0, f"epsilon2 should be >= 0 but is: {eps[1]}")
        _expect(d >= 1.0, f"Clipping threshold d should be >= 1 but is: {d}")
        _expect(weight_decay >= 0.0, f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(self, "step", foreach=None)

    def _new_state(self, p, group):
        state = {"step": flambeau.tensor(0.0, dtype=_get_scalar_dtype())}
        if p.grad.dim() > 1:
            *batch, rows, columns = p.grad.shape
            state["row_var"] = p.grad.new_zeros([*batch, rows, 1])
            state["col_var"] = p.grad.new_zeros([*batch, 1, columns])
        else:
            state["variance"] = _zeros(p.grad)
        return state

    @flambeau.no_grad()
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            if any(p.is_complex() for p in group["params"] if p.grad is not None):
                raise RuntimeError("Adafactor does not support complex parameters")
            lists = self._collect(group, "row_var", "col_var", "variance", "step")
            eps1, eps2 = group["eps"]
            adafactor(
                *lists,
                **_options(group, "d", "lr", "beta2_decay", "weight_decay", "foreach", "maximize"),
                eps1=eps1,
                eps2=eps2,
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=getattr(self, "found_inf", None),
            )
        return loss


def adafactor(
    params: list[Tensor],
    grads: list[Tensor],
    row_vars: list[Tensor | None],
    col_vars: list[Tensor | None],
    variances: list[Tensor | None],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    has_complex: bool = False,
    *,
    d: float,
    lr: float | Tensor,
    beta2_decay: float,
    weight_decay: float,
    eps1: float,
    eps2: float,
    maximize: bool,
) -> None:
    """One step of `Adafactor` over lists of parameters, gradients and states, all updated in place."""
    if not all(isinstance(step, Tensor) for step in state_steps):
        raise RuntimeError("`state_steps` argument must contain a list of singleton tensors")
    if grad_scale is not None or found_inf is not None:
        raise AssertionError("Grad scaling should occur outside of optimizer.step()")
    lr = _get_value(_to_scalar(lr))
    for param, grad, row_var, col_var, variance, step_t in zip(
        params, grads, row_vars, col_vars, variances, state_steps, strict=True
    ):
        grad = -grad if maximize else grad
        epsilon = flambeau.finfo(param.dtype).eps if eps1 is None else eps1
        step_t += 1
        step = _get_value(step_t)  # a tensor in what is compiled: then the numbers made of it are
        compiled = isinstance(step, Tensor)
        weight = (step**beta2_decay).to(param.dtype) if compiled else step**beta2_decay
        rate = (1 / step**0.5).clamp(max=lr) if compiled else min(lr, 1 / step**0.5)
        size = param.norm(2)
        if weight_decay != 0:
            param.mul_(1 - lr * weight_decay)
        if grad.dim() > 1:
            # The norm squared over the length is the mean of squares, without a matrix of squares.
            row_var.lerp_(flambeau.norm(grad, dim=-1, keepdim=True).square_().div_(grad.size(-1)), weight)
            col_var.lerp_(flambeau.norm(grad, dim=-2, keepdim=True).square_().div_(grad.size(-2)), weight)
            estimate = row_var @ col_var
            estimate.div_(row_var.mean(dim=-2, keepdim=True).clamp_(min=epsilon))
        else:
            variance.lerp_(grad * grad, weight)
            estimate = variance.clone()
        update = estimate.clamp_(min=epsilon * epsilon).rsqrt_().mul_(grad)
        if compiled:
            clip = (update.norm(2) / (update.numel() ** 0.5 * d)).clamp(min=1.0)
            param.sub_(update * (rate * (size / param.numel() ** 0.5).clamp(min=eps2) / clip).to(param.dtype))
        else:
            clip = max(1.0, update.norm(2).item() / (update.numel() ** 0.5 * d))
            param.add_(update, alpha=-max(eps2, size.item() / param.numel() ** 0.5) * rate / clip)
