"""Averaging the weights of a model over its training: AveragedModel, update_bn, SWALR."""

import itertools
import math
from copy import deepcopy

import flambeau
from flambeau.nn import Module
from flambeau.utils._foreach_utils import _group_tensors_by_device_and_dtype

from .lr_scheduler import LRScheduler, _format_param, _warn_get_lr_called_within_step

__all__ = [
    "AveragedModel", "update_bn", "SWALR", "get_ema_multi_avg_fn", "get_swa_multi_avg_fn", "get_ema_avg_fn",
    "get_swa_avg_fn",
]  # fmt: skip


def _check_decay(decay):
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _continuous(tensors):
    return tensors[0].is_floating_point() or tensors[0].is_complex()


def get_ema_multi_avg_fn(decay=0.999):
    """A function `(averages, parameters, count)` that moves each average by `1 - decay` of the way."""
    _check_decay(decay)

    @flambeau.no_grad()
    def ema_update(ema_param_list, current_param_list, _):
        if _continuous(ema_param_list):
            flambeau._foreach_lerp_(ema_param_list, current_param_list, 1 - decay)
            return
        for average, p in zip(ema_param_list, current_param_list, strict=True):
            average.copy_(average * decay + p * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn():
    """A function `(averages, parameters, count)` that makes each average the mean of `count + 1` values."""

    @flambeau.no_grad()
    def swa_update(averaged_param_list, current_param_list, num_averaged):
        if _continuous(averaged_param_list):
            flambeau._foreach_lerp_(averaged_param_list, current_param_list, 1 / (num_averaged + 1))
            return
        differences = flambeau._foreach_sub(current_param_list, averaged_param_list)
        if isinstance(num_averaged, flambeau.Tensor):
            counts = [num_averaged + 1] * len(averaged_param_list)
            flambeau._foreach_addcdiv_(averaged_param_list, differences, counts)
        else:
            flambeau._foreach_add_(averaged_param_list, differences, alpha=1.0 / (num_averaged + 1))

    return swa_update


def get_ema_avg_fn(decay=0.999):
    """A function `(average, parameter, count)` that returns the average moved by `1 - decay` of the way."""
    _check_decay(decay)

    @flambeau.no_grad()
    def ema_update(ema_param, current_param, num_averaged):
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn():
    """A function `(average, parameter, count)` that returns the mean of `count + 1` values."""

    @flambeau.no_grad()
    def swa_update(averaged_param, current_param, num_averaged):
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of a model whose parameters are averages over the models it was updated with.

    Args:
        model: is copied
        device: where the averages are kept
        avg_fn: `(average, parameter, count)` to new average; the mean of all if neither function is given
        multi_avg_fn: the same over lists, in place
        use_buffers: average the buffers too, instead of copying the last

    >>> model = flambeau.nn.Linear(1, 1, bias=False)
    >>> average = flambeau.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = flambeau.nn.init.constant_(model.weight, value)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()
    3.0
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", flambeau.tensor(0, dtype=flambeau.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args, **kwargs):
        """Calls the averaged model."""
        return self.module(*args, **kwargs)

    def _pairs(self, model):
        if self.use_buffers:
            ours = itertools.chain(self.module.parameters(), self.module.buffers())
            theirs = itertools.chain(model.parameters(), model.buffers())
        else:
            ours, theirs = self.parameters(), model.parameters()
        return [(a.detach(), p.detach().to(a.device)) for a, p in zip(ours, theirs, strict=False)]

    def update_parameters(self, model) -> None:
        """Takes the present parameters of `model` into the averages."""
        pairs = self._pairs(model)
        if self.n_averaged == 0:
            for average, p in pairs:
                average.copy_(p)
        elif self.multi_avg_fn is None:
            update = self.avg_fn or get_swa_avg_fn()
            for average, p in pairs:
                average.copy_(update(average, p, self.n_averaged.to(average.device)))
        else:
            lists = [list(tensors) for tensors in zip(*pairs, strict=True)]
            for (device, _), ((averages, params), _) in _group_tensors_by_device_and_dtype(lists).items():
                self.multi_avg_fn(averages, params, self.n_averaged.to(device))
        if not self.use_buffers:
            for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                ours.detach().copy_(theirs.detach().to(ours.device))
        self.n_averaged += 1


@flambeau.no_grad()
def update_bn(loader, model, device=None) -> None:
    """Recomputes the running statistics of the batch normalisations of `model` in one pass over `loader`.

    Of a batch that is a list or tuple, the first entry is the input.
    """
    norms = [m for m in model.modules() if isinstance(m, flambeau.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    for batch in loader:
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(batch if device is None else batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Goes from the present rate to `swa_lr` over `anneal_epochs` epochs, and stays there.

    Args:
        optimizer: whose groups are scheduled
        swa_lr: the last rate, or one per group
        anneal_epochs: how many
        anneal_strategy: "cos" or "linear"
        last_epoch: -1 begins a run
    """

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1) -> None:
        for value, group in zip(_format_param("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = value
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._set_anneal_func(anneal_strategy)
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _linear_anneal(t):
        return t

    @staticmethod
    def _cosine_anneal(t):
        return (1 - math.cos(math.pi * t)) / 2

    @staticmethod
    def _get_initial_lr(lr, swa_lr, alpha):
        return swa_lr if alpha == 1 else (lr - alpha * swa_lr) / (1 - alpha)

    def _progress(self, step):
        return self.anneal_func(max(0, min(1, step / max(1, self.anneal_epochs))))

    def get_lr(self):
        """The rates of epoch `last_epoch`, one per group."""
        _warn_get_lr_called_within_step(self)
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._progress(step - 1), self._progress(step)
        groups = self.optimizer.param_groups
        first = [self._get_initial_lr(group["lr"], group["swa_lr"], before) for group in groups]
        return [group["swa_lr"] * now + lr * (1 - now) for group, lr in zip(groups, first, strict=True)]

    def _set_anneal_func(self, anneal_strategy) -> None:
        self._anneal_strategy = anneal_strategy
        self.anneal_func = self._cosine_anneal if anneal_strategy == "cos" else self._linear_anneal

    def state_dict(self):
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "anneal_func")}

    def load_state_dict(self, state_dict) -> None:
        """Takes over what `state_dict()` gave."""
        self.__dict__.update(state_dict)
        self._set_anneal_func(self._anneal_strategy)
