"""A run that is interrupted goes on where it was: model, optimizer, scheduler, scaler, EMA, generators, loader."""

import copy
import os
import random
import tempfile

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build():
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
    opt = torch.optim.AdamW(
        [{"params": model[0].parameters(), "lr": 1e-2}, {"params": list(model[1:].parameters()), "weight_decay": 0.1}],
        lr=3e-3,
    )
    sched = torch.optim.lr_scheduler.SequentialLR(
        opt,
        [
            torch.optim.lr_scheduler.LinearLR(opt, 0.1, total_iters=3),
            torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10),
        ],
        milestones=[3],
    )
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0, growth_interval=4)
    ema = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    return model, opt, sched, scaler, ema


def epoch(state, loader):
    model, opt, sched, scaler, ema = state
    total = 0.0
    for x, y in loader:
        x = x + 0.01 * torch.randn_like(x) + 0.01 * float(np.random.randn()) + 0.01 * random.random()
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        ema.update_parameters(model)
        total += loss.item()
    sched.step()
    return round(total / len(loader), 4), [round(v, 6) for v in sched.get_last_lr()]


def save(path, state, epoch):
    model, opt, sched, scaler, ema = state
    torch.save(
        {
            "epoch": epoch,
            "model": model.state_dict(),
            "opt": opt.state_dict(),
            "sched": sched.state_dict(),
            "scaler": scaler.state_dict(),
            "ema": ema.state_dict(),
            "rng": torch.get_rng_state(),
            "np": np.random.get_state(),
            "py": random.getstate(),
        },
        path,
    )


def resume(path, state):
    found = torch.load(path, weights_only=False)
    for part, name in zip(state, ("model", "opt", "sched", "scaler", "ema")):
        print(name, part.load_state_dict(found[name]))
    torch.set_rng_state(found["rng"]), np.random.set_state(found["np"]), random.setstate(found["py"])
    return found["epoch"]


g = torch.Generator().manual_seed(0)
x = torch.randn(64, 6, generator=g)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16, shuffle=True)
state = build()
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "run.pt")
    for e in range(6):
        print(e, *epoch(state, loader))
        if e == 2:
            save(path, state, e)
    straight = copy.deepcopy(state[0].state_dict())
    again = build()
    first = resume(path, again) + 1
    for e in range(first, 6):
        print(e, *epoch(again, loader))
    print(all(torch.equal(a, b) for a, b in zip(straight.values(), again[0].state_dict().values())))
    print(all(torch.equal(a, b) for a, b in zip(state[4].state_dict().values(), again[4].state_dict().values())))
    try:
        torch.load(path)
    except Exception as error:
        print(type(error).__name__, str(error)[:400])
    small = {
        k: v for k, v in torch.load(path, weights_only=False).items() if k in ("model", "opt", "sched", "scaler", "rng")
    }
    torch.save(small, path)
    print(sorted(torch.load(path)), torch.load(path)["opt"]["param_groups"][0])
    print(torch.load(path)["sched"].keys(), torch.load(path)["opt"]["state"][0].keys())
other = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))
try:
    other.load_state_dict(straight)
except RuntimeError as error:
    print(error)
del straight["4.weight"], straight["4.bias"]
print(other.load_state_dict(straight, strict=False))
try:
    state[1].load_state_dict(torch.optim.SGD(other.parameters(), 0.1).state_dict())
except ValueError as error:
    print(error)
