"""Functional forms under one name, and that of SparseAdam."""

import math

import flambeau
from flambeau import Tensor

from .adadelta import adadelta
from .adagrad import adagrad
from .adam import adam
from .adamax import adamax
from .adamw import adamw
from .asgd import asgd
from .nadam import nadam
from .radam import radam
from .rmsprop import rmsprop
from .rprop import rprop
from .sgd import sgd

__all__ = [
    "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd",
    "sparse_adam",
]  # fmt: skip


def sparse_adam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[int],
    *,
    eps: float,
    beta1: float,
    beta2: float,
    lr: float,
    maximize: bool,
) -> None:
    """One step of `SparseAdam` over lists of parameters, sparse gradients and states, all updated in place."""
    for param, grad, exp_avg, exp_avg_sq, step in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps, strict=True):
        grad = (-grad if maximize else grad).coalesce()
        values = grad._values()
        if values.numel() == 0:
            continue

        def sparse(values, grad=grad):
            return flambeau.sparse_coo_tensor(grad._indices(), values, grad.size())

        # A mean moves by (1 - beta) (new - old); only the entries that the gradient names are touched.
        old = exp_avg.sparse_mask(grad)._values()
        change = values.sub(old).mul_(1 - beta1)
        exp_avg.add_(sparse(change))
        old_sq = exp_avg_sq.sparse_mask(grad)._values()
        change_sq = values.pow(2).sub_(old_sq).mul_(1 - beta2)
        exp_avg_sq.add_(sparse(change_sq))
        denom = change_sq.add_(old_sq).sqrt_().add_(eps)
        step_size = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        param.add_(sparse(-step_size * change.add_(old).div_(denom)))
