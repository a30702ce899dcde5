"""Modules whose hooks, children, buffers and forwards are replaced."""

import warnings

import flambeau as torch
from flambeau import nn
from tests.capture.world import calls, case, freeze, near, net, rows, whole, x


@case
def hooks_come_and_go(wrap):
    torch.manual_seed(0)
    m = nn.Linear(3, 3)
    g = wrap(lambda t: m(t).detach())
    out = calls(g, (x(),))
    seen = []
    one = m.register_forward_hook(lambda mod, a, o: o * 2)
    out += calls(g, (x(),))
    two = m.register_forward_pre_hook(lambda mod, a: (a[0] + 1,))
    out += calls(g, (x(),))
    one.remove()
    out += calls(g, (x(),))
    two.remove()
    three = m.register_forward_hook(lambda mod, a, o: seen.append(o.shape[0]))
    out += calls(g, (x(),), (x(),))
    three.remove()
    return [*out, *calls(g, (x(),)), seen]


@case
def hooks_of_gradients(wrap):
    seen = []

    def f(t):
        w = t.clone().requires_grad_()
        w.register_hook(lambda g: g * 3)
        (w * w).sum().backward()
        seen.append(1)
        return w.grad

    g = wrap(f)
    return [*calls(g, (x(),), (x(),)), seen]


@case
def modules_replaced_and_toggled(wrap):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.ReLU())
    g = wrap(lambda t: m(t).detach())
    m.eval()
    out = calls(g, (x(),))
    m[2] = nn.Tanh()
    out += calls(g, (x(),))
    m[0].weight = nn.Parameter(torch.ones(3, 3))
    out += calls(g, (x(),))
    m.append(nn.Sigmoid())
    out += calls(g, (x(),))
    m[0].bias.data.zero_()
    out += calls(g, (x(),))
    m.train()
    m[1].p = 0.0
    out += calls(g, (x(),))
    m[0].register_parameter("bias", None)
    return out + calls(g, (x(),))


@case
def buffers_replaced(wrap):
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("n", torch.zeros(()))
            self.seen = 0

        def forward(self, t):
            self.n += 1
            self.seen += 1
            return t * self.n

    m = M()
    g = wrap(m)
    out = calls(g, (x(),), (x(),))
    m.n = torch.tensor(10.0)
    out += calls(g, (x(),))
    m.load_state_dict({"n": torch.tensor(3.0)})
    return [*out, *calls(g, (x(),)), m.seen, freeze(m.n)]


@case
def forward_patched(wrap):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    g = wrap(lambda t: m(t).detach())
    out = calls(g, (x(),))
    old = m.forward
    m.forward = lambda t: old(t) * 10
    out += calls(g, (x(),))
    del m.forward
    return out + calls(g, (x(),))


@case
def shared_parameters_are_separated(wrap):
    torch.manual_seed(0)
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight

    def f(t):
        a.weight.data.add_(1)
        return b(t).detach()

    g = wrap(f)
    out = calls(g, (x(),))
    b.weight = nn.Parameter(torch.zeros(3, 3))
    return out + calls(g, (x(),))


def trained(m, wrap):
    """A step of training, compiled, and what tells of it."""
    opt = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.5)

    def step(t):
        opt.zero_grad()
        loss = m(t).pow(2).mean()
        loss.backward()
        opt.step()
        return loss.detach()

    return wrap(step)


@near
@whole
def hooks_of_parameters(wrap):
    m = net(3, 4, 2)
    step = trained(m, wrap)
    out = calls(step, (rows(),), (rows(),))
    seen = []
    one = m[0].weight.register_hook(lambda g: g.clamp(-0.05, 0.05))
    out += calls(step, (rows(),), (rows(),))
    two = m[0].weight.register_hook(lambda g: seen.append(g.shape[0]))
    m[1].bias.register_hook(lambda g: g * scale[0])
    scale = [2.0]
    out += calls(step, (rows(),), (rows(),))
    one.remove()
    out += calls(step, (rows(),), (rows(),))
    scale[0] = 0.0
    out += calls(step, (rows(),), (rows(),))
    two.remove()
    return [*out, *calls(step, (rows(),), (rows(),)), seen, freeze(list(m.parameters()))]


