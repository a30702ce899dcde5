"""Autoencoders, equations, optimizers of few states."""

import torch
from apollo_torch import APOLLOAdamW
from dadaptation import DAdaptAdam, DAdaptLion, DAdaptSGD
from galore_torch import GaLoreAdafactor, GaLoreAdamW
from neurodiffeq import diff
from neurodiffeq.conditions import IVP
from neurodiffeq.networks import FCNN
from pythae.models import (
    AE,
    IWAE,
    VAE,
    WAE_MMD,
    AEConfig,
    BetaVAE,
    BetaVAEConfig,
    IWAEConfig,
    VAEConfig,
    WAE_MMD_Config,
)


def autoencoders():
    found, x = {}, {"data": torch.rand(8, 1, 8, 8)}
    for name, cls, config in (
        ("ae", AE, AEConfig),
        ("vae", VAE, VAEConfig),
        ("beta", BetaVAE, BetaVAEConfig),
        ("iwae", IWAE, IWAEConfig),
        ("wae", WAE_MMD, WAE_MMD_Config),
    ):
        net = cls(config(input_dim=(1, 8, 8), latent_dim=3))
        optimizer, losses = torch.optim.Adam(net.parameters(), 1e-3), []
        for _ in range(3):
            loss = net(x).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        found[name] = losses
    return found


def equations():
    net, t = FCNN(1, 1, hidden_units=(16, 16)), torch.linspace(0, 1, 20).reshape(-1, 1).requires_grad_()
    condition, optimizer, losses = IVP(0.0, 1.0), torch.optim.Adam(net.parameters(), 1e-2), []
    for _ in range(4):
        u = condition.enforce(net, t)
        loss = (diff(u, t, order=2) + u).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": losses, "u": u}


def optimizers():
    found = {}
    for name, make in {
        "dadam": lambda p: DAdaptAdam(p, lr=1.0), "dlion": lambda p: DAdaptLion(p, lr=1.0), "dsgd": lambda p: DAdaptSGD(p, lr=1.0),
        "galore": lambda p: GaLoreAdamW([{"params": [p[0]], "rank": 2, "update_proj_gap": 3, "scale": 0.25, "proj_type": "std"}, {"params": p[1:]}], lr=1e-2),
        "galore adafactor": lambda p: GaLoreAdafactor([{"params": [p[0]], "rank": 2, "update_proj_gap": 3, "scale": 0.25, "proj_type": "std"}, {"params": p[1:]}], lr=1e-2, relative_step=False, scale_parameter=False, warmup_init=False),
        "apollo": lambda p: APOLLOAdamW([{"params": [p[0]], "rank": 2, "proj": "random", "scale_type": "channel", "scale": 1, "update_proj_gap": 3, "proj_type": "std"}, {"params": p[1:]}], lr=1e-2),
    }.items():  # fmt: skip
        torch.manual_seed(1)
        net, x = torch.nn.Linear(6, 5), torch.randn(10, 6)
        optimizer, losses = make(list(net.parameters())), []
        for _ in range(6):
            loss = (net(x) - 1).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        found[name] = losses
    return found
