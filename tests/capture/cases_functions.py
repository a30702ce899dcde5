"""Functions: closures, defaults, code that is replaced, partials, dispatch; names that come later."""

import functools
import operator

import flambeau as torch
from tests.capture.world import calls, case, freeze, whole, x


@case
def nested_closures(wrap):
    def outer():
        n = 1

        def bump():
            nonlocal n
            n += 1
            return n

        def f(t):
            return t * n + bump()

        return f, bump

    f, bump = outer()
    g = wrap(f)
    out = [freeze(g(x())), freeze(g(x()))]
    bump()
    return [*out, freeze(g(x()))]


@case
def late_binding(wrap):
    fs = [lambda t: t * i for i in range(3)]  # noqa: B023
    g = wrap(lambda t: sum(f(t) for f in fs))
    out = calls(g, (x(),))
    fs.append(lambda t: t + 100)
    return out + calls(g, (x(),))


@case
def mutable_default(wrap):
    def f(t, seen=[]):
        seen.append(len(seen))
        return t * len(seen)

    g = wrap(f)
    out = calls(g, (x(),), (x(),))
    f.__defaults__[0].clear()
    return out + calls(g, (x(),)) + [list(f.__defaults__[0])]


@case
def keyword_defaults_replaced(wrap):
    def inner(t, *, k=2):
        return t * k

    g = wrap(lambda t: inner(t))
    out = calls(g, (x(),))
    inner.__kwdefaults__ = {"k": 5}
    out += calls(g, (x(),))
    inner.__kwdefaults__["k"] = 7
    return out + calls(g, (x(),))


@case
def code_replaced(wrap):
    def inner(t):
        return t + 1

    def other(t):
        return t * 10

    g = wrap(lambda t: inner(t))
    out = calls(g, (x(),))
    inner.__code__ = other.__code__
    return out + calls(g, (x(),))


@case
def partials(wrap):
    table = {"k": 3}
    p = functools.partial(lambda t, a, k: t * a + k, a=2, **table)
    g = wrap(lambda t: p(t))
    out = calls(g, (x(),))
    p.keywords["a"] = 9
    out += calls(g, (x(),))
    p = functools.partial(lambda t: t - 1)
    return out + calls(g, (x(),))


@case
def single_dispatch(wrap):
    @functools.singledispatch
    def how(v, t):
        return t

    @how.register
    def _(v: int, t):
        return t * v

    g = wrap(lambda t, v: how(v, t))
    out = calls(g, (x(), 2), (x(), "s"))
    how.register(str, lambda v, t: t + len(v))
    return out + calls(g, (x(), 3), (x(), "long"))


@case
def arguments_of_all_kinds(wrap):
    def f(t, /, a, *rest, k=1, **more):
        return t * a + sum(rest) + k + sum(more.values())

    g = wrap(f)
    return [
        freeze(g(x(), 1)),
        freeze(g(x(), 1, 2)),
        freeze(g(x(), 1, 2, 3)),
        freeze(g(x(), 2, k=4)),
        freeze(g(x(), 2, z=4)),
        freeze(g(x(), 2, y=1, z=4)),
        freeze(g(x(), a=5)),
    ]


@case
def recursion(wrap):
    def power(t, n):
        return t if n == 0 else power(t * 2, n - 1)

    g = wrap(power)
    return calls(g, (x(), 0), (x(), 3), (x(), 5))


@case
def mutual_recursion_with_state(wrap):
    log = []

    def even(t, n):
        log.append(n)
        return t if n == 0 else odd(t + 1, n - 1)

    def odd(t, n):
        return t if n == 0 else even(t * 2, n - 1)

    g = wrap(even)
    return [*calls(g, (x(), 4), (x(), 3)), log]


@case
def walrus(wrap):
    def f(t, ns):
        if (n := len(ns)) > 1:
            t = t * n
        return [y := t, y + 1, *(z for k in ns if (z := k * 2) > 2)]

    g = wrap(f)
    return calls(g, (x(), [1]), (x(), [1, 2]), (x(), [2, 3]))


@case
def matching(wrap):
    def f(t, v):
        match v:
            case {"k": int(n), **rest}:
                return t * n + len(rest)
            case [a, *more]:
                return t + a + len(more)
            case str() as s if len(s) > 2:
                return t - len(s)
            case None | False:
                return t
            case _:
                return t * 0

    g = wrap(f)
    vs = ({"k": 2}, {"k": 3, "j": 1}, [1, 2], "abc", "a", None, 3.5)
    return calls(g, *((x(), v) for v in vs))


@case
def operators_by_name(wrap):
    ops = {"+": operator.add, "*": operator.mul}
    g = wrap(lambda t, s: ops[s](t, 3))
    out = calls(g, (x(), "+"), (x(), "*"))
    ops["+"] = operator.sub
    return out + calls(g, (x(), "+"))


@case
def globals_made_later(wrap):
    space = {"__builtins__": __builtins__, "torch": torch}
    exec("def f(t):\n    try:\n        return t * later\n    except NameError:\n        return t", space)
    g = wrap(space["f"])
    out = calls(g, (x(),))
    space["later"] = 3
    out += calls(g, (x(),))
    del space["later"]
    return out + calls(g, (x(),))


@case
def builtins_shadowed(wrap):
    space = {"__builtins__": __builtins__}
    exec("def f(t):\n    return t * len([1, 2])", space)
    g = wrap(space["f"])
    out = calls(g, (x(),))
    space["len"] = lambda a: 100
    return out + calls(g, (x(),))


@whole
def functions_that_go_by_an_operators_name(wrap):
    seen = []

    @functools.wraps(torch.add)
    def noted(a, b):
        seen.append(len(seen))
        return torch.add(a, b) * 2

    f = wrap(lambda t: noted(t, t))
    out = [freeze(f(x(3, i))) for i in range(3)]
    g = wrap(noted)
    return [*out, *(freeze(g(x(3, i), x())) for i in range(3))], seen
