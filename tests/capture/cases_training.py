"""Training programs whose state changes between calls: schedules, averages, trainers, callbacks, modes, gradients."""

import copy
import functools
import types

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F
from tests.capture.world import case, freeze, near, net, rows, whole, x


@case
def lists_of_modules_as_attributes(wrap):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])
            self.extra = [nn.Linear(3, 3)]
            self.heads = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2)})
            self.which = "a"

        def forward(self, t):
            for layer in [*self.layers, *self.extra]:
                t = torch.tanh(layer(t))
            return self.heads[self.which](t)

    m = Model()
    g, out = wrap(m.forward), []
    out.append(freeze(g(rows())))
    m.layers.append(nn.Identity())
    out.append(freeze(g(rows())))
    m.extra.pop()
    out.append(freeze(g(rows())))
    m.which = "b"
    out.append(freeze(g(rows())))
    m.heads["b"] = nn.Linear(3, 1, bias=False)
    nn.init.ones_(m.heads["b"].weight)
    out.append(freeze(g(rows())))
    del m.layers[0]
    out.append(freeze(g(rows())))
    return out


@case
def train_and_eval_flips(wrap):
    m = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    torch.manual_seed(1)
    for p in m.parameters():
        nn.init.uniform_(p)
    g, out = wrap(lambda t: m(t)), []
    for n, mode in enumerate((True, True, False, True, False, False)):
        m.train(mode)
        if n == 4:
            m[1].train()
        if n == 5:
            m[1].momentum = None
        torch.manual_seed(n)
        out.append(freeze(g(rows())))
    return out, freeze(m.state_dict())


train_and_eval_flips.within = 1e-6


@case
def default_dtype_changes(wrap):
    g, out = wrap(lambda t: t + torch.arange(3) / 2 + torch.zeros(3)), []
    for d in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(d)
        try:
            out.append(g(torch.ones(3, dtype=torch.int64)))
        finally:
            torch.set_default_dtype(torch.float32)
    return out


@near
@case
def param_groups_edited(wrap):
    m = net()
    opt = torch.optim.AdamW(m.parameters(), lr=0.1, weight_decay=0.1)

    def step(t):
        opt.zero_grad()
        loss = (m(t) ** 2).mean()
        loss.backward()
        opt.step()
        return loss.detach()

    g, out = wrap(step), []
    for n in range(9):
        if n == 2:
            opt.param_groups[0]["lr"] = 0.05
        if n == 3:
            opt.param_groups[0]["betas"] = (0.5, 0.9)
        if n == 4:
            opt.param_groups[0]["weight_decay"] = 0.0
        if n == 5:
            m.append(nn.Linear(3, 2))
            nn.init.constant_(m[-1].weight, 0.1)
            nn.init.zeros_(m[-1].bias)
            opt.add_param_group({"params": m[-1].parameters(), "lr": 0.01})
        if n == 6:
            m[0].weight.requires_grad_(False)
        if n == 7:
            opt.state[m[1].weight]["exp_avg"].zero_()
        out.append(freeze(g(rows())))
    return out, [freeze(p) for p in m.parameters()]


@near
@case
def schedulers_in_a_trainer(wrap):
    m = net()
    opt = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
    warm = torch.optim.lr_scheduler.LinearLR(opt, 0.1, total_iters=3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 5)
    both = torch.optim.lr_scheduler.SequentialLR(opt, [warm, cosine], [3])

    def step(t):
        opt.zero_grad(set_to_none=False)
        loss = F.smooth_l1_loss(m(t), torch.ones(4, 3))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(m.parameters(), 0.5)
        opt.step()
        return loss.detach(), norm

    g, out = wrap(step), []
    for _ in range(6):
        out.append(freeze(g(rows())))
        both.step()
    return out, opt.param_groups[0]["lr"]