@near
@whole
def hooks_after_gradients(wrap):
    m = net(3, 4, 2)
    opts = {p: torch.optim.SGD([p], lr=0.1) for p in m.parameters()}

    def stepped(p):
        opts[p].step()
        opts[p].zero_grad()

    handles = [p.register_post_accumulate_grad_hook(stepped) for p in m.parameters()]

    def step(t):
        loss = m(t).pow(2).mean()
        loss.backward()
        return loss.detach()

    step = wrap(step)
    out = calls(step, (rows(),), (rows(),), (rows(),))
    handles[0].remove()
    out += calls(step, (rows(),), (rows(),))
    return [*out, freeze(m[0].weight.grad), freeze(list(m.parameters()))]


@near
@whole
def hooks_of_modules_in_backward(wrap):
    m = net(3, 4, 2)
    step = trained(m, wrap)
    out, seen = calls(step, (rows(),)), []

    def halved(mod, given, outs):
        seen.append((len(given), outs[0].shape[1]))
        return (given[0] * 0.5,)

    one = m[1].register_full_backward_hook(halved)
    out += calls(step, (rows(),), (rows(),))
    two = m[1].register_full_backward_pre_hook(lambda mod, outs: (outs[0] * 3,))
    out += calls(step, (rows(),), (rows(),))
    one.remove()
    out += calls(step, (rows(),), (rows(),))
    two.remove()
    return [*out, *calls(step, (rows(),), (rows(),)), seen, freeze(list(m.parameters()))]


@near
@case
def hooks_of_modules_that_see_no_gradient_of_inputs(wrap):
    m, seen = net(3, 4, 2), []
    m.register_full_backward_hook(lambda mod, given, outs: seen.append((given, freeze(outs[0]))))
    step = trained(m, wrap)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = calls(step, (rows(),), (rows(),), (rows(),))
    return [*out, seen, freeze(list(m.parameters()))]


@near
@case
def hooks_where_backward_is_called_outside(wrap):
    m, seen = net(3, 4, 2), []
    m[0].weight.register_hook(lambda g: g * 2)
    m[1].register_full_backward_hook(lambda mod, given, outs: seen.append(outs[0].shape))
    f = wrap(lambda t: m(t).pow(2).mean())
    for _ in range(3):
        f(rows()).backward()
    return [[freeze(p.grad) for p in m.parameters()], seen]


@near
@whole
def nodes_with_hooks(wrap):
    def f(t):
        w = t.clone().requires_grad_()
        a = w * 2
        b = a.exp()
        a.grad_fn.register_prehook(lambda gs: (gs[0] * 3,))
        b.grad_fn.register_hook(lambda ins, outs: (ins[0] + outs[0],))
        b.sum().backward()
        return w.grad

    f = wrap(f)
    return calls(f, (x(),), (x(3, 1),))


@near
@whole
def hooks_of_what_is_saved(wrap):
    m, seen = net(3, 4, 2), []
    opt = torch.optim.SGD(m.parameters(), lr=0.1)

    def pack(t):
        seen.append(("pack", t.shape))
        return t.bfloat16() if t.dim() > 1 else t, t.dtype

    def unpack(packed):
        seen.append(("unpack", packed[0].shape))
        return packed[0].to(packed[1])

    def step(t):
        opt.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            loss = m(t).tanh().pow(2).mean()
        loss.backward()
        with torch.autograd.graph.save_on_cpu():
            loss = loss.detach() + (m(t).exp() * 0).sum()
        loss.backward()
        opt.step()
        return loss.detach()

    step = wrap(step)
    out = calls(step, (rows(),), (rows(),), (rows(),))
    return [*out, seen, freeze(list(m.parameters()))]


@case
def hooks_of_what_is_saved_and_leaves(wrap):
    m, seen = net(3, 4, 2), []

    def f(t):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.shape) or t, lambda t: t):
            return m(t).exp()

    f = wrap(f)
    for _ in range(3):
        f(rows()).sum().backward()
    return seen, [freeze(p.grad) for p in m.parameters()]


@case
def hooks_of_what_is_saved_with_a_break(wrap):
    m, seen = net(3, 4, 2), []

    def f(t):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.shape) or t, lambda t: t):
            a = m(t)
            print(end="")
            a.exp().sum().backward()
        return a.detach()

    f = wrap(f)
    return [freeze(f(rows())) for _ in range(3)], seen, [freeze(p.grad) for p in m.parameters()]
