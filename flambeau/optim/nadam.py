"""NAdam, and its functional form."""

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

__all__ = ["NAdam", "nadam"]


class NAdam(Optimizer):
    r"""Adam with Nesterov momentum, whose weight :math:`\mu_t` grows over the steps.

    .. math::
        \mu_t = \beta_1 \left(1 - \tfrac12\, 0.96^{t\psi}\right) \qquad
        \hat m_t = \frac{\mu_{t+1} m_t}{1 - \prod_{i \le t+1} \mu_i} + \frac{(1-\mu_t) g_t}{1 - \prod_{i \le t} \mu_i}
        \qquad
        \theta_t = \theta_{t-1} - \gamma \frac{\hat m_t}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon}

    Args:
        params: parameters, named parameters, or groups of them
        lr: learning rate :math:`\gamma`
        betas: how much of the two means is kept at each step
        eps: keeps the division finite
        weight_decay: adds this times the parameter to the gradient (or see `decoupled_weight_decay`)
        momentum_decay: :math:`\psi`
        decoupled_weight_decay: shrink the parameter instead of changing the gradient
        maximize: ascend instead
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        _expect(momentum_decay >= 0.0, f"Invalid momentum_decay value: {momentum_decay}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        _modernise(
            self,
            "step",
            "mu_product",
            maximize=False,
            foreach=None,
            capturable=False,
            differentiable=False,
            decoupled_weight_decay=False,
        )

    def _new_state(self, p, group):
        scalars = {"step": _scalar(0.0, p, group), "mu_product": _scalar(1.0, p, group)}
        return {**scalars, "exp_avg": _zeros(p), "exp_avg_sq": _zeros(p)}

    @_use_grad_for_differentiable
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            lists = self._collect(group, "exp_avg", "exp_avg_sq", "mu_product", "step")
            beta1, beta2 = group["betas"]
            options = ("lr", "weight_decay", "momentum_decay", "eps", "maximize", "decoupled_weight_decay", "foreach")
            nadam(*lists, **_options(group, *options, "capturable", "differentiable"), beta1=beta1, beta2=beta2)
        return loss


def nadam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    mu_products: list[Tensor],
    state_steps: list[Tensor],
    decoupled_weight_decay: bool = False,
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
    has_complex: bool = False,
    maximize: bool = False,
    *,
    beta1: float,
    beta2: float,
    lr: float,
    weight_decay: float,
    momentum_decay: float,
    eps: float,
) -> None:
    """One step of `NAdam` over lists of parameters, gradients and states, all updated in place."""
    _check_steps(state_steps)
    _check_steps(mu_products, "mu_products")
    lr = _to_scalar(lr)
    for param, grad, exp_avg, exp_avg_sq, mu_product, step_t in zip(
        params, grads, exp_avgs, exp_avg_sqs, mu_products, state_steps, strict=True
    ):
        _check_capturable(capturable, param, mu_product, step_t, names="params, mu_products and state_steps")
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
        mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * momentum_decay))
        mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
        mu_product *= mu
        exp_avg.lerp_(grad, 1 - beta1)
        exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        denom = exp_avg_sq.div(1 - beta2**step).sqrt()
        if capturable or differentiable:
            denom = denom.add(eps)
            param.addcdiv_(grad * (-lr * (1.0 - mu) / (1.0 - mu_product)), denom)
            param.addcdiv_(exp_avg * (-lr * mu_next / (1.0 - mu_product * mu_next)), denom)
        else:
            denom.add_(eps)
            product = _get_value(mu_product)
            _add_quotient(param, grad, denom, _get_value(-lr * (1.0 - mu) / (1.0 - product)))
            _add_quotient(param, exp_avg, denom, _get_value(-lr * mu_next / (1.0 - product * mu_next)))