@near
@case
def averaged_models(wrap):
    m = net()
    average = torch.optim.swa_utils.AveragedModel(m, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    opt = torch.optim.SGD(m.parameters(), lr=0.1)

    def step(t):
        opt.zero_grad()
        m(t).square().mean().backward()
        opt.step()
        average.update_parameters(m)

    g = wrap(step)
    for _ in range(4):
        g(rows())
    return [freeze(p) for p in average.parameters()], freeze(average.n_averaged)


@near
@case
def accumulation_of_gradients(wrap):
    m = net()
    opt = torch.optim.SGD(m.parameters(), lr=0.1)
    every = {"n": 2}

    def step(i, t):
        loss = m(t).square().mean() / every["n"]
        loss.backward()
        if (i + 1) % every["n"] == 0:
            opt.step()
            opt.zero_grad()
        return loss.detach()

    g, out = wrap(step), []
    for i in range(8):
        if i == 4:
            every["n"] = 4
        out.append(freeze(g(i, rows(seed=i))))
    return out, [freeze(p) for p in m.parameters()]


@near
@case
def autocast_mixed(wrap):
    m = net()
    options = {"enabled": True, "dtype": torch.bfloat16}

    def f(t):
        with torch.autocast("cpu", **options):
            h = m[0](t)
            with torch.autocast("cpu", enabled=False):
                h = m[1](h.float())
            kind = (h @ h.T).dtype
        return h, kind

    f_, out = wrap(f), []
    out.append(freeze(f_(rows())))
    options["enabled"] = False
    out.append(freeze(f_(rows())))
    options.update(enabled=True, dtype=torch.float16)
    out.append(freeze(f_(rows())))
    return out


autocast_mixed.within = 0.02


@case
def environments_of_modules(wrap):
    helpers = types.ModuleType("helpers")
    exec("import flambeau as torch\nSCALE = 2.0\ndef scale(t): return torch.relu(t) * SCALE\n", helpers.__dict__)
    g, out = wrap(lambda t: helpers.scale(t)), []
    out.append(g(x()))
    helpers.SCALE = 3.0
    out.append(g(x()))
    helpers.torch = types.SimpleNamespace(relu=torch.abs)
    out.append(g(x()))
    helpers.scale = lambda t: t
    out.append(g(x()))
    return out


@case
def buffers_replaced_and_registered(wrap):
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("count", torch.tensor(0), persistent=False)
            self.register_buffer("extra", None)

        def forward(self, t):
            self.count += 1
            self.mean = self.mean + (t.mean(0) - self.mean) / self.count
            if self.extra is not None:
                t = t + self.extra
            return t - self.mean

    m, out = Norm(), []
    g = wrap(m)
    for n in range(5):
        if n == 2:
            m.extra = torch.ones(3)
        if n == 3:
            m.mean.zero_()
        if n == 4:
            m.load_state_dict({"mean": torch.full((3,), 2.0), "extra": torch.zeros(3)})
        out.append(freeze(g(rows(seed=n))))
    return out, freeze(m.mean), freeze(m.count)


@case
def tied_and_untied_weights(wrap):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.embed(ids))

    m = Model()

    def step(ids):
        m.zero_grad()
        m(ids).square().sum().backward()
        return m.embed.weight.grad.clone(), m.head.weight.grad is m.embed.weight.grad

    g, out = wrap(step), []
    ids = torch.tensor([0, 1, 4, 1])
    out.append(freeze(g(ids)))
    out.append(freeze(g(ids)))
    m.head.weight = nn.Parameter(m.head.weight.detach().clone())
    out.append(freeze(g(ids)))
    m.head.weight = m.embed.weight
    out.append(freeze(g(ids)))
    return out


tied_and_untied_weights.within = 1e-6


@case
def requires_grad_toggles(wrap):
    m = net()

    def step(t):
        for p in m.parameters():
            p.grad = None
        m(t).sum().backward()
        return [None if p.grad is None else p.grad.clone() for p in m.parameters()]

    g, out = wrap(step), []
    out.append(freeze(g(rows())))
    m[0].requires_grad_(False)
    out.append(freeze(g(rows())))
    m[0].bias.requires_grad_(True)
    out.append(freeze(g(rows())))
    m.requires_grad_(True)
    out.append(freeze(g(rows())))
    return out


requires_grad_toggles.within = 1e-6


