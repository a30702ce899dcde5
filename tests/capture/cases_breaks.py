"""Breaks within called functions: each function that waits is split, and goes on; where that cannot be, the call runs as a whole."""

import contextlib

import flambeau as torch
from flambeau import nn
from tests.capture.world import case, freeze, x


def thrice(f, *more):
    return [freeze(f(x(3, i), *more)) for i in range(3)]


@case
def two_functions_deep(wrap):
    log = []

    def inner(t, k):
        u = t * k
        log.append(u.sum().item())
        return u + k

    def middle(t, *, k=2):
        before = t - 1
        found = inner(before, k) * before
        return found, before

    def f(t):
        a = t.cos()
        b, c = middle(a, k=3)
        return (a + b, c), len(log)

    return thrice(wrap(f)), log


@case
def several_breaks_in_one_call(wrap):
    def inner(t):
        n = t.sum().item()
        t = t * n
        m = t.max().item()
        return t + m

    f = wrap(lambda t: inner(inner(t) * 2) + 1)
    return thrice(f)


@case
def called_in_a_loop(wrap):
    seen = []

    def inner(t, i):
        seen.append(t[i].item())
        return t * (i + 1)

    def f(t):
        out = []
        for i in range(3):
            out.append(inner(t + i, i))
        return out

    return thrice(wrap(f)), seen


@case
def methods_and_modules(wrap):
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.seen = nn.Linear(3, 3), []

        def forward(self, t):
            t = self.inner(t).relu()
            self.seen.append(round(t.sum().item(), 3))
            return t + 1

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(Block(), Block())
            self.last = nn.Linear(3, 1)

        def forward(self, t):
            return self.last(self.blocks(t * 2))

    m = Whole()
    with torch.no_grad():
        found = thrice(wrap(m))
    return found, m.blocks[0].seen, m.blocks[1].seen


@case
def with_gradients(wrap):
    w = torch.ones(3, requires_grad=True)

    def scale(t):
        u = (t * w).exp()
        return u / u.detach().max().item()

    def f(t):
        w.grad = None
        loss = (scale(t) * w).sum()
        loss.backward()
        return loss.detach()

    f = wrap(f)
    return [(f(x(3, i)), freeze(w.grad.detach())) for i in range(3)]


@case
def an_exception_after_the_break(wrap):
    def inner(t):
        n = t.sum().item()
        if n > 0:
            raise ValueError(f"{n}")
        return t - 1

    def f(t):
        try:
            r = inner(t)
        except ValueError as e:
            return t * 2, str(e)
        return r, "fine"

    return thrice(wrap(f))


@case
def an_exception_leaves_two_functions(wrap):
    def inner(t):
        n = t.sum().item()
        return 1 // (0 if n > 0 else 1)

    def middle(t):
        return inner(t + 1) + 1

    f = wrap(lambda t: t * middle(t))
    out = []
    for i in range(3):
        try:
            out.append(f(x(3, i - 3)))
        except ZeroDivisionError as e:
            out.append(str(e))
    return out


@case
def closures_and_cells(wrap):
    def f(t):
        total = 0

        def add(u):
            nonlocal total
            v = u.sum().item()
            total += v
            return u * total

        return add(t), add(t + 1), total

    return thrice(wrap(f))


@case
def within_no_grad_and_within_with(wrap):
    w, log = torch.ones(3, requires_grad=True), []

    @contextlib.contextmanager
    def noted(name):
        log.append(name)
        yield
        log.append("end of " + name)

    def inner(t):
        with torch.no_grad():
            u = t * w
            n = u.sum().item()
            return u * n

    def f(t):
        with noted("f"):
            r = inner(t)
        return r, (w * r).requires_grad

    return thrice(wrap(f)), log


@case
def calls_that_are_not_plain(wrap):
    class Box:
        def __init__(self, t):
            self.t, self.n = t, t.sum().item()

        def __add__(self, other):
            return self.t + other.sum().item()

        @property
        def worth(self):
            return self.t.max().item()

        def __call__(self, t):
            return t * self.t.min().item()

    def gen(t):
        for i in range(2):
            n = t[i].item()
            yield t * n

    def f(t):
        b = Box(t)
        out = [b + t, b.worth, b(t), *gen(t), sum(gen(t), t)]
        out += [v * 2 for v in map(lambda u: u + u.sum().item(), [t, t + 1])]
        return out, sorted([3, 1, 2], key=lambda v: (t * v).sum().item())

    return thrice(wrap(f))


@case
def recursion(wrap):
    def f(t, n):
        if n == 0:
            return t
        m = f(t + n, n - 1)
        k = m.max().item()
        return m - k * n

    return thrice(wrap(f), 3)


@case
def partial_and_star(wrap):
    import functools

    def inner(t, *args, scale=1.0, **more):
        n = t.sum().item()
        return t * n * scale + len(args) + sum(more.values())

    p = functools.partial(inner, scale=0.5)
    f = wrap(lambda t: p(t, 1, 2) + p(t, **{"a": 3, "b": 4}) + inner(*[t], **{"scale": 2.0}))
    return thrice(f)


@case
def in_a_comprehension(wrap):
    def inner(t):
        return t * t.sum().item()

    def f(t, i=7):
        a = [inner(t + i) for i in range(3)]
        b = {i: inner(t * i) for i in range(2) if i}
        return a, b, i

    return thrice(wrap(f))


@case
def aliases_between_the_functions(wrap):
    def inner(u, box):
        u.add_(1)
        box.append(u)
        n = u.sum().item()
        u.mul_(n)
        return box[0] + 1

    def f(t):
        u = t.clone()
        view, box = u[1:], []
        r = inner(view, box)
        u.sub_(0.5)
        return u, r, box[0], box[0] is view

    return thrice(wrap(f))


@case
def what_catches_the_error_of_a_call_that_is_left_out(wrap):
    @torch.compiler.disable
    def refuse(kind):
        raise kind("no")

    log = []

    def f(t, other, kind):
        try:
            y = t * 2
            refuse(kind)
        except (ValueError, KeyError) as error:
            import math
            from math import floor as down

            same = type(error) is ValueError and other is not t
            log.append(str(error))
            log[0] += "!"
            found = {**{"a": 1}, "b": down(2.5), "same": same, **{str(i): i for i in range(2)}}
            found.update(c=math.ceil(0.5))
            del found["a"]
            match error.args:
                case (str(word),) if word is not None:
                    found["word"] = len(word)
                case _:
                    found["word"] = None
            with contextlib.suppress(TypeError):
                assert found["word"] is not None, "none"
                y = y + found["word"]
            return y + sum(
                v for v in found.values() if v is not None
            ), f"{sorted(found)} {len({*log, 3})!r} {other is None}"
        return y

    g = wrap(f)
    return [freeze(g(x(3), other, kind)) for other in (None, 1) for kind in (ValueError, KeyError)], log
