"""Modes: grad, inference, default dtype, threads, function modes, anomaly; prints and breaks in order."""

import threading

import flambeau as torch
from tests.capture.world import case, twice, whole, x


@whole
def grad_mode(wrap):
    w = torch.ones(3, requires_grad=True)
    f = wrap(lambda t: w * t)
    out = [f(x()).requires_grad]
    with torch.no_grad():
        out.append(f(x()).requires_grad)
    out.append(f(x()).requires_grad)
    return out


@whole
def grad_mode_asked(wrap):
    f = wrap(lambda t: t * 2 if torch.is_grad_enabled() else t * 3)
    out = twice(f, x())
    with torch.no_grad():
        out += twice(f, x())
    return out + twice(f, x())


@whole
def grad_mode_left_changed(wrap):
    def f(t):
        torch.set_grad_enabled(False)
        return t * 2

    f = wrap(f)
    try:
        out = [f(x()), torch.is_grad_enabled()]
        torch.set_grad_enabled(True)
        out += [f(x()), torch.is_grad_enabled()]
    finally:
        torch.set_grad_enabled(True)
    return out


@whole
def decorated_no_grad(wrap):
    w = torch.ones(3, requires_grad=True)

    @torch.no_grad()
    def f(t):
        return w * t

    f = wrap(f)
    return [f(x()).requires_grad, f(x()).requires_grad, torch.is_grad_enabled()]


@whole
def enable_grad_inside(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        with torch.enable_grad():
            y = (w * t).sum()
        return y

    f = wrap(f)
    out = []
    with torch.no_grad():
        out += [f(x()).requires_grad, f(x()).requires_grad]
    return out


@case
def inference_mode(wrap):
    w = torch.ones(3, requires_grad=True)
    f = wrap(lambda t: w * t)
    out = [f(x()).is_inference()]
    with torch.inference_mode():
        out += [f(x()).is_inference(), f(x()).is_inference()]
    return [*out, f(x()).is_inference()]


@whole
def default_dtype(wrap):
    f = wrap(lambda t: torch.ones(2) * 1.5)
    out = twice(f, x())
    torch.set_default_dtype(torch.float64)
    try:
        out += twice(f, x())
    finally:
        torch.set_default_dtype(torch.float32)
    return out + twice(f, x())


@case
def function_mode(wrap):
    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {})) * 10 if func.__name__ == "sin" else func(*args, **(kwargs or {}))

    f = wrap(lambda t: torch.sin(t))
    out = twice(f, x())
    with Mode():
        out += twice(f, x())
    return out + twice(f, x())


@case
def saved_hooks(wrap):
    seen = []
    w = torch.ones(3, requires_grad=True)
    f = wrap(lambda t: (w * t).exp().sum())
    f(x()).backward()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(1) or t, lambda t: t):
        f(x()).backward()
    return len(seen) > 0, w.grad


@case
def anomaly(wrap):
    w = torch.ones(3, requires_grad=True)
    f = wrap(lambda t: (w * t).sum())
    out = [f(x()).detach()]
    with torch.autograd.set_detect_anomaly(True):
        out.append(f(x()).detach())
    return out


@whole
def threads_have_their_own_modes(wrap):
    w = torch.ones(3, requires_grad=True)
    f = wrap(lambda t: w * t)
    out = [f(x()).requires_grad]

    def other():
        with torch.no_grad():
            out.append(f(x()).requires_grad)

    t = threading.Thread(target=other)
    t.start()
    t.join()
    return [*out, f(x()).requires_grad]


@case
def prints_in_order(wrap):
    import contextlib
    import io

    def f(t):
        u = t + 1
        print("first", u.tolist())
        u = u * 2
        print("second", u.sum().item())
        return u

    f = wrap(f)
    out = []
    for i in range(3):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            r = f(x(3, i))
        out += [text.getvalue(), r]
    return out


@case
def break_in_a_called_function(wrap):
    log = []

    def report(t):
        log.append(t.sum().item())
        return t * 2

    def f(t):
        a = t + 1
        b = report(a)
        return a * b, len(log)

    f = wrap(f)
    return [f(x(3, i)) for i in range(3)], log


@case
def break_within_no_grad(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        with torch.no_grad():
            a = w * t
            n = a.sum().item()
            a = a * n
        return a, w * n

    f = wrap(f)
    return [[o.requires_grad for o in f(x(3, i))] + [o.detach() for o in f(x(3, i))] for i in range(3)]


@case
def break_within_try(wrap):
    def f(t):
        try:
            n = t.sum().item()
            if n > 3:
                raise ValueError(str(n))
            return t * n
        except ValueError as e:
            return str(e)
        finally:
            t.add_(1)

    f = wrap(f)
    a = x()
    return [f(a) for _ in range(4)], a


@case
def break_in_a_loop(wrap):
    def f(ts):
        out = []
        for i, t in enumerate(ts):
            n = t.sum().item()
            out.append(t * n + i)
        return out

    f = wrap(f)
    return [f([x(3, i), x(4, i)]) for i in range(3)]


@case
def break_with_effects_before(wrap):
    state = {"n": 0, "log": []}

    def f(t):
        state["n"] += 1
        state["log"].append(t * 2)
        t.mul_(2)
        v = t.sum().item()
        state["n"] += 10
        state["last"] = v
        return t + state["n"]

    f, a = wrap(f), x()
    return [f(a) for _ in range(4)], state, a


@case
def break_in_a_module(wrap):
    torch.manual_seed(0)

    class M(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
            self.seen = []

        def forward(self, t):
            t = self.a(t)
            self.seen.append(float(t.detach().max()))
            return self.b(t)

    m = M()
    f = wrap(m)
    out = [f(x()).detach() for _ in range(3)]
    f(x()).sum().backward()
    return out, m.seen, m.a.weight.grad


@case
def disabled_function(wrap):
    log = []

    @torch.compiler.disable
    def aside(t):
        log.append(t.shape)
        return t + 5

    f = wrap(lambda t: aside(t * 2) * 3)
    return [f(x()), f(x())], len(log)


@case
def explicit_break(wrap):
    def f(t):
        t = t + 1
        torch._dynamo.graph_break()
        return t * 2

    return twice(wrap(f), x())


@case
def generator_function(wrap):
    def f(t):
        yield t
        yield t + 1

    return [list(wrap(f)(x())) for _ in range(2)]


@case
def recursion(wrap):
    def fact(t, n):
        return t if n <= 1 else fact(t * n, n - 1)

    f = wrap(lambda t, n: fact(t, n))
    return [f(x(), 3), f(x(), 4), f(x(), 3)]


@case
def time_is_not_frozen(wrap):
    import time

    f = wrap(lambda t: (t * 2, time.perf_counter()))
    return f(x())[1] != f(x())[1], f(x())[0]


@case
def python_random(wrap):
    import random

    f = wrap(lambda t: t * random.random())
    random.seed(0)
    return [f(x()) for _ in range(3)]