@case
def deepcopies_and_state_dicts(wrap):
    m = net()
    best = {}

    def f(t):
        loss = m(t).square().mean()
        return loss

    g, out = wrap(f), []
    for n in range(4):
        out.append(freeze(g(rows())))
        best[n] = copy.deepcopy(m.state_dict())
        with torch.no_grad():
            for p in m.parameters():
                p.sub_(0.1)
    m.load_state_dict(best[1])
    out.append(freeze(g(rows())))
    m.load_state_dict({k: v * 2 for k, v in best[0].items()}, assign=True)
    out.append(freeze(g(rows())))
    return out


deepcopies_and_state_dicts.within = 1e-6


@case
def inference_and_grad_modes(wrap):
    m = net()

    def f(t):
        y = m(t)
        return y, torch.is_grad_enabled(), y.requires_grad

    g, out = wrap(f), []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            out.append([v.detach().clone() if isinstance(v, torch.Tensor) else v for v in g(rows())])
    torch.set_grad_enabled(False)
    try:
        out.append(list(g(rows()))[1:])
    finally:
        torch.set_grad_enabled(True)
    return out


inference_and_grad_modes.within = 1e-6


@case
def callbacks_that_come_and_go(wrap):
    class Trainer:
        def __init__(self):
            self.callbacks, self.log = [], []

        def fire(self, event, **data):
            for c in list(self.callbacks):
                hook = getattr(c, f"on_{event}", None)
                if callable(hook):
                    hook(self, **data)

        def step(self, t):
            self.fire("start", t=t)
            t = t * 2
            self.fire("end", t=t)
            return t + len(self.callbacks)

    class Once:
        def on_start(self, trainer, t):
            trainer.log.append(tuple(t.shape))
            trainer.callbacks.remove(self)

    class Count:
        n = 0

        def on_end(self, trainer, **_):
            self.n += 1

    trainer, count = Trainer(), Count()
    g, out = wrap(trainer.step), []
    for n in range(5):
        if n == 1:
            trainer.callbacks.append(Once())
        if n == 2:
            trainer.callbacks.append(count)
        if n == 4:
            count.on_start = lambda trainer, t: trainer.log.append("start")
        out.append(g(x()))
    return out, trainer.log, count.n


