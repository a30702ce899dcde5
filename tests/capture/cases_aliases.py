"""Tensors that share memory, change their layout, type or attributes; results that are inputs."""

import warnings

import flambeau as torch
from tests.capture.world import calls, case, freeze, x


@case
def inputs_that_alias(wrap):
    def f(a, b):
        a.add_(1)
        return a + b

    g = wrap(f)
    p, q = x(), x()
    out = [freeze(g(p, q)), freeze(g(p, p)), freeze(g(p, q)), freeze(g(p[:2], p[1:])), freeze(g(q, p))]
    return [*out, freeze(p), freeze(q)]


@case
def writes_through_views(wrap):
    def f(t):
        v = t.view(2, 3)
        v[0].mul_(2)
        v.t()[1] += 5
        t[-1] = 0
        return v.sum(0)

    g = wrap(f)
    p = x(6)
    return [*calls(g, (p,), (p,)), freeze(p)]


@case
def strides_and_offsets_change(wrap):
    g = wrap(lambda t: t.reshape(-1) * 2)
    base = x(12).view(3, 4)
    return calls(g, (base,), (base.t(),), (base[:, ::2],), (base[1:],), (base.expand(2, 3, 4),))


@case
def types_of_tensors_change(wrap):
    g = wrap(lambda t: (t + 1) / 2)
    return calls(g, (x(),), (x().double(),), (torch.arange(3),), (x().bool(),), (torch.tensor(2.0),), (x().half(),))


@case
def metadata_decides(wrap):
    g = wrap(lambda t: t * t.dim() + (1 if t.is_contiguous() else 2) + (10 if t.requires_grad else 20) + t.stride(-1))
    base = x(6).view(2, 3)
    out = [freeze(g(t).detach()) for t in (base, base.t(), base.clone().requires_grad_(), base[:, ::2])]
    return out


@case
def data_decides_in_loops(wrap):
    def f(t):
        n = 0
        while t.sum() < 20:
            t = t * 2 + 1
            n += 1
            if t.max().item() > 50:
                break
        return t, n

    g = wrap(f)
    return calls(g, (x(),), (x(3, 2),), (x(3, 30),))


@case
def subclasses_come_and_go(wrap):
    class Named(torch.Tensor):
        pass

    g = wrap(lambda t: type(t * 2).__name__)
    return [g(x()), g(x().as_subclass(Named)), g(x())]


@case
def gradients_accumulate(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        (w * t).sum().backward()
        return w.grad * 1

    g = wrap(f)
    out = calls(g, (x(),), (x(),))
    w.grad = None
    out += calls(g, (x(),))
    w.grad = torch.full((3,), 100.0)
    return out + calls(g, (x(),))


@case
def tensors_with_attributes(wrap):
    p = x()
    p.scale = 2
    g = wrap(lambda t: t * p.scale)
    out = calls(g, (x(),))
    p.scale = 5
    out += calls(g, (x(),))
    del p.scale
    try:
        g(x())
    except AttributeError as e:
        out.append(str(e))
    return out


@case
def versions_of_a_tensor(wrap):
    p = x()

    def f(t):
        p.copy_(t)
        q = p * 2
        p.zero_()
        return q + p

    g = wrap(f)
    return [*calls(g, (x(),), (x(3, 1),)), freeze(p), p._version]


@case
def results_are_inputs(wrap):
    def f(a, b):
        return a, [b, a], {"k": b.view(-1)}

    g = wrap(f)
    p, q = x(), x(3, 1)
    a, ls, d = g(p, q)
    return [a is p, ls[0] is q, ls[1] is a, d["k"].data_ptr() == q.data_ptr(), d["k"]._is_view()]


@case
def the_same_object_comes_out(wrap):
    held = []

    def f(t):
        y = t + 1
        held.append(y)
        return y, held[-1]

    g = wrap(f)
    a, b = g(x())
    c, d = g(x())
    return [a is b, c is d, a is c, held[0] is a, held[1] is c, len(held)]


@case
def versions_of_parts(wrap):
    f = wrap(lambda a, b: (b.mul_(2), a + b)[1])
    out = []
    for _ in range(3):
        base = torch.arange(8.0)
        a, b = base[:4], base[4:]
        out += [f(a, b), base, base._version, a._version, b._version]
    return out


@case
def writes_into_what_is_expanded(wrap):
    def f(t):
        t[t != 9] = 0.5
        return t.mean((-2, -1))

    f, out = wrap(f), []
    for n, m in ((9, 3), (9, 3), (10, 4), (9, 3)):
        whole = torch.ones(64 * m)
        part = whole[16 * m : 17 * m].expand(n, m)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out += [freeze(f(part)), freeze(whole)]
    return out


@case
def where_tensors_begin(wrap):
    g = wrap(
        lambda t: (
            t.storage_offset(),
            t[1:].storage_offset(),
            (t * 2)[2:].storage_offset(),
            t.as_strided((2,), (1,)) * 1,
        )
    )
    base, made = torch.arange(12.0), []
    for n in range(4):
        made += [g(base[n : n + 5]), g(base[n : n + 6]), g(base)]
    return made


@case
def versions_of_what_is_made(wrap):
    seen = []

    def f(t):
        a = (t * 2).add_(1)
        part = a[1:].mul_(3)
        seen.append((a._version, part._version))
        part.zero_()
        return a, part, torch.ones(3).add_(1), t.clone().t().neg_()

    g = wrap(f)
    return [[r._version for r in g(x(n))] for n in (3, 3, 4, 5)] + seen
