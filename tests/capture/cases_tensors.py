"""Tensors: sizes, dtypes, strides, gradients, views, in-place writes, aliasing; results that are inputs."""

import flambeau as torch
from tests.capture.world import calls, case, freeze, twice, whole, x


@whole
def sizes(wrap):
    f = wrap(lambda t: t.sum() / t.shape[0] + len(t))
    return [f(x(n)) for n in (3, 4, 3, 5, 1)]


@whole
def ranks(wrap):
    f = wrap(lambda t: t.sum(-1) if t.dim() > 1 else t * 2)
    return [f(x(4)), f(x(4).reshape(2, 2)), f(x(4))]


@whole
def dtypes(wrap):
    f = wrap(lambda t: t * 2 if t.dtype is torch.float32 else t + 1)
    return [f(x()), f(x().double()), f(x().long()), f(x())]


@whole
def strides(wrap):
    f = wrap(lambda t: (t.is_contiguous() and t) or t.contiguous()) if False else wrap(lambda t: (t * 2, t.stride()))
    t = x(6).reshape(2, 3)
    return [f(t), f(t.t()), f(t[:, ::2]), f(t)]


@whole
def zero_size(wrap):
    f = wrap(lambda t: (t * 2).sum() + t.numel())
    return [f(x(0)), f(x(3)), f(x(0))]


@whole
def needs_gradient(wrap):
    f = wrap(lambda t: t * 2 if t.requires_grad else t * 3)
    t = x()
    out = [f(t)]
    t.requires_grad_()
    out.append(f(t))
    return out


@whole
def input_written(wrap):
    def f(t):
        t.add_(1)
        t.mul_(2)
        return t + 1

    f, t = wrap(f), x()
    return [freeze(f(t)), freeze(f(t))], t


@whole
def input_returned(wrap):
    f, t = wrap(lambda t: t.add_(1)), x()
    a = f(t)
    b = f(t)
    return a is t, b is t, t


@whole
def same_tensor_twice(wrap):
    def f(a, b):
        a.add_(1)
        return a * b

    f, t = wrap(f), x()
    out = [f(x(), x()), f(t, t), f(x(), x(3, 2))]
    return out, t


@whole
def overlapping_inputs(wrap):
    def f(a, b):
        a.mul_(2)
        return b + 1

    f = wrap(f)
    out = [f(x(), x())]
    t = x(4)
    out.append(f(t[:3], t[1:]))
    return out, t


@whole
def view_of_input_written(wrap):
    def f(t):
        t[0] = 5.0
        t[1:].mul_(2)
        v = t.view(-1)
        v[2] = -1.0
        return t * 1

    f, t = wrap(f), x(4)
    return [freeze(f(t)), freeze(f(t))], t


@whole
def view_returned(wrap):
    f, t = wrap(lambda t: t[1:]), x(4)
    f(t)
    v = f(t)
    v.add_(10)
    return t, v._is_view()


@whole
def view_of_view(wrap):
    f = wrap(lambda t: t.reshape(2, 3).t()[1:].flatten() * 2)
    return [f(x(6)), f(x(6, 1))]


@whole
def indexing(wrap):
    def f(t, i, s):
        return t[i], t[s], t[None], t[..., 0], t[:, None, 1], t[torch.tensor([1, 0])], t[[0, 1]], t[-1, -1]

    f, t = wrap(f), x(6).reshape(2, 3)
    return [f(t, 0, slice(0, 1)), f(t, 1, slice(1, 2)), f(t, 0, slice(None))]


@whole
def assignment(wrap):
    def f(t):
        u = torch.zeros(3, 3)
        u[0] = t
        u[1, 1] = 7.0
        u[:, 2] = t * 2
        return u

    return twice(wrap(f), x())


@case
def mask_selection(wrap):
    return [wrap(lambda t: t[t > 0] * 2)(x(5)), wrap(lambda t: t[t > 1] * 2)(x(5))]


@case
def mask_assignment(wrap):
    def f(t):
        u = t.clone()
        u[u < 0] = 0.0
        return u

    return twice(wrap(f), x())


@whole
def where_instead(wrap):
    return twice(wrap(lambda t: torch.where(t > 0, t * 2, t - 1)), x())


@case
def branch_on_data(wrap):
    def f(t):
        u = t * 2
        if u.sum() > 0:
            return u + 1
        return u - 1

    f = wrap(f)
    return [f(x()), f(x(3, 5)), f(x()), f(x(3, 5)), f(x(3, -5))]


@case
def item_inside(wrap):
    def f(t):
        n = t.sum().item()
        return t * n, n

    f = wrap(f)
    return [f(x()), f(x(3, 5)), f(x(3, 6))]