@case
def epochs_by_integers_that_change(wrap):
    state = types.SimpleNamespace(epoch=0, seen=[])

    def f(t):
        state.epoch += 1
        decay = 0.5 ** (state.epoch // 2)
        state.seen.append(decay)
        return t * decay + (state.epoch % 3 == 0)

    g = wrap(f)
    return [g(x()) for _ in range(7)], state.epoch, state.seen


@case
def gradients_through_a_compiled_function(wrap):
    w = torch.nn.Parameter(x())

    def f(t, scale):
        y = (t * w).tanh()
        return y * scale, y.detach()

    g, out = wrap(f), []
    for n, scale in enumerate((1.0, 2.0, 2.0, 3.0)):
        w.grad = None
        t = x(3, n).requires_grad_(n % 2 == 0)
        y, kept = g(t, scale)
        (y.sum() + y.square().sum()).backward()
        out.append(freeze((y.detach(), kept, w.grad, t.grad)))
    return out


gradients_through_a_compiled_function.within = 1e-6


@case
def second_derivatives(wrap):
    def penalty(t):
        t = t.detach().requires_grad_()
        y = (t.sin() * t).sum()
        (g,) = torch.autograd.grad(y, t, create_graph=True)
        return (g.norm() - 1).square(), torch.autograd.grad((g**2).sum(), t)[0]

    g = wrap(penalty)
    return [freeze(g(x(3, n))) for n in range(3)]


second_derivatives.within = 1e-5


@case
def losses_chosen_by_name(wrap):
    table = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": functools.partial(F.huber_loss, delta=0.5)}
    weights = {"mse": 1.0, "l1": 0.5}

    def f(a, b):
        parts = {name: table[name](a, b) * w for name, w in weights.items() if w}
        return sum(parts.values()), parts, max(weights, key=weights.get)

    g, out = wrap(f), []
    out.append(g(x(), x(3, 1)))
    weights["huber"] = 2.0
    out.append(g(x(), x(3, 1)))
    weights["mse"] = 0
    out.append(g(x(), x(3, 1)))
    table["l1"] = lambda a, b: (a - b).abs().max()
    out.append(g(x(), x(3, 1)))
    return out


losses_chosen_by_name.within = 1e-6


@case
def containers_registered_later(wrap):
    class Box:
        def __init__(self, *values):
            self.values = list(values)

    pytree = torch.utils._pytree

    def f(box):
        return pytree.tree_map(lambda v: v * 2 if isinstance(v, torch.Tensor) else 7, box)

    g, out = wrap(f), []
    out.append(g(Box(x())))
    pytree.register_pytree_node(Box, lambda b: (b.values, len(b.values)), lambda values, n: Box(*values))
    out.append(g(Box(x())).values)
    out.append(g(Box(x(), x(2))).values)
    return out


def scaled_step(wrap, model, opt, scaler, clip=None):
    """A step with a loss scaler, compiled."""

    def step(t):
        opt.zero_grad()
        with torch.autocast("cpu", enabled=False):
            loss = model(t).pow(2).mean()
        scaler.scale(loss).backward()
        if clip is not None:
            scaler.unscale_(opt)
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(opt)
        scaler.update()
        return loss.detach()

    return wrap(step)


def scaled_run(wrap, fused=False, **options):
    model = net(3, 4, 2)
    opt = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
    step, out = scaled_step(wrap, model, opt, scaler, **options), []
    for i in range(8):
        t = rows(4, i % 3)
        if i in (0, 4):  # gradients that are infinite: the step is left out
            t = t * float("inf")
        out.append(freeze(step(t)))
        out.append((scaler.get_scale(), scaler._get_growth_tracker()))
    return out, freeze(list(model.parameters())), len(opt.state)


@near
@whole
def scaled_losses(wrap):
    return scaled_run(wrap)


@near
@whole
def scaled_losses_of_fused_steps(wrap):
    return scaled_run(wrap, fused=True)


@near
@whole
def scaled_losses_and_clipped_gradients(wrap):
    return scaled_run(wrap, clip=0.5)


@near
@whole
def gradients_lie_as_their_leaves(wrap):
    ones = torch.ones(3, 8)
    leaves = [ones.clone(), ones.T.clone().T, torch.ones(3, 16)[:, ::2], ones[:1].expand(3, 8)]
    leaves = [t.detach().requires_grad_() for t in leaves]

    def f(t):
        for leaf in leaves:
            (leaf.mean() + (leaf.T @ t).sum()).backward()
        return [leaf.grad * 1 for leaf in leaves]

    f = wrap(f)
    return [
        (freeze(f(x())), [freeze(leaf.grad) for leaf in leaves], [leaf.grad.stride() for leaf in leaves])
        for _ in range(3)
    ]


@near
@case
def histories_that_a_step_has_spoiled(wrap):
    m = net(3, 4, 2)
    opt = torch.optim.SGD(m.parameters(), lr=0.1)

    def step(t):
        out = m(t)
        opt.zero_grad()
        out.pow(2).mean().backward()
        opt.step()
        return m[1](m[0](t)), out * 2

    step, out = wrap(step), []
    for _ in range(3):
        good, bad = step(rows())
        out.append((freeze(good), freeze(bad)))
        good.sum().backward()
        try:
            bad.sum().backward()
        except RuntimeError as e:
            out.append(("modified by an inplace operation" in str(e), "second time" in str(e)))
    return out, freeze([p.grad for p in m.parameters()])


@case
def gradients_lie_as_leaves_of_all_sizes(wrap):
    def f(t):
        t.grad = None
        t.mean().backward()
        first = t.grad
        t.grad = None
        (t.clone() * torch.ones(t.shape)).sum().backward()
        return first, first._is_view()

    g = wrap(f)
    leaves = [
        lambda n: torch.ones(n, 3),
        lambda n: torch.ones(3, n).t(),
        lambda n: torch.ones(n, 6)[:, ::2],
        lambda n: torch.ones(1, 3).expand(n, 3),
    ]
    made = []
    for make in leaves:
        for n in (2, 4, 5):
            t = make(n).requires_grad_()
            made += [*g(t), t.grad]
    return made
