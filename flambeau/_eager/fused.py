"""The optimizers' steps over lists of tensors, `_fused_adam_` and its kin: all parameters in one native launch.

A step's mathematics is one body in words of `k`, read twice: with NumPy, and recorded and compiled into a kernel that
writes parameters and states in place. Both give the same bits, so it does not matter which one runs: NumPy does while
lists are short and a step has not come back often enough to be worth a compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu.arrays import QUIET, K, loud, quiet
from flambeau._eager.graph import bump
from flambeau._eager.large import LARGE, available
from flambeau._eager.modes import MODES, STATE
from flambeau._operators.op import REGISTRY
from flambeau._tensor import PLAIN, Tensor

FLOATS = (np.dtype("f4"), np.dtype("f8"))
WORTH = 16  # how often short lists are stepped by NumPy before their step is compiled


WATCHERS: list[Any] = []  # asked to run a step: fn(step, lists, numbers), which says whether it has


class Step:
    """One body with fixed switches: `run(lists, numbers)` replaces what the lists at `written` hold."""

    def __init__(self, name: str, body: Callable[..., tuple[Any, ...]], written: Sequence[int]) -> None:
        self.name, self.body, self.written = name, body, tuple(written)
        self.seen = 0
        self.calls: dict[Any, Any] = {}  # dtype -> the native form, or one that always answers None

    def run(self, lists: Sequence[Sequence[Any]], numbers: tuple[float, ...]) -> None:  # hot: once per training step
        if WATCHERS and WATCHERS[-1](self, lists, numbers):
            return
        arrays = [[t._a for t in tensors] for tensors in lists]
        call = self.calls.get(arrays[0][0].dtype)
        if call is None or STATE.grad or call(*arrays, *numbers) is None:
            self._run(lists, arrays, numbers)

    def _run(self, lists: Sequence[Sequence[Any]], arrays: list[list[Any]], numbers: tuple[float, ...]) -> None:
        _refuse(list(zip(*lists, strict=True)))
        rows = list(zip(*arrays, strict=True))
        self.seen += 1
        if self.seen >= WORTH or sum(a.size for a in arrays[0]) >= LARGE:
            good = [row for row in rows if _fits(row)]
            rows = [row for row in rows if not _fits(row)]
            for d in FLOATS:
                some = [row for row in good if row[0].dtype is d]  # an answer of None: some overlap, and go one by one
                if (
                    some
                    and self._native(d, len(numbers), len(lists))(*map(list, zip(*some, strict=True)), *numbers) is None
                ):
                    rows += some
        token = quiet(QUIET)
        try:
            for row in rows:
                results = self.body(K, *row, *numbers)
                for i, result in zip(self.written, results, strict=True):
                    row[i][...] = result
        finally:
            loud(token)

    def _native(self, d: Any, numbers: int, width: int) -> Any:
        call = self.calls.get(d)
        if call is None:
            if available():
                from flambeau._backends.cpu.lists import compiled

                call = compiled(self.body, width, numbers, self.written, d)
            self.calls[d] = call = call or _never
        return call


def _never(*args: Any) -> None:
    """No native form."""


def _refuse(rows: list[tuple[Any, ...]]) -> None:
    for row in rows:
        p, a = row[0], row[0]._a
        if STATE.grad and p.requires_grad:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if not isinstance(a, np.ndarray) or a.dtype not in FLOATS:
            raise NotImplementedError(f"fused optimizers on {p.dtype} tensors on {p.device}")
        if any(t._a.dtype is not a.dtype or t._a.shape != a.shape for t in row[1:]):
            raise RuntimeError("params, grads, exp_avgs, and exp_avg_sqs must have same dtype, device, and layout")


def _fits(row: tuple[Any, ...]) -> bool:
    """Whether a native launch takes a row: see `lists`."""
    a = row[0]
    return (a.flags.c_contiguous or a.flags.f_contiguous) and all(
        x.strides == a.strides and x.flags.aligned and x.flags.writeable for x in row
    )


_steps: dict[tuple[Any, ...], Step] = {}


def _foreach_add_(self: Sequence[Any], other: Any, *, alpha: Any = 1) -> Any:
    """`x += alpha * other` for each tensor of a list; `other` is one for all, or a list."""
    if type(other) is int and alpha == 1 and not MODES and not STATE.grad and len(self) and _counters(self):
        for t in self:
            a = t._a
            a[()] = a.item() + other  # a sum by NumPy's machinery would cost more than the whole step of the optimizer
            bump(t)
        return list(self)
    return REGISTRY["_foreach_add_.List"](self, other, alpha=alpha)


def _counters(tensors: Sequence[Any]) -> bool:
    """Are these plain floating numbers, as the optimizers' counts of steps are?"""
    for t in tensors:  # noqa: SIM110  hot: a loop, not a generator
        if type(t) not in PLAIN or t._a.ndim or t._a.dtype not in FLOATS:
            return False
    return True


