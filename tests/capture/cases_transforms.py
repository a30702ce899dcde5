"""`torch.func`'s transforms inside captured functions."""

import flambeau as torch
from flambeau import func, nn
from tests.capture.world import case, freeze, near, rows, whole, x


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


@near
@whole
def batches(wrap):
    w = x(3, 2)

    def f(t, u):
        a = torch.vmap(torch.dot)(t, u)
        b = torch.vmap(lambda r: (r * w).softmax(0))(t)
        c = torch.vmap(lambda r, s: r @ s, in_dims=(0, None), out_dims=1)(t, u.T)
        d = torch.vmap(torch.vmap(lambda p, q: p * q + 1), in_dims=(1, 1), out_dims=1)(t, u)
        e = torch.vmap(lambda r: torch.where(r > 0, r, r * 2)[1:], chunk_size=3)(t)
        return a, b, c, d, e, torch.vmap(lambda r: w * 2)(t)

    f = wrap(f)
    return [freeze(f(rows(4, i), rows(4, 1))) for i in range(3)] + [freeze(f(rows(2), rows(2, 1)))]


@near
@whole
def gradients_of_samples(wrap):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1))
    values = {k: v.detach().clone() for k, v in model.named_parameters()}

    def loss(values, t, y):
        return func.functional_call(model, values, (t.unsqueeze(0),)).sub(y).pow(2).mean()

    def step(t, y):
        each = torch.vmap(func.grad(loss), in_dims=(None, 0, 0))(values, t, y)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in each.values()]).norm(dim=0)
        scale = (1.0 / (norms + 1e-6)).clamp(max=1.0)
        for k, g in each.items():
            values[k].sub_(0.1 * torch.einsum("n,n...->...", scale, g))
        return norms

    step = wrap(step)
    return [freeze(step(rows(4, i), x(4))) for i in range(4)], freeze(values)


@near
@whole
def ensembles(wrap):
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(3)]
    params, buffers = func.stack_module_state(models)
    base = models[0]

    def f(t):
        return torch.vmap(lambda p, b, r: func.functional_call(base, (p, b), (r,)), in_dims=(0, 0, None))(
            params, buffers, t
        )

    f, out = wrap(f), []
    for i in range(3):
        made = f(rows(4, i))
        made.pow(2).sum().backward()
        out.append((freeze(made), [freeze(p.grad) for p in params.values()]))
    return out


@near
@whole
def tangents(wrap):
    def f(t, v):
        out, moved = func.jvp(lambda a: a.sin() * a, (t,), (v,))
        second = func.jvp(lambda a: func.jvp(torch.exp, (a,), (v,))[1], (t,), (v,))
        both = func.jvp(func.grad(lambda a: (a**3).sum()), (t,), (v,))
        return out, moved, second, both

    f = wrap(f)
    return [freeze(f(x(3, i), x(3, 1))) for i in range(3)]


@near
@whole
def jacobians(wrap):
    def f(t):
        g = lambda a: (a[:2] * a[1:]).exp()
        return func.jacrev(g)(t), func.jacfwd(g)(t), func.hessian(lambda a: (a**3).sum())(t)

    f = wrap(f)
    return [freeze(f(x(3, i) * 0.25)) for i in range(3)]


@case
def batches_with_random_numbers(wrap):
    def f(t):
        a = torch.vmap(lambda r: r + torch.rand(3), randomness="different")(t)
        b = torch.vmap(lambda r: r + torch.rand(3), randomness="same")(t)
        return a, b, torch.vmap(lambda r: nn.functional.dropout(r, 0.5), randomness="different")(t)

    f = wrap(f)
    return [freeze(f(rows(4, i))) for i in range(3)], torch.rand(2)


@case
def batches_that_break(wrap):
    said = []

    def f(t):
        def g(r):
            said.append(len(said))
            print(end="")
            return r * 2

        return torch.vmap(g)(t) + 1

    f = wrap(f)
    return [freeze(f(rows(4, i))) for i in range(3)], said


@case
def batches_that_fail(wrap):
    out = []
    for g in (
        lambda t: torch.vmap(lambda r: r if r.sum() > 0 else -r)(t),
        lambda t: torch.vmap(lambda r: r + torch.rand(3))(t),
        lambda t: torch.vmap(lambda r: 1.0)(t),
        lambda t: torch.vmap(lambda r: r.item())(t[:, 0]),
        lambda t: func.jvp(lambda a: a, (t,), (t[0],)),
        lambda t: torch.vmap(lambda r, s: r + s)(t, t[:2]),
    ):
        f = wrap(g)
        for _ in range(2):
            try:
                out.append(freeze(f(rows())))
            except (RuntimeError, ValueError) as e:
                out.append((type(e).__name__, str(e)))
    return out


@case
def batches_written_within(wrap):
    def f(t, u):
        def g(r, s):
            made = r.clone()
            made[0] = s[1]
            made.mul_(2)
            s += 1
            return made

        return torch.vmap(g)(t, u)

    f, out = wrap(f), []
    for i in range(3):
        t, u = rows(4, i), rows(4, 1)
        out.append((freeze(f(t, u)), freeze(t), freeze(u)))
    return out


@case
def batches_that_leave(wrap):
    kept = []

    def f(t):
        return torch.vmap(lambda r: kept.append(r.shape) or r * 2)(t)

    f = wrap(f)
    return [freeze(f(rows(4, i))) for i in range(2)], kept
