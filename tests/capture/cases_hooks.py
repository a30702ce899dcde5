"""Modules whose hooks, children, buffers and forwards are replaced."""

import flambeau as torch
from flambeau import nn
from tests.capture.world import calls, case, freeze, x


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
