# ruff: noqa: B023
"""Optimizers from elsewhere: pytorch_optimizer, torch_optimizer, adabelief, schedulefree and prodigy, a few steps each."""

import adabelief_pytorch
import prodigyopt
import pytorch_optimizer
import schedulefree
import torch
from torch import nn


def _steps(make, closure=False, count=4):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5), nn.Linear(5, 1))
    x = torch.randn(16, 1, 4, 4)
    y = x.sum((1, 2, 3))[:, None]
    optimizer = make(net)
    if hasattr(optimizer, "train"):
        optimizer.train()
    losses = []
    for _ in range(count):

        def step():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(x), y)
            loss.backward(create_graph=closure)
            return loss

        losses.append(step().item())
        optimizer.step(step) if closure == "closure" else optimizer.step()
    state = optimizer.state_dict()
    return losses + [sum(p.detach().double().abs().sum().item() for p in net.parameters()), len(state["state"])]


def pytorch_optimizers():
    results = {}
    skipped = {
        "alice",
        "conda",
        "soap",
        "splus",
        "sam",
        "gsam",
        "wsam",
        "bsam",
        "looksam",
        "lookahead",
        "alig",
        "lbfgs",
        "lomo",
        "adalomo",
        "muon",
        "adamuon",
        "adago",
        "distributedmuon",
        "distributed_muon",
        "shampoo_x",
        "demo",
        "a2grad_x",
    }
    for name in sorted(pytorch_optimizer.get_supported_optimizers()):
        if any(s == name for s in skipped):
            continue
        kind = pytorch_optimizer.load_optimizer(name)
        more = {"num_iterations": 10} if name == "ranger21" else {}
        try:
            results[name] = _steps(
                lambda net: kind(net.parameters(), **more), closure=name in ("adahessian", "sophiah")
            )
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"[:90]
    return results


def others():
    return {
        "adabelief": _steps(
            lambda net: adabelief_pytorch.AdaBelief(
                net.parameters(),
                lr=1e-3,
                eps=1e-16,
                betas=(0.9, 0.999),
                weight_decouple=True,
                rectify=True,
                print_change_log=False,
            )
        ),
        "adamw": _steps(lambda net: schedulefree.AdamWScheduleFree(net.parameters(), lr=0.01, warmup_steps=2)),
        "sgd": _steps(lambda net: schedulefree.SGDScheduleFree(net.parameters(), lr=0.1)),
        "radam": _steps(lambda net: schedulefree.RAdamScheduleFree(net.parameters(), lr=0.01)),
        "prodigy": _steps(lambda net: prodigyopt.Prodigy(net.parameters(), lr=1.0, weight_decay=0.01)),
    }


def wrapped():
    def sam(net):
        return pytorch_optimizer.SAM(net.parameters(), torch.optim.SGD, lr=0.05)

    torch.manual_seed(0)
    net, x = nn.Linear(4, 1), torch.randn(8, 4)
    optimizer, losses = sam(net), []
    for _ in range(3):
        loss = (net(x) - 1).pow(2).mean()
        loss.backward()
        optimizer.first_step(zero_grad=True)
        (net(x) - 1).pow(2).mean().backward()
        optimizer.second_step(zero_grad=True)
        losses.append(loss.item())
    return losses
