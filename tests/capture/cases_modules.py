"""Modules: parameters, buffers, children, hooks, train and eval, changed between calls."""

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F
from tests.capture.world import case, twice, whole, x


def net(*extra):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), *extra)


def batch(n=5):
    return torch.linspace(-1, 1, n * 3).reshape(n, 3)


@whole
def linear(wrap):
    m = nn.Linear(3, 2)
    return twice(wrap(m), batch())


@whole
def parameter_replaced(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    m[0].weight = nn.Parameter(torch.ones(4, 3))
    out += twice(f, batch())
    m[0].weight.data = torch.zeros(4, 3)
    return out + twice(f, batch())


@whole
def parameter_written(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    with torch.no_grad():
        m[0].weight.mul_(2)
    return out + twice(f, batch())


@whole
def parameter_frozen(wrap):
    m = net()
    f = wrap(m)
    out = [f(batch()).requires_grad]
    for p in m.parameters():
        p.requires_grad_(False)
    out.append(f(batch()).requires_grad)
    m[2].weight.requires_grad_(True)
    return [*out, f(batch()).requires_grad]


@whole
def child_replaced(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    m[1] = nn.Tanh()
    out += twice(f, batch())
    m.append(nn.Sigmoid())
    out += twice(f, batch())
    del m[3]
    return out + twice(f, batch())


@whole
def train_and_eval(wrap):
    m = net(nn.BatchNorm1d(2))
    f = wrap(m)
    out = twice(f, batch())
    m.eval()
    out += twice(f, batch())
    m.train()
    return out + twice(f, batch()), [b.clone() for b in m.buffers()]


@case
def batch_norm_momentum(wrap):
    m = nn.BatchNorm1d(3)
    f = wrap(m)
    out = twice(f, batch())
    m.momentum = 0.5
    out += twice(f, batch())
    m.momentum = None
    return out + twice(f, batch()), list(m.buffers())


@whole
def buffer_replaced(wrap):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("b", torch.ones(3))

        def forward(self, t):
            self.b = self.b * 2
            return t + self.b

    m = M()
    f = wrap(m)
    out = twice(f, x())
    m.b = torch.zeros(3)
    return out + twice(f, x()), m.b


@whole
def buffer_counts(wrap):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", torch.zeros(()))

        def forward(self, t):
            self.n += 1
            return t * self.n

    m = M()
    f = wrap(m)
    return [f(x()) for _ in range(5)], m.n


@whole
def python_counter(wrap):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = 0

        def forward(self, t):
            self.n += 1
            return t * self.n

    m = M()
    f = wrap(m)
    return [f(x()) for _ in range(12)], m.n


@case
def forward_hook(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    handle = m[0].register_forward_hook(lambda mod, args, result: result * 2)
    out += twice(f, batch())
    handle.remove()
    return out + twice(f, batch())


@case
def forward_pre_hook(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    seen = []
    handle = m[2].register_forward_pre_hook(lambda mod, args: seen.append(1) or (args[0] + 1,))
    out += twice(f, batch())
    handle.remove()
    return out + twice(f, batch()), seen


@case
def global_hook(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    handle = nn.modules.module.register_module_forward_hook(lambda mod, args, result: result + 1)
    try:
        out += twice(f, batch())
    finally:
        handle.remove()
    return out + twice(f, batch())


@case
def backward_hook(wrap):
    m = net()
    seen = []

    def step(t):
        loss = m(t.detach().requires_grad_()).sum()
        loss.backward()
        return loss.detach()

    f = wrap(step)
    out = twice(f, batch())
    m[0].register_full_backward_hook(lambda mod, gi, go: seen.append(go[0].sum().item()))
    out += twice(f, batch())
    return out, seen, m[0].weight.grad


@case
def parameter_hook(wrap):
    m = net()

    def step(t):
        m.zero_grad()
        loss = m(t).sum()
        loss.backward()
        return loss.detach()

    f = wrap(step)
    out = twice(f, batch())
    handle = m[0].weight.register_hook(lambda g: g * 10)
    out += twice(f, batch())
    out.append(m[0].weight.grad.clone())
    handle.remove()
    out += twice(f, batch())
    return out, m[0].weight.grad


@case
def post_accumulate_hook(wrap):
    m = net()
    seen = []

    def step(t):
        m.zero_grad()
        loss = m(t).sum()
        loss.backward()
        return loss.detach()

    f = wrap(step)
    out = twice(f, batch())
    m[0].weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.sum().item()))
    return out + twice(f, batch()), seen


@whole
def dropout(wrap):
    m = net(nn.Dropout(0.5))
    f = wrap(m)
    torch.manual_seed(3)
    out = twice(f, batch())
    m.eval()
    out += twice(f, batch())
    m.train()
    out += twice(f, batch())
    m[3].p = 0.25
    return out + twice(f, batch()), torch.rand(2)


@whole
def random_streams(wrap):
    def f(t):
        return (
            t + torch.randn(3),
            torch.rand(2),
            torch.randint(0, 9, (4,)),
            torch.randperm(5),
            torch.empty(3).uniform_(),
        )

    f = wrap(f)
    torch.manual_seed(7)
    out = [f(x()) for _ in range(3)]
    torch.manual_seed(7)
    return out, f(x()), torch.rand(3)


@case
def seeding_inside(wrap):
    def f(t):
        torch.manual_seed(5)
        return t + torch.rand(3)

    f = wrap(f)
    return twice(f, x()), torch.rand(2)


@whole
def module_list(wrap):
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))

    def f(t):
        for i, layer in enumerate(layers):
            t = layer(t) + i
        return t, len(layers)

    f = wrap(f)
    out = twice(f, batch())
    layers.append(nn.Linear(3, 3, bias=False))
    out += twice(f, batch())
    layers[0] = nn.Identity()
    return out + twice(f, batch())


@whole
def module_dict(wrap):
    torch.manual_seed(0)
    layers = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    f = wrap(lambda t, k: layers[k](t))
    return [f(batch(), k) for k in ("a", "b", "a")]


@whole
def parameter_list(wrap):
    ps = nn.ParameterList([torch.ones(3), torch.ones(3) * 2])
    f = wrap(lambda t: sum(t * p for p in ps))
    out = twice(f, x())
    ps.append(torch.ones(3))
    return out + twice(f, x())


@whole
def one_function_many_modules(wrap):
    torch.manual_seed(0)
    blocks = [nn.Linear(3, 3) for _ in range(12)]
    f = wrap(lambda m, t: m(t).relu())
    return [f(b, batch()) for b in blocks]


@whole
def shared_module(wrap):
    torch.manual_seed(0)
    a = nn.Linear(3, 3)
    m = nn.Sequential(a, nn.ReLU(), a)
    f = wrap(m)
    out = twice(f, batch())
    m[2] = nn.Linear(3, 3)
    return out + twice(f, batch())


@whole
def tied_parameters(wrap):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    m[1].weight = m[0].weight

    def step(t):
        m.zero_grad()
        m(t).sum().backward()
        return m[0].weight.grad.clone()

    f = wrap(step)
    out = [f(batch()), f(batch())]
    m[1].weight = nn.Parameter(m[0].weight.detach().clone())
    return [o.shape for o in out], f(batch()).shape, (m[1].weight.grad is not None)


@whole
def forward_patched(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    m[1].forward = lambda t: t * 3
    out += twice(f, batch())
    del m[1].forward
    return out + twice(f, batch())


@whole
def forward_patched_on_class(wrap):
    class Act(nn.Module):
        def forward(self, t):
            return t + 1

    m = nn.Sequential(nn.Linear(3, 3), Act())
    f = wrap(m)
    out = twice(f, batch())
    Act.forward = lambda self, t: t * 2
    return out + twice(f, batch())


@whole
def load_state_dict(wrap):
    m, other = net(), net()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1)
    f = wrap(m)
    out = twice(f, batch())
    m.load_state_dict(other.state_dict())
    return out + twice(f, batch())


@whole
def to_double(wrap):
    m = net()
    f = wrap(m)
    out = twice(f, batch())
    m.double()
    return out + twice(f, batch().double())


@whole
def gradients_through(wrap):
    m = net()
    f = wrap(m)
    out = []
    for _ in range(3):
        m.zero_grad()
        t = batch().requires_grad_()
        loss = f(t).pow(2).sum()
        loss.backward()
        out += [loss.detach(), t.grad, *(p.grad.clone() for p in m.parameters())]
    return out


@whole
def gradients_accumulate(wrap):
    m = net()

    def step(t):
        loss = m(t).pow(2).mean()
        loss.backward()
        return loss.detach()

    f = wrap(step)
    [f(batch()) for _ in range(4)]
    return [p.grad.shape for p in m.parameters()]


@whole
def grad_set_from_outside(wrap):
    m = nn.Linear(3, 2)

    def f(t):
        return None if m.weight.grad is None else t * m.weight.grad.sum()

    f = wrap(f)
    out = [f(x())]
    m.weight.grad = torch.ones(2, 3)
    out += [f(x()), f(x())]
    m.weight.grad = None
    return [*out, f(x())]


@whole
def learning_rate_changes(wrap):
    torch.manual_seed(0)
    m = nn.Linear(3, 1)
    o = torch.optim.SGD(m.parameters(), lr=0.1)

    def step(t):
        o.zero_grad()
        loss = m(t).pow(2).mean()
        loss.backward()
        o.step()
        return loss.detach()

    f = wrap(step)
    out = []
    for i in range(12):
        o.param_groups[0]["lr"] = 0.1 / (i + 1)
        out.append(f(batch()).shape)
    return out, len(getattr(getattr(f, "_captures", None), "segments", {None: 0})) == 1


@whole
def group_added(wrap):
    torch.manual_seed(0)
    m = net()
    o = torch.optim.SGD(m[0].parameters(), lr=0.1)

    def step(t):
        o.zero_grad()
        loss = m(t).pow(2).mean()
        loss.backward()
        o.step()
        return m[2].weight.detach().clone().shape

    f = wrap(step)
    out = [f(batch()), f(batch())]
    o.add_param_group({"params": list(m[2].parameters()), "lr": 0.5})
    return [*out, f(batch()), f(batch())], len(o.param_groups)


@case
def custom_function_with_hooked_result(wrap):
    f = wrap(lambda t: _hooked(t * 2))
    t = x().requires_grad_()
    f(t).sum().backward()
    f(t).sum().backward()
    return t.grad


def _hooked(y):
    y.register_hook(lambda g: g * 10)
    return y * 3


@whole
def custom_function(wrap):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, t, k):
            ctx.save_for_backward(t)
            ctx.k = k
            return t * k

        @staticmethod
        def backward(ctx, g):
            (t,) = ctx.saved_tensors
            return g * ctx.k * 100 + t, None

    def f(t):
        t = t.detach().requires_grad_()
        Double.apply(t, 2.0).sum().backward()
        return t.grad

    return twice(wrap(f), x())


@case
def custom_function_outside(wrap):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, t):
            return t * 2

        @staticmethod
        def backward(ctx, g):
            return g * 100

    f = wrap(lambda t: Double.apply(t))
    t = x().requires_grad_()
    f(t).sum().backward()
    f(t).sum().backward()
    return t.grad


@whole
def higher_order(wrap):
    def f(t):
        t = t.detach().requires_grad_()
        (g,) = torch.autograd.grad((t**3).sum(), t, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), t)
        return g.detach(), h

    return twice(wrap(f), x())


@whole
def clipping(wrap):
    torch.manual_seed(0)
    m = net()

    def step(t):
        m.zero_grad()
        loss = m(t).pow(2).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(m.parameters(), 0.5)
        return loss.detach()

    f = wrap(step)
    return [f(batch()), f(batch())], m[0].weight.grad.shape


@whole
def inner_module_call(wrap):
    m = net()
    f = wrap(lambda t: F.softmax(m(t), dim=-1).log())
    out = twice(f, batch())
    out += twice(f, batch(4))
    return out


@whole
def compiled_inside_compiled(wrap):
    inner = wrap(lambda t: t * 2)
    f = wrap(lambda t: inner(t) + 1)
    return twice(f, x())
