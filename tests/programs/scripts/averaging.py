"""SWA and EMA, learning rate finder, warmup, after the averaging recipes."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, get_swa_avg_fn, update_bn

torch.manual_seed(0)
x = torch.randn(128, 5)
y = (x[:, :1] * 2 + x[:, 1:2].sin()).detach()
data = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 128, 32)]
model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
swa, ema = AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
cosine, swalr = (
    torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=10),
    SWALR(opt, swa_lr=0.02, anneal_epochs=3, anneal_strategy="cos"),
)
for epoch in range(12):
    for a, b in data:
        opt.zero_grad()
        nn.functional.mse_loss(model(a), b).backward()
        opt.step()
        ema.update_parameters(model)
    if epoch >= 6:
        swa.update_parameters(model)
        swalr.step()
    else:
        cosine.step()
    print(epoch, round(opt.param_groups[0]["lr"], 6))
update_bn(data, swa)
for m in (model, swa, ema):
    m.eval()
    print(f"{nn.functional.mse_loss(m(x), y):.4f}")
print(swa.n_averaged, ema.n_averaged, list(swa.state_dict())[:3], swa)
print({k: v for k, v in swalr.state_dict().items() if not callable(v)})
for make in (
    lambda: SWALR(opt, [0.1, 0.2]),
    lambda: SWALR(opt, 0.1, anneal_strategy="step"),
    lambda: SWALR(opt, 0.1, anneal_epochs=-1),
    lambda: AveragedModel(model, avg_fn=get_swa_avg_fn(), multi_avg_fn=get_ema_multi_avg_fn()),
    lambda: get_ema_avg_fn(1.5),
):
    try:
        make()
    except Exception as e:
        print(type(e).__name__, e)


def find_lr(model, low=1e-5, high=1.0, steps=25, beta=0.7):
    """Leslie Smith's range test."""
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    opt = torch.optim.Adam(model.parameters(), lr=low)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: math.exp(i * math.log(high / low) / (steps - 1)))
    average, best, found = 0.0, float("inf"), []
    for i in range(steps):
        a, b = data[i % 4]
        loss = nn.functional.mse_loss(model(a), b)
        average = beta * average + (1 - beta) * loss.item()
        smooth = average / (1 - beta ** (i + 1))
        found.append((sched.get_last_lr()[0], smooth))
        if i and smooth > 4 * best:
            break
        best = min(best, smooth)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
    model.load_state_dict(saved)
    return found


torch.manual_seed(1)
fresh = nn.Sequential(nn.Linear(5, 32), nn.GELU(), nn.Linear(32, 1))
for lr, loss in find_lr(fresh):
    print(f"{lr:.3e} {loss:.3f}")
S = torch.optim.lr_scheduler
p = nn.Parameter(torch.zeros(1))


def curve(make, n=14, metric=None, **kw):
    opt = torch.optim.SGD([p], lr=1.0, momentum=0.9, **kw)
    sched, out = make(opt), []
    for i in range(n):
        opt.step()
        out.append(round(opt.param_groups[0]["lr"], 5))
        sched.step(*(() if metric is None else (metric(i),)))
    return out


for name, make in {
    "step": lambda o: S.StepLR(o, 4, 0.5),
    "multistep": lambda o: S.MultiStepLR(o, [2, 7], 0.1),
    "exp": lambda o: S.ExponentialLR(o, 0.8),
    "const": lambda o: S.ConstantLR(o, 0.3, 4),
    "linear": lambda o: S.LinearLR(o, 0.2, 1.0, 5),
    "poly": lambda o: S.PolynomialLR(o, 10, 2.0),
    "cosine": lambda o: S.CosineAnnealingLR(o, 5, 0.1),
    "warm": lambda o: S.CosineAnnealingWarmRestarts(o, 3, 2),
    "cyclic": lambda o: S.CyclicLR(o, 0.1, 1.0, 3, mode="exp_range", gamma=0.9),
    "one": lambda o: S.OneCycleLR(o, 2.0, total_steps=20, three_phase=True),
    "mult": lambda o: S.MultiplicativeLR(o, lambda e: 0.9),
    "chained": lambda o: S.ChainedScheduler([S.ConstantLR(o, 0.1, 3), S.ExponentialLR(o, 0.9)], o),
    "seq": lambda o: S.SequentialLR(o, [S.ConstantLR(o, 0.1, 3), S.ExponentialLR(o, 0.9)], [3]),
}.items():
    print(name, curve(make))
print(
    "plateau",
    curve(
        lambda o: S.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1, min_lr=0.1),
        metric=lambda i: 1 / (i + 1) if i < 3 else 1.0,
    ),
)
