"""L-BFGS, with an optional strong Wolfe line search.

The state of the whole optimizer hangs on its first parameter, under PyTorch's names.
"""

from types import SimpleNamespace

import flambeau
from flambeau import Tensor

from .optimizer import Optimizer, ParamsT, _check_lr, _get_value, _to_scalar

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    r"""A quasi-Newton method: the inverse Hessian is estimated from the last changes of parameters and gradient.

    `step` needs a closure, which it calls several times.  There is one group only, and all of it is on one device.

    Args:
        params: parameters
        lr: scales the step
        max_iter: iterations per call of `step`
        max_eval: calls of the closure per call of `step`; `max_iter * 1.25` if not given
        tolerance_grad: done when the largest entry of the gradient is below
        tolerance_change: done when parameters or loss change less
        history_size: how many changes are remembered
        line_search_fn: `"strong_wolfe"` or None

    >>> p = flambeau.nn.Parameter(flambeau.tensor([3.0]))
    >>> optimizer = flambeau.optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (p - 1).square().sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> p.detach()
    tensor([1.])
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        _check_lr(lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]
        self._numel_cache = None

    # ---- all parameters as one vector ----------------------------------------------------------------------------
    def _numel(self):
        if self._numel_cache is None:
            self._numel_cache = sum(p.numel() * (2 if p.is_complex() else 1) for p in self._params)
        return self._numel_cache

    def _gather_flat_grad(self):
        pieces = []
        for p in self._params:
            if p.grad is None:
                piece = p.new_zeros(p.numel())
            else:
                piece = (p.grad.to_dense() if p.grad.is_sparse else p.grad).view(-1)
            pieces.append(flambeau.view_as_real(piece).view(-1) if piece.is_complex() else piece)
        return flambeau.cat(pieces, 0)

    def _add_grad(self, step_size, update) -> None:
        """Moves the parameters by `step_size * update`."""
        offset = 0
        for p in self._params:
            p = flambeau.view_as_real(p) if p.is_complex() else p
            p.add_(update[offset : offset + p.numel()].view_as(p), alpha=_get_value(step_size))
            offset += p.numel()

    def _clone_param(self):
        return [p.clone(memory_format=flambeau.contiguous_format) for p in self._params]

    def _set_param(self, values) -> None:
        for p, value in zip(self._params, values, strict=True):
            p.copy_(value)

    def _directional_evaluate(self, closure, x, t, d):
        """Loss and gradient at `x + t d`; the parameters are put back to `x`."""
        self._add_grad(t, d)
        loss = float(closure())
        grad = self._gather_flat_grad()
        self._set_param(x)
        return loss, grad

    # ---- the step ------------------------------------------------------------------------------------------------
    @flambeau.no_grad()
    def step(self, closure):
        """Runs up to `max_iter` iterations and returns the loss before the first; `closure` computes a loss."""
        closure = flambeau.enable_grad()(closure)
        group = self.param_groups[0]
        lr = _to_scalar(group["lr"])
        max_iter, max_eval = group["max_iter"], group["max_eval"]
        tolerance_grad, tolerance_change = group["tolerance_grad"], group["tolerance_change"]
        search = group["line_search_fn"]

        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss = float(first_loss)
        evals = 1
        state["func_evals"] += 1
        grad = self._gather_flat_grad()
        if grad.abs().max() <= tolerance_grad:
            return first_loss

        names = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss")
        s = SimpleNamespace(**{name: state.get(name) for name in names})
        n_iter = 0
        while n_iter < max_iter:
            n_iter += 1
            state["n_iter"] += 1
            first = state["n_iter"] == 1
            if first:
                s.d, s.old_dirs, s.old_stps, s.ro, s.H_diag = grad.neg(), [], [], [], 1
            else:
                self._remember(s, grad, group["history_size"])
                s.d = self._direction(s, grad, state.setdefault("al", [None] * group["history_size"]))
            if s.prev_flat_grad is None:
                s.prev_flat_grad = grad.clone(memory_format=flambeau.contiguous_format)
            else:
                s.prev_flat_grad.copy_(grad)
            s.prev_loss = loss

            s.t = min(1.0, 1.0 / grad.abs().sum()) * lr if first else lr
            slope = grad.dot(s.d)
            if slope > -tolerance_change:
                break
            calls = 0
            done = False
            if search is not None:
                if search != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = self._clone_param()

                def evaluate(x, t, d):
                    return self._directional_evaluate(closure, x, t, d)

                loss, grad, s.t, calls = _strong_wolfe(
                    evaluate, start, s.t, s.d, loss, grad, slope, max_ls=max_eval - evals
                )
                self._add_grad(s.t, s.d)
                done = grad.abs().max() <= tolerance_grad
            else:
                self._add_grad(s.t, s.d)
                if n_iter != max_iter:  # the last iteration's loss would not be used
                    loss = float(closure())
                    grad = self._gather_flat_grad()
                    done = grad.abs().max() <= tolerance_grad
                    calls = 1
            evals += calls
            state["func_evals"] += calls
            if n_iter == max_iter or evals >= max_eval or done:
                break
            if s.d.mul(s.t).abs().max() <= tolerance_change or abs(loss - s.prev_loss) < tolerance_change:
                break
        state.update(vars(s))
        return first_loss

    @staticmethod
    def _remember(s, grad, history_size):
        """Adds the last change of the parameters and of the gradient to the history, if their product is positive."""
        y = grad.sub(s.prev_flat_grad)
        change = s.d.mul(s.t)
        ys = y.dot(change)
        if ys <= 1e-10:
            return
        if len(s.old_dirs) == history_size:
            for kept in (s.old_dirs, s.old_stps, s.ro):
                kept.pop(0)
        s.old_dirs.append(y)
        s.old_stps.append(change)
        s.ro.append(1.0 / ys)
        s.H_diag = ys / y.dot(y)

    @staticmethod
    def _direction(s, grad, al):
        """The estimated inverse Hessian times the negative gradient (the two-loop recursion)."""
        q = grad.neg()
        for i in reversed(range(len(s.old_dirs))):
            al[i] = s.old_stps[i].dot(q) * s.ro[i]
            q.add_(s.old_dirs[i], alpha=-_get_value(al[i]))
        r = q.mul(s.H_diag)
        for i in range(len(s.old_dirs)):
            r.add_(s.old_stps[i], alpha=_get_value(al[i] - s.old_dirs[i].dot(r) * s.ro[i]))
        return r


def _cubic_interpolate(x1, f1, g1, x2, f2, g2, bounds=None):
    """The minimum of the cubic with the given values and slopes at two points, kept within bounds.

    Nocedal and Wright, Numerical Optimization, equation 3.59.
    """
    low, high = bounds if bounds is not None else (x1, x2) if x1 <= x2 else (x2, x1)
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if not square >= 0:
        return (low + high) / 2.0
    d2 = square.sqrt()
    if x1 <= x2:
        best = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        best = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(best, low), high)


class _Point:
    """Where a line search has been: the step, and loss, gradient and slope there."""

    __slots__ = ("f", "g", "gtd", "t")

    def __init__(self, t, f, g, gtd):
        self.t, self.f, self.g, self.gtd = t, f, g, gtd


def _strong_wolfe(obj_func, x, t, d, f, g, gtd, c1=1e-4, c2=0.9, tolerance_change=1e-9, max_ls=25):
    """A step along `d` that decreases the loss enough (c1) and flattens the slope enough (c2).

    Returns loss, gradient, step and the number of evaluations.  Nocedal and Wright, algorithms 3.5 and 3.6.
    """
    evals = 0

    def visit(t):
        nonlocal evals
        evals += 1
        f_new, g_new = obj_func(x, t, d)
        return _Point(t, f_new, g_new.clone(memory_format=flambeau.contiguous_format), g_new.dot(d))

    def too_high(p):
        return p.f > f + c1 * p.t * gtd

    def flat(p):
        return abs(p.gtd) <= -c2 * gtd

    d_norm = d.abs().max()
    start = _Point(0, f, g.clone(memory_format=flambeau.contiguous_format), gtd)
    prev, new = start, visit(t)
    low, high = start, None  # the bracket; high is None when a point already satisfies both conditions
    searched = 0
    while searched < max_ls:
        if too_high(new) or (searched > 1 and new.f >= prev.f):
            low, high = prev, new
            break
        if flat(new):
            return new.f, new.g, new.t, evals
        if new.gtd >= 0:
            low, high = prev, new
            break
        bounds = (new.t + 0.01 * (new.t - prev.t), new.t * 10)
        t = _cubic_interpolate(prev.t, prev.f, prev.gtd, new.t, new.f, new.gtd, bounds=bounds)
        prev, new = new, visit(t)
        searched += 1
    else:
        low, high = start, new
    # From here on, `bracket` keeps the order of its ends; `at` is the one with the lower loss.
    bracket = [low, high]
    at = 0 if low.f <= high.f else 1
    stuck = False
    while searched < max_ls:
        ends = (bracket[0].t, bracket[1].t)
        if abs(ends[1] - ends[0]) * d_norm < tolerance_change:
            break
        a, b = bracket
        t = _cubic_interpolate(a.t, a.f, a.gtd, b.t, b.f, b.gtd)
        # A point too close to an end, twice in a row, is moved away from it by a tenth of the bracket.
        margin = 0.1 * (max(ends) - min(ends))
        if min(max(ends) - t, t - min(ends)) < margin:
            if stuck or t >= max(ends) or t <= min(ends):
                t = max(ends) - margin if abs(t - max(ends)) < abs(t - min(ends)) else min(ends) + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new = visit(t)
        searched += 1
        if too_high(new) or new.f >= bracket[at].f:
            bracket[1 - at] = new
            at = 0 if bracket[0].f <= bracket[1].f else 1
            continue
        done = flat(new)
        if not done and new.gtd * (bracket[1 - at].t - bracket[at].t) >= 0:
            bracket[1 - at] = bracket[at]
        bracket[at] = new
        if done:
            break
    best = bracket[at]
    return best.f, best.g, best.t, evals