@case
def item_then_loop(wrap):
    def f(t, n):
        total = 0.0
        for i in range(n):
            t = t * 2 + i
            total += t.sum().item()
        return t, total

    f = wrap(f)
    return [f(x(), 3), f(x(3, 1), 3), f(x(), 5)]


@case
def while_on_data(wrap):
    def f(t):
        n = 0
        while t.abs().max() > 0.1:
            t = t / 2
            n += 1
        return t, n

    f = wrap(f)
    return [f(x()), f(x(3, 5)), f(x())]


@case
def data_in_python(wrap):
    def f(t):
        xs = t.tolist()
        return t + max(xs), [v * 2 for v in xs], float(t[0]), int(t[1]), bool(t[2] > 0)

    f = wrap(f)
    return [f(x()), f(x(3, 1))]


@case
def numpy_inside(wrap):
    def f(t):
        a = (t * 2).numpy()
        return torch.from_numpy(a + 1) * 3

    return [wrap(f)(x()), wrap(f)(x(3, 1))]


@case
def size_from_data(wrap):
    f = wrap(lambda t: torch.nonzero(t > 0).shape[0] * t)
    return [f(x()), f(x(3, 5)), f(x())]


@case
def constant_tensors(wrap):
    def f(t):
        c = torch.tensor([1.0, 2.0, 3.0])
        c += 1
        return t * c, torch.tensor(2.0) * t, torch.ones(3) + torch.arange(3)

    f = wrap(f)
    a = f(x())
    a[0].add_(100)
    return [a, f(x()), f(x())]


@whole
def new_tensor_each_call(wrap):
    f = wrap(lambda t: torch.zeros(3))
    a = f(x())
    b = f(x())
    a.add_(1)
    return a, b, f(x())


@whole
def grads_of_inputs(wrap):
    f = wrap(lambda a, b: (a * b).sum() + a.sin().sum())
    out = []
    for i in range(3):
        a, b = x().requires_grad_(), x(3, i).requires_grad_(i != 1)
        f(a, b).backward()
        out += [a.grad, b.grad]
    return out


@whole
def no_grad_inside(wrap):
    def f(a):
        with torch.no_grad():
            scale = a * 2
        return (a * scale).sum()

    f = wrap(f)
    a = x().requires_grad_()
    f(a).backward()
    f(a).backward()
    return a.grad


@whole
def detach_inside(wrap):
    f = wrap(lambda a: (a * a.detach()).sum() + (a.data * 3).sum())
    a = x().requires_grad_()
    f(a).backward()
    f(a).backward()
    return a.grad


@whole
def result_needs_no_gradient(wrap):
    f = wrap(lambda a: (a.detach() * 2, a * 2, a > 0))
    a = x().requires_grad_()
    out = f(a), f(a)
    return [[t.requires_grad for t in o] for o in out]


@whole
def history_from_outside(wrap):
    f = wrap(lambda t: t * 3)
    a = x().requires_grad_()
    for _ in range(2):
        f(a * 2).sum().backward()
    return a.grad


@case
def backward_into_outside(wrap):
    f = wrap(lambda t: t.sum().backward())
    a = x().requires_grad_()
    for _ in range(2):
        f(a * 2)
    return a.grad


@whole
def grad_of_input_inside(wrap):
    def f(a):
        (g,) = torch.autograd.grad((a**2).sum(), a)
        return g

    f = wrap(f)
    a = x().requires_grad_()
    return [f(a), f(a), a.grad]


@whole
def hook_inside(wrap):
    def f(t):
        t = t.detach().requires_grad_()
        y = t * 2
        y.register_hook(lambda g: g * 10)
        y.sum().backward()
        return t.grad

    return twice(wrap(f), x())


@whole
def out_argument(wrap):
    def f(t, o):
        torch.add(t, 1, out=o)
        return o * 2

    f, o = wrap(f), torch.zeros(3)
    return twice(f, x(), o), o


