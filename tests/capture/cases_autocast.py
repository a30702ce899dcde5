"""Autocast around, inside and across compiled functions; parts whose intermediate results are computed again."""

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F
from flambeau.utils.checkpoint import checkpoint, checkpoint_sequential
from tests.capture.world import case, freeze, near, whole, x


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))


def rows(n=4):
    return torch.stack([x(3, i) for i in range(n)])


@whole
def inside(wrap):
    m = net()

    def f(t):
        with torch.autocast("cpu"):
            y = m(t)
            z = F.softmax(y, -1)
        return y, z, m(t)

    f = wrap(f)
    with torch.no_grad():
        return [freeze(f(rows())), freeze(f(rows())), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")]


@whole
def around(wrap):
    m = net()
    f = wrap(m.forward)
    out = []
    with torch.no_grad():
        for on, dtype in ((True, None), (False, None), (True, torch.float16), (True, torch.bfloat16), (False, None)):
            with torch.autocast("cpu", dtype, enabled=on):
                out.append(freeze(f(rows())))
            out.append(freeze(f(rows())))
    return out


@whole
def nested(wrap):
    m = net()

    def f(t, dtype):
        with torch.amp.autocast("cpu", dtype=dtype):
            y = m(t)
            with torch.autocast("cpu", enabled=False):
                z = m(t)
            return y, z, m(t), torch.is_autocast_enabled("cpu")

    f = wrap(f)
    out = []
    with torch.no_grad():
        for dtype in (torch.bfloat16, torch.float16, torch.bfloat16):
            out.append(freeze(f(rows(), dtype)))
            with torch.autocast("cpu", torch.float16):
                out.append(freeze(f(rows(), dtype)))
    return out


@whole
def decorated(wrap):
    m = net()
    f = wrap(torch.autocast("cpu")(lambda t: m(t).sum()))
    with torch.no_grad():
        return [freeze(f(rows())), freeze(f(rows()))]


@whole
@near
def steps(wrap):
    m = net()
    o = torch.optim.SGD(m.parameters(), 0.1)

    def step(t):
        with torch.autocast("cpu"):
            loss = F.mse_loss(m(t).float(), t)
        o.zero_grad()
        loss.backward()
        o.step()
        return loss.detach()

    step = wrap(step)
    return [freeze(step(rows())) for _ in range(4)] + [freeze(p) for p in m.parameters()]


@whole
@near
def backward_outside(wrap):
    m = net()
    f = wrap(lambda t: m(t))
    out = []
    for _ in range(2):
        m.zero_grad()
        with torch.autocast("cpu"):
            loss = f(rows()).float().square().sum()
        loss.backward()
        out += [freeze(loss.detach()), *(freeze(p.grad) for p in m.parameters())]
    return out


@case
def broken_inside(wrap):
    m, seen = net(), []

    def f(t):
        with torch.autocast("cpu"):
            y = m(t)
            seen.append(y.float().sum().item())
            return y, m(y)

    f = wrap(f)
    with torch.no_grad():
        out = [freeze(f(rows())), freeze(f(rows())), torch.is_autocast_enabled("cpu")]
        with torch.autocast("cpu", torch.float16):
            out.append(freeze(f(rows())))
    return [*out, seen]


@whole
def entered_and_left_elsewhere(wrap):
    m = net()
    context = torch.autocast("cpu")
    enter = wrap(lambda t: (context.__enter__(), m(t))[1])
    leave = wrap(lambda t: (m(t), context.__exit__(None, None, None))[0])
    with torch.no_grad():
        out = []
        for _ in range(2):
            out += [freeze(enter(rows())), freeze(m(rows())), freeze(leave(rows())), freeze(m(rows()))]
    return out


def _checkpointed(call):
    def program(wrap):
        m, rest = net(), nn.Linear(3, 3)
        with torch.no_grad():
            rest.weight.copy_(torch.eye(3))

        def step(t):
            loss = rest(call(m, t)).square().mean()
            loss.backward()
            grads = [p.grad for p in (*m.parameters(), *rest.parameters())]
            m.zero_grad()
            return loss.detach(), grads

        f, t = wrap(step), rows().requires_grad_()
        out = [freeze(f(t)), freeze(f(t)), freeze(t.grad)]
        live = wrap(lambda t: call(m, t))
        for _ in range(2):
            live(t).square().sum().backward()
        return out, [freeze(p.grad) for p in m.parameters()]

    return program


@whole
@near
def checkpointed(wrap):
    return _checkpointed(lambda m, t: checkpoint(m, t, use_reentrant=False))(wrap)


@whole
@near
def checkpointed_with_reentry(wrap):
    return _checkpointed(lambda m, t: checkpoint(m, t, use_reentrant=True))(wrap)


@whole
@near
def checkpointed_in_sequence(wrap):
    return _checkpointed(lambda m, t: checkpoint_sequential(m, 2, t, use_reentrant=False))(wrap)


@whole
@near
def checkpointed_within(wrap):
    def outer(m, t):
        return checkpoint(lambda s: checkpoint(m, s, use_reentrant=False).sin(), t, use_reentrant=False)

    return _checkpointed(outer)(wrap)


@whole
def checkpointed_without_gradients(wrap):
    m = net()
    f = wrap(lambda t: checkpoint(m, t, use_reentrant=False))
    with torch.no_grad():
        return [freeze(f(rows())), freeze(f(rows())), f(rows()).requires_grad]


@whole
@near
def checkpointed_draws(wrap):
    torch.manual_seed(3)
    m = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    def step(t):
        loss = checkpoint(m, t, use_reentrant=False).square().mean()
        loss.backward()
        grads = [p.grad for p in m.parameters()]
        m.zero_grad()
        return loss.detach(), grads, torch.rand(2)

    f = wrap(step)
    return [freeze(f(rows())), freeze(f(rows())), torch.rand(2)]
