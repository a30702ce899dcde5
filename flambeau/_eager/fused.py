"""The optimizers' steps over lists of tensors, `_fused_adam_` and its kin: all parameters in one native call.

A step's mathematics is one body in words of `k`, read twice: with NumPy, and recorded and compiled into a kernel that
writes parameters and states in place.  Both give the same bits, so it does not matter which one runs: NumPy does until
a list of tensors has come back often enough to be worth a compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau._backends.cpu.arrays import K
from flambeau._eager.graph import bump
from flambeau._eager.modes import MODES, STATE
from flambeau._kernel.record import Record, cast
from flambeau._operators.op import REGISTRY
from flambeau._tensor import PLAIN, Tensor

FLOATS = (np.dtype("f4"), np.dtype("f8"))
AT_ONCE = 8  # tensors per native call: kernels are shared, plans are not
WORTH = 16  # how often a list is stepped by NumPy before its step is compiled


class Step:
    """One body with fixed switches: `run(lists, numbers)` replaces what the lists at `written` hold."""

    def __init__(self, body: Callable[..., tuple[Any, ...]], written: Sequence[int]) -> None:
        self.body, self.written = body, tuple(written)
        self.seen: dict[tuple[Any, ...], int] = {}
        self.table: Any = None

    def run(self, lists: Sequence[Sequence[Any]], numbers: tuple[float, ...]) -> None:  # hot: once per training step
        rows = list(zip(*lists, strict=True))
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            args = [t._a for row in part for t in row]
            if self.table is None or STATE.grad or self.table.call(*args, *numbers) is None:
                self._run(part, args, numbers)

    def _run(self, rows: list[tuple[Any, ...]], args: list[Any], numbers: tuple[float, ...]) -> None:
        _refuse(rows)
        arrays = [tuple(t._a for t in row) for row in rows]
        key = tuple((a.shape, a.strides, a.dtype) for a in args)
        self.seen[key] = count = self.seen.get(key, 0) + 1
        if count == WORTH and _native() and all(_fits(a) for a in args):
            self._compile(arrays, args, numbers)
            if self.table.call(*args, *numbers) is not None:
                return
        for row in arrays:
            results = self.body(K, *row, *numbers)
            for i, result in zip(self.written, results, strict=True):
                row[i][...] = result

    def _compile(self, rows: list[tuple[Any, ...]], args: list[Any], numbers: tuple[float, ...]) -> None:
        from flambeau._backends.cpu.compile import layout, native, recorded
        from flambeau._backends.cpu.launch import ARG, CONST, Launch, Plan, Table
        from flambeau._kernel.fuse import fuse
        from flambeau._values.dtype import of

        if self.table is None:
            self.table = Table(self.body.__name__)
        width, every = len(rows[0]), [*args, *numbers]
        launches, codes, written = [], [], []
        for r, row in enumerate(rows):
            first = r * width
            xs = [recorded(a, first + i) for i, a in enumerate(row)]
            scalars = [cast(recorded(x, len(args) + i), of(row[0].dtype)) for i, x in enumerate(numbers)]
            roots = self.body(Record(), *xs, *scalars)
            targets = [first + i for i in self.written]
            program = fuse(roots, [layout(a) for a in every], [layout(every[t]) for t in targets])
            if program.temps:
                return  # no such body so far: what lies between its parts would need memory
            for step in program.launches:
                code = native(step.kernel)
                codes.append(code)
                slots = [(ARG, n if kind == "in" else targets[n]) for kind, n in step.operands]
                slots += [(CONST, n) for n in (*step.sizes, *step.grain)]
                launches.append(Launch(code["k"], tuple(slots), step.chunks, step.scratch))
            written += targets
        work = max(a.size for a in args)
        self.table.add(every, Plan((), tuple(launches), 0, work >= 1 << 16, tuple(written), tuple(codes)))


def _refuse(rows: list[tuple[Any, ...]]) -> None:
    for row in rows:
        p, a = row[0], row[0]._a
        if STATE.grad and p.requires_grad:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if not isinstance(a, np.ndarray) or a.dtype not in FLOATS:
            raise NotImplementedError(f"fused optimizers on {p.dtype} tensors on {p.device}")
        if any(t._a.dtype is not a.dtype or t._a.shape != a.shape for t in row[1:]):
            raise RuntimeError("params, grads, exp_avgs, and exp_avg_sqs must have same dtype, device, and layout")


def _native() -> bool:
    from flambeau._backends.cpu.engine import available

    return available()


def _fits(a: Any) -> bool:
    return bool(a.flags.aligned and a.flags.writeable) and all(s % a.itemsize == 0 for s in a.strides)


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
            g = g + p * shrink
        m = g - (g - m) * other if far else m + weight * (g - m)
        v = v * keep2 + part2 * g * g
        square = k.maximum(largest[0], v) if amsgrad else v
        p = p + step * m / (k.sqrt(square) / root + eps)
        return (p, m, v, square) if amsgrad else (p, m, v)

    made = _steps[key] = Step(adam, (0, 2, 3, 4) if amsgrad else (0, 2, 3))
    return made


def _fused_adam(
    self: Sequence[Any], grads: Sequence[Any], exp_avgs: Sequence[Any], exp_avg_sqs: Sequence[Any], max_exp_avg_sqs: Sequence[Any],
    state_steps: Sequence[Any], lr: Any, beta1: float, beta2: float, weight_decay: float, eps: float, amsgrad: bool, maximize: bool,
    grad_scale: Any, found_inf: Any, decoupled: bool,
) -> None:  # fmt: skip
    if found_inf is not None and float(found_inf):
        return
    if grad_scale is not None:
        for g in grads:
            g._a[...] = g._a / grad_scale._a.astype(g._a.dtype)
            bump(g)
    lists = (self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs) if amsgrad else (self, grads, exp_avgs, exp_avg_sqs)
    lr, decay = float(lr), "" if weight_decay == 0 else "decoupled" if decoupled else "gradient"
    step = _adam(amsgrad, maximize, decay, 1 - beta1 >= 0.5)
    counts = [float(t._a) for t in state_steps]
    shrink = 1 - lr * weight_decay if decoupled else float(weight_decay)
    for t in dict.fromkeys(counts):  # usually one; parameters may have joined later
        size, root = -lr / (1 - beta1**t), (1 - beta2**t) ** 0.5
        numbers = (size, root, 1 - beta1, float(beta1), float(beta2), 1 - beta2, float(eps), shrink)
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