def _foreach_mul_(self: Sequence[Any], other: Any) -> Any:
    """`x *= other` for each tensor of a list; `other` is one for all, or a list."""
    if not MODES and not STATE.grad and len(self) and _floats(self):
        one = isinstance(other, float) or (
            type(other) in PLAIN and other._a.ndim == 0 and other._a.dtype is self[0]._a.dtype
        )
        if one and all(t._a.dtype is self[0]._a.dtype for t in self):
            _scale().run((self,), (float(other),))
            for t in self:
                bump(t)
            return list(self)
    return REGISTRY["_foreach_mul_.List"](self, other)


def _floats(tensors: Sequence[Any]) -> bool:
    """Plain floating tensors, none twice, no views."""
    return len(set(map(id, tensors))) == len(tensors) and all(
        type(t) in PLAIN and t._a.dtype in FLOATS and t._base is None for t in tensors
    )


def _scale() -> Step:
    made = _steps.get(("scale",))
    if made is None:
        made = _steps["scale",] = Step("_foreach_mul_", lambda k, x, factor: (x * factor,), (0,))
    return made


# ---- SGD ---------------------------------------------------------------------------------------------------------
def _sgd(decay: bool, momentum: bool, nesterov: bool, maximize: bool, first: bool) -> Step:
    """SGD with these switches; at the `first` step buffers become the gradients."""
    key = ("sgd", decay, momentum, nesterov, maximize, first)
    made = _steps.get(key)
    if made is not None:
        return made

    def sgd(k: Any, p: Any, g: Any, *rest: Any) -> tuple[Any, ...]:
        *buffers, rate, shrink, keep, take = rest
        if maximize:
            g = -g
        if decay:
            g = k.fma(p, shrink, g)
        if not momentum:
            return (k.fma(g, rate, p),)
        b = g if first else k.fma(g, take, buffers[0] * keep)
        return k.fma(k.fma(b, keep, g) if nesterov else b, rate, p), b

    made = _steps[key] = Step("_fused_sgd_", sgd, (0, 2) if momentum else (0,))
    return made


def _unscale(grads: Sequence[Any], grad_scale: Any) -> None:
    """Gradients of a loss that a GradScaler has scaled, as those of the loss."""
    if grad_scale is not None:
        for g in grads:
            g._a[...] = g._a / grad_scale._a.astype(g._a.dtype)
            bump(g)