@whole
def loss_returned(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        w.grad = None
        loss = (w * t).sum()
        loss.backward()
        return loss

    f = wrap(f)
    a, b = f(x()), f(x())
    return a.detach(), a.requires_grad, b.is_leaf, w.grad


@case
def second_backward_fails(wrap):
    w = torch.ones(3, requires_grad=True)

    def f(t):
        loss = (w * t).exp().sum()
        loss.backward()
        return loss

    f = wrap(f)
    out = []
    for _ in range(2):
        try:
            f(x()).backward()
        except RuntimeError as e:
            out.append("second time" in str(e))
    return out


@case
def errors_are_eager_ones(wrap):
    f = wrap(lambda a, b: a @ b)
    out = [f(x(3), x(3))]
    for _ in range(2):
        try:
            f(torch.ones(2, 3), torch.ones(2, 3))
        except RuntimeError as e:
            out.append(str(e))
    return [*out, f(x(3), x(3))]


@case
def effects_before_an_error(wrap):
    log = []

    def f(t):
        log.append(1)
        t.add_(1)
        raise ValueError("no")

    f, t = wrap(f), x()
    for _ in range(2):
        try:
            f(t)
        except ValueError as e:
            log.append(str(e))
    return log, t


@whole
def error_caught_inside(wrap):
    def f(a, b):
        try:
            return a @ b
        except RuntimeError:
            return a.sum() + b.sum()

    f = wrap(f)
    return [f(x(3), x(3)), f(torch.ones(2, 3), torch.ones(2, 3)), f(x(3), x(3))]


@case
def subclass(wrap):
    class Mine(torch.Tensor):
        pass

    f = wrap(lambda t: t * 2)
    a, m = x(), x().as_subclass(Mine)
    return [type(f(t)).__name__ for t in (a, m, a, m)]


@case
def torch_function(wrap):
    class Mine(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return "mine"

    f = wrap(lambda t: torch.sin(t))
    a = x()
    return [f(a), f(a.as_subclass(Mine)), f(a)]


@case
def attribute_of_a_tensor(wrap):
    t = x()
    t.scale = 2.0
    f = wrap(lambda t: t * t.scale)
    out = twice(f, t)
    t.scale = 3.0
    return out + twice(f, t)


@whole
def promotion(wrap):
    f = wrap(lambda a, b: a + b)
    n = torch.arange(3)
    return [f(x(), n), f(n, 1), f(n, 1.5), f(n, n > 1), f(x(), torch.tensor(1.0, dtype=torch.float64))]


@whole
def several_results(wrap):
    def f(t):
        v, i = t.max(0)
        r = torch.sort(t, descending=True)
        return v, i, r.values, r.indices, *t.split(2), t.unbind(0)[1]

    return twice(wrap(f), x(5))


@whole
def einsum_and_friends(wrap):
    def f(a, b):
        return (
            torch.einsum("ij,jk->ik", a, b),
            torch.cat([a, a]),
            torch.stack([a, a], 1),
            a.flatten(),
            torch.chunk(b, 2),
        )

    return twice(wrap(f), x(6).reshape(2, 3), x(6).reshape(3, 2))


@whole
def inplace_activation(wrap):
    w = torch.ones(3, requires_grad=True)
    f = wrap(lambda t: torch.relu_(w * t).sum())
    f(x()).backward()
    f(x()).backward()
    return w.grad


@whole
def integers_that_are_drawn(wrap):
    def f(t):
        torch.randint(0, 5, t.shape)  # nobody uses it, and yet the next numbers are others
        return torch.randint(0, 50, t.shape), torch.randperm(t.shape[0]), t.clone().random_(0, 9)

    f = wrap(f)
    return [freeze(f(x(n))) for n in (3, 3, 5, 6, 3)], torch.rand(2)


@whole
def divisions_that_do_not_round(wrap):
    f = wrap(lambda a, b: (a.div(b, rounding_mode=None), torch.div(a, 3, rounding_mode=None)))
    return calls(f, (x(40), x(40, 7)), (x(5), x(5, 7)))


@whole
def overloads_with_arguments_of_their_own(wrap):
    def f(t):
        m = t > 0
        b = t.clone().unsqueeze(0).unsqueeze(-1)
        c = b.squeeze(0)
        b.squeeze_(-1)
        at = (t * 0).long()
        return (
            m.any(0, keepdim=True), m.all(-1, True), m.any((0, 1), keepdim=True), m.any(), b.squeeze((0, 1)), c, b, t.squeeze(),
            *t.sort(dim=0, stable=True), *t.sort(descending=True), *torch.sort(t, dim=0, descending=True, stable=True),
            t.scatter(0, at, t, reduce="add"), t.scatter(1, at, 2.0), t.view(torch.int32),
        )  # fmt: skip

    f = wrap(f)
    return [freeze(f(torch.stack([x(3, i), x(3, 1)]))) for i in range(3)] + [
        freeze(f(torch.stack([x(4, i)] * 3))) for i in range(2)
    ]


@whole
def counted_up_to_nothing(wrap):
    f = wrap(lambda t: (torch.arange(0), torch.arange(t.shape[0]), t.outer(t).sum() + torch.arange(t.shape[0]).sum()))
    return [f(torch.ones(n)) for n in (0, 2, 0, 3)]
