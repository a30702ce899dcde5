"""`torch.func.grad`, `vjp` and what is made of them, inside captured functions."""

import flambeau as torch
from flambeau import func, nn
from tests.capture.world import case, freeze, near, whole, x


@near
@whole
def gradients(wrap):
    def f(t, s):
        g, (value, more) = func.grad_and_value(lambda a: ((a**3 * s).sum(), a * 2), has_aux=True)(t)
        pair = func.grad(lambda a, b: (a * b.exp()).sum(), argnums=(0, 1))(t, s)
        return g, value, more, pair, func.grad(lambda a: s.sum())(t)

    f = wrap(f)
    return [freeze(f(x(3, i), x(3, 1 + i))) for i in range(3)]


@near
@whole
def gradients_of_gradients(wrap):
    def f(t):
        second = func.grad(lambda a: func.grad(lambda b: (b**3).sum())(a).sum())(t)
        mixed = func.grad(lambda a: func.grad(lambda b: (b**2 * a).sum())(a * 2).sum())(t)
        outer = func.grad(lambda a: func.grad(lambda b: (b * a**2).sum())(torch.ones(3)).sum())(t)
        return second, mixed, outer

    f = wrap(f)
    return [freeze(f(x(3, i))) for i in range(3)]


@near
@whole
def products_with_jacobians(wrap):
    def f(t, v):
        out, pull = func.vjp(lambda a: (a.sin() * 2, {"b": a.exp()}), t)
        return out, pull((v, {"b": v * 2})), pull((v * 3, {"b": v}))

    f = wrap(f)
    return [freeze(f(x(3, i), x(3, 1 + i))) for i in range(2)]


@near
@whole
def steps_without_optimizers(wrap):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    values = {k: v.detach().clone() for k, v in model.named_parameters()}

    def loss(values, t):
        return func.functional_call(model, values, (t,)).pow(2).mean()

    def step(t):
        g, value = func.grad_and_value(loss)(values, t)
        for k, v in values.items():
            v.sub_(g[k] * 0.1)
        return value

    step = wrap(step)
    return [freeze(step(torch.stack([x(3, i), x(3, 2)]))) for i in range(4)], freeze(values)


@near
@whole
def history_that_lies_behind(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        g = func.grad(lambda a: (a**2 * w).sum())(t)
        with torch.no_grad():
            none = func.grad(lambda a: (a**2 * w).sum())(t)
        own = func.grad(lambda a: (a**3).sum())(w)
        return g, none, own, g.detach()

    f, out = wrap(f), []
    for i in range(2):
        g, none, own, _ = f(x(3, i))
        w.grad = None
        (g.sum() + own.sum()).backward()
        out.append((freeze(g), freeze(none), freeze(own), freeze(w.grad)))
    return out


@near
@whole
def a_pass_through_what_a_transform_gave(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        w.grad = None
        (func.grad(lambda a: (a**3 * w).sum())(t) * w).sum().backward()
        return w.grad * 1

    f = wrap(f)
    return [freeze(f(x(3, i))) for i in range(2)]


@case
def variables_that_leave(wrap):
    def f(t):
        def g(a):
            kept.append(a * 2)
            return (a**2).sum()

        return func.grad(g)(t)

    kept: list = []
    f = wrap(f)
    return [freeze(f(x(3, i))) for i in range(2)], [(k.requires_grad, k.is_leaf, k.tolist()) for k in kept]


@case
def breaks_inside(wrap):
    def f(t):
        def g(a):
            print(end="")
            return (a**2).sum()

        return func.grad(g)(t * 2) + 1

    f = wrap(f)
    return [freeze(f(x(3, i))) for i in range(2)]


@case
def mistakes(wrap):
    out = []
    for g in (lambda a: a, lambda a: 1.0, lambda a: (a.sum(), 2)):
        f = wrap(lambda t, g=g: func.grad(g)(t))
        for _ in range(2):
            try:
                f(x(3))
            except RuntimeError as e:
                out.append(str(e))
    return out
