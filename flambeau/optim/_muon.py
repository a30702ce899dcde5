"""Muon: momentum whose matrices are made orthogonal before the step; and its functional form."""

import math

import flambeau
from flambeau import Tensor

from .optimizer import Optimizer, ParamsT, _check_lr, _evaluate, _expect, _get_value, _options, _to_scalar, _zeros

__all__ = ["Muon"]

EPS = 1e-7
DEFAULT_A, DEFAULT_B, DEFAULT_C = 3.4445, -4.7750, 2.0315  # steepest at zero: small singular values grow fastest
DEFAULT_NS_STEPS = 5


class Muon(Optimizer):
    r"""Descends along the nearest orthogonal matrix to the momentum, found by Newton-Schulz iterations.

    .. math::
        B_t = \mu B_{t-1} + (1-\mu) G_t \qquad
        \theta_t = (1 - \gamma\lambda)\, \theta_{t-1} - \gamma s\, \mathrm{NS}(B_t)

    with :math:`(1-\mu) G_t + \mu B_t` for :math:`B_t` in the second if `nesterov`.

    Args:
        params: matrices; vectors are better left to another optimizer
        lr: learning rate :math:`\gamma`
        weight_decay: shrinks the parameter, :math:`\lambda`
        momentum: :math:`\mu`
        nesterov: look ahead along the momentum
        ns_coefficients: of the iteration :math:`X \leftarrow aX + (bXX^T + c(XX^T)^2)X`
        eps: keeps the first division finite
        ns_steps: iterations
        adjust_lr_fn: :math:`s` for a matrix of A rows and B columns: :math:`\sqrt{\max(1, A/B)}` ("original", the
            default) or :math:`0.2\sqrt{\max(A, B)}` ("match_rms_adamw")
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (DEFAULT_A, DEFAULT_B, DEFAULT_C),
        eps: float = EPS,
        ns_steps: int = DEFAULT_NS_STEPS,
        adjust_lr_fn: str | None = None,
    ) -> None:
        _check_lr(lr, "Learning rate should be >= 0 but is: ")
        _expect(momentum >= 0.0, f"momentum should be >= 0 but is: {momentum}")
        _expect(weight_decay >= 0.0, f"weight decay should be >= 0 but is: {weight_decay}")
        _expect(
            adjust_lr_fn in (None, "original", "match_rms_adamw"),
            f"Adjust learning rate function {adjust_lr_fn} is not supported",
        )
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                _expect(
                    p.ndim == 2, f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
                )

    def _new_state(self, p, group):
        return {"momentum_buffer": _zeros(p.grad)}

    @flambeau.no_grad()
    def step(self, closure=None):
        """Updates the parameters; `closure`, if given, computes the loss first and returns it."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            if any(p.is_complex() for p in group["params"] if p.grad is not None):
                raise RuntimeError("Muon does not support complex parameters")
            lists = self._collect(group, "momentum_buffer")
            options = ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps", "ns_steps")
            muon(*lists, **_options(group, *options, "adjust_lr_fn"), has_complex=False)
        return loss


def muon(
    params: list[Tensor],
    grads: list[Tensor],
    muon_momentum_bufs: list[Tensor],
    *,
    foreach: bool | None = None,
    lr: float,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    ns_coefficients: tuple[float, float, float],
    ns_steps: int,
    eps: float,
    adjust_lr_fn: str | None,
    has_complex: bool,
) -> None:
    """One step of `Muon` over lists of parameters, gradients and momentum buffers, all updated in place."""
    if foreach:
        raise RuntimeError("Foreach is not supported for Muon yet")
    _expect(not has_complex, "Complex parameters are not supported")
    lr = _to_scalar(lr)
    for param, grad, buffer in zip(params, grads, muon_momentum_bufs, strict=True):
        _expect(grad.ndim == 2, "Param gradient must be a 2D matrix")
        buffer.lerp_(grad, 1 - momentum)
        update = grad.lerp(buffer, momentum) if nesterov else buffer
        update = _zeropower_via_newtonschulz(update, ns_coefficients, ns_steps, eps)
        param.mul_(1 - lr * weight_decay)
        param.add_(update, alpha=-_get_value(_adjust_lr(lr, adjust_lr_fn, param.shape)))


def _zeropower_via_newtonschulz(grad, ns_coefficients, ns_steps, eps):
    """About the nearest orthogonal matrix, in bfloat16: its singular values are near 1."""
    _expect(ns_steps < 100, "Number of steps must be less than 100 for computational efficiency")
    _expect(grad.ndim == 2, "Input tensor gradient must be a 2D matrix")
    _expect(len(ns_coefficients) == 3, "Coefficients must be a tuple of exactly 3 values")
    a, b, c = ns_coefficients
    tall = grad.size(0) > grad.size(1)
    x = grad.bfloat16().T if tall else grad.bfloat16()
    x.div_(x.norm().clamp(min=eps))  # a Frobenius norm of 1 bounds the largest singular value
    for _ in range(ns_steps):
        gram = x @ x.T
        x = flambeau.addmm(x, flambeau.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _adjust_lr(lr, adjust_lr_fn, param_shape):
    rows, columns = param_shape[:2]
    if adjust_lr_fn is None or adjust_lr_fn == "original":
        return lr * math.sqrt(max(1, rows / columns))
    if adjust_lr_fn == "match_rms_adamw":
        return lr * (0.2 * math.sqrt(max(rows, columns)))
    return lr