def _fused_sgd_(
    self: Sequence[Tensor], grads: Sequence[Tensor], momentum_buffer_list: Sequence[Tensor], *, weight_decay: float, momentum: float,
    lr: Any, dampening: float, nesterov: bool, maximize: bool, is_first_step: bool, grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> None:  # fmt: skip
    """One step of SGD over lists of float32 or float64 tensors; at the first step the buffers become the gradients."""
    if found_inf is not None and float(found_inf):
        return
    _unscale(grads, grad_scale)
    has = momentum != 0
    lists = (self, grads, momentum_buffer_list) if has else (self, grads)
    numbers = (-float(lr), float(weight_decay), float(momentum), 1 - float(dampening))
    _sgd(weight_decay != 0, has, bool(nesterov), bool(maximize), bool(is_first_step)).run(lists, numbers)
    for tensors in (self, momentum_buffer_list) if has else (self,):
        for t in tensors:
            bump(t)


# ---- Adam --------------------------------------------------------------------------------------------------------
def _adam(amsgrad: bool, maximize: bool, decay: str, far: bool) -> Step:
    """Adam with these switches; `far` is PyTorch's form of `lerp` for weights of 1/2 and more."""
    key = ("adam", amsgrad, maximize, decay, far)
    made = _steps.get(key)
    if made is not None:
        return made

    def adam(k: Any, p: Any, g: Any, m: Any, v: Any, *rest: Any) -> tuple[Any, ...]:
        *largest, step, root, weight, other, keep2, part2, eps, shrink = rest
        if maximize:
            g = -g
        if decay == "decoupled":
            p = p * shrink
        elif decay:
            g = k.fma(p, shrink, g)
        m = k.fma(g - m, other, g) if far else k.fma(g - m, weight, m)
        v = k.fma(g * part2, g, v * keep2)
        square = k.maximum(largest[0], v) if amsgrad else v
        p = p + step * m / (k.sqrt(square) / root + eps)
        return (p, m, v, square) if amsgrad else (p, m, v)

    name = "_fused_adamw_" if decay == "decoupled" else "_fused_adam_"
    made = _steps[key] = Step(name, adam, (0, 2, 3, 4) if amsgrad else (0, 2, 3))
    return made


def _fused_adam(
    self: Sequence[Any], grads: Sequence[Any], exp_avgs: Sequence[Any], exp_avg_sqs: Sequence[Any], max_exp_avg_sqs: Sequence[Any],
    state_steps: Sequence[Any], lr: Any, beta1: float, beta2: float, weight_decay: float, eps: float, amsgrad: bool, maximize: bool,
    grad_scale: Any, found_inf: Any, decoupled: bool,
) -> None:  # fmt: skip
    if found_inf is not None and float(found_inf):
        return
    _unscale(grads, grad_scale)
    lists = (self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs) if amsgrad else (self, grads, exp_avgs, exp_avg_sqs)
    lr, decay = float(lr), "" if weight_decay == 0 else "decoupled" if decoupled else "gradient"
    far = 1 - beta1 >= 0.5
    weight = float(self[0]._a.dtype.type(1 - beta1)) if far and self else 1 - beta1
    step = _adam(amsgrad, maximize, decay, far)
    counts = [float(t._a) for t in state_steps]
    shrink = 1 - lr * weight_decay if decoupled else float(weight_decay)
    for t in dict.fromkeys(counts):  # usually one; parameters may have joined later
        size, root = -lr / (1 - beta1**t), (1 - beta2**t) ** 0.5
        numbers = (size, root, weight, weight - 1, float(beta2), 1 - beta2, float(eps), shrink)
        if counts.count(t) == len(counts):
            step.run(lists, numbers)
            break
        step.run([[x for x, c in zip(tensors, counts, strict=True) if c == t] for tensors in lists], numbers)
    for tensors in (self, *lists[2:]):
        for t in tensors:
            bump(t)


def _fused_adam_(
    self: Sequence[Tensor], grads: Sequence[Tensor], exp_avgs: Sequence[Tensor], exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor], state_steps: Sequence[Tensor], *, lr: Any, beta1: float, beta2: float, weight_decay: float,
    eps: float, amsgrad: bool, maximize: bool, grad_scale: Tensor | None = None, found_inf: Tensor | None = None,
) -> None:  # fmt: skip
    """One step of Adam over lists of float32 or float64 tensors; `state_steps` count this step already."""
    _fused_adam(self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, lr, beta1, beta2, weight_decay, eps, amsgrad,
                maximize, grad_scale, found_inf, False)  # fmt: skip


def _fused_adamw_(
    self: Sequence[Tensor], grads: Sequence[Tensor], exp_avgs: Sequence[Tensor], exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor], state_steps: Sequence[Tensor], *, lr: Any, beta1: float, beta2: float, weight_decay: float,
    eps: float, amsgrad: bool, maximize: bool, grad_scale: Tensor | None = None, found_inf: Tensor | None = None,
) -> None:  # fmt: skip
    """One step of AdamW over lists of float32 or float64 tensors; `state_steps` count this step already."""
    _fused_adam(self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, lr, beta1, beta2, weight_decay, eps, amsgrad,
                maximize, grad_scale, found_inf, True)  # fmt: skip
